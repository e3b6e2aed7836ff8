package qemu

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

//go:embed testdata/guest.bin
var guestSector []byte

// What the sector does after it has printed its text; see testdata/guest.asm.
const (
	standStill = iota
	tripleFault
	switchOff
	count
	spin
	flood
	powerButton
	pvpanic
)

// patience is for a machine without KVM that has ten times as much to do as it
// can; nothing here takes a tenth of it on an idle one.
const patience = 240 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// sectorDisk makes a disk whose boot sector prints text and then does action.
func sectorDisk(t *testing.T, text string, action byte) string {
	t.Helper()
	sector := append([]byte(nil), guestSector...)
	if len(text) > 190 {
		t.Fatalf("text of %d bytes does not fit the sector", len(text))
	}
	sector[127] = action
	copy(sector[128:], text+"\x00")
	return rawDisk(t, sector)
}

// rawDisk makes a qcow2 disk of 1 MiB or more that begins with content.
func rawDisk(t *testing.T, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, max(1<<20, int64(len(content)+511)&^511)); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(dir, "disk.qcow2")
	if err := (Tool{}).Compact(testContext(t), raw, "raw", disk, "qcow2", "none"); err != nil {
		t.Fatal(err)
	}
	return disk
}

// start boots a guest and ends it with the test.
func start(t *testing.T, s Spec) *VM {
	t.Helper()
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	if s.Memory == 0 {
		s.Memory = 32 << 20
	}
	vm, err := Tool{}.Start(testContext(t), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
	})
	return vm
}

func waitFault(t *testing.T, vm *VM) Fault {
	t.Helper()
	select {
	case f := <-vm.Console().Faults():
		return f
	case <-time.After(patience):
		t.Fatalf("no fault; the console's end: %q", vm.Console().Tail(10))
		return Fault{}
	}
}

// said is how often the console's text holds word.
func said(vm *VM, word string) int {
	return strings.Count(strings.Join(vm.Console().Tail(tailLines), "\n"), word)
}

// waitText waits until the guest has said word.
func waitText(t *testing.T, vm *VM, word string) {
	t.Helper()
	eventually(t, word, func() bool { return said(vm, word) > 0 })
}

// eventually polls until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, patience)
		}
	}
}
