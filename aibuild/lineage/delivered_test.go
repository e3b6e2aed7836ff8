package lineage

import (
	"errors"
	"testing"
)

// What came under a key is found, and asking stores nothing.
func TestDelivered(t *testing.T) {
	s := newStore(t)
	const gitlab = "https://gitlab.example"
	want := HookEvent{Instance: gitlab, Key: "k", Event: "push", Project: "p", Ref: "refs/heads/main", State: EventIgnored, Reason: "why", Payload: []byte("{}")}
	for range 2 {
		if e, err := s.Delivered(t.Context(), gitlab, "k"); !errors.Is(err, ErrNotFound) {
			t.Fatalf("before it came: %+v, %v", e, err)
		}
	}
	if _, err := s.AcceptEvents(t.Context(), []HookEvent{want}); err != nil {
		t.Fatal(err)
	}
	e, err := s.Delivered(t.Context(), gitlab, "k")
	if err != nil || e.ID == 0 || e.Key != "k" || e.Ref != want.Ref || e.State != EventIgnored || e.Reason != "why" || e.Size != 2 || e.Payload != nil {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err := s.Delivered(t.Context(), "https://other.example", "k"); !errors.Is(err, ErrNotFound) {
		t.Errorf("of another gitlab: %+v, %v", e, err)
	}
	usesIndex(t, s, "delivery", deliveredSQL, []any{gitlab, "k"})
}
