package hooks

import (
	"maps"
	"sync"
	"time"
)

// HandlerStats counts deliveries by what became of them: accepted, duplicate,
// spooled; ignored: event, template, project; refused: secret,
// malformed, large, cut, method, unstored, gone.
type HandlerStats struct {
	Answers map[string]int64
	Busy    time.Duration // spent on all of them
}

type handlerStats struct {
	mu      sync.Mutex
	answers map[string]int64
	busy    time.Duration
}

func (s *handlerStats) count(r reply, took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string]int64{}
	}
	s.answers[r.class]++
	s.busy += took
}

// Stats is safe to call at any time.
func (h *Handler) Stats() HandlerStats {
	h.stats.mu.Lock()
	defer h.stats.mu.Unlock()
	return HandlerStats{maps.Clone(h.stats.answers), h.stats.busy}
}
