package aibuild

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// About is whose a definition is and where it stands in git.
type About struct {
	Name    string // of the image
	Project string // that owns the name, such as group/images
	Ref     string // branch
	Commit  string // with -dirty where files are not committed
	Folder  string // of the definition, in the repository
}

// About reads the definition in dir.
func (p *Pipeline) About(ctx context.Context, dir string) (About, error) {
	def, err := p.open(ctx, dir)
	if err != nil {
		return About{}, fail("validate", err, "aibuild validate "+dir)
	}
	folder, err := p.folder(ctx, def)
	if err != nil {
		return About{}, fail("validate", err, "")
	}
	return About{Name: def.Name, Project: p.project(def), Ref: p.ref(def), Commit: def.rev.name(), Folder: folder}, nil
}

// folder is where the definition lies in its repository.
func (p *Pipeline) folder(ctx context.Context, def *checkout) (string, error) {
	prefix, err := (gitTool{def.dir}).optional(ctx, "rev-parse", "--show-prefix")
	if err != nil || prefix == "" {
		return filepath.Base(def.dir), err
	}
	return strings.TrimSuffix(prefix, "/"), nil
}

// PlanOptions say what is known of a run before its first stage.
type PlanOptions struct {
	Dir     string // folder of the definition
	RunID   string
	From    string // stage to begin with; empty: the build
	Image   string // uuid of the image that a later stage works on; empty: the newest that fits
	RetryOf string // run that this one repeats
}

// Plan is what a run goes through. It is made where the records can be asked,
// and followed where they can not.
type Plan struct {
	Image  string   // uuid: the run's own id, or that of the image which it goes on with
	From   string   // stage that it begins with
	Stages []string // those that it goes through, in order
	Parent *lineage.Image
}

// PlanRun decides what a run goes through: everything, or what is left for an
// image that there is. A run that repeats another one goes on with its image
// when the build's settings are the same, from the first stage that is not done.
func (p *Pipeline) PlanRun(ctx context.Context, o PlanOptions) (Plan, error) {
	plan, err := p.planRun(ctx, o)
	if err != nil {
		return Plan{}, fail("run", err, "aibuild validate "+o.Dir)
	}
	return plan, nil
}

func (p *Pipeline) planRun(ctx context.Context, o PlanOptions) (Plan, error) {
	def, err := p.open(ctx, o.Dir)
	if err != nil {
		return Plan{}, err
	}
	policy, err := p.policy(p.project(def))
	if err == nil {
		err = policy.CheckSettings(def.Definition)
	}
	if err != nil {
		return Plan{}, err
	}
	if o.From != "" && !slices.Contains(stages, o.From) {
		return Plan{}, noStage(o.From)
	}
	plan := Plan{Image: o.RunID, From: StageBuild}
	img, from, err := p.goOnWith(ctx, def, o)
	if err != nil {
		return Plan{}, err
	}
	if img != nil {
		plan.Image, plan.From = img.UUID, from
	} else if def.From.Image != "" {
		if plan.Parent, err = p.recordedParent(ctx, def.From.Image); err != nil {
			return Plan{}, err
		}
	}
	plan.Stages = p.stagesOf(def.Definition, policy, p.ref(def), plan.From)
	return plan, nil
}

// goOnWith is the image that a run goes on with, and the stage; nil: it builds one.
func (p *Pipeline) goOnWith(ctx context.Context, def *checkout, o PlanOptions) (*Image, string, error) {
	made, err := p.load(ctx, def.Name, o.RunID)
	if err == nil { // this very run has been here before
		return made, p.firstUndone(made, def), nil
	}
	if !isMissing(err) {
		return nil, "", err
	}
	if o.From != "" && o.From != StageBuild {
		img, err := p.resumable(ctx, def, RunOptions{Build: BuildOptions{RunID: o.RunID}, From: o.From, Image: o.Image})
		return img, o.From, err
	}
	if o.From == "" && o.RetryOf != "" {
		old, err := p.load(ctx, def.Name, o.RetryOf)
		if isMissing(err) {
			return nil, "", nil
		}
		if err != nil || old.Artifact().BuildDigest != def.Digests.Build || old.Revoked() || p.ref(def) != old.Artifact().Ref {
			return nil, "", err
		}
		return old, p.firstUndone(old, def), nil
	}
	return nil, "", nil
}

// firstUndone is undone, for a definition whose tests may have changed since.
func (p *Pipeline) firstUndone(img *Image, def *checkout) string {
	if t := img.Tested(); t == nil || t.TestDigest != def.Digests.Test {
		return StageTest
	}
	return p.undone(img)
}

// stagesOf are the stages from one on that a definition and its project's rules
// let an image go through.
func (p *Pipeline) stagesOf(def *definition.Definition, policy definition.Policy, ref, from string) []string {
	list := slices.Clone(stages[slices.Index(stages, from):])
	return slices.DeleteFunc(list, func(stage string) bool {
		switch stage {
		case StagePublish:
			return !policy.MayRelease(ref)
		case StageRelease:
			return !policy.MayRelease(ref) || len(def.Release.Clusters) == 0
		}
		return false
	})
}

// recordedParent is the parent as the records have it: it is named before the
// build, by somebody who may ask.
func (p *Pipeline) recordedParent(ctx context.Context, ref string) (*lineage.Image, error) {
	img, err := p.findParent(ctx, ref)
	if err != nil {
		return nil, err
	}
	return &lineage.Image{UUID: img.UUID, Name: img.Name, Number: img.Number, SHA256: img.Artifact().SHA256}, nil
}
