package gitlabtest

import (
	"fmt"
	"slices"
	"time"
)

// pipeline is what commit statuses hang on: one a commit and ref, of the source "external".
type pipeline struct {
	id, number int
	sha, ref   string
	user       *user
	created    time.Time
}

// status is one row of a commit's statuses.
type status struct {
	id          int
	pipeline    *pipeline
	name        string
	user        *user
	state       string
	targetURL   *string
	description *string
	coverage    *float64
	retried     bool // a newer one of the same name is there
	created     time.Time
	started     time.Time
	finished    time.Time
}

// transitions are those of GitLab's state machine that its API makes.
var transitions = map[string]struct {
	to   string
	from []string
}{
	"enqueue": {"pending", []string{"created", "skipped"}},
	"run":     {"running", []string{"pending"}},
	"success": {"success", []string{"created", "pending", "running"}},
	"drop":    {"failed", []string{"created", "pending", "running"}},
	"cancel":  {"canceled", []string{"created", "pending", "running"}},
	"skip":    {"skipped", []string{"created", "pending"}},
}

// wanted are the events that lead to a state. The first of two may fail.
var wanted = map[string][]string{
	"pending": {"enqueue"}, "running": {"enqueue", "run"}, "success": {"success"}, "failed": {"drop"}, "canceled": {"cancel"}, "skipped": {"skip"},
}

// move brings the status into a state, or refuses in the words of GitLab's state machine.
func (st *status) move(state string, now time.Time) error {
	steps := wanted[state]
	for i, step := range steps {
		event := transitions[step]
		if !slices.Contains(event.from, st.state) {
			if i < len(steps)-1 {
				continue
			}
			return refusal(fmt.Sprintf("Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via %q)", step, st.state, step))
		}
		if event.to == "running" {
			st.started = now
		}
		if slices.Contains([]string{"success", "failed", "canceled"}, event.to) {
			st.finished = now
		}
		st.state = event.to
	}
	return nil
}

// unfinished says whether the row is one that an update may change; others start a new row.
func (st *status) unfinished() bool { return st.state == "pending" || st.state == "running" }

// lastPipeline is the newest of a commit, and of a ref if one is given.
func (p *project) lastPipeline(sha, ref string) *pipeline {
	for _, found := range slices.Backward(p.pipelines) {
		if found.sha == sha && (ref == "" || found.ref == ref) {
			return found
		}
	}
	return nil
}

// pipelineState sums the latest statuses of a pipeline up.
func (p *project) pipelineState(of *pipeline) string {
	count := map[string]int{}
	total := 0
	for _, st := range p.statuses {
		if st.pipeline == of && !st.retried {
			count[st.state]++
			total++
		}
	}
	switch {
	case count["skipped"] == total:
		return "skipped"
	case count["success"]+count["skipped"] == total:
		return "success"
	case count["pending"] == total:
		return "pending"
	case count["running"]+count["pending"] > 0:
		return "running"
	case count["failed"] > 0:
		return "failed"
	}
	return "canceled"
}
