package lineage

import (
	"context"
	"database/sql"
	"time"
)

// Heads gives the last handled head of every ref of a project.
func (s *Store) Heads(ctx context.Context, project string) ([]Head, error) {
	if err := s.ready(ctx, "heads"); err != nil {
		return nil, err
	}
	heads := []Head{}
	err := collect(ctx, s.db, func(rows *sql.Rows) error {
		h := Head{Project: project}
		err := rows.Scan(&h.Ref, &h.SHA, &h.Seq)
		heads = append(heads, h)
		return err
	}, headsSQL, project, project)
	return heads, s.fault(ctx, "heads", err)
}

const lastSeqsSQL = "SELECT project, ref_key, MAX(head_seq) AS seq FROM hook_event FORCE INDEX (head) WHERE project = ? AND head_seq IS NOT NULL GROUP BY project, ref_key"

const headsSQL = `SELECT e.ref, e.after_sha, e.head_seq FROM (` + lastSeqsSQL + `) l JOIN hook_event e FORCE INDEX (head)
	ON e.project = ? AND e.ref_key = l.ref_key AND e.head_seq = l.seq ORDER BY e.ref`

// Head gives the last handled head of a ref; the zero Head when there never was
// one.
func (s *Store) Head(ctx context.Context, project, ref string) (Head, error) {
	if err := s.ready(ctx, "head"); err != nil {
		return Head{}, err
	}
	var h Head
	err := collect(ctx, s.db, func(rows *sql.Rows) error {
		h = Head{Project: project, Ref: ref}
		return rows.Scan(&h.Seq, &h.SHA)
	}, headSQL, project, refKey(ref))
	return h, s.fault(ctx, "head", err)
}

// HookEvents lists the inbox, newest first, without payloads: why was a push
// not built? next is empty on the last page.
func (s *Store) HookEvents(ctx context.Context, f HookFilter) (events []HookEvent, next string, err error) {
	if err := s.ready(ctx, "list hook events"); err != nil {
		return nil, "", err
	}
	query, args, limit, err := f.sql()
	if err != nil {
		return nil, "", err
	}
	events = []HookEvent{}
	err = collect(ctx, s.db, func(rows *sql.Rows) error {
		e, err := scanEvent(rows)
		events = append(events, e)
		return err
	}, query, args...)
	if err != nil {
		return nil, "", s.fault(ctx, "list hook events", err)
	}
	if len(events) > limit {
		events, next = events[:limit], cursor(events[limit-1].ID)
	}
	return events, next, nil
}

func (f HookFilter) sql() (string, []any, int, error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return "", nil, 0, err
	}
	if f.Ref != "" && f.Project == "" {
		return "", nil, 0, &Invalid{Field: "ref", Problem: "needs a project"}
	}
	index := "PRIMARY"
	switch {
	case f.Ref != "" && f.State != "":
		index = "waiting"
	case f.Ref != "":
		index = "ref_id"
	case f.Project != "" && f.State != "":
		index = "project_state"
	case f.Project != "":
		index = "project_id"
	case f.State != "":
		index = "state_id"
	}
	var where []string
	var args []any
	for _, c := range []struct{ column, value string }{{"state", f.State}, {"project", f.Project}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Ref != "" {
		where, args = append(where, "ref_key = ?"), append(args, refKey(f.Ref))
	}
	return keyset("SELECT "+eventColumns+" FROM hook_event FORCE INDEX ("+index+")", "id", where, args, f.Cursor, limit)
}

// ExpirePayloads drops the payloads of at most limit events that were received
// longer ago and are not pending. Everything else of an event stays. It gives
// the number of payloads dropped; call it until that is less than limit.
func (s *Store) ExpirePayloads(ctx context.Context, olderThan time.Duration, limit int) (int, error) {
	var c checker
	if limit < 1 || limit > 10_000 {
		c.fail("limit", "must be 1 to 10000")
	}
	if olderThan < 0 {
		c.fail("older_than", "is negative")
	}
	if c.err != nil {
		return 0, c.err
	}
	if err := s.ready(ctx, "expire payloads"); err != nil {
		return 0, err
	}
	var n int64
	err := s.again(ctx, "expire payloads", func() error {
		result, err := s.db.ExecContext(ctx, expireSQL, micros(olderThan), limit)
		if err != nil {
			return err
		}
		n, err = result.RowsAffected()
		return err
	})
	return int(n), err
}

const expireSQL = `UPDATE hook_event FORCE INDEX (kept) SET payload = NULL, kept = 0
	WHERE kept = 1 AND received_at < NOW(6) - INTERVAL ? MICROSECOND AND state <> 'pending' ORDER BY received_at LIMIT ?`
