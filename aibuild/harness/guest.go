package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
)

// Guest is a booted image for a person, see Harness.Boot.
type Guest struct {
	m       *machine
	key     string
	watched context.Context
	stop    context.CancelFunc
	closing sync.Once
	err     error
}

// Boot starts an overlay of the plan's image as Test would in that cell and
// returns at once; Guest.Ready waits for the login. It takes no slot, as people
// take their time. The guest lives until Close or until ctx ends; Close is needed
// in both cases.
func (h Harness) Boot(ctx context.Context, p Plan, cell Cell) (*Guest, error) {
	p.Cells = []Cell{cell}
	p, err := p.withDefaults()
	if err == nil {
		err = p.imageThere()
	}
	if err != nil {
		return nil, err
	}
	if _, err := h.QEMU.Check(ctx, p.Image, p.Format); err != nil {
		return nil, err
	}
	accel, err := h.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	m, err := h.prepare(ctx, p, cell, accel)
	if err != nil {
		return nil, fmt.Errorf("boot %s: %w", p.Image, err)
	}
	if err := m.powerOn(ctx, h.QEMU); err != nil {
		return nil, fmt.Errorf("boot %s: %w", p.Image, errors.Join(err, m.remove()))
	}
	g := &Guest{m: m, key: filepath.Join(m.dir, "id_ed25519")}
	g.watched, g.stop = m.watch(ctx)
	if err := m.login.write(g.key); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Ready waits until the guest takes SSH logins. A *FaultError says what it died
// of, or what it does instead when the plan's BootTimeout has passed.
func (g *Guest) Ready(ctx context.Context) error {
	both, cancel := context.WithCancelCause(g.watched)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })()
	err := g.m.becomeReady(both)
	g.m.shell.close()
	return err
}

// SSHCommand is the command line that logs in. The key in it is a file that only
// this user can read and that Close removes.
func (g *Guest) SSHCommand() []string {
	host, port, err := net.SplitHostPort(g.m.vm.SSHAddr())
	if err != nil { // QEMU's own answer; it has a port
		host, port = g.m.vm.SSHAddr(), "22"
	}
	return []string{
		"ssh", "-i", g.key, "-p", port, "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
		"-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", g.m.login.user + "@" + host,
	}
}

// SerialPath is the file that the serial console is written to as it comes.
func (g *Guest) SerialPath() string { return g.m.vm.SerialPath() }

// SerialWrite types on the serial console.
func (g *Guest) SerialWrite(p []byte) (int, error) { return g.m.vm.SerialWrite(p) }

// Argv is QEMU's command line.
func (g *Guest) Argv() []string { return g.m.vm.Argv() }

// Done is closed when the guest is gone, whoever ended it.
func (g *Guest) Done() <-chan struct{} { return g.m.vm.Done() }

// Close ends the guest and removes what belongs to it. It may be called more
// than once.
func (g *Guest) Close() error {
	g.closing.Do(func() {
		g.stop()
		g.err = errors.Join(g.m.stop(), g.m.remove())
	})
	return g.err
}
