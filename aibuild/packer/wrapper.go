package packer

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const defaultEmulator = "qemu-system-x86_64"

// emulator is how a build's QEMU is reached.
type emulator struct {
	name    string // the wrapper's file name; empty: no wrapper is possible
	real    string // absolute path of the QEMU that it runs
	byPath  bool   // the template takes it by a variable rather than from PATH
	unwatch string // why there can be no wrapper
}

// emulator finds out which QEMU the template runs. Packer's default is the
// plain name, looked up in PATH; that is where the wrapper comes in.
func (t Tool) emulator(tpl *Template, s Source, given map[string]string) (emulator, error) {
	a, set := s.attrs["qemu_binary"]
	name := defaultEmulator
	switch {
	case !set:
	case a.literal && a.text != "":
		name = a.text
	case a.bare != "":
		v, _ := tpl.variable(a.bare)
		name = v.Default
		for _, key := range []string{"qemu_binary", a.bare} {
			if value := given[key]; value != "" {
				name = value
			}
		}
	default:
		return emulator{unwatch: "the template computes qemu_binary"}, nil
	}
	if name == "" {
		name = defaultEmulator
	}
	byPath := a.bare != ""
	if strings.Contains(name, "/") && !byPath {
		return emulator{unwatch: "the template runs " + name + " by its path"}, nil
	}
	program := name
	if name == defaultEmulator && t.QEMU.Binary != "" {
		program = t.QEMU.Binary
	}
	path, err := process.Look(program)
	if err != nil {
		return emulator{}, &Failed{
			Code: CodeQEMU, Blame: BlameInfrastructure, Err: err,
			Sentence: fmt.Sprintf("the template runs %s, which is not installed here; install QEMU (Debian: apt-get install qemu-system-x86 qemu-utils)", program),
		}
	}
	return emulator{name: filepath.Base(name), real: path, byPath: byPath}, nil
}

// wrapperDirs are the folders that a wrapper works with.
type wrapperDirs struct {
	bin     string // holds the wrapper; first in Packer's PATH
	console string // what the wrapper tells us, and the logs
	sockets string // a short path: socket names are at most 107 bytes
}

func (d wrapperDirs) serial() string   { return filepath.Join(d.console, "serial.log") }
func (d wrapperDirs) debugcon() string { return filepath.Join(d.console, "firmware.log") }
func (d wrapperDirs) qmp() string      { return filepath.Join(d.sockets, "qmp") }

// write puts the wrapper in place.
func (e emulator) write(d wrapperDirs, accel qemu.Accel) error {
	if e.name == "" {
		return nil
	}
	for _, dir := range []string{d.bin, d.console} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the QEMU wrapper: %w", err)
		}
	}
	if err := os.WriteFile(filepath.Join(d.bin, e.name), []byte(e.script(d, accel)), 0o700); err != nil {
		return fmt.Errorf("make the QEMU wrapper: %w", err)
	}
	return nil
}

// script is the wrapper: it keeps what the template asked for and adds what is
// missing, then becomes the real QEMU.
func (e emulator) script(d wrapperDirs, accel qemu.Accel) string {
	set := fmt.Sprintf("real=%s\nconsole=%s\nserial=%s\nfirmware=%s\nqmp=%s\naccel=%s\ncpu=%s\n",
		quote(e.real), quote(d.console), quote(comma(d.serial())), quote(comma(d.debugcon())), quote(comma(d.qmp())),
		quote(accel.Name), quote(accel.CPU()))
	return "#!/bin/sh\n# Written by aibuild: runs QEMU with its console and monitor where aibuild sees them.\n" + set + wrapperBody
}

