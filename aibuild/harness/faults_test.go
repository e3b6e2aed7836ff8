package harness

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const spin = "while true; do true; done\n"

// brokenImage is an image that is broken in one way, and what must be said of it.
type brokenImage struct {
	name    string
	variant variant
	cell    Cell
	kind    string
	decider string
	line    string               // part of what the fault says
	patient func() time.Duration // the boot deadline, where only that shows the fault
}

func TestBrokenImages(t *testing.T) {
	bios, uefi := Cell{BIOS, Virtio, NoCloud}, Cell{UEFI, Virtio, NoCloud}
	tests := []brokenImage{
		{name: "no bootloader, bios", variant: variant{noLoader: true}, cell: bios, kind: qemu.NoBootloader, decider: caseBoots, line: "No bootable device"},
		{name: "no bootloader, uefi", variant: variant{noLoader: true}, cell: uefi, kind: qemu.NoBootloader, decider: caseBoots, line: "BdsDxe: "},
		{name: "early panic", variant: variant{noInitrd: true, cmdline: "root=/dev/nope"}, cell: bios, kind: qemu.KernelPanic, decider: caseBoots, line: "Unable to mount root"},
		{name: "boot loop", variant: variant{grub: "reboot\n"}, cell: bios, kind: qemu.BootLoop, decider: caseBoots, line: "rebooted 2 times"},
		{name: "guest off", variant: variant{grub: "halt\n"}, cell: bios, kind: qemu.GuestOff, decider: caseBoots, line: "switched itself off"},
		{name: "emergency shell", variant: variant{cmdline: "t.mode=emergency"}, cell: bios, kind: qemu.InitramfsShell, decider: caseBoots, line: "(initramfs)"},
		{name: "silent hang", variant: variant{cmdline: "t.mode=spin"}, cell: bios, kind: SilentHang, decider: caseBoots, line: "processors", patient: shortly},
		{name: "ssh never answers", variant: variant{cmdline: "t.mode=nosshd"}, cell: bios, kind: SSHSilent, decider: caseLogin, line: "nothing listens on port 22", patient: patience},
		{name: "ssh hangs", variant: variant{cmdline: "t.mode=sshhang"}, cell: bios, kind: SSHHangs, decider: caseLogin, line: "no login completes", patient: patience},
		{name: "key refused", variant: variant{cmdline: "t.mode=nokey"}, cell: bios, kind: KeyRefused, decider: caseLogin, line: "refuses the injected key", patient: patience},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h, plan := harness(t), testPlan(t, tt.variant)
			plan.Cells = []Cell{tt.cell}
			plan.Cases = []Case{{Name: "never", Script: []byte("#!/bin/sh\n")}}
			if tt.patient != nil {
				plan.BootTimeout = tt.patient()
			}
			report, err := h.Test(t.Context(), plan)
			if err != nil {
				t.Fatalf("Test: %v\n%+v", err, report)
			}
			tt.check(t, report)
			if _, err := os.Stat(filepath.Join(plan.Evidence, tt.cell.String(), "serial.log")); err != nil {
				t.Error(err)
			}
		})
	}
}

func (b brokenImage) check(t *testing.T, report *Report) {
	t.Helper()
	fault := report.Cells[0].Fault
	if fault == nil {
		t.Fatalf("no fault was found: %+v", report)
	}
	t.Logf("%.1f s after power-on: %s", float64(fault.AtMS)/1000, report.Message)
	if fault.Kind != b.kind || !strings.Contains(fault.Line, b.line) || fault.Case != b.decider {
		t.Errorf("fault %+v; want a %s in %s that says %q", *fault, b.kind, b.decider, b.line)
	}
	if want := b.cell.String() + "/" + b.decider; report.Verdict != Failed || report.Decider != want {
		t.Errorf("verdict %s by %s, want failed by %s", report.Verdict, report.Decider, want)
	}
	if never := results(report)[b.cell.String()+"/never"]; never.Result != Skipped {
		t.Errorf("the case after the fault: %+v, want it skipped", never)
	}
}

