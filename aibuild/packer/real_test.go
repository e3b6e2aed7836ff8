package packer

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// bootCode is a boot sector that writes a text to the first serial port and
// then halts or, if the byte before the text is 1, switches the machine off:
//
//	xor ax,ax; mov ds,ax; mov si,text
//	next:  lodsb; test al,al; jz done; mov ah,al; mov dx,0x3fd
//	wait:  in al,dx; test al,0x20; jz wait; mov al,ah; mov dx,0x3f8; out dx,al; jmp next
//	done:  cmp byte [flag],1; jne idle; mov dx,0x604; mov ax,0x2000; out dx,ax
//	idle:  sti; hlt; jmp idle
//	flag:  db 0
//	text:
var bootCode = []byte{
	0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x31, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x12,
	0x88, 0xc4, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0x88, 0xe0,
	0xba, 0xf8, 0x03, 0xee, 0xeb, 0xe9, 0x80, 0x3e, 0x30, 0x7c, 0x01, 0x75,
	0x07, 0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xfb, 0xf4, 0xeb, 0xfc,
}

// disk is a guest that says text and switches itself off, or not. An empty text
// is a disk without a boot sector.
func disk(t *testing.T, text string, off bool) string {
	t.Helper()
	image := make([]byte, 1<<20)
	if text != "" {
		flag := byte(0)
		if off {
			flag = 1
		}
		sector := append(append(bytes.Clone(bootCode), flag), text...)
		if len(sector) > 509 {
			t.Fatalf("the text is too long for a boot sector")
		}
		copy(image, sector)
		copy(image[510:], "\x55\xaa")
	}
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, image, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// foreign is a template as people have it: no serial line, no monitor, output
// and accelerator by its own variables, KVM by default.
const foreign = `{
  "variables": {"source": "", "sum": "", "accel": "kvm", "command": "cat files/hello"},
  "builders": [
    {"type": "null", "name": "other", "communicator": "none"},
    {"type": "qemu", "name": "guest", "disk_image": true, "iso_url": "{{user ` + "`source`" + `}}", "iso_checksum": "{{user ` + "`sum`" + `}}",
     "accelerator": "{{user ` + "`accel`" + `}}", "communicator": "COMMUNICATOR", "format": "qcow2", "headless": true, "disable_vnc": true,
     "skip_resize_disk": true, "skip_compaction": true, "memory": 64, "vm_name": "guest.qcow2", "shutdown_timeout": "1m"EXTRA}
  ],
  "provisioners": [{"type": "shell-local", "inline": ["{{user ` + "`command`" + `}}"]}]
}
`

// realJob is a job for the real Packer; command is run on this machine while the
// guest runs.
func realJob(t *testing.T, disk, extra, command string) Job {
	t.Helper()
	communicator := "none"
	if strings.Contains(extra, "ssh_timeout") {
		communicator = "ssh"
	}
	j := job(t, "foreign.json", strings.NewReplacer("EXTRA", extra, "COMMUNICATOR", communicator).Replace(foreign))
	if err := os.Mkdir(filepath.Join(j.Dir, "files"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(j.Dir, "files", "hello"), []byte("hello from the definition\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	j.Vars = map[string]string{"iso_url": disk, "iso_checksum": "none"}
	if command != "" {
		j.Vars["command"] = command
	}
	j.Accel, j.WatchConsole, j.Timeout = qemu.Accel{Name: "tcg"}, true, 5*time.Minute
	return j
}

func build(t *testing.T, j Job) (*Artifact, *Failed, []Event) {
	t.Helper()
	var events []Event
	j.Progress = func(e Event) { events = append(events, e) }
	a, err := Tool{}.Build(t.Context(), j)
	var f *Failed
	if err != nil && !errors.As(err, &f) {
		t.Fatalf("Build: %v", err)
	}
	return a, f, events
}

func texts(events []Event, kind string) string {
	var b strings.Builder
	for _, e := range events {
		if e.Kind == kind {
			b.WriteString(e.Text + "\n")
		}
	}
	return b.String()
}

func TestRealBuildOfAForeignTemplate(t *testing.T) {
	t.Parallel()
	j := realJob(t, disk(t, "installed\r\n", true), "", "")
	a, f, events := build(t, j)
	if f != nil {
		t.Fatalf("Build: %v\n%s", f, strings.Join(f.Lines, "\n"))
	}
	if !a.ConsoleWatched || a.Build != "guest" || a.Format != "qcow2" || a.Path != filepath.Join(j.WorkDir, "output", "guest.qcow2") {
		t.Errorf("artifact %+v", a)
	}
	if _, err := (qemu.Tool{}).Check(t.Context(), a.Path, a.Format); err != nil {
		t.Errorf("the image: %v", err)
	}
	if said := texts(events, "message"); !strings.Contains(said, "hello from the definition") {
		t.Errorf("the provisioner did not find files/hello:\n%s", said)
	}
	if b, err := os.ReadFile(filepath.Join(j.Evidence, serialFile)); err != nil || !strings.Contains(string(b), "installed") {
		t.Errorf("serial log %q, %v", b, err)
	}
	for dir, want := range map[string]int{j.WorkDir: 1, j.Dir: 2} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
			t.Errorf("%s holds %v (%v); want %d entries", dir, entries, err, want)
		}
	}
}

func TestRealHCL2Build(t *testing.T) {
	t.Parallel()
	j := job(t, "guest.pkr.hcl", `
variable "iso_url" { type = string }
variable "iso_checksum" { type = string }
variable "output_directory" { type = string }
variable "accelerator" { type = string }
variable "cpu" { type = number }
variable "commands" { type = list(string) }
variable "emulator" { default = "qemu-system-x86_64" }
locals { source = "${var.iso_url}" }
source "qemu" "guest" {
  disk_image       = true
  iso_url          = local.source
  iso_checksum     = var.iso_checksum
  accelerator      = var.accelerator
  cpus             = var.cpu
  qemu_binary      = var.emulator
  communicator     = "none"
  headless         = true
  disable_vnc      = true
  skip_resize_disk = true
  memory           = 64
  format           = "raw"
  output_directory = var.output_directory
  vm_name          = "guest"
}
build {
  name    = "image"
  sources = ["source.qemu.guest"]
  provisioner "shell-local" { inline = var.commands }
}
`)
	j.Vars = map[string]string{"iso_url": disk(t, "installed\r\n", true), "iso_checksum": "none", "cpu": "1", "commands": `["echo one", "echo two"]`}
	j.Accel, j.WatchConsole = qemu.Accel{Name: "tcg"}, true
	a, f, _ := build(t, j)
	if f != nil {
		t.Fatalf("Build: %v\n%s", f, strings.Join(f.Lines, "\n"))
	}
	if a.Build != "image.qemu.guest" || a.Format != "raw" || !a.ConsoleWatched {
		t.Errorf("artifact %+v", a)
	}
}

// The guest dies while Packer would wait for minutes.
func TestRealConsoleFaultsEndTheBuild(t *testing.T) {
	tests := []struct {
		name, text, extra string
		off               bool
		kind, line        string
	}{
		{"panic", "Kernel panic - not syncing: no init\r\n", "", false, qemu.KernelPanic, "Kernel panic - not syncing: no init"},
		{"own serial file", "TINY-INSTALL-FAILED: no disk\r\n", `, "qemuargs": [["-serial", "file:own.log"]]`, false, qemu.InstallerFailed, "TINY-INSTALL-FAILED: no disk"},
		{"no boot sector", "", "", false, qemu.NoBootloader, "No bootable device."},
		{"no boot loader, uefi", "", `, "qemuargs": [["-bios", "/usr/share/ovmf/OVMF.fd"], ["-m", "256M"], ["-nic", "none"]]`, false, qemu.NoBootloader, "BdsDxe: "},
		{"switched off", "bye\r\n", `, "ssh_username": "root", "ssh_password": "x", "ssh_timeout": "10m"`, true, qemu.GuestOff, "QEMU has ended while packer waits"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := realJob(t, disk(t, tt.text, tt.off), tt.extra, "sleep 250")
			_, f, events := build(t, j)
			if f == nil || f.Code != CodeConsole || f.Blame != BlameTemplate || f.ConsoleFault == nil {
				t.Fatalf("Build: %#v", f)
			}
			if f.ConsoleFault.Kind != tt.kind || !strings.Contains(f.Sentence, tt.line) {
				t.Errorf("fault %+v, %q; want %s: %s", f.ConsoleFault, f.Sentence, tt.kind, tt.line)
			}
			if !strings.Contains(texts(events, "console"), tt.line) {
				t.Errorf("no event of the fault: %+v", events)
			}
			names := strings.Join(f.Evidence, " ")
			for _, want := range []string{streamFile, logFile, argvFile} {
				if !strings.Contains(names, want) {
					t.Errorf("no %s among %s", want, names)
				}
			}
			if !tt.off {
				checkPNG(t, filepath.Join(j.Evidence, screenFile))
			}
			leftOvers(t, j)
			noGuest(t, j)
		})
	}
}

func checkPNG(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	if c, err := png.DecodeConfig(f); err != nil || c.Width < 320 {
		t.Errorf("screen %+v, %v", c, err)
	}
}

// noGuest fails the test if a process still works in the job's folder.
func noGuest(t *testing.T, j Job) {
	t.Helper()
	if pids := working(t, j); len(pids) > 0 {
		t.Errorf("processes %v still run", pids)
	}
}

func working(t *testing.T, j Job) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for _, path := range lines {
		// A watchdog's shell may outlive what it watched for a while.
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, []byte(j.WorkDir)) && !bytes.HasPrefix(b, []byte("/bin/sh\x00-c")) {
			pids = append(pids, path)
		}
	}
	return pids
}

