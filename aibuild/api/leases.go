package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// mostLeases bounds how many locks are held for others at once: each takes a
// connection of the database.
const mostLeases = 64

// mostOfToken bounds how many of them one token may have, so that one project
// does not keep all others waiting. A process that has a lock may take others,
// up to twice as many: else each of them would have a name and wait for the
// image, for ever.
const mostOfToken = 8

// leases are the locks that the server holds for clients. Each is the store's
// lock; the server gives it back when the client does, or does not renew it.
type leases struct {
	store *lineage.Store
	ttl   time.Duration
	log   hclog.Logger

	mu     sync.Mutex
	byID   map[string]*lease
	byName map[string]*lease // until the store has the lock back
	fences map[string]int64  // the last one of each name
	taking map[int64]int     // by token: that the store is being asked for
	closed bool
	done   chan struct{}
	wg     sync.WaitGroup
}

type lease struct {
	id, name string
	token    int64
	host     string
	pid      int
	since    time.Time
	fence    int64
	holding  context.Context // ends when the store knows that it has lost the lock
	unlock   func() error
	expires  time.Time // by the monotonic clock
	timer    *time.Timer
	gone     chan struct{} // closed when the store has the lock back
}

func newLeases(store *lineage.Store, ttl time.Duration, log hclog.Logger) *leases {
	return &leases{
		store: store, ttl: ttl, log: log,
		byID: map[string]*lease{}, byName: map[string]*lease{}, done: make(chan struct{}),
		fences: map[string]int64{}, taking: map[int64]int{},
	}
}

// count is how many there are, for the metrics.
func (l *leases) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.byID)
}

// take gives the lease that the client asked for under this id, or tries to
// get one, at most so long as want.wait.
func (l *leases) take(ctx context.Context, want lease, wait time.Duration) (*lease, error) {
	deadline := time.Now().Add(wait)
	for {
		mine, holder, err := l.look(want)
		if mine != nil || err != nil {
			return mine, err
		}
		if holder == nil {
			got, err := l.try(ctx, want)
			locked, ok := errors.AsType[*lineage.Locked](err)
			if !ok {
				return got, err
			}
			// By another server or a command, which is asked about again, or by
			// somebody here who was faster.
			if _, holder, _ = l.look(want); holder == nil && !time.Now().Before(deadline) {
				return nil, locked
			}
		}
		if err := l.pause(ctx, holder, deadline); err != nil {
			return nil, err
		}
	}
}

// look finds the lease of this very request, else whoever has the name here.
func (l *leases) look(want lease) (mine, holder *lease, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.byID[want.id]; have != nil {
		if have.name != want.name || have.token != want.token {
			return nil, nil, &lineage.Conflict{ID: want.id, Problem: "is the id of another lock"}
		}
		if have.lost() {
			return nil, nil, errGone
		}
		l.extend(have)
		return have, nil, nil
	}
	if l.closed {
		return nil, nil, &Problem{Code: CodeBusy, Detail: "the server is stopping; ask again when it is back"}
	}
	return nil, l.byName[want.name], nil
}

// pause waits for the holder here to go, or a moment for one elsewhere.
func (l *leases) pause(ctx context.Context, holder *lease, deadline time.Time) error {
	left := time.Until(deadline)
	var gone chan struct{}
	if holder != nil {
		if gone = holder.gone; left <= 0 {
			return holder.locked()
		}
	} else {
		left = min(left, time.Duration(200+rand.IntN(300))*time.Millisecond)
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done: // look says so
	case <-gone:
	case <-t.C:
		if holder != nil {
			return holder.locked()
		}
	}
	return nil
}

func (h *lease) locked() error {
	return &lineage.Locked{Name: h.name, Host: h.host, PID: h.pid, Since: h.since}
}

// lost says whether the store has lost the lock of a lease that nobody has
// given back: its server was restarted, and somebody else had the lock since.
func (h *lease) lost() bool {
	_, lost := errors.AsType[*lineage.LockLost](context.Cause(h.holding))
	return lost
}

// try asks the store for the lock.
func (l *leases) try(ctx context.Context, want lease) (*lease, error) {
	if err := l.reserve(want); err != nil {
		return nil, err
	}
	defer l.wg.Done()
	holding, unlock, err := l.hold(ctx, want.name)
	l.mu.Lock()
	if l.taking[want.token]--; l.taking[want.token] == 0 {
		delete(l.taking, want.token)
	}
	// Of a client that is gone meanwhile, nobody would renew it.
	if err == nil && (l.closed || ctx.Err() != nil) {
		l.mu.Unlock()
		return nil, errors.Join(context.Cause(ctx), &Problem{Code: CodeBusy, Detail: "the server is stopping; ask again when it is back"}, unlock())
	}
	defer l.mu.Unlock()
	if err != nil {
		return nil, err
	}
	got := want
	got.holding, got.unlock, got.since, got.gone = holding, unlock, time.Now().UTC(), make(chan struct{})
	got.fence = l.nextFence(got.name, got.since)
	got.timer = time.AfterFunc(l.ttl, func() { l.expire(&got) })
	l.extend(&got)
	l.byID[got.id], l.byName[got.name] = &got, &got
	return &got, nil
}

