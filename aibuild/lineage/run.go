package lineage

import (
	"regexp"
	"time"
)

// States of a run. The last nine are final: they never change.
const (
	RunReceived     = "received"
	RunQueued       = "queued"
	RunTriggering   = "triggering"
	RunJenkinsQueue = "in_jenkins_queue"
	RunBuilding     = "building"

	RunSuccess    = "success"
	RunUnstable   = "unstable"
	RunFailure    = "failure"
	RunAborted    = "aborted"
	RunNotBuilt   = "not_built"
	RunCancelled  = "cancelled"
	RunLost       = "lost"
	RunRejected   = "rejected"
	RunSuperseded = "superseded"
)

// RunStates lists the states of runs, in the order that runs come to them.
func RunStates() []string {
	return []string{
		RunReceived, RunQueued, RunTriggering, RunJenkinsQueue, RunBuilding,
		RunSuccess, RunUnstable, RunFailure, RunAborted, RunNotBuilt, RunCancelled, RunLost, RunRejected, RunSuperseded,
	}
}

// Run is one attempt of one image to get through the stages. In a [Record],
// the first one with its id opens it; later ones move it, and their empty
// fields change nothing.
type Run struct {
	ID        string `json:"run_id"`
	Image     string `json:"image_name"`           // at most 63 characters
	ImageUUID string `json:"image_uuid,omitempty"` // the image it made or worked on; empty = none (yet)
	Project   string `json:"project,omitempty"`
	Ref       string `json:"ref,omitempty"`
	Commit    string `json:"commit,omitempty"`
	HeadSeq   int64  `json:"head_seq,omitempty"` // 0 = not opened by a push
	Folder    string `json:"folder,omitempty"`   // of the definition
	RetryOf   string `json:"retry_of,omitempty"`
	Attempt   int    `json:"attempt,omitempty"` // from 1; given by the store
	From      string `json:"from,omitempty"`    // first stage
	Stage     string `json:"stage,omitempty"`   // that it is in, or ended in
	State     string `json:"state"`
	Reason    string `json:"reason,omitempty"`

	// Given by the store.
	Managed      bool   `json:"managed,omitempty"`    // the daemon moves and ends it
	Event        int64  `json:"hook_event,omitempty"` // the delivery that it was opened for
	CancelBy     string `json:"cancel_by,omitempty"`  // who wants it cancelled
	CancelReason string `json:"cancel_reason,omitempty"`
	StatusError  string `json:"commit_status_error,omitempty"` // why GitLab could not be told of the state

	Actor      string `json:"actor,omitempty"`   // who opened it
	Channel    string `json:"channel,omitempty"` // by what
	Worker     string `json:"worker,omitempty"`  // process that works on it: HOST/PID/START
	JenkinsJob string `json:"jenkins_job,omitempty"`
	QueueID    int64  `json:"jenkins_queue_id,omitempty"`
	Build      int64  `json:"jenkins_build,omitempty"`
	BuildURL   string `json:"jenkins_url,omitempty"`
	BuildTag   string `json:"build_tag,omitempty"`

	Failure    *Failure  `json:"failure,omitempty"`
	ExitCode   *int      `json:"exit_code,omitempty"`
	OpenedAt   time.Time `json:"opened_at,omitzero"`
	StartedAt  time.Time `json:"started_at,omitzero"`
	FinishedAt time.Time `json:"finished_at,omitzero"`
}

// Final says whether the run has ended.
func (r Run) Final() bool { return runRank[r.State] == finalRank }

// tells says whether GitLab is told of the run's states: there is a commit to
// put them on, and it is not somebody's own build on a machine of theirs.
func (r Run) tells() bool {
	return r.Project != "" && commitID.MatchString(r.Commit) && r.Channel != "cli" && r.Channel != "library"
}

// commitID: the commit of an uncommitted tree is no object of GitLab.
var commitID = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// RunFilter selects a page of [Store.Runs].
type RunFilter struct {
	Image      string
	Project    string
	State      string
	Unfinished bool   // only runs that have not ended
	Cursor     string // as the page before gave it
	Limit      int    // 1 to 1000; 0 = 50
}

// Event is one line of the audit: who did what to which image or run, when,
// by what and why. Events are only ever added.
type Event struct {
	RecordID  string    `json:"id"`
	At        time.Time `json:"at"`          // when it happened
	Recorded  time.Time `json:"recorded_at"` // when it was written down
	Actor     string    `json:"actor"`
	Channel   string    `json:"channel"`
	Verb      string    `json:"verb"`
	Image     string    `json:"image_name,omitempty"`
	ImageUUID string    `json:"image_uuid,omitempty"`
	RunID     string    `json:"run_id,omitempty"`
	Cluster   string    `json:"openstack_cluster,omitempty"`
	GlanceID  string    `json:"glance_id,omitempty"` // of the image there
	State     string    `json:"state,omitempty"`     // after it
	Reason    string    `json:"reason,omitempty"`
}

// EventFilter selects a page of [Store.Events]. At most one of Image,
// ImageUUID, RunID and Actor counts, in this order.
type EventFilter struct {
	Image     string
	ImageUUID string
	RunID     string
	Actor     string
	Cursor    string
	Limit     int // 1 to 1000; 0 = 50
}

// Entry is one line of an image's history: an image, or a run that made none.
type Entry struct {
	Image *Image
	Run   *Run // without image
}
