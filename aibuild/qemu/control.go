package qemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// QMP runs a command of QEMU's monitor and returns its answer. args may be nil or
// anything that marshals to a JSON object.
func (vm *VM) QMP(ctx context.Context, command string, args any) (json.RawMessage, error) {
	return vm.monitor.run(ctx, command, args)
}

// SerialWrite types p on the guest's serial line.
func (vm *VM) SerialWrite(p []byte) (int, error) {
	n, err := vm.serial.Write(p)
	if err != nil {
		return n, fmt.Errorf("type on the serial line: %w", err)
	}
	return n, nil
}

// Screenshot writes what the guest's screen shows as a PNG file.
func (vm *VM) Screenshot(ctx context.Context, path string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	if _, err := vm.QMP(ctx, "screendump", map[string]string{"filename": path, "format": "png"}); err != nil {
		return fmt.Errorf("screenshot: %w", err)
	}
	return nil
}

var snapshotTag = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,62}$`)

// Snapshot keeps the guest as it is now, memory and disk, inside its qcow2 files,
// under a tag (letters, digits, - and _). The guest stands still meanwhile, for
// 0.1 to 5 s. A snapshot lives as long as the files and serves Restore in this VM.
func (vm *VM) Snapshot(ctx context.Context, tag string) error {
	return vm.human(ctx, "savevm", tag)
}

// Restore brings the guest back to a snapshot and lets it run, whatever it was
// doing: a panicked guest too, but not one that switched itself off. Faults,
// warnings and the count of reboots begin anew. Connections to the guest die;
// its clock is the snapshot's (see the package's documentation). After an error
// the guest stands still.
func (vm *VM) Restore(ctx context.Context, tag string) error {
	if _, err := vm.QMP(ctx, "stop", nil); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := vm.quiet(ctx); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err := vm.human(ctx, "loadvm", tag); err != nil {
		return err
	}
	vm.console.Reset()
	vm.AllowReboots(vm.spec.Reboots)
	if _, err := vm.QMP(ctx, "cont", nil); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// quiet waits until what the stopped guest had printed has been read, so that no
// fault of its past is taken for one of its future.
func (vm *VM) quiet(ctx context.Context) error {
	const still = 20 * time.Millisecond
	ticker := time.NewTicker(still)
	defer ticker.Stop()
	for before := int64(-1); ; {
		now := vm.console.Written()
		if now == before {
			return nil
		}
		before = now
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// human runs a snapshot command, which answers nothing when all is well.
func (vm *VM) human(ctx context.Context, command, tag string) error {
	if !snapshotTag.MatchString(tag) {
		return fmt.Errorf("%s: tag %q: must be letters, digits, - and _", command, tag)
	}
	out, err := vm.monitor.human(ctx, command+" "+tag)
	if err != nil {
		return err
	}
	if out = strings.TrimSpace(out); out != "" {
		return fmt.Errorf("%s %s: %s", command, tag, out)
	}
	return nil
}

// PowerDown presses the power button and waits until the guest has switched
// itself off. If ctx ends first the guest still runs, and the error says so.
func (vm *VM) PowerDown(ctx context.Context) error {
	vm.setAsked(true)
	if _, err := vm.QMP(ctx, "system_powerdown", nil); err != nil && ctx.Err() == nil {
		vm.setAsked(false)
		return fmt.Errorf("power down: %w", err)
	}
	select {
	case <-vm.done:
		if !vm.isOff() {
			return errors.New("power down: qemu ended before the guest was off")
		}
		return nil
	case <-ctx.Done():
		vm.setAsked(false)
		return fmt.Errorf("power down: the guest still runs: %w", context.Cause(ctx))
	}
}

func (vm *VM) isOff() bool {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	return vm.off
}

// AllowReboots makes the next n reboots of the guest no fault.
func (vm *VM) AllowReboots(n int) {
	vm.mu.Lock()
	defer vm.mu.Unlock()
	vm.reboots = reboots{allowed: n}
}

// CPUTime is the processor time that the guest has used so far: an idle one
// takes 0.02 s a second, a spinning one 0.8 s and more.
func (vm *VM) CPUTime() (time.Duration, error) {
	path := "/proc/" + strconv.Itoa(vm.Pid()) + "/stat"
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("processor time of the guest: %w", err)
	}
	// Fields count from the command's name, which may hold anything.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("processor time of the guest: %s: unexpected form", path)
	}
	user, errUser := strconv.ParseInt(fields[11], 10, 64)
	system, errSystem := strconv.ParseInt(fields[12], 10, 64)
	if err := errors.Join(errUser, errSystem); err != nil {
		return 0, fmt.Errorf("processor time of the guest: %s: %w", path, err)
	}
	const tick = 10 * time.Millisecond // of /proc, on every Linux of ours
	return time.Duration(user+system) * tick, nil
}

func (vm *VM) onEvent(name string, data json.RawMessage) {
	select {
	case vm.events <- Event{Name: name, At: time.Since(vm.started), Data: data}:
	default:
	}
	var d struct {
		Guest  bool   `json:"guest"`
		Reason string `json:"reason"`
		Action string `json:"action"`
	}
	// Events without data leave d empty, which means: not the guest's doing.
	if len(data) > 0 && json.Unmarshal(data, &d) != nil {
		return
	}
	switch {
	case name == "GUEST_PANICKED":
		// The serial line usually says which panic, and a moment earlier.
		vm.console.report(KernelPanic, "the guest reported a panic to QEMU (pvpanic)", 500*time.Millisecond)
	case name == "RESET" && d.Guest:
		vm.guestReset()
	case name == "SHUTDOWN" && d.Guest:
		vm.guestOff()
	}
}

func (vm *VM) guestReset() {
	vm.mu.Lock()
	looping := vm.reboots.add(time.Now())
	count, allowed := vm.reboots.count, vm.reboots.allowed
	vm.mu.Unlock()
	if looping {
		vm.console.report(BootLoop, fmt.Sprintf("the guest rebooted %d times, %d allowed", count, allowed), 0)
	}
}

func (vm *VM) guestOff() {
	vm.mu.Lock()
	vm.off = true
	asked := vm.asked
	vm.mu.Unlock()
	if !asked {
		vm.console.report(GuestOff, "the guest switched itself off", 0)
	}
}

// reboots counts a guest's reboots. QEMU tells two or more resets for one reboot,
// 0.1 s apart.
type reboots struct {
	allowed, count int
	last           time.Time
}

func (r *reboots) add(now time.Time) (tooMany bool) {
	if !r.last.IsZero() && now.Sub(r.last) < time.Second {
		return false
	}
	r.last = now
	r.count++
	return r.count > r.allowed
}
