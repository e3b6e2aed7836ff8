package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// world is what a command sees of the machine; tests put their own in place.
type world struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	getenv func(string) string

	config  config
	closers []func() error
	signal  os.Signal // that ended us
	said    bool      // which database is used
	warned  bool      // that the token can be read on the way
	command string    // that is run: aibuild runs list
	outcome outcome   // of the stage, for who called it
}

// usageError is a mistake in how a command was called: exit status 2.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

func (w *world) main(args []string) int {
	ctx, stop := w.catchSignals()
	defer stop()
	app := w.app()
	args, err := w.withOptions(app, args)
	w.expect(args)
	if err == nil {
		err = app.RunContext(ctx, reorder(app, args))
	}
	if closeErr := w.close(); err == nil {
		err = closeErr
	}
	return w.finish(err)
}

// catchSignals ends the context at SIGINT or SIGTERM; a second signal kills.
func (w *world) catchSignals() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case s := <-ch:
			w.signal = s
			signal.Stop(ch)
			fmt.Fprintf(w.stderr, "aibuild: %v: cleaning up; once more ends at once\n", s)
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(ch); cancel() }
}

func (w *world) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// finish prints how a command ended, writes what it was asked to write of that,
// and gives its exit status.
func (w *world) finish(err error) int {
	code, failed, block := w.judged(err)
	if _, printErr := io.WriteString(w.stderr, block); printErr != nil && failed != nil {
		code = aibuild.CodeInfrastructure
	}
	if writeErr := w.outcome.end(code, failed, block); writeErr != nil {
		fmt.Fprintf(w.stderr, "aibuild: %v\n", writeErr)
		if code == 0 {
			return aibuild.CodeInfrastructure
		}
	}
	return code
}

// judged gives an error its exit status and the text that the console shows.
func (w *world) judged(err error) (code int, failed *aibuild.Error, block string) {
	if err == nil {
		return 0, nil, ""
	}
	var quiet exitStatus
	if errors.As(err, &quiet) {
		return int(quiet), nil, ""
	}
	if !errors.As(err, &failed) {
		failed = asError(err)
	}
	if code, blame := judgeServer(err); code != 0 && failed.Code == aibuild.CodeInfrastructure {
		failed.Code, failed.Failure.Blame = code, blame
	}
	var b strings.Builder
	if failed.Code == aibuild.CodeUsage && !ranSomething(failed) {
		fmt.Fprintf(&b, "aibuild: %v\n", failed.Err)
	} else if renderErr := failed.Failure.Render(&b); renderErr != nil {
		return aibuild.CodeInfrastructure, failed, b.String()
	}
	if failed.Code == aibuild.CodeCancelled && w.signal == syscall.SIGTERM {
		return 143, failed, b.String()
	}
	return failed.Code, failed, b.String()
}

// ranSomething tells a stage that came to something from a call that did not.
func ranSomething(e *aibuild.Error) bool {
	return len(e.Failure.Lines) > 0 || len(e.Failure.Evidence) > 0
}

// exitStatus ends a command that has said everything itself.
type exitStatus int

func (e exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// asError gives errors that come from no stage their exit code.
func asError(err error) *aibuild.Error {
	var usage usageError
	var problems definition.Errors
	var schema *lineage.SchemaError
	e := &aibuild.Error{Stage: "aibuild", Err: err}
	switch {
	case errors.As(err, &usage), errors.As(err, &problems), isCLIError(err):
		e.Code, e.Blame = aibuild.CodeUsage, lineage.BlameUser
	case errors.As(err, &schema):
		e.Code, e.Blame = aibuild.CodeUsage, lineage.BlameUser
	default:
		e = aibuild.Judge("aibuild", err)
	}
	e.Failure.Stage, e.Failure.Blame, e.Failure.Sentence = e.Stage, e.Blame, err.Error()
	return e
}

// isCLIError says whether the command line library refused the call: it has no
// error types, only texts.
func isCLIError(err error) bool {
	text := err.Error()
	for _, s := range []string{"flag provided but not defined", "flag needs an argument", "invalid value", "Required flag", "Required flags", "invalid boolean"} {
		if strings.Contains(text, s) {
			return true
		}
	}
	return false
}

func (w *world) logger(c *cli.Context) hclog.Logger {
	level := hclog.LevelFromString(c.String("log-level"))
	if level == hclog.NoLevel {
		level = hclog.Warn
	}
	return hclog.New(&hclog.LoggerOptions{
		Name: "aibuild", Level: level, Output: w.stderr, JSONFormat: c.Bool("log-json"),
	})
}

// terminal says whether a person is looking at stderr.
func (w *world) terminal() bool {
	f, ok := w.stderr.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && w.getenv("CI") == "" && w.getenv("JENKINS_URL") == ""
}

// interactive says whether a person can answer.
func (w *world) interactive() bool {
	f, ok := w.stdin.(*os.File)
	return ok && w.terminal() && term.IsTerminal(int(f.Fd()))
}
