package lineage

import (
	"context"
	"fmt"
	"time"
)

const (
	acceptRows  = 64       // in one statement
	acceptBytes = 4 << 20  // of packed payloads in one statement
	packetRest  = 64 << 10 // of a packet is for what is not payload
)

// AcceptEvents stores deliveries durably: when it returns nil, they survive a
// crash of the server. An existing key is found, not overwritten. It gives one
// result per event, in their order. Many events in one call cost one write to
// the disk, so callers that come at once should share a call.
func (s *Store) AcceptEvents(ctx context.Context, events []HookEvent) ([]Accepted, error) {
	if len(events) == 0 {
		return nil, nil
	}
	if err := s.ready(ctx, "accept events"); err != nil {
		return nil, err
	}
	var c checker
	for i, e := range events {
		e.check(&c, fmt.Sprintf("events[%d].", i))
	}
	if c.err != nil {
		return nil, c.err
	}
	set, err := s.settings(ctx)
	if err != nil {
		return nil, s.fault(ctx, "accept events", err)
	}
	rows, err := s.deliveries(events, set.packet)
	if err != nil {
		return nil, fmt.Errorf("accept events: %w", err)
	}
	for part := range chunks(rows) {
		if err := s.again(ctx, "accept events", func() error { return s.accept(ctx, part, set.step == 1) }); err != nil {
			return nil, err
		}
	}
	accepted := make([]Accepted, len(rows))
	for i, d := range rows {
		accepted[i] = d.Accepted
	}
	return accepted, nil
}

// delivery is an event on its way into the table.
type delivery struct {
	HookEvent
	Accepted
	known bool // Accepted is filled in
}

func (s *Store) deliveries(events []HookEvent, most int64) ([]*delivery, error) {
	rows := make([]*delivery, len(events))
	for i, e := range events {
		if err := e.Pack(); err != nil {
			return nil, err
		}
		if e.State == "" {
			e.State = EventPending
		}
		e.ReceivedAt = utc(e.ReceivedAt)
		// Nothing is decided from the payload: rather the event without it
		// than no event.
		if int64(len(e.packed)) > most-packetRest {
			s.log.Warn("payload is larger than the server takes; raise its max_allowed_packet; the event is stored without it", "key", e.Key, "bytes", len(e.packed), "max_allowed_packet", most)
			e.packed = nil
		}
		rows[i] = &delivery{HookEvent: e}
	}
	return rows, nil
}

// settings are those of the server that acceptance depends on.
type settings struct {
	packet int64 // the most bytes that it takes in one piece
	step   int64 // from one id of a table to the next
	until  time.Time
}

// settings asks the server once a minute: the step changes when servers join a
// cluster.
func (s *Store) settings(ctx context.Context) (*settings, error) {
	if known := s.asked.Load(); known != nil && time.Now().Before(known.until) {
		return known, nil
	}
	now := &settings{until: time.Now().Add(time.Minute)}
	if err := s.inbox.QueryRowContext(ctx, "SELECT @@global.max_allowed_packet, @@global.auto_increment_increment").Scan(&now.packet, &now.step); err != nil {
		return nil, err
	}
	s.asked.Store(now)
	return now, nil
}

// chunks cuts what is too much for one statement.
func chunks(rows []*delivery) func(yield func([]*delivery) bool) {
	return func(yield func([]*delivery) bool) {
		from, bytes := 0, 0
		for i, d := range rows {
			if i > from && (i-from >= acceptRows || bytes+len(d.packed) > acceptBytes) {
				if !yield(rows[from:i]) {
					return
				}
				from, bytes = i, 0
			}
			bytes += len(d.packed)
		}
		yield(rows[from:])
	}
}

// accept inserts what is new. Nearly always all is: that is one statement, as
// the server gives the rows of one the ids that follow the first. Where they do
// not follow it, they are read. Where a key is known, what is stored under it is
// read first, and the rest is tried again.
func (s *Store) accept(ctx context.Context, rows []*delivery, follow bool) error {
	for range lockTries {
		fresh := unknown(rows)
		if len(fresh) == 0 {
			return nil
		}
		first, err := s.insertEvents(ctx, fresh)
		known := number(err) == erDupEntry
		switch {
		case err != nil && !known:
			return err
		case !known && (follow || len(fresh) == 1):
			for i, d := range fresh {
				d.inserted(first + int64(i))
			}
			continue
		}
		for part := range byInstance(fresh) {
			if err := s.readStored(ctx, part, known); err != nil {
				return err
			}
		}
	}
	return errAgain
}

