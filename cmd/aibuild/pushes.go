package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) pushesCommand() *cli.Command {
	return &cli.Command{
		Name: "pushes", Usage: "what GitLab told of, and what became of it: why was an image not built?",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "project", Usage: "only pushes to `PROJECT`, such as group/images"},
			&cli.StringFlag{Name: "ref", Usage: "only pushes to `REF` of the project, such as main or refs/tags/v1"},
			limitFlag(), outputFlag(),
			&cli.StringFlag{Name: "cursor", Usage: "go on after this `PLACE`, as printed before"},
		},
		Action: w.pushes,
	}
}

func (w *world) pushes(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	ref := c.String("ref")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	pushes, next, err := from.runs.HookEvents(c.Context, lineage.HookFilter{Project: c.String("project"), Ref: ref, Cursor: c.String("cursor"), Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	if next != "" {
		fmt.Fprintf(w.stderr, "more: --cursor %s\n", next)
	}
	if pushes == nil {
		pushes = []lineage.HookEvent{}
	}
	return w.print(c, pushes, func(t io.Writer) error {
		if err := row(t, "WHEN", "PROJECT", "REF", "AFTER", "STATE", "REASON"); err != nil {
			return err
		}
		for _, e := range pushes {
			reason, _, _ := strings.Cut(e.Reason, "\n")
			if err := row(t, when(e.ReceivedAt), e.Project, strings.TrimPrefix(e.Ref, "refs/heads/"), e.After[:min(len(e.After), 12)], e.State, reason); err != nil {
				return err
			}
		}
		return nil
	})
}
