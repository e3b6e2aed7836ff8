// Command aibuild-standins runs the stand-ins for servers that a test or a
// demonstration cannot have, as programs of their own: `aibuild-standins jenkins`
// is a Jenkins (package jenkins/jenkinstest), `aibuild-standins gitlab` a GitLab
// (package gitlab-hooks/gitlabtest).
//
// When a stand-in is ready it prints one line of JSON on stdout, with its "url";
// everything else goes to stderr. It ends by SIGTERM or SIGINT, with --stdin when
// its standard input ends, with --state when that folder is gone. Exit codes: 0 it
// ended as it was asked to, 1 it could not start or something went wrong with it,
// 2 usage.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// standins are the programs in this one.
var standins = map[string]func(w world, args []string) error{
	"gitlab":  runGitLab,
	"jenkins": runJenkins,
}

// world is what a stand-in has of its surroundings.
type world struct {
	stdin          io.Reader
	stdout, stderr io.Writer
}

func main() { os.Exit(run(world{os.Stdin, os.Stdout, os.Stderr}, os.Args[1:])) }

// errUsage is for command lines that are wrong.
var errUsage = errors.New("usage")

func run(w world, args []string) int {
	names := strings.Join(slices.Sorted(maps.Keys(standins)), "|")
	if len(args) == 0 || standins[args[0]] == nil {
		fmt.Fprintf(w.stderr, "aibuild-standins: say which one: aibuild-standins %s [flags]; --help after it lists them\n", names)
		return 2
	}
	err := standins[args[0]](w, args[1:])
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(w.stderr, "aibuild-standins %s: %v\n", args[0], err)
		return 2
	}
	fmt.Fprintf(w.stderr, "aibuild-standins %s: %v\n", args[0], err)
	return 1
}

// life says how long a stand-in runs; every stand-in has its flags.
type life struct {
	stdin bool
	state string
}

// flags is a set with the flags that all stand-ins have.
func (w world) flags(name string) (*flag.FlagSet, *life) {
	f := flag.NewFlagSet("aibuild-standins "+name, flag.ContinueOnError)
	f.SetOutput(w.stderr)
	l := &life{}
	f.BoolVar(&l.stdin, "stdin", false, "end when standard input ends")
	f.StringVar(&l.state, "state", "", "end when this `folder` is gone")
	return f, l
}

// parse reads the flags; what is wrong is errUsage, what flag printed already.
func parse(f *flag.FlagSet, args []string) error {
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case f.NArg() > 0:
		return fmt.Errorf("%w: there are no arguments, only flags: %q", errUsage, f.Args())
	}
	return nil
}

// wait tells that a stand-in is ready and returns when it is to end.
func (w world) wait(l *life, ready any) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if l.stdin {
		go func() {
			_, _ = io.Copy(io.Discard, w.stdin) // however it ends, it ends
			stop()
		}()
	}
	if err := json.NewEncoder(w.stdout).Encode(ready); err != nil {
		return fmt.Errorf("say that it is ready: %w", err)
	}
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if l.state == "" {
			continue
		}
		if _, err := os.Stat(l.state); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
}

// texts is a flag that may be given more than once.
type texts []string

func (t *texts) String() string { return strings.Join(*t, " ") }

// Set adds one value.
func (t *texts) Set(value string) error {
	*t = append(*t, value)
	return nil
}
