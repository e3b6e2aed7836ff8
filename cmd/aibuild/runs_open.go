package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) runsOpenCommand() *cli.Command {
	return &cli.Command{
		Name: "open", Usage: "register a run, or take up the one of this Jenkins build; its stages need no secret then", ArgsUsage: "[DIR]",
		Flags: append(buildFlags(), &cli.StringFlag{Name: "out", Usage: "write the run to `FILE`, for --run of its stages", Value: "run.json"},
			&cli.StringFlag{Name: "from", Usage: "`STAGE` to begin with (AIBUILD_FROM)"},
			&cli.StringFlag{Name: "only", Usage: "the run is this one `STAGE`"},
			&cli.StringFlag{Name: "image", Usage: "`IMAGE` that a later stage works on; else the newest that fits"},
			&cli.StringFlag{Name: "reason", Usage: "`WHY`, for the record"}, resultFlag()),
		Action: w.runsOpen,
	}
}

// runsOpen asks whoever records for a run, decides what it goes through, and
// writes both down.
func (w *world) runsOpen(c *cli.Context) error {
	if err := args(c, "DIR?"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	dir := dirArgument(c)
	about, err := p.About(c.Context, dir)
	if err != nil {
		return err
	}
	t := &ticket{
		Schema: ticketSchema, RunID: w.given(c, "run-id", "AIBUILD_RUN_ID"), Image: about.Name, Project: about.Project, Ref: about.Ref, Commit: about.Commit,
		From: w.given(c, "from", "AIBUILD_FROM"), Build: w.jenkinsBuild(), OpenedAt: time.Now().UTC(), path: c.String("out"),
	}
	if t.Dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := t.place(); err != nil {
		return err
	}
	if f := w.getenv("AIBUILD_IMAGE"); f != "" {
		about.Folder = f
	}
	image, err := w.openTicket(c, p, t, about)
	if err != nil {
		return err
	}
	away, err := w.caps(p, t)
	if err != nil {
		return err
	}
	if ref := c.String("image"); ref != "" {
		img, err := p.Find(c.Context, ref)
		if err != nil {
			return err
		}
		image = img.UUID
	}
	plan, err := p.PlanRun(c.Context, aibuild.PlanOptions{Dir: dir, RunID: t.RunID, From: t.From, Image: image, RetryOf: t.RetryOf})
	if err != nil {
		return err
	}
	t.ImageUUID, t.From, t.Stages = plan.Image, plan.From, plan.Stages
	if only := c.String("only"); only != "" {
		t.Stages = slices.DeleteFunc(t.Stages, func(stage string) bool { return stage != only })
		if len(t.Stages) == 0 {
			return &aibuild.Refused{Image: t.Image, Rule: "a run goes through the stages that its project and its branch allow", Found: only + " is none of those from " + t.From + " on", Next: "leave --only out to see them in " + t.path}
		}
	}
	if plan.Parent != nil {
		t.Parent = &parent{plan.Parent.UUID, plan.Parent.Name, plan.Parent.Number, plan.Parent.SHA256}
	}
	if away {
		fmt.Fprintln(w.stderr, "aibuild: nobody says what this project may release: the run stops after its tests")
	}
	if err := t.save(); err != nil {
		return err
	}
	return w.printRunID(t.RunID, nil)
}

// openTicket registers the run. It gives the image that the run works on, where
// the server names one.
func (w *world) openTicket(c *cli.Context, p *aibuild.Pipeline, t *ticket, about aibuild.About) (image string, err error) {
	client, err := w.jobClient(c)
	if err != nil {
		return "", err
	}
	if client != nil && t.Build != (api.Build{}) {
		run, err := client.OpenRun(c.Context, w.newRun(c, t, about))
		t.ServerVersion = client.ServerVersion()
		if err == nil {
			return t.opened(run), nil
		}
		if _, away := errors.AsType[*lineage.Unavailable](err); !away {
			return "", refusal(err)
		}
	}
	if t.RunID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return "", err
		}
		t.RunID = id.String()
	}
	run := lineage.Run{
		ID: t.RunID, Image: t.Image, Project: t.Project, Ref: t.Ref, Commit: t.Commit, Folder: about.Folder, From: t.From,
		JenkinsJob: t.Build.Job, Build: t.Build.Number, BuildURL: t.Build.URL, BuildTag: t.Build.Tag,
	}
	return "", refusal(p.OpenRun(c.Context, run))
}

// newRun is what the server is asked for.
func (w *world) newRun(c *cli.Context, t *ticket, about aibuild.About) api.NewRun {
	n := api.NewRun{
		RunID: t.RunID, Image: t.Image, Project: t.Project, Ref: t.Ref, Commit: t.Commit, Folder: about.Folder, From: t.From,
		Build: &t.Build, Reason: c.String("reason"),
	}
	if who := w.person(); n.Reason == "" && who != "" {
		n.Reason = "started in jenkins by " + who
	}
	return n
}

// opened takes over what the server has made of it.
func (t *ticket) opened(run api.RunDetail) (image string) {
	t.RunID, t.Attempt, t.RetryOf = run.ID, run.Attempt, run.RetryOf
	t.Project, t.Ref = orWord(run.Project, t.Project), orWord(strings.TrimPrefix(run.Ref, "refs/heads/"), t.Ref)
	if run.From != "" {
		t.From = run.From
	}
	if run.ImageUUID != run.ID {
		return run.ImageUUID
	}
	return ""
}

// caps notes what the project may do. While nobody can say it, the run may build
// and test: nothing of that leaves the factory.
func (w *world) caps(p *aibuild.Pipeline, t *ticket) (away bool, err error) {
	p.Project, p.Ref = t.Project, t.Ref
	policy, err := p.Policy(t.Project)
	if _, down := errors.AsType[*lineage.Unavailable](err); down {
		policy, away, err = definition.Policy{Project: t.Project, ReleaseRefs: []string{nothing}}, true, nil
		p.Policy = func(string) (definition.Policy, error) { return policy, nil }
	}
	if err != nil {
		return false, err
	}
	t.Policy = api.CapsOf(policy, t.Ref)
	return away, nil
}

// nothing is a ref that there is not: a space is in no name of git's.
const nothing = "no ref"
