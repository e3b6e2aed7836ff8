package harness

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// The test guest is made of this machine's kernel, busybox, dropbear and sudo.
// All of it lives in an initramfs; GRUB starts it, under BIOS and under UEFI,
// from one disk.

// builtLongAgo is when everything in the image was made.
var builtLongAgo = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// variant is one test image.
type variant struct {
	cmdline  string
	grub     string // GRUB's whole configuration, instead of one that starts Linux
	noInitrd bool
	noLoader bool
	add      map[string]string // more files, PATH -> content
}

type archive struct {
	buf  bytes.Buffer
	seen map[string]bool
	ino  int
}

// add appends one entry in cpio's newc form, and the folders above it.
func (a *archive) add(name string, mode uint32, content []byte) {
	name = strings.TrimPrefix(name, "/")
	if a.seen[name] {
		return
	}
	if dir := filepath.Dir(name); dir != "." {
		a.add(dir, 0o040755, nil)
	}
	a.seen[name] = true
	a.ino++
	fmt.Fprintf(&a.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", a.ino, mode, 0, 0, 1,
		builtLongAgo.Unix(), len(content), 0, 0, 0, 0, len(name)+1, 0)
	a.buf.WriteString(name + "\x00")
	a.pad()
	a.buf.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.buf.Len()%4 != 0 {
		a.buf.WriteByte(0)
	}
}

func (a *archive) file(t testing.TB, name, from string, mode uint32) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatalf("the test guest needs %s: %v", from, err)
	}
	a.add(name, 0o100000|mode, content)
}

