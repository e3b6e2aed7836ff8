package harness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// grow is by how much the disk of a guest is larger than its image: what a cloud
// flavor would give, and enough to see whether the guest takes it.
const grow = 1 << 30

// machine is one booted overlay of an image: its folder, its guest, its login.
type machine struct {
	cell     Cell
	dir      string // temporary, of this machine alone
	hostname string
	imageMin int64 // virtual size of the image
	boot     time.Duration
	scale    float64

	spec    qemu.Spec
	login   *login
	vm      *qemu.VM // from powerOn on, as the rest
	shell   *shell
	started time.Time
	ready   atomic.Bool
	seen    sightings
}

// prepare makes a folder with overlay and seed for a guest. Its errors are ours.
func (h Harness) prepare(ctx context.Context, p Plan, cell Cell, accel qemu.Accel) (*machine, error) {
	m := &machine{cell: cell, scale: max(1, accel.Scale), hostname: "aibuild-" + strings.ToLower(rand.Text()[:8])}
	m.boot = m.scaled(p.BootTimeout)
	err := os.MkdirAll(either(h.WorkDir, os.TempDir()), 0o755)
	if err != nil {
		return nil, fmt.Errorf("folder of the guests: %w", err)
	}
	if m.dir, err = os.MkdirTemp(h.WorkDir, "aibuild-guest-"); err != nil {
		return nil, fmt.Errorf("folder of the guest: %w", err)
	}
	if err := h.furnish(ctx, m, p); err != nil {
		return nil, errors.Join(err, m.remove())
	}
	m.spec = qemu.Spec{
		Dir: m.dir, Disk: m.diskPath(), SeedPath: m.seedPath(), Firmware: cell.Firmware, DiskBus: cell.DiskBus,
		Memory: p.Memory, CPUs: p.CPUs, Accel: accel,
		Reboots: 1, // a first boot may relabel the disk or take a new kernel, and start once more
	}
	return m, nil
}

func (h Harness) furnish(ctx context.Context, m *machine, p Plan) error {
	if err := qemu.Claim(m.dir); err != nil {
		return err
	}
	header, err := qemu.ReadHeader(p.Image, p.Format)
	if err != nil {
		return err
	}
	m.imageMin = header.VirtualSize
	if err := h.QEMU.Overlay(ctx, p.Image, p.Format, m.diskPath(), header.VirtualSize+grow); err != nil {
		return err
	}
	if m.login, err = newLogin(p.User); err != nil {
		return err
	}
	seed := qemu.Seed{InstanceID: "i-" + m.hostname, Hostname: m.hostname, User: p.User, SSHKey: m.login.public}
	if m.cell.Datasource == ConfigDrive {
		return seed.ConfigDrive(m.seedPath())
	}
	return seed.NoCloud(m.seedPath())
}

// powerOn starts the guest. Its errors are ours.
func (m *machine) powerOn(ctx context.Context, tool qemu.Tool) error {
	m.started = time.Now()
	vm, err := tool.Start(ctx, m.spec)
	if err != nil {
		return err
	}
	m.vm = vm
	m.shell = &shell{login: m.login, addr: vm.SSHAddr(), handshake: m.scaled(handshakeWindow)}
	return nil
}

func (m *machine) scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * m.scale)
}

func (m *machine) diskPath() string { return filepath.Join(m.dir, "disk.qcow2") }
func (m *machine) seedPath() string { return filepath.Join(m.dir, "seed.iso") }

// remove deletes the machine's folder.
func (m *machine) remove() error { return os.RemoveAll(m.dir) }

// stop ends the guest; its logs are complete then. The folder stays.
func (m *machine) stop() error {
	m.shell.close()
	return m.vm.Close()
}

// watch returns a context that ends when the guest dies, with the reason as its
// cause: a *FaultError if the guest is to blame, an *untold if not.
func (m *machine) watch(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		m.follow(ctx, cancel)
	}()
	return ctx, func() {
		cancel(context.Canceled)
		<-stopped
	}
}

func (m *machine) follow(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-m.vm.Console().Faults():
			f.At = time.Since(m.started) // the console's own clock starts anew at a restore
			cancel(fromQEMU(f, m.ready.Load()))
			return
		case e := <-m.vm.Events():
			if e.Name == "BLOCK_IO_ERROR" {
				cancel(&untold{fmt.Errorf("this machine could not read or write the guest's disk %s: is its file system full? qemu says %s", m.dir, e.Data)})
				return
			}
		}
	}
}

// becomeReady waits until the login works. At the deadline it says what the
// guest did instead, as far as that can be seen from outside.
func (m *machine) becomeReady(ctx context.Context) error {
	for {
		// A guest that waits for a processor cannot boot: this machine's fault.
		left := m.boot + min(m.starved(), 4*m.boot) - time.Since(m.started)
		if left <= 0 {
			return m.diagnose(ctx)
		}
		limited, cancel := context.WithTimeoutCause(ctx, left, errLate)
		err := m.shell.connect(limited, &m.seen)
		cancel()
		if errors.Is(err, errLate) && ctx.Err() == nil {
			continue
		}
		if err == nil {
			m.ready.Store(true)
			m.vm.AllowReboots(0)
		}
		return err
	}
}

