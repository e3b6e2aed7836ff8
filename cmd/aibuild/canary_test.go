package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// vault is a daemon with every kind of secret, each of which is to be found by
// its text wherever it gets out.
type vault struct {
	t       *testing.T
	gitlab  *gitlabtest.Server
	jenkins *jenkinstest.Server
	data    string
	env     []string
	url     string
	daemon  *exec.Cmd
	log     *watcher
	secrets map[string]string
	token   string // of the daemon's API
}

const vaultJob = `#!/bin/sh
echo "as in $AIBUILD_IMAGE"
exit 1
`

func newVault(t *testing.T) *vault {
	t.Helper()
	key := base64.StdEncoding.EncodeToString([]byte("c4n4ry-key-of-the-signature-0000"))
	v := &vault{t: t, data: t.TempDir(), secrets: map[string]string{
		"webhook token": "c4n4ry-hook-token", "signing key": key, "jenkins token": "c4n4ry-jenkins-token", "gitlab token": "glpat-c4n4ry-gitlab-token",
		"a wrong token": "c4n4ry-wrong-token", "a token in a query": "c4n4ry-query-token",
	}}
	t.Cleanup(func() { // when the daemon has ended, its keeper may just be ending it
		err := privatedb.Stop(context.Background(), v.data)
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			err = privatedb.Stop(context.Background(), v.data)
		}
		if err != nil {
			t.Error(err)
		}
	})
	v.startForges()
	dir := t.TempDir() // beside what is searched
	for name, secret := range map[string]string{"hook": v.secrets["webhook token"], "key": "whsec_" + key, "jenkins": v.secrets["jenkins token"], "gitlab": v.secrets["gitlab token"]} {
		v.must(os.WriteFile(filepath.Join(dir, name), []byte(secret+"\n"), 0o600))
	}
	config := fmt.Sprintf(`database: {dsn: private}
gitlab:
  url: %[1]s
  token_file: %[2]s/gitlab
  projects: [{path: ops/token, secret_files: [%[2]s/hook]}, {path: ops/key, secret_files: [%[2]s/key]}]
jenkins: {url: %[3]s, user: daemon, token_file: %[2]s/jenkins, job: build}
`, v.gitlab.URL(), dir, v.jenkins.URL())
	v.must(os.WriteFile(filepath.Join(dir, "config.yaml"), []byte(config), 0o600))
	v.env = []string{asMain + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + v.data, "TMPDIR=" + os.TempDir(), "AIBUILD_DATA=" + v.data, "AIBUILD_CONFIG=" + filepath.Join(dir, "config.yaml")}
	v.start()
	for path, h := range map[string]gitlabtest.Hook{"ops/token": {Token: v.secrets["webhook token"]}, "ops/key": {SigningToken: "whsec_" + key}} {
		h.URL = v.url + hookPath
		_, err := v.gitlab.AddHook(path, h)
		v.must(err)
	}
	out, err := v.run("token", "create", "looker", "--role", "admin").Output()
	v.must(err)
	v.token = strings.TrimSpace(string(out))
	v.secrets["api token"] = v.token
	return v
}

func (v *vault) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatal(err)
	}
}

func (v *vault) startForges() {
	v.t.Helper()
	var err error
	v.gitlab, err = gitlabtest.Start(gitlabtest.Options{RootToken: v.secrets["gitlab token"]})
	v.must(err)
	v.jenkins, err = jenkinstest.Start(jenkinstest.Options{QuietPeriod: -1, Users: []jenkinstest.User{{Name: "daemon", Token: v.secrets["jenkins token"], Admin: true}}})
	v.must(err)
	v.t.Cleanup(func() {
		if err := errors.Join(v.gitlab.Close(), v.jenkins.Close()); err != nil {
			v.t.Error(err)
		}
	})
	for _, path := range []string{"ops/token", "ops/key"} {
		_, err := v.gitlab.CreateProject(v.t.Context(), gitlabtest.Project{Path: path, Protected: []gitlabtest.Protected{}})
		v.must(err)
	}
	job := jenkinstest.Job{Path: "build", Kind: jenkinstest.Pipeline, Concurrent: true, Command: vaultJob}
	for _, name := range []string{"AIBUILD_RUN_ID", "AIBUILD_PROJECT", "AIBUILD_REF", "AIBUILD_COMMIT", "AIBUILD_IMAGE", "AIBUILD_FROM"} {
		job.Parameters = append(job.Parameters, jenkinstest.Parameter{Name: name})
	}
	v.must(v.jenkins.AddJob(job))
}

// run is a command of the program; AIBUILD_DSN is that of the daemon.
func (v *vault) run(args ...string) *exec.Cmd {
	self, err := os.Executable()
	v.must(err)
	cmd := exec.Command(self, args...)
	cmd.Env = v.env
	return cmd
}