// shortly is a deadline for guests that would never keep any.
func shortly() time.Duration { return 12 * time.Second }

const buildKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEaBTllp8izscvl6AnQNxLqtXHxxZrW019knhLGWyAuN the-builder"

// dirtyResults are the result of each case and what its message holds.
var dirtyResults = map[string][2]string{
	"builtin/boots":      {Passed, ""},
	"builtin/hostname":   {Passed, ""},
	"builtin/machine-id": {Failed, "0123456789abcdef0123456789abcdef"},
	"builtin/host-keys":  {Failed, "/etc/ssh/ssh_host_rsa_key"},
	"builtin/build-key":  {Failed, "/root/.ssh/authorized_keys holds the build's key"},
	"builtin/password":   {Failed, "root has a password in /etc/shadow; tester has an empty password"},
	"builtin/history":    {Failed, "/root/.ash_history"},
	"exits":              {Failed, "exit status 3: the reason"},
	"too late":           {Failed, "no end within 2 s"},
	"was killed":         {Passed, ""},
	"gigabyte":           {Passed, ""},
	"not a program":      {Failed, "exit status 127"},
	"panics":             {Failed, "Kernel panic - not syncing: sysrq triggered crash"},
	"after":              {Skipped, "not run"},
}

// TestDirtyImage: an image that was not cleaned, cases that fail, and a kernel
// that panics under the last of them.
func TestDirtyImage(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{add: map[string]string{
		"etc/machine-id":            "0123456789abcdef0123456789abcdef\n",
		"etc/ssh/ssh_host_rsa_key":  "baked in\n",
		"root/.ash_history":         "rm -rf /\n",
		"root/.ssh/authorized_keys": buildKey + "\n",
		"etc/shadow":                "root:$6$salt$hash:19000:0:99999:7:::\ntester::19000:0:99999:7:::\n",
	}})
	plan.Builtin, plan.KeepOnFailure, plan.BuildKeys = true, true, []string{buildKey}
	plan.Cases = []Case{
		{Name: "exits", Retries: 1, Script: []byte("#!/bin/sh\necho first\necho the reason\nexit 3\n")},
		{Name: "too late", Timeout: 2 * time.Second, Script: []byte("#!/bin/sh\nsleep 1234 & sleep 1234\n")},
		{Name: "was killed", Script: []byte("#!/bin/sh\n! ps | grep '[s]leep 1234'\n")},
		{Name: "gigabyte", Timeout: 10 * time.Minute, Script: []byte("#!/bin/sh\necho begin; dd if=/dev/zero bs=1M count=1000 2>/dev/null; echo end\n")},
		{Name: "not a program", Script: []byte("#!/no/such/shell\n")},
		{Name: "panics", Timeout: 10 * time.Minute, Script: []byte("#!/bin/sh\necho c >/proc/sysrq-trigger\n")},
		{Name: "after", Script: []byte("#!/bin/sh\n")},
	}
	report, err := h.Test(t.Context(), plan)
	if err != nil {
		t.Fatalf("Test: %v\n%+v", err, report)
	}
	const cell = "bios-virtio-nocloud/"
	all := results(report)
	for name, w := range dirtyResults {
		if got := all[cell+name]; got.Result != w[0] || !strings.Contains(got.Message, w[1]) {
			t.Errorf("%s: %s (%s), want %s (%s)", name, got.Result, got.Message, w[0], w[1])
		}
	}
	if got := all[cell+"exits"].Attempt; got != 2 {
		t.Errorf("exits: %d attempts, want 2", got)
	}
	if report.Verdict != Failed || report.Decider != cell+"builtin/machine-id" {
		t.Errorf("verdict %s by %s, want failed by %sbuiltin/machine-id", report.Verdict, report.Decider, cell)
	}
	t.Logf("gigabyte took %d ms, the panic was found after %d ms", all[cell+"gigabyte"].MS, all[cell+"panics"].MS)
	checkGigabyte(t, filepath.Join(plan.Evidence, all[cell+"gigabyte"].Evidence))
	checkKeptDisk(t, report.Cells[0].Disk, plan)
	if text := readFile(t, filepath.Join(plan.Evidence, report.Cells[0].Evidence, "facts.txt")); strings.Contains(text, "$6$") {
		t.Error("the evidence holds a password hash")
	}
}

