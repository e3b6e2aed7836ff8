package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// site is a whole installation: GitLab and Jenkins as stand-ins, everything
// else real: git, the daemon, the job's aibuild, Packer, QEMU, Glance, MariaDB.
type site struct {
	*person
	gitlab  *gitlabtest.Server
	jenkins *jenkinstest.Server
	script  string // of the job
	repo    string
	agent   string // folder of the machine that builds
	config  string
	url     string
	daemon  *exec.Cmd
	log     *watcher

	token string // of the daemon, for GitLab
	reads string // of the agents: it reads the repository
}

const siteProject = "ops/images"

// The daemon's user of Jenkins, who may no more than README says.
const (
	siteUser      = "aibuild"
	siteUserToken = "11site0f4c4n4ry"
)

// jobScript is what the stand-in runs in place of the job's Groovy: it has a token for the daemon, and no
// password of the database. The source's disk is not in git.
const jobScript = `#!/bin/bash
set -eu
export AIBUILD_SERVER=$(cat "$AGENT/server") AIBUILD_TOKEN_FILE=$AGENT/token AIBUILD_DATA=$AGENT/data
[ -z "${AIBUILD_DSN:-}${AIBUILD_CONFIG:-}" ]
rm -rf src # Jenkins keeps the workspace
git clone -q "$AIBUILD_PROJECT" src
cd src
git checkout -q "$AIBUILD_COMMIT"
ln "$DISK" "$AIBUILD_IMAGE/disk.qcow2"
exec "$AIBUILD" run --yes "$AIBUILD_IMAGE"
`

func newSite(t *testing.T, images ...string) *site {
	t.Helper()
	return newSiteWith(t, jobScript, images...)
}

