package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

// setupReport is what a setup did, what it found afterwards, and what it cannot do.
type setupReport struct {
	Changes []setupChange `json:"changes"`
	Checks  []finding     `json:"checks"`
	Todo    []string      `json:"todo"` // for a person
}

// What became of something, in words.
const (
	wouldMake   = "would be made"
	wouldChange = "would be changed"
	isMade      = "made"
	isChanged   = "changed"
	isUnchanged = "as it is to be"
)

type setupChange struct {
	What string `json:"what"` // job aibuild/build
	Did  string `json:"did"`
	Diff string `json:"diff,omitempty"` // of a dry run
}

func (r *setupReport) did(what, did, diff string) {
	r.Changes = append(r.Changes, setupChange{what, did, diff})
}

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "only show what would be changed, as a diff"}
}

// printSetup writes the report, and ends with 1 where something that was checked
// is not well.
func (w *world) printSetup(c *cli.Context, r *setupReport) error {
	if r.Changes == nil {
		r.Changes = []setupChange{}
	}
	if r.Checks == nil {
		r.Checks = []finding{}
	}
	err := w.print(c, r, func(t io.Writer) error {
		for _, change := range r.Changes {
			if err := row(t, change.Did, change.What); err != nil {
				return err
			}
		}
		for _, f := range r.Checks {
			text := f.Found
			if f.Fix != "" {
				text += "; " + f.Fix
			}
			if err := row(t, f.Status, f.Check, text); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && c.String("output") == "table" {
		err = w.printRest(r)
	}
	for _, f := range r.Checks {
		if f.Status == bad {
			return errors.Join(err, exitStatus(1))
		}
	}
	return err
}

// printRest writes what has lines of its own, which no table can hold.
func (w *world) printRest(r *setupReport) error {
	for _, change := range r.Changes {
		if change.Diff == "" {
			continue
		}
		if _, err := fmt.Fprintf(w.stdout, "\n%s", change.Diff); err != nil {
			return err
		}
	}
	for i, todo := range r.Todo {
		title := ""
		if i == 0 {
			title = "\nstill to do by a person:\n"
		}
		if _, err := fmt.Fprintf(w.stdout, "%s- %s\n", title, todo); err != nil {
			return err
		}
	}
	return nil
}

// judgeNeighbour gives what Jenkins or GitLab refuses its exit code; 0 for what
// may be tried again.
func judgeNeighbour(err error) (code int, blame string) {
	is := func(reasons ...error) bool {
		for _, reason := range reasons {
			if errors.Is(err, reason) {
				return true
			}
		}
		return false
	}
	switch {
	case is(jenkins.ErrConfig, jenkins.ErrAuth, jenkins.ErrProtocol, hooks.ErrConfig, hooks.ErrAuth, hooks.ErrProtocol):
		return aibuild.CodeUsage, lineage.BlameUser
	case is(jenkins.ErrNotFound, hooks.ErrNotFound):
		return aibuild.CodeNotFound, lineage.BlameUser
	case is(jenkins.ErrForbidden, jenkins.ErrForeign, jenkins.ErrRefused, hooks.ErrForbidden, hooks.ErrRefused):
		return aibuild.CodeRefused, lineage.BlameRule
	}
	return 0, ""
}
