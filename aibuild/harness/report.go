package harness

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// Verdicts of a report, and results of a case.
const (
	Passed  = "passed"
	Failed  = "failed"  // the image's fault
	Error   = "error"   // we could not tell
	Skipped = "skipped" // of a case only: it does not apply, or the cell ended before it
	Flaky   = "flaky"   // of a case only: it failed, then passed; counts as passed
)

// Report is the outcome of a test. Its JSON only grows.
type Report struct {
	Verdict string `json:"verdict"` // passed, failed or error
	// Decider is the case that decided, as "cell/case", or "all (N cases)".
	Decider string `json:"decider"`
	// Message says in one sentence why the verdict is not passed.
	Message  string        `json:"message,omitempty"`
	Image    string        `json:"image"`
	Format   string        `json:"format"`
	Accel    qemu.Accel    `json:"accelerator"`
	Started  time.Time     `json:"started"`  // UTC
	Duration time.Duration `json:"duration"` // nanoseconds
	Cells    []CellReport  `json:"cells"`
	Cases    []CaseResult  `json:"cases"`
	// Packages is what is installed; nil when the plan did not ask, or no guest
	// came so far.
	Packages *Inventory `json:"packages,omitempty"`
}

// CellReport is what happened in one cell.
type CellReport struct {
	Cell   string `json:"cell"`
	Result string `json:"result"` // passed, failed or error
	// Attempt is 2 when the first try ended without a judgement; Retried says why.
	Attempt int    `json:"attempt"`
	Retried string `json:"retried,omitempty"`
	// ReadyMS is the time from power-on to a working SSH login; 0 = never.
	ReadyMS int64 `json:"ready_ms"`
	MS      int64 `json:"ms"`
	// Fault is what ended the cell early, if anything did.
	Fault *Fault `json:"fault,omitempty"`
	// Lines are the last lines of the serial console when the cell did not pass.
	Lines    []string `json:"lines,omitempty"`
	Evidence string   `json:"evidence"`       // folder below Plan.Evidence
	Disk     string   `json:"disk,omitempty"` // kept disk, see Plan.KeepOnFailure
	Notes    []string `json:"notes,omitempty"`
}

// Fault is a sign that the guest is dead or will never be ready.
type Fault struct {
	Kind string `json:"kind"`           // as in qemu.Fault, or one of this package's Fault constants
	Line string `json:"line,omitempty"` // the serial line, or what was seen instead
	AtMS int64  `json:"at_ms"`          // since power-on
	// Case is what was running.
	Case string `json:"case"`
}

// CaseResult is the outcome of one case in one cell.
type CaseResult struct {
	Cell    string `json:"cell"`
	Case    string `json:"case"`
	Result  string `json:"result"`
	Attempt int    `json:"attempt"` // runs of the case that were needed
	MS      int64  `json:"ms"`      // all attempts together
	Message string `json:"message,omitempty"`
	// Evidence is the file below Plan.Evidence that holds the output, if any.
	Evidence string `json:"evidence,omitempty"`
}

// conclude sorts out the verdict. Failed wins over error: one proven fault of
// the image is enough, whatever could not be told elsewhere.
func (r *Report) conclude() {
	order := []string{Failed, Error}
	for _, verdict := range order {
		i := slices.IndexFunc(r.Cases, func(c CaseResult) bool { return c.Result == verdict })
		if i < 0 {
			continue
		}
		c := r.Cases[i]
		r.Verdict, r.Decider, r.Message = verdict, c.Cell+"/"+c.Case, c.Message
		return
	}
	n := 0
	for _, c := range r.Cases {
		if c.Result != Skipped {
			n++
		}
	}
	r.Verdict, r.Decider, r.Message = Passed, fmt.Sprintf("all (%d cases)", n), ""
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write the test report: %w", err)
	}
	return nil
}