// program adds a program with its shared libraries.
func (a *archive) program(t testing.TB, path string, mode uint32) {
	t.Helper()
	a.file(t, path, path, mode)
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if interp := f.Section(".interp"); interp != nil {
		a.library(t, "/lib64/ld-linux-x86-64.so.2")
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range libs {
		for _, dir := range []string{"/lib/x86_64-linux-gnu/", "/usr/libexec/sudo/", "/lib64/"} {
			if _, err := os.Stat(dir + lib); err == nil {
				a.library(t, dir+lib)
				break
			}
		}
	}
}

func (a *archive) library(t testing.TB, path string) {
	t.Helper()
	if !a.seen[strings.TrimPrefix(path, "/")] {
		a.program(t, path, 0o755)
	}
}

func (a *archive) compressed(t testing.TB) []byte {
	t.Helper()
	a.add("TRAILER!!!", 0, nil)
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.Write(a.buf.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// kernel finds the newest cloud kernel and its modules.
func kernel(t testing.TB) (image, modules string) {
	t.Helper()
	images, err := filepath.Glob("/boot/vmlinuz-*-cloud-amd64")
	if err != nil || len(images) == 0 {
		t.Fatalf("the test guest needs the package linux-image-cloud-amd64 (%v)", err)
	}
	sort.Strings(images)
	image = images[len(images)-1]
	return image, "/lib/modules/" + strings.TrimPrefix(image, "/boot/vmlinuz-")
}

// addModules adds kernel modules in the order in which they can be loaded.
func (a *archive) addModules(t testing.TB, dir string, names ...string) {
	t.Helper()
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	needs := map[string][]string{}
	byName := map[string]string{}
	for line := range strings.Lines(string(dep)) {
		path, deps, _ := strings.Cut(strings.TrimSpace(line), ":")
		needs[path] = strings.Fields(deps)
		byName[strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")] = path
	}
	done := map[string]bool{}
	numbered := 0
	for _, name := range names {
		path, ok := byName[name]
		if !ok {
			continue // compiled into the kernel
		}
		var order []string
		var visit func(string)
		visit = func(p string) {
			if done[p] {
				return
			}
			done[p] = true
			for _, d := range needs[p] {
				visit(d)
			}
			order = append(order, p)
		}
		visit(path)
		for _, p := range order {
			numbered++
			a.file(t, fmt.Sprintf("lib/mod/%02d-%s", numbered, filepath.Base(p)), filepath.Join(dir, p), 0o644)
		}
	}
}

func guestRoot(t testing.TB, modules string) []byte {
	t.Helper()
	a := &archive{seen: map[string]bool{}}
	a.file(t, "init", "testdata/init.sh", 0o755)
	a.file(t, "sbin/udhcpc.script", "testdata/udhcpc.sh", 0o755)
	a.file(t, "bin/busybox", "/usr/bin/busybox", 0o755)
	a.add("bin/sh", 0o120777, []byte("busybox"))
	a.add("dev/console", 0o020600, nil)
	a.program(t, "/usr/sbin/dropbear", 0o755)
	a.program(t, "/usr/bin/dropbearkey", 0o755)
	a.program(t, "/usr/bin/sudo", 0o4755)
	a.library(t, "/usr/libexec/sudo/sudoers.so")
	a.library(t, "/usr/libexec/sudo/libsudo_util.so.0")
	a.library(t, "/lib/x86_64-linux-gnu/security/pam_permit.so")
	a.addModules(t, modules, "virtio_pci", "virtio_net", "virtio_blk", "virtio_scsi", "sd_mod", "isofs", "button", "pvpanic_pci", "virtio_rng")
	for name, content := range map[string]string{
		"etc/passwd":        "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\n",
		"etc/group":         "root:x:0:\ntester:x:1000:\n",
		"etc/shells":        "/bin/sh\n",
		"etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
		"etc/os-release":    "ID=testguest\nVERSION_ID=\"1\"\n",
		"etc/pam.d/sudo":    "auth required pam_permit.so\naccount required pam_permit.so\nsession required pam_permit.so\n",
	} {
		a.add(name, 0o100644, []byte(content))
	}
	a.add("etc/shadow", 0o100600, []byte("root:*:19000:0:99999:7:::\ntester:!:19000:0:99999:7:::\n"))
	a.add("etc/sudoers", 0o100440, []byte("Defaults use_pty\ntester ALL=(ALL) NOPASSWD: ALL\n"))
	a.add("root", 0o040700, nil)
	return a.compressed(t)
}

const (
	sector    = 512
	partStart = 2048 // sectors: 1 MiB, where GRUB's core image has room before it
	diskMiB   = 64
)

// baseDisk is the disk that all variants are copies of.
var baseDisk struct {
	once sync.Once
	dir  string
	path string
}

func run(t testing.TB, program string, args ...string) {
	t.Helper()
	if _, err := (process.Cmd{Path: program, Args: args, Timeout: time.Minute}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// partition is mtools' name of the FAT partition in a disk image.
func partition(disk string) string { return fmt.Sprintf("%s@@%d", disk, partStart*sector) }

func makeBase(t testing.TB, dir string) string {
	t.Helper()
	image, modules := kernel(t)
	initrd := filepath.Join(dir, "initrd.gz")
	if err := os.WriteFile(initrd, guestRoot(t, modules), 0o644); err != nil {
		t.Fatal(err)
	}
	early := filepath.Join(dir, "early.cfg")
	if err := os.WriteFile(early, []byte("search --no-floppy --file --set=root /test.cfg\nconfigfile ($root)/test.cfg\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	core, efi := filepath.Join(dir, "core.img"), filepath.Join(dir, "bootx64.efi")
	common := []string{"part_msdos", "fat", "search", "search_fs_file", "normal", "configfile", "linux", "reboot", "halt"}
	run(t, "grub-mkimage", append([]string{"-O", "i386-pc", "-o", core, "-c", early, "-p", "/", "biosdisk"}, common...)...)
	run(t, "grub-mkimage", append([]string{"-O", "x86_64-efi", "-o", efi, "-c", early, "-p", "/"}, common...)...)

	disk := filepath.Join(dir, "base.raw")
	writeDisk(t, disk, core)
	sectors := diskMiB<<20/sector - partStart
	run(t, "mformat", "-i", partition(disk), "-T", fmt.Sprint(sectors), "-h", "64", "-s", "32", "-c", "16", "::")
	run(t, "mmd", "-i", partition(disk), "::/EFI", "::/EFI/BOOT")
	run(t, "mcopy", "-i", partition(disk), efi, "::/EFI/BOOT/BOOTX64.EFI")
	run(t, "mcopy", "-i", partition(disk), image, "::/vmlinuz")
	run(t, "mcopy", "-i", partition(disk), initrd, "::/initrd.gz")
	return disk
}

// writeDisk makes a disk with one partition that both firmwares can start: GRUB's
// boot sector loads the core image from the second sector on.
func writeDisk(t testing.TB, disk, corePath string) {
	t.Helper()
	core, err := os.ReadFile(corePath)
	if err != nil {
		t.Fatal(err)
	}
	boot, err := os.ReadFile("/usr/lib/grub/i386-pc/boot.img")
	if err != nil {
		t.Fatal(err)
	}
	for len(core)%sector != 0 {
		core = append(core, 0)
	}
	// The first sector of the core image ends with where the rest of it lies.
	binary.LittleEndian.PutUint64(core[0x1f4:], 2)
	binary.LittleEndian.PutUint16(core[0x1fc:], uint16(len(core)/sector-1))
	binary.LittleEndian.PutUint16(core[0x1fe:], 0x820)

	copy(boot[446:], make([]byte, 64))
	entry := boot[446:462]
	entry[0], entry[4] = 0x80, 0xef // active; an EFI system partition
	binary.LittleEndian.PutUint32(entry[8:], partStart)
	binary.LittleEndian.PutUint32(entry[12:], diskMiB<<20/sector-partStart)
	binary.LittleEndian.PutUint16(boot[510:], 0xaa55)

	f, err := os.Create(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(boot[:sector], core...)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(diskMiB << 20); err != nil {
		t.Fatal(err)
	}
}

// image makes a disk image of v, raw.
func image(t testing.TB, v variant) string {
	t.Helper()
	baseDisk.once.Do(func() { baseDisk.path = makeBase(t, baseDisk.dir) })
	dir := t.TempDir()
	disk := filepath.Join(dir, "image.raw")
	if err := copySparse(baseDisk.path, disk); err != nil {
		t.Fatal(err)
	}
	if v.noLoader {
		wipeLoader(t, disk)
		return disk
	}
	config := filepath.Join(dir, "test.cfg")
	if err := os.WriteFile(config, []byte(v.grubConfig()), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "mcopy", "-i", partition(disk), config, "::/test.cfg")
	if len(v.add) > 0 {
		a := &archive{seen: map[string]bool{}}
		for name, content := range v.add {
			a.add(name, 0o100600, []byte(content))
		}
		extra := filepath.Join(dir, "extra.gz")
		if err := os.WriteFile(extra, a.compressed(t), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, "mcopy", "-i", partition(disk), extra, "::/extra.gz")
	}
	return disk
}

func (v variant) grubConfig() string {
	if v.grub != "" {
		return v.grub
	}
	config := "linux /vmlinuz console=tty0 console=ttyS0,115200 net.ifnames=0 quiet " + v.cmdline + "\n"
	if !v.noInitrd {
		config += "initrd /initrd.gz"
		if len(v.add) > 0 {
			config += " /extra.gz"
		}
		config += "\n"
	}
	return config + "boot\n"
}

func wipeLoader(t testing.TB, disk string) {
	t.Helper()
	run(t, "mdel", "-i", partition(disk), "::/EFI/BOOT/BOOTX64.EFI")
	f, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// The partition table stays, as on a disk whose loader was never installed.
	if _, err := f.Write(make([]byte, 440)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0, 0}, 510); err != nil {
		t.Fatal(err)
	}
}

// copySparse copies a file without its zeros.
func copySparse(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	block, zero := make([]byte, 1<<16), make([]byte, 1<<16)
	for at := int64(0); ; at += int64(len(block)) {
		n, err := io.ReadFull(in, block)
		if n > 0 && !bytes.Equal(block[:n], zero[:n]) {
			if _, err := out.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		if err != nil {
			return out.Truncate(at + int64(n))
		}
	}
}
