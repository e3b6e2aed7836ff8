package lineage

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// stepSpace makes the record ids of what the store itself writes into the
// audit, so that doing it twice is one event.
var stepSpace = uuid.MustParse("0f6a2c1e-54a7-4f0b-8d6b-0d2a1f6f7c52")

func stepID(parts ...any) string {
	return uuid.NewSHA1(stepSpace, []byte(fmt.Sprint(parts...))).String()
}

// HandleEvent ends a claimed event in one transaction: its state, the move of
// the ref's head and the runs are there, or none of them is. It gives the runs
// as they are stored: repeating the call, or handling what was handled before,
// gives the same ones. [ErrFenced] when somebody else has the event,
// [*Conflict] when the head has moved since PrevSeq was read: decide again.
//
// A run for an image name that belongs to another project is stored as
// rejected.
func (s *Store) HandleEvent(ctx context.Context, h Handled) ([]Run, error) {
	if err := h.normal(); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "handle event"); err != nil {
		return nil, err
	}
	var runs []Run
	err := s.write(ctx, "handle event", nil, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		var err error
		runs, err = w.handle(h)
		return err
	})
	return runs, err
}

// normal fills the runs and refuses what cannot be stored.
func (h *Handled) normal() error {
	var c checker
	c.oneOf("state", h.State, EventHandled, EventIgnored, EventFailed)
	c.long("reason", h.Reason)
	c.positive("prev_seq", h.PrevSeq)
	h.Runs = slices.Clone(h.Runs)
	names := map[string]bool{}
	for i := range h.Runs {
		r := &h.Runs[i]
		if r.ID == "" {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			r.ID = id.String()
		}
		if r.State == "" {
			r.State = RunReceived
		}
		if r.Channel == "" {
			r.Channel = ChannelHook
		}
		r.check(&c)
		c.need("run.image_name", r.Image)
		if names[r.Image] {
			c.fail("runs", "name image %s twice", r.Image)
		}
		names[r.Image] = true
	}
	return c.err
}

// inboxEvent is what is known of an event that is being handled.
type inboxEvent struct {
	HookEvent
	now time.Time // of the server
}

func (w writer) handle(h Handled) ([]Run, error) {
	e := inboxEvent{HookEvent: HookEvent{ID: h.Event}}
	var head sql.NullInt64
	ok, err := w.get("SELECT project, ref, after_sha, actor, state, head_seq, fence, NOW(6) FROM hook_event WHERE id = ? FOR UPDATE", []any{h.Event},
		&e.Project, &e.Ref, &e.After, &e.Actor, &e.State, &head, &e.Fence, &e.now)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, fmt.Errorf("event %d: %w", h.Event, ErrNotFound)
	case e.Fence != h.Fence:
		return nil, ErrFenced
	case e.State == h.State: // the same call again: its answer was lost
		return w.runsWhere("FORCE INDEX (hook) WHERE hook_event = ?", e.ID)
	case e.State != EventPending:
		return nil, &Conflict{ID: fmt.Sprintf("event %d", e.ID), Problem: "is " + e.State + " already"}
	}
	seq, err := w.moveHead(e, h)
	if err != nil {
		return nil, err
	}
	runs, err := w.openRuns(e, seq, h.Runs)
	if err != nil {
		return nil, err
	}
	moved := any(nil)
	if h.MoveHead {
		moved = seq
	}
	err = w.exec("UPDATE hook_event SET state = ?, reason = ?, head_seq = ?, handled_at = NOW(6), next_at = NULL, lease_owner = NULL, lease_until = NULL WHERE id = ?",
		h.State, h.Reason, moved, e.ID)
	if number(err) == erDupEntry { // the key `head`: another event moved it first
		return nil, h.overtaken(e)
	}
	return runs, err
}

const headSQL = "SELECT head_seq, after_sha FROM hook_event FORCE INDEX (head) WHERE project = ? AND ref_key = ? AND head_seq IS NOT NULL ORDER BY head_seq DESC LIMIT 1"

// moveHead gives what the head counts after the event.
func (w writer) moveHead(e inboxEvent, h Handled) (int64, error) {
	if !h.MoveHead && len(h.Runs) == 0 {
		return 0, nil
	}
	var seq int64
	var sha string
	if _, err := w.get(headSQL, []any{e.Project, refKey(e.Ref)}, &seq, &sha); err != nil {
		return 0, err
	}
	if seq != h.PrevSeq {
		return 0, h.overtaken(e)
	}
	if h.MoveHead {
		seq++
	}
	return seq, nil
}

func (h Handled) overtaken(e inboxEvent) error {
	return &Conflict{ID: fmt.Sprintf("event %d", e.ID), Problem: fmt.Sprintf("the head of %s of %s has moved on from %d, on which its runs were decided; decide again", e.Ref, e.Project, h.PrevSeq)}
}

