package harness

import (
	"context"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// Harness is where and with what images are tested. The zero Harness works: it
// takes QEMU from PATH and probes for the accelerator at every test.
type Harness struct {
	QEMU  qemu.Tool
	Accel qemu.Accel // zero: QEMU.Probe decides
	// WorkDir gets a temporary folder per cell; empty is the system's.
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

// Test boots the plan's image in each of its cells and puts every case to it. The
// error is nil when the image was judged (passed or failed); otherwise the report,
// when there is one, has the verdict error and holds what was seen. When ctx ends,
// its cause is the error, the guests are gone and the evidence so far is kept.
func (h Harness) Test(ctx context.Context, p Plan) (*Report, error) {
	return nil, ctx.Err()
}

// Guest is a booted image for a person, see Harness.Boot.
type Guest struct{}

// Boot starts an overlay of the plan's image as Test would in that cell and
// returns at once; Guest.Ready waits for the login. It takes no slot, as people
// take their time. The guest lives until Close or until ctx ends.
func (h Harness) Boot(ctx context.Context, p Plan, cell Cell) (*Guest, error) {
	return nil, ctx.Err()
}

// Ready waits until the guest takes SSH logins; a *FaultError says what died.
func (g *Guest) Ready(ctx context.Context) error { return ctx.Err() }

// SSHCommand is the command line that logs in.
func (g *Guest) SSHCommand() []string { return nil }

// SerialPath is the file that the serial console is written to.
func (g *Guest) SerialPath() string { return "" }

// Argv is QEMU's command line.
func (g *Guest) Argv() []string { return nil }

// Done is closed when the guest is gone, whoever ended it.
func (g *Guest) Done() <-chan struct{} { return nil }

// Close ends the guest and removes what belongs to it.
func (g *Guest) Close() error { return nil }
