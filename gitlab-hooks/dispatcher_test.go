package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

const jobPath = "aibuild/build"

// factory is everything between a push and its status but the build itself:
// GitLab, the receiver, the database, the dispatcher, and Jenkins, whose job
// writes down what it was given and ends as the file `exit` in the image's
// folder says.
type factory struct {
	*standin
	in      *inbox
	jenkins *jenkinstest.Server
	d       *Dispatcher
	dir     string
	commits []string
}

// recorder is what the job does. Nothing is taken from its output.
const recorder = `#!/bin/sh
env | grep ^AIBUILD_ | sort >"$OUT/$AIBUILD_RUN_ID"
echo "building $AIBUILD_IMAGE at $AIBUILD_COMMIT"
while [ -e "$OUT/hold" ]; do sleep 0.05; done
exit "$(cat "$OUT/exit-$(basename "$AIBUILD_IMAGE")" 2>/dev/null || echo 0)"
`

func newFactory(t *testing.T, profile string) *factory {
	t.Helper()
	f := newFactoryOn(t, profile, newInbox(t))
	receiver := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Secrets: func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }})
	t.Cleanup(receiver.Close)
	if _, err := f.AddHook("ops/images", gitlabtest.Hook{URL: receiver.URL + "/hooks/gitlab", Token: secretCanary, Events: []string{"push_events", "tag_push_events"}}); err != nil {
		t.Fatal(err)
	}
	f.first()
	return f
}

// newFactoryOn is one on a database that is there, whose GitLab tells nobody.
func newFactoryOn(t *testing.T, profile string, in *inbox) *factory {
	t.Helper()
	f := &factory{dir: t.TempDir(), in: in}
	f.startJenkins(t, jenkinstest.Options{Profile: profile, QuietPeriod: -1, Executors: 4}, recorder)
	f.standin = newStandin(t, gitlabtest.Options{HookTimeout: 5 * time.Second}, gitlabtest.Project{Protected: []gitlabtest.Protected{}})
	f.d = f.daemon("one")
	return f
}

// startJenkins starts one that has the job.
func (f *factory) startJenkins(t *testing.T, options jenkinstest.Options, command string) {
	t.Helper()
	var declared []jenkinstest.Parameter
	for _, name := range parameters {
		declared = append(declared, jenkinstest.Parameter{Name: name})
	}
	options.Extra = []string{"OUT=" + f.dir}
	j, err := jenkinstest.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := j.AddJob(jenkinstest.Job{Path: jobPath, Kind: jenkinstest.Pipeline, Concurrent: true, Command: command, Parameters: declared, UnstableReturn: 3}); err != nil {
		t.Fatal(err)
	}
	f.jenkins = j
}

// daemon is a new process with the same configuration.
func (f *factory) daemon(owner string) *Dispatcher {
	watched := []Watched{{Mirror: f.mirror, Policy: definition.Policy{ReleaseRefs: []string{"main"}}}}
	gitlab := f.client
	return &Dispatcher{
		Store: f.in.Store, GitLab: &gitlab, Projects: func() []Watched { return watched }, Owner: owner,
		Jenkins: &jenkins.Client{URL: f.jenkins.URL(), User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Timeout: 5 * time.Second},
		Job:     jobPath, LogDir: filepath.Join(f.dir, "logs"), StatusURL: "https://aibuild.example.org", LostAfter: time.Second,
	}
}

