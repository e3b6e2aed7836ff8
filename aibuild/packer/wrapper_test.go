package packer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// The wrapper is run for real, with a program that prints its arguments in the
// place of QEMU.
func TestWrapper(t *testing.T) {
	const monitor = "-chardev socket,id=aibuild-qmp,path=DIR/tmp/qmp,server=on,wait=off -mon chardev=aibuild-qmp,mode=control"
	const serial = " -chardev file,id=aibuild-serial,path=DIR/console,,x/serial.log -serial chardev:aibuild-serial "
	const bios = "-chardev file,id=aibuild-firmware,path=DIR/console,,x/firmware.log -device isa-debugcon,iobase=0x402,chardev=aibuild-firmware "
	tests := []struct {
		name, accel, args string
		want              string
		how               string // what the watcher is told; empty: nothing
		tcg               bool
	}{
		{"version", "tcg", "--version", "--version", "", false},
		{"as packer calls it", "", "-drive file=x.qcow2,if=virtio -netdev user,id=user.0,hostfwd=tcp::3229-:22 -machine type=pc,accel=kvm",
			"-drive file=x.qcow2,if=virtio -netdev user,id=user.0,hostfwd=tcp:127.0.0.1:3229-:22 -machine type=pc,accel=kvm" + serial + bios + monitor, "aibuild", false},
		{"two ports", "", "-cdrom x -netdev user,hostfwd=tcp::1-:22,hostfwd=tcp::2-:80,hostfwd=tcp:127.0.0.1:3-:81",
			"-cdrom x -netdev user,hostfwd=tcp:127.0.0.1:1-:22,hostfwd=tcp:127.0.0.1:2-:80,hostfwd=tcp:127.0.0.1:3-:81" + serial + bios + monitor, "aibuild", false},
		{"no kvm", "tcg", "-drive x -machine type=q35,accel=kvm -cpu host,+x -enable-kvm -accel kvm",
			"-drive x -machine type=q35,accel=tcg -cpu CPU,+x -accel tcg -accel tcg" + serial + bios + monitor, "aibuild", true},
		{"kvm stays", "kvm", "-drive x -machine accel=kvm -cpu host", "-drive x -machine accel=kvm -cpu host" + serial + bios + monitor, "aibuild", false},
		{"uefi", "", "-drive if=pflash,file=code -drive x", "-drive if=pflash,file=code -drive x" + serial + monitor, "aibuild", false},
		{"uefi by machine", "", "-drive x -machine q35,pflash0=c", "-drive x -machine q35,pflash0=c" + serial + monitor, "aibuild", false},
		{"own firmware log", "", "-drive x -device isa-debugcon,chardev=c", "-drive x -device isa-debugcon,chardev=c" + serial + monitor, "aibuild", false},
		{"own serial file", "", "-drive x -serial file:/l/s.log -serial null", "-drive x -serial file:/l/s.log -serial null " + bios + monitor, "/l/s.log", false},
		{"relative serial file", "", "-drive x -serial file:s.log", "-drive x -serial file:s.log " + bios + monitor, "PWD/s.log", false},
		{"thrown away", "", "-drive x -serial null", "-drive x -serial chardev:aibuild-serial -chardev file,id=aibuild-serial,path=DIR/console,,x/serial.log " + bios + monitor, "aibuild", false},
		{"thrown away by file", "", "-drive x -serial file:/dev/null", "-drive x -serial chardev:aibuild-serial -chardev file,id=aibuild-serial,path=DIR/console,,x/serial.log " + bios + monitor, "aibuild", false},
		{"to stdio", "", "-drive x -serial stdio", "-drive x -serial chardev:aibuild-stdio -chardev stdio,id=aibuild-stdio,signal=off,logfile=DIR/console,,x/serial.log " + bios + monitor, "aibuild", false},
		{"to a chardev file", "", "-drive x -chardev file,path=/l/c.log,id=c0 -serial chardev:c0", "-drive x -chardev file,path=/l/c.log,id=c0 -serial chardev:c0 " + bios + monitor, "/l/c.log", false},
		{"to a chardev with log", "", "-drive x -serial chardev:c0 -chardev pty,id=c0,logfile=/l/p.log", "-drive x -serial chardev:c0 -chardev pty,id=c0,logfile=/l/p.log " + bios + monitor, "/l/p.log", false},
		{"to a socket", "", "-drive x -serial unix:/s,server", "-drive x -serial unix:/s,server " + bios + monitor, "!the template sends its serial line to unix:/s,server", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, map[string]string{"qemu's": "#!/bin/sh\nprintf '%s\\n' \"$@\"\n"})
			real := filepath.Join(dir, "qemu's")
			if err := os.Chmod(real, 0o755); err != nil {
				t.Fatal(err)
			}
			d := wrapperDirs{bin: filepath.Join(dir, "bin"), console: filepath.Join(dir, "console,x"), sockets: filepath.Join(dir, "tmp")}
			accel := qemu.Accel{Name: tt.accel}
			if err := (emulator{name: "qemu-test", real: real}).write(d, accel); err != nil {
				t.Fatal(err)
			}
			result, err := process.Cmd{Path: filepath.Join(d.bin, "qemu-test"), Args: strings.Fields(tt.args), Dir: dir}.Run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			fill := strings.NewReplacer("DIR", dir, "CPU", accel.CPU(), "PWD", dir)
			if diff := cmp.Diff(strings.Fields(fill.Replace(tt.want)), strings.Fields(string(result.Stdout))); diff != "" {
				t.Errorf("arguments (-want +got):\n%s", diff)
			}
			b, err := os.ReadFile(filepath.Join(d.console, "started"))
			_, how, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
			if (err != nil) != (tt.how == "") || how != fill.Replace(tt.how) {
				t.Errorf("told %q (%v); want %q", how, err, tt.how)
			}
			if _, err := os.Stat(filepath.Join(d.console, "no-kvm")); (err == nil) != tt.tcg {
				t.Errorf("no-kvm: %v; want %v", err, tt.tcg)
			}
		})
	}
}

