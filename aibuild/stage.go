package aibuild

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// StageOptions name one stage of a run that was opened before, by somebody who
// also ends it: see [Pipeline.PlanRun]. Nothing has to be asked for it.
type StageOptions struct {
	RunID    string
	Stage    string
	Image    string // uuid of the image; for the build empty
	Dir      string // folder of the definition; needed by the build
	Test     TestOptions
	Clusters []string // empty: those of the definition
}

// Stage does one stage of a run. It records how the run goes on, and, where the
// stage fails, how it ended. An image whose build was done under this run's id is
// returned as it is.
func (p *Pipeline) Stage(ctx context.Context, o StageOptions) (*Image, *harness.Report, error) {
	if !slices.Contains(stages, o.Stage) {
		return nil, nil, fail("run", noStage(o.Stage), "")
	}
	if _, err := uuid.Parse(o.RunID); err != nil {
		return nil, nil, fail(o.Stage, &lineage.Invalid{Field: "run id", Problem: o.RunID + " is not a UUID"}, "")
	}
	r, img, err := p.join(ctx, o)
	if err != nil {
		return img, nil, fail(o.Stage, err, "")
	}
	img, report, err := p.oneStage(ctx, r, img, o)
	if err != nil {
		return img, report, r.end(ctx, img, o.Stage, err)
	}
	r.done()
	return img, report, nil
}

// join takes up a run for one stage.
func (p *Pipeline) join(ctx context.Context, o StageOptions) (*run, *Image, error) {
	if o.Stage == StageBuild {
		r, err := p.begin(ctx, BuildOptions{Dir: o.Dir, RunID: o.RunID, opened: true})
		return r, nil, err
	}
	img, err := p.Find(ctx, o.Image)
	if err != nil {
		return nil, nil, err
	}
	r := &run{p: p, id: o.RunID, dir: o.Dir}
	if err := r.claim(moved(r.id, img.UUID, o.Stage)); err != nil {
		return nil, img, err
	}
	if err := p.enter(ctx, r, img, o.Stage); err != nil {
		r.done()
		return nil, img, err
	}
	return r, img, nil
}

// moved says that a run has come to a stage.
func moved(run, image, stage string) []lineage.Record {
	return []lineage.Record{{
		RunID: run, ImageUUID: image, Verb: lineage.VerbMoved, Reason: "stage " + stage,
		Run: &lineage.Run{ID: run, ImageUUID: image, Stage: stage, State: lineage.RunBuilding},
	}}
}

func (p *Pipeline) oneStage(ctx context.Context, r *run, img *Image, o StageOptions) (*Image, *harness.Report, error) {
	switch o.Stage {
	case StageBuild:
		img, err := p.build(ctx, r)
		return img, nil, err
	case StageTest:
		o.Test.Dir = orElse(o.Test.Dir, o.Dir)
		report, err := p.test(ctx, img, o.Test)
		return img, report, err
	case StagePublish:
		return img, nil, p.publish(ctx, img)
	}
	if o.Dir != "" { // what it is released as is the definition's of today
		def, err := p.open(ctx, o.Dir)
		if err != nil {
			return img, nil, err
		}
		img.Definition.Release = def.Release
	}
	_, err := p.release(ctx, img, ReleaseOptions{Clusters: o.Clusters})
	return img, nil, err
}

func orElse(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// OpenRun records that a run begins, where nobody has opened it before.
func (p *Pipeline) OpenRun(ctx context.Context, run lineage.Run) error {
	run.State, run.Stage = lineage.RunBuilding, orElse(run.From, StageBuild)
	run.Actor, run.Channel, run.OpenedAt, run.StartedAt = p.actor(), p.channel(), p.now(), p.now()
	return p.recordRun(ctx, lineage.Record{RunID: run.ID, Verb: lineage.VerbOpened, Run: &run})
}

// EndRun records that a run has gone through all its stages, or, with a failure,
// that nobody went on with it.
func (p *Pipeline) EndRun(ctx context.Context, id, image, stage string, failed *lineage.Failure) error {
	end := lineage.Run{ID: id, ImageUUID: image, Stage: stage, State: lineage.RunSuccess, FinishedAt: p.now()}
	code := 0
	if failed != nil {
		code = CodeInfrastructure
		end.State, end.Failure, end.Reason = lineage.RunFailure, failed, short(failed.Sentence)
	}
	end.ExitCode = &code
	err := p.recordRun(ctx, lineage.Record{RunID: id, Verb: lineage.VerbEnded, Reason: end.Reason, Run: &end})
	if _, ended := errors.AsType[*lineage.Conflict](err); ended {
		return nil // its end stays as it is
	}
	return err
}

// DeliverImage sends what waits of one image, wherever its stages were done.
func (p *Pipeline) DeliverImage(ctx context.Context, name, uuid string) error {
	if p.Recorder == nil {
		return nil
	}
	unlock, err := p.lock(ctx, uuid)
	if err != nil {
		return err
	}
	defer unlock()
	img, err := p.load(ctx, name, uuid)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.deliver(ctx, img, nil)
}