func (v *vault) start() {
	v.t.Helper()
	v.daemon = v.run("serve", "--listen", "127.0.0.1:0", "--log-level", "trace")
	v.log = &watcher{text: "listening on ", seen: make(chan struct{})}
	v.daemon.Stderr = v.log
	v.must(v.daemon.Start())
	v.t.Cleanup(func() {
		if v.daemon.ProcessState == nil {
			_ = v.daemon.Process.Kill()
			_ = v.daemon.Wait()
		}
		if v.t.Failed() {
			v.t.Logf("the daemon said:\n%s", tailOf(v.log.String()))
		}
	})
	select {
	case <-v.log.seen:
	case <-time.After(time.Minute):
		v.t.Fatalf("the daemon does not listen:\n%s", v.log)
	}
	_, said, _ := strings.Cut(v.log.String(), "listening on ")
	said, _, _ = strings.Cut(said, "\n")
	v.url = "http://" + said
}

// push pushes an image.
func (v *vault) push(path, image string) {
	v.t.Helper()
	const script = `cd "$0"; git init -q -b main; mkdir -p images/x
		printf 'name: %s\nos: {distro: tiny, version: "1"}\nbuild: {template: t.json}\ntest: {user: root}\nfrom: {iso: "https://example.org/a.iso", checksum: "sha256:%064d"}\n' "$2" 0 >images/x/aibuild.yaml
		echo '{}' >images/x/t.json; git add -A; git -c user.name=t -c user.email=t@example.com commit -qm x; git push -qf "$1" main`
	out, err := exec.Command("bash", "-ec", script, v.t.TempDir(), v.gitlab.CloneURL(path, v.gitlab.RootToken()), image).CombinedOutput()
	if err != nil {
		v.t.Fatalf("push: %v\n%s", err, out)
	}
	v.must(v.gitlab.Idle(v.t.Context()))
}

// get reads a page of the daemon.
func (v *vault) get(path string) string {
	v.t.Helper()
	r, err := http.NewRequest(http.MethodGet, v.url+path, nil)
	v.must(err)
	r.Header.Set("Authorization", "Bearer "+v.token)
	response, err := http.DefaultClient.Do(r)
	v.must(err)
	text, err := io.ReadAll(response.Body)
	v.must(errors.Join(err, response.Body.Close()))
	return string(text)
}

func (v *vault) until(what string, so func() bool) {
	v.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			v.t.Fatalf("not so after two minutes: %s\n%s", what, v.get("/api/v1/runs"))
		}
	}
}

// refused are deliveries that prove nothing.
func (v *vault) refused() {
	v.t.Helper()
	for _, header := range [][]string{
		{"X-Gitlab-Token", v.secrets["a wrong token"]}, {"X-Gitlab-Token", v.secrets["webhook token"] + "x"},
		{"webhook-signature", "v1," + v.secrets["signing key"], "webhook-id", "1", "webhook-timestamp", fmt.Sprint(time.Now().Unix())},
		{"Authorization", "Bearer " + v.secrets["a wrong token"]},
	} {
		r, err := http.NewRequest(http.MethodPost, v.url+hookPath+"?private_token="+v.secrets["a token in a query"], strings.NewReader(`{"object_kind":"push"}`))
		v.must(err)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		response, err := http.DefaultClient.Do(r)
		v.must(err)
		text, err := io.ReadAll(response.Body)
		v.must(errors.Join(err, response.Body.Close()))
		if response.StatusCode != http.StatusUnauthorized {
			v.t.Errorf("a wrong proof: %s", response.Status)
		}
		v.search("the answer to a wrong proof", string(text))
	}
}

// search fails the test for each secret in a text, in the forms in which it goes
// over the wire, too.
func (v *vault) search(where, text string) {
	v.t.Helper()
	for name, secret := range v.secrets {
		for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte("daemon:" + secret)), base64.StdEncoding.EncodeToString([]byte("oauth2:" + secret))} {
			if strings.Contains(text, form) {
				at := strings.Index(text, form)
				v.t.Errorf("%s shows the %s: …%q…", where, name, text[max(0, at-80):min(len(text), at+len(form)+20)])
			}
		}
	}
	if strings.Contains(text, "c4n4ry") {
		at := strings.Index(text, "c4n4ry")
		v.t.Errorf("%s shows a part of a secret: …%q…", where, text[max(0, at-80):min(len(text), at+40)])
	}
}

// watch looks at the command lines of all processes until it is stopped, and
// says how many of git's it saw.
func (v *vault) watch() (stop func() int) {
	var gits atomic.Int64
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
			lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, list := range lists {
				args, err := os.ReadFile(list)
				if err != nil || bytes.Contains(args, []byte(v.gitlab.CloneURL("ops/token", v.gitlab.RootToken()))) || bytes.Contains(args, []byte(v.gitlab.CloneURL("ops/key", v.gitlab.RootToken()))) {
					continue // it has ended, or is of the person who pushes
				}
				if bytes.Contains(args, []byte(v.data)) || bytes.Contains(args, []byte(v.gitlab.URL())) {
					gits.Add(1)
					v.search("a command line", string(args))
				}
			}
		}
	}()
	return func() int { close(done); <-ended; return int(gits.Load()) }
}

