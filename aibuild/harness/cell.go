package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// outcome is what became of one cell.
type outcome struct {
	report  CellReport
	cases   []CaseResult
	facts   facts
	hostKey string // fingerprint
	err     error  // why nothing can be said; nil when the cell was judged
}

// cellRun is one attempt to judge an image in one cell.
type cellRun struct {
	*testRun
	cell     Cell
	evidence string // absolute folder
	folder   string // the same below Plan.Evidence
	m        *machine
	out      *outcome
	current  string    // the case that is running, named when the guest dies
	since    time.Time // when it began
	warned   map[string]bool
}

// judgeCell runs a cell, and once more if nothing could be said the first time.
func (t *testRun) judgeCell(ctx context.Context, cell Cell) outcome {
	t.tell(Event{Cell: cell.String(), State: Waiting})
	release, err := takeSlot(ctx, t.slots(), slotCount())
	if err != nil {
		return t.unjudged(cell, err)
	}
	defer release()
	out := t.attempt(ctx, cell, 1)
	if out.err != nil && ctx.Err() == nil {
		first := out.err.Error()
		t.log().Warn("cell could not be judged, once more", "cell", cell.String(), "error", first)
		out = t.attempt(ctx, cell, 2)
		out.report.Retried = first
	}
	t.tell(Event{Cell: cell.String(), State: Ended, Message: out.report.Result})
	return out
}

// unjudged is the outcome of a cell that never started.
func (t *testRun) unjudged(cell Cell, err error) outcome {
	name := cell.String()
	return outcome{
		report: CellReport{Cell: name, Result: Error, Attempt: 1},
		cases:  []CaseResult{{Cell: name, Case: caseBoots, Result: Error, Attempt: 1, Message: err.Error()}},
		err:    err,
	}
}

func (t *testRun) attempt(ctx context.Context, cell Cell, attempt int) outcome {
	folder := cell.String()
	if attempt > 1 {
		folder += "." + strconv.Itoa(attempt)
	}
	c := &cellRun{
		testRun: t, cell: cell, folder: folder, evidence: filepath.Join(t.plan.Evidence, folder), warned: map[string]bool{},
		out: &outcome{report: CellReport{Cell: cell.String(), Attempt: attempt, Evidence: folder}},
	}
	begun := time.Now()
	c.begin(caseBoots)
	err := os.MkdirAll(c.evidence, 0o755)
	if err == nil {
		err = c.run(ctx)
	}
	if err != nil {
		c.died(err)
	}
	c.out.report.MS = time.Since(begun).Milliseconds()
	c.out.report.Result = c.result()
	return *c.out
}

// run boots the machine, judges it and keeps the evidence, whatever happens.
func (c *cellRun) run(ctx context.Context) (err error) {
	c.tell(Event{Cell: c.cell.String(), State: Booting})
	if c.m, err = c.prepare(ctx, c.plan, c.cell, c.accel); err != nil {
		return &untold{err}
	}
	defer func() { err = errors.Join(err, c.m.remove()) }()
	if err := c.m.powerOn(ctx, c.QEMU); err != nil {
		return &untold{errors.Join(err, c.m.copyLogs(c.evidence))}
	}
	watched, stop := c.m.watch(ctx)
	err = c.judge(watched)
	stop()
	if err != nil {
		c.died(err)
	}
	return c.wrapUp(ctx)
}

// judge follows the guest from power-on to its last case.
func (c *cellRun) judge(ctx context.Context) error {
	if err := c.greet(ctx); err != nil {
		if f := asFault(err); f != nil && slices.Contains([]string{SSHSilent, SSHHangs, KeyRefused}, f.Kind) {
			c.end(CaseResult{Result: Passed})
			c.begin(caseLogin)
		}
		return err
	}
	c.end(CaseResult{Result: Passed})
	c.begin(caseLogin)
	c.end(CaseResult{Result: Passed})
	c.examine()
	if err := c.takeInventory(ctx); err != nil {
		return err
	}
	return c.runCases(ctx)
}

// greet waits until the guest is up and has said about itself what it can.
func (c *cellRun) greet(ctx context.Context) error {
	if err := c.m.becomeReady(ctx); err != nil {
		return err
	}
	c.out.report.ReadyMS = time.Since(c.m.started).Milliseconds()
	c.out.hostKey = ssh.FingerprintSHA256(c.m.login.hostKey())
	c.tell(Event{Cell: c.cell.String(), State: Ready})
	err := c.m.settle(ctx)
	if err == nil && c.plan.Builtin {
		c.out.facts, err = c.m.look(ctx, c.evidence)
	}
	var broken *brokenError
	if errors.As(err, &broken) {
		return newFault(SSHHangs, err.Error(), time.Since(c.m.started))
	}
	return err
}

