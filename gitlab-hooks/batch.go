package hooks

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// batcher writes deliveries that come at the same time by one statement: the
// disk is waited for once. A delivery that comes alone waits for nobody.
type batcher struct {
	inbox   Inbox
	slots   chan struct{} // writers under way
	waiting chan *delivery
	down    atomic.Int64 // until when the database is left alone, in ns since processStart
}

type delivery struct {
	event  lineage.HookEvent
	result chan stored
}

type stored struct {
	accepted lineage.Accepted
	err      error
}

const (
	writers    = 2
	maxBatch   = 64
	maxWaiting = 1024
	// restFor is how long a database that did not answer is not asked.
	restFor = 2 * time.Second
)

// processStart is what times are counted from that no set clock may change.
var processStart = time.Now()

var errDatabaseRests = errors.New("the database did not answer a moment ago")

func newBatcher(inbox Inbox) *batcher {
	return &batcher{inbox: inbox, slots: make(chan struct{}, writers), waiting: make(chan *delivery, maxWaiting)}
}

// accept stores one delivery. It waits for storeWithin at most: what is stored
// after that is found by its key when it comes again.
func (b *batcher) accept(ctx context.Context, e lineage.HookEvent) (lineage.Accepted, error) {
	if int64(time.Since(processStart)) < b.down.Load() {
		return lineage.Accepted{}, errDatabaseRests
	}
	if err := e.Pack(); err != nil { // here, where deliveries do so side by side
		return lineage.Accepted{}, err
	}
	d := &delivery{e, make(chan stored, 1)}
	select {
	case b.waiting <- d:
	default:
		return lineage.Accepted{}, errors.New("too many deliveries wait for the database")
	}
	late := time.NewTimer(storeWithin)
	defer late.Stop()
	slots := b.slots
	for {
		select {
		case slots <- struct{}{}: // a writer is free: it is us
			n := b.write(context.WithoutCancel(ctx))
			<-b.slots
			if n < maxBatch { // nothing waits any more: ours is with some writer
				slots = nil
			}
		case got := <-d.result:
			return got.accepted, got.err
		case <-late.C:
			b.rest()
			return lineage.Accepted{}, errors.New("the database did not answer within " + storeWithin.String())
		}
	}
}

func (b *batcher) rest() { b.down.Store(int64(time.Since(processStart) + restFor)) }

// write stores what waits, at most one batch, and says how many that were.
func (b *batcher) write(ctx context.Context) int {
	var batch []*delivery
	for len(batch) < maxBatch {
		select {
		case d := <-b.waiting:
			batch = append(batch, d)
			continue
		default:
		}
		break
	}
	if len(batch) == 0 {
		return 0
	}
	events := make([]lineage.HookEvent, len(batch))
	for i, d := range batch {
		events[i] = d.event
	}
	ctx, cancel := context.WithTimeout(ctx, storeWithin)
	defer cancel()
	milestone("before accept")
	accepted, err := b.inbox.AcceptEvents(ctx, events)
	milestone("after accept")
	if err == nil && len(accepted) != len(events) {
		err = errors.New("the inbox did not answer for each delivery")
	}
	if err != nil {
		b.rest()
	}
	for i, d := range batch {
		if err != nil {
			d.result <- stored{err: err}
		} else {
			d.result <- stored{accepted: accepted[i]}
		}
	}
	return len(batch)
}
