package hooks

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// crashPoint is a moment in a daemon's life, and the day on which it comes to it.
type crashPoint struct{ name, day string }

// The days: a push whose builds succeed; one that the database does not take at
// first; one that two hooks tell of; one whose hook never came; one that GitLab does not give out at first;
// one of which GitLab does not want to hear at first; one that Jenkins does not
// start at first; one that is cancelled while it is built, and while it waits in
// Jenkins.
const (
	dayPush     = "push"
	daySpool    = "spool"
	dayTwice    = "twice"
	dayHead     = "head"
	dayAway     = "away"
	dayDeaf     = "deaf"
	dayRefused  = "refused"
	dayStopped  = "stopped"
	dayDequeued = "dequeued"
)

// crashPoints are all moments before and after a commit and a request.
var crashPoints = pointsOf(map[string]string{
	dayPush: `accept answer; claim of events; event handled; claim of runs; touch;
		step queued; step triggering; start; step in_jenkins_queue; step building; step success;
		jenkins job; jenkins start; jenkins queue; jenkins builds; jenkins log;
		status pending; sent pending; status running; sent running; status success; sent success`,
	daySpool:    `spool; drain; removal`,
	dayTwice:    `event ignored`,
	dayHead:     `head`,
	dayAway:     `defer`,
	dayDeaf:     `unsent`,
	dayRefused:  `step tries`,
	dayStopped:  `jenkins stop; step cancelled; status canceled; sent canceled`,
	dayDequeued: `jenkins cancel; jenkins item`,
})

// pointsOf makes the points of each moment: before, after, and for requests when
// they are written.
func pointsOf(days map[string]string) (all []crashPoint) {
	for day, moments := range days {
		for moment := range strings.SplitSeq(strings.ReplaceAll(moments, "accept answer", "accept; answer"), ";") {
			moment = strings.TrimSpace(moment)
			for _, when := range []string{"before", "wrote", "after"} {
				switch {
				case when == "wrote" && !strings.HasPrefix(moment, "jenkins"),
					when == "before" && slices.Contains([]string{"claim of events", "claim of runs", "drain", "removal"}, moment),
					when == "after" && slices.Contains([]string{"answer", "start"}, moment),
					when == "after" && strings.HasPrefix(moment, "status"): // that is before sent
					continue
				}
				all = append(all, crashPoint{when + " " + moment, day})
			}
		}
	}
	slices.SortFunc(all, func(a, b crashPoint) int { return strings.Compare(a.name, b.name) })
	return all
}

// Every point in the code is in the list. That every one in the list is in the
// code, is what the daemons die of.
func TestCrashPointsAreListed(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	call, found := regexp.MustCompile(`\bmilestone\(([^)\n]*)`), 0
	literal := regexp.MustCompile(`^"([^"]+)"`)
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") || path == "failpoint.go" {
			continue
		}
		for _, m := range call.FindAllStringSubmatch(readFile(t, path), -1) {
			found++
			name := literal.FindStringSubmatch(m[1])
			if name == nil {
				t.Errorf("%s: %s does not begin with its name", path, m[0])
				continue
			}
			if !slices.ContainsFunc(crashPoints, func(p crashPoint) bool { return strings.HasPrefix(p.name, name[1]) }) {
				t.Errorf("%s: the point %q is in no test", path, name[1])
			}
		}
	}
	if found < 25 {
		t.Errorf("only %d points are in the code", found)
	}
}

// A daemon is killed by SIGKILL at every point, its event is sent again, and the
// next one makes of it what would have become of it anyway: one run of each
// image, one request to Jenkins for each, one end, one status.
//
// And one that stands still at a point, while another does its work, neither
// starts nor writes anything when it goes on.
func TestKilledOrPausedAtEveryPoint(t *testing.T) {
	t.Parallel()
	s := newCrashSite(t)
	var all sync.WaitGroup
	places := make(chan struct{}, 10)
	run := func(name string, test func(t *testing.T)) {
		places <- struct{}{}
		all.Go(func() {
			defer func() { <-places }()
			t.Run(name, test)
		})
	}
	for i, p := range crashPoints {
		run("killed "+p.name, func(t *testing.T) { s.killAt(t, fmt.Sprintf("k%d", i), p) })
	}
	for i, point := range pausePoints {
		run("paused "+point, func(t *testing.T) { s.pauseAt(t, fmt.Sprintf("p%d", i), point) })
	}
	all.Wait()
}

// crashSite is what daemons die beside: GitLab, Jenkins and the database.
type crashSite struct {
	gitlab  *gitlabtest.Server
	jenkins *jenkinstest.Server
	in      *inbox
	token   string
	work    *gitRepo
	commit  string
	out     string
}

