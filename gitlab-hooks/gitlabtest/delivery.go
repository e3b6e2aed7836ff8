package gitlabtest

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Delivery is one attempt to deliver an event, as GitLab's own log keeps it (the API hides the secrets).
type Delivery struct {
	ID       int
	Trigger  string // push_hooks or tag_push_hooks
	Key      string // Idempotency-Key, equal when the event is repeated; profile V15 has, but does not send it
	URL      string
	Header   http.Header // as sent
	Body     []byte
	At       time.Time // by the server's clock
	Duration time.Duration

	Status   int // 0 when no answer came
	Problem  string
	Response []byte // at most 8 KiB

	responseHeader http.Header
	data           []byte // the event, before a custom template
}

// OK says whether GitLab counts the delivery as a success: redirects are, and are not followed.
func (d *Delivery) OK() bool { return d.Status >= 200 && d.Status < 400 }

// Dropped is a delivery that never was tried.
type Dropped struct {
	Hook    int // 0: no hook was even looked for
	Trigger string
	Ref     string
	After   string
	Reason  string
}

// job is a queued event of one hook.
type job struct {
	hook       *hook
	trigger    string
	key        string
	body       []byte
	ref, after string
	trouble    Trouble
}

func newUUID() string { return uuid.NewString() }

// Deliveries are the attempts to deliver events to a hook, oldest first.
func (s *Server) Deliveries(hookID int) []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Delivery
	for _, h := range s.allHooks() {
		if h.ID == hookID {
			for _, d := range h.log {
				found = append(found, *d)
			}
		}
	}
	return found
}

// Dropped are the deliveries that never were tried, oldest first.
func (s *Server) Dropped() []Dropped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Dropped(nil), s.dropped...)
}

func (s *Server) drop(d Dropped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped = append(s.dropped, d)
}

func (s *Server) dropLocked(j *job, reason string) {
	s.dropped = append(s.dropped, Dropped{Hook: j.hook.ID, Trigger: j.trigger, Ref: j.ref, After: j.after, Reason: reason})
}

func (s *Server) allHooks() []*hook {
	all := s.system
	for _, p := range s.projects {
		all = append(all[:len(all):len(all)], p.hooks...)
	}
	return all
}

// push hands a job to the hook's workers; s.mu is held, and the job has begun.
func (s *Server) push(j *job) {
	h := j.hook
	h.queue = append(h.queue, j)
	if h.workers < s.opts.HookWorkers {
		h.workers++
		s.work.Add(1)
		go s.deliverAll(h)
	}
}

// deliverAll is a worker: it ends when the hook has nothing more to deliver.
func (s *Server) deliverAll(h *hook) {
	defer s.work.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(h.queue) > 0 {
		j := h.queue[0]
		h.queue = h.queue[1:]
		switch {
		case h.gone:
			s.dropLocked(j, "the hook is deleted")
		case !s.executable(h):
			s.dropLocked(j, "the hook is disabled")
		default:
			s.mu.Unlock()
			s.carryOut(j)
			s.mu.Lock()
		}
		s.ended()
	}
	h.workers--
}

// carryOut sends a job, as often as its trouble says. Nothing is ever retried.
func (s *Server) carryOut(j *job) {
	if !sleep(s.ctx, j.trouble.Delay) {
		return
	}
	copies := max(j.trouble.Copies, 1)
	if !j.trouble.AtOnce {
		for range copies {
			s.send(s.ctx, j)
		}
		return
	}
	var all sync.WaitGroup
	for range copies {
		all.Go(func() { s.send(s.ctx, j) })
	}
	all.Wait()
}

// sleep waits, and says whether it was not broken off.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
