package gitlabtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"
)

// Trouble is what happens to deliveries instead of being sent once, at once and in order. Its fields may be combined.
type Trouble struct {
	Hook  int // id of the hook; 0 means any
	Times int // how many events it happens to; 0 means all, until Undisturb

	Drop    bool          // never sent
	Delay   time.Duration // before it is sent
	Copies  int           // sent so often, with one key: 2 is a duplicate
	AtOnce  bool          // the copies are sent at the same moment, not one after the other
	Reorder int           // so many events are held back, then sent newest first

	WrongToken     bool
	WrongSignature bool
	Age            time.Duration // of the timestamp, which is signed as it is

	Slow time.Duration // between each of 64 parts of the body
	Cut  bool          // the connection is closed in the middle of the body
}

type trouble struct {
	Trouble
	happened int
	held     []*job
}

// Disturb makes trouble for the next deliveries; of several, the first that applies is taken.
func (s *Server) Disturb(t Trouble) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.troubles = append(s.troubles, &trouble{Trouble: t})
}

// Undisturb ends all trouble. What is held back is sent now, in order.
func (s *Server) Undisturb() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.troubles {
		for _, j := range t.held {
			s.push(j)
		}
	}
	s.troubles = nil
}

// enqueue queues a job, unless there is trouble; s.mu is held.
func (s *Server) enqueue(j *job) {
	for _, t := range s.troubles {
		if t.Hook != 0 && t.Hook != j.hook.ID || t.Times != 0 && t.happened >= t.Times {
			continue
		}
		t.happened++
		j.trouble = t.Trouble
		if t.Drop {
			s.dropLocked(j, "a Trouble drops it")
			return
		}
		s.begun()
		if t.Reorder < 2 {
			s.push(j)
			return
		}
		if t.held = append(t.held, j); len(t.held) == t.Reorder {
			slices.Reverse(t.held)
			for _, j := range t.held {
				s.push(j)
			}
			t.held = nil
		}
		return
	}
	s.begun()
	s.push(j)
}

var errCut = errors.New("the connection is closed in the middle of the body")

// reader gives the body as the trouble wants it sent.
func (t Trouble) reader(ctx context.Context, body []byte) io.Reader {
	if t.Slow == 0 && !t.Cut {
		return bytes.NewReader(body)
	}
	end := io.EOF
	if t.Cut {
		body, end = body[:len(body)/2], errCut
	}
	return &slowReader{ctx: ctx, rest: body, part: len(body)/64 + 1, pause: t.Slow, end: end}
}

type slowReader struct {
	ctx   context.Context
	rest  []byte
	part  int
	pause time.Duration
	end   error
}

func (r *slowReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, r.end
	}
	if !sleep(r.ctx, r.pause) {
		return 0, r.ctx.Err()
	}
	n := copy(p, r.rest[:min(r.part, len(r.rest))])
	r.rest = r.rest[n:]
	return n, nil
}
