package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

var stages = []string{StageBuild, StageTest, StagePublish, StageRelease}

// RunOptions say what to take through the stages.
type RunOptions struct {
	Build BuildOptions
	Test  TestOptions
	// From begins at a later stage, with the newest good image that was built from
	// the same build settings; where there is none, it is built. Tests and release
	// are those of the definition in Build.Dir. Empty: build.
	From string
	// Image is the uuid of the image that a later stage works on, whichever is the
	// newest: another one is never taken for it, nor is it built again.
	Image    string
	Clusters []string // empty: those of the definition
}

// run is one attempt of one image to get through the stages.
type run struct {
	p       *Pipeline
	id      string
	at      time.Time // see runTime
	def     *checkout
	records []lineage.Record // recorded before there was a manifest
	made    *Image           // the image, where this run has made it before
	dir     string           // of the definition, as it was named
	done    func()           // removes the sign that this process works on the run
}

// begin reads the definition, checks it against the policy and opens a run.
func (p *Pipeline) begin(ctx context.Context, o BuildOptions) (*run, error) {
	def, err := p.open(ctx, o.Dir)
	if err != nil {
		return nil, err
	}
	policy, err := p.policy(p.project(def))
	if err != nil {
		return nil, err
	}
	if err := policy.CheckSettings(def.Definition); err != nil {
		return nil, err
	}
	r := &run{p: p, id: o.RunID, def: def, dir: o.Dir, done: func() {}}
	if r.id == "" {
		if r.id, err = newRunID(); err != nil {
			return nil, err
		}
	}
	id, err := uuid.Parse(r.id)
	if err != nil {
		return nil, &lineage.Invalid{Field: "run id", Problem: fmt.Sprintf("%q is not a UUID", r.id)}
	}
	r.at = runTime(id, p.now())
	made, err := p.load(ctx, def.Name, r.id)
	switch {
	case err == nil:
		r.made = made
		return r, nil
	case !errors.Is(err, publish.ErrNotFound):
		return nil, err
	}
	r.records = []lineage.Record{{
		RunID: r.id, Verb: lineage.VerbOpened,
		Run: &lineage.Run{
			ID: r.id, Image: def.Name, Project: p.project(def), Ref: p.ref(def), Commit: def.rev.Commit,
			Folder: filepath.Base(def.dir), RetryOf: o.RetryOf, State: lineage.RunBuilding, Stage: StageBuild,
			Actor: p.actor(), Channel: p.channel(), Worker: worker(), OpenedAt: p.now(), StartedAt: p.now(),
		},
	}}
	if o.opened {
		r.records = moved(r.id, "", StageBuild)
	}
	if err := r.claim(r.records); err != nil {
		return nil, err
	}
	if err := p.recordRun(ctx, r.records...); err != nil {
		r.done()
		return nil, err
	}
	return r, nil
}

// claim leaves a sign on this machine that this process works on the run: when
// it is killed, Sweep finds the sign and ends the run as lost. The sign holds
// what opens the run, as the process may be killed before that is recorded.
func (r *run) claim(opened []lineage.Record) error {
	if err := r.p.stamp(opened); err != nil {
		return err
	}
	sign, err := json.Marshal(opened)
	if err != nil {
		return err
	}
	dir, done, err := r.p.work(r.id, "run")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, runMark), sign, 0o600); err != nil {
		done()
		return err
	}
	r.done = done
	return nil
}

// end records how the run ended, and gives the error its final form.
func (r *run) end(ctx context.Context, img *Image, stage string, err error) error {
	defer r.done()
	p := r.p
	state, code := lineage.RunSuccess, 0
	var failed *Error
	if err != nil {
		failed = r.fail(img, stage, err)
		code = failed.Code
		state = endState(failed)
	}
	final := lineage.Run{ID: r.id, Stage: stage, State: state, ExitCode: &code, FinishedAt: p.now()}
	if img != nil {
		final.ImageUUID = img.UUID
	}
	if failed != nil {
		final.Failure, final.Reason = &failed.Failure, short(failed.Err.Error())
	}
	record := lineage.Record{RunID: r.id, Verb: lineage.VerbEnded, Reason: final.Reason, Run: &final}
	recErr := p.recordEnd(ctx, img, record)
	var conflict *lineage.Conflict
	if errors.As(recErr, &conflict) {
		recErr = nil // the run had ended before: its end stays as it is
	}
	switch {
	case failed != nil && recErr != nil:
		failed.Err = fmt.Errorf("%w (and its end was not recorded: %w)", failed.Err, recErr)
		return failed
	case failed != nil:
		return failed
	case recErr != nil:
		return fail(stage, recErr, "aibuild db status")
	}
	return nil
}

func (p *Pipeline) recordEnd(ctx context.Context, img *Image, record lineage.Record) error {
	if img == nil || len(img.Records) == 0 {
		return p.recordRun(ctx, record)
	}
	return p.recordLocked(ctx, img, record)
}

