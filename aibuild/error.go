package aibuild

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// Exit codes are a contract with scripts and Jenkins jobs.
const (
	CodeInfrastructure = 1   // this machine, a server or the network; retryable
	CodeUsage          = 2   // usage, configuration, or a definition that validate refuses
	CodeImage          = 3   // the build or the tests ran, and the template or image failed
	CodeNotFound       = 4   // no such image, run, cluster
	CodeRefused        = 5   // refused by a rule or gate
	CodeCancelled      = 130 // somebody stopped it; everything was cleaned up
)

// Stages of a run, in order.
const (
	StageBuild   = "build"
	StageTest    = "test"
	StagePublish = "publish"
	StageRelease = "release"
)

// Error is how every failed stage ends.
type Error struct {
	Stage string // build, test, publish, release, rollback, …
	Blame string // one of lineage's Blame constants
	Code  int    // exit code
	Hint  string // what to type or do next
	// Failure is the form that is stored, and that every face prints.
	Failure lineage.Failure
	Err     error
}

// Error says the stage and the cause.
func (e *Error) Error() string { return e.Stage + ": " + e.Err.Error() }

// Unwrap gives the error of the room that failed.
func (e *Error) Unwrap() error { return e.Err }

// Refused is a gate that an image may not pass.
type Refused struct {
	Image string // NAME or uuid
	Rule  string // in words: "an image is released after its tests have passed"
	Found string // what is there instead
	Next  string // what to do
}

// Error says rule, finding and remedy.
func (e *Refused) Error() string {
	text := fmt.Sprintf("%s: refused: %s; %s", e.Image, e.Rule, e.Found)
	if e.Next != "" {
		text += "; " + e.Next
	}
	return text
}

// isMissing says whether err means that what was asked for is not there.
func isMissing(err error) bool {
	var none *NotFound
	return errors.As(err, &none) || errors.Is(err, lineage.ErrNotFound) || errors.Is(err, publish.ErrNotFound)
}

// NotFound says what is not there.
type NotFound struct {
	What string // "image", "run"
	Ref  string
	Hint string
}

