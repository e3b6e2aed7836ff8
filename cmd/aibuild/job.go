package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/harness"
)

// job is one call of a stage: what it works with, and who has to hear how it ends.
type job struct {
	w      *world
	p      *aibuild.Pipeline
	ticket *ticket // nil: the stage belongs to no run that was opened before
	name   string  // of the stage
	image  string  // that it works on, as it was named
}

// job prepares a stage; its name is empty where several follow.
func (w *world) job(c *cli.Context, stage string) (*job, error) {
	if stage != "" {
		w.outcome.stage(stage)
	}
	t, err := ticketOf(c)
	if err != nil {
		return nil, err
	}
	if t != nil {
		w.outcome.RunID, w.outcome.ImageUUID = t.RunID, t.ImageUUID
		if !t.goes(stage) {
			return nil, &aibuild.Refused{Image: t.Image, Rule: "a run goes through the stages that its project and its branch allow", Found: fmt.Sprintf("%s is none of those of run %s: %v", stage, t.RunID, t.Stages), Next: "leave the stage out; run.json lists them"}
		}
	}
	p, err := w.pipeline(c)
	if err != nil {
		return nil, err
	}
	return &job{w: w, p: p, ticket: t, name: stage}, nil
}

// jobOnImage is job for stages after the build: a ticket names the image.
func (w *world) jobOnImage(c *cli.Context, stage string) (*job, error) {
	words := "IMAGE"
	if c.String("run") != "" {
		words = "IMAGE?"
	}
	if err := args(c, words); err != nil {
		return nil, err
	}
	j, err := w.job(c, stage)
	if err != nil {
		return nil, err
	}
	j.image = c.Args().First()
	if j.image == "" {
		j.image = j.ticket.ImageUUID
	}
	return j, nil
}

// stage does the job's stage in the run of its ticket, once: a pipeline that is
// resumed repeats nothing.
func (j *job) stage(c *cli.Context, o aibuild.StageOptions) (*aibuild.Image, *harness.Report, error) {
	o.RunID, o.Stage, o.Image = j.ticket.RunID, j.name, j.image
	if j.name == aibuild.StageTest && o.Test.Dir == "" || j.name == aibuild.StageRelease {
		var err error
		if o.Dir, err = j.ticket.definition(); err != nil {
			return nil, nil, err
		}
	}
	if slices.Contains(j.ticket.Done, j.name) && j.name != aibuild.StageBuild {
		img, err := j.p.Find(c.Context, j.image)
		if err == nil {
			fmt.Fprintf(j.w.stderr, "aibuild: %s was done in this run before; it is not repeated\n", j.name)
			return img, nil, j.ended(c, img, nil)
		}
	}
	img, report, err := j.p.Stage(c.Context, o)
	if err == nil {
		err = j.ticket.did(j.name)
	}
	return img, report, j.ended(c, img, err)
}

// test is the stage of that name.
func (j *job) test(c *cli.Context) (*harness.Report, error) {
	o := testOptions(c)
	if j.ticket != nil {
		_, report, err := j.stage(c, aibuild.StageOptions{Test: o})
		return report, err
	}
	report, err := j.p.Test(c.Context, j.image, o)
	return report, j.endedOn(c, j.image, err)
}

// endedOn is ended for an image that is only named.
func (j *job) endedOn(c *cli.Context, ref string, err error) error {
	if j.w.outcome.file == "" && c.String("archive") == "" {
		return err
	}
	img, findErr := j.p.Find(context.WithoutCancel(c.Context), ref)
	if findErr != nil {
		img = nil // why the stage failed, if it did, is said by err
	}
	return j.ended(c, img, err)
}

// ended keeps what is to be told of the image, and what Jenkins archives.
func (j *job) ended(c *cli.Context, img *aibuild.Image, err error) error {
	w := j.w
	w.outcome.about(j.p, w.webRoot(), img)
	dir := c.String("archive")
	if dir == "" {
		return err
	}
	failed, _ := errors.AsType[*aibuild.Error](err)
	if archiveErr := archive(context.WithoutCancel(c.Context), j.p.Site, img, failed, dir); archiveErr != nil {
		if err == nil {
			return archiveErr
		}
		fmt.Fprintf(w.stderr, "aibuild: %v\n", archiveErr) // what went wrong before counts
	}
	return err
}
