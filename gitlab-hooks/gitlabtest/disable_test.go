package gitlabtest_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestAutoDisable(t *testing.T) {
	c := newClock()
	sc := stage(t, gitlabtest.Options{AutoDisable: true, Now: c.Now, RootToken: "glpat-root"}, gitlabtest.Project{})
	system := receive(t)
	if _, err := sc.AddSystemHook(gitlabtest.Hook{URL: system.URL}); err != nil {
		t.Fatal(err)
	}
	system.status(500)
	sc.receiver.status(500)
	push := func() int {
		t.Helper()
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		return len(sc.take())
	}
	for range 4 {
		check(t, "sent while it is enabled", push(), 1)
	}
	check(t, "dropped while it is disabled", push(), 0)
	check(t, "state", sc.state(), "temporarily_disabled")
	wait := time.Minute
	for failures := 5; failures <= 40; failures++ {
		c.pass(wait - time.Second)
		if failures <= 17 || failures == 40 { // the waits grow until the fifteenth
			check(t, "a second too early", push(), 0)
		}
		c.pass(2 * time.Second)
		check(t, "state when the wait is over", sc.state(), "executable")
		check(t, "sent when the wait is over", push(), 1)
		wait = min(2*wait, 24*time.Hour)
	}
	check(t, "state after 40 failures", sc.state(), "disabled")
	c.pass(365 * 24 * time.Hour)
	check(t, "disabled for good", push(), 0)
	if len(system.take()) < 40 {
		t.Error("the system hook was disabled; it never is")
	}
	// Only a test that works enables it again.
	if status, body := sc.api("POST", "projects/1/hooks/1/test/push_events", ""); status != 422 {
		t.Errorf("a failing test: %d %s; want 422", status, body)
	}
	check(t, "state after a failed test", sc.state(), "disabled")
	sc.receiver.status(204)
	if status, body := sc.api("POST", "projects/1/hooks/1/test/push_events", ""); status != 201 || body != `{"message":"201 Created"}` {
		t.Errorf("a test: %d %s; want 201", status, body)
	}
	check(t, "state after a test", sc.state(), "executable")
	sc.take()
	check(t, "sent again", push(), 1)
}

// state is the alert status of the first hook.
func (sc scene) state() string {
	sc.t.Helper()
	status, body := sc.api("GET", "projects/1/hooks/1", "")
	if status != 200 {
		sc.t.Fatalf("hook: %d %s", status, body)
	}
	_, rest, _ := strings.Cut(body, `"alert_status":"`)
	state, _, _ := strings.Cut(rest, `"`)
	return state
}

func TestOneSuccessForgetsFailures(t *testing.T) {
	sc := stage(t, gitlabtest.Options{AutoDisable: true}, gitlabtest.Project{})
	for range 3 {
		for _, status := range []int{500, 404, 400, 301} {
			sc.receiver.status(status)
			sc.commit("next\n")
			sc.push("main")
			idle(t, sc.Server)
		}
	}
	check(t, "deliveries", len(sc.take()), 12)
}
