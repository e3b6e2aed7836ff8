package jenkinstest

import (
	"cmp"
	"slices"
	"time"
)

// phase is where an entry of the queue is.
type phase int

const (
	waiting   phase = iota // in its quiet period
	blocked                // by another build of its job
	buildable              // wants an executor
	pending                // has one that is about to start
	left                   // started or cancelled; kept for some minutes
)

// entry is an item of the queue: a trigger, or a running pipeline's wish for an executor.
type entry struct {
	id     int64
	item   *item
	step   *build // the pipeline that waits; nil for a trigger
	params []value
	causes []cause

	phase          phase
	since, due     time.Time
	buildableSince time.Time
	leftAt         time.Time
	by             *build // of a blocked one: the build that must end first
	why            string // of a blocked one without
	cancelled      bool
	build          *build // that it became
}

// cause is who started a build.
type cause struct {
	User string // id; empty means nobody who is known
	Name string // for people
}

// schedule puts a trigger into the queue, or folds it into one with the same parameters that waits there. It
// returns the entry and whether it is new.
func (s *Server) schedule(it *item, quiet time.Duration, params []value, by cause) (*entry, bool) {
	now := s.now()
	due := now.Add(quiet)
	var found *entry
	for _, e := range s.queue {
		if e.item != it || e.step != nil || e.phase == pending || !sameValues(e.params, params) {
			continue
		}
		e.causes = append(e.causes, by)
		if e.phase == waiting && due.Before(e.due) {
			e.due = due
		}
		if found == nil {
			found = e
		}
	}
	fresh := found == nil
	if fresh {
		found = &entry{id: s.newID(), item: it, params: params, causes: []cause{by}, since: now, due: due}
		s.queue = append(s.queue, found)
	}
	s.maintain()
	return found, fresh
}

// pass is one round of maintain.
type pass struct {
	now   time.Time
	taken map[*item]*entry // of each job, the trigger that has its turn
}

// maintain moves entries on, as far as they get. Everything that may let one move on calls it.
func (s *Server) maintain() {
	p := pass{s.now(), map[*item]*entry{}}
	s.expire(p.now)
	if s.down != "" || s.closed {
		return
	}
	for _, e := range s.queue {
		if e.step == nil && (e.phase == buildable || e.phase == pending) {
			p.taken[e.item] = e
		}
	}
	for _, e := range s.inPhase(blocked) {
		s.advance(e, p)
	}
	for _, e := range s.inPhase(waiting) {
		if !e.due.After(p.now) {
			s.advance(e, p)
		}
	}
	for _, e := range s.inPhase(buildable) {
		s.allocate(e, p)
	}
	s.wakeUp(p.now)
}

// inPhase lists entries in the order in which they get their turn.
func (s *Server) inPhase(p phase) []*entry {
	var all []*entry
	for _, e := range s.queue {
		if e.phase == p {
			all = append(all, e)
		}
	}
	slices.SortStableFunc(all, func(a, b *entry) int {
		if p == waiting {
			return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.id, b.id))
		}
		return cmp.Or(a.buildableSince.Compare(b.buildableSince), cmp.Compare(a.id, b.id))
	})
	return all
}

// advance makes an entry buildable, or blocked while something of its own job is in the way.
func (s *Server) advance(e *entry, p pass) {
	if e.buildableSince.IsZero() {
		e.buildableSince = p.now
	}
	if s.isBlocked(e, p) {
		e.phase = blocked
		return
	}
	e.phase, e.by = buildable, nil
	if e.step != nil {
		return
	}
	p.taken[e.item] = e
	if e.item.job.kind() == Pipeline {
		s.start(e, slot{}) // on an executor of its own kind, of which there are always enough
	}
}

// isBlocked tells whether an entry must wait, and notes for what.
func (s *Server) isBlocked(e *entry, p pass) bool {
	it := e.item
	if e.step != nil {
		return false
	}
	if last := it.lastBuild(); !it.job.Concurrent && it.active > 0 && last != nil {
		if it.job.AbortPrevious && it.job.kind() == Pipeline {
			for _, b := range it.builds {
				b.interrupt("NOT_BUILT")
			}
		}
		e.by, e.why = last, ""
		return true
	}
	if other := p.taken[it]; !it.job.Concurrent && other != nil && other != e {
		e.by, e.why = nil, "A build is already in progress"
		return true
	}
	if it.job.kind() == Pipeline && s.quieting {
		e.by, e.why = nil, shuttingDown
		return true
	}
	return false
}

// allocate gives a buildable entry an executor, if one is free that may take it.
func (s *Server) allocate(e *entry, p pass) {
	if s.isBlocked(e, p) {
		delete(p.taken, e.item)
		e.phase = blocked
		return
	}
	if s.quieting {
		return
	}
	for _, n := range s.nodes {
		if n.refuses(e) == "" && !n.Offline {
			if at := n.idle(); at >= 0 {
				s.start(e, slot{n, at})
				return
			}
		}
	}
}

// wakeUp sees to the end of the next quiet period.
func (s *Server) wakeUp(now time.Time) {
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	if first := s.inPhase(waiting); len(first) > 0 {
		s.timer = time.AfterFunc(max(first[0].due.Sub(now), time.Millisecond), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.maintain()
		})
	}
}

// leave takes an entry out of the queue and keeps it among those that left.
func (s *Server) leave(e *entry, b *build) {
	s.queue = slices.DeleteFunc(s.queue, func(other *entry) bool { return other == e })
	e.phase, e.build, e.cancelled, e.leftAt = left, b, b == nil, s.now()
	s.left[e.id] = e
}

// expire forgets entries that left long ago.
func (s *Server) expire(now time.Time) {
	for id, e := range s.left {
		if now.Sub(e.leftAt) >= s.options.LeftFor {
			delete(s.left, id)
		}
	}
}

// entryByID finds an entry in the queue or among those that left; nil if there is none.
func (s *Server) entryByID(id int64) *entry {
	s.expire(s.now())
	for _, e := range s.queue {
		if e.id == id {
			return e
		}
	}
	return s.left[id]
}

// cancel takes an entry out; one that left or is about to start cannot be cancelled.
func (s *Server) cancel(e *entry) bool {
	if e.phase >= pending {
		return false
	}
	s.leave(e, nil)
	if e.step != nil {
		e.step.interrupt("ABORTED")
	}
	s.maintain()
	return true
}

// cancelOf takes one entry of a job out, as disabling the job does, or all of them.
func (s *Server) cancelOf(it *item, all bool) {
	for _, e := range slices.Clone(s.queue) {
		if e.item == it && e.step == nil && s.cancel(e) && !all {
			return
		}
	}
}

// ordered lists the queue as Jenkins shows it.
func (s *Server) ordered() []*entry {
	buildables, pendings := s.inPhase(buildable), s.inPhase(pending)
	slices.Reverse(buildables)
	slices.Reverse(pendings)
	return slices.Concat(s.inPhase(waiting), s.inPhase(blocked), buildables, pendings)
}
