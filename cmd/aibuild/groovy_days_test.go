package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// withSCM is the environment of a job whose Jenkinsfile comes from a repository. The source's disk is in none.
func (a *agent) withSCM(repository string) []string {
	a.t.Helper()
	out, err := exec.Command("git", "-C", repository, "rev-parse", "HEAD").Output()
	if err != nil {
		a.t.Fatal(err)
	}
	return []string{"SCM_URL=" + repository, "SCM_COMMIT=" + strings.TrimSpace(string(out)), "DISK=" + a.lab.file, `AFTER_CHECKOUT=for i in images/*; do ln -f "$DISK" "$i/disk.qcow2"; done`}
}

// TestGroovyPipeline: the simplest Jenkinsfile, started by hand, on a branch that no shell likes; then what a push changes.
func TestGroovyPipeline(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.image("groovy-one", "images/groovy-one", nil)
	a.commit()
	a.image("groovy-two", "images/groovy-two", nil)
	a.commit()
	repo := a.workspace
	a.workspace = t.TempDir()
	branch := "feature/it's-$HOME-`id`-$(touch pwned)-ü"
	env := append(a.withSCM(repo), "GIT_BRANCH=origin/"+branch, "JENKINS_USER_ID=ada")
	db := ", databaseCredentialsId: 'aibuild-dsn')"
	simple := strings.NewReplacer("images/debian-12", "images/groovy-one", "')", "'"+db).Replace(example(t, "Jenkinsfile"))
	matrix := strings.ReplaceAll(example(t, "Jenkinsfile.matrix"), "(dir: folder)", "(dir: folder"+db)
	console, builds := a.runs(jenkinsfile{simple, env}, jenkinsfile{matrix, []string{"BUILD_NUMBER=8", "BUILD_TAG=jenkins-images-x-8", "GIT_BRANCH="}})
	for i, b := range builds {
		if b.Result != "SUCCESS" {
			t.Fatalf("build %d: %s: %s\n%s", i, b.Result, b.Error, tailOf(console))
		}
	}
	if got, want := stagesOf(builds[0]), "Checkout Open Build Test Publish Release"; got != want {
		t.Errorf("stages: %s, want %s", got, want)
	}
	if node := builds[0].of("node"); len(node) != 1 || node[0]["label"] != "kvm" {
		t.Errorf("agents: %v", node)
	}
	if limit := builds[0].of("timeout"); len(limit) != 1 || limit[0]["time"] != 180.0 || limit[0]["unit"] != "MINUTES" {
		t.Errorf("limits of time: %v", limit)
	}
	img := a.show("groovy-one@1")
	if img["state"] != lineage.StateReleased || img["artifact"].(map[string]any)["ref"] != branch {
		t.Errorf("the image is %v", img)
	}
	run := a.must(0, "runs", "show", img["image_uuid"].(string)).out
	if !strings.Contains(run, "ada") {
		t.Errorf("nobody says who has started the run:\n%s", run)
	}
	if builds[0].Description != "groovy-one "+img["image_uuid"].(string) {
		t.Errorf("the build's description: %q", builds[0].Description)
	}
	if img := a.show("groovy-two"); img["state"] != lineage.StateReleased {
		t.Errorf("the image of the matrix is %v", img["state"])
	}
	a.must(4, "image", "show", "groovy-one@2") // it was not changed
	for _, b := range builds {
		for _, sh := range b.of("sh") {
			if bound := fmt.Sprint(sh["bound"]); bound != "[]" && (sh["command"] == "build" || sh["command"] == "test" || sh["command"] == "") {
				t.Errorf("bound to %v: %s", sh["label"], bound)
			}
		}
	}
	if found, err := filepath.Glob(filepath.Join(a.workspace, "pwned")); err != nil || len(found) > 0 {
		t.Errorf("a branch's name was run by a shell: %v %v", found, err)
	}
}

func stagesOf(b ended) string {
	var names []string
	for _, stage := range b.of("stage") {
		names = append(names, stage["name"].(string))
	}
	return strings.Join(names, " ")
}

// TestGroovyPromote: an image that was only tested is released when somebody agrees; a revoked one is not.
func TestGroovyPromote(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.image("groovy-promoted", "images/it", nil)
	a.commit()
	test := "node('kvm') { aibuildBuild(dir: 'images/it', " + withDSN + "); aibuildTest(image: 'groovy-promoted', dir: 'images/it', " + withDSN + ") }"
	promote := strings.ReplaceAll(example(t, "Jenkinsfile.promote"), "credentialsId: 'aibuild-releaser'", withDSN)
	promote = strings.ReplaceAll(promote, "'debian-12'", "'groovy-promoted'")
	console, builds := a.groovy(test, promote)
	if builds[0].Result != "SUCCESS" || builds[1].Result != "SUCCESS" {
		t.Fatalf("%s %s, %s %s\n%s", builds[0].Result, builds[0].Error, builds[1].Result, builds[1].Error, tailOf(console))
	}
	if asked := builds[1].of("input"); len(asked) != 1 || asked[0]["message"] != "Release groovy-promoted?" {
		t.Errorf("asked: %v", asked)
	}
	img := a.show("groovy-promoted")
	if img["state"] != lineage.StateReleased || img["number"] != 1.0 {
		t.Errorf("the image is %v", img)
	}
	if n := a.lab.count(t, "SELECT COUNT(*) FROM event WHERE image_uuid = '"+img["image_uuid"].(string)+"' AND reason = 'approved in Jenkins'"); n == 0 {
		t.Error("the story does not say why")
	}
	a.must(0, "image", "revoke", "groovy-promoted", "--reason", "a hole")
	console, builds = a.groovy(promote)
	if b := builds[0]; b.Result != "FAILURE" || !strings.Contains(b.Error, "it was not revoked") || len(b.of("input")) > 0 {
		t.Errorf("a revoked image: %s %s\n%s", b.Result, b.Error, tailOf(console))
	}
}

