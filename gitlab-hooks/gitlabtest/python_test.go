package gitlabtest_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// TestPythonGitLabNoticesNothing drives the server with Debian's python3-gitlab, a client that nobody here wrote.
func TestPythonGitLabNoticesNothing(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	r := receive(t)
	w := clone(t, s, s.RootToken())
	first := w.commit("first\n", "images/a/x", "1\n", "images/b/x", "1\n")
	second := w.commit("second\n", "images/b/x", "2\n", "images/b/y", "\x00\xffraw\n")
	w.push("main", first+":refs/heads/feature/x")
	for _, i := range seq(1, 30) { // more than a page
		w.git("branch", "b"+i)
	}
	w.push("--all")
	cmd := exec.CommandContext(t.Context(), "/usr/bin/python3", "-W", "ignore", "testdata/drive.py", s.URL(), r.URL, first, second)
	cmd.Env = append(os.Environ(), "TOKEN="+s.RootToken(), "no_proxy=*", "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Fatalf("%v\n%s", err, out)
	}
	taken := r.take()
	if len(taken) != 2 {
		t.Fatalf("%d deliveries; want the test and its resend", len(taken))
	}
	check(t, "test and resend have one key", taken[1].Header.Get("Idempotency-Key"), taken[0].Header.Get("Idempotency-Key"))
}
