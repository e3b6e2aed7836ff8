package api

import (
	"context"
	"errors"
	"testing"
	"time"
)

// What costs much is kept, and made anew while the old answer is given; what costs nothing is always new.
func TestMemo(t *testing.T) {
	var m memo[int]
	made := 0
	costing := func(cost time.Duration) func(context.Context) (int, error) {
		return func(context.Context) (int, error) { made++; time.Sleep(cost); return made, nil }
	}
	ask := func(key string, cost time.Duration, want int) {
		t.Helper()
		if got, err := m.get(t.Context(), key, costing(cost)); got != want || err != nil {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
	}
	ask("dear", 50*time.Millisecond, 1)
	ask("dear", 50*time.Millisecond, 1)
	ask("other", 0, 2)
	old := func(by float64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.kept["dear"].at = time.Now().Add(-time.Duration(by * float64(m.kept["dear"].keeps())))
	}
	old(1.5)
	ask("dear", 50*time.Millisecond, 1)
	m.wait()
	ask("dear", 50*time.Millisecond, 3)
	old(2.5)
	ask("dear", 50*time.Millisecond, 4)
	m.clear()
	ask("dear", 50*time.Millisecond, 5)
	failed := errors.New("the database is away")
	old(1.5)
	fail := func(context.Context) (int, error) { return 0, failed }
	if got, err := m.get(t.Context(), "dear", fail); got != 5 || err != nil {
		t.Errorf("while it is made anew: %d, %v", got, err)
	}
	m.wait()
	if _, err := m.get(t.Context(), "dear", fail); !errors.Is(err, failed) {
		t.Errorf("who asks then is told %v", err)
	}
	ask("dear", 5*time.Millisecond, 6)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		m.mu.Lock()
		n := len(m.kept)
		m.mu.Unlock()
		if n == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d answers are kept that are too old to be given", n)
		}
	}
}
