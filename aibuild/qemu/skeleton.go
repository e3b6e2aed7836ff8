package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

var errSoon = errors.New("not built yet")

type Accel struct {
	Name        string  `json:"name"`   // kvm or tcg
	Reason      string  `json:"reason"` // why, in words
	Scale       float64 `json:"scale"`  // factor for deadlines, >= 1
	QEMUVersion string  `json:"qemu_version"`
	BootMS      int64   `json:"boot_ms"`
}

func (t Tool) Probe(ctx context.Context) (Accel, error) { return Accel{}, errSoon }
func (a Accel) Args() []string                          { return nil } // ["-accel", "tcg,thread=multi"]
func (a Accel) CPU() string                             { return "max" }

type Header struct {
	Format       string
	Version      int
	VirtualSize  int64
	FileSize     int64
	ClusterBits  int
	BackingFile  string
	DataFile     string
	Snapshots    int
	Compression  string
	Incompatible uint64
}

// BadImage is an image that must not be used.
type BadImage struct{ Path, Problem string }

func (e *BadImage) Error() string { return e.Path + ": " + e.Problem }

func ReadHeader(path, format string) (Header, error) { return Header{}, errSoon }
func (t Tool) Check(ctx context.Context, path, format string) (Header, error) {
	return Header{}, errSoon
}
func (t Tool) Compact(ctx context.Context, src, srcFormat, dst, format, compress string) error {
	return errSoon
}
func (t Tool) Overlay(ctx context.Context, base, baseFormat, path string, size int64) error {
	return errSoon
}

// Firmware names the UEFI code and variables files.
func (t Tool) Firmware() (code, vars string, err error) { return "", "", errSoon }

type Seed struct {
	InstanceID, Hostname, User string
	SSHKey                     string
	UserData                   string
	MAC                        string
}

func (s Seed) NoCloud(path string) error     { return errSoon }
func (s Seed) ConfigDrive(path string) error { return errSoon }

// Spec is one guest.
type Spec struct {
	Dir      string // existing folder of this guest; logs are written into it
	Disk     string // qcow2, writable
	Firmware string // bios (default) or uefi
	DiskBus  string // virtio (default) or scsi
	SeedPath string
	Memory   int64
	CPUs     int
	CPU      string
	Accel    Accel
	MAC      string
	Offline  bool
	Reboots  int    // reboots that are no fault; one more is a boot-loop
	Signs    []Sign // besides the built-in ones
	Extra    []string
}

func (t Tool) Args(s Spec) ([]string, error)                  { return nil, errSoon }
func (t Tool) Start(ctx context.Context, s Spec) (*VM, error) { return nil, errSoon }

type VM struct{ console *Console }

type Event struct {
	Name string
	At   time.Duration
	Data json.RawMessage
}

func (vm *VM) SSHAddr() string       { return "" } // 127.0.0.1:PORT
func (vm *VM) SerialPath() string    { return "" }
func (vm *VM) Console() *Console     { return vm.console }
func (vm *VM) Events() <-chan Event  { return nil }
func (vm *VM) Argv() []string        { return nil }
func (vm *VM) Pid() int              { return 0 }
func (vm *VM) Done() <-chan struct{} { return nil }
func (vm *VM) Err() error            { return nil }
func (vm *VM) Close() error          { return nil }
func (vm *VM) AllowReboots(n int)    {} // from now on, n more reboots are no fault
func (vm *VM) QMP(ctx context.Context, command string, args any) (json.RawMessage, error) {
	return nil, errSoon
}
func (vm *VM) Screenshot(ctx context.Context, path string) error { return errSoon }
func (vm *VM) Snapshot(ctx context.Context, tag string) error    { return errSoon }
func (vm *VM) Restore(ctx context.Context, tag string) error     { return errSoon }
func (vm *VM) PowerDown(ctx context.Context) error               { return errSoon }
func (vm *VM) CPUTime() (time.Duration, error)                   { return 0, errSoon }
func (vm *VM) SerialWrite(p []byte) (int, error)                 { return 0, errSoon } // input for the guest's serial line

// Claim records that this process owns dir, so that Sweep removes it when this process is dead.
func Claim(dir string) error  { return errSoon }
func Disown(dir string) error { return errSoon }

func Sweep(dir string) (removed []string, err error) { return nil, errSoon }
