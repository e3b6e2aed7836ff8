package lineage

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// 32 equal deliveries at once, from two processes, one by one and in shared
// calls: one row, and one of them is told that it was first.
func TestEqualDeliveriesAtOnce(t *testing.T) {
	s := newStore(t)
	other := openStore(t, strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName, 1))
	for name, size := range map[string]int{"alone": 1, "shared": 8} {
		var mu sync.Mutex
		var all []Accepted
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 32 / size {
			store := []*Store{s, other}[i%2]
			wg.Go(func() {
				var events []HookEvent
				for j := range size {
					e := push("equal-"+name, zeros, fmt.Sprintf("%040d", i*size+j)) // who is first is stored
					events = append(events, e, push(fmt.Sprintf("%s-%d-%d", name, i, j), zeros, commitA))
				}
				<-start
				got, err := store.AcceptEvents(context.WithoutCancel(t.Context()), events)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				for k, a := range got {
					if k%2 == 0 {
						all = append(all, a)
					} else if a.Duplicate || a.After != commitA {
						t.Errorf("a new key: %+v", a)
					}
				}
			})
		}
		close(start)
		wg.Wait()
		first := 0
		for _, a := range all {
			if !a.Duplicate {
				first++
			}
			if a.ID != all[0].ID || a.After != all[0].After {
				t.Errorf("%s: accepted as %+v and %+v", name, a, all[0])
			}
		}
		if len(all) != 32 || first != 1 {
			t.Errorf("%s: %d answers, %d of them the first", name, len(all), first)
		}
		if n := count(t, s, "hook_event", "idempotency_key = ?", "equal-"+name); n != 1 {
			t.Errorf("%s: %d rows", name, n)
		}
	}
	if n := count(t, s, "hook_event", "1 = 1"); n != 2+64 {
		t.Errorf("%d rows, want 66", n)
	}
}