// openRuns opens the runs of an event and gives those that are stored.
func (w writer) openRuns(e inboxEvent, seq int64, runs []Run) ([]Run, error) {
	if len(runs) == 0 {
		return nil, nil
	}
	names := make([]any, len(runs))
	for i := range runs {
		names[i] = runs[i].Image
	}
	owners, err := w.owners(names)
	if err != nil {
		return nil, err
	}
	for i := range runs {
		r := &runs[i]
		r.Project, r.Ref, r.HeadSeq, r.Event = e.Project, e.Ref, seq, e.ID
		if r.Actor == "" {
			r.Actor = e.Actor
		}
		if owner := owners[r.Image]; owner != "" && owner != e.Project && !r.Final() {
			r.State, r.Reason = RunRejected, (&Taken{Name: r.Image, Owner: owner, By: e.Project}).Error()
		}
	}
	if err := w.insertManaged(e.now, runs); err != nil {
		return nil, err
	}
	where, args := "FORCE INDEX (head) WHERE project = ? AND ref = ? AND head_seq = ? AND attempt = 1 AND image IN ("+marks(len(names))+")", []any{e.Project, e.Ref, seq}
	if seq == 0 {
		where, args = "FORCE INDEX (hook) WHERE hook_event = ? AND image IN ("+marks(len(names))+")", []any{e.ID}
	}
	stored, err := w.runsWhere(where, append(args, names...)...)
	if err != nil {
		return nil, err
	}
	if len(stored) != len(runs) {
		return nil, &Conflict{ID: fmt.Sprintf("event %d", e.ID), Problem: "the id of one of its runs is another run's"}
	}
	return stored, w.openedEvents(e.now, stored, runs)
}

// owners gives the projects that names belong to.
func (w writer) owners(names []any) (map[string]string, error) {
	owners := map[string]string{}
	err := collect(w.ctx, w.tx, func(rows *sql.Rows) error {
		var name, project string
		err := rows.Scan(&name, &project)
		owners[name] = project
		return err
	}, "SELECT name, MAX(project) FROM image FORCE INDEX (name_project) WHERE name IN ("+marks(len(names))+") AND project > '' GROUP BY name", names...)
	return owners, err
}

const insertRunRow = "(?, ?, 1, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?, ?, 1, '', ?, '', ?, '', '', '', 0, 0, ?, ?, ?, ?, '', 0, '')"

// insertManaged opens first attempts that the daemon owns. Where a push has its
// run already, that one stays.
func (w writer) insertManaged(now time.Time, runs []Run) error {
	var args []any
	for _, r := range runs {
		args = append(args, r.ID, r.ID, r.Image, r.Project, r.Ref, nullInt(r.HeadSeq), r.Commit, r.Folder, r.From,
			r.State, now, r.Final(), r.Reason, r.Actor, r.Channel, nullInt(r.Event), r.JenkinsJob, now, now, endOf(r, now), r.tells())
	}
	return w.exec(`INSERT INTO run (id, first_run, attempt, image, project, ref, head_seq, commit_sha, folder, from_stage, stage,
			state, state_at, finished, reason, actor, channel, managed, worker, hook_event, jenkins, jenkins_job, jenkins_url, build_tag,
			cancel_reason, fence, tries, next_at, opened_at, finished_at, status_due, status_sent, status_tries, status_error)
		VALUES `+rowsOf(insertRunRow, len(runs))+" ON DUPLICATE KEY UPDATE seq = seq", args...)
}

// openedEvents writes into the audit which of the stored runs are new.
func (w writer) openedEvents(now time.Time, stored, ours []Run) error {
	var args []any
	for _, r := range stored {
		if slices.ContainsFunc(ours, func(o Run) bool { return o.ID == r.ID }) {
			args = append(args, stepID("opened ", r.ID), now, now, r.Actor, r.Channel, VerbOpened, r.Image, r.ID, r.State, r.Reason)
		}
	}
	if len(args) == 0 {
		return nil
	}
	return w.exec("INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, run_id, state, reason) VALUES "+
		rowsOf("(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", len(args)/10)+" ON DUPLICATE KEY UPDATE id = id", args...)
}

func (w writer) runsWhere(where string, args ...any) (runs []Run, err error) {
	err = collect(w.ctx, w.tx, func(rows *sql.Rows) error {
		_, r, err := scanRun(rows)
		runs = append(runs, r)
		return err
	}, "SELECT "+runColumns+" FROM run "+where+" ORDER BY seq", args...)
	return runs, err
}

func rowsOf(row string, n int) string { return strings.TrimSuffix(strings.Repeat(row+", ", n), ", ") }

func endOf(r Run, now time.Time) any {
	if r.Final() {
		return now
	}
	return nil
}
