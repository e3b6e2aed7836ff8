package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

func (w *world) runsCommand() *cli.Command {
	reason := &cli.StringFlag{Name: "reason", Usage: "`WHY`, for the record"}
	return &cli.Command{
		Name: "runs", Usage: "the runs: what is built, what was, and why not",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "runs, last opened first", ArgsUsage: "[IMAGE]",
				Flags: []cli.Flag{
					limitFlag(), sinceFlag(), outputFlag(), webFlag(),
					&cli.StringFlag{Name: "state", Usage: "only runs in `STATE`"},
					&cli.BoolFlag{Name: "unfinished", Usage: "only runs that have not ended"},
					&cli.StringFlag{Name: "cursor", Usage: "go on after this `PLACE`, as printed before"},
				},
				Action: w.runsList,
			},
			{Name: "show", Usage: "one run: its whole path, with times", ArgsUsage: "RUN", Flags: []cli.Flag{outputFlag(), webFlag()}, Action: w.runsShow},
			{
				Name: "log", Usage: "the console of a run's build", ArgsUsage: "RUN",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "failed", Usage: "only the lines that tell why it failed"},
					&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on as long as the build does; ends with 0 whatever the run ends with (needs AIBUILD_SERVER)"},
				},
				Action: w.runsLog,
			},
			{
				Name: "start", Usage: "build an image again, as at the newest commit that was handled", ArgsUsage: "IMAGE",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "ref", Usage: "`REF`, such as refs/heads/main; the one that it was built from last"}, reason},
				Action: w.runsStart,
			},
			{Name: "cancel", Usage: "end a run that the daemon looks after", ArgsUsage: "RUN", Flags: []cli.Flag{reason}, Action: w.runsCancel},
			{
				Name: "retry", Usage: "another attempt of a run that has ended", ArgsUsage: "RUN",
				Flags:  []cli.Flag{&cli.StringFlag{Name: "from", Usage: "`STAGE` to begin with: build, test, publish or release"}, reason},
				Action: w.runsRetry,
			},
			{Name: "watch", Usage: "print how a run goes on until it has ended; ends as it did", ArgsUsage: "RUN", Action: w.runsWatch},
			w.pushesCommand(), w.runsOpenCommand(), w.runsRecordCommand(),
		},
	}
}

