package gitlabtest_test

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestTroubles(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	push := func(times int) (ids []string) {
		t.Helper()
		for range times {
			ids = append(ids, sc.commit("next\n"))
			sc.push("main")
		}
		return ids
	}
	afters := func(all []got) (ids []string) {
		for _, g := range all {
			ids = append(ids, g.payload(t).After)
		}
		return ids
	}

	sc.Disturb(gitlabtest.Trouble{Drop: true, Times: 1})
	ids := push(2)
	idle(t, sc.Server)
	check(t, "drop: the second alone came", afters(sc.take()), ids[1:])
	check(t, "drop: it is told", sc.Dropped()[len(sc.Dropped())-1].After, ids[0])

	sc.Disturb(gitlabtest.Trouble{Copies: 3, Times: 1})
	push(1)
	idle(t, sc.Server)
	copies := sc.take()
	check(t, "duplicate: requests", len(copies), 3)
	check(t, "duplicate: one key", copies[0].Header.Get("Idempotency-Key"), copies[2].Header.Get("Idempotency-Key"))
	if copies[0].Header.Get("X-Gitlab-Webhook-UUID") == copies[2].Header.Get("X-Gitlab-Webhook-UUID") {
		t.Error("duplicate: the webhook UUID is the same; it is new for each request")
	}

	var arrived sync.WaitGroup
	arrived.Add(2)
	sc.answers(func(http.ResponseWriter, *http.Request) { arrived.Done(); arrived.Wait() }) // each waits for the other
	sc.Disturb(gitlabtest.Trouble{Copies: 2, AtOnce: true, Times: 1})
	push(1)
	idle(t, sc.Server)
	check(t, "at once: requests", len(sc.take()), 2)
	sc.answers(nil)

	sc.Disturb(gitlabtest.Trouble{Reorder: 3, Times: 3})
	ids = push(3)
	idle(t, sc.Server)
	slices.Reverse(ids)
	check(t, "reorder", afters(sc.take()), ids)

	sc.Disturb(gitlabtest.Trouble{Reorder: 3})
	ids = push(2)
	check(t, "reorder: held back", len(sc.take()), 0)
	sc.Undisturb()
	idle(t, sc.Server)
	check(t, "undisturb: in order", afters(sc.take()), ids)

	sc.Disturb(gitlabtest.Trouble{Delay: 300 * time.Millisecond, Times: 1})
	before := time.Now()
	push(1)
	idle(t, sc.Server)
	if waited := sc.take()[0].At.Sub(before); waited < 300*time.Millisecond {
		t.Errorf("delay: it came after %v", waited)
	}
}

func TestSlowAndCutBodies(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.Disturb(gitlabtest.Trouble{Slow: 5 * time.Millisecond, Times: 1})
	sc.Disturb(gitlabtest.Trouble{Cut: true, Times: 1})
	sc.commit("next\n")
	before := time.Now()
	sc.push("main")
	idle(t, sc.Server)
	slow := sc.take()[0]
	check(t, "slow: the body is whole", slow.payload(t).Ref, "refs/heads/main")
	if took := time.Since(before); took < 300*time.Millisecond {
		t.Errorf("slow: it took only %v", took)
	}
	sc.commit("next\n")
	sc.push("main")
	idle(t, sc.Server)
	if cut := sc.take()[0]; cut.Err == nil || len(cut.Body) == 0 {
		t.Errorf("cut: %d bytes came, and then %v; want some, and an error", len(cut.Body), cut.Err)
	}
	entries := sc.Deliveries(sc.hook.ID)
	check(t, "cut: it is a failure", entries[len(entries)-1].OK(), false)
}
