package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// delivered is a server that hands on what it gets.
func delivered(t *testing.T) (string, <-chan *http.Request) {
	came := make(chan *http.Request, 10)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Error(err)
		}
		came <- r
	}))
	t.Cleanup(server.Close)
	return server.URL, came
}

func next(t *testing.T, came <-chan *http.Request) *http.Request {
	t.Helper()
	select {
	case r := <-came:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("no hook came")
		return nil
	}
}

// git runs in a folder, with nobody's configuration.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "no_proxy=*",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v: %s", args, err, out)
	}
	return string(out)
}

// withToken puts a token into a clone URL.
func withToken(url, token string) string {
	return strings.Replace(url, "http://", "http://root:"+token+"@", 1)
}

// TestGitLab: a push by HTTP and one by path are delivered with the secret of the file; SIGTERM ends it, the
// repository stays.
func TestGitLab(t *testing.T) {
	hook, came := delivered(t)
	folder, work := t.TempDir(), t.TempDir()
	tokenFile, secretFile := filepath.Join(folder, "token"), filepath.Join(folder, "secret")
	args := []string{"gitlab", "--home", filepath.Join(folder, "home"), "--project", "group/images", "--project", "group/more",
		"--hook", hook, "--system-hook", hook + "/system", "--token-file", tokenFile, "--secret-file", secretFile}
	p := start(t, args...)
	token, err := os.ReadFile(tokenFile)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(secretFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if p.ready["token"] != "" || p.ready["clone_url"] != p.ready["url"]+"/group/images.git" {
		t.Errorf("%v", p.ready)
	}
	git(t, work, "init", "--quiet", "--initial-branch=main")
	git(t, work, "commit", "--quiet", "--allow-empty", "--message=first")
	url := withToken(p.ready["clone_url"], strings.TrimSpace(string(token)))
	git(t, work, "push", "--quiet", url, "main")
	git(t, work, "push", "--quiet", p.ready["repository"], "main:refs/tags/v1")
	want := map[string]int{"Push Hook": 1, "Tag Push Hook": 1, "System Hook": 2}
	for range 4 {
		r := next(t, came)
		want[r.Header.Get("X-Gitlab-Event")]--
		if r.Header.Get("X-Gitlab-Token") != strings.TrimSpace(string(secret)) || r.Header.Get("Webhook-Id") == "" {
			t.Errorf("%v", r.Header)
		}
	}
	for event, left := range want {
		if left != 0 {
			t.Errorf("%s: %d are missing", event, left)
		}
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := p.Wait(); err != nil || result.ExitCode != 0 {
		t.Errorf("%v: %s", err, result.Stderr)
	}
	p = start(t, args...)
	if out := git(t, work, "ls-remote", withToken(p.ready["clone_url"], strings.TrimSpace(string(token)))); !strings.Contains(out, "refs/heads/main") {
		t.Errorf("with the same home: %s", out)
	}
}

// TestGitLabSigns: a secret that is a signing token signs, and is not sent.
func TestGitLabSigns(t *testing.T) {
	hook, came := delivered(t)
	secret := write(t, "secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n")
	p := start(t, "gitlab", "--project", "group/images", "--unprotected", "--visibility", "public", "--hook", hook, "--secret-file", secret)
	work := t.TempDir()
	git(t, work, "init", "--quiet", "--initial-branch=main")
	git(t, work, "commit", "--quiet", "--allow-empty", "--message=first")
	git(t, work, "push", "--quiet", withToken(p.ready["clone_url"], p.ready["token"]), "main")
	r := next(t, came)
	if !strings.HasPrefix(r.Header.Get("Webhook-Signature"), "v1,") || r.Header.Get("X-Gitlab-Token") != "" {
		t.Errorf("%v", r.Header)
	}
	git(t, work, "commit", "--quiet", "--allow-empty", "--amend", "--message=forced")
	git(t, work, "push", "--quiet", "--force", withToken(p.ready["clone_url"], p.ready["token"]), "main")
	git(t, work, "ls-remote", p.ready["clone_url"])
	next(t, came)
}

func TestGitLabUsage(t *testing.T) {
	two := write(t, "two", "a\nb\n")
	for _, row := range []struct {
		args string
		code int
		says string
	}{
		{"gitlab --nope", 2, "nope"}, {"gitlab word", 2, "no arguments"}, {"gitlab --profile 18", 2, "15, 17.4 or 19"},
		{"gitlab --visibility some", 2, "private, internal or public"}, {"gitlab --token-file " + two, 2, "one line"},
		{"gitlab --secret-file " + two, 2, "one line"}, {"gitlab --secret-file /no/such/folder/x", 2, "no such file"},
		{"gitlab --listen 127.0.0.1:99999", 1, "invalid port"}, {"gitlab --project images", 1, "group/images"},
		{"gitlab --project group/images --hook ftp://x", 1, "Invalid url given"}, {"gitlab --system-hook x", 1, "Invalid url given"},
		{"gitlab --help", 0, "-secret-file"}, {"", 2, "gitlab|jenkins"},
	} {
		var stderr strings.Builder
		code := run(world{strings.NewReader(""), io.Discard, &stderr}, strings.Fields(row.args))
		if code != row.code || !strings.Contains(stderr.String(), row.says) {
			t.Errorf("%q: %d %s", row.args, code, stderr.String())
		}
	}
}
