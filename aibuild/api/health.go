package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// readyFor is how long an answer to "is the database usable" holds: whoever
// asks often does not make it work.
const readyFor = 2 * time.Second

// readiness remembers whether the database was usable a moment ago.
type readiness struct {
	mu    sync.Mutex
	asked time.Time
	err   error
}

// health is the body of /readyz.
type health struct {
	Status   string            `json:"status"`   // ready, unavailable
	Database string            `json:"database"` // ok, unavailable, schema
	Reason   string            `json:"reason,omitempty"`
	Parts    map[string]string `json:"parts,omitempty"`
}

// healthz says that the process answers.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	s.write(w, r, "ok\n")
}

// readyz says whether the database is usable. That Jenkins or GitLab are away
// is told, and changes nothing: hooks and records are taken all the same.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	h := health{Status: "ready", Database: "ok"}
	if s.config.Parts != nil {
		h.Parts = s.config.Parts()
	}
	status := http.StatusOK
	if err := s.usable(r.Context()); err != nil {
		// The address of the database is for the log, not for everybody.
		s.log.Warn("not ready", "request", requestID(r.Context()), "error", err)
		status, h.Status, h.Database, h.Reason = http.StatusServiceUnavailable, "unavailable", "unavailable", "it does not answer"
		if away, ok := errors.AsType[*lineage.Unavailable](err); ok {
			h.Reason = away.Why()
		}
		if _, ok := errors.AsType[*lineage.SchemaError](err); ok {
			h.Database, h.Reason = "schema", "its tables do not fit this aibuild; the log says what to do"
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(h); err != nil {
		s.log.Debug("the answer was not read", "request", requestID(r.Context()), "error", err)
	}
}

// readyLock is a name that no image has. Taking its lock reads, writes and
// commits: a database that is full or read-only is not usable.
const readyLock = "aibuild:readyz"

// usable asks the database, unless it was asked a moment ago.
func (s *Server) usable(ctx context.Context) error {
	c := &s.ready
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.asked.IsZero() && time.Since(c.asked) < readyFor {
		return c.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	unlock, err := s.config.Store.Lock(ctx, readyLock, 0)
	if err == nil {
		err = unlock()
	}
	if _, ok := errors.AsType[*lineage.Locked](err); ok {
		err = nil // another daemon asks the same just now
	}
	c.asked, c.err = time.Now(), err
	return err
}

// write sends text. Whoever does not read it has no use for an error.
func (s *Server) write(w http.ResponseWriter, r *http.Request, text string) {
	if _, err := io.WriteString(w, text); err != nil {
		s.log.Debug("the answer was not read", "request", requestID(r.Context()), "error", err)
	}
}
