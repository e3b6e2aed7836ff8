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

// handle ends a claimed event as the next move of its head, with runs for these
// images.
func handle(t testing.TB, s *Store, e HookEvent, prev int64, images ...string) []Run {
	t.Helper()
	runs, err := s.HandleEvent(t.Context(), moveTo(e, prev, images...))
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func moveTo(e HookEvent, prev int64, images ...string) Handled {
	h := Handled{Event: e.ID, Fence: e.Fence, State: EventHandled, MoveHead: true, PrevSeq: prev}
	for _, name := range images {
		h.Runs = append(h.Runs, Run{Image: name, Commit: e.After, Folder: "images/" + name})
	}
	return h
}

// expire ends all leases, as time does.
func expire(t testing.TB, s *Store) {
	t.Helper()
	for _, table := range []string{"hook_event", "run"} {
		query(t, "UPDATE "+s.cfg.DBName+"."+table+" SET lease_until = NOW(6) - INTERVAL 1 SECOND WHERE lease_until IS NOT NULL")
	}
}

// due lets every wait end.
func due(t testing.TB, s *Store) {
	t.Helper()
	for _, table := range []string{"hook_event", "run"} {
		query(t, "UPDATE "+s.cfg.DBName+"."+table+" SET next_at = NOW(6) - INTERVAL 1 SECOND WHERE next_at IS NOT NULL")
	}
}

// A roll-back to an earlier commit and back is new work each time; what is
// deleted and made again counts on.
func TestHeadsCountMoves(t *testing.T) {
	s := newStore(t)
	for i, after := range []string{commitA, commitB, commitA, zeros, commitA} {
		accept(t, s, push(fmt.Sprint("k", i), zeros, after))
	}
	seen := map[string]bool{}
	for seq := range int64(5) {
		events := claimEvents(t, s, "d", 10)
		if len(events) != 1 {
			t.Fatalf("claimed = %+v", events)
		}
		e := events[0]
		if e.After == zeros {
			handle(t, s, e, seq)
		} else if runs := handle(t, s, e, seq, "tiny"); len(runs) != 1 || seen[runs[0].ID] || runs[0].HeadSeq != seq+1 || runs[0].Event != e.ID || runs[0].Actor != "ann" {
			t.Errorf("runs = %+v", runs)
		} else {
			seen[runs[0].ID] = true
		}
		if head, err := s.Head(t.Context(), "ops/images", "refs/heads/main"); err != nil || head != (Head{"ops/images", "refs/heads/main", e.After, seq + 1}) {
			t.Errorf("head = %+v, %v", head, err)
		}
	}
	if len(seen) != 4 {
		t.Errorf("%d runs, want 4", len(seen))
	}
	for _, at := range [][2]string{{"ops/images", "refs/heads/none"}, {"ops/none", "refs/heads/main"}} {
		if head, err := s.Head(t.Context(), at[0], at[1]); err != nil || head != (Head{}) {
			t.Errorf("head of %s = %+v, %v", at, head, err)
		}
	}
}

func TestHeadsOfAProject(t *testing.T) {
	s := newStore(t)
	var want []Head
	for i := range 4 {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref = fmt.Sprint("refs/heads/b", i%3)
		if i == 2 {
			e.Project = "ops/other"
		} else {
			want = append(want, Head{e.Project, e.Ref, commitA, int64(1 + i/3)})
		}
		accept(t, s, e)
		for _, e := range claimEvents(t, s, "d", 1) {
			handle(t, s, e, int64(i/3))
		}
	}
	want = []Head{want[2], want[1]} // b0 moved twice
	if heads, err := s.Heads(t.Context(), "ops/images"); err != nil || cmp.Diff(want, heads) != "" {
		t.Errorf("heads = %+v, %v", heads, err)
	}
}

// Who decided on a head that has moved since decides again.
func TestHeadMovedMeanwhile(t *testing.T) {
	s := newStore(t)
	accept(t, s, push("k1", zeros, commitA), push("k2", commitA, commitB))
	first := claimEvents(t, s, "d1", 1)[0]
	query(t, "UPDATE "+s.cfg.DBName+".hook_event SET lease_owner = 'd2#x', lease_until = NOW(6) + INTERVAL 1 HOUR, fence = 7 WHERE idempotency_key = 'k2'") // claimed too, against the rule
	second := HookEvent{ID: first.ID + 1, Fence: 7, After: commitB}
	errs := make(chan error, 2)
	for _, h := range []Handled{moveTo(first, 0, "tiny"), moveTo(second, 0, "tiny", "base")} {
		go func() {
			_, err := s.HandleEvent(context.WithoutCancel(t.Context()), h)
			errs <- err
		}()
	}
	lost := 0
	for range 2 {
		if err := <-errs; is[*Conflict](err) {
			lost++
		} else if err != nil {
			t.Error(err)
		}
	}
	if lost != 1 {
		t.Errorf("%d of two moves at once were refused, want 1", lost)
	}
	if n := count(t, s, "hook_event", "head_seq = 1"); n != 1 {
		t.Errorf("%d events moved the head first", n)
	}
	if n, m := count(t, s, "hook_event", "state = 'pending'"), count(t, s, "run", "head_seq <> 1"); n != 1 || m != 0 {
		t.Errorf("%d events are pending, %d runs are of another head", n, m)
	}
}

// Two daemons cannot both handle an event: the one whose lease ran out is
// fenced off, before and after the other is done.
func TestEventIsFenced(t *testing.T) {
	s := newStore(t)
	accept(t, s, push("k1", zeros, commitA))
	slow := claimEvents(t, s, "d1", 1)[0]
	if other := claimEvents(t, s, "d2", 1); len(other) != 0 {
		t.Fatalf("claimed while leased: %+v", other)
	}
	expire(t, s)
	quick := claimEvents(t, s, "d2", 1)[0]
	if quick.Fence <= slow.Fence {
		t.Fatalf("fence went from %d to %d", slow.Fence, quick.Fence)
	}
	late := func(when string) {
		t.Helper()
		if _, err := s.HandleEvent(t.Context(), moveTo(slow, 0, "tiny")); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: handle = %v, want ErrFenced", when, err)
		}
		if err := s.DeferEvent(t.Context(), slow.ID, slow.Fence, "x", time.Hour); !errors.Is(err, ErrFenced) {
			t.Errorf("%s: defer = %v, want ErrFenced", when, err)
		}
	}
	late("before")
	runs := handle(t, s, quick, 0, "tiny")
	late("after")
	if again := handle(t, s, quick, 0, "tiny"); cmp.Diff(runs, again) != "" {
		t.Errorf("handled again: %+v, first %+v", again, runs)
	}
	if n := count(t, s, "run", "1 = 1"); n != 1 {
		t.Errorf("%d runs", n)
	}
	failed := moveTo(quick, 0)
	failed.State = EventFailed
	if _, err := s.HandleEvent(t.Context(), failed); !is[*Conflict](err) {
		t.Errorf("another end: %v, want *Conflict", err)
	}
	if _, err := s.HandleEvent(t.Context(), Handled{Event: 99, State: EventHandled}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown event: %v", err)
	}
}

