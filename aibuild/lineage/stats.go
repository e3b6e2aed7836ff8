package lineage

import (
	"context"
	"database/sql"
	"time"
)

// Stats are cheap counts for metrics: each reads an index, at most a row for
// each name and state.
type Stats struct {
	EventsPending int64
	OldestEvent   time.Duration    // how long the oldest pending event waits; 0 without one
	RunsOpen      map[string]int64 // by state; every state that is not final is there
	OldestRun     time.Duration    // how long the oldest run waits for its build to begin; 0 without one
	ImagesFailing int64            // names whose last run did not succeed
	StatusesDue   int64            // runs whose state GitLab has not been told of
	Connections   Connections
}

// Connections are those of this store to the server.
type Connections struct {
	Open    int
	InUse   int
	Waits   int64 // how often somebody had to wait for one
	WaitFor time.Duration
}

const (
	statsEventsSQL   = "SELECT COUNT(*) FROM hook_event FORCE INDEX (state_id) WHERE state = 'pending'"
	statsOldestSQL   = "SELECT GREATEST(TIMESTAMPDIFF(MICROSECOND, received_at, NOW(6)), 0) FROM hook_event FORCE INDEX (state_id) WHERE state = 'pending' ORDER BY id LIMIT 1"
	statsWaitSQL     = "SELECT GREATEST(TIMESTAMPDIFF(MICROSECOND, opened_at, NOW(6)), 0) FROM run FORCE INDEX (state_seq) WHERE state = ? ORDER BY seq LIMIT 1"
	statsRunsSQL     = "SELECT state, COUNT(*) FROM run FORCE INDEX (state_seq) WHERE state IN ('received', 'queued', 'triggering', 'in_jenkins_queue', 'building') GROUP BY state"
	statsStatusesSQL = "SELECT COUNT(*) FROM run FORCE INDEX (status) WHERE status_due = 1"
)

// Stats counts what waits.
func (s *Store) Stats(ctx context.Context) (Stats, error) {
	if err := s.ready(ctx, "stats"); err != nil {
		return Stats{}, err
	}
	st := Stats{RunsOpen: map[string]int64{}}
	for state, rank := range runRank {
		if rank < finalRank {
			st.RunsOpen[state] = 0
		}
	}
	if err := s.count(ctx, &st); err != nil {
		return Stats{}, s.fault(ctx, "stats", err)
	}
	for _, db := range []*sql.DB{s.db, s.inbox.DB, s.locks} {
		d := db.Stats()
		st.Connections.Open += d.OpenConnections
		st.Connections.InUse += d.InUse
		st.Connections.Waits += d.WaitCount
		st.Connections.WaitFor += d.WaitDuration
	}
	return st, nil
}

func (s *Store) count(ctx context.Context, st *Stats) error {
	var micros int64
	for _, q := range []struct {
		query string
		into  *int64
	}{{statsEventsSQL, &st.EventsPending}, {statsOldestSQL, &micros}, {statsStatusesSQL, &st.StatusesDue}} {
		err := collect(ctx, s.db, func(rows *sql.Rows) error { return rows.Scan(q.into) }, q.query)
		if err != nil {
			return err
		}
	}
	st.OldestEvent = time.Duration(micros) * time.Microsecond
	for _, state := range []string{RunReceived, RunQueued, RunTriggering, RunJenkinsQueue} {
		err := collect(ctx, s.db, func(rows *sql.Rows) error {
			err := rows.Scan(&micros)
			st.OldestRun = max(st.OldestRun, time.Duration(micros)*time.Microsecond)
			return err
		}, statsWaitSQL, state)
		if err != nil {
			return err
		}
	}
	ends, err := s.lastEnds(ctx)
	if err != nil {
		return err
	}
	for _, e := range ends {
		if failing(e.state) {
			st.ImagesFailing++
		}
	}
	return collect(ctx, s.db, func(rows *sql.Rows) error {
		var state string
		var n int64
		err := rows.Scan(&state, &n)
		st.RunsOpen[state] = n
		return err
	}, statsRunsSQL)
}
