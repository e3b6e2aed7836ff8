package gitlabtest

import "time"

// The auto-disabling of hooks, in GitLab's numbers.
const (
	tolerated     = 3  // failures in a row
	permanentFrom = 40 // failures in a row
	firstBackoff  = time.Minute
	longestBack   = 24 * time.Hour
)

// autoDisabled says whether the hook can be disabled at all: system hooks never are.
func (s *Server) autoDisabled(h *hook) bool { return s.opts.AutoDisable && h.project != nil }

func (s *Server) executable(h *hook) bool { return s.alertStatus(h) == "executable" }

// alertStatus is the state of a hook in the API's words.
func (s *Server) alertStatus(h *hook) string {
	switch {
	case !s.autoDisabled(h):
		return "executable"
	case h.failures >= permanentFrom:
		return "disabled"
	case h.failures > tolerated && !h.disabledUntil.IsZero() && !h.disabledUntil.Before(s.opts.Now()):
		return "temporarily_disabled"
	}
	return "executable"
}

// judge counts the outcome of a delivery. The fourth failure in a row disables the hook for a minute, each further one
// for twice as long, up to a day; the fortieth for good; a success forgets them all.
func (s *Server) judge(h *hook, ok bool) {
	switch {
	case !s.autoDisabled(h):
	case ok:
		h.failures, h.disabledUntil = 0, time.Time{}
	case s.executable(h): // a test of a disabled hook that fails changes nothing
		if h.failures >= tolerated {
			h.disabledUntil = s.opts.Now().Add(backoff(h.failures - tolerated))
		}
		h.failures = min(h.failures+1, permanentFrom)
	}
}

func backoff(doublings int) time.Duration {
	wait := firstBackoff
	for range doublings {
		if wait *= 2; wait >= longestBack {
			return longestBack
		}
	}
	return wait
}