// fail says how to go on: from the stored image when there is one.
func (r *run) fail(img *Image, stage string, err error) *Error {
	if img != nil && stage != StageBuild {
		return fail(stage, err, "aibuild retry "+img.UUID+" --from "+stage)
	}
	return fail(stage, err, "aibuild retry "+r.id+" "+r.dir)
}

func endState(e *Error) string {
	switch {
	case e.Code == CodeCancelled:
		return lineage.RunCancelled
	case e.Code == CodeImage && e.Stage == StageTest:
		return lineage.RunUnstable
	default:
		return lineage.RunFailure
	}
}

// short fits a reason into its column.
func short(text string) string {
	const most = 1000
	text = strings.ToValidUTF8(text, "?")
	r := []rune(text)
	if len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}

// Run builds, tests, publishes and, where clusters are asked for, releases an
// image. The image is also returned when a stage after the build failed: it is
// kept, and Retry goes on from there.
func (p *Pipeline) Run(ctx context.Context, o RunOptions) (*Image, error) {
	if o.From != "" && o.From != StageBuild {
		img, err := p.resume(ctx, o)
		if img != nil || err != nil {
			return img, err
		}
		p.say(StageBuild, nil, "no good image was built from these settings: it is built")
	}
	r, err := p.begin(ctx, o.Build)
	if err != nil {
		return nil, fail(StageBuild, err, "aibuild validate "+o.Build.Dir)
	}
	img, err := p.build(ctx, r)
	if err != nil {
		return nil, r.end(ctx, nil, StageBuild, err)
	}
	stage, err := p.proceed(ctx, r, img, StageTest, o)
	return img, r.end(ctx, img, stage, err)
}

// resume is a run that begins after the build. Without a fitting image it gives
// nothing.
func (p *Pipeline) resume(ctx context.Context, o RunOptions) (*Image, error) {
	if !slices.Contains(stages, o.From) {
		return nil, fail("run", noStage(o.From), "")
	}
	def, err := p.open(ctx, o.Build.Dir)
	if err != nil {
		return nil, fail(o.From, err, "aibuild validate "+o.Build.Dir)
	}
	img, err := p.resumable(ctx, def, o)
	if err != nil {
		return nil, fail(o.From, err, "aibuild image history "+def.Name)
	}
	if img == nil {
		return nil, nil
	}
	policy, err := p.policy(p.project(def))
	if err == nil {
		err = policy.CheckSettings(def.Definition)
	}
	if err != nil {
		return nil, fail(o.From, err, "")
	}
	r, err := p.reopen(ctx, img, o.From, o.Build.RunID)
	if err != nil {
		return img, fail(o.From, err, "")
	}
	img.Definition.Release = def.Release // what it is released as from now on
	o.Test.Dir = o.Build.Dir
	stage, err := p.proceed(ctx, r, img, o.From, o)
	return img, r.end(ctx, img, stage, err)
}

// resumable is the image that a run works on which begins after the build: the
// one that is asked for, else the newest, if it was built from these settings
// and is good; nil if it is not.
func (p *Pipeline) resumable(ctx context.Context, def *checkout, o RunOptions) (*Image, error) {
	if o.Image != "" {
		img, err := p.Find(ctx, o.Image)
		if err == nil && img.Name != def.Name {
			err = &lineage.Invalid{Field: "image_uuid", Problem: o.Image + " is an image of " + img.Name + ", and the definition is that of " + def.Name}
		}
		return img, err
	}
	img, err := p.Find(ctx, def.Name)
	if isMissing(err) {
		return nil, nil
	}
	if err != nil || img.Artifact().BuildDigest != def.Digests.Build || img.Revoked() || o.From != StageTest && img.passed("") != nil {
		return nil, err
	}
	// A run of the daemon's is of a ref: an image of another one may not go where this one may.
	if o.Build.RunID != "" && p.ref(def) != img.Artifact().Ref {
		return nil, nil
	}
	return img, nil
}

func noStage(name string) error {
	return &lineage.Invalid{Field: "from", Problem: fmt.Sprintf("%q is no stage; stages are build, test, publish and release", name)}
}

// proceed takes a built image through the stages beginning with from. It
// returns the stage that it came to.
func (p *Pipeline) proceed(ctx context.Context, r *run, img *Image, from string, o RunOptions) (string, error) {
	stage := from
	for _, stage = range stages[slices.Index(stages, from):] {
		if stop, err := p.stopsBefore(stage, img, o); stop || err != nil {
			return stage, err
		}
		if err := p.enter(ctx, r, img, stage); err != nil {
			return stage, err
		}
		var err error
		switch stage {
		case StageTest:
			_, err = p.test(ctx, img, o.Test)
		case StagePublish:
			err = p.publish(ctx, img)
		case StageRelease:
			_, err = p.release(ctx, img, ReleaseOptions{Clusters: o.Clusters})
		}
		if err != nil {
			return stage, err
		}
	}
	return stage, nil
}

