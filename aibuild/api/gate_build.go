package api

import (
	"context"
	"fmt"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// ruleJob is the rule that a project is built by its own Jenkins job.
const ruleJob = "jenkins.job"

// jobFor is the job that the build is of, as the configuration spells it: the
// daemon reads a build's console, and stops it, with its own account at Jenkins,
// so that a recorder must not name the build of any job that there is.
func (g *gate) jobFor(project string) (string, error) {
	if g.s.config.Job == nil {
		return g.build.Job, nil
	}
	job := g.s.config.Job(project)
	if job != "" && (g.build.Job == "" || jobPath(job) == jobPath(g.build.Job)) {
		return job, nil
	}
	r := &definition.Refused{Project: project, Rule: ruleJob, Asked: "a build of the Jenkins job " + g.build.Job, Allowed: job}
	if job == "" {
		r.Allowed = "none, as no job is configured"
	}
	return "", r
}

// likeItsBuild: a build has one checkout, so that all its runs are of one
// project and one ref. Else a build of a branch could open a run of another
// one, which may release. What the run does not say is taken from the others.
func (g *gate) likeItsBuild(ctx context.Context, build Build, run *lineage.Run) error {
	others, err := g.runsOf(ctx, build)
	if err != nil {
		return err
	}
	for _, r := range others {
		switch {
		case r.ID == run.ID:
		case r.Project != run.Project:
			return &lineage.Conflict{ID: run.ID, Problem: fmt.Sprintf("is a run of %s; build %d of %s is at work on run %s of %s", run.Project, build.Number, build.Job, r.ID, r.Project)}
		case run.Ref == "":
			run.Ref = r.Ref
		case r.Ref != "" && fullRef(r.Ref) != fullRef(run.Ref):
			return &lineage.Conflict{ID: run.ID, Problem: fmt.Sprintf("is a run of %s; build %d of %s is at work on run %s of %s", run.Ref, build.Number, build.Job, r.ID, r.Ref)}
		}
	}
	return nil
}

// runsOf are the unfinished runs that a build has already, those of the
// batch too.
func (g *gate) runsOf(ctx context.Context, build Build) ([]lineage.Run, error) {
	projects := g.who.Projects
	if len(projects) == 0 {
		projects = []string{""} // any
	}
	var all []lineage.Run
	for _, p := range projects {
		runs, err := g.s.config.Store.ActiveRuns(ctx, p, "", "")
		if err != nil {
			return nil, err
		}
		all = append(all, runs...)
	}
	for _, r := range g.runs {
		if r != nil {
			all = append(all, *r)
		}
	}
	var mine []lineage.Run
	for _, r := range all {
		if r.Build != 0 && r.JenkinsJob != "" && build.is(&r) {
			mine = append(mine, r)
		}
	}
	return mine, nil
}

// sameRef: a retry is of its run's ref, else a branch could be called by the
// name of one that may release.
func (g *gate) sameRef(run *lineage.Run) error {
	old := g.runs[run.RetryOf]
	if old == nil || old.Ref == "" || fullRef(old.Ref) == fullRef(run.Ref) {
		return nil
	}
	return &lineage.Conflict{ID: run.RetryOf, Problem: fmt.Sprintf("is a run of %s; a retry is of the same ref, not of %s", old.Ref, run.Ref)}
}

// ownRef: what goes out is an image of a ref that may, whatever ref the run is
// of that takes it out.
func (g *gate) ownRef(ctx context.Context, r *lineage.Record, run *lineage.Run) error {
	if r.ImageUUID == "" || r.Published == nil && (r.Released == nil || !shows(r.Released)) {
		return nil
	}
	img, err := g.image(ctx, r.ImageUUID)
	if err != nil || img == nil || img.ref == "" {
		return err
	}
	return g.capped(r, run.Project, run.Image, img.ref)
}
