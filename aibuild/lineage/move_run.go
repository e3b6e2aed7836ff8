package lineage

import (
	"database/sql"
	"fmt"
	"strings"
	"time"
)

// lockedRun is a run as it is, locked until the transaction ends.
type lockedRun struct {
	Run
	since time.Time // of its state
	fence int64
	now   time.Time // of the server
}

func (w writer) lockRun(id string) (was lockedRun, err error) {
	var build sql.NullInt64
	ok, err := w.get("SELECT id, image, project, commit_sha, channel, managed, worker, state, state_at, build_tag, jenkins_build, fence, NOW(6) FROM run WHERE id = ? FOR UPDATE", []any{id},
		&was.ID, &was.Image, &was.Project, &was.Commit, &was.Channel, &was.Managed, &was.Worker, &was.State, &was.since, &was.BuildTag, &build, &was.fence, &was.now)
	if err == nil && !ok {
		err = fmt.Errorf("run %s: %w", id, ErrNotFound)
	}
	was.Build = build.Int64
	return was, err
}

// moveRun: an end never changes, and no state goes back; a step that is
// delivered late fills what is empty.
func (w writer) moveRun(r Record, was lockedRun) error {
	run := *r.Run
	if run.Reason == "" {
		run.Reason = r.Reason
	}
	if err := was.contradicts(run); err != nil {
		return err
	}
	late := was.Final()
	switch {
	case !was.Managed:
		late = late || r.At.Before(was.since)
	case r.Channel != ChannelDaemon:
		var err error
		if run, err = was.report(r.At, run); err != nil {
			return err
		}
	}
	if was.Final() && run.Final() && run.State != was.State {
		return &Conflict{ID: run.ID, Problem: fmt.Sprintf("has ended as %s, it cannot end as %s", was.State, run.State)}
	}
	if runRank[run.State] < runRank[was.State] {
		run.State = ""
	}
	run.times(r.At)
	c, err := changes(run, late)
	if err != nil {
		return err
	}
	switch {
	case late:
	case run.State != "":
		c.state(was.Run, run.State, r.At)
		c.set("reason = ?", run.Reason)
	case run.Reason != "":
		c.set("reason = ?", run.Reason)
	}
	return c.write(w, run.ID)
}

// contradicts: a run is one image's, and one build's: the first one that names
// itself.
func (was lockedRun) contradicts(run Run) error {
	for _, c := range []struct{ what, is, said string }{{"image", was.Image, run.Image}, {"build", was.BuildTag, run.BuildTag}} {
		if c.is != "" && c.said != "" && c.is != c.said {
			return &Conflict{ID: was.ID, Problem: fmt.Sprintf("is the run of %s %s, not of %s", c.what, c.is, c.said)}
		}
	}
	return nil
}

// report is what a build may say of a run that the daemon owns: how far it is
// and how it went, while it may be running. Its end is the daemon's to tell,
// who asks Jenkins. What happened before the end and is delivered after it still
// fills what is empty.
func (was lockedRun) report(at time.Time, run Run) (Run, error) {
	switch was.State {
	case RunTriggering, RunJenkinsQueue, RunBuilding:
	case RunReceived, RunQueued:
		return run, &Conflict{ID: was.ID, Problem: "is " + was.State + ": the daemon has not started a build for it"}
	default:
		if at.After(was.since) {
			return run, &Conflict{ID: was.ID, Problem: "has ended as " + was.State}
		}
	}
	if run.Build != 0 && was.Build != 0 && run.Build != was.Build {
		return run, &Conflict{ID: was.ID, Problem: fmt.Sprintf("is the run of build %d, not of %d", was.Build, run.Build)}
	}
	if run.Final() {
		run.State, run.FinishedAt = RunBuilding, time.Time{}
	}
	return run, nil
}

// runChanges is an UPDATE of one run.
type runChanges struct {
	columns []string
	args    []any
}

func (c *runChanges) set(column string, args ...any) {
	c.columns, c.args = append(c.columns, column), append(c.args, args...)
}

// changes are those that a step names, but for state, reason and time of the
// next look: what a build reported of itself stays; of the rest what is empty
// changes nothing, and a late step fills only what is empty.
func changes(r Run, late bool) (runChanges, error) {
	var c runChanges
	failure, err := failureJSON(r.Failure)
	if err != nil {
		return c, err
	}
	for _, t := range []struct{ column, value string }{
		{"stage", r.Stage}, {"worker", r.Worker}, {"jenkins_job", r.JenkinsJob}, {"jenkins_url", r.BuildURL},
	} {
		switch {
		case t.value == "":
		case late:
			c.set(t.column+" = IF("+t.column+" = '', ?, "+t.column+")", t.value)
		default:
			c.set(t.column+" = ?", t.value)
		}
	}
	for _, n := range []struct {
		column string
		value  int64
	}{{"jenkins_queue_id", r.QueueID}, {"jenkins_build", r.Build}} {
		switch {
		case n.value == 0:
		case late:
			c.set(n.column+" = COALESCE("+n.column+", ?)", n.value)
		default:
			c.set(n.column+" = ?", n.value)
		}
	}
	if r.BuildTag != "" {
		c.set("build_tag = IF(build_tag = '', ?, build_tag)", r.BuildTag)
	}
	for _, f := range []struct {
		column string
		value  any
	}{
		{"failure", failure}, {"exit_code", nullCode(r.ExitCode)}, {"image_uuid", null(r.ImageUUID)},
		{"started_at", nullTime(r.StartedAt)}, {"finished_at", nullTime(r.FinishedAt)},
	} {
		if f.value != nil {
			c.set(f.column+" = COALESCE("+f.column+", ?)", f.value)
		}
	}
	return c, nil
}

// state moves the run; GitLab is to be told where that is news.
func (c *runChanges) state(was Run, state string, at time.Time) {
	c.set("state = ?", state)
	c.set("state_at = ?", at)
	c.set("finished = ?", Run{State: state}.Final())
	if state != was.State && was.tells() {
		c.set("status_due = 1")
		c.set("status_tries = 0")
		c.set("status_next_at = NULL")
	}
}

func (c *runChanges) write(w writer, id string) error {
	if len(c.columns) == 0 {
		return nil
	}
	return w.exec("UPDATE run SET "+strings.Join(c.columns, ", ")+" WHERE id = ?", append(c.args, id)...)
}

func nullCode(code *int) any {
	if code == nil {
		return nil
	}
	return *code
}
