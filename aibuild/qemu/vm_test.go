package qemu

import (
	"bytes"
	"context"
	"errors"
	"image/png"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/guestos/aibuild/aibuild/process"
)

// Each guest is broken in its own way and must be found out by its own sign.
func TestFaultsOfGuests(t *testing.T) {
	empty := func(t *testing.T) string { return rawDisk(t, nil) }
	sector := func(text string, action byte) func(*testing.T) string {
		return func(t *testing.T) string { return sectorDisk(t, text, action) }
	}
	for _, test := range []struct {
		name string
		disk func(*testing.T) string
		bus  string
		want Fault
	}{
		{"early panic", sector("\n[    1.2] Kernel panic - not syncing: No working init found.\n", standStill), "",
			Fault{Kind: KernelPanic, Line: "[    1.2] Kernel panic - not syncing: No working init found."}},
		{"panic told by pvpanic only", sector("fine\n", pvpanic), "scsi",
			Fault{Kind: KernelPanic, Line: "the guest reported a panic to QEMU (pvpanic)"}},
		{"boot loop", sector("again\n", tripleFault), "",
			Fault{Kind: BootLoop, Line: "the guest rebooted 2 times, 1 allowed"}},
		{"switches itself off", sector("bye\n", switchOff), "",
			Fault{Kind: GuestOff, Line: "the guest switched itself off"}},
		{"empty disk, virtio", empty, "virtio",
			Fault{Kind: NoBootloader, Line: "No bootable device."}},
		{"empty disk, scsi", empty, "scsi",
			Fault{Kind: NoBootloader, Line: "No bootable device."}},
		{"prompt without line end", sector("\n\x1b[31mgrub rescue> ", spin), "",
			Fault{Kind: BootloaderError, Line: "grub rescue>"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			vm := start(t, Spec{Disk: test.disk(t), DiskBus: test.bus, Reboots: 1})
			got := waitFault(t, vm)
			if got.Kind != test.want.Kind || !strings.Contains(got.Line, test.want.Line) {
				t.Errorf("fault = %v; want %v", got, test.want)
			}
		})
	}
}

