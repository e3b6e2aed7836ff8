package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Values of the fields of a Cell.
const (
	BIOS        = "bios"
	UEFI        = "uefi"
	Virtio      = "virtio"
	SCSI        = "scsi"
	NoCloud     = "nocloud"
	ConfigDrive = "configdrive"
)

// Defaults of a Plan.
const (
	DefaultMemory      = 1 << 30
	DefaultCPUs        = 1
	DefaultUser        = "root"
	DefaultBootTimeout = 90 * time.Second
	DefaultCaseTimeout = 60 * time.Second
)

// Cell is one way of booting an image.
type Cell struct {
	Firmware   string `json:"firmware"`   // bios or uefi
	DiskBus    string `json:"disk_bus"`   // virtio (virtio-blk) or scsi (virtio-scsi)
	Datasource string `json:"datasource"` // nocloud or configdrive
}

// String gives the cell's name, as in "bios-virtio-nocloud".
func (c Cell) String() string {
	return c.Firmware + "-" + c.DiskBus + "-" + c.Datasource
}

// ParseCell reads what Cell.String wrote.
func ParseCell(s string) (Cell, error) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return Cell{}, &PlanError{Field: "cell", Problem: fmt.Sprintf("%q is not FIRMWARE-DISKBUS-DATASOURCE, as in bios-virtio-nocloud", s)}
	}
	c := Cell{Firmware: parts[0], DiskBus: parts[1], Datasource: parts[2]}
	return c, c.check()
}

func (c Cell) check() error {
	if c.Datasource == "metadata" {
		return &PlanError{Field: "datasource", Problem: "metadata: not yet; use nocloud or configdrive"}
	}
	for _, f := range []struct{ field, value, a, b string }{
		{"firmware", c.Firmware, BIOS, UEFI},
		{"disk_bus", c.DiskBus, Virtio, SCSI},
		{"datasource", c.Datasource, NoCloud, ConfigDrive},
	} {
		if f.value != f.a && f.value != f.b {
			return &PlanError{Field: f.field, Problem: fmt.Sprintf("%q is unknown; use %s or %s", f.value, f.a, f.b)}
		}
	}
	return nil
}

// Case is one executable of the image's author.
type Case struct {
	Name string
	// Script is the executable itself. Without it Path names the executable: in
	// Plan.Files when that is set, else on this machine.
	Script []byte
	Path   string
	// Timeout bounds one attempt, before scaling; zero is DefaultCaseTimeout.
	Timeout  time.Duration
	Sudo     bool // run as root
	Isolated bool // run in a freshly booted guest
	Retries  int  // further attempts after a failed one
}

// Plan says what to test and how.
type Plan struct {
	Image  string // path of the disk image; it is never written to
	Format string // qcow2 or raw; empty is qcow2
	Cells  []Cell // empty is bios-virtio-nocloud alone
	Cases  []Case
	// Files is the folder around the cases; all of it is copied into the guest.
	Files fs.FS
	// Builtin adds the built-in cases. Whether the guest boots is always tested.
	Builtin bool
	// Inventory lists what is installed, in one guest, before any case runs there.
	Inventory bool
	Memory    int64  // bytes; zero is DefaultMemory
	CPUs      int    // zero is DefaultCPUs
	User      string // login that the image's cloud-init (or its like) gives the key to; empty is DefaultUser
	// Evidence is the folder to fill; it is made when it is not there.
	Evidence string
	// KeepOnFailure keeps the disk of a cell that did not pass, in its evidence
	// folder. It is an overlay: it needs Image to stay where it is.
	KeepOnFailure bool
	// BootTimeout bounds the time from power-on to a working SSH login, and then
	// again the time that cloud-init and systemd may take to end; zero is
	// DefaultBootTimeout. Time for which the guest waits for a processor of this
	// machine does not count while it boots, up to four times the timeout.
	BootTimeout time.Duration
	// BuildKeys are public keys (authorized_keys lines) that the build used and
	// that must not be left in the image.
	BuildKeys []string
	// AllowedKeys are public keys that the image is meant to carry. Any other key
	// that the test did not inject itself fails builtin/build-key.
	AllowedKeys []string
}