// inserted: what is stored is what came.
func (d *delivery) inserted(id int64) {
	e := &d.HookEvent
	d.Accepted, d.known = Accepted{ID: id, Project: e.Project, Ref: e.Ref, After: e.After}, true
}

type slot struct{ instance, key string }

func (d *delivery) slot() slot { return slot{d.Instance, d.Key} }

// unknown are the rows that are still to be stored, the first of each key. The
// others of a known key are duplicates of it.
func unknown(rows []*delivery) []*delivery {
	first := map[slot]*delivery{}
	var list []*delivery
	for _, d := range rows {
		f, ok := first[d.slot()]
		switch {
		case !ok:
			first[d.slot()] = d
			if !d.known {
				list = append(list, d)
			}
		case f.known && !d.known:
			d.Accepted, d.known = f.Accepted, true
			d.Accepted.Duplicate = true
		}
	}
	return list
}

const insertEventSQL = "INSERT INTO hook_event (instance, idempotency_key, event, project, ref, ref_key, before_sha, after_sha, actor, payload, payload_size, kept, state, reason, fence, tries, received_at, handled_at) VALUES "

const insertEventRow = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, COALESCE(?, NOW(6)), IF(?, NOW(6), NULL))"

// insertEvents gives the id of the first.
func (s *Store) insertEvents(ctx context.Context, rows []*delivery) (int64, error) {
	stmt, err := s.inbox.statement(ctx, insertEventSQL+rowsOf(insertEventRow, len(rows)))
	if err != nil {
		return 0, err
	}
	args := make([]any, 0, 16*len(rows))
	for _, d := range rows {
		e := &d.HookEvent
		args = append(args, e.Instance, e.Key, e.Event, e.Project, e.Ref, refKey(e.Ref), e.Before, e.After, e.Actor,
			d.packed, e.Size, d.packed != nil, e.State, e.Reason, nullTime(e.ReceivedAt), e.State != EventPending)
	}
	result, err := stmt.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.LastInsertId()
}

// byInstance gives the rows of one GitLab after the other.
func byInstance(rows []*delivery) func(yield func([]*delivery) bool) {
	return func(yield func([]*delivery) bool) {
		for len(rows) > 0 {
			var one, others []*delivery
			for _, d := range rows {
				if d.Instance == rows[0].Instance {
					one = append(one, d)
				} else {
					others = append(others, d)
				}
			}
			if !yield(one) {
				return
			}
			rows = others
		}
	}
}

// What was inserted a moment ago is known but for its id.
const (
	storedIDsSQL    = "SELECT idempotency_key, id FROM hook_event FORCE INDEX (delivery) WHERE instance = ? AND idempotency_key IN ("
	storedEventsSQL = "SELECT idempotency_key, id, project, ref, after_sha FROM hook_event FORCE INDEX (delivery) WHERE instance = ? AND idempotency_key IN ("
)

// readStored fills in what the table has under the keys of the rows, which are
// of one instance.
func (s *Store) readStored(ctx context.Context, rows []*delivery, known bool) error {
	query := storedIDsSQL
	if known {
		query = storedEventsSQL
	}
	stmt, err := s.inbox.statement(ctx, query+marks(len(rows))+")")
	if err != nil {
		return err
	}
	args := make([]any, 0, 1+len(rows))
	args = append(args, rows[0].Instance)
	byKey := make(map[string]*delivery, len(rows))
	for _, d := range rows {
		args, byKey[d.Key] = append(args, d.Key), d
	}
	result, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer result.Close()
	for result.Next() {
		var key string
		a := Accepted{Duplicate: known}
		into := []any{&key, &a.ID, &a.Project, &a.Ref, &a.After}
		if !known {
			into = into[:2]
		}
		if err := result.Scan(into...); err != nil {
			return err
		}
		if known {
			byKey[key].Accepted, byKey[key].known = a, true
		} else {
			byKey[key].inserted(a.ID)
		}
	}
	return result.Err()
}