// stopsBefore says whether a run goes no further: images of refs that may not
// release stop after their tests, and not every image is for a cluster.
func (p *Pipeline) stopsBefore(stage string, img *Image, o RunOptions) (bool, error) {
	if stage == StageTest {
		return false, nil
	}
	policy, err := p.policy(img.project())
	if err != nil {
		return false, err
	}
	if ref := img.Artifact().Ref; !policy.MayRelease(ref) {
		p.say(stage, img, "stopped before "+stage+": images of "+ref+" stop after their tests (release.refs of the project)")
		return true, nil
	}
	return stage == StageRelease && len(o.Clusters)+len(img.Definition.Release.Clusters) == 0, nil
}

// enter records that the run has come to a stage.
func (p *Pipeline) enter(ctx context.Context, r *run, img *Image, stage string) error {
	if r == nil {
		return nil
	}
	err := p.recordLocked(ctx, img, lineage.Record{
		RunID: r.id, Verb: lineage.VerbMoved, Reason: "stage " + stage,
		Run: &lineage.Run{ID: r.id, ImageUUID: img.UUID, Stage: stage, State: lineage.RunBuilding},
	})
	var conflict *lineage.Conflict
	if errors.As(err, &conflict) {
		return nil // a run that has ended is being resumed: it keeps its end
	}
	return err
}

// RetryOptions say where to go on.
type RetryOptions struct {
	From     string // stage; empty: the first that is not done
	Dir      string // folder of the definition, where the build itself is repeated
	Test     TestOptions
	Clusters []string
}

// Retry goes on with the image that ref names, from the stored file: nothing
// that succeeded is repeated unless From says so. A run that made no image is
// built again from o.Dir under a new id.
func (p *Pipeline) Retry(ctx context.Context, ref string, o RetryOptions) (*Image, error) {
	if o.From != "" && !slices.Contains(stages, o.From) {
		return nil, fail("retry", noStage(o.From), "")
	}
	if _, err := p.Sweep(ctx); err != nil {
		p.log().Warn("what earlier runs left could not all be cleared", "error", err)
	}
	img, err := p.Find(ctx, ref)
	if (err != nil && o.Dir != "") || o.From == StageBuild {
		if o.Dir == "" {
			return nil, fail(StageBuild, &lineage.Invalid{Field: "folder", Problem: "to build again, name the definition's folder"}, "aibuild run DIR")
		}
		retryOf := ref
		if _, bad := uuid.Parse(ref); bad != nil {
			retryOf = ""
		}
		return p.Run(ctx, RunOptions{Build: BuildOptions{Dir: o.Dir, RetryOf: retryOf}, Test: o.Test, Clusters: o.Clusters})
	}
	if err != nil {
		return nil, fail("retry", err, "")
	}
	from := o.From
	if from == "" {
		from = p.undone(img)
	}
	r, err := p.reopen(ctx, img, from, "")
	if err != nil {
		return img, fail(from, err, "")
	}
	stage, err := p.proceed(ctx, r, img, from, RunOptions{Test: o.Test, Clusters: o.Clusters})
	return img, r.end(ctx, img, stage, err)
}

// undone is the first stage that the image has not passed.
func (p *Pipeline) undone(img *Image) string {
	t := img.Tested()
	switch {
	case t == nil || t.Verdict != lineage.Passed:
		return StageTest
	case !img.Published():
		return StagePublish
	default:
		return StageRelease
	}
}

// reopen opens a new run for the same image; id is that of a run which somebody
// else has opened, or empty.
func (p *Pipeline) reopen(ctx context.Context, img *Image, from, id string) (*run, error) {
	retryOf := ""
	if id == "" {
		made, err := newRunID()
		if err != nil {
			return nil, err
		}
		id, retryOf = made, img.UUID
	}
	a := img.Built()
	opened := []lineage.Record{{
		RunID: id, ImageUUID: img.UUID, Verb: lineage.VerbOpened,
		Run: &lineage.Run{
			ID: id, Image: img.Name, ImageUUID: img.UUID, Project: img.project(), Ref: a.Artifact.Ref, Commit: a.Artifact.Commit,
			RetryOf: retryOf, From: from, State: lineage.RunBuilding, Stage: from,
			Actor: p.actor(), Channel: p.channel(), Worker: worker(), OpenedAt: p.now(), StartedAt: p.now(),
		},
	}}
	r := &run{p: p, id: id}
	if err := r.claim(opened); err != nil {
		return nil, err
	}
	if err := p.recordLocked(ctx, img, opened...); err != nil {
		r.done()
		return nil, err
	}
	return r, nil
}