// newSiteWith is newSite with another job.
func newSiteWith(t *testing.T, script string, images ...string) *site {
	t.Helper()
	s := &site{script: script, person: newPerson(t), repo: filepath.Join(t.TempDir(), "repo"), agent: t.TempDir()}
	for _, name := range images {
		dir := quick(t, name, nil)
		for _, junk := range []string{".git", "disk.qcow2"} {
			if err := os.RemoveAll(filepath.Join(dir, junk)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(s.repo, "images"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, filepath.Join(s.repo, "images", name)); err != nil {
			t.Fatal(err)
		}
	}
	s.config = filepath.Join(t.TempDir(), "config.yaml")
	s.startGitLab()
	s.startJenkins()
	if err := os.WriteFile(s.config, []byte("gitlab:\n  projects:\n    - path: "+siteProject+"\n      release: {refs: [main]}\njenkins: {job: aibuild/build}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	git(t, s.repo)
	s.setUp("jenkins", "JENKINS_SETUP_USER="+jenkinstest.DefaultUser, "JENKINS_SETUP_TOKEN="+jenkinstest.DefaultToken)
	s.start()
	s.setUp("gitlab", "GITLAB_SETUP_TOKEN="+s.gitlab.RootToken())
	return s
}

func (s *site) startGitLab() {
	var err error
	if s.gitlab, err = gitlabtest.Start(gitlabtest.Options{}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := s.gitlab.Close(); err != nil {
			s.t.Error(err)
		}
	})
	s.token, s.reads = s.gitlabUser("daemon", "api"), s.gitlabUser("agent", "read_repository")
	members := map[string]gitlabtest.Role{"daemon": gitlabtest.Maintainer, "agent": gitlabtest.Reporter}
	if _, err := s.gitlab.CreateProject(context.Background(), gitlabtest.Project{Path: siteProject, Visibility: gitlabtest.Private, Members: members}); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.Get(s.gitlab.URL() + "/" + siteProject + ".git/info/refs?service=git-upload-pack")
	if err != nil || response.StatusCode != http.StatusUnauthorized || response.Body.Close() != nil {
		s.t.Fatalf("the project is not private: %v, %v", response, err)
	}
}

// gitlabUser makes a user, and gives a token of it.
func (s *site) gitlabUser(name, scope string) string {
	s.t.Helper()
	if _, err := s.gitlab.CreateUser(gitlabtest.User{Username: name}); err != nil {
		s.t.Fatal(err)
	}
	made, err := s.gitlab.CreateToken(gitlabtest.Token{User: name, Scopes: []string{scope}})
	if err != nil {
		s.t.Fatal(err)
	}
	return made.Secret
}

// gitReads gives the agent what its git needs to read the private project: a credential helper, which keeps the token
// off all command lines and out of every URL.
func (s *site) gitReads() []string {
	s.t.Helper()
	credentials := filepath.Join(s.agent, "git-credentials")
	placed(s.t, credentials, strings.Replace(s.gitlab.URL(), "://", "://agent:"+s.reads+"@", 1)+"\n")
	return []string{"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=credential.helper", "GIT_CONFIG_VALUE_0=store --file=" + credentials, "GIT_TERMINAL_PROMPT=0"}
}

// siteUsers are an administrator, who sets up the jobs, and the daemon's user.
func siteUsers() []jenkinstest.User {
	daemon := jenkinstest.User{Name: siteUser, Token: siteUserToken, Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}}}
	for _, right := range []jenkinstest.Permission{jenkinstest.ItemRead, jenkinstest.ItemBuild, jenkinstest.ItemCancel} {
		daemon.Grants = append(daemon.Grants, jenkinstest.Grant{Permission: right, Path: "aibuild"})
	}
	return []jenkinstest.User{{Name: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Admin: true}, daemon}
}

func (s *site) startJenkins() {
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	extra := []string{asMain + "=1", "AIBUILD=" + self, "AGENT=" + s.agent, "DISK=" + s.lab.file}
	for k, v := range s.lab.env {
		if k != "AIBUILD_DSN" && !strings.HasPrefix(k, "STACK_") {
			extra = append(extra, k+"="+v)
		}
	}
	extra = append(extra, s.gitReads()...)
	token := s.must(0, "token", "create", "agent", "--role", "recorder", "--project", siteProject).out
	if err := os.WriteFile(filepath.Join(s.agent, "token"), []byte(token), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.jenkins, err = jenkinstest.Start(jenkinstest.Options{QuietPeriod: -1, Executors: 2, Extra: extra, Users: siteUsers(),
		Adopted: jenkinstest.Job{Command: s.script, UnstableReturn: 3}}); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("the last build said:\n%s", tailOf(s.console()))
		}
		if err := s.jenkins.Close(); err != nil {
			s.t.Error(err)
		}
	})
}

// setUp makes job and webhook as README has it: nothing is done by hand.
func (s *site) setUp(what string, env ...string) {
	s.t.Helper()
	env = append(env, "AIBUILD_GITLAB_SECRET=hook-s3cret", "GITLAB_URL="+s.gitlab.URL(), "GITLAB_TOKEN="+s.token,
		"JENKINS_URL="+s.jenkins.URL(), "JENKINS_USER="+siteUser, "JENKINS_TOKEN="+siteUserToken)
	args := []string{what, "setup", "--config", s.config}
	if what == "gitlab" {
		args = append(args, "--hook-url", s.url+hookPath)
	}
	if r := s.lab.run(context.Background(), s.data, env, args...); r.code != 0 || !strings.Contains(r.out, isMade) {
		s.t.Fatalf("%s setup = %d\n%s%s", what, r.code, r.out, r.err)
	}
}

// console is what the last build has printed, for who looks into a failure.
func (s *site) console() string {
	request, err := http.NewRequest(http.MethodGet, s.jenkins.URL()+"/job/aibuild/job/build/lastBuild/consoleText", nil)
	if err != nil {
		return err.Error()
	}
	request.SetBasicAuth(jenkinstest.DefaultUser, jenkinstest.DefaultToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return err.Error()
	}
	return string(text)
}

