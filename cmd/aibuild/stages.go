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
	}
}

// jobFlags are those of stages that a build system calls.
func jobFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "junit", Usage: "write the result as JUnit XML to `FILE`, however it ends"},
		resultFlag(),
		&cli.StringFlag{Name: "archive", Usage: "copy manifest and evidence into `DIR`"},
	}
}

func resultFlag() cli.Flag {
	return &cli.StringFlag{Name: "result", Usage: "write how it went to `FILE`, as JSON, however it ends"}
}

// ticketFlag makes a stage one of a run that aibuild runs open has registered.
func ticketFlag() cli.Flag {
	return &cli.StringFlag{Name: "run", Usage: "`FILE` of aibuild runs open: the stage belongs to that run, and needs neither token nor database"}
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
		{
			Name: "build", Usage: "build an image from its definition; prints its uuid", ArgsUsage: "[DIR]",
			Flags: append(append(buildFlags(), jobFlags()...), ticketFlag()), Action: w.build,
		},
		{
			Name: "test", Usage: "boot an image in its cells and run its cases", ArgsUsage: "IMAGE",
			Flags: append(append(testFlags(), jobFlags()...), outputFlag(), ticketFlag(),
				&cli.StringFlag{Name: "definition", Usage: "take settings and cases from this `DIR` instead of those built in"}),
			Action: w.test,
		},
		{
			Name: "publish", Usage: "put a tested image into images/release", ArgsUsage: "IMAGE",
			Flags: append(jobFlags(), ticketFlag()), Action: w.publish,
		},
		{
			Name: "release", Usage: "upload a published image to its OpenStack clusters", ArgsUsage: "IMAGE",
			Flags: append(jobFlags(), clusterFlag(), yesFlag(), outputFlag(), ticketFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"},
				&cli.StringFlag{Name: "reason", Usage: "`WHY`, for the record"}),
			Action: w.release,
		},
		{
			Name: "run", Usage: "all stages: build, test, publish, release; prints the image's uuid", ArgsUsage: "[DIR]",
			Flags: append(append(append(buildFlags(), testFlags()...), jobFlags()...), clusterFlag(), yesFlag(),
				&cli.StringFlag{Name: "from", Usage: "`STAGE` to begin with, on the newest good image of the same build settings (AIBUILD_FROM)"}),
			Action: w.run,
		},
		{
			Name: "retry", Usage: "go on where a run failed, from the stored image", ArgsUsage: "RUN|IMAGE [DIR]",
			Flags: append(append(testFlags(), jobFlags()...), clusterFlag(),
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
	j, err := w.job(c, aibuild.StageBuild)
	if err != nil {
		return err
	}
	if j.ticket != nil {
		img, _, err := j.stage(c, aibuild.StageOptions{Dir: dirArgument(c)})
		return w.printUUID(img, err)
	}
	img, err := j.p.Build(c.Context, w.buildOptions(c))
	return w.printUUID(img, j.ended(c, img, err))
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

// printIf is printUUID for stages that give no uuid when they fail.
func (w *world) printIf(img *aibuild.Image, err error) error {
	if err != nil {
		return err
	}
	return w.printUUID(img, nil)
}

func (w *world) test(c *cli.Context) error {
	j, err := w.jobOnImage(c, aibuild.StageTest)
	if err != nil {
		return err
	}
	report, err := j.test(c)
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
	j, err := w.jobOnImage(c, aibuild.StagePublish)
	if err != nil {
		return err
	}
	if j.ticket != nil {
		img, _, err := j.stage(c, aibuild.StageOptions{})
		return w.printIf(img, err)
	}
	img, err := j.p.Publish(c.Context, c.Args().First())
	return w.printIf(img, j.ended(c, img, err))
}

func (w *world) release(c *cli.Context) error {
	j, err := w.jobOnImage(c, aibuild.StageRelease)
	if err != nil {
		return err
	}
	if j.ticket != nil && !c.Bool("dry-run") {
		img, _, err := j.stage(c, aibuild.StageOptions{Clusters: c.StringSlice("cluster")})
		return w.printIf(img, err)
	}
	p := j.p
	o := aibuild.ReleaseOptions{Clusters: c.StringSlice("cluster"), Reason: c.String("reason")}
	if c.Bool("dry-run") {
		steps, err := p.ReleasePlan(c.Context, j.image, o)
		if err != nil {
			return err
		}
		return w.print(c, steps, func(t io.Writer) error { return printSteps(t, steps) })
	}
	if w.interactive() && !c.Bool("yes") {
		steps, err := p.ReleasePlan(c.Context, j.image, o)
		if err != nil {
			return err
		}
		if err := w.confirm(func(t io.Writer) error { return printSteps(t, steps) }); err != nil {
			return err
		}
	}
	targets, err := p.Release(c.Context, j.image, o)
	return errors.Join(j.endedOn(c, j.image, err), w.printTargets(c, targets))
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
	j, err := w.job(c, "")
	if err != nil {
		return err
	}
	p := j.p
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
	return w.printUUID(img, j.ended(c, img, err))
}

func (w *world) retry(c *cli.Context) error {
	if err := args(c, "RUN|IMAGE", "DIR?"); err != nil {
		return err
	}
	j, err := w.job(c, "")
	if err != nil {
		return err
	}
	img, err := j.p.Retry(c.Context, c.Args().First(), aibuild.RetryOptions{
		From: c.String("from"), Dir: c.Args().Get(1), Test: testOptions(c), Clusters: c.StringSlice("cluster"),
	})
	return w.printUUID(img, j.ended(c, img, err))
}
