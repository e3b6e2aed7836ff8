package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) runsRecordCommand() *cli.Command {
	return &cli.Command{
		Name: "record", Usage: "deliver what the stages of a run have journalled",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "run", Usage: "`FILE` that aibuild runs open has written (needed)"},
			&cli.BoolFlag{Name: "end", Usage: "the run has come to its end: record how"},
			resultFlag(),
		},
		Action: w.runsRecord,
	}
}

// runsRecord delivers the journals. It is no failure that the server is away:
// they wait for the next time, or for the daemon.
func (w *world) runsRecord(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	t, err := ticketOf(c)
	if err != nil {
		return err
	}
	if t == nil {
		return usagef("aibuild runs record: --run FILE is missing; aibuild runs open writes it")
	}
	if w.unbound() {
		return usagef("aibuild runs record: nothing is named that records: set AIBUILD_SERVER and AIBUILD_TOKEN_FILE, or AIBUILD_DSN_FILE")
	}
	w.outcome.RunID, w.outcome.ImageUUID = t.RunID, t.ImageUUID
	p, err := w.pipeline(c) // which has delivered what waits on this machine
	if err != nil {
		return err
	}
	if err := p.DeliverImage(c.Context, t.Image, t.ImageUUID); err != nil {
		return fmt.Errorf("deliver image %s: %w", t.ImageUUID, refusal(err))
	}
	if !c.Bool("end") {
		return nil
	}
	return w.endRun(c, p, t)
}

// endRun records the end of a run that no stage has ended.
func (w *world) endRun(c *cli.Context, p *aibuild.Pipeline, t *ticket) error {
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	run, err := from.runs.Run(c.Context, t.RunID)
	_, away := errors.AsType[*lineage.Unavailable](err)
	switch {
	case err == nil && (run.Final() || run.Failure != nil || run.ExitCode != nil):
		return nil // a stage has said how it ended
	case err != nil && !away && !errors.Is(err, lineage.ErrNotFound):
		return err
	}
	stage := t.missing()
	if stage == "" {
		return refusal(p.EndRun(c.Context, t.RunID, t.ImageUUID, t.Stages[len(t.Stages)-1], nil))
	}
	image := ""
	if len(t.Done) > 0 || t.From != aibuild.StageBuild {
		image = t.ImageUUID
	}
	return refusal(p.EndRun(c.Context, t.RunID, image, stage, &lineage.Failure{
		Stage: stage, Blame: lineage.BlameInfrastructure, Sentence: "the pipeline ended before this stage; its console says why",
		Next: "aibuild runs retry " + t.RunID,
	}))
}
