package qemu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/process"
)

// linuxInit mounts every seed by its label, shows its files, and dies.
const linuxInit = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
for m in /modules/*; do /bin/busybox insmod $m; done
n=50
while [ ! -b /dev/vdb ] && [ $n -gt 0 ]; do /bin/busybox usleep 100000; n=$((n-1)); done
for d in /dev/vd? /dev/sd?; do
	if /bin/busybox mount -r -t iso9660 $d /mnt; then
		cd /mnt
		/bin/busybox find . -type f | /bin/busybox sed "s,^,SEED $d ,"
		/bin/busybox grep -r web-7 . | /bin/busybox sed "s,^,FOUND ,"
		cd /
		/bin/busybox umount /mnt
	fi
done
echo c >/proc/sysrq-trigger
`

// TestLinux boots Debian's cloud kernel: it must find the seed, on a virtio disk,
// with the names that cloud-init looks for; and its panic must be found.
func TestLinux(t *testing.T) {
	dir := t.TempDir()
	disk := linuxDisk(t, dir)
	seed := filepath.Join(dir, "seed.iso")
	if err := (Seed{Hostname: "web-7", SSHKey: testKey}).ConfigDrive(seed); err != nil {
		t.Fatal(err)
	}
	vm := start(t, Spec{Disk: disk, SeedPath: seed, Memory: 192 << 20})
	if f := waitFault(t, vm); f.Kind != KernelPanic || !strings.Contains(f.Line, "Kernel panic - not syncing: sysrq triggered crash") {
		t.Errorf("fault = %v", f)
	}
	text := strings.Join(vm.Console().Tail(tailLines), "\n")
	for _, want := range []string{
		"SEED /dev/vdb ./openstack/latest/meta_data.json", "SEED /dev/vdb ./openstack/latest/user_data",
		"SEED /dev/vdb ./openstack/latest/vendor_data.json", "SEED /dev/vdb ./openstack/latest/network_data.json",
		`"hostname": "web-7"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the guest did not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

// linuxDisk makes a BIOS disk with GRUB, a FAT partition at 1 MiB, the kernel and
// an initramfs.
func linuxDisk(t *testing.T, dir string) string {
	t.Helper()
	kernels, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil || len(kernels) == 0 {
		t.Fatalf("no kernel, install the package linux-image-cloud-amd64: %v", err)
	}
	slices.Sort(kernels)
	kernel := kernels[len(kernels)-1]
	initramfs := filepath.Join(dir, "initrd.img")
	if err := os.WriteFile(initramfs, linuxInitramfs(t, strings.TrimPrefix(kernel, "/boot/vmlinuz-")), 0o600); err != nil {
		t.Fatal(err)
	}
	config, core := filepath.Join(dir, "grub.cfg"), filepath.Join(dir, "core.img")
	lines := "set root=(hd0,msdos1)\nlinux /vmlinuz console=ttyS0,115200 panic=0\ninitrd /initrd.img\nboot\n"
	if err := os.WriteFile(config, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "grub-mkimage", "-O", "i386-pc", "-o", core, "-c", config, "-p", "/none", "biosdisk", "part_msdos", "fat", "linux")
	const size, start = 48 << 20, 2048
	boot := grubSectors(t, core)
	clear(boot[446:510]) // GRUB's code for floppies
	entry := boot[446:462]
	entry[4] = 0x0c // FAT32 by sector number
	binary.LittleEndian.PutUint32(entry[8:], start)
	binary.LittleEndian.PutUint32(entry[12:], size/512-start)
	boot[510], boot[511] = 0x55, 0xaa
	raw := filepath.Join(dir, "linux.raw")
	if err := os.WriteFile(raw, boot, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(raw, size); err != nil {
		t.Fatal(err)
	}
	run(t, "mformat", "-i", raw+"@@1M", "-h", "64", "-s", "32", "-T", fmt.Sprint(size/512-start), "::")
	run(t, "mcopy", "-i", raw+"@@1M", kernel, "::/vmlinuz")
	run(t, "mcopy", "-i", raw+"@@1M", initramfs, "::/initrd.img")
	disk := filepath.Join(dir, "linux.qcow2")
	if err := (Tool{}).Compact(testContext(t), raw, "raw", disk, "qcow2", ""); err != nil {
		t.Fatal(err)
	}
	return disk
}

// linuxInitramfs holds busybox, the init above and the modules it loads.
func linuxInitramfs(t *testing.T, version string) []byte {
	t.Helper()
	var a archive
	for _, dir := range []string{"bin", "dev", "proc", "mnt", "modules"} {
		a.add(dir, 0o040755, nil)
	}
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a.add("bin/busybox", 0o100755, read("/bin/busybox"))
	a.add("init", 0o100755, []byte(linuxInit))
	seen := map[string]bool{}
	for _, module := range []string{"virtio_pci", "virtio_blk", "isofs"} {
		result, err := process.Cmd{Path: "modprobe", Args: []string{"-S", version, "--show-depends", module}}.Run(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(result.Stdout)) {
			path := strings.TrimSpace(strings.TrimPrefix(line, "insmod "))
			if !seen[path] {
				a.add(fmt.Sprintf("modules/%02d-%s", len(seen), filepath.Base(path)), 0o100644, read(path))
				seen[path] = true
			}
		}
	}
	a.add("TRAILER!!!", 0, nil)
	return a.Bytes()
}

// archive is a cpio in the "newc" form, as the kernel unpacks it.
type archive struct {
	bytes.Buffer
	inode int
}

func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	fmt.Fprintf(a, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad()
	a.Write(content)
	a.pad()
}

func (a *archive) pad() { a.Write(make([]byte, -a.Len()&3)) }