// killAbove is a command that kills the n-th process above itself.
func killAbove(n int) string {
	return "p=$$; for i in " + strings.Repeat("x ", n) + "; do p=$(cut -d' ' -f4 /proc/$p/stat); done; kill -9 $p; sleep 250"
}

func TestRealFailures(t *testing.T) {
	tests := []struct {
		name, extra, command  string
		code, blame, sentence string
	}{
		{"provisioner", "", "echo first; echo second; exit 3", CodeProvisioner, BlameTemplate, "a provisioner of the template failed"},
		{"qemu's argument", `, "qemuargs": [["-device", "no-such-device"]]`, "", CodeQEMU, BlameTemplate, "no-such-device"},
		{"output exists", `, "output_directory": "files"`, "", CodeOutputExists, BlameDefinition, "already exists"},
		{"validation", `, "ssh_timeout": "1m"`, "", CodeValidation, BlameDefinition, "ssh_username must be specified"},
		// Above the script stand its shell, the provisioner's plugin and Packer.
		{"plugin killed", "", killAbove(2), CodeKilled, BlameInfrastructure, "a plugin of packer crashed or was killed"},
		{"packer killed", "", killAbove(3), CodeKilled, BlameInfrastructure, "packer ended in the middle of the build"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			j := realJob(t, disk(t, "running\r\n", false), tt.extra, tt.command)
			_, f, _ := build(t, j)
			if f == nil || f.Code != tt.code || f.Blame != tt.blame || !strings.Contains(f.Sentence, tt.sentence) {
				t.Fatalf("Build: %+v", f)
			}
			if tt.code == CodeProvisioner && !strings.Contains(strings.Join(f.Lines, "\n"), "first\nsecond") {
				t.Errorf("lines: %s", strings.Join(f.Lines, "\n"))
			}
			leftOvers(t, j)
			noGuest(t, j)
		})
	}
}

