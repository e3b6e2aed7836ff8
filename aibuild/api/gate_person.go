package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// person decides about a record of a releaser or an administrator, who work
// from their own machine.
func (g *gate) person(ctx context.Context, r *lineage.Record) error {
	if g.who.Role == RoleReleaser {
		if err := releasing(r); err != nil {
			return err
		}
	}
	if r.Run != nil {
		return g.personRun(ctx, r)
	}
	if err := g.ofOwnRun(ctx, r); err != nil {
		return err
	}
	if r.Built != nil {
		if !speaksFor(g.who, r.Built.Project) {
			return otherProject("the image", r.Built.Project)
		}
		if err := lookAlike("built.image_name", r.Built.Name); err != nil {
			return err
		}
		if _, err := g.image(ctx, r.ImageUUID); err != nil {
			return err
		}
		g.made(r)
		return g.keepCapped(r, r.Built.Project, r.Built.Name, r.Built.Artifact.Ref)
	}
	return g.personImage(ctx, r)
}

// releasing is what a releaser decides: where images are shown, and which are
// withdrawn or held. The verb says what the record does: nobody writes into the
// audit that a run has ended, or an image was pruned, who may not do it.
func releasing(r *lineage.Record) error {
	var verbs []string
	m := r.Marked
	switch {
	case r.Released != nil:
		verbs = []string{
			lineage.VerbReleased, lineage.VerbRolled, lineage.VerbChecked, lineage.VerbRevoked, lineage.VerbRestored,
			lineage.VerbPruned, // what the definition no longer keeps in a cluster
		}
	case m != nil && m.Project == "" && len(m.Pruned) == 0:
		verbs = markVerbs(m)
	case m == nil && r.Run == nil && r.Built == nil && r.Tested == nil && r.Inventory == nil && r.Published == nil && r.ImageUUID != "":
		verbs = []string{lineage.VerbReleased, lineage.VerbRolled, lineage.VerbChecked, verbNoted}
	}
	if slices.Contains(verbs, r.Verb) {
		return nil
	}
	return &Problem{
		Status: http.StatusForbidden, Code: CodeForbidden,
		Detail: fmt.Sprintf("%q is not a releaser's to record: releases, rollbacks, revocations and holds are; builds, tests and publications are recorded by Jenkins builds (recorder), transfers and prunes by an administrator", r.Verb),
	}
}

// verbNoted is a remark on an image.
const verbNoted = "noted"

// markVerbs are the verbs that say what a mark does.
func markVerbs(m *lineage.Mark) []string {
	var verbs []string
	for _, v := range []struct {
		set      *bool
		on, away string
	}{{m.Revoked, lineage.VerbRevoked, lineage.VerbRestored}, {m.Held, lineage.VerbHeld, lineage.VerbUnheld}} {
		switch {
		case v.set == nil:
		case *v.set:
			verbs = append(verbs, v.on)
		default:
			verbs = append(verbs, v.away)
		}
	}
	return verbs
}

func (g *gate) personRun(ctx context.Context, r *lineage.Record) error {
	id := r.Run.ID
	if id == "" {
		id = r.RunID
	}
	run, err := g.run(ctx, id)
	if err != nil {
		return err
	}
	project, name, ref := r.Run.Project, r.Run.Image, r.Run.Ref
	if run != nil {
		project, name, ref = run.Project, run.Image, run.Ref
	}
	if !speaksFor(g.who, project) {
		return otherProject("run "+id, project)
	}
	if run == nil {
		if err := lookAlike("run.image_name", name); err != nil {
			return err
		}
		if err := g.retries(ctx, r.Run); err != nil {
			return err
		}
		opened := *r.Run
		opened.ID = id
		g.runs[id] = &opened
	}
	return g.keepCapped(r, project, name, ref)
}

func (g *gate) personImage(ctx context.Context, r *lineage.Record) error {
	if r.ImageUUID == "" { // an event of a run, or of nothing that has an owner
		g.keep(r)
		return nil
	}
	img, err := g.image(ctx, r.ImageUUID)
	if err != nil {
		return err
	}
	if img == nil {
		return fmt.Errorf("image %s: %w", r.ImageUUID, lineage.ErrNotFound)
	}
	if !speaksFor(g.who, img.project) {
		return otherProject("image "+r.ImageUUID, img.project)
	}
	if r.Marked != nil && r.Marked.Project != "" && !speaksFor(g.who, r.Marked.Project) {
		return otherProject("the name "+img.name+" after its transfer", r.Marked.Project)
	}
	return g.keepCapped(r, img.project, img.name, img.ref)
}

// ofOwnRun: a record is part of the history of the run that it names too.
func (g *gate) ofOwnRun(ctx context.Context, r *lineage.Record) error {
	if r.RunID == "" {
		return nil
	}
	run, err := g.run(ctx, r.RunID)
	if err == nil && run != nil && !speaksFor(g.who, run.Project) {
		err = otherProject("run "+run.ID, run.Project)
	}
	return err
}

func (g *gate) keepCapped(r *lineage.Record, project, name, ref string) error {
	if err := g.capped(r, project, name, ref); err != nil {
		return err
	}
	g.keep(r)
	return nil
}

// capped enforces what the server's configuration lets the project do: the
// names it may build, the refs that may go out, the clusters they may go to.
func (g *gate) capped(r *lineage.Record, project, name, ref string) error {
	p, err := g.s.capsFor(g.who, project)
	if err != nil {
		return err
	}
	// The visibility that was asked of the cloud is not part of a record.
	p.Visibilities = nil
	d := definition.Definition{Name: name}
	switch {
	case r.Built != nil, r.Run != nil:
		return p.CheckSettings(&d)
	case r.Published != nil:
		return p.Check(&d, ref)
	case r.Released != nil && (g.who.Role == RoleRecorder || shows(r.Released)):
		d.Release.Clusters = []string{r.Released.Cluster}
		return p.Check(&d, ref)
	}
	return nil
}

// shows says whether an image gets into a cluster. To hide, revoke or miss one
// is never refused, whatever the rules are by now.
func shows(t *lineage.Target) bool {
	return t.State == lineage.TargetUploading || t.State == lineage.TargetVisible || !t.ReleaseAt.IsZero()
}
