package gitlabtest_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestGitAccess(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{})
	tests := []struct {
		name, url string
		push      bool
		want      string // in what git says; empty: it works
	}{
		{"nobody reads", s.CloneURL(projectPath, ""), false, "could not read Username"},
		{"stranger reads", s.CloneURL(projectPath, member(t, s, "stranger")), false, "not found"},
		{"guest reads", s.CloneURL(projectPath, member(t, s, "guest")), false, "not found"},
		{"reporter reads", s.CloneURL(projectPath, member(t, s, "reporter")), false, ""},
		{"reporter reads with read_repository", s.CloneURL(projectPath, member(t, s, "reporter", "read_repository")), false, ""},
		{"reporter reads with read_api", s.CloneURL(projectPath, member(t, s, "reporter", "read_api")), false, "Authentication failed"},
		{"reporter pushes", s.CloneURL(projectPath, member(t, s, "reporter")), true, "403"},
		{"developer pushes", s.CloneURL(projectPath, member(t, s, "developer")), true, ""},
		{"developer pushes with read_repository", s.CloneURL(projectPath, member(t, s, "developer", "read_repository")), true, "Authentication failed"},
		{"wrong token", s.CloneURL(projectPath, "glpat-wrong"), false, "Authentication failed"},
		{"no such project", s.CloneURL("group/nothing", s.RootToken()), false, "not found"},
		{"no .git", strings.TrimSuffix(s.CloneURL(projectPath, member(t, s, "reporter")), ".git"), false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"ls-remote", test.url}
			if test.push {
				args = []string{"push", test.url, "main:refs/heads/of-" + strings.ReplaceAll(test.name, " ", "-")}
			}
			out, err := w.try(args...)
			if (err == nil) != (test.want == "") || !strings.Contains(out, test.want) {
				t.Errorf("%v\n%s; want %q", err, out, test.want)
			}
		})
	}
	public, _ := cast(t, gitlabtest.Project{Visibility: gitlabtest.Public})
	w.git("ls-remote", public.CloneURL(projectPath, ""))
	response, err := http.Get(s.CloneURL(projectPath, "") + "/info/refs?service=git-upload-pack")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	check(t, "challenge", []any{response.StatusCode, response.Header.Get("Www-Authenticate")}, []any{401, `Basic realm="GitLab"`})
	for _, path := range []string{"/HEAD", "/config", "/info/refs", "/objects/info/packs", "/info/refs?service=git-upload-archive"} {
		response, err := http.Get(public.CloneURL(projectPath, "") + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		check(t, "nothing but the smart protocol: "+path, response.StatusCode, 404)
	}
}

func TestProtectedBranchesRefusePushes(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{Protected: []gitlabtest.Protected{
		{Branch: "main"}, {Branch: "release-*", Push: gitlabtest.Developer}, {Branch: "wild-*", AllowForce: true},
	}})
	r := receive(t)
	addHook(t, s, r.URL)
	developer := s.CloneURL(projectPath, member(t, s, "developer"))
	maintainer := s.CloneURL(projectPath, member(t, s, "maintainer"))
	base := w.git("rev-parse", "HEAD")
	next := w.commit("next\n", "a", "1\n")
	w.git("push", "--quiet", maintainer, next+":refs/heads/release-1", next+":refs/heads/wild-1", next+":refs/heads/free")
	for _, test := range []struct {
		name, url, push, want string
	}{
		{"developer to main", developer, "main:main", "GitLab: You are not allowed to push code to protected branches on this project."},
		{"developer makes a protected branch", developer, "main:refs/heads/wild-2", "GitLab: You are not allowed to create protected branches on this project."},
		{"developer deletes a protected branch", developer, ":release-1", "GitLab: You are not allowed to delete protected branches from this project. Only a project maintainer or owner can delete a protected branch."},
		{"maintainer deletes a protected branch", maintainer, ":release-1", "GitLab: You can only delete protected branches using the web interface."},
		{"maintainer deletes the default branch", maintainer, ":main", "GitLab: The default branch of a project cannot be deleted."},
		{"maintainer forces", maintainer, "+" + base + ":release-1", "GitLab: You are not allowed to force push code to a protected branch on this project."},
		{"a name like an id", maintainer, "main:refs/heads/" + base, "GitLab: You cannot create a branch with a 40-character hexadecimal branch name."},
		{"developer to a release", developer, "main:refs/heads/release-2", ""},
		{"developer forces a free branch", developer, "+" + base + ":free", ""},
		{"maintainer forces where it is allowed", maintainer, "+" + base + ":wild-1", ""},
		{"maintainer to main", maintainer, "main:main", ""},
		{"developer deletes a free branch", developer, ":free", ""},
	} {
		r.take()
		out, err := w.try("push", test.url, test.push)
		if (err == nil) != (test.want == "") || !strings.Contains(out, test.want) {
			t.Errorf("%s: %v\n%s; want %q", test.name, err, out, test.want)
		}
		idle(t, s)
		if test.want != "" {
			check(t, test.name+": a refused push is no event", len(r.take()), 0)
		}
	}
}

