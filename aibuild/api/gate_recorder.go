package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// recorder decides about a record of a Jenkins build.
func (g *gate) recorder(ctx context.Context, r *lineage.Record) error {
	switch {
	case r.Marked != nil:
		return &Problem{Status: http.StatusForbidden, Code: CodeForbidden, Detail: "a recorder does not revoke, restore, hold, transfer or prune; that is a releaser's or an administrator's"}
	case !fits(r):
		return &lineage.Invalid{Field: "verb", Problem: fmt.Sprintf("%q does not say what this record holds", r.Verb)}
	case r.Run != nil:
		return g.recorderRun(ctx, r)
	}
	run, err := g.runOf(ctx, r)
	if err != nil {
		return err
	}
	if err := g.mayWrite(ctx, run); err != nil {
		return err
	}
	if r.ImageUUID == "" {
		r.RunID = run.ID // else it stays as it is journalled: that is how it is known again
	}
	if r.Built != nil {
		err = g.recorderBuilt(ctx, r, run)
	} else {
		err = g.recorderImage(ctx, r, run)
	}
	if err != nil {
		return err
	}
	if err := g.capped(r, run.Project, run.Image, run.Ref); err != nil {
		return err
	}
	if err := g.ownRef(ctx, r, run); err != nil {
		return err
	}
	g.keep(r)
	return nil
}

// fits says whether the verb says what the record does: the audit shows the
// verb, and nobody writes there that an image was revoked when it was not.
func fits(r *lineage.Record) bool {
	switch {
	case r.Run != nil:
		return slices.Contains([]string{lineage.VerbOpened, lineage.VerbMoved, lineage.VerbEnded}, r.Verb)
	case r.Built != nil:
		return r.Verb == lineage.VerbBuilt
	case r.Tested != nil:
		return r.Verb == lineage.VerbTested
	case r.Inventory != nil:
		return r.Verb == lineage.VerbListed
	case r.Published != nil:
		return r.Verb == lineage.VerbPublished
	case r.Released != nil:
		return slices.Contains([]string{lineage.VerbReleased, lineage.VerbChecked, lineage.VerbPruned}, r.Verb)
	}
	return r.Verb == verbNoted // every other one says that something was done
}

// mayWrite: of the token's projects, at work, and this build's.
func (g *gate) mayWrite(ctx context.Context, run *lineage.Run) error {
	if !speaksFor(g.who, run.Project) {
		return otherProject("run "+run.ID, run.Project)
	}
	if err := active(run); err != nil {
		return err
	}
	return g.bind(ctx, run)
}

// runOf finds the run that an image's record belongs to: the one that is
// named, else the one at work on that image, else the one that this build
// works on an image of the same name for, as when a release hides older ones.
func (g *gate) runOf(ctx context.Context, r *lineage.Record) (*lineage.Run, error) {
	id := r.RunID
	if id == "" {
		id = g.runID
	}
	if id == "" && r.Built != nil {
		id = r.ImageUUID
	}
	if id != "" {
		run, err := g.run(ctx, id)
		if err == nil && run == nil {
			err = fmt.Errorf("run %s: %w; open it first", id, lineage.ErrNotFound)
		}
		return run, err
	}
	if r.ImageUUID == "" {
		return nil, &lineage.Invalid{Field: "run_id", Problem: "is missing: a recorder writes to a run"}
	}
	img, err := g.image(ctx, r.ImageUUID)
	if err != nil {
		return nil, err
	}
	if img == nil {
		return nil, fmt.Errorf("image %s: %w", r.ImageUUID, lineage.ErrNotFound)
	}
	return g.runAtWork(ctx, r.ImageUUID, img)
}

