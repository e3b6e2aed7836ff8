package api

import (
	"context"
	"sync"
	"time"
)

const (
	memoShare  = 10               // what costs a second is kept for ten: asking takes a tenth of the time at most
	memoFresh  = 30 * time.Second // nothing is kept for longer; for as long again it is given while a new one is made
	memoMost   = 64               // answers, by who may see what
	memoWithin = 20 * time.Second // to make a new one that nobody waits for
)

// memo keeps answers that cost much, for a time that grows with what they cost:
// where little is recorded everything is as fresh as it can be.
type memo[T any] struct {
	mu    sync.Mutex
	kept  map[string]*answered[T]
	since int // times that all was forgotten
	work  sync.WaitGroup
}

type answered[T any] struct {
	value   T
	at      time.Time
	cost    time.Duration
	renewed bool // a new one is being made
}

// keeps is how long it is good.
func (a *answered[T]) keeps() time.Duration { return min(memoShare*a.cost, memoFresh) }

// get gives what is kept under the key, or makes it.
func (m *memo[T]) get(ctx context.Context, key string, load func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	has, now := m.kept[key], time.Now()
	switch {
	case has == nil || now.Sub(has.at) >= 2*has.keeps():
		m.mu.Unlock()
		return m.renew(ctx, key, load)
	case now.Sub(has.at) >= has.keeps() && !has.renewed:
		has.renewed = true
		m.work.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), memoWithin)
			defer cancel()
			if _, err := m.renew(ctx, key, load); err != nil {
				m.forget(key) // who asks next is told why
			}
		})
	}
	defer m.mu.Unlock()
	return has.value, nil
}

func (m *memo[T]) renew(ctx context.Context, key string, load func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	since := m.since
	m.mu.Unlock()
	began := time.Now()
	value, err := load(ctx)
	if err != nil {
		return value, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.since != since { // it may be of before the change
		return value, nil
	}
	if m.kept == nil || len(m.kept) >= memoMost {
		m.kept = map[string]*answered[T]{}
	}
	kept := &answered[T]{value: value, at: began, cost: time.Since(began)}
	m.kept[key] = kept
	time.AfterFunc(2*kept.keeps(), func() { m.drop(key, kept) }) // a view of thousands of names is not kept for nobody
	return value, nil
}

// drop forgets an answer, unless there is a newer one.
func (m *memo[T]) drop(key string, old *answered[T]) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.kept[key] == old {
		delete(m.kept, key)
	}
}

func (m *memo[T]) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.kept, key)
}

// clear forgets all: something was changed here, and who did it looks for it.
func (m *memo[T]) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kept = nil
	m.since++
}

// wait waits for what is being made.
func (m *memo[T]) wait() { m.work.Wait() }