// The ids that are given are those that are stored, also while others write,
// and on a member of a cluster, whose ids do not follow each other.
func TestAcceptedIDs(t *testing.T) {
	for _, step := range []int{1, 3} {
		query(t, fmt.Sprint("SET GLOBAL auto_increment_increment = ", step))
		t.Cleanup(func() { query(t, "SET GLOBAL auto_increment_increment = 1") })
		s := newStore(t)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for j := range 15 {
					var events []HookEvent
					for k := range j + 1 {
						events = append(events, push(fmt.Sprintf("%d-%d-%d", i, j, k), zeros, commitA))
					}
					got, err := s.AcceptEvents(context.WithoutCancel(t.Context()), events)
					if err != nil {
						t.Error(err)
					}
					for k, a := range got {
						if n := count(t, s, "hook_event", "id = ? AND idempotency_key = ?", a.ID, events[k].Key); n != 1 || a.Duplicate {
							t.Errorf("step %d: %s is not stored as %+v", step, events[k].Key, a)
						}
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestAcceptMany(t *testing.T) {
	s := newStore(t)
	old := accept(t, s, push("k3", zeros, commitA))[0]
	var events []HookEvent
	for i := range 150 { // more than one statement takes
		events = append(events, push(fmt.Sprintf("k%d", i%100), zeros, commitB))
	}
	elsewhere := push("k5", zeros, commitA)
	elsewhere.Instance = "https://other.example"
	events = append(events, elsewhere)
	got := accept(t, s, events...)
	for i, a := range got[:150] {
		want := Accepted{ID: got[i%100].ID, Duplicate: i >= 100 || i == 3, Project: "ops/images", Ref: "refs/heads/main", After: commitB}
		if i%100 == 3 {
			want.ID, want.After = old.ID, commitA
		}
		if a != want {
			t.Errorf("accepted[%d] = %+v, want %+v", i, a, want)
		}
		if i > 0 && i < 100 && i != 3 && i != 4 && a.ID <= got[i-1].ID {
			t.Errorf("accepted[%d] has id %d after %d: the order of arrival is lost", i, a.ID, got[i-1].ID)
		}
	}
	if a := got[150]; a.Duplicate || a.After != commitA {
		t.Errorf("the same key of another GitLab: %+v", a)
	}
	if n := count(t, s, "hook_event", "1 = 1"); n != 101 {
		t.Errorf("%d rows, want 101", n)
	}
}

// What comes in comes out, whatever bytes it is; it does not lie there raw.
func TestPayloadIsKept(t *testing.T) {
	s := newStore(t)
	long := bytes.Repeat([]byte(`{"message":"says it again"}`), 1<<20/27*25) // 25 MB
	for i, payload := range [][]byte{nil, {}, []byte("{\"\xff\x00'\";`\n"), pushPayload(1), long} {
		e := push(fmt.Sprint("p", i), zeros, commitA)
		e.Ref, e.Payload = fmt.Sprint("refs/heads/", i), payload
		accept(t, s, e)
		got := claimEvents(t, s, "d", 10)
		if len(got) != 1 || !bytes.Equal(got[0].Payload, payload) || (got[0].Payload == nil) != (payload == nil) || got[0].Size != int64(len(payload)) {
			t.Errorf("payload of %d bytes comes back as %d", len(payload), len(got[0].Payload))
		}
	}
	var stored int
	if err := s.db.QueryRow("SELECT MAX(LENGTH(payload)) FROM hook_event").Scan(&stored); err != nil {
		t.Fatal(err)
	}
	if stored > len(long)/100 {
		t.Errorf("25 MB of the same are stored in %d bytes", stored)
	}
}

// A payload that the server refuses must not cost the event.
func TestPayloadTooLargeForTheServer(t *testing.T) {
	s := newStore(t)
	query(t, "SET GLOBAL max_allowed_packet = 1048576")
	t.Cleanup(func() { query(t, "SET GLOBAL max_allowed_packet = DEFAULT") })
	small := openStore(t, strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName, 1))
	rnd := rand.NewChaCha8([32]byte{1})
	var events []HookEvent
	for i, size := range []int{2 << 20, 1<<20 - packetRest, 1<<20 - packetRest - 100, 1000} {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref, e.Payload = fmt.Sprint("refs/heads/", i), make([]byte, size)
		if _, err := rnd.Read(e.Payload); err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	accept(t, small, events...)
	for i, e := range claimEvents(t, small, "d", 10) {
		if kept := e.Payload != nil; kept != (i > 1) || e.Size != int64(len(events[i].Payload)) {
			t.Errorf("payload of %d bytes: kept = %v", e.Size, kept)
		}
	}
}

func TestEventsThatCannotBeStored(t *testing.T) {
	s := newStore(t)
	for field, change := range map[string]func(*HookEvent){
		"key":         func(e *HookEvent) { e.Key = "" },
		"ref":         func(e *HookEvent) { e.Ref = strings.Repeat("r", 1025) },
		"project":     func(e *HookEvent) { e.Project = "\xff" },
		"state":       func(e *HookEvent) { e.State = "odd" },
		"received_at": func(e *HookEvent) { e.ReceivedAt = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		e := push("bad", zeros, commitA)
		change(&e)
		if err := e.Validate(); !is[*Invalid](err) || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: validate = %v", field, err)
		}
		if _, err := s.AcceptEvents(t.Context(), []HookEvent{push("good", zeros, commitA), e}); !is[*Invalid](err) || !strings.Contains(err.Error(), "events[1]."+field) {
			t.Errorf("%s: accept = %v", field, err)
		}
	}
	if n := count(t, s, "hook_event", "1 = 1"); n != 0 {
		t.Errorf("%d rows", n)
	}
	odd := push("odd", zeros, commitA)
	odd.Project, odd.Ref, odd.Actor = `o'ps/"im;ages`, "refs/heads/a'b\"c\n;$(x)/../ü", "` OR 1=1 --"
	if err := odd.Validate(); err != nil {
		t.Fatal(err)
	}
	accept(t, s, odd)
	got := claimEvents(t, s, "d", 1)[0]
	if got.Project != odd.Project || got.Ref != odd.Ref || got.Actor != odd.Actor {
		t.Errorf("stored as %+v", got)
	}
}

// Events that were spooled keep the time of their arrival; what is decided at
// once is in the list too.
func TestHookEventsAreListed(t *testing.T) {
	s := newStore(t)
	spooled := push("spooled", zeros, commitA)
	spooled.ReceivedAt = day
	ignored := push("ignored", zeros, commitA)
	ignored.Ref, ignored.State, ignored.Reason, ignored.Payload = "refs/heads/x", EventIgnored, "no project of ours", nil
	accept(t, s, spooled, ignored)
	var keys []string
	for _, e := range all(t, func(at string) ([]HookEvent, string, error) {
		return s.HookEvents(t.Context(), HookFilter{Cursor: at, Limit: 1})
	}) {
		keys = append(keys, e.Key)
		if e.Payload != nil {
			t.Errorf("%s comes with its payload", e.Key)
		}
		if e.Key == "spooled" && (!e.ReceivedAt.Equal(day) || !e.HandledAt.IsZero() || e.Size == 0) {
			t.Errorf("spooled = %+v", e)
		}
		if e.Key == "ignored" && (e.HandledAt.IsZero() || e.Reason != "no project of ours" || time.Since(e.ReceivedAt).Abs() > time.Minute) {
			t.Errorf("ignored = %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"ignored", "spooled"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, f := range []HookFilter{{State: EventIgnored}, {Project: "ops/images", Ref: "refs/heads/x"}, {Project: "ops/images", State: EventIgnored}, {Project: "ops/images", Ref: "refs/heads/x", State: EventIgnored}} {
		if list, _, err := s.HookEvents(t.Context(), f); err != nil || len(list) != 1 || list[0].Key != "ignored" {
			t.Errorf("%+v: %+v, %v", f, list, err)
		}
	}
	if _, _, err := s.HookEvents(t.Context(), HookFilter{Ref: "refs/heads/x"}); !is[*Invalid](err) {
		t.Errorf("ref without project: %v", err)
	}
	if events := claimEvents(t, s, "d", 10); len(events) != 1 || events[0].Key != "spooled" {
		t.Errorf("claimed = %+v", events)
	}
}

func TestPayloadsExpire(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		e := push(fmt.Sprint("k", i), zeros, commitA)
		e.Ref = fmt.Sprint("refs/heads/", i)
		if i < 4 {
			e.ReceivedAt = time.Now().Add(-48 * time.Hour)
		}
		accept(t, s, e)
	}
	for _, e := range claimEvents(t, s, "d", 3) {
		handle(t, s, e, 0)
	}
	for _, want := range []int{2, 1, 0} { // the fourth is pending, the fifth is new
		if n, err := s.ExpirePayloads(t.Context(), 24*time.Hour, 2); err != nil || n != want {
			t.Errorf("expired = %d, %v; want %d", n, err, want)
		}
	}
	if n := count(t, s, "hook_event", "payload IS NULL AND kept = 0 AND payload_size > 0"); n != 3 {
		t.Errorf("%d payloads are gone, want 3", n)
	}
	if heads, err := s.Heads(t.Context(), "ops/images"); err != nil || len(heads) != 3 {
		t.Errorf("heads = %+v, %v", heads, err)
	}
	for _, bad := range []struct {
		age   time.Duration
		limit int
	}{{-1, 1}, {1, 0}, {1, 10_001}} {
		if _, err := s.ExpirePayloads(t.Context(), bad.age, bad.limit); !is[*Invalid](err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