// A name of another project is refused in the run's own words; the other runs
// of the push are opened.
func TestRunOfANameThatIsTaken(t *testing.T) {
	s := newStore(t)
	theirs := builtRecord(id(), "base", day)
	theirs.Built.Project = "ops/base"
	ours := builtRecord(id(), "tiny", day)
	ours.Built.Project = "ops/images"
	record(t, s, theirs, ours)
	accept(t, s, push("k1", zeros, commitA))
	runs := handle(t, s, claimEvents(t, s, "d", 1)[0], 0, "tiny", "base", "new")
	states := map[string]string{}
	for _, r := range runs {
		states[r.Image] = r.State
		if r.Image == "base" && (!strings.Contains(r.Reason, "belongs to project ops/base") || r.FinishedAt.IsZero()) {
			t.Errorf("run = %+v", r)
		}
	}
	if diff := cmp.Diff(map[string]string{"tiny": RunReceived, "base": RunRejected, "new": RunReceived}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if claimed, err := s.ClaimRuns(t.Context(), "d", 10, time.Minute); err != nil || len(claimed) != 2 {
		t.Errorf("claimed = %+v, %v", claimed, err)
	}
	if list, err := s.StatusesDue(t.Context(), 10); err != nil || len(list) != 3 {
		t.Errorf("due = %+v, %v", list, err)
	}
	if events, _, err := s.Events(t.Context(), EventFilter{Image: "base"}); err != nil || len(events) != 2 || events[0].State != RunRejected || events[0].Channel != ChannelHook {
		t.Errorf("audit = %+v, %v", events, err)
	}
}

// Runs without a move are those of the head as it is: asking twice is one run.
func TestRunsOfTheSameHead(t *testing.T) {
	s := newStore(t)
	accept(t, s, push("k1", zeros, commitA), push("k2", commitA, commitA))
	first := handle(t, s, claimEvents(t, s, "d", 1)[0], 0, "tiny")
	h := moveTo(claimEvents(t, s, "d", 1)[0], 1, "tiny", "base")
	h.MoveHead = false
	runs, err := s.HandleEvent(t.Context(), h)
	if err != nil || len(runs) != 2 || runs[0].ID != first[0].ID || runs[1].HeadSeq != 1 {
		t.Errorf("runs = %+v, %v", runs, err)
	}
	if n := count(t, s, "event", "verb = 'opened'"); n != 2 {
		t.Errorf("%d runs are opened in the audit, want 2", n)
	}
	ignored := push("k3", commitA, commitB)
	accept(t, s, ignored)
	e := claimEvents(t, s, "d", 1)[0]
	if _, err := s.HandleEvent(t.Context(), Handled{Event: e.ID, Fence: e.Fence, State: EventIgnored, Reason: "[skip ci]"}); err != nil {
		t.Error(err)
	}
	if head, err := s.Head(t.Context(), "ops/images", "refs/heads/main"); err != nil || head.SHA != commitA || head.Seq != 1 {
		t.Errorf("head = %+v, %v", head, err)
	}
	twice := moveTo(e, 1, "tiny", "tiny")
	if _, err := s.HandleEvent(t.Context(), twice); !is[*Invalid](err) {
		t.Errorf("an image twice: %v", err)
	}
}

// The oldest event of each ref, and of a ref whose oldest waits none.
func TestClaimsKeepTheOrderOfARef(t *testing.T) {
	s := newStore(t)
	for i := range 6 {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref = fmt.Sprint("refs/heads/b", i%2)
		accept(t, s, e)
	}
	keys := func(events []HookEvent) (list []string) {
		for _, e := range events {
			list = append(list, e.Key)
		}
		return list
	}
	claimed := claimEvents(t, s, "d", 10)
	if diff := cmp.Diff([]string{"k0", "k1"}, keys(claimed)); diff != "" {
		t.Fatalf("claimed (-want +got):\n%s", diff)
	}
	if err := s.DeferEvent(t.Context(), claimed[0].ID, claimed[0].Fence, "git is away", time.Hour); err != nil {
		t.Fatal(err)
	}
	handle(t, s, claimed[1], 0)
	claimed = claimEvents(t, s, "d", 10)
	if diff := cmp.Diff([]string{"k3"}, keys(claimed)); diff != "" {
		t.Fatalf("claimed while k0 waits (-want +got):\n%s", diff)
	}
	due(t, s)
	again := claimEvents(t, s, "d", 10)
	if len(again) != 1 || again[0].Key != "k0" || again[0].Tries != 1 || again[0].Reason != "git is away" {
		t.Errorf("claimed = %+v", again)
	}
	if err := s.ReleaseLeases(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"k0", "k3"}, keys(claimEvents(t, s, "d2", 10))); diff != "" {
		t.Errorf("claimed after a release (-want +got):\n%s", diff)
	}
	if _, err := s.HandleEvent(t.Context(), moveTo(again[0], 0)); !errors.Is(err, ErrFenced) {
		t.Errorf("handled after the release: %v", err)
	}
	if err := s.TakeOverLeases(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"k0", "k3"}, keys(claimEvents(t, s, "d3", 10))); diff != "" {
		t.Errorf("claimed after a daemon was killed (-want +got):\n%s", diff)
	}
}

