package lineage

import (
	"context"
	"database/sql"
	"time"
)

// StatusDue is a run whose state GitLab has not been told of.
type StatusDue struct {
	Run   Run
	Sent  string // GitLab's word for the last state of the run that it was told
	Tries int    // that failed for this state
}

// StatusesDue gives runs whose state is to be told to GitLab, oldest first, at
// most one per project, commit and image, as the newer one must be told after
// the older; where the older one waits for its next try, the newer one waits.
func (s *Store) StatusesDue(ctx context.Context, limit int) ([]StatusDue, error) {
	if err := s.ready(ctx, "statuses due"); err != nil {
		return nil, err
	}
	if limit < 1 || limit > 10_000 {
		return nil, &Invalid{Field: "limit", Problem: "must be 1 to 10000"}
	}
	var due []StatusDue
	err := collect(ctx, s.db, func(rows *sql.Rows) error {
		var d StatusDue
		var err error
		_, d.Run, err = scanRun(rows, &d.Sent, &d.Tries)
		due = append(due, d)
		return err
	}, statusesDueSQL, limit)
	return due, s.fault(ctx, "statuses due", err)
}

const firstStatusesSQL = "SELECT MIN(seq) AS first FROM run FORCE INDEX (status) WHERE status_due = 1 GROUP BY status_due, project, commit_sha, image"

const statusesDueSQL = "SELECT " + runColumns + ", status_sent, status_tries FROM (" + firstStatusesSQL + `) f JOIN run ON run.seq = f.first
	WHERE status_next_at IS NULL OR status_next_at <= NOW(6) ORDER BY seq LIMIT ?`

// StatusSent notes what GitLab was told: its word for the run's state. Where
// the run has moved on since, its new state stays due.
func (s *Store) StatusSent(ctx context.Context, runID, state, sent string) error {
	var c checker
	c.text("sent", sent, 20)
	if c.err != nil {
		return c.err
	}
	return s.setStatus(ctx, "status sent",
		"UPDATE run SET status_sent = ?, status_tries = 0, status_error = '', status_next_at = NULL, status_due = IF(state = ?, 0, status_due) WHERE id = ?", sent, state, runID)
}

// StatusFailed notes why GitLab could not be told, and when to try again; 0 =
// never, until the run moves on.
func (s *Store) StatusFailed(ctx context.Context, runID, problem string, after time.Duration) error {
	var c checker
	c.long("problem", problem)
	if c.err != nil {
		return c.err
	}
	return s.setStatus(ctx, "status failed",
		"UPDATE run SET status_tries = status_tries + 1, status_error = ?, status_next_at = NOW(6) + INTERVAL ? MICROSECOND, status_due = IF(?, status_due, 0) WHERE id = ?",
		problem, micros(after), after > 0, runID)
}

func (s *Store) setStatus(ctx context.Context, op, query string, args ...any) error {
	if err := s.ready(ctx, op); err != nil {
		return err
	}
	return s.again(ctx, op, func() error {
		_, err := s.db.ExecContext(ctx, query, args...)
		return err
	})
}
