package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/glance"
)

func testFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "cell", Usage: "only this `CELL`, such as bios-virtio-nocloud (repeatable)"},
		&cli.BoolFlag{Name: "keep-on-failure", Usage: "keep the disk of a cell that did not pass"},
		&cli.StringFlag{Name: "junit", Usage: "write the result as JUnit XML to `FILE`"},
	}
}

func clusterFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "cluster", Usage: "only this `CLUSTER` of clouds.yaml (repeatable)"}
}

func yesFlag() cli.Flag {
	return &cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "do not ask"}
}

func buildFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "run-id", Usage: "`UUID` of the run, which becomes the image's (AIBUILD_RUN_ID)"},
		&cli.StringFlag{Name: "project", Usage: "owner of the image's name (the git remote's path)"},
		&cli.StringFlag{Name: "ref", Usage: "branch that is built (AIBUILD_REF, else the one checked out)"},
	}
}

func (w *world) stageCommands() []*cli.Command {
	return []*cli.Command{
		{Name: "build", Usage: "build an image from its definition; prints its uuid", ArgsUsage: "[DIR]", Flags: buildFlags(), Action: w.build},
		{
			Name: "test", Usage: "boot an image in its cells and run its cases", ArgsUsage: "IMAGE",
			Flags:  append(testFlags(), outputFlag(), &cli.StringFlag{Name: "definition", Usage: "take settings and cases from this `DIR` instead of those built in"}),
			Action: w.test,
		},
		{Name: "publish", Usage: "put a tested image into images/release", ArgsUsage: "IMAGE", Action: w.publish},
		{
			Name: "release", Usage: "upload a published image to its OpenStack clusters", ArgsUsage: "IMAGE",
			Flags:  []cli.Flag{clusterFlag(), yesFlag(), outputFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"}},
			Action: w.release,
		},
		{
			Name: "run", Usage: "all stages: build, test, publish, release; prints the image's uuid", ArgsUsage: "[DIR]",
			Flags: append(append(buildFlags(), testFlags()...), clusterFlag(), yesFlag(),
				&cli.StringFlag{Name: "from", Usage: "`STAGE` to begin with, on the newest good image of the same build settings (AIBUILD_FROM)"}),
			Action: w.run,
		},
		{
			Name: "retry", Usage: "go on where a run failed, from the stored image", ArgsUsage: "RUN|IMAGE [DIR]",
			Flags: append(testFlags(), clusterFlag(),
				&cli.StringFlag{Name: "from", Usage: "`STAGE` to begin with: build, test, publish or release"}),
			Action: w.retry,
		},
	}
}

// given is a flag, else what the daemon gave to its Jenkins job.
func (w *world) given(c *cli.Context, flag, env string) string {
	if c.IsSet(flag) {
		return c.String(flag)
	}
	return w.getenv(env)
}

func (w *world) buildOptions(c *cli.Context) aibuild.BuildOptions {
	return aibuild.BuildOptions{Dir: dirArgument(c), RunID: w.given(c, "run-id", "AIBUILD_RUN_ID")}
}

func testOptions(c *cli.Context) aibuild.TestOptions {
	return aibuild.TestOptions{
		Cells: c.StringSlice("cell"), KeepOnFailure: c.Bool("keep-on-failure"),
		JUnit: c.String("junit"), Dir: c.String("definition"),
	}
}

func (w *world) build(c *cli.Context) error {
	if err := args(c, "DIR?"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	img, err := p.Build(c.Context, w.buildOptions(c))
	return w.printUUID(img, err)
}

// printUUID gives the image's uuid alone on stdout, also of one that was built
// and then failed in a later stage.
func (w *world) printUUID(img *aibuild.Image, err error) error {
	if img != nil {
		if _, printErr := fmt.Fprintln(w.stdout, img.UUID); printErr != nil {
			return errors.Join(err, printErr)
		}
	}
	return err
}

func (w *world) test(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	report, err := p.Test(c.Context, c.Args().First(), testOptions(c))
	if report == nil {
		return err
	}
	printErr := w.print(c, report, func(t io.Writer) error {
		if err := row(t, "CELL", "CASE", "RESULT", "SECONDS", "MESSAGE"); err != nil {
			return err
		}
		for _, r := range report.Cases {
			message, _, _ := strings.Cut(strings.TrimSpace(r.Message), "\n")
			if err := row(t, r.Cell, r.Case, r.Result, fmt.Sprintf("%.1f", float64(r.MS)/1000), message); err != nil {
				return err
			}
		}
		return row(t, "verdict:", report.Decider, report.Verdict, fmt.Sprintf("%.1f", report.Duration.Seconds()), report.Message)
	})
	return errors.Join(err, printErr)
}

func (w *world) publish(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	img, err := p.Publish(c.Context, c.Args().First())
	if err != nil {
		return err
	}
	return w.printUUID(img, nil)
}

func (w *world) release(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	o := aibuild.ReleaseOptions{Clusters: c.StringSlice("cluster")}
	if c.Bool("dry-run") {
		steps, err := p.ReleasePlan(c.Context, c.Args().First(), o)
		if err != nil {
			return err
		}
		return w.print(c, steps, func(t io.Writer) error { return printSteps(t, steps) })
	}
	if w.interactive() && !c.Bool("yes") {
		steps, err := p.ReleasePlan(c.Context, c.Args().First(), o)
		if err != nil {
			return err
		}
		if err := w.confirm(func(t io.Writer) error { return printSteps(t, steps) }); err != nil {
			return err
		}
	}
	targets, err := p.Release(c.Context, c.Args().First(), o)
	return errors.Join(err, w.printTargets(c, targets))
}

func printSteps(t io.Writer, steps []glance.Step) error {
	for _, s := range steps {
		if err := row(t, s.Cluster, s.Verb, s.Text); err != nil {
			return err
		}
	}
	return nil
}

// confirm shows what is going to happen and asks.
func (w *world) confirm(show func(io.Writer) error) error {
	if err := show(w.stderr); err != nil {
		return err
	}
	fmt.Fprint(w.stderr, "go on? [y/N] ")
	answer, err := bufio.NewReader(w.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(w.stderr, "nothing was done")
	return exitStatus(aibuild.CodeRefused)
}

func (w *world) printTargets(c *cli.Context, targets []glance.Target) error {
	if targets == nil {
		return nil
	}
	return w.print(c, targets, func(t io.Writer) error {
		if err := row(t, "CLUSTER", "IMAGE", "UUID", "GLANCE ID", "STATE", "DETAIL"); err != nil {
			return err
		}
		for _, g := range targets {
			detail := g.Error
			if detail == "" {
				detail = g.Detail
			}
			if err := row(t, g.Cluster, g.Name, g.ImageUUID, g.GlanceID, g.State, detail); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) run(c *cli.Context) error {
	if err := args(c, "DIR?"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	if w.interactive() && !c.Bool("yes") {
		def, err := p.Validate(c.Context, dirArgument(c))
		if err != nil {
			return err
		}
		if err := w.confirm(func(t io.Writer) error {
			clusters := c.StringSlice("cluster")
			if len(clusters) == 0 {
				clusters = def.Release.Clusters
			}
			_, err := fmt.Fprintf(t, "build %s, test it in %d cells, publish it, release it to: %s\n", def.Name,
				len(def.Test.Matrix.Cells()), strings.Join(clusters, ", "))
			return err
		}); err != nil {
			return err
		}
	}
	o := aibuild.RunOptions{Build: w.buildOptions(c), From: w.given(c, "from", "AIBUILD_FROM"), Test: testOptions(c), Clusters: c.StringSlice("cluster")}
	if o.Image, err = w.imageOfRun(c, o.Build.RunID, o.From); err != nil {
		return err
	}
	img, err := p.Run(c.Context, o)
	return w.printUUID(img, err)
}

func (w *world) retry(c *cli.Context) error {
	if err := args(c, "RUN|IMAGE", "DIR?"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	img, err := p.Retry(c.Context, c.Args().First(), aibuild.RetryOptions{
		From: c.String("from"), Dir: c.Args().Get(1), Test: testOptions(c), Clusters: c.StringSlice("cluster"),
	})
	return w.printUUID(img, err)
}
