package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// openForBuild gives a Jenkins build its run: the one that it has, the one
// that it was started for, or a new one.
func (s *Server) openForBuild(ctx context.Context, who lineage.Token, n NewRun) (*runOutput, error) {
	if n.Build == nil {
		return nil, &lineage.Invalid{Field: "build", Problem: "is missing: a recorder opens a run for the Jenkins build that it is, by job and number"}
	}
	run, status, err := s.oneForBuild(ctx, who, n)
	if err != nil {
		return nil, err
	}
	return s.detail(*run, status)
}

// oneForBuild is openForBuild one after the other for each build.
func (s *Server) oneForBuild(ctx context.Context, who lineage.Token, n NewRun) (*lineage.Run, int, error) {
	done, err := s.opening.begin(ctx, *n.Build)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if n.RunID == "" {
		run, err := s.runOfBuild(ctx, who, n)
		if err != nil || run != nil {
			return run, http.StatusOK, err
		}
		return s.openNew(ctx, who, n, "")
	}
	run, err := s.config.Store.Run(ctx, n.RunID)
	if errors.Is(err, lineage.ErrNotFound) {
		return s.openNew(ctx, who, n, "")
	}
	if err != nil {
		return nil, 0, err
	}
	switch {
	case !speaksFor(who, run.Project):
		return nil, 0, otherProject("run "+run.ID, run.Project)
	case run.Image != n.Image:
		return nil, 0, &lineage.Conflict{ID: run.ID, Problem: "is a run for " + run.Image + ", not for " + n.Image}
	case run.Build != 0 && n.Build.is(&run):
		return &run, http.StatusOK, nil // the same build resumes, whatever became of the run
	case run.Build == 0 && !run.Final():
		return s.takeUp(ctx, who, n, run)
	}
	n.RunID = ""
	if again, err := s.runOfBuild(ctx, who, n); err != nil || again != nil {
		return again, http.StatusOK, err
	}
	return s.openNew(ctx, who, n, run.ID)
}

// runOfBuild finds the unfinished run that a build has opened before.
func (s *Server) runOfBuild(ctx context.Context, who lineage.Token, n NewRun) (*lineage.Run, error) {
	runs, err := s.config.Store.ActiveRuns(ctx, "", "", n.Image)
	if err != nil {
		return nil, err
	}
	for _, r := range runs {
		if r.Build != 0 && n.Build.is(&r) && r.BuildTag == n.Build.Tag && speaksFor(who, r.Project) {
			return &r, nil
		}
	}
	return nil, nil
}

// takeUp: the build is the one that the run was started for.
func (s *Server) takeUp(ctx context.Context, who lineage.Token, n NewRun, run lineage.Run) (*lineage.Run, int, error) {
	return s.recordRun(ctx, who, n, lineage.Record{
		RunID: run.ID, Verb: lineage.VerbMoved, Reason: n.Reason,
		Run: &lineage.Run{ID: run.ID, State: lineage.RunBuilding},
	}, http.StatusOK)
}

// openNew opens a run that is building already.
func (s *Server) openNew(ctx context.Context, who lineage.Token, n NewRun, retryOf string) (*lineage.Run, int, error) {
	id := n.RunID
	if id == "" {
		id = newID()
	}
	project := n.Project
	if project == "" && len(who.Projects) == 1 {
		project = who.Projects[0]
	}
	return s.recordRun(ctx, who, n, lineage.Record{
		RunID: id, Verb: lineage.VerbOpened, Reason: n.Reason,
		Run: &lineage.Run{
			ID: id, Image: n.Image, ImageUUID: n.ImageUUID, Project: project, Ref: fullRef(n.Ref), Commit: n.Commit, Folder: n.Folder,
			From: n.From, RetryOf: retryOf, State: lineage.RunBuilding, OpenedAt: s.now(), StartedAt: s.now(),
		},
	}, http.StatusCreated)
}

// recordRun goes the way of any recorder's record.
func (s *Server) recordRun(ctx context.Context, who lineage.Token, n NewRun, r lineage.Record, status int) (*lineage.Run, int, error) {
	r.ID, r.At = newID(), s.now()
	g := s.newGate(who, recordBatch{Build: n.Build})
	if err := g.pass(ctx, r); err != nil {
		return nil, 0, err
	}
	if len(g.opens) > 0 {
		g.out = nil // the opening says it all
	}
	if err := g.write(ctx); err != nil {
		return nil, 0, err
	}
	run, err := s.config.Store.Run(ctx, r.RunID)
	if err != nil {
		return nil, 0, err
	}
	return &run, status, nil
}
