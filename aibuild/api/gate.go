package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// gate decides whether a batch of records may be written by a token. It knows
// what the records before in the batch have made, so that a journal that could
// not be delivered for a while passes as a whole.
type gate struct {
	s     *Server
	who   lineage.Token
	build Build  // that a recorder speaks for; Number 0 = none was named
	runID string // that records without one belong to
	now   time.Time

	runs   map[string]*lineage.Run // nil: looked for, not there
	images map[string]*picture     // nil: looked for, not there
	bound  map[string]bool         // runs that are this build's for sure

	opens []lineage.Record // runs that are opened, for the daemon to follow
	out   []lineage.Record // what is recorded then
}

// picture is what the gate has to know of an image.
type picture struct{ name, project, ref string }

func (s *Server) newGate(who lineage.Token, b recordBatch) *gate {
	g := &gate{
		s: s, who: who, runID: b.RunID, now: s.now().UTC(),
		runs: map[string]*lineage.Run{}, images: map[string]*picture{}, bound: map[string]bool{},
	}
	if b.Build != nil {
		g.build = *b.Build
		return g
	}
	for _, r := range b.Records { // a run's record may name its build itself
		if r.Run != nil && r.Run.Build != 0 {
			g.build = buildOf(r.Run)
			break
		}
	}
	return g
}

// pass decides about one record and, when it may be written, keeps it in out.
func (g *gate) pass(ctx context.Context, r lineage.Record) error {
	id, err := uuid.Parse(r.ID)
	switch {
	case err != nil || id.String() != r.ID:
		return &lineage.Invalid{Field: "id", Problem: fmt.Sprintf("%q is not a lower-case uuid", r.ID)}
	case id.Version() == 5:
		return &lineage.Invalid{Field: "id", Problem: "is a version 5 uuid, which are the server's own; use version 7"}
	}
	r = g.stamp(r)
	if g.who.Role == RoleRecorder {
		return g.recorder(ctx, &r)
	}
	return g.person(ctx, &r)
}

func (g *gate) keep(r *lineage.Record) { g.out = append(g.out, *r) }

// actorBuild begins the actor of what a Jenkins build did.
const actorBuild = "jenkins:"

// stamp makes the record say who it was, whatever it says itself: the channel
// decides who may end a run. Nothing happened after it was told.
func (g *gate) stamp(r lineage.Record) lineage.Record {
	claimed := r.Actor
	if g.who.Role == RoleRecorder {
		r.Channel = channelJenkins
		r.Actor = fmt.Sprintf("%s%s#%d (%s)", actorBuild, g.build.Job, g.build.Number, g.who.Name)
	} else {
		if r.Channel != "cli" && r.Channel != "library" {
			r.Channel = "library"
		}
		r.Actor = g.who.Name
		if claimed != "" && claimed != g.who.Name {
			r.Actor += " (" + claimed + ")"
		}
	}
	g.past(&r.At)
	if r.Run != nil {
		run := *r.Run
		run.Actor, run.Channel = r.Actor, r.Channel
		// A push is the daemon's to tell, and the rest is given by the store.
		run.HeadSeq, run.Attempt, run.Managed, run.Event, run.CancelBy, run.CancelReason = 0, 0, false, 0, "", ""
		g.past(&run.OpenedAt, &run.StartedAt, &run.FinishedAt)
		r.Run = &run
	}
	if r.Built != nil {
		b := *r.Built
		g.past(&b.BuiltAt)
		r.Built = &b
	}
	if r.Tested != nil {
		t := *r.Tested
		g.past(&t.TestedAt)
		r.Tested = &t
	}
	if r.Released != nil {
		t := *r.Released
		g.past(&t.ReleaseAt, &t.CheckedAt)
		r.Released = &t
	}
	return r
}

func (g *gate) past(times ...*time.Time) {
	for _, t := range times {
		if t.After(g.now) {
			*t = g.now
		}
	}
}

// run looks a run up; nil when it is not open.
func (g *gate) run(ctx context.Context, id string) (*lineage.Run, error) {
	if r, known := g.runs[id]; known {
		return r, nil
	}
	r, err := g.s.config.Store.Run(ctx, id)
	switch {
	case errors.Is(err, lineage.ErrNotFound):
		g.runs[id] = nil
	case err != nil:
		return nil, err
	default:
		g.runs[id] = &r
	}
	return g.runs[id], nil
}

