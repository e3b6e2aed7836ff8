package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// tinyLinux is the real tiny-linux image, built by Packer from its ISO and
// tested in one cell, once for all tests.
func tinyLinux(t *testing.T) *lab {
	t.Helper()
	l := servers(t)
	l.built.Do(func() { l.buildTiny(t) })
	if l.file == "" {
		t.Fatal("tiny-linux was not built; see the first test that needed it")
	}
	return l
}

func (l *lab) buildTiny(t *testing.T) {
	l.repo = filepath.Join(l.dir, "images")
	copyTree(t, "../../examples/images", l.repo)
	if out, err := exec.Command(filepath.Join(l.repo, "tiny-linux", "source.sh")).CombinedOutput(); err != nil {
		t.Fatalf("source.sh: %v\n%s", err, out)
	}
	git(t, l.repo)
	p := &person{t, l, filepath.Join(l.dir, "builder"), nil}
	if err := os.MkdirAll(p.data, 0o700); err != nil {
		t.Fatal(err)
	}
	uuid := p.must(0, "build", filepath.Join(l.repo, "tiny-linux")).last()
	l.tiny = uuid
	l.file = filepath.Join(l.env["AIBUILD_WEB_ROOT"], "images", "build", "tiny-linux", uuid, "tiny-linux.qcow2")
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// quickTemplate copies a disk without booting it: a real Packer build of three
// seconds. The guest of the build is a ROM that switches it off.
const quickTemplate = `{
  "variables": {"iso_url": "", "iso_checksum": "", "output_directory": "", "vm_name": "", "accelerator": "tcg"},
  "builders": [{
    "type": "qemu", "name": "quick", "accelerator": "{{user %[1]saccelerator%[1]s}}",
    "disk_image": true, "iso_url": "{{user %[1]siso_url%[1]s}}", "iso_checksum": "{{user %[1]siso_checksum%[1]s}}",
    "skip_resize_disk": true, "skip_compaction": true, "format": "qcow2", "disk_interface": "virtio",
    "headless": true, "disable_vnc": true, "memory": 64, "net_device": "virtio-net",
    "communicator": "none", "boot_wait": "0s", "shutdown_timeout": "2m",
    "qemuargs": [["-option-rom", "{{template_dir}}/off.rom"]],
    "output_directory": "{{user %[1]soutput_directory%[1]s}}", "vm_name": "{{user %[1]svm_name%[1]s}}"
  }]
}
`

// quick writes a definition, in a git repository of its own, whose build takes
// two seconds and whose one cell boots tiny-linux. change edits aibuild.yaml.
func quick(t *testing.T, name string, change func(string) string) string {
	t.Helper()
	l := tinyLinux(t)
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Join(dir, "tests"), 0o755); err != nil {
		t.Fatal(err)
	}
	sum, err := exec.Command("sha256sum", l.file).Output()
	if err != nil {
		t.Fatal(err)
	}
	yaml := fmt.Sprintf(`name: %s
arch: x86_64
os: {distro: tiny, version: "1"}
from: {disk: disk.qcow2, checksum: "sha256:%s"}
build: {template: quick.json, timeout: 5m}
output: {format: qcow2, compress: zlib}
test:
  matrix: {firmware: [bios], disk_bus: [virtio], datasource: [nocloud]}
  memory: 256MiB
  user: root
  cases: tests/
release: {clusters: [alpha, beta], visibility: private}
`, name, strings.Fields(string(sum))[0])
	if change != nil {
		yaml = change(yaml)
	}
	files := map[string]string{
		"aibuild.yaml": yaml, "quick.json": fmt.Sprintf(quickTemplate, "`"), ".gitignore": "disk.qcow2\n",
		"tests/hello.sh": "#!/bin/sh\n# aibuild: timeout=20s\necho hello from $AIBUILD_CELL\n",
	}
	for file, content := range files {
		mode := os.FileMode(0o644)
		if strings.HasSuffix(file, ".sh") {
			mode = 0o755
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "off.rom"), offROM(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(l.file, filepath.Join(dir, "disk.qcow2")); err != nil {
		t.Fatal(err)
	}
	git(t, dir)
	return dir
}

// offROM switches the machine off, after Packer's two seconds in which a QEMU that ends counts as not started. SeaBIOS runs
// it before any disk is looked at: a floppy drive's interrupts get lost on a busy machine. It waits for three changes of the
// clock's seconds (ports 0x70 and 0x71), then writes SLP_EN to PIIX4's PM1a control register, where SeaBIOS puts it
// (mov dx,0x604; mov ax,0x2000; out dx,ax; hlt).
func offROM() []byte {
	rom := make([]byte, 512)
	copy(rom, []byte{0x55, 0xaa, byte(len(rom) / 512),
		0xb9, 0x03, 0x00, 0x30, 0xc0, 0xe6, 0x70, 0xe4, 0x71, 0x88, 0xc3, 0x30, 0xc0, 0xe6, 0x70, 0xe4, 0x71, 0x38, 0xd8, 0x74, 0xf6, 0xe2, 0xec,
		0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd})
	for _, b := range rom[:511] {
		rom[511] -= b // all together are 0
	}
	return rom
}