// PlanError says why a plan cannot be carried out; it is found before anything
// is started.
type PlanError struct {
	Field   string // what of the plan is wrong
	Problem string // what is wrong, and what to do
}

func (e *PlanError) Error() string { return "test plan: " + e.Field + ": " + e.Problem }

// withDefaults returns the plan with every zero field filled in, or why it
// cannot be carried out.
func (p Plan) withDefaults() (Plan, error) {
	if len(p.Cells) == 0 {
		p.Cells = []Cell{{BIOS, Virtio, NoCloud}}
	}
	p.Format = either(p.Format, "qcow2")
	p.Memory = either(p.Memory, DefaultMemory)
	p.CPUs = either(p.CPUs, DefaultCPUs)
	p.User = either(p.User, DefaultUser)
	p.BootTimeout = either(p.BootTimeout, DefaultBootTimeout)
	p.Cases = append([]Case(nil), p.Cases...)
	for i := range p.Cases {
		p.Cases[i].Timeout = either(p.Cases[i].Timeout, DefaultCaseTimeout)
	}
	if err := p.check(); err != nil {
		return p, err
	}
	var err error
	// QEMU resolves the name of a backing file against the overlay's folder.
	if p.Image, err = filepath.Abs(p.Image); err != nil {
		return p, fmt.Errorf("find the image: %w", err)
	}
	return p, nil
}

func either[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

func (p Plan) check() error {
	var errs []error
	wrong := func(field, format string, args ...any) {
		errs = append(errs, &PlanError{Field: field, Problem: fmt.Sprintf(format, args...)})
	}
	if p.Image == "" {
		wrong("image", "no image is named; set Image to the path of a disk image")
	}
	if p.Memory < 32<<20 {
		wrong("memory", "%d bytes boot no guest; give at least 32 MiB", p.Memory)
	}
	if p.CPUs < 0 || p.BootTimeout < 0 {
		wrong("cpus", "processors and timeouts cannot be negative")
	}
	if strings.ContainsAny(p.User, " \t\n:/'\"\\$`") || strings.HasPrefix(p.User, "-") {
		wrong("user", "%q is not a login name", p.User)
	}
	seen := map[string]bool{}
	for _, c := range p.Cells {
		if err := c.check(); err != nil {
			errs = append(errs, err)
		}
		if seen[c.String()] {
			wrong("cells", "%s is there twice", c)
		}
		seen[c.String()] = true
	}
	for _, c := range p.Cases {
		if err := p.checkCase(c); err != nil {
			errs = append(errs, err)
		}
		if seen[c.Name] {
			wrong("cases", "%s is there twice", c.Name)
		}
		seen[c.Name] = true
	}
	for _, k := range append(append([]string(nil), p.BuildKeys...), p.AllowedKeys...) {
		if _, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err != nil {
			wrong("keys", "%.40q is not a public key in the form of authorized_keys: %v", k, err)
		}
	}
	return errors.Join(errs...)
}

func (p Plan) checkCase(c Case) error {
	problem := ""
	switch {
	case c.Name == "" || strings.HasPrefix(c.Name, "builtin/") || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' }):
		problem = fmt.Sprintf("%q cannot be the name of a case; use a plain name that does not start with builtin/", c.Name)
	case c.Timeout < 0 || c.Retries < 0:
		problem = c.Name + ": timeout and retries cannot be negative"
	case c.Script == nil && c.Path == "":
		problem = c.Name + ": there is neither a script nor a path"
	case c.Script == nil && p.Files != nil && !fs.ValidPath(path.Clean(c.Path)):
		problem = fmt.Sprintf("%s: %q leads out of the folder of the cases", c.Name, c.Path)
	}
	if problem == "" {
		return nil
	}
	return &PlanError{Field: "cases", Problem: problem}
}
