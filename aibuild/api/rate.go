package api

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Rate is how often one token may ask: PerSecond in the long run, Burst at once.
// 0 means the default: 500, and twice PerSecond; a negative PerSecond means
// without limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

const (
	defaultRate = 500
	// idleTokens is how many tokens are remembered before those that have not
	// asked for long are forgotten.
	idleTokens = 1024
)

// rates counts what each token asks.
type rates struct {
	limit Rate
	mu    sync.Mutex
	of    map[int64]*rate.Limiter // by token
}

func newRates(r Rate) *rates {
	if r.PerSecond == 0 {
		r.PerSecond = defaultRate
	}
	if r.Burst <= 0 {
		r.Burst = max(1, int(2*r.PerSecond))
	}
	return &rates{limit: r, of: map[int64]*rate.Limiter{}}
}

// allow is a problem when the token has asked too often, which says when to ask
// again.
func (r *rates) allow(t lineage.Token, now time.Time) error {
	if r.limit.PerSecond < 0 {
		return nil
	}
	ask := r.limiter(t.ID, now).ReserveN(now, 1)
	wait := ask.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	ask.CancelAt(now)
	return &Problem{
		Code:   CodeRate,
		Detail: fmt.Sprintf("this token has asked more than %g times a second; ask again later, and less often", r.limit.PerSecond), retryAfter: strconv.Itoa(max(1, int(math.Ceil(wait.Seconds())))),
	}
}

func (r *rates) limiter(token int64, now time.Time) *rate.Limiter {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.of[token]
	if l != nil {
		return l
	}
	if len(r.of) >= idleTokens {
		for id, other := range r.of {
			if other.TokensAt(now) >= float64(r.limit.Burst) { // it is as if it had never asked
				delete(r.of, id)
			}
		}
	}
	l = rate.NewLimiter(rate.Limit(r.limit.PerSecond), r.limit.Burst)
	r.of[token] = l
	return l
}
