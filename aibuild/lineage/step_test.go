package lineage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// managed opens a run of the daemon and gives its id.
func managed(t testing.TB, s *Store, run Run) Run {
	t.Helper()
	if run.Image == "" {
		run.Image = "tiny"
	}
	if run.Project == "" {
		run.Project, run.Ref, run.Commit = "ops/images", "refs/heads/main", commitA
	}
	got, err := s.OpenRun(t.Context(), run, "ann", ChannelAPI, "started by hand")
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func claimRuns(t testing.TB, s *Store, owner string) []ClaimedRun {
	t.Helper()
	runs, err := s.ClaimRuns(t.Context(), owner, 1000, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func advance(t testing.TB, s *Store, c ClaimedRun, to Run, next time.Duration) {
	t.Helper()
	if err := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: c.Fence, Run: to, NextIn: next}); err != nil {
		t.Fatal(err)
	}
}

// inState brings a run of the daemon to a state.
func inState(t testing.TB, s *Store, state string) ClaimedRun {
	t.Helper()
	run := managed(t, s, Run{})
	for _, c := range claimRuns(t, s, "d") {
		if c.ID == run.ID {
			if state != RunReceived {
				advance(t, s, c, Run{State: state}, 0)
			}
			return c
		}
	}
	t.Fatal("the run is not due")
	return ClaimedRun{}
}

func TestOpenRun(t *testing.T) {
	s := newStore(t)
	run := managed(t, s, Run{From: "test"})
	if run.State != RunReceived || !run.Managed || run.Channel != ChannelAPI || run.Actor != "ann" || run.From != "test" || run.Attempt != 1 {
		t.Errorf("run = %+v", run)
	}
	same, err := s.OpenRun(t.Context(), Run{ID: run.ID, Image: "tiny", Project: "ops/images"}, "bob", ChannelAPI, "again")
	if err != nil || cmp.Diff(run, same) != "" {
		t.Errorf("opened again: %+v, %v", same, err)
	}
	retry := managed(t, s, Run{RetryOf: run.ID, From: "release"})
	if retry.Attempt != 2 || retry.Commit != commitA || retry.From != "release" {
		t.Errorf("retry = %+v", retry)
	}
	theirs := builtRecord(id(), "base", day)
	theirs.Built.Project = "ops/base"
	own := opened(Run{ID: id(), Image: "own", State: RunBuilding}, day)
	record(t, s, theirs, own)
	if _, err := s.OpenRun(t.Context(), Run{Image: "base", Project: "ops/images"}, "ann", ChannelAPI, ""); !is[*Taken](err) {
		t.Errorf("a name of others: %v, want *Taken", err)
	}
	if _, err := s.OpenRun(t.Context(), Run{ID: own.Run.ID, Image: "own"}, "ann", ChannelAPI, ""); !is[*Conflict](err) {
		t.Errorf("the id of a run that is not the daemon's: %v, want *Conflict", err)
	}
	if _, err := s.OpenRun(t.Context(), Run{Project: "ops/images"}, "ann", ChannelAPI, ""); !is[*Invalid](err) {
		t.Errorf("no image: %v, want *Invalid", err)
	}
	if runs := claimRuns(t, s, "d"); len(runs) != 2 || runs[0].ID != run.ID || runs[1].ID != retry.ID {
		t.Errorf("claimed = %+v", runs)
	}
	active, err := s.ActiveRuns(t.Context(), "ops/images", "refs/heads/main", "tiny")
	if err != nil || len(active) != 2 || active[0].ID != run.ID {
		t.Errorf("active = %+v, %v", active, err)
	}
	for _, f := range [][3]string{{"ops/none", "", ""}, {"", "refs/none", ""}, {"", "", "none"}} {
		if active, err := s.ActiveRuns(t.Context(), f[0], f[1], f[2]); err != nil || len(active) != 0 {
			t.Errorf("%q: active = %+v, %v", f, active, err)
		}
	}
	if active, err := s.ActiveRuns(t.Context(), "", "", ""); err != nil || len(active) != 3 {
		t.Errorf("all: active = %+v, %v", active, err)
	}
}

// One pass of a run from its opening to its end, with what each step leaves.
func TestStepsOfARun(t *testing.T) {
	s := newStore(t)
	managed(t, s, Run{})
	c := claimRuns(t, s, "d")[0]
	tries := 2
	if err := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: c.Fence, Run: Run{State: RunQueued, JenkinsJob: "aibuild/build"}, Reason: "the job has 4 runs", SetTries: &tries, NextIn: time.Hour}); err != nil {
		t.Fatal(err)
	}
	r := getRun(t, s, c.ID)
	if r.State != RunQueued || r.Reason != "the job has 4 runs" || r.JenkinsJob != "aibuild/build" || !r.StartedAt.IsZero() {
		t.Errorf("run = %+v", r)
	}
	if again := claimRuns(t, s, "d"); len(again) != 0 {
		t.Errorf("claimed before it is due: %+v", again)
	}
	due(t, s)
	next := claimRuns(t, s, "d")[0]
	if next.Fence <= c.Fence || next.Tries != 2 || next.ClaimedAt.Before(next.NextAt) {
		t.Errorf("claimed = %+v", next)
	}
	if err := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: c.Fence, Run: Run{State: RunTriggering}}); !errors.Is(err, ErrFenced) {
		t.Errorf("with the fence before: %v, want ErrFenced", err)
	}
	c = next
	advance(t, s, c, Run{State: RunTriggering}, 0)
	advance(t, s, c, Run{State: RunJenkinsQueue, QueueID: 7}, 0)
	advance(t, s, c, Run{Reason: "waiting for next available executor"}, 0)
	if r := getRun(t, s, c.ID); r.State != RunJenkinsQueue || r.QueueID != 7 || r.Reason != "waiting for next available executor" {
		t.Errorf("run = %+v", r)
	}
	advance(t, s, c, Run{State: RunBuilding, Build: 12, BuildURL: "http://jenkins/12/", StartedAt: day}, 0)
	advance(t, s, c, Run{State: RunQueued, QueueID: 8}, 0) // a state goes not back
	if r := getRun(t, s, c.ID); r.State != RunBuilding || r.Reason != "" || r.Build != 12 || r.QueueID != 8 || !r.StartedAt.Equal(day) {
		t.Errorf("run = %+v", r)
	}
	end := Run{State: RunFailure, Reason: "packer failed", FinishedAt: day.Add(time.Minute), ExitCode: new(3), Failure: &Failure{Stage: "build", Sentence: "packer failed"}}
	advance(t, s, c, end, 0)
	advance(t, s, c, end, 0) // the answer to the first was lost
	r = getRun(t, s, c.ID)
	if r.State != RunFailure || r.Reason != "packer failed" || !r.FinishedAt.Equal(end.FinishedAt) || *r.ExitCode != 3 || r.Failure.Stage != "build" {
		t.Errorf("run = %+v", r)
	}
	for err, to := range map[string]Run{"has ended as failure": {State: RunSuccess}, "has ended as failure ": {Reason: "x"}} {
		if got := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: c.Fence, Run: to}); !is[*Conflict](got) || !strings.Contains(got.Error(), strings.TrimSpace(err)) {
			t.Errorf("after the end: %v, want *Conflict", got)
		}
	}
	var verbs []string
	for _, e := range all(t, func(at string) ([]Event, string, error) {
		return s.Events(t.Context(), EventFilter{RunID: c.ID, Cursor: at})
	}) {
		verbs = append(verbs, e.Verb+" "+e.State)
	}
	want := []string{"ended failure", "moved building", "moved in_jenkins_queue", "moved triggering", "moved queued", "opened received"}
	if diff := cmp.Diff(want, verbs); diff != "" {
		t.Errorf("audit (-want +got):\n%s", diff)
	}
	if err := s.StepRun(t.Context(), RunStep{RunID: id(), Run: Run{State: RunQueued}}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown run: %v", err)
	}
}