// dump is every row of every table.
func (v *vault) dump() string {
	v.t.Helper()
	server, err := privatedb.Open(v.t.Context(), privatedb.Config{Dir: v.data, Linger: time.Second})
	v.must(err)
	db, err := sql.Open("mysql", server.DSN())
	v.must(err)
	names := v.column(db, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	if len(names) < 10 {
		v.t.Errorf("only the tables %q", names)
	}
	var all strings.Builder
	for _, name := range names {
		columns := v.column(db, "SELECT CONCAT('`', column_name, '`') FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '"+name+"'")
		rows := v.column(db, "SELECT CONCAT_WS('|', "+strings.Join(columns, ", ")+") FROM `"+name+"`")
		fmt.Fprintf(&all, "%s: %d\n%s\n", name, len(rows), strings.Join(rows, "\n"))
	}
	v.must(errors.Join(db.Close(), server.Close()))
	return all.String()
}

func (v *vault) column(db *sql.DB, query string) []string {
	v.t.Helper()
	rows, err := db.Query(query)
	v.must(err)
	var all []string
	for rows.Next() {
		var text string
		v.must(rows.Scan(&text))
		all = append(all, text)
	}
	v.must(errors.Join(rows.Err(), rows.Close()))
	return all
}

// files searches all that lies in the state folder, the database's own files too.
func (v *vault) files() {
	v.t.Helper()
	n, readable := 0, false
	v.must(filepath.WalkDir(v.data, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) || err == nil && !d.Type().IsRegular() {
			return nil
		}
		content, readErr := os.ReadFile(path)
		if err != nil || readErr != nil {
			return errors.Join(err, readErr)
		}
		n, readable = n+1, readable || bytes.Contains(content, []byte("without-jenkins"))
		v.search(strings.TrimPrefix(path, v.data), string(content))
		return nil
	}))
	if n < 100 || !readable {
		v.t.Errorf("of %d files none has what happened: this test looks in the wrong place", n)
	}
}

// TestSecretsStayInside: a day with all kinds of failures, and no secret gets out.
func TestSecretsStayInside(t *testing.T) {
	v := newVault(t)
	stop := v.watch()
	states := func() string { return v.get("/api/v1/runs?limit=100") }
	// The job fails, and GitLab takes no status at first.
	v.gitlab.Fail(gitlabtest.Fault{Method: http.MethodPost, Path: "/api/v4/projects/*/statuses/", Answer: gitlabtest.Forbidden, Times: 2})
	v.push("ops/token", "by-token")
	v.push("ops/key", "by-key")
	v.refused()
	v.until("both builds have failed", func() bool { return strings.Count(states(), `"state":"failure"`) == 2 })
	// Jenkins does not know the daemon, and GitLab is broken.
	v.jenkins.RejectTokens(true)
	v.gitlab.Fail(gitlabtest.Fault{Path: "/ops/key.git/git-upload-pack", Answer: gitlabtest.BadGateway, Times: 2})
	v.push("ops/token", "without-jenkins")
	v.push("ops/key", "without-gitlab")
	v.until("it is said that jenkins refuses", func() bool { return strings.Contains(states(), "not logged in") })
	if seen := stop(); seen == 0 {
		t.Error("no program of the daemon was seen: this test looks in the wrong place")
	}

	list := states()
	pages := []string{"/", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/login", "/runs", "/images", "/api/v1/runs?limit=100", "/api/v1/images", "/nowhere"}
	for _, piece := range strings.Split(list, `"run_id":"`)[1:] {
		id, _, _ := strings.Cut(piece, `"`)
		pages = append(pages, "/runs/"+id, "/api/v1/runs/"+id)
		for _, words := range [][]string{{"runs", "show", id}, {"runs", "show", id, "-o", "json"}, {"runs", "log", id}, {"runs", "log", "--failed", id}} {
			out, _ := v.run(append(words, "--log-level", "trace")...).CombinedOutput() // a run without a log is an error
			v.search(strings.Join(words, " "), string(out))
		}
	}
	for _, page := range pages {
		v.search(page, v.get(page))
	}
	if text := v.get(pages[12]); !strings.Contains(text, "without-") {
		t.Errorf("the page of a run is none: %.300s", text)
	}
	dump := v.dump()
	if !strings.Contains(dump, "by-token") || !strings.Contains(dump, "not logged in") {
		t.Error("the dump has not what happened: this test looks in the wrong place")
	}
	v.search("the database", dump)
	if err := v.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := v.daemon.Wait(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	log := v.log.String()
	for _, says := range []string{"HTTP 502", "not logged in", "status 403"} {
		if !strings.Contains(log, says) && !strings.Contains(dump, says) {
			t.Errorf("the log says nothing of %q: this test tests nothing", says)
		}
	}
	v.search("the log", log)
	v.files()
}
