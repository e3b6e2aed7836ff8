package packer

import (
	"fmt"
	"sync"
	"time"
)

const (
	// progressBuffer is how much text waits for a slow receiver.
	progressBuffer = 1 << 20
	// progressPatience is how long the end of a build waits for it.
	progressPatience = 2 * time.Second
)

// progress hands events to a receiver that may be slow or stuck, without ever
// holding up the build.
type progress struct {
	to   func(Event)
	now  func() time.Time
	done chan struct{}

	mu     sync.Mutex
	more   *sync.Cond
	queue  []Event
	bytes  int
	left   int // events that did not fit
	closed bool
}

func newProgress(to func(Event)) *progress {
	p := &progress{to: to, now: time.Now, done: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	if to == nil {
		close(p.done)
		return p
	}
	go p.deliver()
	return p
}

func (p *progress) send(e Event) {
	if p.to == nil {
		return
	}
	e.At = p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+len(e.Text) > progressBuffer {
		p.left++
		return
	}
	p.queue, p.bytes = append(p.queue, e), p.bytes+len(e.Text)+64
	p.more.Signal()
}

func (p *progress) deliver() {
	defer close(p.done)
	for {
		events, last := p.next()
		for _, e := range events {
			p.to(e)
		}
		if last {
			return
		}
	}
}

// next waits for events and takes all of them.
func (p *progress) next() (events []Event, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) == 0 && !p.closed {
		p.more.Wait()
	}
	events = p.queue
	if p.left > 0 {
		events = append(events, Event{At: p.now(), Kind: "note", Text: fmt.Sprintf("%d events came too fast and are left out here; the evidence has them", p.left)})
	}
	p.queue, p.bytes, p.left = nil, 0, 0
	return events, p.closed
}

// close waits for the receiver, but not for ever: one that is stuck must not
// keep a finished build from being reported.
func (p *progress) close() {
	if p.to == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.more.Signal()
	p.mu.Unlock()
	timer := time.NewTimer(progressPatience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
	}
}
