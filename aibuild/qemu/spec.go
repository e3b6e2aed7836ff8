package qemu

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// DefaultMAC is the address of a guest's only network card, unless told
// otherwise. Every guest has a network of its own, so all may have the same.
const DefaultMAC = "52:54:00:12:34:56"

const (
	defaultMemory = 1 << 30
	minMemory     = 16 << 20
	mebibyte      = 1 << 20
)

// Spec is one guest. Dir and Disk are needed, the rest has defaults.
type Spec struct {
	// Dir is an existing folder of this guest alone. Its logs are written there
	// and stay: serial.log, firmware.log (SeaBIOS' debug port), qemu.stderr, and
	// under UEFI the variables, uefi-vars.qcow2.
	Dir string
	// Disk is the guest's writable disk, a qcow2 file: an overlay, as Overlay
	// makes it. No other guest may use it.
	Disk     string
	Firmware string // bios (default) or uefi
	DiskBus  string // virtio (default) or scsi (virtio-scsi)
	// SeedPath is an ISO 9660 file for a read-only virtio disk: SATA, where q35
	// would put a CD, has no driver in cloud kernels.
	SeedPath string

	Memory int64  // bytes, rounded up to MiB; 0 means 1 GiB
	CPUs   int    // 0 means 1
	CPU    string // model; empty means Accel.CPU()
	// Accel comes from Probe; the zero Accel means TCG.
	Accel   Accel
	MAC     string // empty means DefaultMAC
	Offline bool   // the guest reaches nothing; its SSH port is reachable all the same

	// Reboots is how many reboots of the guest are no fault; the next one is a
	// BootLoop. See VM.AllowReboots.
	Reboots int
	// Signs are looked for on the console besides the built-in ones.
	Signs []Sign
	// Extra arguments for QEMU, put last.
	Extra []string
}

// Descriptors at which QEMU finds its ends of our socket pairs. Sockets without
// a name need no short path, no port and no permission, and nobody else can
// connect to them.
const (
	fdMonitor = 3 + iota
	fdSerial
	fdFirmware
)

// Args returns QEMU's arguments for s, without the program's name. It looks at
// nothing but its input: the disk must be there only when the guest starts.
// Monitor, serial line and debug port are descriptors 3, 4 and 5, which Start
// provides.
func (t Tool) Args(s Spec) ([]string, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	args := []string{
		"-nodefaults", "-no-user-config",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
		"-machine", s.machine(),
	}
	args = append(args, s.Accel.Args()...)
	args = append(args,
		"-cpu", s.cpu(), "-smp", strconv.Itoa(max(1, s.CPUs)), "-m", s.memory(),
		"-display", "none", "-vga", "std", "-rtc", "base=utc", "-boot", "strict=on",
		"-action", "reboot=reset,panic=pause", "-device", "pvpanic", "-device", "virtio-rng-pci",
	)
	args = append(args, channels()...)
	args = append(args, t.firmware(s)...)
	args = append(args, s.disks()...)
	args = append(args, s.network()...)
	return append(args, s.Extra...), nil
}

func (s Spec) validate() error {
	switch {
	case s.Dir == "" || s.Disk == "":
		return fmt.Errorf("guest: folder and disk must be named")
	case s.Firmware != "" && s.Firmware != "bios" && s.Firmware != "uefi":
		return fmt.Errorf("guest: firmware %q: must be bios or uefi", s.Firmware)
	case s.DiskBus != "" && s.DiskBus != "virtio" && s.DiskBus != "scsi":
		return fmt.Errorf("guest: disk bus %q: must be virtio or scsi", s.DiskBus)
	case s.Memory != 0 && s.Memory < minMemory:
		return fmt.Errorf("guest: %d bytes of memory: at least %d are needed", s.Memory, minMemory)
	case s.CPUs < 0:
		return fmt.Errorf("guest: %d cpus: must be positive", s.CPUs)
	}
	return nil
}

func (s Spec) machine() string {
	if s.Firmware == "uefi" {
		return "q35,pflash0=uefi-code,pflash1=uefi-vars"
	}
	// Without graphics SeaBIOS repeats on the serial line what is shown on the
	// screen before the system starts: a boot loader's error is seen there even
	// if the loader knows of no serial line. The screen works all the same.
	return "pc,graphics=off"
}

func (s Spec) cpu() string {
	if s.CPU != "" {
		return s.CPU
	}
	return s.Accel.CPU()
}

func (s Spec) memory() string {
	bytes := s.Memory
	if bytes == 0 {
		bytes = defaultMemory
	}
	return strconv.FormatInt((bytes+mebibyte-1)/mebibyte, 10)
}

func channels() []string {
	socket := func(id string, fd int) string { return fmt.Sprintf("socket,id=%s,fd=%d", id, fd) }
	return []string{
		"-chardev", socket("monitor", fdMonitor), "-mon", "chardev=monitor,mode=control",
		"-chardev", socket("serial", fdSerial), "-serial", "chardev:serial",
		"-chardev", socket("firmware", fdFirmware), "-device", "isa-debugcon,iobase=0x402,chardev=firmware",
	}
}

// blockdev defines a drive. A comma in a file's name is doubled, else it could
// add options.
func blockdev(node, format, path, options string) []string {
	return []string{"-blockdev", "driver=" + format + ",node-name=" + node + options +
		",file.driver=file,file.filename=" + strings.ReplaceAll(path, ",", ",,")}
}

const readOnly = ",read-only=on"

func (t Tool) firmware(s Spec) []string {
	if s.Firmware != "uefi" {
		return nil
	}
	code := t.UEFICode
	if code == "" {
		code = firmwarePairs[0].code
	}
	// The variables are qcow2 because a guest with a writable raw drive has no
	// snapshots.
	return append(blockdev("uefi-code", "raw", code, readOnly), blockdev("uefi-vars", "qcow2", s.varsPath(), "")...)
}

func (s Spec) varsPath() string { return filepath.Join(s.Dir, "uefi-vars.qcow2") }

// disks: the guest's data die with it, so nothing waits for the host's disk.
func (s Spec) disks() []string {
	args := blockdev("disk", "qcow2", s.Disk, ",cache.direct=off,cache.no-flush=on,discard=unmap")
	if s.DiskBus == "scsi" {
		args = append(args, "-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-hd,bus=scsi.0,drive=disk,bootindex=0")
	} else {
		args = append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=0")
	}
	if s.SeedPath != "" {
		args = append(args, blockdev("seed", "raw", s.SeedPath, readOnly)...)
		args = append(args, "-device", "virtio-blk-pci,drive=seed")
	}
	return args
}

// network lets QEMU choose a free port itself: any other way of choosing one can
// lose it to somebody else before QEMU binds it.
func (s Spec) network() []string {
	mac := s.MAC
	if mac == "" {
		mac = DefaultMAC
	}
	user := "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22"
	if s.Offline {
		user += ",restrict=on"
	}
	return []string{"-netdev", user, "-device", "virtio-net-pci,netdev=net,romfile=,mac=" + mac}
}
