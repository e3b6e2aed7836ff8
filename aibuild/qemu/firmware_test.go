package qemu

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/process"
)

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := (process.Cmd{Path: name, Args: args}).Run(testContext(t)); err != nil {
		t.Fatal(err)
	}
}

// TestGRUBRescue: GRUB here knows of no serial line, as on many images; its words
// on the screen are found all the same.
func TestGRUBRescue(t *testing.T) {
	core := filepath.Join(t.TempDir(), "core.img")
	run(t, "grub-mkimage", "-O", "i386-pc", "-o", core, "-p", "(hd0,msdos1)/boot/grub", "biosdisk", "part_msdos", "ext2")
	vm := start(t, Spec{Disk: rawDisk(t, grubSectors(t, core))})
	if f := waitFault(t, vm); f.Kind != BootloaderError {
		t.Errorf("fault = %v", f)
	}
}

// grubSectors is what a BIOS disk with GRUB begins with: its boot sector, and the
// core image right after it.
func grubSectors(t *testing.T, core string) []byte {
	t.Helper()
	image, err := os.ReadFile(core)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil {
		t.Fatal(err)
	}
	// The core's first sector says where its rest is: one run of sectors.
	binary.LittleEndian.PutUint64(image[500:], 2)
	binary.LittleEndian.PutUint16(image[508:], uint16((len(image)+511)/512-1))
	return append(boot, image...)
}

// efiDisk is a disk with nothing but a GRUB that runs the commands of config.
func efiDisk(t *testing.T, config string) string {
	t.Helper()
	dir := t.TempDir()
	app, cfg, raw := filepath.Join(dir, "bootx64.efi"), filepath.Join(dir, "grub.cfg"), filepath.Join(dir, "esp.raw")
	if err := os.WriteFile(cfg, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "grub-mkimage", "-O", "x86_64-efi", "-o", app, "-c", cfg, "-p", "/none", "echo", "read")
	if err := os.WriteFile(raw, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, 8<<20); err != nil {
		t.Fatal(err)
	}
	run(t, "mformat", "-i", raw, "-h", "16", "-s", "63", "-T", "16384", "::")
	run(t, "mmd", "-i", raw, "::/EFI", "::/EFI/BOOT")
	run(t, "mcopy", "-i", raw, app, "::/EFI/BOOT/BOOTX64.EFI")
	disk := filepath.Join(dir, "disk.qcow2")
	if err := (Tool{}).Compact(testContext(t), raw, "raw", disk, "qcow2", ""); err != nil {
		t.Fatal(err)
	}
	return disk
}

const uefiMemory = 128 << 20

func TestUEFIWithoutBootloader(t *testing.T) {
	vm := start(t, Spec{Disk: rawDisk(t, nil), Firmware: "uefi", Memory: uefiMemory})
	f := waitFault(t, vm)
	if f.Kind != NoBootloader || !strings.Contains(f.Line, "BdsDxe") {
		t.Errorf("fault = %v", f)
	}
}

// TestSnapshotUEFI: a snapshot needs every writable drive to be qcow2, and the
// firmware's variables are one. GRUB takes its keys from the serial line here.
func TestSnapshotUEFI(t *testing.T) {
	ctx := testContext(t)
	disk := efiDisk(t, "echo UP-ONE\nread key\necho UP-TWO\nread key\n")
	vm := start(t, Spec{Disk: disk, DiskBus: "scsi", Firmware: "uefi", Memory: uefiMemory})
	waitText(t, vm, "UP-ONE")
	if err := vm.Snapshot(ctx, "warm"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 2; n++ {
		if _, err := vm.SerialWrite([]byte("\r")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the second word", func() bool { return said(vm, "UP-TWO") == n })
		if err := vm.Restore(ctx, "warm"); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case f := <-vm.Console().Faults():
		t.Errorf("fault: %v", f)
	default:
	}
}
