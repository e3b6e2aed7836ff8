package hooks

import (
	"sync"
	"time"
)

// refusals adds up for how long Jenkins was there and refused a job. Only that time makes a run hopeless: while Jenkins
// is away, or a run waits for its turn, nobody has refused anything. A new process begins to count anew.
type refusals struct {
	mu sync.Mutex
	of map[string]*refusal // by the job and what was tried; as many as are configured
}

type refusal struct {
	total time.Duration
	last  time.Time // when it was last refused; zero: Jenkins was not there since
}

// refusalGap is the longest time between two refusals that counts as time of refusing: within it, every waiting run is
// looked at.
const refusalGap = jobFresh

// again notes a refusal, and says for how long there have been such.
func (r *refusals) again(what string, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.of[what]
	if one == nil {
		one = &refusal{}
		if r.of == nil {
			r.of = map[string]*refusal{}
		}
		r.of[what] = one
	}
	if gap := now.Sub(one.last); !one.last.IsZero() && gap > 0 {
		one.total += min(gap, refusalGap)
	}
	one.last = now
	return one.total
}

// away: Jenkins could not be asked.
func (r *refusals) away(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if one := r.of[what]; one != nil {
		one.last = time.Time{}
	}
}

// over: it is not refused any more.
func (r *refusals) over(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.of, what)
}
