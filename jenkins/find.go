package jenkins

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// runID is the parameter by which a run is known in Jenkins. The job must declare it.
const runID = "AIBUILD_RUN_ID"

// maxSearched is among how many of a job's builds a run is looked for.
const maxSearched = 1000

// Found is where a run is in Jenkins: one of the two.
type Found struct {
	Item  *Item
	Build *Build
}

// FindByRunID looks for the run in the queue and among the newest 1000 builds of the job. ErrNotFound with
// Status 200 means that Jenkins has answered all questions and knows no such run; with Status 404, that there is no
// such job.
//
// An item becomes a build, never the reverse, and is neither for a moment: so the queue is read, the builds, and both
// again. What was started a moment ago can be missed all the same: ask again later before you start it once more.
func (c Client) FindByRunID(ctx context.Context, path, run string) (Found, error) {
	const op = "look for a run"
	if run == "" {
		return Found{}, &Error{Op: op, Reason: ErrConfig, Detail: "no run id", Hint: "give the value of " + runID}
	}
	if _, err := c.jobPath(op, path); err != nil {
		return Found{}, err
	}
	for range 2 {
		item, err := c.findItem(ctx, path, run)
		if item != nil || err != nil {
			return Found{Item: item}, err
		}
		build, err := c.findBuild(ctx, path, run)
		if build != nil || err != nil {
			return Found{Build: build}, err
		}
	}
	return Found{}, &Error{Op: op, URL: c.base(), Status: http.StatusOK, Reason: ErrNotFound,
		Detail: fmt.Sprintf("%s has no build with %s=%s", path, runID, run),
		Hint:   "it was never started, or jenkins lost it in a restart, or the job does not declare " + runID}
}

func (c Client) findItem(ctx context.Context, path, run string) (*Item, error) {
	items, err := c.Queue(ctx)
	if err != nil {
		return nil, err
	}
	for i, item := range items {
		// A build can hand its parameters on to a build of another job. Jenkins takes both spellings of a name.
		if item.Params[runID] == run && (item.Job == "" || strings.EqualFold(item.Job, path)) {
			return &items[i], nil
		}
	}
	return nil, nil
}

// findBuild goes beyond the builds that are cheap to read only when there are more.
func (c Client) findBuild(ctx context.Context, path, run string) (*Build, error) {
	for from, to := 0, maxListed; from < maxSearched; from, to = to, maxSearched {
		builds, err := c.builds(ctx, path, from, to)
		if err != nil {
			return nil, err
		}
		for i, build := range builds {
			if build.Params[runID] == run {
				return &builds[i], nil
			}
		}
		if len(builds) < to-from {
			break
		}
	}
	return nil, nil
}
