package qemu

import (
	"strconv"
	"testing"
)

// TestSnapshotBIOS: a counting guest goes back to where it was, again and again.
func TestSnapshotBIOS(t *testing.T) {
	ctx := testContext(t)
	vm := start(t, Spec{Disk: sectorDisk(t, "count\n", count)})
	counted := func() int {
		n := -1
		for _, line := range vm.Console().Tail(2) {
			if v, err := strconv.Atoi(line); err == nil && len(line) == 2 {
				n = v
			}
		}
		return n
	}
	eventually(t, "counting", func() bool { return counted() >= 2 })
	if err := vm.Snapshot(ctx, "warm"); err != nil {
		t.Fatal(err)
	}
	kept := counted()
	for range 3 {
		eventually(t, "counting on", func() bool { return counted() >= kept+5 })
		if err := vm.Restore(ctx, "warm"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old count", func() bool { return counted() <= kept+3 })
	}
	if err := vm.Restore(ctx, "cold"); err == nil {
		t.Error("a snapshot that was never taken was restored")
	}
	if err := vm.Snapshot(ctx, "a b"); err == nil {
		t.Error("a tag with a space was taken")
	}
}

// TestRestorePanicked: a guest that QEMU stopped for its panic runs again, and its
// next panic is found again. The snapshot here is of a guest not yet switched on.
func TestRestorePanicked(t *testing.T) {
	ctx := testContext(t)
	vm := start(t, Spec{Disk: sectorDisk(t, "\nup\n", pvpanic), Extra: []string{"-S"}})
	if err := vm.Snapshot(ctx, "new"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := vm.Restore(ctx, "new"); err != nil {
			t.Fatal(err)
		}
		if f := waitFault(t, vm); f.Kind != KernelPanic {
			t.Errorf("fault = %v", f)
		}
	}
}