func (g *gate) runAtWork(ctx context.Context, image string, img *picture) (*lineage.Run, error) {
	runs, err := g.s.config.Store.ActiveRuns(ctx, "", "", img.name)
	if err != nil {
		return nil, err
	}
	for i := range runs { // as the batch sees them
		if seen := g.runs[runs[i].ID]; seen != nil {
			runs[i] = *seen
		}
	}
	for id, run := range g.runs {
		if run != nil && run.Image == img.name && !slices.ContainsFunc(runs, func(r lineage.Run) bool { return r.ID == id }) {
			runs = append(runs, *run)
		}
	}
	runs = slices.DeleteFunc(runs, func(r lineage.Run) bool { return !isActive(&r) || !speaksFor(g.who, r.Project) })
	best := slices.IndexFunc(runs, func(r lineage.Run) bool { return r.ID == image || r.ImageUUID == image })
	if best < 0 {
		best = slices.IndexFunc(runs, func(r lineage.Run) bool { return r.Build != 0 && g.build.is(&r) })
	}
	if best < 0 {
		return nil, &lineage.Conflict{ID: image, Problem: "no run of " + img.name + " is at work on this image, in a project of this token"}
	}
	return g.run(ctx, runs[best].ID)
}

// recorderRun opens a run or moves one.
func (g *gate) recorderRun(ctx context.Context, r *lineage.Record) error {
	id := r.Run.ID
	if id == "" {
		id = r.RunID
	}
	run, err := g.run(ctx, id)
	if err != nil {
		return err
	}
	if run == nil {
		return g.recorderOpens(ctx, r, id)
	}
	if err := g.mayWrite(ctx, run); err != nil {
		return err
	}
	if r.Run.Build != 0 && r.Run.Build != g.build.Number {
		return otherBuild(run, buildOf(r.Run))
	}
	if err := forward(run, r.Run.State); err != nil {
		return err
	}
	if err := g.worksOn(ctx, r, run); err != nil {
		return err
	}
	// Where it runs is known by now: from the daemon, or from the binding.
	r.Run.JenkinsJob, r.Run.Build, r.Run.BuildURL, r.Run.BuildTag, r.Run.QueueID = "", 0, "", "", 0
	g.moved(run, r.Run)
	g.keep(r)
	return nil
}

// forward: a recorder says that its build is at work, or how it ended.
func forward(run *lineage.Run, state string) error {
	switch state {
	case "", lineage.RunBuilding, lineage.RunSuccess, lineage.RunUnstable, lineage.RunFailure, lineage.RunAborted, lineage.RunNotBuilt, lineage.RunCancelled:
		return nil
	}
	return &lineage.Conflict{ID: run.ID, Problem: "is " + run.State + "; a recorder cannot make it " + state}
}

// worksOn: a run makes the image that has its own id, or works on one of the
// same name.
func (g *gate) worksOn(ctx context.Context, r *lineage.Record, run *lineage.Run) error {
	image := r.Run.ImageUUID
	if image == "" {
		image = r.ImageUUID
	}
	if image == "" || image == run.ID || image == run.ImageUUID {
		return nil
	}
	return g.sameName(ctx, image, run)
}

func (g *gate) sameName(ctx context.Context, image string, run *lineage.Run) error {
	img, err := g.image(ctx, image)
	switch {
	case err != nil:
		return err
	case img == nil:
		return fmt.Errorf("image %s: %w", image, lineage.ErrNotFound)
	case img.project != "" && !speaksFor(g.who, img.project):
		return otherProject("image "+image, img.project)
	case img.name != run.Image || img.project != "" && img.project != run.Project:
		return &lineage.Conflict{ID: image, Problem: fmt.Sprintf("is an image of %s; run %s is for %s", img.name, run.ID, run.Image)}
	}
	return nil
}

// moved keeps what the rest of the batch has to see.
func (g *gate) moved(run, to *lineage.Run) {
	if to.State != "" {
		run.State = to.State
	}
	if run.ImageUUID == "" {
		run.ImageUUID = to.ImageUUID
	}
}