// crashJob writes a line for each build of a run.
const crashJob = `#!/bin/sh
mkdir -p "$OUT/$JOB_NAME"
echo built >>"$OUT/$JOB_NAME/$AIBUILD_RUN_ID"
while [ -e "$OUT/$JOB_NAME.hold" ]; do sleep 0.05; done
`

func newCrashSite(t *testing.T) *crashSite {
	t.Helper()
	s := &crashSite{out: t.TempDir(), in: newInbox(t), work: newRepo(t, t.TempDir())}
	g, err := gitlabtest.Start(gitlabtest.Options{HookTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	j, err := jenkinstest.Start(jenkinstest.Options{QuietPeriod: -1, Executors: 64, Extra: []string{"OUT=" + s.out}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := g.CreateUser(gitlabtest.User{Username: "bot", Bot: true}); err != nil {
		t.Fatal(err)
	}
	token, err := g.CreateToken(gitlabtest.Token{User: "bot"})
	if err != nil {
		t.Fatal(err)
	}
	s.gitlab, s.jenkins, s.token, s.commit = g, j, token.Secret, s.work.commit("one", library)
	return s
}

// victim is a project with its daemons, which come one after the other.
type victim struct {
	*crashSite
	t     *testing.T
	spec  daemonSpec
	store *lineage.Store
	hook  gitlabtest.Hook
	door  *os.File // that every daemon listens on
	url   string
	hold  string
}

func (s *crashSite) victim(t *testing.T, name string, job jenkinstest.Job, hooked bool) *victim {
	t.Helper()
	v := &victim{crashSite: s, t: t, hold: filepath.Join(s.out, "crash", name+".hold")}
	if _, err := s.gitlab.CreateProject(t.Context(), gitlabtest.Project{
		Path: "ops/" + name, Members: map[string]gitlabtest.Role{"bot": gitlabtest.Maintainer}, Protected: []gitlabtest.Protected{},
	}); err != nil {
		t.Fatal(err)
	}
	job.Path, job.Concurrent, job.Command = "crash/"+name, true, crashJob
	for _, p := range parameters {
		job.Parameters = append(job.Parameters, jenkinstest.Parameter{Name: p})
	}
	if err := s.jenkins.AddJob(job); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(v.hold), 0o755); err != nil {
		t.Fatal(err)
	}
	v.openDoor()
	v.store = s.in.another(t, name)
	v.spec = daemonSpec{
		DSN: s.in.dsn(name), Owner: "first", GitLab: s.gitlab.URL(), Token: s.token, Project: "ops/" + name, Dir: t.TempDir(),
		Jenkins: s.jenkins.URL(), Job: job.Path, LostAfter: 3 * time.Second, JenkinsFor: 10 * time.Second,
	}
	if _, err := v.spec.dispatcher(v.store).Pass(t.Context()); err != nil { // the project is watched from now on
		t.Fatal(err)
	}
	if hooked {
		var err error
		if v.hook, err = s.gitlab.AddHook("ops/"+name, gitlabtest.Hook{URL: v.url + "/hooks/gitlab", Token: secretCanary}); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func (v *victim) openDoor() {
	v.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		v.t.Fatal(err)
	}
	v.url = "http://" + listener.Addr().String()
	if v.door, err = listener.(*net.TCPListener).File(); err != nil {
		v.t.Fatal(err)
	}
	if err := listener.Close(); err != nil { // the file keeps it open
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		if err := v.door.Close(); err != nil {
			v.t.Error(err)
		}
	})
}

// testDaemon is a daemon in a process of its own.
type testDaemon struct {
	cmd   *exec.Cmd
	life  io.Closer
	log   *syncedLog
	ended chan struct{}
}

// syncedLog is what a process says, to be read meanwhile.
type syncedLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *syncedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *syncedLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (v *victim) start(spec daemonSpec) *testDaemon {
	v.t.Helper()
	text, err := json.Marshal(spec)
	if err != nil {
		v.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		v.t.Fatal(err)
	}
	d := &testDaemon{cmd: exec.Command(self), log: new(syncedLog), ended: make(chan struct{})}
	d.cmd.Env = append(os.Environ(), daemonEnv+"="+string(text))
	d.cmd.ExtraFiles, d.cmd.Stderr = []*os.File{v.door}, d.log
	if d.life, err = d.cmd.StdinPipe(); err != nil {
		v.t.Fatal(err)
	}
	if err := d.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // how it ended is in its ProcessState
		close(d.ended)
	}()
	v.t.Cleanup(func() {
		_ = d.life.Close()       // it ends with it,
		_ = d.cmd.Process.Kill() // also when it stands still
		<-d.ended
		if v.t.Failed() {
			v.t.Logf("daemon %s said:\n%s", spec.Owner, d.log)
		}
	})
	return d
}

func (s *crashSite) killAt(t *testing.T, name string, p crashPoint) {
	v := s.victim(t, name, jobOf(p.day), p.day != dayHead)
	first := v.spec
	first.Point, first.Signal, first.Looked = p.name, syscall.SIGKILL, p.day != dayHead
	v.prepare(p.day, &first)
	d := v.start(first)
	v.push(s.commit)
	if p.day == dayTwice {
		v.tellAgain()
	}
	v.cancel(p.day)
	select {
	case <-d.ended:
	case <-time.After(2 * time.Minute):
		t.Fatalf("this point was never reached; runs: %+v", v.runs())
	}
	if status, ok := d.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the daemon ended as %v:\n%s", d.cmd.ProcessState, d.log)
	}
	v.spec.Owner = "second"
	v.start(v.spec)
	v.sendAgain()
	v.cancel(p.day)
	v.checkEnd(s.commit, map[bool]string{false: lineage.RunSuccess, true: lineage.RunCancelled}[p.day == dayStopped || p.day == dayDequeued], p.day)
}

func jobOf(day string) jenkinstest.Job {
	if day == dayDequeued {
		return jenkinstest.Job{Kind: jenkinstest.Freestyle, Label: "nowhere"}
	}
	return jenkinstest.Job{Kind: jenkinstest.Pipeline}
}

// prepare makes the day one of its kind.
func (v *victim) prepare(day string, first *daemonSpec) {
	v.t.Helper()
	switch day {
	case daySpool:
		first.Unstored = 1
	case dayHead:
		first.Heads, v.spec.Heads = 100*time.Millisecond, 100*time.Millisecond
	case dayAway:
		v.gitlab.Fail(gitlabtest.Fault{Path: "/" + v.spec.Project + ".git/git-upload-pack", Answer: gitlabtest.BadGateway, Times: 3})
	case dayDeaf:
		v.gitlab.Fail(gitlabtest.Fault{Method: http.MethodPost, Path: "/api/v4/projects/" + strings.ReplaceAll(v.spec.Project, "/", "%2F") + "/statuses/", Answer: gitlabtest.Unauthorized, Times: 1})
	case dayRefused:
		if err := v.jenkins.Fail(jenkinstest.Fault{Kind: jenkinstest.BadGateway, Method: http.MethodPost, Path: strings.ReplaceAll(v.spec.Job, "/", "/job/") + "/buildWithParameters"}); err != nil {
			v.t.Fatal(err)
		}
	case dayStopped:
		writeFile(v.t, v.hold, "")
	}
}

// cancel wishes the end of the runs, once they are where the day wants them.
func (v *victim) cancel(day string) {
	v.t.Helper()
	state := map[string]string{dayStopped: lineage.RunBuilding, dayDequeued: lineage.RunJenkinsQueue}[day]
	if state == "" {
		return
	}
	v.wait("the runs can be cancelled", func() bool {
		runs := v.runs()
		return len(runs) == 2 && !slices.ContainsFunc(runs, func(r lineage.Run) bool { return r.State != state && r.CancelBy == "" && !r.Final() })
	})
	for _, r := range v.runs() {
		if r.CancelBy == "" && !r.Final() {
			if err := v.store.RequestCancel(v.t.Context(), r.ID, "ann", ""); err != nil {
				v.t.Fatal(err)
			}
		}
	}
}

func (v *victim) push(commit string) {
	v.t.Helper()
	out, err := exec.Command("git", "-C", v.work.dir, "push", "--quiet", v.gitlab.CloneURL(v.spec.Project, v.token), "+"+commit+":"+head).CombinedOutput()
	if err != nil {
		v.t.Fatalf("push: %v: %s", err, out)
	}
}

// sendAgain delivers again, under the same keys, whatever was delivered.
func (v *victim) sendAgain() {
	v.t.Helper()
	if v.hook.ID == 0 {
		return
	}
	v.wait("the hook was tried", func() bool { return len(v.gitlab.Deliveries(v.hook.ID)) > 0 })
	for _, d := range v.gitlab.Deliveries(v.hook.ID) {
		got, err := trySend(v.url, d.Body, "Idempotency-Key", d.Key)
		if err != nil || got.code != http.StatusAccepted {
			v.t.Errorf("sent again: %d %s %v", got.code, got.body, err)
		}
	}
}

// tellAgain is another hook that tells of the same push, when it is handled.
func (v *victim) tellAgain() {
	v.t.Helper()
	v.wait("the push is handled", func() bool { return len(v.runs()) == 2 })
	d := v.gitlab.Deliveries(v.hook.ID)[0]
	if got, err := trySend(v.url, d.Body, "Idempotency-Key", "another"); err != nil || got.code != http.StatusAccepted {
		v.t.Errorf("told twice: %d %s %v", got.code, got.body, err)
	}
}

func (v *victim) runs() []lineage.Run {
	v.t.Helper()
	runs, _, err := v.store.Runs(v.t.Context(), lineage.RunFilter{Limit: 100})
	if err != nil {
		v.t.Fatal(err)
	}
	return runs
}

func (v *victim) wait(what string, so func() bool) {
	v.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			v.t.Fatalf("not so after two minutes: %s; runs: %+v; the database: %v", what, v.runs(), v.in.busy(v.t))
		}
	}
}

