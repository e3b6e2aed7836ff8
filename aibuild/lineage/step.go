package lineage

import (
	"context"
	"database/sql"
	"fmt"
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
	var now Run // as it is
	var fence int64
	var finished bool
	var at time.Time
	ok, err := w.get("SELECT image, project, commit_sha, channel, state, finished, fence, NOW(6) FROM run WHERE id = ? FOR UPDATE", []any{step.RunID},
		&now.Image, &now.Project, &now.Commit, &now.Channel, &now.State, &finished, &fence, &at)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("run %s: %w", step.RunID, ErrNotFound)
	case fence != step.Fence:
		return ErrFenced
	case finished && step.Run.State == now.State: // the same call again: its answer was lost
		return nil
	case finished:
		return &Conflict{ID: step.RunID, Problem: "has ended as " + now.State}
	}
	moves := step.Run.State != "" && step.Run.State != now.State && runRank[step.Run.State] > runRank[now.State]
	if !moves {
		step.Run.State = ""
	}
	if err := w.setRun(step, now, at, moves); err != nil {
		return err
	}
	verb := step.Verb
	switch {
	case verb != "":
	case !moves:
		return nil
	case step.Run.Final():
		verb = VerbEnded
	default:
		verb = VerbMoved
	}
	state := now.State
	if moves {
		state = step.Run.State
	}
	return w.exec(`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, run_id, state, reason)
		VALUES (?, ?, ?, 'daemon', 'daemon', ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id`,
		recordID, at, at, verb, null(now.Image), step.RunID, state, step.Reason)
}

// setRun writes the columns of a step. next_at is the time of the next look.
func (w writer) setRun(step RunStep, now Run, at time.Time, moves bool) error {
	r := step.Run
	failure, err := failureJSON(r.Failure)
	if err != nil {
		return err
	}
	r.times(at)
	set := []string{
		"stage = COALESCE(?, stage)", "worker = COALESCE(?, worker)", "jenkins_job = COALESCE(?, jenkins_job)", "jenkins_url = COALESCE(?, jenkins_url)",
		"jenkins_queue_id = COALESCE(?, jenkins_queue_id)", "jenkins_build = COALESCE(?, jenkins_build)", "build_tag = IF(build_tag = '', ?, build_tag)",
		"failure = COALESCE(failure, ?)", "exit_code = COALESCE(exit_code, ?)", "image_uuid = COALESCE(image_uuid, ?)",
		"started_at = COALESCE(started_at, ?)", "finished_at = COALESCE(finished_at, ?)", "tries = COALESCE(?, tries)",
		"reason = COALESCE(?, reason)", "next_at = NOW(6) + INTERVAL ? MICROSECOND",
	}
	args := []any{null(r.Stage), null(r.Worker), null(r.JenkinsJob), null(r.BuildURL), nullInt(r.QueueID), nullInt(r.Build), r.BuildTag,
		failure, r.ExitCode, null(r.ImageUUID), nullTime(r.StartedAt), nullTime(r.FinishedAt), step.SetTries, null(r.Reason), micros(step.NextIn)}
	if moves {
		now.State = r.State
		set = append(set, "state = ?", "state_at = ?", "finished = ?", "status_due = ?", "status_next_at = NULL")
		args = append(args, r.State, at, r.Final(), now.tells())
		if r.Reason == "" {
			set = append(set, "reason = ''") // that of the state before does not hold
		}
	}
	if step.Release || r.Final() {
		set = append(set, "lease_owner = NULL", "lease_until = NULL")
	}
	return w.exec("UPDATE run SET "+join(set)+" WHERE id = ?", append(args, r.ID)...)
}