// first lets the daemon see the project before anything is pushed.
func (f *factory) first() {
	f.t.Helper()
	if _, err := f.d.Pass(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// send pushes a tree to a branch, and waits until its hook was answered.
func (f *factory) send(message string, tree files, ref string) string {
	f.t.Helper()
	id := f.work.commit(message, tree, f.commits...)
	f.commits = []string{id}
	f.push(id, ref)
	if err := f.Idle(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return id
}

// until makes passes until what is wanted is so.
func (f *factory) until(what string, so func() bool) {
	f.t.Helper()
	f.untilBy(f.d, what, so)
}

func (f *factory) untilBy(d *Dispatcher, what string, so func() bool) {
	f.t.Helper()
	var last error
	for end := time.Now().Add(60 * time.Second); !so(); {
		if time.Now().After(end) {
			f.t.Fatalf("not so after a minute: %s; last error: %v; runs: %+v", what, last, f.runs())
		}
		if _, err := d.Pass(f.t.Context()); err != nil {
			last = err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (f *factory) runs() []lineage.Run {
	f.t.Helper()
	runs, _, err := f.in.Runs(context.Background(), lineage.RunFilter{Limit: 100})
	if err != nil {
		f.t.Fatal(err)
	}
	return runs
}

// ended waits until no run is left that has not ended, nor a status to tell.
func (f *factory) ended() []lineage.Run {
	f.t.Helper()
	f.until("all runs have ended and are told", func() bool {
		due, err := f.in.StatusesDue(f.t.Context(), 10)
		events, _, err2 := f.in.HookEvents(f.t.Context(), lineage.HookFilter{State: lineage.EventPending})
		return err == nil && err2 == nil && len(due)+len(events) == 0 && !slices.ContainsFunc(f.runs(), func(r lineage.Run) bool { return !r.Final() })
	})
	return f.runs()
}

// states is "image:state" of all runs, oldest first.
func states(runs []lineage.Run) string {
	var all []string
	for _, r := range slices.Backward(runs) {
		all = append(all, r.Image+":"+r.State)
	}
	return strings.Join(all, " ")
}

func (f *factory) status(commit, image string) string {
	f.t.Helper()
	state, err := f.client.status(f.t.Context(), Status{Project: "ops/images", Commit: commit, Name: "aibuild/" + image, Ref: head})
	if err != nil {
		f.t.Fatal(err)
	}
	return state
}

func TestPushToStatus(t *testing.T) {
	for _, profile := range []string{jenkinstest.Profile2300, jenkinstest.ProfileCurrent} {
		t.Run(profile, func(t *testing.T) {
			f := newFactory(t, profile)
			one := f.send("one", library, head)
			if got := states(f.ended()); got != "a:success b:success" {
				t.Fatalf("first push: %s", got)
			}
			two := f.send("two", library.with(files{"images/a/f": plain("two")}), head)
			runs := f.ended()
			if got := states(runs); got != "a:success b:success a:success" {
				t.Fatalf("second push: %s", got)
			}
			r := runs[0]
			given := readFile(t, filepath.Join(f.dir, r.ID))
			for _, want := range []string{"AIBUILD_COMMIT=" + two, "AIBUILD_FROM=build", "AIBUILD_IMAGE=images/a", "AIBUILD_PROJECT=" + f.URL() + "/ops/images.git", "AIBUILD_REF=" + head, "AIBUILD_RUN_ID=" + r.ID} {
				if !strings.Contains(given, want+"\n") {
					t.Errorf("the job was not given %s:\n%s", want, given)
				}
			}
			if r.Build != 3 || r.BuildURL == "" || r.QueueID == 0 || r.HeadSeq != 2 || r.Commit != two {
				t.Errorf("run %+v", r)
			}
			if f.status(one, "b") != statusSuccess || f.status(two, "a") != statusSuccess || f.status(two, "b") != "" {
				t.Error("GitLab does not show what was built")
			}
			if n := f.jenkins.Posts(jobPath); n != 3 {
				t.Errorf("%d builds were started, not 3", n)
			}
			f.sendAgain(t)
			if got := len(f.ended()); got != 3 || f.jenkins.Posts(jobPath) != 3 {
				t.Errorf("%d runs after the deliveries came again, %d builds", got, f.jenkins.Posts(jobPath))
			}
		})
	}
}

// sendAgain delivers everything again, under other keys, as another hook does.
func (f *factory) sendAgain(t *testing.T) {
	t.Helper()
	server := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Secrets: func() []Secret { return []Secret{{Value: fixed("x")}} }})
	defer server.Close()
	for i, d := range f.Deliveries(1) {
		got, err := trySend(server.URL, d.Body, "X-Gitlab-Token", "x", "Idempotency-Key", fmt.Sprintf("again-%d", i))
		if err != nil || got.code != http.StatusAccepted {
			t.Fatalf("%d %s %v", got.code, got.body, err)
		}
	}
}

func TestOutcomes(t *testing.T) {
	f := newFactory(t, "")
	writeFile(t, filepath.Join(f.dir, "exit-a"), "3")
	writeFile(t, filepath.Join(f.dir, "exit-b"), "1")
	id := f.send("one", library, head)
	runs := f.ended()
	if got := states(runs); got != "a:unstable b:failure" {
		t.Fatalf("runs: %s", got)
	}
	b := runs[0]
	if b.Failure == nil || b.Failure.Stage != "jenkins" || !strings.Contains(strings.Join(b.Failure.Lines, "\n"), "building images/b") {
		t.Errorf("failure %+v", b.Failure)
	}
	if f.status(id, "a") != statusFailed || f.status(id, "b") != statusFailed {
		t.Error("GitLab shows no failure")
	}
	if log := LogFile(f.d.LogDir, b.ID); !strings.Contains(unpackLog(t, log), "building images/b at "+id) {
		t.Errorf("%s does not hold the console", log)
	}
}

// Every pass is by another process, and Jenkins is asked just once for each run.
func TestEveryPassByAnotherDaemon(t *testing.T) {
	f := newFactory(t, "")
	f.send("one", library, head)
	for i := 0; ; i++ {
		if i == 400 {
			t.Fatalf("no end: %+v", f.runs())
		}
		d := f.daemon(fmt.Sprintf("daemon-%d", i))
		if _, err := d.Pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := f.in.ReleaseLeases(t.Context(), d.Owner); err != nil {
			t.Fatal(err)
		}
		if runs := f.runs(); len(runs) == 2 && runs[0].Final() && runs[1].Final() {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := states(f.ended()); got != "a:success b:success" || f.jenkins.Posts(jobPath) != 2 {
		t.Errorf("%s, %d builds started", got, f.jenkins.Posts(jobPath))
	}
}

// The answer to a trigger is lost: the build is found, not started again.
func TestLostAnswer(t *testing.T) {
	f := newFactory(t, "")
	if err := f.jenkins.Fail(jenkinstest.Fault{Kind: jenkinstest.Lost, N: 2, Method: http.MethodPost, Path: "buildWithParameters"}); err != nil {
		t.Fatal(err)
	}
	f.send("one", library, head)
	if got := states(f.ended()); got != "a:success b:success" || f.jenkins.Posts(jobPath) != 2 {
		t.Errorf("%s, %d builds started", got, f.jenkins.Posts(jobPath))
	}
}

// built counts the builds that really ran.
func built(f *factory) int {
	files, _ := filepath.Glob(filepath.Join(f.dir, "0*")) // run ids
	return len(files)
}

// A restart in the middle loses what Jenkins had in its queue: the run ends as
// lost, and says so.
func TestQueueIsLost(t *testing.T) {
	f := newFactory(t, "")
	f.jenkins.QuietDown(true)
	id := f.send("one", library, head)
	f.until("both wait in jenkins", func() bool {
		return len(f.runs()) == 2 && !slices.ContainsFunc(f.runs(), func(r lineage.Run) bool { return r.State != lineage.RunJenkinsQueue })
	})
	f.until("the reason is jenkins' own", func() bool { return strings.Contains(f.runs()[0].Reason, "shut down") })
	f.jenkins.Restart(true)
	if got := states(f.ended()); got != "a:lost b:lost" || f.status(id, "a") != statusFailed {
		t.Errorf("%s, status %s", got, f.status(id, "a"))
	}
}

func TestCancel(t *testing.T) {
	f := newFactory(t, "")
	writeFile(t, filepath.Join(f.dir, "hold"), "")
	id := f.send("one", library, head)
	f.until("both are being built", func() bool {
		return built(f) == 2 && !slices.ContainsFunc(f.runs(), func(r lineage.Run) bool { return r.State != lineage.RunBuilding })
	})
	for _, r := range f.runs() {
		if err := f.in.RequestCancel(t.Context(), r.ID, "ann", "wrong branch"); err != nil {
			t.Fatal(err)
		}
	}
	runs := f.ended()
	if got := states(runs); got != "a:cancelled b:cancelled" || runs[0].Reason != "cancelled by ann: wrong branch" || f.status(id, "a") != statusCanceled {
		t.Errorf("%s, %q, status %s", got, runs[0].Reason, f.status(id, "a"))
	}
}

// A push while an older one of the image still waits makes that one pointless.
func TestSuperseded(t *testing.T) {
	f := newFactory(t, "")
	writeFile(t, filepath.Join(f.dir, "hold"), "")
	f.send("one", library, head)
	f.until("both are being built", func() bool { return built(f) == 2 })
	two := f.send("two", library.with(files{"images/a/f": plain("two")}), head)
	f.until("the second waits for the first", func() bool {
		return len(f.runs()) == 3 && strings.Contains(f.runs()[0].Reason, "of the same image")
	})
	three := f.send("three", library.with(files{"images/a/f": plain("three")}), head)
	f.until("the third is there", func() bool { return len(f.runs()) == 4 })
	removeFile(t, filepath.Join(f.dir, "hold"))
	if got := states(f.ended()); got != "a:success b:success a:superseded a:success" {
		t.Errorf("runs: %s", got)
	}
	if f.status(two, "a") != statusCanceled || f.status(three, "a") != statusSuccess {
		t.Errorf("statuses %s, %s", f.status(two, "a"), f.status(three, "a"))
	}
}

// GitLab drops hooks: the heads tell.
func TestHookNeverCame(t *testing.T) {
	f := newFactory(t, "")
	f.Disturb(gitlabtest.Trouble{Drop: true})
	f.send("one", library, head)
	f.d.soon(choreHeads + "ops/images")
	f.until("the push was found", func() bool { return len(f.runs()) == 2 })
	if got := states(f.ended()); got != "a:success b:success" {
		t.Errorf("runs: %s", got)
	}
}

// A-B-A is work three times, and is in order even when the hooks are not.
func TestThereAndBack(t *testing.T) {
	f := newFactory(t, "")
	a := f.send("A", library, head)
	f.ended()
	f.Disturb(gitlabtest.Trouble{Reorder: 2, Times: 2})
	b := f.work.commit("B", library.with(files{"images/a/f": plain("b")}), a)
	f.push(b, head)
	f.push(a, head)
	f.Undisturb()
	if err := f.Idle(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.ended()
	f.d.soon(choreHeads + "ops/images")
	f.until("the head is where it was", func() bool {
		h, err := f.in.Head(t.Context(), "ops/images", head)
		return err == nil && h.SHA == a
	})
	if got := states(f.ended()); got != "a:success b:success a:success a:success" {
		t.Errorf("runs: %s", got)
	}
}

func TestRejected(t *testing.T) {
	f := newFactory(t, "")
	f.d.Job = ""
	id := f.send("one", library.with(files{"images/b/aibuild.yaml": plain("name: b\nnonsense: 1\n")}), head)
	runs := f.ended()
	if got := states(runs); got != "a:rejected b:rejected" || !strings.Contains(runs[1].Reason+runs[0].Reason, "no job configured") ||
		!strings.Contains(runs[1].Reason+runs[0].Reason, "nonsense") {
		t.Errorf("%s: %q, %q", got, runs[0].Reason, runs[1].Reason)
	}
	if f.status(id, "a") != statusFailed {
		t.Errorf("status %q", f.status(id, "a"))
	}
}

// A job that does not declare the run's id would lose builds: nothing is started.
func TestJobWithoutParameters(t *testing.T) {
	f := newFactory(t, "")
	if err := f.jenkins.DropParameters(jobPath, "AIBUILD_RUN_ID"); err != nil {
		t.Fatal(err)
	}
	f.send("one", library, head)
	f.until("the runs say why they wait", func() bool {
		return len(f.runs()) == 2 && strings.Contains(f.runs()[0].Reason, "does not declare AIBUILD_RUN_ID")
	})
	if n := f.jenkins.Posts(jobPath); n != 0 {
		t.Errorf("%d builds were started", n)
	}
}

// Two daemons at once: one works, and nothing is done twice.
func TestTwoDaemons(t *testing.T) {
	f := newFactory(t, "")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for _, name := range []string{"first", "second"} {
		d := f.daemon(name)
		go func() { ended <- d.Run(ctx) }()
	}
	f.send("one", library, head)
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		runs := f.runs()
		if len(runs) == 2 && runs[0].Final() && runs[1].Final() {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("no end: %+v", runs)
		}
	}
	stop()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if n := f.jenkins.Posts(jobPath); n != 2 || states(f.runs()) != "a:success b:success" {
		t.Errorf("%d builds, %s", n, states(f.runs()))
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func removeFile(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func unpackLog(t *testing.T, path string) string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
