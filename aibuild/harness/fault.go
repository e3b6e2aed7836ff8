package harness

import (
	"errors"
	"fmt"
	"time"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// Kinds of Fault that only show from outside the console; the others are those
// of qemu.Fault.
const (
	SilentHang   = "silent-hang"       // no network and a silent console at the boot deadline
	SSHSilent    = "ssh-never-answers" // the guest lives, but nothing speaks SSH at the deadline
	SSHHangs     = "ssh-hangs"         // something speaks, but no login ever completes
	KeyRefused   = "key-refused"       // SSH answers and refuses the injected key
	Rebooted     = "guest-rebooted"    // after the login had worked
	StoppedReply = "stopped-answering" // the guest was lost while a case ran
)

// FaultError is a guest that died or will never be ready.
type FaultError struct{ Fault }

func (e *FaultError) Error() string {
	s := e.Kind
	if e.Line != "" {
		s += ": " + e.Line
	}
	return fmt.Sprintf("%s (%.1f s after power-on)", s, float64(e.AtMS)/1000)
}

func newFault(kind, line string, at time.Duration) *FaultError {
	return &FaultError{Fault{Kind: kind, Line: line, AtMS: at.Milliseconds()}}
}

// asFault returns the guest's fault in err, or nil when the guest is not to blame.
func asFault(err error) *FaultError {
	var f *FaultError
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// untold marks what keeps us from judging: the cell is tried once more.
type untold struct{ err error }

func (e *untold) Error() string { return e.err.Error() }
func (e *untold) Unwrap() error { return e.err }

// fromQEMU says whose fault a sign of death is. A QEMU that died says nothing
// about the image: the host's memory, a signal or QEMU itself may be the reason.
func fromQEMU(f qemu.Fault, ready bool) error {
	switch {
	case f.Kind == qemu.QEMUDied:
		return &untold{fmt.Errorf("qemu died %.1f s after power-on: %s", f.At.Seconds(), f.Line)}
	case f.Kind == qemu.BootLoop && ready:
		return newFault(Rebooted, f.Line, f.At)
	}
	return newFault(f.Kind, f.Line, f.At)
}