func TestQEMUKilled(t *testing.T) {
	vm := start(t, Spec{Disk: sectorDisk(t, "up\n", standStill)})
	if err := syscall.Kill(vm.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if f := waitFault(t, vm); f.Kind != QEMUDied || !strings.Contains(f.Line, "killed") {
		t.Errorf("fault = %v", f)
	}
	<-vm.Done()
	if err := vm.Err(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("Err = %v", err)
	}
	if _, err := vm.QMP(testContext(t), "query-status", nil); err == nil {
		t.Error("a dead QEMU answered")
	}
}

func TestGuestLeavesNothingButItsLogs(t *testing.T) {
	dir, shot := t.TempDir(), filepath.Join(t.TempDir(), "screen.png")
	vm := start(t, Spec{Dir: dir, Disk: sectorDisk(t, "hello from the guest\r\n", standStill), CPUs: 2, Offline: true})
	waitText(t, vm, "hello from the guest")
	if err := vm.Screenshot(testContext(t), shot); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(shot)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := png.Decode(bytes.NewReader(b)); err != nil {
		t.Errorf("screenshot: %v", err)
	}
	if cpu, err := vm.CPUTime(); err != nil || cpu <= 0 {
		t.Errorf("CPUTime = %v, %v", cpu, err)
	}
	if err := vm.Close(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(vm.Err(), vm.Close()); err != nil {
		t.Errorf("after Close: %v", err)
	}
	if _, err := os.Stat("/proc/" + strconv.Itoa(vm.Pid())); err == nil {
		t.Error("QEMU still runs after Close")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	hidden, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) != 3 || len(hidden) != 0 {
		t.Errorf("left behind: %v %v, %v; want the three logs", names, hidden, err)
	}
	log, err := os.ReadFile(vm.SerialPath())
	if err != nil || !bytes.Contains(log, []byte("hello from the guest\r\n")) {
		t.Errorf("serial log = %q, %v", log, err)
	}
	select {
	case f := <-vm.Console().Faults():
		t.Errorf("Close made a fault: %v", f)
	default:
	}
}

func TestStartErrors(t *testing.T) {
	disk := sectorDisk(t, "up\n", standStill)
	for _, test := range []struct {
		name, want string
		tool       Tool
		spec       Spec
	}{
		{"unknown device", "no-such-device", Tool{}, Spec{Disk: disk, Extra: []string{"-device", "no-such-device"}}},
		{"no disk", "nothing.qcow2", Tool{}, Spec{Disk: "/nothing.qcow2"}},
		{"firmware", `firmware "efi": must be bios or uefi`, Tool{}, Spec{Disk: disk, Firmware: "efi"}},
		{"bus", `disk bus "ide": must be virtio or scsi`, Tool{}, Spec{Disk: disk, DiskBus: "ide"}},
		{"memory", "at least", Tool{}, Spec{Disk: disk, Memory: 512}},
		{"no qemu", "not installed", Tool{Binary: "qemu-system-none"}, Spec{Disk: disk}},
		{"no firmware", "missing.fd", Tool{UEFICode: "/missing.fd", UEFIVars: "/missing.fd"}, Spec{Disk: disk, Firmware: "uefi"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Dir = t.TempDir()
			vm, err := test.tool.Start(testContext(t), test.spec)
			if vm != nil || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Start = %v, %v; want %q", vm, err, test.want)
			}
			if _, err := os.Stat(filepath.Join(test.spec.Dir, vmFile)); err == nil {
				t.Error("the record of a guest that never ran is left")
			}
		})
	}
}

func TestContextEndsGuest(t *testing.T) {
	ctx, cancel := context.WithCancel(testContext(t))
	vm, err := Tool{}.Start(ctx, Spec{Dir: t.TempDir(), Disk: sectorDisk(t, "up\n", standStill), Memory: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-vm.Done()
	if err := errors.Join(vm.Err(), vm.Close()); err != nil {
		t.Errorf("a guest ended by its context: %v", err)
	}
}

// TestPowerButton: what we ask for is no fault.
func TestPowerButton(t *testing.T) {
	vm := start(t, Spec{Disk: sectorDisk(t, "ready\n", powerButton)})
	waitText(t, vm, "ready")
	if err := vm.PowerDown(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if err := vm.Err(); err != nil {
		t.Errorf("Err = %v", err)
	}
	select {
	case f := <-vm.Console().Faults():
		t.Errorf("fault: %v", f)
	default:
	}
}

func TestPowerButtonIgnored(t *testing.T) {
	vm := start(t, Spec{Disk: sectorDisk(t, "up\n", spin)})
	ctx, cancel := context.WithCancel(testContext(t))
	defer cancel()
	go func() { // patience ends once the button is pressed
		for event := range vm.Events() {
			if event.Name == "POWERDOWN" {
				cancel()
				return
			}
		}
	}()
	err := vm.PowerDown(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "still runs") {
		t.Errorf("PowerDown = %v", err)
	}
}

func TestPortsDiffer(t *testing.T) {
	var (
		mu    sync.Mutex
		ports = map[string]bool{}
		wait  sync.WaitGroup
	)
	disk := sectorDisk(t, "up\n", standStill)
	for i := range 4 {
		dir := t.TempDir()
		overlay := filepath.Join(dir, "disk,"+strconv.Itoa(i)+".qcow2") // a comma must not end the name
		if err := (Tool{}).Overlay(testContext(t), disk, "qcow2", overlay, 2<<20); err != nil {
			t.Fatal(err)
		}
		wait.Go(func() {
			vm, err := Tool{}.Start(testContext(t), Spec{Dir: dir, Disk: overlay, Memory: 32 << 20})
			if err != nil {
				t.Error(err)
				return
			}
			defer vm.Close()
			mu.Lock()
			ports[vm.SSHAddr()] = true
			mu.Unlock()
			conn, err := net.Dial("tcp", vm.SSHAddr())
			if err != nil {
				t.Error(err)
				return
			}
			conn.Close()
		})
	}
	wait.Wait()
	if len(ports) != 4 {
		t.Errorf("four guests had the ports %v", ports)
	}
}

// TestOwnerKilled: kill -9 of whoever started a guest leaves no QEMU, and the
// folder is swept.
func TestOwnerKilled(t *testing.T) {
	work := t.TempDir()
	dir := filepath.Join(work, "run", "cell")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	owner, err := process.Cmd{
		Path: os.Args[0], Args: []string{"-test.run=^$"},
		Env: process.Environ("QEMU_TEST_OWNER="+dir, "QEMU_TEST_DISK="+sectorDisk(t, "up\n", standStill)),
	}.Start(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	var vm record
	eventually(t, "the guest's record", func() bool {
		vm, err = readRecord(filepath.Join(dir, vmFile))
		return err == nil
	})
	if removed, err := Sweep(work); err != nil || len(removed) != 0 {
		t.Errorf("Sweep while the owner lives = %v, %v", removed, err)
	}
	if err := owner.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-owner.Done()
	eventually(t, "the end of QEMU", func() bool { return !vm.VM.alive() })
	removed, err := Sweep(work)
	if err != nil || len(removed) != 1 || removed[0] != dir {
		t.Errorf("Sweep = %v, %v; want %s", removed, err, dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
}

// TestMain is also the owner that TestOwnerKilled kills.
func TestMain(m *testing.M) {
	dir := os.Getenv("QEMU_TEST_OWNER")
	if dir == "" {
		os.Exit(m.Run())
	}
	vm, err := Tool{}.Start(context.Background(), Spec{Dir: dir, Disk: os.Getenv("QEMU_TEST_DISK"), Memory: 32 << 20})
	if err != nil {
		os.Stderr.WriteString(err.Error())
		os.Exit(1)
	}
	<-vm.Done()
}