// TestGroovyBadDays: what happens to agents, and to the daemon.
func TestGroovyBadDays(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.image("groovy-days", "images/it", nil)
	a.commit()
	a.secret("aibuild-token", a.must(0, "token", "create", "agent-of-the-bad-days", "--role", "recorder", "--project", "ops/images").out)
	build := "aibuildBuild(dir: 'images/it', " + withDSN + ")"
	away := "aibuildPipeline(dir: 'images/it', checkout: false, server: 'http://127.0.0.1:1')"
	run := "run: 'aibuild-out/run.json', " + withDSN
	wiped := "node('kvm') { aibuildOpen(dir: 'images/it', " + withDSN + "); aibuildBuild(dir: 'images/it', " + run + "); deleteDir(); aibuildTest(" + run + "); deleteDir(); aibuildRecord(" + withDSN + ") }"
	repo := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-al", a.workspace, repo).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a.env = []string{"GIT_URL=https://gitlab.example/ops/images.git"}
	console, builds := a.runs(
		jenkinsfile{build, []string{"PATH=" + withoutPacker(t), "AIBUILD_BIN=" + a.program()}},
		jenkinsfile{away, []string{"PATH=" + os.Getenv("PATH")}},
		jenkinsfile{wiped, []string{"BUILD_NUMBER=9", "BUILD_TAG=jenkins-images-x-9"}},
	)
	if b := builds[0]; b.Result != "FAILURE" || !strings.Contains(b.Error, "packer") {
		t.Errorf("without Packer: %s %s\n%s", b.Result, b.Error, tailOf(console))
	}
	if b := builds[1]; b.Result != "SUCCESS" || stagesOf(b) != "Open Build Test" || !strings.Contains(console, "the run stops after its tests") {
		t.Errorf("without the daemon: %s %s: %s\n%s", b.Result, b.Error, stagesOf(b), tailOf(console))
	}
	if b := builds[2]; b.Result != "SUCCESS" || len(b.of("unstash")) != 2 {
		t.Errorf("a workspace that is wiped: %s %s: %v\n%s", b.Result, b.Error, b.of("unstash"), tailOf(console))
	}
	a.workspace = repo
	a.killed(build)
}

// killed loses the agent in mid-build; Jenkins' user then replays the build.
func (a *agent) killed(script string) {
	a.t.Helper()
	cmd, _ := a.command(jenkinsfile{script, []string{"BUILD_NUMBER=10", "BUILD_TAG=jenkins-images-x-10", "AIBUILD_BIN=" + a.program()}})
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := &watcher{text: "Waiting for shutdown", seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = said, said, time.Second
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	select {
	case <-said.seen:
	case <-time.After(time.Minute):
		a.t.Errorf("nothing is built:\n%s", said)
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
		a.t.Error(err)
	}
	_ = cmd.Wait() // it was killed
	console, builds := a.runs(jenkinsfile{script, []string{"BUILD_NUMBER=11", "BUILD_TAG=jenkins-images-x-11", "AIBUILD_BIN=" + a.program()}})
	if b := builds[0]; b.Result != "SUCCESS" {
		a.t.Errorf("the replay: %s %s\n%s", b.Result, b.Error, tailOf(console))
	}
	if img := a.show("groovy-days"); img["state"] != lineage.StateBuilt {
		a.t.Errorf("the image is %v", img["state"])
	}
	a.nothingLeft()
}

// program is the real program as a file.
func (a *agent) program() string {
	a.t.Helper()
	self, err := os.Executable()
	if err != nil {
		a.t.Fatal(err)
	}
	file := placed(a.t, filepath.Join(a.t.TempDir(), "aibuild"), "#!/bin/sh\n"+asMain+"=1 exec '"+self+"' \"$@\"\n")
	if err := os.Chmod(file, 0o755); err != nil {
		a.t.Fatal(err)
	}
	return file
}

// withoutPacker is a PATH with all programs of this machine but one.
func withoutPacker(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, from := range filepath.SplitList(os.Getenv("PATH")) {
		entries, err := os.ReadDir(from)
		if err != nil {
			continue // it is in PATH, and not there
		}
		for _, e := range entries {
			if e.Name() == "packer" {
				continue
			}
			if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(dir, e.Name())); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
		}
	}
	return dir
}