func TestPartialFetches(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	base := sc.git("rev-parse", "HEAD")
	lost := sc.commit("lost\n", "lost", "1\n")
	sc.push("main")
	sc.git("reset", "--quiet", "--hard", base)
	sc.commit("kept\n", "kept", "1\n")
	sc.push("--force", "main")

	mirror := &work{t: t, dir: t.TempDir(), url: sc.work.url}
	mirror.git("init", "--quiet", "--bare")
	mirror.git("fetch", "--quiet", "--filter=blob:none", "--depth=1", mirror.url, "main", lost)
	check(t, "changed, without a blob", mirror.git("diff-tree", "-r", "--name-only", "--no-renames", lost, "FETCH_HEAD"), "kept\nlost")
	missing := mirror.git("rev-list", "--objects", "--missing=print", "--no-object-names", lost)
	if !strings.Contains(missing, "?") {
		t.Errorf("the filter was ignored: no blob is missing in\n%s", missing)
	}
	if err := sc.CollectGarbage(t.Context(), projectPath); err != nil {
		t.Fatal(err)
	}
	late := &work{t: t, dir: t.TempDir(), url: sc.work.url}
	late.git("init", "--quiet", "--bare")
	if out, err := late.try("fetch", "--quiet", late.url, lost); err == nil {
		t.Errorf("a collected commit was fetched: %s", out)
	}
	late.git("fetch", "--quiet", late.url, "main")
}

// TestLargePush sends more than git does in one piece, so that the body is chunked, and fetches it again.
func TestLargePush(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	content := make([]byte, 5<<20)
	rand.Read(content)
	sc.commit("large\n", "large", string(content))
	sc.push("main")
	dir := t.TempDir()
	sc.git("clone", "--quiet", sc.work.url, dir)
	back, err := os.ReadFile(filepath.Join(dir, "large"))
	if err != nil || !bytes.Equal(back, content) {
		t.Errorf("%d bytes came back, %v", len(back), err)
	}
}

func TestGitHooksOfAServerThatIsGone(t *testing.T) {
	home := t.TempDir()
	s, err := gitlabtest.Start(gitlabtest.Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: projectPath}); err != nil {
		t.Fatal(err)
	}
	dir, err := s.RepositoryPath(projectPath)
	if err != nil {
		t.Fatal(err)
	}
	w := clone(t, s, s.RootToken())
	first := w.commit("first\n")
	w.push("main")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	w.commit("second\n")
	if out, err := w.try("push", dir, "main"); err == nil {
		t.Errorf("a push that nobody hears of was accepted: %s", out)
	}
	again, err := gitlabtest.Start(gitlabtest.Options{Home: home})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := again.CreateProject(t.Context(), gitlabtest.Project{Path: projectPath}); err != nil {
		t.Fatal(err)
	}
	r := receive(t)
	addHook(t, again, r.URL)
	w.git("push", "--quiet", dir, "main")
	idle(t, again)
	check(t, "what the folder held is there", r.one(t).Before, first)
}

// TestOnlyGitHooksReport: nobody else can say that something was pushed.
func TestOnlyGitHooksReport(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	r, err := http.NewRequestWithContext(t.Context(), "POST", sc.Server.URL()+"/-/internal/post-receive", strings.NewReader(zero+" "+sc.git("rev-parse", "HEAD")+" plain refs/heads/forged\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Gitlab-Project", projectPath)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	check(t, "status", response.StatusCode, 401)
	idle(t, sc.Server)
	check(t, "deliveries", len(sc.take()), 0)
}

// TestCallersThatGoAway: no git outlives the request that it answers.
func TestCallersThatGoAway(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", sc.Server.CloneURL(projectPath, "")+"/git-upload-pack", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("root", sc.RootToken())
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r) // git begins to answer at once
	if err != nil {
		t.Fatal(err)
	}
	self := os.Getpid()
	if running := childrenOf(t, self, "http-backend"); len(running) != 1 {
		t.Fatalf("these run: %v; want one git http-backend", running)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err := reader.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := childrenOf(t, self, "http-backend")
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("git http-backend still runs: %v", left)
		}
	}
}

// TestCloseEndsGit: a caller in the middle of a push does not hold the server.
func TestCloseEndsGit(t *testing.T) {
	s, err := gitlabtest.Start(gitlabtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: projectPath}); err != nil {
		t.Fatal(err)
	}
	reader, writer := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.CloneURL(projectPath, "")+"/git-upload-pack", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("root", s.RootToken())
	r.Header.Set("Content-Type", "application/x-git-upload-pack-request")
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if _, err := io.Copy(io.Discard, response.Body); err == nil {
		t.Error("what was broken off looks whole")
	}
	if err := errors.Join(writer.Close(), response.Body.Close()); err != nil {
		t.Error(err)
	}
}

// childrenOf finds our children whose command line holds a word.
func childrenOf(t *testing.T, parent int, word string) []string {
	t.Helper()
	out, err := process.Cmd{Path: "ps", Args: []string{"-e", "-o", "ppid=,args="}}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(out.Stdout)) {
		fields := strings.Fields(line)
		if len(fields) > 1 && fields[0] == strconv.Itoa(parent) && strings.Contains(line, word) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}