// wrapperBody rewrites "$@" in place, argument by argument. Options that QEMU
// knows with one and with two dashes are matched by their last part.
const wrapperBody = `
guest= has_serial= has_debugcon= uefi= how= chardev= extra= prev=
n=$#
while [ "$n" -gt 0 ]; do
	a=$1; shift; n=$((n-1))
	case $prev in
	-serial|--serial)
		if [ -z "$has_serial" ]; then
			case $a in
			null|file:/dev/null) a=chardev:aibuild-serial; how=aibuild; extra="file,id=aibuild-serial,path=$serial" ;;
			file:*) how=${a#file:} ;;
			stdio) a=chardev:aibuild-stdio; how=aibuild; extra="stdio,id=aibuild-stdio,signal=off,logfile=$serial" ;;
			chardev:*) chardev=${a#chardev:}; how="!the template's chardev $chardev is not a file" ;;
			*) how="!the template sends its serial line to $a" ;;
			esac
		fi
		has_serial=1 ;;
	-netdev|--netdev|-nic|--nic|-net|--net)
		while :; do
			case $a in
			*hostfwd=tcp::[0-9]*) a="${a%%hostfwd=tcp::*}hostfwd=tcp:127.0.0.1:${a#*hostfwd=tcp::}" ;;
			*) break ;;
			esac
		done ;;
	-machine|--machine|-M)
		case $accel,$a in
		tcg,*accel=kvm*) a="${a%%accel=kvm*}accel=tcg${a#*accel=kvm}"; : >"$console/no-kvm" ;;
		esac
		case $a in *pflash0=*) uefi=1 ;; microvm*) uefi=1 ;; esac ;;
	-accel|--accel)
		case $accel,$a in tcg,kvm*) a=tcg; : >"$console/no-kvm" ;; esac ;;
	-cpu|--cpu)
		case $accel,$a in tcg,host) a=$cpu ;; tcg,host,*) a=$cpu,${a#host,} ;; esac ;;
	-bios|--bios|-pflash|--pflash) uefi=1 ;;
	-drive|--drive) guest=1; case $a in *if=pflash*) uefi=1 ;; esac ;;
	-blockdev|--blockdev|-cdrom|--cdrom|-hda|--hda|-kernel|--kernel) guest=1 ;;
	-device|--device) case $a in isa-debugcon*) has_debugcon=1 ;; esac ;;
	esac
	case $a in
	-debugcon|--debugcon) has_debugcon=1 ;;
	-enable-kvm|--enable-kvm)
		if [ "$accel" = tcg ]; then set -- "$@" -accel; a=tcg; : >"$console/no-kvm"; fi ;;
	esac
	set -- "$@" "$a"; prev=$a
done
# Packer also asks QEMU for its version and such.
[ -n "$guest" ] || exec "$real" "$@"
if [ -n "$chardev" ]; then
	for a; do
		case ,$a, in
		*,id=$chardev,*)
			case $a in file,*path=*) how=${a#*path=}; how=${how%%,*} ;; *logfile=*) how=${a#*logfile=}; how=${how%%,*} ;; esac ;;
		esac
	done
fi
[ -z "$extra" ] || set -- "$@" -chardev "$extra"
if [ -z "$has_serial" ]; then
	set -- "$@" -chardev "file,id=aibuild-serial,path=$serial" -serial chardev:aibuild-serial
	how=aibuild
fi
if [ -z "$has_debugcon$uefi" ]; then
	set -- "$@" -chardev "file,id=aibuild-firmware,path=$firmware" -device isa-debugcon,iobase=0x402,chardev=aibuild-firmware
fi
set -- "$@" -chardev "socket,id=aibuild-qmp,path=$qmp,server=on,wait=off" -mon chardev=aibuild-qmp,mode=control
case $how in
aibuild|!*|/*) ;;
*) how=$PWD/$how ;;
esac
printf '%s\n' "$real" "$@" >"$console/argv"
# The last file is the sign that the others are complete.
printf '%s\n%s\n' "$$" "$how" >"$console/started.part" && mv "$console/started.part" "$console/started"
exec "$real" "$@"
`

// quote makes s one word of the shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// comma doubles commas, as QEMU wants them in option values.
func comma(s string) string { return strings.ReplaceAll(s, ",", ",,") }
