package lineage

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	commitA = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

var zeros = strings.Repeat("0", 40)

// push is a delivery to refs/heads/main of ops/images.
func push(key, before, after string) HookEvent {
	return HookEvent{Instance: "https://gitlab.example", Key: key, Event: "push", Project: "ops/images", Ref: "refs/heads/main", Before: before, After: after,
		Actor: "ann", Payload: []byte(`{"object_kind":"push","after":"` + after + `"}`)}
}

func accept(t testing.TB, s *Store, events ...HookEvent) []Accepted {
	t.Helper()
	got, err := s.AcceptEvents(t.Context(), events)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func claimEvents(t testing.TB, s *Store, owner string, limit int) []HookEvent {
	t.Helper()
	got, err := s.ClaimEvents(t.Context(), owner, limit, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// One push from the delivery to its end.
func TestPushToItsEnd(t *testing.T) {
	s := newStore(t)
	first := accept(t, s, push("k1", zeros, commitA), push("k1", zeros, commitB), push("k2", commitA, commitB))
	if first[0].Duplicate || !first[1].Duplicate || first[2].Duplicate || first[1].ID != first[0].ID || first[1].After != commitA {
		t.Fatalf("accepted = %+v", first)
	}
	events := claimEvents(t, s, "d1", 10)
	if len(events) != 1 || events[0].Key != "k1" || string(events[0].Payload) != string(push("", "", commitA).Payload) {
		t.Fatalf("claimed = %+v", events)
	}
	if again := claimEvents(t, s, "d2", 10); len(again) != 0 {
		t.Fatalf("claimed twice: %+v", again)
	}
	h := Handled{Event: events[0].ID, Fence: events[0].Fence, State: EventHandled, MoveHead: true, Runs: []Run{{Image: "tiny", Commit: commitA, Folder: "images/tiny"}, {Image: "base", Commit: commitA}}}
	runs, err := s.HandleEvent(t.Context(), h)
	if err != nil || len(runs) != 2 || runs[0].HeadSeq != 1 || !runs[0].Managed || runs[0].Channel != ChannelHook {
		t.Fatalf("runs = %+v, %v", runs, err)
	}
	again, err := s.HandleEvent(t.Context(), h)
	if err != nil || fmt.Sprint(again) != fmt.Sprint(runs) {
		t.Errorf("again = %+v, %v", again, err)
	}
	if head, err := s.Head(t.Context(), "ops/images", "refs/heads/main"); err != nil || head.SHA != commitA || head.Seq != 1 {
		t.Errorf("head = %+v, %v", head, err)
	}
	claimed, err := s.ClaimRuns(t.Context(), "d1", 10, time.Minute)
	if err != nil || len(claimed) != 2 || claimed[0].ID != runs[0].ID {
		t.Fatalf("claimed = %+v, %v", claimed, err)
	}
	c := claimed[0]
	if err := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: c.Fence, Run: Run{State: RunQueued}, Reason: "waits", NextIn: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := s.TouchRuns(t.Context(), "d1", RunStep{RunID: claimed[1].ID, Fence: claimed[1].Fence, Reason: "why", NextIn: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if r := getRun(t, s, claimed[1].ID); r.Reason != "why" {
		t.Errorf("touched = %+v", r)
	}
	if more, err := s.ClaimRuns(t.Context(), "d2", 10, time.Minute); err != nil || len(more) != 0 {
		t.Errorf("claimed = %+v, %v", more, err)
	}
	if err := s.RequestCancel(t.Context(), c.ID, "ann", "wrong branch"); err != nil {
		t.Fatal(err)
	}
	claimed, err = s.ClaimRuns(t.Context(), "d1", 10, time.Minute)
	if err != nil || len(claimed) != 1 || claimed[0].CancelBy != "ann" || claimed[0].State != RunQueued {
		t.Fatalf("claimed = %+v, %v", claimed, err)
	}
	if err := s.StepRun(context.WithoutCancel(t.Context()), RunStep{RunID: c.ID, Fence: c.Fence, Run: Run{State: RunCancelled}}); err != ErrFenced {
		t.Errorf("old fence: %v", err)
	}
	if err := s.StepRun(t.Context(), RunStep{RunID: c.ID, Fence: claimed[0].Fence, Run: Run{State: RunCancelled}}); err != nil {
		t.Fatal(err)
	}
	due, err := s.StatusesDue(t.Context(), 10)
	if err != nil || len(due) != 2 || due[0].Run.State != RunCancelled {
		t.Fatalf("due = %+v, %v", due, err)
	}
}