// A guest that lives but takes no login costs Packer's whole SSH timeout; what
// it showed is kept.
func TestRealSSHTimeout(t *testing.T) {
	t.Parallel()
	j := realJob(t, disk(t, "login: \r\n", false), `, "ssh_username": "root", "ssh_password": "x", "ssh_timeout": "12s"`, "")
	_, f, _ := build(t, j)
	if f == nil || f.Code != CodeSSHTimeout || f.Blame != BlameTemplate || !strings.Contains(f.Sentence, "the guest never answered Packer by SSH") {
		t.Fatalf("Build: %+v", f)
	}
	checkPNG(t, filepath.Join(j.Evidence, screenFile))
	if b, err := os.ReadFile(filepath.Join(j.Evidence, serialFile)); err != nil || !strings.Contains(string(b), "login: ") {
		t.Errorf("serial log %q, %v", b, err)
	}
	leftOvers(t, j)
	noGuest(t, j)
}

func TestRealQEMUByPathIsNotWatched(t *testing.T) {
	t.Parallel()
	path, err := process.Look(defaultEmulator)
	if err != nil {
		t.Fatal(err)
	}
	j := realJob(t, disk(t, "installed\r\n", true), `, "qemu_binary": "`+path+`", "machine_type": "pc"`, "")
	a, f, events := build(t, j)
	if f != nil {
		t.Fatalf("Build: %v\n%s", f, strings.Join(f.Lines, "\n"))
	}
	if notes := texts(events, "note"); a.ConsoleWatched || !strings.Contains(notes, "the console is not watched: the template runs "+path+" by its path") {
		t.Errorf("watched %v, notes %q", a.ConsoleWatched, notes)
	}
}

