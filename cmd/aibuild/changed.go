package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

func (w *world) changedCommand() *cli.Command {
	return &cli.Command{
		Name: "changed", Usage: "which images the checked out commit affects, and from which stage on",
		Description: "Says of a checkout what the daemon would say of a push: one line per image, parents before their children. " +
			"Without --base it is what a push would start now: the comparison is with where the branch left its upstream or, where it has none, the default branch.",
		Flags: []cli.Flag{
			outputFlag(),
			&cli.StringFlag{Name: "base", Usage: "compare with this `REV`: a commit, branch or tag"},
			&cli.StringFlag{Name: "out", Usage: "write the answer to `FILE`"}, resultFlag(),
		},
		Action: w.changed,
	}
}

func (w *world) changed(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	if c.IsSet("base") && c.String("base") == "" {
		return usagef("aibuild changed: --base is empty; name a commit, branch or tag")
	}
	change, err := hooks.Checkout{Dir: "."}.Changed(c.Context, c.String("base"))
	if errors.Is(err, hooks.ErrCheckout) {
		return usagef("aibuild changed: %v", err)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "aibuild: %s\n", change.Reason)
	if change.Uncommitted > 0 {
		fmt.Fprintf(w.stderr, "aibuild: uncommitted paths, which do not count: %d\n", change.Uncommitted)
	}
	return w.printTo(c, change, func(t io.Writer) error { return printChange(t, change) })
}

// printChange writes a line for every image that is started, and for every one that the change touches and does not start.
func printChange(t io.Writer, change hooks.Change) error {
	var lines [][3]string
	for _, i := range change.Images {
		stage, reason := i.From, i.Reason
		if i.After != "" {
			reason += "; after " + i.After
		}
		if i.Problem != "" {
			stage, reason = "rejected", problemLine(i)
		}
		lines = append(lines, [3]string{i.Name, stage, reason})
	}
	for _, list := range []struct {
		stage  string
		images []hooks.Untouched
	}{{"skipped", change.Skipped}, {"unaffected", change.Unaffected}, {"removed", change.Removed}} {
		for _, u := range list.images {
			lines = append(lines, [3]string{u.Name, list.stage, u.Reason})
		}
	}
	for i, line := range lines {
		if i == 0 {
			if err := row(t, "IMAGE", "STAGE", "REASON"); err != nil {
				return err
			}
		}
		if err := row(t, line[0], line[1], line[2]); err != nil {
			return err
		}
	}
	return nil
}

// problemLine is the first problem of a definition, and how to see the others.
func problemLine(i hooks.ImageChange) string {
	first, others, more := strings.Cut(i.Problem, "\n")
	if !more {
		return first
	}
	return fmt.Sprintf("%s (and %d more: aibuild validate %s)", first, strings.Count(others, "\n")+1, i.Folder)
}