// image looks an image up by its uuid and nothing else; nil when there is none.
func (g *gate) image(ctx context.Context, id string) (*picture, error) {
	if p, known := g.images[id]; known {
		return p, nil
	}
	found, err := g.s.config.Store.Resolve(ctx, lineage.Query{Ref: id})
	_, ambiguous := errors.AsType[*lineage.Ambiguous](err)
	switch {
	case errors.Is(err, lineage.ErrNotFound), ambiguous:
		g.images[id] = nil
	case err != nil:
		return nil, err
	case found[0].UUID != id:
		g.images[id] = nil
	default:
		p := &picture{name: found[0].Name, project: found[0].Project}
		if a := found[0].Artifact; a != nil {
			p.ref = a.Ref
		}
		g.images[id] = p
	}
	return g.images[id], nil
}

// made notes the image that a record makes.
func (g *gate) made(r *lineage.Record) {
	id := r.ImageUUID
	if id == "" {
		id = r.RunID
	}
	if g.images[id] == nil {
		g.images[id] = &picture{name: r.Built.Name, project: r.Built.Project, ref: r.Built.Artifact.Ref}
	}
}

// lookAlike refuses image names that look like a uuid: they would hide the
// image that has it.
func lookAlike(field, name string) error {
	if _, err := uuid.Parse(name); err == nil {
		return &lineage.Invalid{Field: field, Problem: "looks like a uuid; choose a name that people can tell from one"}
	}
	return nil
}

// isActive says whether Jenkins is or will be at work on a run.
func isActive(r *lineage.Run) bool {
	return slices.Contains([]string{lineage.RunTriggering, lineage.RunJenkinsQueue, lineage.RunBuilding}, r.State)
}

// active says what keeps a recorder from writing to a run.
func active(r *lineage.Run) error {
	switch {
	case isActive(r):
		return nil
	case r.Final():
		return &lineage.Conflict{ID: r.ID, Problem: "has ended as " + r.State + "; nothing is recorded of it any more"}
	}
	return &lineage.Conflict{ID: r.ID, Problem: "is " + r.State + ": no Jenkins build was started for it yet"}
}

// bind makes sure that a run is this build's, and binds it to it when it is
// nobody's yet.
func (g *gate) bind(ctx context.Context, r *lineage.Run) error {
	if g.bound[r.ID] {
		return nil
	}
	if g.build.Number == 0 {
		return &lineage.Invalid{Field: "build", Problem: "is missing: a recorder names the Jenkins build that it speaks for, by job and number"}
	}
	if r.Build != 0 && !g.build.is(r) {
		return otherBuild(r, g.build)
	}
	if !g.build.sameJob(r) {
		return &lineage.Conflict{ID: r.ID, Problem: fmt.Sprintf("is a run of job %s, not of %s", r.JenkinsJob, g.build.Job)}
	}
	if r.Build != 0 {
		g.bound[r.ID] = true
		return nil
	}
	build := g.build
	var err error
	if build.Job = r.JenkinsJob; build.Job == "" { // else the daemon has chosen it
		build.Job, err = g.jobFor(r.Project)
	}
	if err == nil {
		err = g.likeItsBuild(ctx, build, r)
	}
	if err != nil {
		return err
	}
	g.bound[r.ID] = true
	mark := lineage.Run{ID: r.ID}
	build.mark(&mark)
	build.mark(r)
	g.out = append(g.out, g.stamp(lineage.Record{
		ID: newID(), At: g.now, RunID: r.ID, Verb: verbBound, Reason: fmt.Sprintf("build %d of %s", g.build.Number, g.build.Job), Run: &mark,
	}))
	return nil
}

// verbBound: a run has got its build. The store lets no second one have it.
const verbBound = "bound"

func otherBuild(r *lineage.Run, b Build) error {
	return &lineage.Conflict{ID: r.ID, Problem: fmt.Sprintf("belongs to build %d of %s; this is build %d of %s: it opens a run of its own, with retry_of", r.Build, r.JenkinsJob, b.Number, b.Job)}
}