func TestRealCancel(t *testing.T) {
	t.Parallel()
	j := realJob(t, disk(t, "running\r\n", false), "", "sleep 250")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	j.Progress = func(e Event) {
		if e.Phase == phaseProvision {
			cancel()
		}
	}
	_, err := Tool{}.Build(ctx, j)
	var f *Failed
	if !errors.As(err, &f) || f.Code != CodeCancelled || !errors.Is(err, context.Canceled) {
		t.Fatalf("Build: %v", err)
	}
	checkPNG(t, filepath.Join(j.Evidence, screenFile))
	b, err := os.ReadFile(filepath.Join(j.Evidence, streamFile))
	if err != nil || !strings.Contains(string(b), "Cleanly cancelled builds") {
		t.Errorf("packer did not clean up (%v):\n%s", err, b)
	}
	leftOvers(t, j)
	noGuest(t, j)
}

// A build whose caller is killed with -9 leaves no Packer and no QEMU.
func TestRealKilledCaller(t *testing.T) {
	if folder := os.Getenv("XDG_PACKER_TEST_CALLER"); folder != "" {
		j := realJob(t, disk(t, "running\r\n", false), "", "sleep 250")
		j.WorkDir = folder
		_, err := Tool{}.Build(t.Context(), j)
		t.Fatalf("Build ended: %v", err)
	}
	t.Parallel()
	j := Job{WorkDir: filepath.Join(t.TempDir(), "work")}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	caller := process.Cmd{Path: self, Args: []string{"-test.run=^TestRealKilledCaller$"}, Env: process.Environ("XDG_PACKER_TEST_CALLER="+j.WorkDir, "TMPDIR="+t.TempDir())}
	p, err := caller.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "QEMU runs", func() bool {
		_, err := os.Stat(filepath.Join(j.WorkDir, "run", "console", "started"))
		return err == nil
	})
	if err := syscall.Kill(p.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(); err == nil {
		t.Error("the caller ended well")
	}
	poll(t, "no process is left", func() bool { return len(working(t, j)) == 0 })
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); {
		if time.Now().After(end) {
			t.Fatalf("not so after 2 minutes: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
