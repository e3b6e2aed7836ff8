package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// Harness is where and with what images are tested. The zero Harness works: it
// takes QEMU from PATH and probes for the accelerator at every test.
type Harness struct {
	QEMU  qemu.Tool
	Accel qemu.Accel // zero: QEMU.Probe decides
	// WorkDir gets a temporary folder per cell; it is made when it is not there.
	// Empty is the system's folder for temporary files.
	WorkDir string
	// Slots is the folder of lock files through which all processes of the
	// machine share its processors; empty is DefaultSlots.
	Slots string
	Log   hclog.Logger // nil is silence
	// Progress is told what happens, one call at a time.
	Progress func(Event)
	Now      func() time.Time // nil is time.Now
}

// States of an Event besides the results of a case.
const (
	Waiting = "waiting" // for a slot
	Booting = "booting"
	Ready   = "ready" // SSH login works
	Running = "running"
	Ended   = "ended" // of a cell; Message is its result
)

// Event is one step of a test.
type Event struct {
	Cell    string
	Case    string // empty for the cell itself
	State   string // a state, or the result of the case
	Message string
	At      time.Time
}

func (h Harness) log() hclog.Logger {
	if h.Log == nil {
		return hclog.NewNullLogger()
	}
	return h.Log
}

func (h Harness) now() time.Time {
	if h.Now == nil {
		return time.Now()
	}
	return h.Now()
}

func (h Harness) slots() string { return either(h.Slots, DefaultSlots) }

// accelerator is what guests run on.
func (h Harness) accelerator(ctx context.Context) (qemu.Accel, error) {
	if h.Accel != (qemu.Accel{}) {
		return h.Accel, nil
	}
	return h.QEMU.Probe(ctx)
}

// testRun is one call of Test.
type testRun struct {
	Harness
	plan  Plan
	accel qemu.Accel
	mu    sync.Mutex // serialises Progress
	stock stock
}

func (t *testRun) tell(e Event) {
	e.At = t.now()
	t.log().Debug("test", "cell", e.Cell, "case", e.Case, "state", e.State, "message", e.Message)
	if t.Progress == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Progress(e)
}

// Test boots the plan's image in each of its cells and puts every case to it. The
// error is nil when the image was judged (passed or failed); otherwise the report,
// when there is one, has the verdict error and holds what was seen. When ctx ends,
// its cause is the error, the guests are gone and the evidence so far is kept.
func (h Harness) Test(ctx context.Context, p Plan) (*Report, error) {
	p, err := p.withDefaults()
	if err == nil && p.Evidence == "" {
		err = &PlanError{Field: "evidence", Problem: "no folder is named; set Evidence"}
	}
	if err == nil {
		err = p.imageThere()
	}
	if err != nil {
		return nil, err
	}
	if p.Evidence, err = filepath.Abs(p.Evidence); err == nil {
		err = os.MkdirAll(p.Evidence, 0o755)
	}
	if err != nil {
		return nil, fmt.Errorf("evidence folder: %w", err)
	}
	begun := time.Now()
	t := &testRun{Harness: h, plan: p}
	report := &Report{Image: p.Image, Format: p.Format, Started: h.now().UTC(), Cells: []CellReport{}, Cases: []CaseResult{}}
	err = t.fill(ctx, report)
	report.conclude()
	if report.Verdict != Error && ctx.Err() == nil {
		err = nil // a proven fault outweighs what could not be told elsewhere
	}
	report.Duration = time.Since(begun)
	return report, errors.Join(err, report.save(p.Evidence))
}

func (p Plan) imageThere() error {
	info, err := os.Stat(p.Image)
	if err != nil {
		return &PlanError{Field: "image", Problem: err.Error()}
	}
	if !info.Mode().IsRegular() {
		return &PlanError{Field: "image", Problem: p.Image + " is not a file"}
	}
	return nil
}

// fill tests the image and puts what it finds into the report.
func (t *testRun) fill(ctx context.Context, report *Report) error {
	_, err := t.QEMU.Check(ctx, t.plan.Image, t.plan.Format)
	var bad *qemu.BadImage
	if errors.As(err, &bad) {
		report.Cases = append(report.Cases, CaseResult{Cell: t.plan.Cells[0].String(), Case: caseImage, Result: Failed, Attempt: 1, Message: err.Error()})
		return nil
	}
	if err == nil {
		t.accel, err = t.accelerator(ctx)
	}
	if err != nil {
		report.Cases = append(report.Cases, CaseResult{Cell: t.plan.Cells[0].String(), Case: caseImage, Result: Error, Attempt: 1, Message: err.Error()})
		return err
	}
	report.Accel = t.accel
	outcomes := t.judgeCells(ctx)
	t.compare(outcomes)
	report.Packages = t.stock.list
	var errs []error
	for _, o := range outcomes {
		o.report.Result = worst(o.cases)
		report.Cells = append(report.Cells, o.report)
		report.Cases = append(report.Cases, o.cases...)
		if o.err != nil {
			errs = append(errs, fmt.Errorf("test %s: %w", o.report.Cell, o.err))
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(errs...)
}

// judgeCells runs the cells, as many at a time as there are slots.
func (t *testRun) judgeCells(ctx context.Context) []outcome {
	outcomes := make([]outcome, len(t.plan.Cells))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(slotCount(), len(outcomes)) {
		workers.Go(func() {
			for i := range next {
				outcomes[i] = t.judgeCell(ctx, t.plan.Cells[i])
			}
		})
	}
	for i := range outcomes {
		next <- i
	}
	close(next)
	workers.Wait()
	return outcomes
}

// compare finds what no two guests may share: such a thing came with the image,
// even if each boot writes it anew.
func (t *testRun) compare(outcomes []outcome) {
	for _, shared := range []struct {
		name, what string
		value      func(outcome) string
	}{
		{"builtin/machine-id", "machine-id", func(o outcome) string { return o.facts.one("machine-id") }},
		{"builtin/host-keys", "SSH host key", func(o outcome) string { return o.hostKey }},
	} {
		first := map[string]string{} // value -> cell
		for _, o := range outcomes {
			value := shared.value(o)
			i := slices.IndexFunc(o.cases, func(r CaseResult) bool { return r.Case == shared.name && r.Result == Passed })
			if i < 0 || value == "" || value == "uninitialized" {
				continue
			}
			if other, ok := first[value]; ok {
				o.cases[i].Result = Failed
				o.cases[i].Message = fmt.Sprintf("%s and %s have the same %s: it came with the image", other, o.report.Cell, shared.what)
				t.tell(Event{Cell: o.report.Cell, Case: shared.name, State: Failed, Message: o.cases[i].Message})
			}
			first[value] = o.report.Cell
		}
	}
}

// save writes report.json and junit.xml.
func (r *Report) save(dir string) error {
	return errors.Join(
		writeTo(filepath.Join(dir, "report.json"), r.WriteJSON),
		writeTo(filepath.Join(dir, "junit.xml"), r.JUnit),
	)
}