// examine puts the built-in cases to what the guest said about itself.
func (c *cellRun) examine() {
	if c.out.facts == nil {
		return
	}
	e := examination{facts: c.out.facts, plan: c.plan, hostname: c.m.hostname, injected: c.m.login.public, imageMin: c.m.imageMin}
	for _, b := range builtins {
		c.begin(b.name)
		f := b.look(e)
		c.end(CaseResult{Result: f.result, Message: f.message, Evidence: filepath.Join(c.folder, "facts.txt")})
	}
}

func (c *cellRun) begin(name string) {
	c.current, c.since = name, time.Now()
	c.tell(Event{Cell: c.cell.String(), Case: name, State: Running})
}

// end records the result of the running case.
func (c *cellRun) end(r CaseResult) {
	r.Cell, r.Case = c.cell.String(), c.current
	r.Attempt, r.MS = max(1, r.Attempt), time.Since(c.since).Milliseconds()
	c.out.cases = append(c.out.cases, r)
	c.current = ""
	c.tell(Event{Cell: r.Cell, Case: r.Case, State: r.Result, Message: r.Message})
}

// died records what ended the cell before its time and that the cases after it
// did not run. Only the first reason counts.
func (c *cellRun) died(err error) {
	report := &c.out.report
	if report.Fault != nil || c.out.err != nil {
		report.Notes = append(report.Notes, err.Error())
		return
	}
	result := Error
	if f := asFault(err); f != nil {
		result = Failed
		f.Case = c.current
		report.Fault = &f.Fault
	} else {
		c.out.err = err
	}
	if c.current != "" {
		c.end(CaseResult{Result: result, Message: err.Error()})
	} else {
		c.begin(caseBoots)
		c.out.cases = slices.DeleteFunc(c.out.cases, func(r CaseResult) bool { return r.Case == caseBoots })
		c.end(CaseResult{Result: result, Message: err.Error()})
	}
	for _, name := range c.remaining() {
		c.begin(name)
		c.end(CaseResult{Result: Skipped, Message: "not run: the cell had ended"})
	}
}

// remaining are the cases without a result.
func (c *cellRun) remaining() []string {
	names := []string{caseBoots, caseLogin}
	if c.plan.Builtin {
		names = BuiltinCases()
	}
	for _, k := range c.plan.Cases {
		names = append(names, k.Name)
	}
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(c.out.cases, func(r CaseResult) bool { return r.Case == name })
	})
}

// wrapUp takes the last picture, ends the guest and keeps the evidence.
func (c *cellRun) wrapUp(ctx context.Context) error {
	c.heed(c.m.vm.Console().Warnings())
	const limit = 10 * time.Second
	shot, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	if err := c.m.vm.Screenshot(shot, filepath.Join(c.evidence, "screenshot.png")); err != nil {
		c.out.report.Notes = append(c.out.report.Notes, "no screenshot: "+err.Error())
	}
	const context = 20 // lines of the console
	lines := c.m.vm.Console().Tail(context)
	err := c.m.stop()
	if err := c.m.copyLogs(c.evidence); err != nil {
		c.out.report.Notes = append(c.out.report.Notes, "evidence: "+err.Error())
	}
	if c.result() == Passed {
		return err
	}
	c.out.report.Lines = lines
	return errors.Join(err, c.keepDisk())
}

// keepDisk moves the guest's disk to the evidence if the plan wants it.
func (c *cellRun) keepDisk() error {
	if !c.plan.KeepOnFailure {
		return nil
	}
	kept := filepath.Join(c.evidence, "disk.qcow2")
	if os.Rename(c.m.diskPath(), kept) != nil { // other file system
		if err := copyFile(c.m.diskPath(), kept); err != nil {
			return fmt.Errorf("keep the guest's disk: %w", err)
		}
	}
	c.out.report.Disk = kept
	return nil
}

// heed takes the console's warnings into the notes; a kernel that went wrong
// fails the boot though the guest goes on.
func (c *cellRun) heed(warnings []qemu.Fault) {
	for _, w := range warnings {
		if text := w.String(); !c.warned[text] {
			c.warned[text] = true
			c.out.report.Notes = append(c.out.report.Notes, "console: "+text)
		}
		boots := slices.IndexFunc(c.out.cases, func(r CaseResult) bool { return r.Case == caseBoots && r.Result == Passed })
		if boots >= 0 && (w.Kind == "kernel-oops" || w.Kind == "kernel-bug") {
			c.out.cases[boots].Result, c.out.cases[boots].Message = Failed, w.String()
		}
	}
}

func (c *cellRun) result() string { return worst(c.out.cases) }

// worst is the verdict over cases: what is proven outweighs what is not known.
func worst(cases []CaseResult) string {
	verdict := Passed
	for _, r := range cases {
		if r.Result == Failed {
			return Failed
		}
		if r.Result == Error {
			verdict = Error
		}
	}
	return verdict
}
