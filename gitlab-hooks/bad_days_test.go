package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// slowStart lets the first request to start a build arrive long after its sender
// has given it up.
type slowStart struct {
	once    sync.Once
	arrived chan struct{}
}

func (s *slowStart) RoundTrip(r *http.Request) (*http.Response, error) {
	late := false
	if strings.HasSuffix(r.URL.Path, "/buildWithParameters") {
		s.once.Do(func() { late = true })
	}
	if !late {
		return http.DefaultTransport.RoundTrip(r)
	}
	again := r.Clone(context.WithoutCancel(r.Context()))
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	again.Body = body
	go func() {
		defer close(s.arrived)
		time.Sleep(time.Second) // that it is on its way
		if response, err := http.DefaultTransport.RoundTrip(again); err == nil {
			_ = response.Body.Close()
		}
	}()
	return nil, context.DeadlineExceeded
}

// What is on its way to a slow Jenkins when its sender gives up is not sent again.
func TestRequestStillOnItsWay(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	slow := &slowStart{arrived: make(chan struct{})}
	f.d.LostAfter, f.d.Jenkins.Transport = 10*time.Second, slow
	f.send("one", library, head)
	runs := f.ended()
	<-slow.arrived
	if got := states(runs); got != "a:success b:success" || f.jenkins.Posts(jobPath) != 2 || built(f) != 2 {
		t.Errorf("%s, %d requests, %d builds", got, f.jenkins.Posts(jobPath), built(f))
	}
}

// A Jenkins that answers slowly delays, and changes nothing else.
func TestSlowJenkins(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	f.d.LostAfter = 10 * time.Second
	if err := f.jenkins.Fail(jenkinstest.Fault{Kind: jenkinstest.Slow, N: 12, Delay: 700 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	f.send("one", library, head)
	if got := states(f.ended()); got != "a:success b:success" || f.jenkins.Posts(jobPath) != 2 || built(f) != 2 {
		t.Errorf("%s, %d requests, %d builds", got, f.jenkins.Posts(jobPath), built(f))
	}
}

// Jenkins restarts twice while pushes come and builds run, and loses what had left
// its queue each time: every run has its build, once.
func TestJenkinsRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	f.d.LostAfter = 10 * time.Second
	writeFile(t, filepath.Join(f.dir, "hold"), "")
	trees := library
	for _, name := range []string{"c", "d", "e", "f"} {
		trees = trees.with(image("images/"+name, name))
	}
	f.send("one", trees, head)
	all := func(states ...string) func() bool {
		return func() bool {
			runs := f.runs()
			return len(runs) == 6 && !slices.ContainsFunc(runs, func(r lineage.Run) bool { return !slices.Contains(states, r.State) })
		}
	}
	f.until("all are with jenkins", all(lineage.RunJenkinsQueue, lineage.RunBuilding))
	f.jenkins.GoDown()
	f.d.Wake()
	if _, err := f.d.Pass(t.Context()); err != nil {
		t.Log(err) // that Jenkins is down may be told, or stand in the runs
	}
	f.jenkins.ComeUp(false)
	f.until("all are built", all(lineage.RunBuilding))
	f.jenkins.Restart(false)
	removeFile(t, filepath.Join(f.dir, "hold"))
	if got := states(f.ended()); strings.Count(got, ":success") != 6 || f.jenkins.Posts(jobPath) != 6 || built(f) != 6 {
		t.Errorf("%s, %d requests, %d builds", got, f.jenkins.Posts(jobPath), built(f))
	}
}

// The clock of this machine is an hour wrong, forward or back: leases go by the
// database's clock and waiting by a clock that nobody sets, so runs do not care.
// Signatures go by this machine's, which is to be right to five minutes.
func TestClockIsWrong(t *testing.T) {
	defer func() { wallClock = time.Now }()
	f := newFactory(t, "")
	key := signingKey(t)
	commits, built := 0, 0
	for _, wrong := range []time.Duration{time.Hour, -time.Hour} {
		now := func() time.Time { return time.Now().Add(wrong) }
		f.d = f.daemon(fmt.Sprint("clock ", wrong))
		f.d.Now, wallClock = now, now
		server := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Now: now, Secrets: func() []Secret { return []Secret{{Value: fixed(key)}} }})
		body := pushBody("ops/images", "refs/heads/none", commitA, commitB, 1)
		for at, code := range map[time.Time]int{time.Now(): 401, now(): 202} {
			id := fmt.Sprint("id ", wrong, code)
			got, err := trySend(server.URL, body, "X-Gitlab-Token", "", "webhook-id", id, "webhook-timestamp", fmt.Sprint(at.Unix()), "webhook-signature", opensslSignature(t, key, id, at, body))
			if err != nil || got.code != code {
				t.Errorf("clock %v, signed at %v: %d %s %v, want %d", wrong, at, got.code, got.body, err, code)
			}
		}
		server.Close()
		commits++
		f.send(fmt.Sprint(commits), library.with(files{"images/a/f": plain(fmt.Sprint(wrong)), "images/b/f": plain(fmt.Sprint(wrong))}), head)
		runs := f.ended()
		if built = strings.Count(states(runs), ":success"); built != 2*commits || len(runs) != built || f.jenkins.Posts(jobPath) != built {
			t.Errorf("clock %v: %s, %d requests", wrong, states(runs), f.jenkins.Posts(jobPath))
		}
	}
}

