package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// controller is the Jenkins of setUpThenPush: the stand-in, or a real one (build tag realjenkins).
type controller struct {
	url, user, token        string // who may make, configure and delete jobs
	daemonUser, daemonToken string // who may no more than the daemon needs
	folder                  string // that the daemon's user may use, and that is not there yet
}

func TestSetUpThenPush(t *testing.T) {
	g := newGround(t)
	setUpThenPush(t, g, controller{g.jenkins.URL(), "root", "root-c4n4ry-token", "daemon", "daemon-c4n4ry-token", "ops"})
}

// setUpThenPush: after both setups, with nothing done by hand, a push becomes a run, a build of the job, and a status
// beside the commit. What builds here reports nothing, so the run is a failure.
func setUpThenPush(t *testing.T, g *ground, j controller) {
	g.configure(fmt.Sprintf("gitlab: {projects: [{path: ops/images}]}\njenkins: {job: '%s/build'}\n", j.folder))
	data := t.TempDir()
	g.env["JENKINS_URL"], g.env["JENKINS_SETUP_USER"], g.env["JENKINS_SETUP_TOKEN"] = j.url, j.user, j.token
	g.env["JENKINS_USER"], g.env["JENKINS_TOKEN"] = j.daemonUser, j.daemonToken
	g.env["AIBUILD_DATA"], g.env["AIBUILD_DSN"] = data, "private"
	g.env["GITLAB_TOKEN"] = g.env["GITLAB_SETUP_TOKEN"] // the default branch is protected
	t.Cleanup(func() { endPrivate(t, g.env) })
	t.Cleanup(func() { j.remove(t) })
	// A library that cannot be fetched ends every build at once, in a real Jenkins too.
	const jenkinsSetup = "jenkins setup --library https://127.0.0.1:1/aibuild.git"
	g.says(0, jenkinsSetup, "made", "job "+j.folder+"/build", "can be built, declares what is needed")
	url := g.daemon(data)
	g.says(0, "gitlab setup --hook-url "+url+hookPath, "made", "webhook of ops/images", "a test delivery arrived")

	work := t.TempDir()
	g.must(os.Mkdir(filepath.Join(work, "images"), 0o755))
	t.Chdir(filepath.Join(work, "images"))
	if r := call(t, nil, "init", "my-image"); r.code != 0 {
		t.Fatalf("init = %d %s", r.code, r.err)
	}
	commit := g.push(work)
	run := g.finished(commit)
	if run["state"] != "failure" || run["jenkins_job"] != j.folder+"/build" || run["jenkins_build"].(float64) < 1 || !strings.HasPrefix(fmt.Sprint(run["jenkins_url"]), j.url) {
		t.Errorf("the run is %v", run)
	}
	g.failedBeside(commit)
	// Once more changes nothing, and what is delivered again starts nothing.
	g.says(0, jenkinsSetup, isUnchanged)
	g.says(0, "gitlab setup --hook-url "+url+hookPath, isUnchanged, "the daemon took a test delivery")
	if r := g.call("runs list -o json"); strings.Count(r.out, `"jenkins_job"`) != 1 {
		t.Errorf("a test delivery started something:\n%s", r.out)
	}
}

// remove deletes the folder, whatever is in it.
func (j controller) remove(t *testing.T) {
	request, err := http.NewRequest(http.MethodPost, j.url+"/job/"+j.folder+"/doDelete", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(j.user, j.token)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusFound || response.Body.Close() != nil {
		t.Errorf("the folder was not deleted: %v, %v", response, err)
	}
}

// daemon starts the daemon and gives its address.
func (g *ground) daemon(data string) string {
	g.t.Helper()
	var env []string
	for k, v := range g.env {
		env = append(env, k+"="+v)
	}
	cmd := (&lab{}).command(context.Background(), data, env, "serve", "--config", g.config, "--listen", "127.0.0.1:0")
	log := &watcher{text: "listening on ", seen: make(chan struct{})}
	cmd.Stderr = log
	g.must(cmd.Start())
	g.t.Cleanup(func() {
		g.must(cmd.Process.Signal(syscall.SIGTERM))
		if err := cmd.Wait(); err != nil || g.t.Failed() {
			g.t.Errorf("the daemon ended with %v and said:\n%s", err, tailOf(log.String()))
		}
		if strings.Contains(log.String(), "c4n4ry") {
			g.t.Errorf("the daemon shows a secret:\n%s", log)
		}
	})
	select {
	case <-log.seen:
	case <-time.After(time.Minute):
		g.t.Fatalf("the daemon does not listen:\n%s", log)
	}
	_, said, _ := strings.Cut(log.String(), "listening on ")
	address, _, _ := strings.Cut(said, "\n")
	return "http://" + address
}

// finished waits for the end of the one run of a commit.
func (g *ground) finished(commit string) map[string]any {
	g.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		r := g.call("runs list -o json")
		if r.code != 0 {
			g.t.Fatalf("runs list = %d %s", r.code, r.err)
		}
		for _, run := range decoded[[]map[string]any](g.t, r.out) {
			if run["commit"] == commit && run["finished_at"] != nil {
				return run
			}
		}
		if time.Now().After(end) {
			g.t.Fatalf("no run of %s ended: %s\n%s", commit, r.out, g.call("runs pushes").out)
		}
	}
}

// failedBeside waits for the status that GitLab shows beside a commit.
func (g *ground) failedBeside(commit string) {
	g.t.Helper()
	type row struct{ Name, Status string }
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		request, err := http.NewRequest(http.MethodGet, g.gitlab.URL()+"/api/v4/projects/ops%2Fimages/repository/commits/"+commit+"/statuses", nil)
		g.must(err)
		request.Header.Set("PRIVATE-TOKEN", g.gitlab.RootToken())
		response, err := http.DefaultClient.Do(request)
		g.must(err)
		rows := decodedFrom[[]row](g.t, response.Body)
		if len(rows) == 1 && rows[0] == (row{"aibuild/my-image", "failed"}) {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("beside the commit is %+v", rows)
		}
	}
}
