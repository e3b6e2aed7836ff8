package lineage

import (
	"cmp"
	"context"
	"database/sql"
	"time"

	"github.com/google/uuid"
)

// RunStep moves a claimed run.
type RunStep struct {
	RunID string
	Fence int64 // of the claim
	// Run holds what changes; empty fields change nothing. A failure and an exit
	// code that the build itself reported stay, and so does the state where it is
	// further already.
	Run      Run
	SetTries *int
	Verb     string // for the audit; empty: moved or ended, where the state changes
	Reason   string // why; also Run.Reason where that is empty
	NextIn   time.Duration
	Release  bool // others may claim it before the lease is over
}

// StepRun writes one step of a claimed run in one transaction. [ErrFenced] when
// somebody else has claimed it since, [*Conflict] when it has ended otherwise.
func (s *Store) StepRun(ctx context.Context, step RunStep) error {
	if err := step.normal(); err != nil {
		return err
	}
	if err := s.ready(ctx, "step run"); err != nil {
		return err
	}
	id, err := uuid.NewV7() // one for all tries: a step is written once
	if err != nil {
		return err
	}
	return s.write(ctx, "step run", nil, func(tx *sql.Tx) error {
		return writer{ctx: ctx, tx: tx}.step(step, id.String())
	})
}

func (s *RunStep) normal() error {
	if s.Run.ID == "" {
		s.Run.ID = s.RunID
	}
	if s.Run.Reason == "" {
		s.Run.Reason = s.Reason
	}
	if s.Reason == "" {
		s.Reason = s.Run.Reason
	}
	s.Run.StartedAt, s.Run.FinishedAt = utc(s.Run.StartedAt), utc(s.Run.FinishedAt)
	var c checker
	s.Run.check(&c)
	c.text("verb", s.Verb, 32)
	if s.Run.ID != s.RunID {
		c.fail("run.run_id", "is %s, the step's is %s", s.Run.ID, s.RunID)
	}
	return c.err
}

func (w writer) step(step RunStep, recordID string) error {
	was, err := w.lockRun(step.RunID)
	switch {
	case err != nil:
		return err
	case was.fence != step.Fence:
		return ErrFenced
	case was.Final() && step.Run.State == was.State: // the same call again: its answer was lost
		return nil
	case was.Final():
		return &Conflict{ID: step.RunID, Problem: "has ended as " + was.State}
	}
	if runRank[step.Run.State] <= runRank[was.State] {
		step.Run.State = ""
	}
	if err := w.setRun(step, was); err != nil {
		return err
	}
	state := cmp.Or(step.Run.State, was.State)
	verb := step.Verb
	switch {
	case verb != "":
	case state == was.State:
		return nil
	case step.Run.Final():
		verb = VerbEnded
	default:
		verb = VerbMoved
	}
	return w.exec(`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, run_id, state, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id`,
		recordID, was.now, was.now, ChannelDaemon, ChannelDaemon, verb, null(was.Image), was.ID, state, step.Reason)
}

// setRun writes the columns of a step. A wish to cancel that came after the
// claim is looked at at once, whatever the step says.
func (w writer) setRun(step RunStep, was lockedRun) error {
	r := step.Run
	r.times(was.now)
	c, err := changes(r, false)
	if err != nil {
		return err
	}
	if r.State != "" {
		c.state(was.Run, r.State, was.now)
		c.set("reason = ?", r.Reason) // that of the state before does not hold
	} else if r.Reason != "" {
		c.set("reason = ?", r.Reason)
	}
	if step.SetTries != nil {
		c.set("tries = ?", *step.SetTries)
	}
	c.set("next_at = NOW(6) + INTERVAL IF(cancel_at > claimed_at, 0, ?) MICROSECOND", micros(step.NextIn))
	if step.Release || r.Final() {
		c.set("lease_owner = NULL")
		c.set("lease_until = NULL")
	}
	return c.write(w, was.ID)
}
