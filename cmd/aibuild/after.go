package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
)

func reasonFlag() cli.Flag {
	return &cli.StringFlag{Name: "reason", Usage: "why, for the record (needed)"}
}

func (w *world) afterCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "rollback", Usage: "make an older image of a name the visible one", ArgsUsage: "NAME",
			Flags:  []cli.Flag{&cli.StringFlag{Name: "to", Usage: "`IMAGE` (the good one before)"}, clusterFlag(), reasonFlag(), outputFlag()},
			Action: w.rollback,
		},
		{
			Name: "prune", Usage: "free space: what goes, how much, why", Flags: []cli.Flag{
				&cli.BoolFlag{Name: "dry-run", Usage: "only say what would go"},
				&cli.IntFlag{Name: "keep", Usage: "published versions of each name that stay (5)"},
				outputFlag(),
			},
			Action: w.prune,
		},
		{
			Name: "clusters", Usage: "images and clusters: what is where", ArgsUsage: "[NAME]", Flags: []cli.Flag{
				&cli.BoolFlag{Name: "verify", Usage: "ask the clouds and compare"},
				outputFlag(),
			},
			Action: w.clusters,
		},
	}
}

func (w *world) rollback(c *cli.Context) error {
	if err := args(c, "NAME"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	targets, err := p.Rollback(c.Context, c.Args().First(), aibuild.RollbackOptions{
		To: c.String("to"), Clusters: c.StringSlice("cluster"), Reason: c.String("reason"),
	})
	return errors.Join(err, w.printTargets(c, targets))
}

func (w *world) prune(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	r := aibuild.Retention{
		Keep: w.config.Retention.Keep, Failed: duration(w.config.Retention.Failed), Cache: duration(w.config.Retention.Cache),
		DryRun: c.Bool("dry-run"),
	}
	if c.Int("keep") > 0 {
		r.Keep = c.Int("keep")
	}
	done, err := p.Prune(c.Context, r)
	printErr := w.print(c, done, func(t io.Writer) error {
		var total int64
		for _, d := range done {
			total += d.Bytes
			if err := row(t, size(d.Bytes), d.Path, d.Reason); err != nil {
				return err
			}
		}
		word := "freed"
		if r.DryRun {
			word = "would be freed"
		}
		return row(t, size(total), word, "")
	})
	return errors.Join(err, printErr)
}

func (w *world) clusters(c *cli.Context) error {
	if err := args(c, "NAME?"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	targets, err := p.Clusters(c.Context, c.Args().First(), c.Bool("verify"))
	if err == nil && len(targets) == 0 {
		fmt.Fprintln(w.stderr, "nothing has been released yet")
	}
	return errors.Join(err, w.printTargets(c, targets))
}
