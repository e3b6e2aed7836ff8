package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Record writes steps of the story in one transaction: all of them or none. A
// record whose id is already there is passed over, so that delivery may be
// repeated. Records may refer to what earlier ones in the same call make.
func (s *Store) Record(ctx context.Context, records ...Record) error {
	return s.record(ctx, 0, records)
}

// Import is [Store.Record] for the story of one image that a database knew
// before, which is gone: the image gets the number that it had, as long as no
// other image of its name has it. 0 means the next one.
func (s *Store) Import(ctx context.Context, number int, records ...Record) error {
	return s.record(ctx, number, records)
}

func (s *Store) record(ctx context.Context, number int, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	if err := s.ready(ctx, "record"); err != nil {
		return err
	}
	list := make([]Record, len(records))
	var locks []string
	for i, r := range records {
		n, err := r.normal(s.now())
		if err != nil {
			return err
		}
		list[i] = n
		if n.Built != nil { // its number is given under the name's lock
			locks = append(locks, s.lockName("number", n.Built.Name))
		}
	}
	return s.write(ctx, "record", locks, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx, now: utc(s.now()), number: number}
		if err := w.lockRows(list); err != nil {
			return err
		}
		for _, r := range list {
			if err := w.apply(r); err != nil {
				return err
			}
		}
		return nil
	})
}

// writer is one transaction that records.
type writer struct {
	ctx context.Context
	tx  *sql.Tx
	now time.Time

	number int // of the image that is imported; 0: the next
}

func (w writer) exec(query string, args ...any) error {
	_, err := w.tx.ExecContext(w.ctx, query, args...)
	return err
}

// get scans one row; false when there is none.
func (w writer) get(query string, args []any, into ...any) (bool, error) {
	err := w.tx.QueryRowContext(w.ctx, query, args...).Scan(into...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// lockRows locks the images and runs that exist before anything is read: what
// is derived later sees all that others committed. Rows that do not exist are
// not looked for with a lock, because the locked gap would stop other writers.
func (w writer) lockRows(list []Record) error {
	made := map[string]bool{}
	images, runs := map[string]bool{}, map[string]bool{}
	for _, r := range list {
		if r.Built != nil {
			made[r.ImageUUID] = true
		}
		if r.ImageUUID != "" && !made[r.ImageUUID] && r.Run == nil {
			images[r.ImageUUID] = true
		}
		if r.Run != nil && r.Run.RetryOf != "" {
			runs[r.Run.RetryOf] = true // its attempts are counted
		}
	}
	if err := w.lockSet("SELECT uuid FROM image WHERE uuid IN (%s) ORDER BY uuid FOR UPDATE", images); err != nil {
		return err
	}
	return w.lockSet("SELECT id FROM run WHERE id IN (%s) ORDER BY id FOR UPDATE", runs)
}

func (w writer) lockSet(query string, set map[string]bool) error {
	var args []any
	for id := range set {
		args = append(args, id)
	}
	if len(args) == 0 {
		return nil
	}
	return collect(w.ctx, w.tx, func(rows *sql.Rows) error {
		var id string
		return rows.Scan(&id)
	}, fmt.Sprintf(query, marks(len(args))), args...)
}

// marks is the inside of an IN list: ?, ?, ?
func marks(n int) string { return strings.TrimSuffix(strings.Repeat("?, ", n), ", ") }

func (w writer) apply(r Record) error {
	fresh, err := w.event(r)
	if err != nil || !fresh {
		return err
	}
	switch {
	case r.Run != nil:
		return w.run(r)
	case r.Built != nil:
		err = w.built(r)
	case r.Tested != nil:
		err = w.tested(r)
	case r.Inventory != nil:
		return w.inventory(r) // no fact that the state follows from
	case r.Published != nil:
		err = w.published(r)
	case r.Released != nil:
		err = w.released(r)
	case r.Marked != nil:
		err = w.marked(r)
	default:
		return nil
	}
	if err != nil {
		return err
	}
	return w.derive(r.ImageUUID)
}

// event appends the record to the audit; false when it is there already.
func (w writer) event(r Record) (bool, error) {
	name, err := w.nameFor(r)
	if err != nil {
		return false, err
	}
	err = w.exec(`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, run_id, cluster, glance_id, state, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		r.ID, r.At, w.now, r.Actor, r.Channel, r.Verb, null(name), null(r.ImageUUID), null(r.RunID), null(r.cluster()), null(r.glanceID()), null(r.state()), r.Reason)
	if number(err) != erDupEntry {
		return err == nil, err
	}
	var verb string
	var image, run sql.NullString
	if _, err := w.get("SELECT verb, image_uuid, run_id FROM event WHERE record_id = ? LOCK IN SHARE MODE", []any{r.ID}, &verb, &image, &run); err != nil {
		return false, err
	}
	if verb != r.Verb || image.String != r.ImageUUID || run.String != r.RunID {
		return false, &Conflict{ID: r.ID, Problem: fmt.Sprintf("this record id belongs to another step (%s of image %s, run %s)", verb, image.String, run.String)}
	}
	return false, nil
}

// nameFor is the image name that an event is listed under.
func (w writer) nameFor(r Record) (string, error) {
	var name string
	switch {
	case r.Built != nil:
		return r.Built.Name, nil
	case r.Run != nil && r.Run.Image != "":
		return r.Run.Image, nil
	case r.ImageUUID != "":
		ok, err := w.get("SELECT name FROM image WHERE uuid = ?", []any{r.ImageUUID}, &name)
		if ok || err != nil {
			return name, err
		}
	}
	if r.RunID != "" {
		_, err := w.get("SELECT image FROM run WHERE id = ?", []any{r.RunID}, &name)
		return name, err
	}
	return name, nil
}

func (r Record) cluster() string {
	if r.Released == nil {
		return ""
	}
	return r.Released.Cluster
}

func (r Record) glanceID() string {
	if r.Released == nil {
		return ""
	}
	return r.Released.GlanceID
}

// state is what the record says of its subject.
func (r Record) state() string {
	switch {
	case r.Run != nil:
		return r.Run.State
	case r.Tested != nil:
		return r.Tested.Verdict
	case r.Released != nil:
		return r.Released.State
	}
	return ""
}

// derive writes the state that follows from the facts.
func (w writer) derive(uuid string) error {
	var f facts
	var verdict sql.NullString
	var published sql.NullTime
	ok, err := w.get(`SELECT i.revoked, i.published_at, t.test_result FROM image i LEFT JOIN test_log t ON t.image_uuid = i.uuid WHERE i.uuid = ?`,
		[]any{uuid}, &f.revoked, &published, &verdict)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", uuid, ErrNotFound)
	}
	f.verdict, f.published = verdict.String, published.Valid
	err = collect(w.ctx, w.tx, func(rows *sql.Rows) error {
		var t Target
		err := rows.Scan(&t.State)
		f.targets = append(f.targets, t)
		return err
	}, "SELECT state FROM release_target WHERE image_uuid = ?", uuid)
	if err != nil {
		return err
	}
	state := f.state()
	return w.exec("UPDATE image SET state = ?, good = ?, verdict = ? WHERE uuid = ?", state, Image{State: state}.Good(), verdict, uuid)
}

// null stores an empty string as NULL.
func null(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func nullTime(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

func nullInt(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}
