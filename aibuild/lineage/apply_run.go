package lineage

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// run opens a run or moves it.
func (w writer) run(r Record) error {
	var seq int64
	var state string
	var since time.Time
	ok, err := w.get("SELECT seq, state, state_at FROM run WHERE id = ?", []any{r.RunID}, &seq, &state, &since)
	if err != nil {
		return err
	}
	if !ok {
		return w.openRun(r)
	}
	// Now that it is known to exist, what is read must be what is committed.
	if _, err := w.get("SELECT state, state_at FROM run WHERE seq = ? FOR UPDATE", []any{seq}, &state, &since); err != nil {
		return err
	}
	return w.moveRun(r, state, since)
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

// moveRun: an end never changes; a step that is delivered late fills what is
// empty but moves nothing back.
func (w writer) moveRun(r Record, state string, since time.Time) error {
	run := *r.Run
	if run.Reason == "" {
		run.Reason = r.Reason
	}
	ended := runRank[state] == finalRank
	if ended && run.Final() && run.State != state {
		return &Conflict{ID: run.ID, Problem: fmt.Sprintf("has ended as %s, it cannot end as %s", state, run.State)}
	}
	late := r.At.Before(since) || ended
	run.times(r.At)
	failure, err := failureJSON(run.Failure)
	if err != nil {
		return err
	}
	switch {
	case late:
	case run.State != "":
		err = w.exec("UPDATE run SET state = ?, state_at = ?, finished = ?, reason = ? WHERE id = ?", run.State, r.At, run.Final(), run.Reason, run.ID)
	case run.Reason != "":
		err = w.exec("UPDATE run SET reason = ? WHERE id = ?", run.Reason, run.ID)
	}
	if err != nil {
		return err
	}
	if err := w.moveColumns(run, late); err != nil {
		return err
	}
	return w.exec(`UPDATE run SET failure = COALESCE(failure, ?), exit_code = COALESCE(exit_code, ?), image_uuid = COALESCE(image_uuid, ?),
		jenkins_queue_id = COALESCE(?, jenkins_queue_id), jenkins_build = COALESCE(?, jenkins_build),
		started_at = COALESCE(started_at, ?), finished_at = COALESCE(finished_at, ?) WHERE id = ?`,
		failure, run.ExitCode, null(run.ImageUUID), nullInt(run.QueueID), nullInt(run.Build), nullTime(run.StartedAt), nullTime(run.FinishedAt), run.ID)
}

// moveColumns sets what the record names: anything when it is news, else only
// what is still empty.
func (w writer) moveColumns(run Run, late bool) error {
	for _, c := range []struct{ set, fill, value string }{
		{"UPDATE run SET stage = ? WHERE id = ?", "UPDATE run SET stage = ? WHERE id = ? AND stage = ''", run.Stage},
		{"UPDATE run SET worker = ? WHERE id = ?", "UPDATE run SET worker = ? WHERE id = ? AND worker = ''", run.Worker},
		{"UPDATE run SET jenkins_job = ? WHERE id = ?", "UPDATE run SET jenkins_job = ? WHERE id = ? AND jenkins_job = ''", run.JenkinsJob},
		{"UPDATE run SET jenkins_url = ? WHERE id = ?", "UPDATE run SET jenkins_url = ? WHERE id = ? AND jenkins_url = ''", run.BuildURL},
		{"UPDATE run SET build_tag = ? WHERE id = ?", "UPDATE run SET build_tag = ? WHERE id = ? AND build_tag = ''", run.BuildTag},
	} {
		if c.value == "" {
			continue
		}
		query := c.set
		if late {
			query = c.fill
		}
		if err := w.exec(query, c.value, run.ID); err != nil {
			return err
		}
	}
	return nil
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