// hold takes the store's lock. The request may end the attempt; the lock
// outlives it.
func (l *leases) hold(ctx context.Context, name string) (context.Context, func() error, error) {
	lasting, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop() // too late: ctx is done, and try gives the lock back
	return l.store.Hold(lasting, name, 0)
}

func (l *leases) reserve(want lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return &Problem{Code: CodeBusy, Detail: "the server is stopping; ask again when it is back"}
	}
	all, ofToken, limit := len(l.byID), l.taking[want.token], mostOfToken
	for _, n := range l.taking {
		all += n
	}
	for _, h := range l.byID {
		if h.token != want.token {
			continue
		}
		ofToken++
		if h.host == want.host && h.pid == want.pid && want.pid != 0 {
			limit = 2 * mostOfToken
		}
	}
	if ofToken >= limit {
		return &Problem{
			Code:   CodeBusy,
			Detail: fmt.Sprintf("this token has %d locks, as many as one may have at once; ask again when one is given back", ofToken),
		}
	}
	if all >= mostLeases {
		return &Problem{Code: CodeBusy, Detail: "the server holds as many locks as it may; ask again in a moment"}
	}
	l.taking[want.token]++
	l.wg.Add(1)
	return nil
}

// oldFences is after how long it is forgotten who had a lock last, where there
// are many: every image has one of its own.
const (
	manyFences = 10_000
	oldFences  = 24 * time.Hour
)

// nextFence is more than every one before, also than those of a server that was
// here before us. The caller has mu.
func (l *leases) nextFence(name string, now time.Time) int64 {
	fence := max(now.UnixMicro(), l.fences[name]+1)
	if len(l.fences) >= manyFences {
		old := now.Add(-oldFences).UnixMicro()
		maps.DeleteFunc(l.fences, func(_ string, f int64) bool { return f < old })
	}
	l.fences[name] = fence
	return fence
}

// overtaken says whether somebody else has had the lock since it was granted
// under this fence, from here or, as the store knows, from elsewhere. A server
// that was restarted knows only of those after that.
func (l *leases) overtaken(name string, fence int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.byName[name]
	return l.fences[name] > fence || h != nil && h.fence == fence && h.lost()
}

// extend: the caller has mu.
func (l *leases) extend(h *lease) {
	h.expires = time.Now().Add(l.ttl)
	h.timer.Reset(l.ttl)
}

// renew says whether the lease is still there, and if so, for how long.
func (l *leases) renew(id string, token int64) (*lease, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.byID[id]
	if h == nil || h.token != token || l.closed || h.lost() {
		return nil, errGone // one that is lost runs out, or is given back
	}
	l.extend(h)
	return h, nil
}

// errGone: the lease has ended, the store has lost the lock, or the server was
// started since.
var errGone = &Problem{
	Code:    CodeLockLost,
	Detail:  "there is no such lock any more: " + whyGone,
	Problem: whyGone,
}

const whyGone = "it was not renewed in time, the server was restarted, or the database was and somebody else had the lock since"

// release gives a lock back. It is lost when the store could not keep it.
func (l *leases) release(id string, token int64) error {
	l.mu.Lock()
	h := l.byID[id]
	if h == nil || h.token != token {
		l.mu.Unlock()
		return errGone
	}
	l.forget(h)
	l.mu.Unlock()
	return l.drop(h)
}

// forget: the caller has mu, and drops the lease.
func (l *leases) forget(h *lease) {
	h.timer.Stop()
	delete(l.byID, h.id)
	l.wg.Add(1)
}

// drop gives the lock back to the store.
func (l *leases) drop(h *lease) error {
	defer l.wg.Done()
	err := h.unlock()
	l.mu.Lock()
	delete(l.byName, h.name)
	if _, lost := errors.AsType[*lineage.LockLost](err); lost && l.fences[h.name] == h.fence {
		l.fences[h.name]++ // overtaken, by somebody whose fence is not known here
	}
	l.mu.Unlock()
	close(h.gone)
	return err
}

// expire ends a lease that nobody renews.
func (l *leases) expire(h *lease) {
	l.mu.Lock()
	if l.byID[h.id] != h || time.Now().Before(h.expires) { // renewed at the last moment
		l.mu.Unlock()
		return
	}
	l.forget(h)
	l.mu.Unlock()
	l.log.Warn("a lock was not renewed; others may have it now", "image", h.name, "host", h.host, "pid", h.pid)
	if err := l.drop(h); err != nil {
		l.log.Warn("the lock was lost before", "image", h.name, "error", err)
	}
}

// close gives back all locks and waits until it is done.
func (l *leases) close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	close(l.done)
	var all []*lease
	for _, h := range l.byID {
		l.forget(h)
		all = append(all, h)
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	errs := make([]error, len(all))
	for i, h := range all {
		wg.Go(func() { errs[i] = l.drop(h) })
	}
	wg.Wait()
	l.wg.Wait()
	return errors.Join(errs...)
}
