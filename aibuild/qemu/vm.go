package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	// startLimit: QEMU answers within 0.1 s of its start; a loaded machine gets
	// more.
	startLimit = 60 * time.Second
	// quitLimit: then QEMU is ended by signal.
	quitLimit = 3 * time.Second
	// manyEvents are kept for a reader of Events who is late.
	manyEvents = 256
)

// Event is what QEMU said about a guest, for example RESET or STOP.
type Event struct {
	Name string
	At   time.Duration // since the guest's start
	Data json.RawMessage
}

// VM is a running guest. All methods may be called at any time and from several
// goroutines.
type VM struct {
	spec    Spec
	argv    []string
	started time.Time
	proc    *process.Process
	monitor *monitor
	console *Console
	serial  *os.File
	sshAddr string
	events  chan Event
	done    chan struct{}

	ours, theirs []*os.File
	logs         []*cappedLog
	readers      sync.WaitGroup
	closing      sync.Once
	closeErr     error

	mu      sync.Mutex
	asked   bool // we told it to end
	off     bool // the guest switched itself off
	err     error
	reboots reboots
}

// Start boots a guest. It lives until ctx ends or Close is called, and is known
// to answer when Start returns; whether its system comes up is for the caller to
// watch, above all through Console().Faults(), which carries what QEMU tells too.
func (t Tool) Start(ctx context.Context, s Spec) (*VM, error) {
	s, err := s.absolute()
	if err != nil {
		return nil, err
	}
	if s.Firmware == "uefi" {
		if t, err = t.withVars(ctx, s.varsPath()); err != nil {
			return nil, err
		}
	}
	args, err := t.Args(s)
	if err != nil {
		return nil, err
	}
	vm := &VM{
		spec: s, argv: append([]string{t.binary()}, args...), console: NewConsole(s.Signs...),
		events: make(chan Event, manyEvents), done: make(chan struct{}), reboots: reboots{allowed: s.Reboots},
	}
	if err := vm.launch(ctx, t, args); err != nil {
		return nil, fmt.Errorf("start the guest: %w", err)
	}
	if err := vm.greet(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the guest: %w", vm.because(err)), vm.Close())
	}
	t.log().Debug("guest started", "pid", vm.Pid(), "ssh", vm.sshAddr, "dir", s.Dir)
	return vm, nil
}

func (s Spec) absolute() (Spec, error) {
	if err := s.validate(); err != nil {
		return s, err
	}
	for _, path := range []*string{&s.Dir, &s.Disk, &s.SeedPath} {
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return s, fmt.Errorf("guest: %w", err)
		}
		*path = abs
	}
	return s, nil
}

// launch starts the process and everything that listens to it.
func (vm *VM) launch(ctx context.Context, t Tool, args []string) (err error) {
	defer func() {
		closeAll(vm.theirs)
		if err != nil {
			closeAll(vm.ours)
			vm.readers.Wait()
			err = errors.Join(err, vm.closeLogs())
		}
	}()
	if err := vm.openChannels(); err != nil {
		return err
	}
	stderr, err := vm.openLog("qemu.stderr")
	if err != nil {
		return err
	}
	vm.started = time.Now()
	vm.console.Reset()
	vm.proc, err = process.Cmd{
		Path: t.binary(), Args: args, Dir: vm.spec.Dir, Stderr: stderr, Grace: quitLimit,
		ExtraFiles: vm.theirs, Log: t.Log,
	}.Start(ctx)
	if err != nil {
		return err
	}
	if err := recordVM(vm.spec.Dir, vm.Pid()); err != nil {
		return errors.Join(err, vm.proc.Stop(quitLimit))
	}
	vm.monitor = newMonitor(vm.ours[0], vm.onEvent)
	go vm.supervise(ctx)
	return nil
}

func (vm *VM) openChannels() error {
	for _, name := range []string{"monitor", "serial", "firmware"} {
		ours, theirs, err := socketPair(name)
		if err != nil {
			return err
		}
		vm.ours, vm.theirs = append(vm.ours, ours), append(vm.theirs, theirs)
	}
	serialLog, err := vm.openLog(serialLogName)
	if err != nil {
		return err
	}
	firmwareLog, err := vm.openLog("firmware.log")
	if err != nil {
		return err
	}
	vm.serial = vm.ours[1]
	// The log comes before the console: when a fault is known, its line is kept.
	vm.readers.Go(func() { pump(vm.serial, serialLog, vm.console) })
	vm.readers.Go(func() { pump(vm.ours[2], firmwareLog, newFirmwareWatch(vm.console)) })
	return nil
}

const serialLogName = "serial.log"

