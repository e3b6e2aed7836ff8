package jenkinstest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// stage is how far a build is.
type stage int

const (
	building  stage = iota
	finishing       // a freestyle build's post-production: has its result, holds its executor
	complete
)

// build is one build of a job.
type build struct {
	item     *item
	job      Job // as it was when the build began
	number   int
	queueID  int64
	params   []value
	causes   []cause
	started  time.Time
	duration time.Duration
	estimate time.Duration
	result   string // empty: none yet
	stage    stage
	on       slot
	nodeName string // outlives the node

	abort   *abort // somebody wants its end
	cancel  context.CancelFunc
	granted chan slot // to a pipeline, when it gets its executor
	dir     string
}

// abort is an order to end a build.
type abort struct {
	Result string
	By     []cause // empty: nobody who is known
	Hard   bool    // KILL, not TERM
}

func (b *build) running() bool    { return b.stage == building }
func (b *build) logUpdated() bool { return b.stage != complete }

// interrupt orders the end of a build that runs; the first order counts.
func (b *build) interrupt(result string) { b.interruptHow(result, nil, false) }

func (b *build) interruptHow(result string, by []cause, hard bool) {
	if b.stage == building && b.abort == nil {
		b.abort = &abort{Result: result, By: by, Hard: hard}
		b.cancel()
	}
}

func (b *build) logFile() string { return filepath.Join(b.dir, "log") }

// url is the build's path below Jenkins' root.
func (b *build) url() string { return b.item.path() + strconv.Itoa(b.number) + "/" }

// record is how a build is kept in the home folder.
type record struct {
	Number     int
	QueueID    int64
	Params     []value
	Causes     []cause
	Started    time.Time
	DurationMS int64
	EstimateMS int64
	Result     string
	Node       string
	Abort      *abort
}

func (b *build) save() error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	estimate := b.estimate.Milliseconds()
	if b.estimate < 0 {
		estimate = -1
	}
	text, err := json.MarshalIndent(record{
		Number: b.number, QueueID: b.queueID, Params: b.params, Causes: b.causes, Started: b.started,
		DurationMS: b.duration.Milliseconds(), EstimateMS: estimate, Result: b.result, Node: b.nodeName, Abort: b.abort,
	}, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(b.dir, "build.json"), text)
}

// loadBuild reads a build back. One that was running when its server died has failed, as in Jenkins.
func loadBuild(it *item, dir string) (*build, error) {
	text, err := os.ReadFile(filepath.Join(dir, "build.json"))
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	b := &build{
		item: it, job: it.job, number: r.Number, queueID: r.QueueID, params: r.Params, causes: r.Causes, started: r.Started,
		duration: time.Duration(r.DurationMS) * time.Millisecond, estimate: time.Duration(r.EstimateMS) * time.Millisecond,
		result: r.Result, nodeName: r.Node, abort: r.Abort, stage: complete, dir: dir, cancel: func() {},
	}
	if r.EstimateMS < 0 {
		b.estimate = -1
	}
	if b.result == "" {
		b.result = "FAILURE"
	}
	return b, nil
}

// Results in the order in which they get worse; a result only ever gets worse.
var severity = map[string]int{"SUCCESS": 0, "UNSTABLE": 1, "FAILURE": 2, "NOT_BUILT": 3, "ABORTED": 4}

func (b *build) setResult(result string) {
	if b.result == "" || severity[result] > severity[b.result] {
		b.result = result
	}
}

// colors are what a result looks like.
var colors = map[string]string{"SUCCESS": "blue", "UNSTABLE": "yellow", "FAILURE": "red", "NOT_BUILT": "notbuilt", "ABORTED": "aborted"}

// color is the job's ball: that of its newest build with a result, moving while one runs.
func (it *item) color() string {
	moving := ""
	if last := it.lastBuild(); last != nil && last.running() {
		moving = "_anime"
	}
	if it.job.Disabled {
		return "disabled" + moving
	}
	done := it.newest(func(b *build) bool { return !b.running() })
	if done == nil {
		return "notbuilt" + moving
	}
	return colors[done.result] + moving
}