func (w *world) runsList(c *cli.Context) error {
	if err := args(c, "IMAGE?"); err != nil {
		return err
	}
	since, err := sinceTime(c)
	if err != nil {
		return err
	}
	if c.Bool("web") {
		return w.showPage(c, "/runs", "image", c.Args().First(), "state", c.String("state"), "unfinished", onlyIf(c.Bool("unfinished")))
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	runs, next, err := from.runs.Runs(c.Context, lineage.RunFilter{
		Image: c.Args().First(), State: c.String("state"), Unfinished: c.Bool("unfinished"), Cursor: c.String("cursor"), Limit: c.Int("limit"),
	})
	if err != nil {
		return err
	}
	runs, next = newer(runs, next, since, func(r lineage.Run) time.Time { return r.OpenedAt })
	if next != "" {
		fmt.Fprintf(w.stderr, "more: --cursor %s\n", next)
	}
	if runs == nil {
		runs = []lineage.Run{}
	}
	return w.print(c, runs, func(t io.Writer) error {
		if err := row(t, "RUN", "IMAGE", "STATE", "OPENED", "REF", "COMMIT", "REASON"); err != nil {
			return err
		}
		for _, r := range runs {
			reason, _, _ := strings.Cut(r.Reason, "\n")
			if err := row(t, r.ID, r.Image, r.State, when(r.OpenedAt), strings.TrimPrefix(r.Ref, "refs/heads/"), r.Commit[:min(len(r.Commit), 12)], reason); err != nil {
				return err
			}
		}
		return nil
	})
}

// oneRun is the run that the only argument names.
func (w *world) oneRun(c *cli.Context) (runReader, lineage.Run, error) {
	if err := args(c, "RUN"); err != nil {
		return nil, lineage.Run{}, err
	}
	from, err := w.reading(c)
	if err != nil {
		return nil, lineage.Run{}, err
	}
	run, err := from.runs.Run(c.Context, c.Args().First())
	return from.runs, run, err
}

// shownRun is a run with its path.
type shownRun struct {
	lineage.Run
	Path []lineage.Event `json:"path"` // oldest first
}

func (w *world) runsShow(c *cli.Context) error {
	if c.Bool("web") {
		if err := args(c, "RUN"); err != nil {
			return err
		}
		return w.showPage(c, "/runs/"+url.PathEscape(c.Args().First()))
	}
	from, run, err := w.oneRun(c)
	if err != nil {
		return err
	}
	events, _, err := from.Events(c.Context, lineage.EventFilter{RunID: run.ID, Limit: 1000})
	if err != nil {
		return err
	}
	shown := shownRun{Run: run, Path: []lineage.Event{}}
	for i := len(events) - 1; i >= 0; i-- {
		shown.Path = append(shown.Path, events[i])
	}
	return w.print(c, shown, func(t io.Writer) error { return printRun(t, shown) })
}

func printRun(t io.Writer, r shownRun) error {
	rows := [][2]string{
		{"run", r.ID}, {"image", r.Image}, {"state", r.State}, {"reason", r.Reason}, {"project", r.Project}, {"ref", r.Ref}, {"commit", r.Commit},
		{"folder", r.Folder}, {"from", r.From}, {"attempt", fmt.Sprint(r.Attempt)}, {"by", r.Actor + " (" + r.Channel + ")"}, {"build", r.BuildURL}, {"made", r.ImageUUID},
	}
	for _, one := range rows {
		if err := row(t, one[0]+":", one[1]); err != nil {
			return err
		}
	}
	if r.StatusError != "" {
		if err := row(t, "commit status:", "gitlab could not be told: "+r.StatusError); err != nil {
			return err
		}
	}
	var last time.Time
	for _, e := range r.Path {
		took := ""
		if !last.IsZero() {
			took = fmt.Sprintf("+%.1f s", e.At.Sub(last).Seconds())
		}
		last = e.At
		reason, _, _ := strings.Cut(e.Reason, "\n")
		if err := row(t, when(e.At), took, e.Verb, e.State, reason); err != nil {
			return err
		}
	}
	if r.Failure == nil {
		return nil
	}
	return r.Failure.Render(t)
}

func (w *world) runsLog(c *cli.Context) error {
	_, run, err := w.oneRun(c)
	if err != nil {
		return err
	}
	if c.Bool("failed") {
		if run.Failure == nil {
			return fmt.Errorf("run %s: no failure is recorded: %w", run.ID, lineage.ErrNotFound)
		}
		return run.Failure.Render(w.stdout)
	}
	if c.Bool("follow") {
		return w.followLog(c, run)
	}
	if done, err := w.serverLog(c, run.ID, w.stdout); errors.Is(err, lineage.ErrNotFound) {
		return noLog(run)
	} else if done || err != nil {
		return err
	}
	data, err := w.config.dataDir()
	if err != nil {
		return err
	}
	file, err := os.Open(hooks.LogFile(filepath.Join(data, "logs"), run.ID))
	if errors.Is(err, os.ErrNotExist) {
		return noLog(run)
	}
	if err != nil {
		return err
	}
	defer file.Close() // reading only: nothing can be lost
	unpacked, err := zstd.NewReader(file, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer unpacked.Close()
	_, err = io.Copy(w.stdout, unpacked)
	return err
}

// followLog shows the console while it grows. Only the daemon reads it from
// Jenkins.
func (w *world) followLog(c *cli.Context, run lineage.Run) error {
	client, err := w.client(c)
	if err != nil {
		return err
	}
	if client == nil {
		return usagef("aibuild runs log --follow asks the daemon: set AIBUILD_SERVER and AIBUILD_TOKEN_FILE, or look at %s", cmp.Or(console(run), "its console"))
	}
	state, err := client.FollowLog(c.Context, run.ID, w.stdout)
	if errors.Is(err, lineage.ErrNotFound) {
		return noLog(run)
	}
	if err == nil {
		fmt.Fprintf(w.stderr, "aibuild: the log has ended; the run is %s\n", state)
	}
	return err
}

// noLog says where the console of a run is that is not kept: it is fetched when
// the build has ended.
func noLog(r lineage.Run) error {
	where := "no console of it is kept here"
	switch {
	case r.BuildURL != "" && r.Final():
		where += "; look at " + console(r)
	case r.BuildURL != "":
		where = "its console is kept when the build has ended; follow it at " + console(r)
	case r.Final():
	case r.Managed:
		where = "it is " + r.State + ", and no build of it has begun; aibuild runs watch " + r.ID + " tells how it goes on"
	default:
		where = "its console is where it was started: " + cmp.Or(r.Worker, "by "+r.Actor)
	}
	return fmt.Errorf("log of run %s: %s: %w", r.ID, where, lineage.ErrNotFound)
}

// console is the page on which Jenkins shows the console of the run's build.
func console(r lineage.Run) string {
	if r.BuildURL == "" {
		return ""
	}
	return strings.TrimSuffix(r.BuildURL, "/") + "/console"
}

func (w *world) runsStart(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	runs, err := w.steering(c)
	if err != nil {
		return err
	}
	id, err := runs.start(c.Context, c.Args().First(), c.String("ref"), reasonOr(c, "started by hand"))
	return w.printRunID(id, err)
}

func reasonOr(c *cli.Context, reason string) string {
	if r := c.String("reason"); r != "" {
		return r
	}
	return reason
}

func (w *world) printRunID(id string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(w.stdout, id)
	return err
}

func (w *world) runsCancel(c *cli.Context) error {
	if err := args(c, "RUN"); err != nil {
		return err
	}
	runs, err := w.steering(c)
	if err != nil {
		return err
	}
	return runs.cancel(c.Context, c.Args().First(), c.String("reason"))
}

func (w *world) runsRetry(c *cli.Context) error {
	if err := args(c, "RUN"); err != nil {
		return err
	}
	runs, err := w.steering(c)
	if err != nil {
		return err
	}
	id, err := runs.retry(c.Context, c.Args().First(), c.String("from"), reasonOr(c, "tried again by hand"))
	return w.printRunID(id, err)
}

func (w *world) runsWatch(c *cli.Context) error {
	if err := args(c, "RUN"); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	for said := ""; ; {
		run, err := from.runs.Run(c.Context, c.Args().First())
		if err != nil {
			return err
		}
		if now := strings.TrimSpace(run.State + " " + run.Stage + ": " + run.Reason); now != said {
			said = now
			fmt.Fprintf(w.stderr, "[%s] %s\n", time.Now().UTC().Format(time.TimeOnly), now)
		}
		switch {
		case run.State == lineage.RunSuccess:
			return nil
		case run.Final() && run.Failure != nil:
			return errors.Join(run.Failure.Render(w.stderr), exitStatus(runCode(run)))
		case run.Final():
			return exitStatus(runCode(run))
		}
		select {
		case <-c.Context.Done():
			return c.Context.Err()
		case <-time.After(time.Second):
		}
	}
}

// runCode is the exit status of a run that did not succeed.
func runCode(r lineage.Run) int {
	switch {
	case r.ExitCode != nil && *r.ExitCode != 0:
		return *r.ExitCode
	case r.State == lineage.RunUnstable:
		return 3
	case r.State == lineage.RunRejected, r.State == lineage.RunSuperseded:
		return 5
	}
	return 1
}