// start starts the daemon, which is known again under the address that it had.
func (s *site) start() {
	s.t.Helper()
	address := "127.0.0.1:0"
	if s.url != "" {
		address = strings.TrimPrefix(s.url, "http://")
	}
	s.daemon = s.lab.command(context.Background(), s.data, []string{
		"AIBUILD_GITLAB_SECRET=hook-s3cret", "GITLAB_URL=" + s.gitlab.URL(), "GITLAB_TOKEN=" + s.token,
		"JENKINS_URL=" + s.jenkins.URL(), "JENKINS_USER=" + siteUser, "JENKINS_TOKEN=" + siteUserToken,
	}, "serve", "--config", s.config, "--listen", address)
	s.log = &watcher{text: "listening on ", seen: make(chan struct{})}
	s.daemon.Stderr = s.log
	if err := s.daemon.Start(); err != nil {
		s.t.Fatal(err)
	}
	daemon, log := s.daemon, s.log
	s.t.Cleanup(func() {
		if daemon.ProcessState == nil {
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		}
		if s.t.Failed() {
			s.t.Logf("the daemon said:\n%s", tailOf(log.String()))
		}
	})
	select {
	case <-s.log.seen:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("the daemon does not listen:\n%s", s.log)
	}
	_, said, _ := strings.Cut(s.log.String(), "listening on ")
	said, _, _ = strings.Cut(said, "\n")
	s.url = "http://" + said
	if err := os.WriteFile(filepath.Join(s.agent, "server"), []byte(s.url), 0o600); err != nil {
		s.t.Fatal(err)
	}
	response, err := http.Get(s.url + "/readyz")
	if err != nil || response.StatusCode != http.StatusOK || response.Body.Close() != nil {
		s.t.Fatalf("not ready: %v, %v", response, err)
	}
}

// stop ends the daemon as systemd does.
func (s *site) stop() {
	s.t.Helper()
	began := time.Now()
	if err := s.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		s.t.Fatal(err)
	}
	if err := s.daemon.Wait(); err != nil || time.Since(began) > 12*time.Second {
		s.t.Errorf("the daemon ended with %v after %v", err, time.Since(began))
	}
}

// push commits what is in the repository and pushes it to a branch.
func (s *site) push(message, branch string) (commit string) {
	s.t.Helper()
	script := `cd "$0" && git add -A && git -c user.name=tester -c user.email=t@example.com commit -q --allow-empty -m "$1" && git push -q "$2" HEAD:refs/heads/"$3" && git rev-parse HEAD`
	out, err := exec.Command("bash", "-ec", script, s.repo, message, s.gitlab.CloneURL(siteProject, s.gitlab.RootToken()), branch).CombinedOutput()
	if err != nil {
		s.t.Fatalf("push: %v\n%s", err, out)
	}
	lines := strings.Fields(string(out))
	return lines[len(lines)-1]
}

// edit changes a file of the repository.
func (s *site) edit(name, content string) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.repo, name), []byte(content), 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// runsOf waits until a commit has so many runs and all have ended; it gives
// "image:state" of them, oldest first, and the newest run.
func (s *site) runsOf(commit string, n int) (string, map[string]any) {
	s.t.Helper()
	for end := time.Now().Add(4 * time.Minute); ; time.Sleep(300 * time.Millisecond) {
		states := strings.Fields(s.lab.sql(s.t, "SELECT CONCAT(image, ':', state, ':', finished) FROM run WHERE commit_sha = '"+commit+"' ORDER BY seq"))
		if len(states) == n && !strings.Contains(strings.Join(states, " "), ":0") {
			id := strings.TrimSpace(s.lab.sql(s.t, "SELECT id FROM run WHERE commit_sha = '"+commit+"' ORDER BY seq DESC LIMIT 1"))
			text := strings.Join(states, " ")
			return strings.ReplaceAll(text, ":1", ""), s.shown(id)
		}
		if time.Now().After(end) {
			s.t.Fatalf("runs of %s: %v, want %d that have ended", commit, states, n)
		}
	}
}

