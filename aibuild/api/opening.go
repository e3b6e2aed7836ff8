package api

import (
	"context"
	"fmt"
	"sync"
)

// openings lets each build open its runs one after the other, so that it gets
// one however often it asks. Builds do not wait for each other: what a project
// may do is asked of GitLab, which may take its time.
type openings struct {
	mu sync.Mutex
	of map[string]*turn
}

// turn is one build's.
type turn struct {
	free  chan struct{} // has an element as long as nobody has the turn
	users int           // that have it or wait
}

// begin waits for the build's turn; call done at its end.
func (o *openings) begin(ctx context.Context, b Build) (done func(), err error) {
	key := fmt.Sprintf("%s#%d", jobPath(b.Job), b.Number)
	o.mu.Lock()
	t := o.of[key]
	if t == nil {
		t = &turn{free: make(chan struct{}, 1)}
		t.free <- struct{}{}
		if o.of == nil {
			o.of = map[string]*turn{}
		}
		o.of[key] = t
	}
	t.users++
	o.mu.Unlock()
	select {
	case <-t.free:
		return func() {
			t.free <- struct{}{}
			o.leave(key, t)
		}, nil
	case <-ctx.Done():
		o.leave(key, t)
		return nil, ctx.Err()
	}
}

// leave forgets builds that nobody speaks for at the moment.
func (o *openings) leave(key string, t *turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.users--; t.users == 0 {
		delete(o.of, key)
	}
}