func TestClaimsOfRuns(t *testing.T) {
	s := newStore(t)
	for range 3 {
		managed(t, s, Run{})
	}
	record(t, s, opened(Run{ID: id(), Image: "local", Project: "ops/images", State: RunBuilding}, day)) // somebody's own
	first := claimRuns(t, s, "d1")
	if len(first) != 3 {
		t.Fatalf("claimed = %+v", first)
	}
	if other := claimRuns(t, s, "d2"); len(other) != 0 {
		t.Errorf("claimed while leased: %+v", other)
	}
	again := claimRuns(t, s, "d1")
	if len(again) != 3 || again[0].Fence <= first[0].Fence {
		t.Errorf("the owner claims again: %+v", again)
	}
	if err := s.StepRun(t.Context(), RunStep{RunID: again[0].ID, Fence: again[0].Fence, Release: true}); err != nil {
		t.Fatal(err)
	}
	if other := claimRuns(t, s, "d2"); len(other) != 1 || other[0].ID != again[0].ID {
		t.Errorf("released: %+v", other)
	}
	if err := s.TouchRuns(t.Context(), "d1", RunStep{RunID: again[1].ID, Fence: again[1].Fence, Release: true}); err != nil {
		t.Fatal(err)
	}
	if other := claimRuns(t, s, "d2"); len(other) != 2 || other[1].ID != again[1].ID {
		t.Errorf("released by a touch: %+v", other)
	}
	expire(t, s)
	if other := claimRuns(t, s, "d3"); len(other) != 3 {
		t.Errorf("leases are over: %+v", other)
	}
	if err := s.ReleaseLeases(t.Context(), "d3"); err != nil {
		t.Fatal(err)
	}
	last := claimRuns(t, s, "d4")
	if len(last) != 3 {
		t.Errorf("leases are given back: %+v", last)
	}
	open, err := s.OpenRuns(t.Context())
	if err != nil || len(open) != 3 {
		t.Errorf("open: %+v, %v", open, err)
	}
	for i, r := range open {
		all := getRun(t, s, r.ID)
		slim := OpenRun{ID: all.ID, Image: all.Image, Project: all.Project, Ref: all.Ref, HeadSeq: all.HeadSeq, Commit: all.Commit, State: all.State,
			JenkinsJob: all.JenkinsJob, CancelBy: all.CancelBy, OpenedAt: all.OpenedAt}
		if diff := cmp.Diff(slim, r); diff != "" || r.ID != last[i].ID {
			t.Errorf("open run %d (-want +got):\n%s", i, diff)
		}
	}
	if err := s.TakeOverLeases(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.StepRun(t.Context(), RunStep{RunID: last[0].ID, Fence: last[0].Fence, Run: Run{State: RunQueued}}); !errors.Is(err, ErrFenced) {
		t.Errorf("a step under a lease that was taken over: %v", err)
	}
	if last = claimRuns(t, s, "d4"); len(last) != 3 {
		t.Errorf("leases are taken over: %+v", last)
	}
	for _, c := range last {
		advance(t, s, c, Run{State: RunCancelled}, 0)
	}
	expire(t, s)
	if other := claimRuns(t, s, "d5"); len(other) != 0 {
		t.Errorf("ended runs are claimed: %+v", other)
	}
}

// The limit takes those that have waited longest; none is left out for ever.
func TestLimitedClaims(t *testing.T) {
	s := newStore(t)
	seen := map[string]int{}
	for range 7 {
		managed(t, s, Run{})
	}
	for range 7 {
		runs, err := s.ClaimRuns(t.Context(), "d", 3, time.Minute)
		if err != nil || len(runs) != 3 {
			t.Fatalf("claimed = %+v, %v", runs, err)
		}
		for i, c := range runs {
			seen[c.ID]++
			if i > 0 && c.ID < runs[i-1].ID {
				t.Errorf("not the oldest first: %s after %s", c.ID, runs[i-1].ID)
			}
		}
		var steps []RunStep
		for _, c := range runs {
			steps = append(steps, RunStep{RunID: c.ID, Fence: c.Fence, Reason: "waits"})
		}
		if err := s.TouchRuns(t.Context(), "d", steps...); err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range seen {
		if n < 2 || n > 4 { // those that were touched together go by their age
			t.Errorf("run %s was claimed %d times, want about 3", id, n)
		}
	}
	if len(seen) != 7 {
		t.Errorf("%d runs were claimed, want 7", len(seen))
	}
}

// A touch passes over what others have and what has ended.
func TestTouches(t *testing.T) {
	s := newStore(t)
	for range 4 {
		managed(t, s, Run{})
	}
	runs := claimRuns(t, s, "d")
	advance(t, s, runs[1], Run{State: RunLost, Reason: "is gone"}, 0)
	query(t, "UPDATE "+s.cfg.DBName+".run SET fence = fence + 1, lease_owner = 'other#1' WHERE id = ?", runs[2].ID)
	query(t, "UPDATE "+s.cfg.DBName+".run SET lease_owner = 'other#1' WHERE id = ?", runs[3].ID)
	var steps []RunStep
	for i, c := range runs {
		steps = append(steps, RunStep{RunID: c.ID, Fence: c.Fence, Reason: fmt.Sprintf("why %d: ü'\"\\\n", i), NextIn: time.Hour})
	}
	if err := s.TouchRuns(t.Context(), "d", steps...); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"why 0: ü'\"\\\n", "is gone", "started by hand", "started by hand"} {
		if r := getRun(t, s, runs[i].ID); r.Reason != want {
			t.Errorf("run %d has reason %q, want %q", i, r.Reason, want)
		}
	}
	if n := count(t, s, "run", "next_at > NOW(6) + INTERVAL 59 MINUTE"); n != 1 {
		t.Errorf("%d runs wait for an hour, want 1", n)
	}
	if err := s.TouchRuns(t.Context(), "d", RunStep{RunID: "x"}); !is[*Invalid](err) {
		t.Errorf("no run id: %v", err)
	}
	if err := s.TouchRuns(t.Context(), "d"); err != nil {
		t.Errorf("nothing to touch: %v", err)
	}
}

// A wish to cancel stays, and is looked at at once, also when it comes while
// the run is being looked at.
func TestCancelWish(t *testing.T) {
	s := newStore(t)
	run := managed(t, s, Run{})
	c := claimRuns(t, s, "d")[0]
	for range 2 {
		if err := s.RequestCancel(t.Context(), run.ID, "bob", "wrong branch"); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.RequestCancel(t.Context(), run.ID, "eve", "me too"); err != nil {
		t.Fatal(err)
	}
	advance(t, s, c, Run{State: RunJenkinsQueue, QueueID: 7}, time.Hour) // knows nothing of it
	c = claimRuns(t, s, "d")[0]
	if c.CancelBy != "bob" || c.CancelReason != "wrong branch" || c.State != RunJenkinsQueue {
		t.Errorf("claimed = %+v", c)
	}
	if err := s.TouchRuns(t.Context(), "d", RunStep{RunID: c.ID, Fence: c.Fence, Reason: "Jenkins is asked to stop it", NextIn: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if again := claimRuns(t, s, "d"); len(again) != 0 {
		t.Errorf("claimed though the wish is known: %+v", again)
	}
	due(t, s)
	c = claimRuns(t, s, "d")[0]
	advance(t, s, c, Run{State: RunAborted}, 0)
	if r := getRun(t, s, run.ID); r.CancelBy != "bob" || r.State != RunAborted {
		t.Errorf("run = %+v", r)
	}
	if n := count(t, s, "event", "verb = ? AND actor = 'bob' AND reason = 'wrong branch'", VerbCancel); n != 1 {
		t.Errorf("%d wishes in the audit, want 1", n)
	}
	own := opened(Run{ID: id(), Image: "own", State: RunBuilding, Worker: "host/1"}, day)
	record(t, s, own)
	for what, id := range map[string]string{"nothing to cancel": run.ID, "host/1": own.Run.ID} {
		if err := s.RequestCancel(t.Context(), id, "ann", ""); !is[*Conflict](err) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v, want *Conflict", what, err)
		}
	}
	if err := s.RequestCancel(t.Context(), id(), "ann", ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown run: %v", err)
	}
}

// Wishes and steps at once: no wish is slept over.
func TestCancelWishesAtOnce(t *testing.T) {
	s := newStore(t)
	for range 20 {
		managed(t, s, Run{})
	}
	ctx := context.WithoutCancel(t.Context())
	var wg sync.WaitGroup
	for _, c := range claimRuns(t, s, "d") {
		wg.Go(func() {
			if err := s.RequestCancel(ctx, c.ID, "ann", ""); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			runs, err := s.ClaimRuns(ctx, "d", 3, time.Minute)
			for _, c := range runs {
				if c.CancelBy != "" {
					continue
				}
				if serr := s.StepRun(ctx, RunStep{RunID: c.ID, Fence: c.Fence, Run: Run{State: RunQueued}, NextIn: time.Hour}); serr != nil && !errors.Is(serr, ErrFenced) {
					err = serr
				}
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if runs := claimRuns(t, s, "d"); len(runs) != 20 {
		t.Errorf("%d runs are looked at, want 20", len(runs))
	}
}