func (s *site) shown(id string) map[string]any {
	return decoded[map[string]any](s.t, s.must(0, "runs", "show", id, "-o", "json").out)
}

// status is GitLab's own row for a commit, once it is as wanted.
func (s *site) status(commit, image, want string) string {
	s.t.Helper()
	type row struct{ Name, Status, Description string }
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		request, err := http.NewRequest(http.MethodGet, s.gitlab.URL()+"/api/v4/projects/ops%2Fimages/repository/commits/"+commit+"/statuses", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		request.Header.Set("PRIVATE-TOKEN", s.gitlab.RootToken())
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			s.t.Fatal(err)
		}
		rows := decodedFrom[[]row](s.t, response.Body)
		for _, r := range rows {
			if r.Name == "aibuild/"+image && r.Status == want {
				return r.Description
			}
		}
		if time.Now().After(end) {
			s.t.Fatalf("the commit's statuses are %+v, want %s for %s", rows, want, image)
		}
	}
}

// TestPushMakesAnImage: from git push to Glance, and back to the commit.
func TestPushMakesAnImage(t *testing.T) {
	s := newSite(t, "pushed", "other")
	one := s.push("two images", "main")
	if got, _ := s.runsOf(one, 2); got != "other:success pushed:success" {
		t.Fatalf("the first push: %s", got)
	}
	s.status(one, "pushed", "success")
	uuid := s.show("pushed")["image_uuid"].(string)
	checkCloud(t, s.person, uuid)

	// A test that fails names its case beside the commit; nothing is built.
	s.edit("images/pushed/tests/hello.sh", "#!/bin/sh\necho the reason\nexit 1\n")
	two := s.push("a test that fails", "main")
	got, run := s.runsOf(two, 1)
	if got != "pushed:unstable" || run["from"] != "test" || run["image_uuid"] != uuid {
		t.Errorf("a test that fails: %s, %v", got, run)
	}
	if text := s.status(two, "pushed", "failed"); !strings.Contains(text, "bios-virtio-nocloud/hello") {
		t.Errorf("the status says %q, not which case", text)
	}

	// The daemon is away during a push: it is built when it is back.
	s.stop()
	s.edit("images/pushed/tests/hello.sh", "#!/bin/sh\necho mended\n")
	three := s.push("mended", "main")
	s.start()
	if got, run := s.runsOf(three, 1); got != "pushed:success" {
		t.Errorf("after the daemon was away: %s, %v", got, run)
	}

	// A branch that may not release stops after its tests.
	s.edit("images/other/off.rom", string(offROM())+"another build")
	four := s.push("on a branch", "feature")
	if got, run := s.runsOf(four, 1); got != "other:success" {
		t.Errorf("the branch: %s, %v", got, run)
	} else if img := s.show(fmt.Sprint(run["image_uuid"])); img["state"] != "passed" {
		t.Errorf("the branch's image is %v, want it passed and no further", img["state"])
	}
	if out := s.must(0, "runs", "list", "-o", "json").out; !strings.Contains(out, three) {
		t.Errorf("runs list does not show the run:\n%s", out)
	}
	if n := s.jenkins.Posts("aibuild/build"); n != 5 {
		t.Errorf("%d builds were started, want 5", n)
	}
	s.stop()
	token, err := os.ReadFile(filepath.Join(s.agent, "token"))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"hook-s3cret", s.token, s.reads, siteUserToken, strings.TrimSpace(string(token))} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a secret is in the daemon's log")
		}
	}
	if n := s.lab.count(t, "SELECT COUNT(*) FROM event WHERE verb = 'built' AND actor LIKE 'jenkins:aibuild/build#% (agent)'"); n < 3 {
		t.Errorf("%d images were recorded by builds with a token, want 3", n)
	}
}
