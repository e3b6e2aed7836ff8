package lineage

import (
	"context"
	"database/sql"
	"slices"
	"time"
)

// claimBytes bounds the memory that the payloads of one claim take.
const claimBytes = 8 << 20

// ClaimEvents leases the oldest pending events that are due, at most one per
// ref: the oldest, and none of a ref whose oldest event waits. An event comes
// with its payload, as long as that is kept; a call gives fewer events than
// limit where their payloads are large.
func (s *Store) ClaimEvents(ctx context.Context, owner string, limit int, lease time.Duration) ([]HookEvent, error) {
	if err := checkLease(limit, lease); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "claim events"); err != nil {
		return nil, err
	}
	mine, err := leaseOwner(owner)
	if err != nil {
		return nil, err
	}
	var events []HookEvent
	err = s.again(ctx, "claim events", func() error {
		ids, err := s.dueEvents(ctx, limit)
		if err != nil || len(ids) == 0 {
			return err
		}
		if err := s.leaseEvents(ctx, mine, ids, lease); err != nil {
			return err
		}
		events, err = s.leasedEvents(ctx, mine, ids)
		return err
	})
	return events, err
}

// firstEventsSQL reads one index entry per ref that has pending events.
const firstEventsSQL = "SELECT MIN(id) AS id FROM hook_event FORCE INDEX (waiting) WHERE state = 'pending' GROUP BY state, project, ref_key"

const dueEventsSQL = `SELECT e.id, e.payload_size * e.kept FROM (` + firstEventsSQL + `) f JOIN hook_event e ON e.id = f.id
	WHERE e.state = 'pending' AND (e.next_at IS NULL OR e.next_at <= NOW(6)) AND (e.lease_until IS NULL OR e.lease_until <= NOW(6))
	ORDER BY e.id LIMIT ?`

func (s *Store) dueEvents(ctx context.Context, limit int) (ids []int64, err error) {
	var bytes int64
	err = collect(ctx, s.db, func(rows *sql.Rows) error {
		var id, size int64
		err := rows.Scan(&id, &size)
		bytes += size
		if len(ids) == 0 || bytes <= claimBytes {
			ids = append(ids, id)
		} else {
			bytes = claimBytes + 1 // the order is kept: none after it either
		}
		return err
	}, dueEventsSQL, limit)
	return ids, err
}

// leaseEvents takes those that nobody took meanwhile.
func (s *Store) leaseEvents(ctx context.Context, mine string, ids []int64, lease time.Duration) error {
	_, err := s.db.ExecContext(ctx, `UPDATE hook_event SET fence = fence + 1, lease_owner = ?, lease_until = NOW(6) + INTERVAL ? MICROSECOND
		WHERE id IN (`+marks(len(ids))+`) AND state = 'pending' AND (next_at IS NULL OR next_at <= NOW(6)) AND (lease_until IS NULL OR lease_until <= NOW(6))`,
		append([]any{mine, micros(lease)}, anys(ids)...)...)
	return err
}

func (s *Store) leasedEvents(ctx context.Context, mine string, ids []int64) (events []HookEvent, err error) {
	err = collect(ctx, s.db, func(rows *sql.Rows) error {
		var packed []byte
		e, err := scanEvent(rows, &packed)
		if err != nil {
			return err
		}
		if packed != nil {
			e.Payload, err = unpack(packed, e.Size)
		}
		events = append(events, e)
		return err
	}, "SELECT "+eventColumns+", payload FROM hook_event WHERE id IN ("+marks(len(ids))+") AND lease_owner = ?", append(anys(ids), mine)...)
	slices.SortFunc(events, func(a, b HookEvent) int { return int(a.ID - b.ID) })
	return events, err
}

const eventColumns = `id, instance, idempotency_key, event, project, ref, before_sha, after_sha, actor, payload_size, state, reason,
	head_seq, received_at, handled_at, tries, fence`

// scanEvent reads eventColumns, and more columns after them.
func scanEvent(rows *sql.Rows, after ...any) (e HookEvent, err error) {
	var head sql.NullInt64
	var handled sql.NullTime
	err = rows.Scan(append([]any{&e.ID, &e.Instance, &e.Key, &e.Event, &e.Project, &e.Ref, &e.Before, &e.After, &e.Actor, &e.Size, &e.State, &e.Reason,
		&head, &e.ReceivedAt, &handled, &e.Tries, &e.Fence}, after...)...)
	e.HeadSeq, e.HandledAt = head.Int64, handled.Time
	return e, err
}

// DeferEvent gives a claimed event back: it is due again after so long, and
// until then holds up the younger events of its ref. The reason says what it
// waits for. [ErrFenced] when somebody else has it.
func (s *Store) DeferEvent(ctx context.Context, event, fence int64, reason string, after time.Duration) error {
	var c checker
	if c.long("reason", reason); c.err != nil {
		return c.err
	}
	if err := s.ready(ctx, "defer event"); err != nil {
		return err
	}
	return s.again(ctx, "defer event", func() error {
		result, err := s.db.ExecContext(ctx, `UPDATE hook_event SET tries = tries + 1, reason = ?, next_at = NOW(6) + INTERVAL ? MICROSECOND, lease_owner = NULL, lease_until = NULL
			WHERE id = ? AND fence = ? AND state = 'pending'`, reason, micros(after), event, fence)
		return oneRow(result, err, ErrFenced)
	})
}

// oneRow gives none where a statement changed no row.
func oneRow(result sql.Result, err, none error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return none
	}
	return err
}

func anys[T any](list []T) []any {
	args := make([]any, len(list))
	for i, v := range list {
		args[i] = v
	}
	return args
}