// Error says what was looked for, and how to see what there is.
func (e *NotFound) Error() string {
	text := fmt.Sprintf("no %s %q", e.What, e.Ref)
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// TestFailed is a verdict that is not passed.
type TestFailed struct{ Report *harness.Report }

// Error says which case decided, and why.
func (e *TestFailed) Error() string {
	if e.Report.Message == "" {
		return fmt.Sprintf("tests %s: %s", e.Report.Verdict, e.Report.Decider)
	}
	return fmt.Sprintf("tests %s: %s: %s", e.Report.Verdict, e.Report.Decider, e.Report.Message)
}

// verdict is what a kind of error means for people and scripts.
type verdict struct {
	blame string
	code  int
	hint  string
	lines []string
	files []string
}

// fail wraps err as the end of a stage. retry is the command that tries again.
func fail(stage string, err error, retry string) *Error {
	var done *Error
	if errors.As(err, &done) {
		return done
	}
	v := judge(err)
	if v.hint == "" && v.code != CodeRefused && v.code != CodeUsage {
		v.hint = retry
	}
	return &Error{
		Stage: stage, Blame: v.blame, Code: v.code, Hint: v.hint, Err: err,
		Failure: lineage.Failure{
			Stage: stage, Blame: v.blame, Sentence: err.Error(),
			Lines: v.lines, Evidence: v.files, Next: v.hint,
		},
	}
}

// judge decides whose fault an error is. The order matters: a cancelled build
// is a cancelled build whatever it broke.
func judge(err error) verdict {
	if errors.Is(err, context.Canceled) {
		return verdict{blame: lineage.BlameCancelled, code: CodeCancelled}
	}
	for _, ask := range []func(error) (verdict, bool){judgePacker, judgeTest, judgeInput, judgeGate, judgeCloud} {
		if v, ok := ask(err); ok {
			return v
		}
	}
	return verdict{blame: lineage.BlameInfrastructure, code: CodeInfrastructure}
}

func judgePacker(err error) (verdict, bool) {
	var f *packer.Failed
	if !errors.As(err, &f) {
		return verdict{}, false
	}
	v := verdict{blame: f.Blame, code: CodeImage, lines: f.Lines, files: f.Evidence}
	switch f.Blame {
	case packer.BlameInfrastructure:
		v.code = CodeInfrastructure
	case packer.BlameDefinition:
		v.code = CodeUsage
	}
	return v, true
}

func judgeTest(err error) (verdict, bool) {
	var t *TestFailed
	if errors.As(err, &t) {
		v := verdict{blame: lineage.BlameImage, code: CodeImage, lines: decidingLines(t.Report)}
		if t.Report.Verdict == harness.Error {
			v.blame, v.code = lineage.BlameInfrastructure, CodeInfrastructure
		}
		return v, true
	}
	var bad *qemu.BadImage
	if errors.As(err, &bad) {
		return verdict{blame: lineage.BlameImage, code: CodeImage}, true
	}
	var plan *harness.PlanError
	if errors.As(err, &plan) {
		return verdict{blame: lineage.BlameDefinition, code: CodeUsage}, true
	}
	return verdict{}, false
}

// decidingLines are the lines that show a person why: the fault's line, then
// the end of the serial log or of the case's message.
func decidingLines(r *harness.Report) []string {
	var lines []string
	for _, c := range r.Cells {
		if c.Result == harness.Passed {
			continue
		}
		if c.Fault != nil && c.Fault.Line != "" {
			lines = append(lines, c.Fault.Line)
		}
		lines = append(lines, c.Lines...)
		break
	}
	for _, c := range r.Cases {
		if c.Cell+"/"+c.Case == r.Decider && c.Message != "" {
			lines = append(lines, strings.Split(strings.TrimSpace(c.Message), "\n")...)
			break
		}
	}
	const most = 20
	return lines[max(0, len(lines)-most):]
}

func judgeInput(err error) (verdict, bool) {
	var problems definition.Errors
	var space *publish.NoSpace
	var corrupt *publish.Corrupt
	switch {
	case errors.As(err, &problems):
		return verdict{blame: lineage.BlameDefinition, code: CodeUsage}, true
	case errors.Is(err, process.ErrNotFound):
		return verdict{blame: lineage.BlameInfrastructure, code: CodeInfrastructure, hint: "aibuild doctor"}, true
	case errors.As(err, &space):
		return verdict{blame: lineage.BlameInfrastructure, code: CodeInfrastructure, hint: "aibuild prune --dry-run"}, true
	case errors.As(err, &corrupt):
		return verdict{blame: lineage.BlameInfrastructure, code: CodeRefused}, true
	}
	return verdict{}, false
}

func judgeGate(err error) (verdict, bool) {
	var gate *Refused
	var policy *definition.Refused
	var taken *lineage.Taken
	var conflict *lineage.Conflict
	var missing *NotFound
	var ambiguous *lineage.Ambiguous
	var invalid *lineage.Invalid
	switch {
	case errors.As(err, &gate):
		return verdict{blame: lineage.BlameRule, code: CodeRefused, hint: gate.Next}, true
	case errors.As(err, &policy), errors.As(err, &taken), errors.As(err, &conflict):
		return verdict{blame: lineage.BlameRule, code: CodeRefused}, true
	case errors.As(err, &missing):
		return verdict{blame: lineage.BlameUser, code: CodeNotFound, hint: missing.Hint}, true
	case errors.Is(err, lineage.ErrNotFound), errors.Is(err, publish.ErrNotFound):
		return verdict{blame: lineage.BlameUser, code: CodeNotFound, hint: "aibuild image list"}, true
	case errors.As(err, &ambiguous), errors.As(err, &invalid):
		return verdict{blame: lineage.BlameUser, code: CodeUsage}, true
	}
	return verdict{}, false
}

func judgeCloud(err error) (verdict, bool) {
	switch {
	case errors.Is(err, glance.ErrUnknownCluster):
		return verdict{blame: lineage.BlameUser, code: CodeNotFound, hint: "aibuild doctor"}, true
	case errors.Is(err, glance.ErrRefused):
		return verdict{blame: lineage.BlameRule, code: CodeRefused}, true
	case errors.Is(err, glance.ErrInput):
		return verdict{blame: lineage.BlameUser, code: CodeUsage}, true
	case errors.Is(err, glance.ErrNotFound):
		return verdict{blame: lineage.BlameUser, code: CodeNotFound}, true
	}
	return verdict{}, false
}

// Judge gives any error of this library its place in the contract of exit codes.
func Judge(stage string, err error) *Error { return fail(stage, err, "") }