func (vm *VM) openLog(name string) (*cappedLog, error) {
	l, err := newCappedLog(filepath.Join(vm.spec.Dir, name))
	if err != nil {
		return nil, err
	}
	vm.logs = append(vm.logs, l)
	return l, nil
}

func (vm *VM) closeLogs() error {
	var errs []error
	for _, l := range vm.logs {
		errs = append(errs, l.close(vm.console.Tail(tailLines)))
	}
	vm.logs = nil
	return errors.Join(errs...)
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close() // sockets: nothing is buffered that could be lost
	}
}

// greet ends QMP's greeting and asks for the port that QEMU chose.
func (vm *VM) greet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	if _, err := vm.monitor.run(ctx, "qmp_capabilities", nil); err != nil {
		return err
	}
	network, err := vm.monitor.human(ctx, "info usernet")
	if err != nil {
		return err
	}
	m := hostForward.FindStringSubmatch(network)
	if m == nil {
		return fmt.Errorf("qemu names no forwarded port: %q", network)
	}
	vm.sshAddr = "127.0.0.1:" + m[1]
	return nil
}

var hostForward = regexp.MustCompile(`TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+\S+\s+22\s`)

// because prefers QEMU's own last words to the silence of its monitor.
func (vm *VM) because(err error) error {
	if !errors.Is(err, errMonitorGone) {
		return err
	}
	select {
	case <-vm.done:
		if _, perr := vm.proc.Wait(); perr != nil {
			return perr
		}
	case <-time.After(quitLimit):
	}
	return err
}

// supervise waits for QEMU's end, reads out what it said, and says what it means.
func (vm *VM) supervise(ctx context.Context) {
	result, err := vm.proc.Wait()
	<-vm.monitor.done
	vm.readers.Wait()
	closeAll(vm.ours)
	logErr := vm.closeLogs()

	vm.mu.Lock()
	defer vm.mu.Unlock()
	switch {
	case vm.asked || ctx.Err() != nil:
	case vm.off && err == nil:
	default:
		vm.err = diedError(result, err)
		vm.console.report(QEMUDied, vm.err.Error(), 0)
	}
	if logErr != nil {
		vm.err = errors.Join(vm.err, fmt.Errorf("guest's logs: %w", logErr))
	}
	if forgetErr := forgetVM(vm.spec.Dir); forgetErr != nil {
		vm.err = errors.Join(vm.err, forgetErr)
	}
	close(vm.done)
}

func diedError(result *process.Result, err error) error {
	if err != nil {
		return fmt.Errorf("qemu died: %w", err)
	}
	last := strings.TrimSpace(string(result.Stderr))
	if last == "" {
		last = "it said nothing"
	}
	return fmt.Errorf("qemu ended by itself with status %d: %s", result.ExitCode, last)
}

// SSHAddr is host:port on the loopback interface that leads to the guest's port
// 22. A connection is accepted before the guest listens: only a banner proves
// that it does.
func (vm *VM) SSHAddr() string { return vm.sshAddr }

// SerialPath is the log of the serial line, complete once Done is closed. Of more
// than 64 MiB the middle is left out.
func (vm *VM) SerialPath() string { return filepath.Join(vm.spec.Dir, serialLogName) }

// Console carries the serial line's text and all faults, those that QEMU tells
// (BootLoop, GuestOff, QEMUDied, panics by pvpanic) and the firmware's too.
func (vm *VM) Console() *Console { return vm.console }

// Events delivers what QEMU says; while nobody receives, 256 events are kept and
// later ones are lost. No fault is: see Console. The channel is never closed.
func (vm *VM) Events() <-chan Event { return vm.events }

// Argv is the command line, program first. Descriptors 3 to 5 are sockets.
func (vm *VM) Argv() []string { return append([]string(nil), vm.argv...) }

// Pid is QEMU's process id.
func (vm *VM) Pid() int { return vm.proc.Pid() }

// Done is closed when QEMU has ended and its logs are complete.
func (vm *VM) Done() <-chan struct{} { return vm.done }

// Err says, once Done is closed, why the guest's end was unexpected; nil if we
// ended it or it switched itself off.
func (vm *VM) Err() error {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.err
}

// Close ends the guest at once, as if its power was cut, and waits until nothing
// of it is left but the files in its folder. It may be called more than once.
func (vm *VM) Close() error {
	vm.closing.Do(func() {
		vm.setAsked(true)
		ctx, cancel := context.WithTimeout(context.Background(), quitLimit)
		defer cancel()
		// Without an answer the signal below does the same.
		_, _ = vm.monitor.run(ctx, "quit", nil)
		select {
		case <-vm.done:
		case <-ctx.Done():
			vm.closeErr = vm.proc.Stop(quitLimit)
			<-vm.done
		}
	})
	return vm.closeErr
}

func (vm *VM) setAsked(asked bool) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.asked = asked
}