func checkGigabyte(t *testing.T, log string) {
	t.Helper()
	text := readFile(t, log)
	if !strings.HasPrefix(text, "begin\n") || !strings.HasSuffix(text, "end\n") || !strings.Contains(text, "output cut here") {
		t.Errorf("a gigabyte of output: %d bytes are kept, from %.20q to %q, or the cut is not marked", len(text), text, text[max(0, len(text)-20):])
	}
	if most := 4*(keepHead+keepTail) + 1024; len(text) > most { // each zero shows as \x00
		t.Errorf("%d bytes are kept, want at most %d", len(text), most)
	}
}

func checkKeptDisk(t *testing.T, disk string, plan Plan) {
	t.Helper()
	// The header check refuses overlays and says what they stand on.
	var overlay *qemu.BadImage
	if _, err := qemu.ReadHeader(disk, "qcow2"); !errors.As(err, &overlay) || !strings.Contains(overlay.Problem, plan.Image) {
		t.Errorf("the kept disk: %v, want an overlay of %s", err, plan.Image)
	}
}

func TestQEMUDiesTwice(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{grub: spin})
	killed := make(chan error, 1)
	go func() { killed <- killGuests(t.Context(), h.WorkDir, 2) }()
	report, err := h.Test(t.Context(), plan)
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if err == nil || report == nil {
		t.Fatalf("Test = %+v, %v; want an error and a report", report, err)
	}
	if report.Verdict != Error || report.Decider != "bios-virtio-nocloud/builtin/boots" {
		t.Errorf("verdict %s by %s, want error by bios-virtio-nocloud/builtin/boots", report.Verdict, report.Decider)
	}
	if c := report.Cells[0]; c.Attempt != 2 || !strings.Contains(c.Retried, "qemu") || c.Fault != nil {
		t.Errorf("cell %+v; want two attempts and no fault of the image's", c)
	}
}

// consoleSpeaks waits until a guest below work has printed something.
func consoleSpeaks(ctx context.Context, work string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		logs, err := filepath.Glob(filepath.Join(work, "*", "serial.log"))
		if err != nil {
			return err
		}
		for _, log := range logs {
			if info, err := os.Stat(log); err == nil && info.Size() > 0 {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func TestCancelLeavesNothing(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{grub: spin})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	type guest struct {
		pid   int
		start string
		err   error
	}
	seen := make(chan guest, 1)
	go func() {
		defer cancel()
		pid, err := guestPid(ctx, h.WorkDir)
		if err == nil {
			err = consoleSpeaks(ctx, h.WorkDir)
		}
		start := ""
		if err == nil {
			start, err = process.StartTime(pid)
		}
		seen <- guest{pid, start, err}
	}()
	report, err := h.Test(ctx, plan)
	g := <-seen
	if g.err != nil {
		t.Fatal(g.err)
	}
	if !errors.Is(err, context.Canceled) || report == nil || report.Verdict != Error {
		t.Errorf("Test = %+v, %v; want a report with the verdict error, and context.Canceled", report, err)
	}
	if process.Alive(g.pid, g.start) {
		t.Error("QEMU lives on")
	}
	for _, name := range []string{"report.json", "bios-virtio-nocloud/serial.log"} {
		if _, err := os.Stat(filepath.Join(plan.Evidence, name)); err != nil {
			t.Error(err)
		}
	}
}
