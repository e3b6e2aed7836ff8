package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// RunDetail is one run, with what the build of it may do.
type RunDetail struct {
	lineage.Run
	Caps *Caps `json:"caps,omitempty" doc:"what the server's configuration lets the run's project do; given for one run of a configured project"`
}

type runOutput struct {
	Status int
	Body   RunDetail
}

type runPath struct {
	ID string `path:"id" maxLength:"64" doc:"the run's id"`
}

type runsInput struct {
	Image      string `query:"image" maxLength:"255"`
	Project    string `query:"project" maxLength:"255"`
	State      string `query:"state" maxLength:"20"`
	Unfinished bool   `query:"unfinished" doc:"only runs that have not ended"`
	Cursor     string `query:"cursor" maxLength:"200" doc:"as the page before gave it"`
	Limit      int    `query:"limit" doc:"1 to 1000; 0 = 50"`
}

// runsPage is one page of runs, last opened first.
type runsPage struct {
	Runs []lineage.Run `json:"runs" nullable:"false"`
	Next string        `json:"next,omitempty" doc:"the cursor of the next page; absent on the last"`
}

type runsOutput struct{ Body runsPage }

func (s *Server) registerRuns() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/runs", id: "list-runs", need: mayRead,
		summary: "runs, last opened first",
		text:    "A token of some projects sees their runs only; a page may then have fewer runs than its limit, or none, and still name a next one.",
	}, s.listRuns)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/runs/{id}", id: "run", need: mayRead,
		summary: "one run, and what its build may do",
		text: "`image_uuid` is the image that the run has made or works on; for a run that has not ended and starts with the build it is the uuid that the image will have, the run's own id. " +
			"`from` is the stage to start with.",
	}, s.getRun)
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/runs", id: "open-run", need: mayOpen, body: true,
		status: http.StatusCreated, also: []int{http.StatusOK}, problems: []int{409},
		summary: "open a run",
		text: "An operator names the image, and the ref where it is not that of the last run; the daemon does the rest. " +
			"A recorder opens a run for the Jenkins build that it names in `build`; repeating it for the same build gives the run that it has (200). " +
			"When the `run_id` that it was started with belongs to another build, as after Jenkins' Rebuild, a new run is opened that retries that one.",
	}, s.openRun)
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/runs/{id}/cancel", id: "cancel-run", need: maySteer, body: true, problems: []int{409},
		summary: "ask for the end of a run",
		text:    "The wish is kept, and the daemon acts on it; ask for the run to see when it has ended. A run that has ended is a `conflict`.",
	}, s.cancelRun)
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/runs/{id}/retry", id: "retry-run", need: maySteer, body: true,
		status: http.StatusCreated, also: []int{http.StatusOK}, problems: []int{409},
		summary: "open the next attempt of a run that has ended",
		text: "It starts with the stage that the run ended in, on the stored image, or with the one that `from` names. " +
			"Repeating it with the same `run_id` gives the run that it has opened (200).",
	}, s.retryRun)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/runs/{id}/log", id: "run-log", need: mayRead,
		summary: "the log of a run, as text",
	}, s.runLog)
}

func (s *Server) listRuns(ctx context.Context, in *runsInput) (*runsOutput, error) {
	who := bearer(ctx)
	f := lineage.RunFilter{Image: in.Image, Project: in.Project, State: in.State, Unfinished: in.Unfinished, Cursor: in.Cursor, Limit: in.Limit}
	if f.Project == "" && len(who.Projects) == 1 {
		f.Project = who.Projects[0]
	}
	runs, next, err := s.config.Store.Runs(ctx, f)
	if err != nil {
		return nil, err
	}
	runs = slices.DeleteFunc(runs, func(r lineage.Run) bool { return !speaksFor(who, r.Project) })
	return &runsOutput{Body: runsPage{Runs: runs, Next: next}}, nil
}

// visibleRun is a run that the token may see: that of another project is not
// found.
func (s *Server) visibleRun(ctx context.Context, id string) (lineage.Run, error) {
	run, err := s.config.Store.Run(ctx, id)
	if err == nil && !speaksFor(bearer(ctx), run.Project) {
		err = fmt.Errorf("run %s: %w", id, lineage.ErrNotFound)
	}
	return run, err
}

// ownRun is a run that the token may change.
func (s *Server) ownRun(ctx context.Context, id string) (lineage.Run, error) {
	run, err := s.config.Store.Run(ctx, id)
	if err == nil && !speaksFor(bearer(ctx), run.Project) {
		err = otherProject("run "+id, run.Project)
	}
	return run, err
}

func (s *Server) getRun(ctx context.Context, in *runPath) (*runOutput, error) {
	run, err := s.visibleRun(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.detail(run, http.StatusOK)
}

func (s *Server) detail(run lineage.Run, status int) (*runOutput, error) {
	if run.ImageUUID == "" && !run.Final() && (run.From == "" || run.From == stageBuild) {
		run.ImageUUID = run.ID
	}
	out := &runOutput{Status: status, Body: RunDetail{Run: run}}
	p, err := s.caps(run.Project)
	_, refused := errors.AsType[*definition.Refused](err)
	if _, away := errors.AsType[*lineage.Unavailable](err); refused || away {
		return out, nil // what there was stays readable; who has to know the caps asks for them
	}
	if err != nil {
		return nil, err
	}
	out.Body.Caps = capsOf(p, run.Ref)
	return out, nil
}

type cancelRequest struct {
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"why, for the record"`
}

type cancelInput struct {
	ID   string `path:"id" maxLength:"64" doc:"the run's id"`
	Body *cancelRequest
}

func (s *Server) cancelRun(ctx context.Context, in *cancelInput) (*runOutput, error) {
	run, err := s.ownRun(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	if err := s.config.Store.RequestCancel(ctx, run.ID, bearer(ctx).Name, reason); err != nil {
		return nil, err
	}
	if run, err = s.config.Store.Run(ctx, run.ID); err != nil {
		return nil, err
	}
	return s.detail(run, http.StatusOK)
}
