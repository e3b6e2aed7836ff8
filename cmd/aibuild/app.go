package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

func (w *world) app() *cli.App {
	app := &cli.App{
		Name:                 "aibuild",
		Usage:                "build, test, publish and release GuestOS images, and keep their whole story",
		Version:              version,
		HideVersion:          true,
		HideHelpCommand:      true,
		EnableBashCompletion: true,
		Reader:               w.stdin, Writer: w.stdout, ErrWriter: w.stderr,
		ExitErrHandler: func(*cli.Context, error) {}, // world.finish prints and decides
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return usagef("%v; see aibuild --help", err) },
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "configuration `FILE` (AIBUILD_CONFIG, then /etc/aibuild/aibuild-config.yaml)"},
			&cli.StringFlag{Name: "log-level", Value: "warn", Usage: "trace, debug, info, warn or error"},
			&cli.BoolFlag{Name: "log-json", Usage: "log JSON lines"},
		},
		Before: w.before,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknown(c.App.Commands, "aibuild", c.Args().First())
			}
			return w.greet()
		},
		Commands: slices.Concat(w.definitionCommands(), w.stageCommands(), w.afterCommands(),
			[]*cli.Command{w.imageCommand(), w.packageCommand(), w.searchCommand(), w.runsCommand(), w.gateCommand()}, w.adminCommands()),
	}
	for _, cmd := range app.Commands {
		w.finishCommand(cmd, "aibuild")
	}
	return app
}

// finishCommand gives every command what all of them have in common.
func (w *world) finishCommand(cmd *cli.Command, parent string) {
	path := parent + " " + cmd.Name
	cmd.Before = func(*cli.Context) error { w.command = path; return nil }
	cmd.HideHelpCommand = true
	cmd.OnUsageError = func(_ *cli.Context, err error, _ bool) error {
		return usagef("%v; see %s --help", err, path)
	}
	if len(cmd.Subcommands) == 0 {
		return
	}
	cmd.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknown(cmd.Subcommands, path, c.Args().First())
		}
		return usagef("%s needs one of: %s", path, strings.Join(names(cmd.Subcommands), ", "))
	}
	for _, sub := range cmd.Subcommands {
		w.finishCommand(sub, path)
	}
}

func names(commands []*cli.Command) []string {
	var all []string
	for _, c := range commands {
		all = append(all, c.Name)
	}
	return all
}

func unknown(commands []*cli.Command, path, word string) error {
	return usagef("%s has no command %q; it has: %s", path, word, strings.Join(names(commands), ", "))
}

// before reads the configuration, which every command may need.
func (w *world) before(c *cli.Context) error {
	cfg, err := readConfig(c.String("config"), w.getenv)
	if err != nil {
		return err
	}
	w.config = cfg
	return nil
}

func (w *world) greet() error {
	_, err := fmt.Fprint(w.stdout, `aibuild: GuestOS images, built, tested, published and released

Five commands for a first image:

  aibuild doctor              what works on this machine, and what to do about the rest
  aibuild init my-image       a complete definition to start from
  aibuild validate my-image   every problem at once, with file and line
  aibuild run my-image        build, test, publish and release it
  aibuild image history my-image

aibuild --help lists all commands.
`)
	return err
}

// args checks the number of arguments: words names them, a trailing ? marks
// those that may be missing.
func args(c *cli.Context, words ...string) error {
	least := 0
	for _, word := range words {
		if !strings.HasSuffix(word, "?") {
			least++
		}
	}
	// Before anything is done: a result that cannot be printed is no result.
	if format := c.String("output"); format != "" && !slices.Contains(formats, format) {
		return usagef("%s: -o %s: use table, json, yaml or csv", c.Command.HelpName, format)
	}
	if c.NArg() > len(words) {
		return usagef("%s: unexpected argument %q; see %s --help", c.Command.HelpName, c.Args().Get(len(words)), c.Command.HelpName)
	}
	// As of a variable that a script did not set.
	for i, given := range c.Args().Slice() {
		if given == "" {
			return usagef("%s: %s is empty; see %s --help", c.Command.HelpName, strings.TrimSuffix(words[i], "?"), c.Command.HelpName)
		}
	}
	if n := c.NArg(); n < least {
		return usagef("%s: %s is missing; see %s --help", c.Command.HelpName, strings.TrimSuffix(words[n], "?"), c.Command.HelpName)
	}
	return nil
}
