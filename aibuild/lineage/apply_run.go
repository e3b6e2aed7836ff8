package lineage

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// run opens a run or moves it.
func (w writer) run(r Record) error {
	ok, err := w.get("SELECT id FROM run WHERE id = ?", []any{r.RunID}, new(string))
	if err != nil {
		return err
	}
	if !ok {
		return w.openRun(r)
	}
	// Now that it is known to exist, what is read must be what is committed.
	was, err := w.lockRun(r.RunID)
	if err != nil {
		return err
	}
	return w.moveRun(r, was)
}

func (w writer) openRun(r Record) error {
	run := *r.Run
	run.defaults(r)
	first, err := w.attemptOf(&run)
	if err != nil {
		return err
	}
	if run.Image == "" {
		return &Invalid{Field: "run.image_name", Problem: "is missing: run " + run.ID + " is not open yet"}
	}
	if !run.Final() {
		owner, err := w.owner(run.Image)
		if err != nil {
			return err
		}
		if owner != "" && owner != run.Project {
			return &Taken{Name: run.Image, Owner: owner, By: run.Project}
		}
	}
	if run.ImageUUID == "" { // its image may have been delivered first
		if _, err := w.get("SELECT uuid FROM image WHERE uuid = ?", []any{run.ID}, &run.ImageUUID); err != nil {
			return err
		}
	}
	err = w.insertRun(run, first, r.At)
	if number(err) == erDupEntry {
		return w.doubleRun(run)
	}
	return err
}

// defaults of a run that is opened.
func (r *Run) defaults(by Record) {
	if r.State == "" {
		r.State = RunReceived
	}
	if r.OpenedAt.IsZero() {
		r.OpenedAt = by.At
	}
	if r.Actor == "" {
		r.Actor, r.Channel = by.Actor, by.Channel
	}
	if r.Reason == "" {
		r.Reason = by.Reason
	}
	r.times(by.At)
}

func (w writer) insertRun(run Run, first string, at time.Time) error {
	failure, err := failureJSON(run.Failure)
	if err != nil {
		return err
	}
	return w.exec(`INSERT INTO run (id, first_run, attempt, retry_of, image, image_uuid, project, ref, head_seq, commit_sha, folder, from_stage, stage,
			state, state_at, finished, reason, failure, exit_code, actor, channel, managed, worker, jenkins, jenkins_job, jenkins_queue_id, jenkins_build,
			jenkins_url, build_tag, cancel_reason, fence, tries, next_at, opened_at, started_at, finished_at, status_due, status_sent, status_tries, status_error)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, ?, ?, '', 0, 0, IF(?, NOW(6), NULL), ?, ?, ?, ?, '', 0, '')`,
		run.ID, first, run.Attempt, null(run.RetryOf), run.Image, null(run.ImageUUID), run.Project, run.Ref, nullInt(run.HeadSeq), run.Commit, run.Folder, run.From, run.Stage,
		run.State, at, run.Final(), run.Reason, failure, run.ExitCode, run.Actor, run.Channel, run.Managed, run.Worker, run.JenkinsJob, nullInt(run.QueueID), nullInt(run.Build),
		run.BuildURL, run.BuildTag, run.Managed, run.OpenedAt, nullTime(run.StartedAt), nullTime(run.FinishedAt), run.tells())
}

// attemptOf counts the attempts of a run's first one and takes over what the
// retry leaves open. It gives the id of the first one.
func (w writer) attemptOf(run *Run) (string, error) {
	run.Attempt = 1
	if run.RetryOf == "" {
		return run.ID, nil
	}
	var first string
	var old Run
	var head sql.NullInt64
	ok, err := w.get("SELECT first_run, image, project, ref, head_seq, commit_sha, folder FROM run WHERE id = ?", []any{run.RetryOf},
		&first, &old.Image, &old.Project, &old.Ref, &head, &old.Commit, &old.Folder)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", fmt.Errorf("run %s: %w", run.RetryOf, ErrNotFound)
	}
	for into, from := range map[*string]string{&run.Image: old.Image, &run.Project: old.Project, &run.Ref: old.Ref, &run.Commit: old.Commit, &run.Folder: old.Folder} {
		if *into == "" {
			*into = from
		}
	}
	if run.HeadSeq == 0 {
		run.HeadSeq = head.Int64
	}
	_, err = w.get("SELECT MAX(attempt) + 1 FROM run WHERE first_run = ? LOCK IN SHARE MODE", []any{first}, &run.Attempt)
	return first, err
}

// doubleRun finds out which key said no: the id or the attempt (a race, to be
// run again), or the push, which has its run.
func (w writer) doubleRun(run Run) error {
	if run.HeadSeq == 0 || run.RetryOf != "" {
		return errAgain
	}
	var id string
	ok, err := w.get("SELECT id FROM run WHERE project = ? AND ref = ? AND head_seq = ? AND image = ? AND attempt = ? LOCK IN SHARE MODE",
		[]any{run.Project, run.Ref, run.HeadSeq, run.Image, run.Attempt}, &id)
	if err != nil {
		return err
	}
	if !ok || id == run.ID {
		return errAgain
	}
	return &Conflict{ID: run.ID, Problem: fmt.Sprintf("this push to %s has run %s for image %s already; a retry names it in retry_of", run.Ref, id, run.Image)}
}

// times: a run has started when it builds, and finished when its state is
// final.
func (r *Run) times(at time.Time) {
	if r.StartedAt.IsZero() && r.State == RunBuilding {
		r.StartedAt = at
	}
	if r.FinishedAt.IsZero() && r.Final() {
		r.FinishedAt = at
	}
}

func failureJSON(f *Failure) (any, error) {
	if f == nil {
		return nil, nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return string(b), nil
}