// A claim does not take more payload into memory than it needs.
func TestClaimsAreBoundedInBytes(t *testing.T) {
	s := newStore(t)
	for i, size := range []int{5 << 20, 5 << 20, 1000, 1000} {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref, e.Payload = fmt.Sprint("refs/heads/", i), make([]byte, size)
		accept(t, s, e)
	}
	for _, want := range []int{1, 3, 0} {
		if got := claimEvents(t, s, "d", 10); len(got) != want {
			t.Errorf("%d events, want %d", len(got), want)
		}
	}
}

// Several claimers never have the same event, whatever their clocks say.
func TestClaimersAtOnce(t *testing.T) {
	s := newStore(t)
	for i := range 60 {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref = fmt.Sprint("refs/heads/", i)
		accept(t, s, e)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	owner := map[string]string{}
	for i := range 6 {
		skewed, err := Open(t.Context(), Config{DSN: s.cfg.FormatDSN(), Now: func() time.Time { return time.Now().Add(time.Duration(i-3) * time.Hour) }})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer skewed.Close()
			me := fmt.Sprint("d", i)
			for range 10 {
				events, err := skewed.ClaimEvents(context.WithoutCancel(t.Context()), me, 3, time.Minute)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, e := range events {
					if other, ok := owner[e.Key]; ok {
						t.Errorf("%s is claimed by %s and %s", e.Key, other, me)
					}
					owner[e.Key] = me
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if left := claimEvents(t, s, "d9", 100); len(owner)+len(left) != 60 {
		t.Errorf("%d events claimed, %d left, want 60", len(owner), len(left))
	}
	for _, bad := range []struct {
		owner string
		limit int
		lease time.Duration
	}{{"", 1, time.Minute}, {"a#b", 1, time.Minute}, {"d", 0, time.Minute}, {"d", 1, time.Millisecond}} {
		if _, err := s.ClaimEvents(t.Context(), bad.owner, bad.limit, bad.lease); !is[*Invalid](err) {
			t.Errorf("%+v: %v, want *Invalid", bad, err)
		}
	}
}

// Pushes to many refs with the same images, handled at once beside builds that
// record: nothing is refused, nothing is missing.
func TestPushesAtOnce(t *testing.T) {
	s := newStore(t)
	const refs, moves = 6, 8
	for i := range refs * moves {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref = fmt.Sprint("refs/heads/", i%refs)
		accept(t, s, e)
	}
	var wg sync.WaitGroup
	ctx := context.WithoutCancel(t.Context())
	for i := range 4 {
		wg.Go(func() {
			for deadline := time.Now().Add(time.Minute); count(t, s, "hook_event", "state = 'pending'") > 0 && time.Now().Before(deadline); {
				events, err := s.ClaimEvents(ctx, fmt.Sprint("d", i), 2, time.Minute)
				if err != nil {
					t.Error(err)
				}
				for _, e := range events {
					head, err := s.Head(ctx, e.Project, e.Ref)
					if err != nil {
						t.Error(err)
					}
					if _, err := s.HandleEvent(ctx, moveTo(e, head.Seq, "tiny", "base", "next", "last")); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				built := builtRecord(id(), []string{"tiny", "base"}[i%2], day)
				built.Built.Project = "ops/images"
				if err := s.Record(ctx, built, opened(Run{ID: id(), Image: "next", State: RunBuilding, Project: "ops/images"}, day)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := count(t, s, "run", "head_seq IS NOT NULL"); n != refs*moves*4 {
		t.Errorf("%d runs, want %d", n, refs*moves*4)
	}
	if heads, err := s.Heads(t.Context(), "ops/images"); err != nil || len(heads) != refs || heads[0].Seq != moves {
		t.Errorf("heads = %+v, %v", heads, err)
	}
}
