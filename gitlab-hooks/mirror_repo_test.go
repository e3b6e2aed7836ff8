package hooks

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// file is one file of a commit; sub is the commit of a submodule.
type file struct{ mode, text string }

type files map[string]file

func plain(text string) file { return file{"100644", text} }
func tool(text string) file  { return file{"100755", text} }
func link(to string) file    { return file{"120000", to} }
func sub(id string) file     { return file{"160000", id} }

// with gives a copy with some files changed; one without mode is removed.
func (f files) with(changes files) files {
	all := maps.Clone(f)
	for name, changed := range changes {
		if all[name] = changed; changed.mode == "" {
			delete(all, name)
		}
	}
	return all
}

const checksum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// aibuild is a definition; more is further lines of it.
func aibuild(name string, more ...string) file {
	text := "name: " + name + "\nos: {distro: tiny, version: \"1\"}\nbuild: {template: t.json}\n"
	if !strings.Contains(strings.Join(more, "\n"), "test:") {
		text += "test: {user: root}\n"
	}
	from := "from: {iso: \"https://example.org/a.iso\", checksum: \"" + checksum + "\"}\n"
	for _, line := range more {
		if strings.HasPrefix(line, "from:") {
			from = ""
		}
		text += line + "\n"
	}
	return plain(text + from)
}

// image is the files of a definition.
func image(folder, name string, more ...string) files {
	return files{
		filepath.Join(folder, "aibuild.yaml"): aibuild(name, more...),
		filepath.Join(folder, "t.json"):       plain("{}"),
		filepath.Join(folder, "tests/boots"):  tool("#!/bin/sh\n"),
		filepath.Join(folder, "README.md"):    plain("about " + name),
	}
}

func join(all ...files) files {
	joined := files{}
	for _, f := range all {
		maps.Copy(joined, f)
	}
	return joined
}

// gitRepo is a bare repository that tests write commits into.
type gitRepo struct {
	t   testing.TB
	dir string
}

func newRepo(t testing.TB, dir string, args ...string) *gitRepo {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	g := &gitRepo{t, dir}
	g.git("", append([]string{"init", "--quiet", "--bare", "--initial-branch=main"}, args...)...)
	// As GitLab's repositories are.
	g.git("", "config", "uploadpack.allowFilter", "true")
	g.git("", "config", "uploadpack.allowAnySHA1InWant", "true")
	return g
}

func (g *gitRepo) git(stdin string, args ...string) string {
	g.t.Helper()
	out, err := g.try(stdin, args...)
	if err != nil {
		g.t.Fatalf("git %s: %v", args, err)
	}
	return out
}

func (g *gitRepo) try(stdin string, args ...string) (string, error) {
	cmd := exec.Command("git", append([]string{"-C", g.dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org",
		"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, errs.String())
	}
	return strings.TrimSuffix(string(out), "\n"), err
}

// commit makes a commit that holds exactly these files. No ref names it.
func (g *gitRepo) commit(message string, tree files, parents ...string) string {
	g.t.Helper()
	var s strings.Builder
	fmt.Fprintf(&s, "commit refs/work/new\nmark :1\ncommitter t <t@example.org> 1700000000 +0000\ndata %d\n%s\n", len(message), message)
	for i, parent := range parents {
		fmt.Fprintf(&s, "%s %s\n", map[bool]string{true: "from", false: "merge"}[i == 0], parent)
	}
	s.WriteString("deleteall\n")
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		if f := tree[name]; f.mode == "160000" {
			fmt.Fprintf(&s, "M 160000 %s %s\n", f.text, octal(name))
		} else {
			fmt.Fprintf(&s, "M %s inline %s\ndata %d\n%s\n", f.mode, octal(name), len(f.text), f.text)
		}
	}
	id := strings.Repeat("0", g.width())
	fmt.Fprintf(&s, "\nget-mark :1\nreset refs/work/new\nfrom %s\n\n", id)
	return g.git(s.String(), "fast-import", "--quiet", "--force")
}

func (g *gitRepo) width() int {
	if g.git("", "rev-parse", "--show-object-format") == "sha256" {
		return 64
	}
	return 40
}

// octal quotes a path for git, whatever it holds.
func octal(name string) string {
	var s strings.Builder
	for _, b := range []byte(name) {
		fmt.Fprintf(&s, `\%03o`, b)
	}
	return `"` + s.String() + `"`
}

// push moves a ref and gives the commit.
func (g *gitRepo) push(ref, message string, tree files, parents ...string) string {
	g.t.Helper()
	id := g.commit(message, tree, parents...)
	g.git("", "update-ref", ref, id)
	return id
}

// gitHost serves bare repositories over HTTP, as GitLab does, to those who know the token.
type gitHost struct {
	*httptest.Server
	root  string
	token string

	mu     sync.Mutex
	during func(r *http.Request)                             // is called in every request
	answer func(w http.ResponseWriter, r *http.Request) bool // answers instead of git, and says so
	asked  int
}

func newHost(t testing.TB, token string) *gitHost {
	t.Helper()
	h := &gitHost{root: t.TempDir(), token: token}
	backend, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	git := &cgi.Handler{
		Path: filepath.Join(strings.TrimSpace(string(backend)), "git-http-backend"), Root: "/gitlab",
		Env:    []string{"GIT_PROJECT_ROOT=" + h.root, "GIT_HTTP_EXPORT_ALL=1", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent"},
		Stderr: &bytes.Buffer{},
	}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.asked++
		during, answer := h.during, h.answer
		h.mu.Unlock()
		if during != nil {
			during(r)
		}
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte("oauth2:"+token))
		switch {
		case answer != nil && answer(w, r):
		case token != "" && r.Header.Get("Authorization") != want:
			w.Header().Set("WWW-Authenticate", `Basic realm="GitLab"`)
			http.Error(w, "HTTP Basic: Access denied", http.StatusUnauthorized)
		default:
			git.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *gitHost) set(during func(*http.Request), answer func(http.ResponseWriter, *http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.during, h.answer = during, answer
}

func (h *gitHost) requests() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked
}

// project makes a project with its mirror.
func (h *gitHost) project(t testing.TB, path string, args ...string) (*gitRepo, Mirror) {
	t.Helper()
	g := newRepo(t, filepath.Join(h.root, path+".git"), args...)
	return g, Mirror{Dir: filepath.Join(t.TempDir(), "mirrors"), URL: h.URL + "/gitlab", Project: path, Token: h.token}
}
