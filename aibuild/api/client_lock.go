package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Lock takes the lock on an image name, as [lineage.Store.Lock] does, and keeps
// it until unlock. It is the server's to keep: when the server cannot be told
// in time that we still need it, or is restarted, others may take it, and
// unlock gives [*lineage.LockLost].
func (c *Client) Lock(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error) {
	host, hostErr := os.Hostname()
	if hostErr != nil {
		host = "unknown host"
	}
	want := lockRequest{ID: uuid.NewString(), Name: name, Host: host, PID: os.Getpid()}
	h := &hold{c: c, id: want.ID, name: name, stop: make(chan struct{})}
	if err := h.take(ctx, want, wait); err != nil {
		return nil, err
	}
	c.holds.Store(h, batchLock{name, h.fence})
	h.wg.Go(h.keep)
	return h.unlock, nil
}

// locks are those that this client works under, lost ones too: the server knows
// whether it matters.
func (c *Client) locks() []batchLock {
	var all []batchLock
	c.holds.Range(func(_, l any) bool {
		all = append(all, l.(batchLock))
		return true
	})
	return all
}

// hold is a lock that this client has.
type hold struct {
	c        *Client
	id, name string
	ttl      time.Duration
	fence    int64
	good     time.Time // when the last renewal that succeeded was sent
	lost     error
	stop     chan struct{}
	wg       sync.WaitGroup
	once     sync.Once
}

// take asks until it is granted or the wait is over. One request waits only so
// long as servers and proxies let it.
func (h *hold) take(ctx context.Context, want lockRequest, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		sent := time.Now()
		left := time.Until(deadline)
		want.WaitMS = max(min(left, lockPoll), 0).Milliseconds()
		var got lockLease
		err := h.c.do(ctx, call{op: "lock", method: http.MethodPost, path: []string{"locks"}, body: want}, &got)
		switch {
		case err == nil:
			h.ttl, h.fence, h.good = time.Duration(got.TTLMS)*time.Millisecond, got.Fence, sent
			if h.ttl <= 0 {
				return &NotAServer{h.c.server(), http.StatusCreated, "it grants a lock for no time"}
			}
			return nil
		case !worthWaiting(err) || left <= 0:
			return err
		}
		if err := sleep(ctx, min(left, max(200*time.Millisecond-time.Since(sent), 10*time.Millisecond))); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
	}
}

// worthWaiting: somebody has the lock, or the server has no room for one more.
func worthWaiting(err error) bool {
	if _, ok := errors.AsType[*lineage.Locked](err); ok {
		return true
	}
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == CodeBusy
}

// keep renews the lock until unlock, or until it is lost.
func (h *hold) keep() {
	tick := time.NewTicker(h.ttl / 3)
	defer tick.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	h.wg.Go(func() {
		select {
		case <-h.stop:
			cancel()
		case <-ctx.Done():
		}
	})
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
		}
		if h.renew(ctx); h.lost != nil {
			h.c.log().Warn("lock was lost", "image", h.name, "error", h.lost)
			return
		}
	}
}

func (h *hold) renew(ctx context.Context) {
	sent := time.Now()
	within, cancel := context.WithTimeout(ctx, h.ttl/3)
	defer cancel()
	err := h.c.do(within, call{op: "lock", method: http.MethodPost, path: []string{"locks", h.id, "renew"}}, &lockLease{})
	gone, isGone := errors.AsType[*lineage.LockLost](err)
	switch {
	case err == nil:
		h.good = sent
	case isGone:
		h.lost = &lineage.LockLost{Name: h.name, Err: gone.Err}
	case time.Since(h.good) > h.ttl:
		h.lost = &lineage.LockLost{Name: h.name, Err: fmt.Errorf("it could not be renewed for %v: %w", time.Since(h.good).Round(time.Second), err)}
	}
}

// unlock gives the lock back. Calling it again does nothing.
func (h *hold) unlock() error {
	var err error
	h.once.Do(func() {
		h.c.holds.Delete(h)
		close(h.stop)
		h.wg.Wait()
		err = h.lost
		if err == nil {
			err = h.release()
		}
	})
	return err
}

// releaseTimeout bounds giving a lock back: it goes by itself a little later.
const releaseTimeout = 15 * time.Second

func (h *hold) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	k := call{op: "unlock", method: http.MethodDelete, path: []string{"locks", h.id}}
	var err error
	for try := range tries {
		last := err
		err = h.c.attempt(ctx, k, nil, nil)
		gone, isGone := errors.AsType[*lineage.LockLost](err)
		_, down := errors.AsType[*lineage.Unavailable](err)
		switch {
		case err == nil:
			return nil
		case isGone && last != nil && time.Since(h.good) < h.ttl:
			return nil // the answer to the first request was lost
		case isGone:
			return &lineage.LockLost{Name: h.name, Err: gone.Err}
		case !down:
			return &lineage.LockLost{Name: h.name, Err: err}
		}
		if sleepErr := sleep(ctx, time.Duration(try+1)*200*time.Millisecond); sleepErr != nil {
			break
		}
	}
	return &lineage.LockLost{Name: h.name, Err: err}
}