// starved is how long the guest has waited for a processor of this machine: that
// of its threads which waited longest. Kernels that do not tell say 0.
func (m *machine) starved() time.Duration {
	var longest int64
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", m.vm.Pid()))
	if err != nil {
		return 0 // only a bad pattern is an error
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		if f := strings.Fields(string(b)); len(f) == 3 {
			if ns, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				longest = max(longest, ns)
			}
		}
	}
	return time.Duration(longest)
}

var errLate = errors.New("deadline")

// diagnose names what keeps a guest from taking logins.
func (m *machine) diagnose(ctx context.Context) error {
	at := time.Since(m.started)
	after := fmt.Sprintf("after %.0f s", at.Seconds())
	switch {
	case m.seen.best == keyNotAllowed:
		return newFault(KeyRefused, fmt.Sprintf("%s the guest still refuses the injected key for user %s: the seed was not read, or the image has no such user", after, m.login.user), at)
	case m.seen.best == noHandshake:
		return newFault(SSHHangs, fmt.Sprintf("%s something answers on port 22, but no login completes: %v", after, m.seen.last), at)
	}
	load, printed, err := m.pulse(ctx)
	if err != nil {
		return err
	}
	console := "the console is silent" + m.lastWords()
	if printed {
		console = "the console still prints" + m.lastWords()
	}
	if m.seen.refused {
		return newFault(SSHSilent, fmt.Sprintf("%s nothing listens on port 22, though the network is up; %s", after, console), at)
	}
	if printed {
		return newFault(SSHSilent, fmt.Sprintf("%s no network and no SSH; %s", after, console), at)
	}
	state := "idle"
	if load > 0.5 {
		state = "spinning"
	}
	return newFault(SilentHang, fmt.Sprintf("%s no network and no SSH, the guest is %s (%.2f processors); %s", after, state, load, console), at)
}

func (m *machine) lastWords() string {
	if tail := m.vm.Console().Tail(1); len(tail) > 0 {
		return "; its last line: " + lastLine(tail[0])
	}
	return ", and was so from the start"
}

// pulse watches the guest for a moment: how many processors it uses, and whether
// it prints.
func (m *machine) pulse(ctx context.Context) (load float64, printed bool, err error) {
	const moment = 2 * time.Second
	written := m.vm.Console().Written()
	before, err := m.vm.CPUTime()
	if err != nil {
		return 0, false, &untold{err}
	}
	select {
	case <-ctx.Done():
		return 0, false, context.Cause(ctx)
	case <-time.After(moment):
	}
	after, err := m.vm.CPUTime()
	if err != nil {
		return 0, false, &untold{err}
	}
	return (after - before).Seconds() / moment.Seconds(), m.vm.Console().Written() != written, nil
}

const snapshotTag = "warm"

// freeze keeps the guest as it is now for thaw. Nobody may be logged in: a
// restored guest would wait for them.
func (m *machine) freeze(ctx context.Context) error {
	m.shell.close()
	if err := m.vm.Snapshot(ctx, snapshotTag); err != nil {
		return &untold{fmt.Errorf("snapshot of the booted guest: %w", err)}
	}
	return m.reconnect(ctx)
}

// thaw brings the guest back to what freeze kept.
func (m *machine) thaw(ctx context.Context) error {
	m.shell.close()
	if err := m.vm.Restore(ctx, snapshotTag); err != nil {
		return &untold{fmt.Errorf("restore the booted guest: %w", err)}
	}
	m.vm.AllowReboots(0)
	return m.reconnect(ctx)
}

// reconnect logs in to a guest that took logins before.
func (m *machine) reconnect(ctx context.Context) error {
	limit := m.scaled(handshakeWindow)
	limited, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	var seen sightings
	err := m.shell.connect(limited, &seen)
	if errors.Is(err, errLate) && ctx.Err() == nil {
		return newFault(StoppedReply, fmt.Sprintf("no SSH login within %.0f s (%v)", limit.Seconds(), seen.last), time.Since(m.started))
	}
	return err
}

// copyLogs puts what the stopped guest left into the evidence folder. A guest
// that never started has left less.
func (m *machine) copyLogs(dst string) error {
	var errs []error
	for _, name := range []string{"serial.log", "firmware.log", "qemu.stderr"} {
		if err := copyFile(filepath.Join(m.dir, name), filepath.Join(dst, name)); !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if m.vm != nil {
		argv := strings.Join(m.vm.Argv(), "\n") + "\n"
		errs = append(errs, os.WriteFile(filepath.Join(dst, "argv.txt"), []byte(argv), 0o644))
	}
	return errors.Join(errs...)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
