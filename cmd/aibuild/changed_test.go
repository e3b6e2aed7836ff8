package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitIn runs git in the working folder, with nobody's configuration.
func gitIn(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@example.org",
		"GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func commitAll(t *testing.T, message string) {
	t.Helper()
	gitIn(t, "add", "--all")
	gitIn(t, "commit", "--quiet", "--allow-empty", "--message", message)
}

// imageRepo makes a repository of three images on main, the last made from the first, and a branch that stands on it.
func imageRepo(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	gitIn(t, "init", "--quiet", "--initial-branch=main")
	for _, name := range []string{"zero", "web", "store"} {
		if r := call(t, nil, "init", name, "images-"+name); r.code != 0 {
			t.Fatal(r.err)
		}
	}
	b, err := os.ReadFile("images-store/aibuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "from:") {
			line = "from: {image: zero}\n"
		}
		kept = append(kept, line)
	}
	write(t, "images-store/aibuild.yaml", strings.Join(kept, ""))
	if r := call(t, nil, "validate", "images-store"); r.code != 0 {
		t.Fatal(r.err)
	}
	commitAll(t, "all")
	gitIn(t, "checkout", "--quiet", "-b", "feature")
}

func TestChanged(t *testing.T) {
	imageRepo(t)
	r := call(t, nil, "changed")
	if r.code != 0 || r.out != "" || !strings.Contains(r.err, "where it left main") {
		t.Errorf("nothing changed: %+v", r)
	}
	write(t, "images-zero/more", "x")
	write(t, "images-store/more", "x")
	write(t, "images-web/README.md", "x")
	commitAll(t, "work")
	write(t, "not-yet", "x")
	r = call(t, nil, "changed")
	want := []string{
		"IMAGE  STAGE       REASON",
		"zero   build       changed: images-zero/more",
		"store  build       changed: images-store/more; after zero",
		"web    unaffected  no stage reads what has changed: images-web/README.md",
	}
	if got := strings.Split(strings.TrimSpace(r.out), "\n"); r.code != 0 || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if !strings.Contains(r.err, "uncommitted paths, which do not count: 1\n") {
		t.Errorf("stderr %q", r.err)
	}
	write(t, "images-web/aibuild.yaml", "name: web\nnonsense: 1\n")
	if err := os.RemoveAll("images-zero"); err != nil {
		t.Fatal(err)
	}
	commitAll(t, "[aibuild skip store]")
	r = call(t, nil, "changed", "--base", "main")
	for _, line := range []string{"web    rejected  images-web/aibuild.yaml:1: ", "(and ", "more: aibuild validate images-web)", "zero   removed   the definition was deleted", "store  skipped   the commit says [aibuild skip store]"} {
		if !strings.Contains(r.out, line) {
			t.Errorf("lacks %q:\n%s", line, r.out)
		}
	}
	if strings.Count(r.out, "\n") != 4 {
		t.Errorf("more than one line per image:\n%s", r.out)
	}
}

// The fields of the JSON are a contract: they only grow.
func TestChangedJSON(t *testing.T) {
	imageRepo(t)
	base := gitIn(t, "rev-parse", "HEAD")
	write(t, "images-web/more", "x")
	commitAll(t, "work")
	r := call(t, nil, "changed", "-o", "json", "--base", base)
	var got map[string]any
	if err := json.Unmarshal([]byte(r.out), &got); r.code != 0 || err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	want := `{"commit":"` + gitIn(t, "rev-parse", "HEAD") + `","images":[{"folder":"images-web","from":"build","image":"web","reason":"changed: images-web/more"}],` +
		`"new":"` + gitIn(t, "rev-parse", "HEAD") + `","old":"` + base + `","reason":"compared with ` + base[:10] + `","removed":[],"skipped":[],"unaffected":[]}`
	if again, err := json.Marshal(got); err != nil || string(again) != want {
		t.Errorf("got  %s\nwant %s", again, want)
	}
	if r := call(t, nil, "changed", "-o", "yaml", "--base", base); !strings.Contains(r.out, "image: web") {
		t.Errorf("yaml: %+v", r)
	}
}

func TestChangedRefuses(t *testing.T) {
	t.Chdir(t.TempDir())
	strict(t, []string{"changed"}, "no git repository")
	gitIn(t, "init", "--quiet", "--initial-branch=main")
	strict(t, []string{"changed"}, "no commit yet")
	commitAll(t, "empty")
	strict(t, []string{"changed", "--base", "nothing"}, `"nothing" names no commit`)
	strict(t, []string{"changed", "--base", ""}, "--base is empty")
	strict(t, []string{"changed", "--base=--all"}, `"--all" names no commit`)
	strict(t, []string{"changed", "here"}, "unexpected argument")
	gitIn(t, "branch", "--quiet", "--move", "work")
	strict(t, []string{"changed"}, "give a base")
}
