package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// RetryOptions say where a retry starts.
type RetryOptions struct {
	RunID  string `json:"run_id,omitempty" maxLength:"36" doc:"a UUIDv7 for the new run, so that the request may be repeated"`
	From   string `json:"from,omitempty" enum:"build,test,publish,release" doc:"first stage; absent: the one that the run ended in"`
	Reason string `json:"reason,omitempty" maxLength:"1000" doc:"why, for the record"`
}

type retryInput struct {
	ID   string `path:"id" maxLength:"64" doc:"the run's id"`
	Body *RetryOptions
}

func (s *Server) retryRun(ctx context.Context, in *retryInput) (*runOutput, error) {
	old, err := s.ownRun(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	o := RetryOptions{}
	if in.Body != nil {
		o = *in.Body
	}
	if o.RunID == "" {
		o.RunID = newID()
	} else if made, err := s.retried(ctx, o.RunID, old); made != nil || err != nil {
		return made, err
	}
	run, err := PlanRetry(ctx, s.config.Store, s.caps, old, o)
	if err != nil {
		return nil, err
	}
	run, err = s.config.Store.OpenRun(ctx, run, bearer(ctx).Name, lineage.ChannelAPI, run.Reason)
	if err != nil {
		return nil, err
	}
	return s.detail(run, http.StatusCreated)
}

// retried answers a request that was repeated.
func (s *Server) retried(ctx context.Context, id string, old lineage.Run) (*runOutput, error) {
	if err := checkRunID(id); err != nil {
		return nil, err
	}
	run, err := s.ownRun(ctx, id)
	switch {
	case errors.Is(err, lineage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case run.RetryOf != old.ID:
		return nil, &lineage.Conflict{ID: id, Problem: "is not a retry of run " + old.ID}
	}
	return s.detail(run, http.StatusOK)
}

// PlanRetry says what the next attempt of a run that has ended is, for everybody
// who opens one in the store: it starts with the stage that the run came to, on
// the image that there is, unless o.From names another. policy gives what a
// project may do.
func PlanRetry(ctx context.Context, store *lineage.Store, policy func(project string) (definition.Policy, error), old lineage.Run, o RetryOptions) (lineage.Run, error) {
	if !old.Final() {
		return lineage.Run{}, &lineage.Conflict{ID: old.ID, Problem: "is " + old.State + "; cancel it first, or wait for its end"}
	}
	if old.Project == "" || old.Commit == "" {
		return lineage.Run{}, &lineage.Conflict{ID: old.ID, Problem: "has no project or no commit that Jenkins could build; retry it where it was started"}
	}
	run := lineage.Run{
		ID: cmp.Or(o.RunID, newID()), Image: old.Image, Project: old.Project, Ref: fullRef(old.Ref), Commit: old.Commit, Folder: old.Folder,
		RetryOf: old.ID, From: o.From, Reason: o.Reason, State: lineage.RunReceived,
	}
	if err := retryWhere(ctx, store, &run, old); err != nil {
		return lineage.Run{}, err
	}
	p, err := policy(run.Project)
	if err != nil {
		return lineage.Run{}, err
	}
	if err := retryFrom(&run, old, p.MayRelease(run.Ref)); err != nil {
		return lineage.Run{}, err
	}
	return run, mayStart(p, run)
}

// retryWhere finds the folder of the definition for what was not opened by a
// push.
func retryWhere(ctx context.Context, store *lineage.Store, run *lineage.Run, old lineage.Run) error {
	if inRepository(old) {
		return nil
	}
	run.Folder = ""
	err := likeLast(ctx, store, run)
	if _, unknown := errors.AsType[*lineage.Invalid](err); unknown {
		return &lineage.Conflict{ID: old.ID, Problem: "was opened where it was built, and no push says where its definition is; build it again there"}
	}
	return err
}

// retryFrom chooses the first stage: nothing that succeeded is repeated unless
// it is asked for. Of a ref that may not release the last stage is the test.
func retryFrom(run *lineage.Run, old lineage.Run, mayRelease bool) error {
	later := []string{stageTest, stagePublish, stageRelease}
	if run.From == "" {
		run.From = stageBuild
		// A run that ended before its build began came to no stage.
		if reached := cmp.Or(old.Stage, old.From); old.ImageUUID != "" && slices.Contains(later, reached) {
			run.From = reached
			if !mayRelease {
				run.From = stageTest
			}
		}
	}
	switch {
	case run.From == stageBuild:
		return nil
	case !slices.Contains(later, run.From):
		return &lineage.Invalid{Field: "from", Problem: fmt.Sprintf("%q is no stage; stages are build, test, publish and release", run.From)}
	case old.ImageUUID == "":
		return &lineage.Conflict{ID: old.ID, Problem: "made no image; retry it from the build"}
	}
	run.ImageUUID = old.ImageUUID
	return nil
}
