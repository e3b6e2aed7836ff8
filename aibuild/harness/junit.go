package harness

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/jstemmer/go-junit-report/v2/junit"
)

// JUnit writes the report in the form that CI servers read: a suite for each
// cell, a test case for each case. A flaky case passes with the status flaky.
func (r *Report) JUnit(w io.Writer) error {
	suites := junit.Testsuites{Name: "aibuild", Time: seconds(r.Duration)}
	cells := r.Cells
	if len(cells) == 0 && len(r.Cases) > 0 {
		cells = []CellReport{{Cell: r.Cases[0].Cell}}
	}
	for i, cell := range cells {
		suites.AddSuite(r.suite(i, cell))
	}
	if _, err := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	if err := suites.WriteXML(w); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	return nil
}

// StageJUnit writes the form for a stage that has run no tests: one case, which
// has failed with the message, or passed where there is none.
func StageJUnit(w io.Writer, stage string, took time.Duration, message string) error {
	s := junit.Testsuite{Name: "aibuild", Time: seconds(took)}
	tc := junit.Testcase{Name: stage, Classname: "aibuild", Time: seconds(took)}
	if message != "" {
		first, _, _ := strings.Cut(message, "\n")
		tc.Error = &junit.Result{Message: xmlText(first), Type: "stage", Data: xmlText(message)}
	}
	s.AddTestcase(tc)
	suites := junit.Testsuites{Name: "aibuild", Time: seconds(took)}
	suites.AddSuite(s)
	if _, err := io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?>`+"\n"); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	if err := suites.WriteXML(w); err != nil {
		return fmt.Errorf("write junit: %w", err)
	}
	return nil
}

func (r *Report) suite(id int, cell CellReport) junit.Testsuite {
	s := junit.Testsuite{Name: cell.Cell, ID: id, Time: seconds(time.Duration(cell.MS) * time.Millisecond)}
	s.SetTimestamp(r.Started)
	s.AddProperty("image", r.Image)
	s.AddProperty("accelerator", r.Accel.Name)
	s.AddProperty("attempt", strconv.Itoa(cell.Attempt))
	for _, c := range r.Cases {
		if c.Cell == cell.Cell {
			s.AddTestcase(testcase(c, cell))
		}
	}
	if len(cell.Lines) > 0 {
		s.SystemOut = &junit.Output{Data: xmlText(strings.Join(cell.Lines, "\n"))}
	}
	return s
}

func testcase(c CaseResult, cell CellReport) junit.Testcase {
	tc := junit.Testcase{Name: c.Case, Classname: c.Cell, Time: seconds(time.Duration(c.MS) * time.Millisecond)}
	if c.Evidence != "" {
		tc.SystemOut = &junit.Output{Data: "evidence: " + c.Evidence}
	}
	what := &junit.Result{Message: xmlText(c.Message), Type: c.Result}
	if cell.Fault != nil && cell.Fault.Case == c.Case {
		what.Type, what.Data = cell.Fault.Kind, xmlText(strings.Join(cell.Lines, "\n"))
	}
	switch c.Result {
	case Failed:
		tc.Failure = what
	case Error:
		tc.Error = what
	case Skipped:
		tc.Skipped = &junit.Result{Message: xmlText(c.Message)}
	case Flaky:
		tc.Status = Flaky
	}
	return tc
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 3, 64) }

// xmlText is text that XML can hold.
func xmlText(s string) string { return printable([]byte(s)) }

// writeTo writes a whole file or nothing.
func writeTo(path string, write func(io.Writer) error) error {
	f, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer f.Cleanup() //nolint:errcheck // after success there is nothing to clean up; a failure is reported below
	if err := write(f); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
