package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) adminCommands() []*cli.Command {
	return []*cli.Command{
		w.serveCommand(),
		w.tokenCommand(),
		w.doctorCommand(),
		w.jenkinsCommand(),
		w.gitlabCommand(),
		{
			Name: "db", Usage: "the database: its state, its tables",
			Subcommands: []*cli.Command{
				{Name: "status", Usage: "server, schema, what is missing", Flags: []cli.Flag{outputFlag()}, Action: w.dbStatus},
				{Name: "migrate", Usage: "create or upgrade the tables", Action: w.dbMigrate},
				{
					Name: "import-published", Usage: "record what images/release tells of its images, where the database was lost", Flags: []cli.Flag{outputFlag()}, Action: w.importPublished,
					Description: "Every published image has its story beside it, in image.json: what is not recorded is, under the number that the image had;\n" +
						"what is recorded stays as it is. It can be repeated.",
				},
			},
		},
		{
			Name: "audit", Usage: "who did what, when and why, newest first", ArgsUsage: "[IMAGE]",
			Flags: []cli.Flag{
				limitFlag(), sinceFlag(), outputFlag(), webFlag(),
				&cli.StringFlag{Name: "actor", Usage: "only what `WHO` did"},
				&cli.StringFlag{Name: "cursor", Usage: "go on after this `PLACE`, as printed before"},
			},
			Action: w.audit,
		},
		{Name: "version", Usage: "print the version", Flags: []cli.Flag{outputFlag()}, Action: w.version},
		{Name: "completion", Usage: "print completions for bash or zsh", ArgsUsage: "SHELL", Action: w.completion},
		{Name: "man", Usage: "print the manual page", Hidden: true, Action: w.man},
	}
}

func (w *world) dbStatus(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	store, err := w.openStore(c.Context, w.logger(c))
	if err != nil {
		return err
	}
	s, err := store.Status(c.Context)
	if err != nil {
		return err
	}
	printErr := w.print(c, s, func(t io.Writer) error {
		rows := [][2]string{
			{"server", s.Server}, {"address", s.Address},
			{"schema", fmt.Sprintf("%d (this aibuild knows %d)", s.Schema, s.Known)},
			{"images", fmt.Sprint(s.Images)}, {"runs", fmt.Sprint(s.Runs)},
			{"missing", strings.Join(s.Missing, ", ")}, {"warnings", strings.Join(s.Warnings, "; ")},
		}
		for _, r := range rows {
			if err := row(t, r[0]+":", r[1]); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(store.Ready(c.Context), printErr)
}

func (w *world) dbMigrate(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	store, err := w.openStore(c.Context, w.logger(c))
	if err != nil {
		return err
	}
	if err := store.Migrate(c.Context); err != nil {
		return err
	}
	s, err := store.Status(c.Context)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "schema %d is in place on %s\n", s.Schema, s.Address)
	return nil
}

func (w *world) audit(c *cli.Context) error {
	if err := args(c, "IMAGE?"); err != nil {
		return err
	}
	since, err := sinceTime(c)
	if err != nil {
		return err
	}
	if c.Bool("web") {
		return w.showPage(c, "/audit", "image", c.Args().First(), "actor", c.String("actor"))
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	filter := lineage.EventFilter{Actor: c.String("actor"), Cursor: c.String("cursor"), Limit: c.Int("limit")}
	if ref := c.Args().First(); ref != "" {
		img, err := one(c.Context, from.images, ref)
		if err != nil {
			return err
		}
		filter.Image, filter.ImageUUID = img.Name, ""
		if ref != img.Name {
			filter.Image, filter.ImageUUID = "", img.UUID
		}
	}
	events, next, err := from.runs.Events(c.Context, filter)
	if err != nil {
		return err
	}
	events, next = newer(events, next, since, func(e lineage.Event) time.Time { return e.Recorded })
	if next != "" {
		fmt.Fprintf(w.stderr, "more: --cursor %s\n", next)
	}
	if events == nil {
		events = []lineage.Event{}
	}
	return w.print(c, events, func(t io.Writer) error {
		if err := row(t, "WHEN", "WHO", "BY", "DID", "IMAGE", "CLUSTER", "STATE", "REASON"); err != nil {
			return err
		}
		for _, e := range events {
			what := e.Image
			if e.ImageUUID != "" {
				what += " " + e.ImageUUID
			}
			reason, _, _ := strings.Cut(e.Reason, "\n")
			if err := row(t, when(e.At), e.Actor, e.Channel, e.Verb, strings.TrimSpace(what), e.Cluster, e.State, reason); err != nil {
				return err
			}
		}
		return nil
	})
}

func isNotFound(err error) bool { return errors.Is(err, lineage.ErrNotFound) }

func (w *world) version(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	v := map[string]any{"version": version, "api": api.Level, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	return w.print(c, v, func(t io.Writer) error {
		_, err := fmt.Fprintf(t, "aibuild %s (api %d, %s, %s)\n", version, api.Level, v["go"], v["platform"])
		return err
	})
}

// The scripts ask the program itself (urfave/cli's --generate-bash-completion).
const bashCompletion = `_aibuild() {
  local words=("${COMP_WORDS[@]:0:COMP_CWORD}")
  COMPREPLY=($(compgen -W "$("${words[@]}" --generate-bash-completion 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
  [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -F _aibuild aibuild
`

const zshCompletion = `#compdef aibuild
_aibuild() {
  local -a found
  found=("${(@f)$("${words[@]:0:$((CURRENT-1))}" --generate-bash-completion 2>/dev/null)}")
  [[ -n "${found[1]}" ]] && compadd -- "${found[@]}" || _files
}
compdef _aibuild aibuild
`

func (w *world) completion(c *cli.Context) error {
	if err := args(c, "SHELL"); err != nil {
		return err
	}
	script := map[string]string{"bash": bashCompletion, "zsh": zshCompletion}[c.Args().First()]
	if script == "" {
		return usagef("aibuild completion: %q is not supported; use bash or zsh", c.Args().First())
	}
	_, err := io.WriteString(w.stdout, script)
	return err
}