// recorderOpens: a Jenkins build that names itself may open a run.
func (g *gate) recorderOpens(ctx context.Context, r *lineage.Record, id string) error {
	run := r.Run
	if g.build.Number == 0 || g.build.Job == "" {
		return &lineage.Invalid{Field: "build", Problem: "is missing: run " + id + " is not open, and only a Jenkins build that names itself, by job and number, opens one"}
	}
	if run.State != "" && run.State != lineage.RunBuilding {
		return &lineage.Conflict{ID: id, Problem: "is not open; a Jenkins build opens a run as building, not as " + run.State}
	}
	if err := g.retries(ctx, run); err != nil {
		return err
	}
	if err := g.sameRef(run); err != nil {
		return err
	}
	if !speaksFor(g.who, run.Project) {
		return otherProject("the new run "+id, run.Project)
	}
	if err := lookAlike("run.image_name", run.Image); err != nil {
		return err
	}
	opened := *run
	opened.ID, opened.State = id, lineage.RunBuilding
	if err := g.worksOn(ctx, r, &opened); err != nil {
		return err
	}
	if err := g.unused(ctx, id, &opened); err != nil {
		return err
	}
	if err := g.capped(r, run.Project, run.Image, run.Ref); err != nil {
		return err
	}
	build := g.build
	var err error
	if build.Job, err = g.jobFor(run.Project); err != nil {
		return err
	}
	if err := g.likeItsBuild(ctx, build, &opened); err != nil {
		return err
	}
	build.mark(&opened)
	opened.Actor, opened.Channel, opened.QueueID = "", "", 0 // OpenRun says them
	open := *r
	open.Run = &opened
	g.opens = append(g.opens, open)
	seen := opened
	g.runs[id], g.bound[id] = &seen, true
	// The record itself is kept too, by its own id, so that its repetition is
	// known when the run has ended.
	r.Run = &lineage.Run{ID: id, State: lineage.RunBuilding}
	g.keep(r)
	return nil
}

// unused: the image that has the new run's id, if there is one, is of its name.
func (g *gate) unused(ctx context.Context, id string, run *lineage.Run) error {
	img, err := g.image(ctx, id)
	if err != nil || img == nil {
		return err
	}
	return g.sameName(ctx, id, run)
}

// retries takes over what a retry leaves open, and keeps it in the project.
func (g *gate) retries(ctx context.Context, run *lineage.Run) error {
	if run.RetryOf == "" {
		return nil
	}
	old, err := g.run(ctx, run.RetryOf)
	if err != nil {
		return err
	}
	if old == nil {
		return fmt.Errorf("run %s: %w; leave retry_of out", run.RetryOf, lineage.ErrNotFound)
	}
	if !speaksFor(g.who, old.Project) {
		return otherProject("run "+old.ID, old.Project)
	}
	if run.Image == "" {
		run.Image = old.Image
	}
	if run.Project == "" {
		run.Project = old.Project
	}
	if run.Image != old.Image || run.Project != old.Project {
		return &lineage.Conflict{ID: run.RetryOf, Problem: fmt.Sprintf("is a run of %s of %s; a retry is of the same image", old.Image, old.Project)}
	}
	if run.Ref == "" {
		run.Ref = old.Ref
	}
	return nil
}

// recorderBuilt: a run makes one image, which has its name, project and ref.
func (g *gate) recorderBuilt(ctx context.Context, r *lineage.Record, run *lineage.Run) error {
	b := r.Built
	if r.ImageUUID == "" {
		r.ImageUUID = run.ID
	}
	if b.Project == "" {
		b.Project = run.Project
	}
	switch {
	case r.ImageUUID != run.ID && r.ImageUUID != run.ImageUUID:
		return &lineage.Conflict{ID: r.ImageUUID, Problem: "is not the image of run " + run.ID + ", which has the run's own id"}
	case b.Name != run.Image:
		return &lineage.Conflict{ID: run.ID, Problem: "is a run for " + run.Image + ", not for " + b.Name}
	case b.Project != run.Project:
		return otherProject("an image", b.Project)
	case b.Artifact.Ref != "" && run.Ref != "" && fullRef(b.Artifact.Ref) != fullRef(run.Ref):
		return &lineage.Conflict{ID: run.ID, Problem: "is a run of " + run.Ref + "; the image says it was built from " + b.Artifact.Ref}
	}
	if err := lookAlike("built.image_name", b.Name); err != nil {
		return err
	}
	// What is known of the image already is decided by the store: it has these
	// bytes, or the record contradicts.
	if _, err := g.image(ctx, r.ImageUUID); err != nil {
		return err
	}
	g.made(r)
	return nil
}

// recorderImage: of the run's name only.
func (g *gate) recorderImage(ctx context.Context, r *lineage.Record, run *lineage.Run) error {
	if r.ImageUUID == "" {
		return nil // an event of the run; the store refuses a payload without an image
	}
	return g.sameName(ctx, r.ImageUUID, run)
}