func TestEmulatorOfATemplate(t *testing.T) {
	attrs := func(line string) string {
		return strings.Replace(tinyHCL, "qemuargs", line+"\n  qemuargs", 1) + "variable \"q\" { default = \"sh\" }\n"
	}
	dir := t.TempDir()
	fake := filepath.Join(dir, "qemu")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	sh, err := process.Look("sh")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line string
		vars       map[string]string
		want       emulator
	}{
		{"default", "", nil, emulator{name: defaultEmulator, real: fake}},
		{"name", `qemu_binary = "sh"`, nil, emulator{name: "sh", real: sh}},
		{"path", `qemu_binary = "/usr/libexec/qemu-kvm"`, nil, emulator{unwatch: "the template runs /usr/libexec/qemu-kvm by its path"}},
		{"variable", `qemu_binary = var.q`, nil, emulator{name: "sh", real: sh, byPath: true}},
		{"variable with value", `qemu_binary = var.q`, map[string]string{"q": fake}, emulator{name: "qemu", real: fake, byPath: true}},
		{"computed", `qemu_binary = "${var.q}-x"`, nil, emulator{unwatch: "the template computes qemu_binary"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tpl, err := ReadTemplate(files("t.pkr.hcl", attrs(tt.line)), "t.pkr.hcl")
			if err != nil {
				t.Fatal(err)
			}
			got, err := Tool{QEMU: qemu.Tool{Binary: fake}}.emulator(tpl, tpl.Sources[0], tt.vars)
			if err != nil || got != tt.want {
				t.Errorf("emulator = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	missing := attrs(`qemu_binary = "qemu-system-nothing"`)
	tpl, err := ReadTemplate(files("t.pkr.hcl", missing), "t.pkr.hcl")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Tool{}).emulator(tpl, tpl.Sources[0], nil); err == nil || !strings.Contains(err.Error(), "qemu-system-nothing, which is not installed here") {
		t.Errorf("missing: %v", err)
	}
}