// A lease is not over because this machine's clock says so.
func TestLeaseGoesByTheDatabase(t *testing.T) {
	defer func() { wallClock = time.Now }()
	f := newFactory(t, "")
	f.send("one", library, head)
	events, err := f.in.ClaimEvents(t.Context(), "another", 10, time.Minute)
	if err != nil || len(events) == 0 {
		t.Fatal(events, err)
	}
	wallClock = func() time.Time { return time.Now().Add(time.Hour) }
	f.d.Now = wallClock
	if _, err := f.d.Pass(t.Context()); err != nil || len(f.runs()) != 0 {
		t.Errorf("%v; it took what another daemon has: %+v", err, f.runs())
	}
	if err := f.in.ReleaseLeases(t.Context(), "another"); err != nil {
		t.Fatal(err)
	}
	if got := states(f.ended()); got != "a:success b:success" {
		t.Errorf("runs %s", got)
	}
}

// GitLab before 17.4 sends no key, and the bodies of A-B-A-B repeat: what looks
// like a delivery that came again is found by the heads.
func TestThereAndBackWithoutKeys(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	a := f.send("A", library, head)
	f.ended()
	b := f.work.commit("B", library.with(files{"images/a/f": plain("b")}), a)
	server := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Secrets: func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }})
	defer server.Close()
	f.Disturb(gitlabtest.Trouble{Drop: true})
	for i, to := range []string{b, a, b, a} {
		from := map[string]string{a: b, b: a}[to]
		f.push(to, head)
		got, err := trySend(server.URL, pushBody("ops/images", head, from, to, 1))
		if err != nil || got.code != http.StatusAccepted {
			t.Fatalf("%d: %d %s %v", i, got.code, got.body, err)
		}
		f.d.soon(choreHeads + "ops/images")
		f.until("the move is handled", func() bool { return len(f.runs()) == 3+i })
		f.ended()
	}
	if got := states(f.runs()); got != "a:success b:success"+strings.Repeat(" a:success", 4) || f.jenkins.Posts(jobPath) != 6 {
		t.Errorf("runs %s", got)
	}
}

// What a daemon took in while the database was away comes into it, though
// another daemon is the active one.
func TestStandByDrainsItsSpool(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	spool, err := OpenSpool(t.TempDir(), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := spool.Add(lineage.HookEvent{Instance: f.URL(), Key: "spooled", Event: "push", Project: "ops/other", Ref: head, Before: commitA, After: commitB, State: lineage.EventPending}); err != nil {
		t.Fatal(err)
	}
	_, unlock, err := f.in.Hold(t.Context(), lockName, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.d.Before = func(ctx context.Context) error { _, err := spool.Drain(ctx, f.in); return err }
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.d.Run(ctx) }()
	for end := time.Now().Add(time.Minute); spool.Stats().Events > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it is still in the spool")
		}
	}
	if s := f.d.Stats(); s.Active || s.LastError != "" {
		t.Errorf("standing by is no trouble: %+v", s)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if !slices.ContainsFunc(f.in.all(t), func(e lineage.HookEvent) bool { return e.Key == "spooled" }) {
		t.Error("it is not in the database")
	}
}

// A GitLab that hangs is asked a few times, not once for each status: builds would
// wait for that.
func TestHangingGitLab(t *testing.T) {
	t.Parallel()
	f := newFactoryOn(t, "", newInbox(t))
	f.d.GitLab.Timeout = 500 * time.Millisecond
	f.openMany(t, "3000", 60)
	f.in.query(t, "UPDATE aibuild.run SET status_due = 1")
	f.Fail(gitlabtest.Fault{Path: "/api/v4/", Hang: true})
	for range 2 {
		if _, err := f.d.passStatuses(t.Context()); err != nil && !errors.Is(err, ErrUnavailable) {
			t.Error(err)
		}
	}
	due, err := f.in.StatusesDue(t.Context(), 100)
	if err != nil || len(due) < 60-statusesAtOnce {
		t.Errorf("%d of 60 statuses are still due, %v; want all but the first %d", len(due), err, statusesAtOnce)
	}
}