// idle waits until nothing is left to do.
func (v *victim) idle() {
	v.t.Helper()
	v.wait("all has ended and is told", func() bool {
		runs := v.runs()
		events, _, err := v.store.HookEvents(v.t.Context(), lineage.HookFilter{State: lineage.EventPending})
		due, err2 := v.store.Stats(v.t.Context())
		return len(runs) > 0 && err == nil && len(events) == 0 && err2 == nil && due.StatusesDue == 0 &&
			!slices.ContainsFunc(runs, func(r lineage.Run) bool { return !r.Final() })
	})
}

// checkEnd: one run of each image, one request and one build for each, one event
// under each key, one status.
func (v *victim) checkEnd(commit, state, day string) {
	v.t.Helper()
	v.idle()
	runs := v.runs()
	if got, want := states(runs), "a:"+state+" b:"+state; got != want {
		v.t.Errorf("runs %s, want %s", got, want)
	}
	posts := 2
	if day == dayRefused { // the one that Jenkins never saw
		posts = 3
	}
	if n := v.jenkins.Posts(v.spec.Job); n != 2 && n != posts {
		v.t.Errorf("jenkins was asked %d times to start a build, want %d", n, posts)
	}
	for _, r := range runs {
		built, err := os.ReadFile(filepath.Join(v.out, v.spec.Job, r.ID))
		if want := map[bool]string{true: "", false: "built\n"}[day == dayDequeued]; string(built) != want {
			v.t.Errorf("run %s: %q, %v; want one build", r.ID, built, err)
		}
	}
	for _, image := range []string{"a", "b"} {
		want := map[string]string{lineage.RunSuccess: statusSuccess, lineage.RunCancelled: statusCanceled}[state]
		if got := v.shown(commit, "aibuild/"+image); !slices.Equal(got, []string{want}) {
			v.t.Errorf("gitlab shows %v for %s, want one %s", got, image, want)
		}
	}
	events, _, err := v.store.HookEvents(v.t.Context(), lineage.HookFilter{Limit: 1000})
	if err != nil {
		v.t.Fatal(err)
	}
	if n := len(slices.DeleteFunc(events, func(e lineage.HookEvent) bool { return e.State != lineage.EventHandled || e.Ref == "" })); n != 1 {
		v.t.Errorf("%d events were handled, want 1", n)
	}
}

