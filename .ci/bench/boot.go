package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const guestMemory = 256 * mebibyte

// bootPart: from power-on to the first SSH login.
func bootPart(ctx context.Context, b *bench) ([]line, error) {
	tiny, err := b.tinyImage(ctx)
	if err != nil {
		return nil, err
	}
	accel, err := b.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	l := line{what: "harness, start to SSH-ready", against: "QEMU by hand", unit: "x", bound: 1.05}
	hand := line{what: "QEMU by hand, start to SSH-ready", unit: "s"}
	err = b.repeat(ctx, func(int) error {
		theirs, err := b.bootByHand(ctx, tiny.path, accel)
		if err != nil {
			return err
		}
		report, err := b.test(ctx, tiny.path, nil, nil)
		if err != nil {
			return err
		}
		ours := time.Duration(report.Cells[0].ReadyMS) * time.Millisecond
		l.samples = append(l.samples, ratio(ours, theirs))
		hand.samples = append(hand.samples, theirs.Seconds())
		return nil
	})
	return []line{l, hand}, err
}

// test runs the harness over one cell of the image.
func (b *bench) test(ctx context.Context, path string, cases []harness.Case, progress func(harness.Event)) (*harness.Report, error) {
	accel, err := b.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	evidence := b.path("evidence")
	h := harness.Harness{QEMU: b.qemu(), Accel: accel, WorkDir: b.path("guests"), Progress: progress}
	report, err := h.Test(ctx, harness.Plan{
		Image: path, Format: "qcow2", Cells: []harness.Cell{{Firmware: harness.BIOS, DiskBus: harness.Virtio, Datasource: harness.NoCloud}},
		Cases: cases, Memory: guestMemory, CPUs: 1, User: "root", Evidence: evidence,
	})
	if err != nil {
		return nil, err
	}
	if report.Verdict != harness.Passed {
		return nil, fmt.Errorf("the test of %s is %s: %s", path, report.Verdict, report.Decider)
	}
	return report, os.RemoveAll(evidence)
}

// bootByHand does what a person's script would: QEMU with the same disk, seed,
// machine and processor, and attempts to log in until one works.
func (b *bench) bootByHand(ctx context.Context, path string, accel qemu.Accel) (time.Duration, error) {
	key, err := b.key()
	if err != nil {
		return 0, err
	}
	disk, seed := b.path("hand.qcow2"), b.path("hand.iso")
	header, err := qemu.ReadHeader(path, "qcow2")
	if err != nil {
		return 0, err
	}
	if err := b.qemu().Overlay(ctx, path, "qcow2", disk, header.VirtualSize+1<<30); err != nil {
		return 0, err
	}
	if err := (qemu.Seed{User: "root", Hostname: "hand", SSHKey: key.public}).NoCloud(seed); err != nil {
		return 0, err
	}
	port, err := freePort()
	if err != nil {
		return 0, err
	}
	args := append(accel.Args(), "-machine", "pc", "-cpu", accel.CPU(), "-smp", "1", "-m", strconv.Itoa(guestMemory/mebibyte),
		"-display", "none", "-serial", "file:"+b.path("hand.log"), "-monitor", "none",
		"-drive", "if=virtio,format=qcow2,cache=unsafe,discard=unmap,file="+disk,
		"-drive", "if=virtio,format=raw,readonly=on,file="+seed,
		"-nic", fmt.Sprintf("user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:%d-:22", port))
	start := time.Now()
	guest, err := process.Cmd{Path: "qemu-system-x86_64", Args: args, Dir: b.dir}.Start(ctx)
	if err != nil {
		return 0, err
	}
	err = login(ctx, guest, net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), key.signer)
	took := time.Since(start)
	err = errors.Join(err, guest.Stop(5*time.Second))
	return took, errors.Join(err, os.Remove(disk), os.Remove(seed))
}

// login attempts to log in until it works. QEMU takes a connection also for a
// guest that is down, so each attempt waits only a while for the first word.
func login(ctx context.Context, guest *process.Process, addr string, signer ssh.Signer) error {
	config := &ssh.ClientConfig{
		User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoRSASHA256},
		HostKeyCallback:   ssh.InsecureIgnoreHostKey(), // a guest that we have just made, on the loopback interface
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		err := attempt(ctx, addr, config)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; the last attempt to log in: %w", context.Cause(ctx), err)
		case <-guest.Done():
			_, end := guest.Wait()
			return fmt.Errorf("the guest ended: %w", errors.Join(end, err))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func attempt(ctx context.Context, addr string, config *ssh.ClientConfig) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close() // it has served
	if err := conn.SetDeadline(time.Now().Add(1500 * time.Millisecond)); err != nil {
		return err
	}
	heard := &hearing{Conn: conn}
	client, chans, reqs, err := ssh.NewClientConn(heard, addr, config)
	if err != nil {
		return err
	}
	return ssh.NewClient(client, chans, reqs).Close()
}

// hearing is a connection that has time once the other side has spoken.
type hearing struct {
	net.Conn
	heard bool
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 && !h.heard {
		h.heard = true
		err = errors.Join(err, h.SetDeadline(time.Now().Add(time.Minute)))
	}
	return n, err
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}