// shown are the states of all statuses of that name that GitLab has.
func (v *victim) shown(commit, name string) (all []string) {
	v.t.Helper()
	r, err := http.NewRequest(http.MethodGet, v.gitlab.URL()+"/api/v4/projects/"+strings.ReplaceAll(v.spec.Project, "/", "%2F")+"/repository/commits/"+commit+"/statuses?all=true&per_page=100", nil)
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("PRIVATE-TOKEN", v.token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer response.Body.Close()
	var list []struct{ Name, Status string }
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		v.t.Fatal(err)
	}
	for _, s := range list {
		if s.Name == name {
			all = append(all, s.Status)
		}
	}
	return all
}

// dsn is the address of another database on the server.
func (i *inbox) dsn(name string) string { return strings.TrimSuffix(i.address, "aibuild") + name }

// query runs a statement as the administrator.
func (i *inbox) query(t *testing.T, stmt string) {
	t.Helper()
	db, err := sql.Open("mysql", i.address)
	if err == nil {
		_, err = db.Exec(stmt)
		err = errors.Join(err, db.Close())
	}
	if err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

// busy is what the server's connections do: who waits for whom.
func (i *inbox) busy(t *testing.T) (all []string) {
	t.Helper()
	db, err := sql.Open("mysql", i.address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT CONCAT_WS(' ', p.id, p.db, p.command, p.time, p.state, p.info, t.trx_state, t.trx_query, t.trx_rows_locked)
		FROM information_schema.processlist p LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		all = append(all, line)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// another gives a store on a database of its own.
func (i *inbox) another(t *testing.T, name string) *lineage.Store {
	t.Helper()
	i.query(t, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	store, err := lineage.Open(t.Context(), lineage.Config{DSN: i.dsn(name)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	i.reports(t, name)
	return store
}
