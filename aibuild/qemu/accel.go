package qemu

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/guestos/aibuild/aibuild/process"
)

//go:embed probe.bin
var probeSector []byte

const (
	// probeExit is QEMU's status when the boot sector has come to its end.
	probeExit = 33
	// Real KVM needs 0.15 s; where KVM emulates kernel code in software it is 10 s.
	kvmLimit = 3 * time.Second
	tcgLimit = 60 * time.Second

	// The probe takes these times on an idle machine of today.
	kvmUsual, tcgUsual = 300 * time.Millisecond, 200 * time.Millisecond
	// Systems boot under TCG about four times slower than under KVM.
	tcgFactor = 4
	maxScale  = 20
)

// Accel is how guests are run here.
type Accel struct {
	Name        string  `json:"name"`         // kvm or tcg
	Reason      string  `json:"reason"`       // why this one, in words
	Scale       float64 `json:"scale"`        // factor for deadlines that suit an idle machine with KVM; 1 to 20
	QEMUVersion string  `json:"qemu_version"` // for example 7.2.22
	BootMS      int64   `json:"boot_ms"`      // milliseconds that the probe took
}

// Args are QEMU's arguments for it, without the CPU.
func (a Accel) Args() []string {
	if a.Name == "kvm" {
		return []string{"-accel", "kvm"}
	}
	return []string{"-accel", "tcg,thread=multi"}
}

// CPU is the model that offers guests the most. Under TCG qemu64 boots a guest
// about 13 % faster, but systems built for x86-64-v2 do not start on it.
func (a Accel) CPU() string {
	if a.Name == "kvm" {
		return "host"
	}
	return "max"
}

// Probe learns which accelerator really works by booting a sector of 512 bytes
// with it: a device file that can be opened proves nothing. It takes 0.2 to 4 s;
// with a CacheDir the answer holds until the machine boots or QEMU changes. An
// error means that QEMU cannot run any guest here.
func (t Tool) Probe(ctx context.Context) (Accel, error) {
	version, err := t.version(ctx)
	if err != nil {
		return Accel{}, err
	}
	cache, err := t.openCache(version)
	if err != nil {
		return Accel{}, err
	}
	if a, ok := cache.read(); ok {
		return a, nil
	}
	a, err := t.probe(ctx)
	if err != nil {
		return Accel{}, err
	}
	a.QEMUVersion = version
	t.log().Info("accelerator", "name", a.Name, "reason", a.Reason, "scale", a.Scale)
	return a, cache.write(a)
}

func (t Tool) probe(ctx context.Context) (Accel, error) {
	kvm := t.bootProbe(ctx, "kvm", kvmLimit)
	if kvm.err == nil {
		return Accel{
			Name: "kvm", BootMS: kvm.took.Milliseconds(), Scale: scale(1, kvm.took, kvmUsual),
			Reason: fmt.Sprintf("a test guest ran under KVM in %.2f s", kvm.took.Seconds()),
		}, nil
	}
	if ctx.Err() != nil {
		return Accel{}, fmt.Errorf("probe kvm: %w", context.Cause(ctx))
	}
	tcg := t.bootProbe(ctx, "tcg", tcgLimit)
	if tcg.err != nil {
		return Accel{}, fmt.Errorf("probe: no guest runs here, neither with kvm (%s) nor with tcg: %w", kvm.reason(), tcg.err)
	}
	return Accel{
		Name: "tcg", BootMS: tcg.took.Milliseconds(), Scale: scale(tcgFactor, tcg.took, tcgUsual),
		Reason: fmt.Sprintf("%s; a test guest ran under TCG in %.2f s", kvm.reason(), tcg.took.Seconds()),
	}, nil
}

func scale(factor float64, took, usual time.Duration) float64 {
	s := factor * max(1, took.Seconds()/usual.Seconds())
	return math.Round(10*min(s, maxScale)) / 10
}

// attempt is one boot of the probe.
type attempt struct {
	took    time.Duration
	limit   time.Duration
	printed string
	err     error
}

// reason says why KVM cannot be used.
func (a attempt) reason() string {
	var perr *process.Error
	switch {
	case errors.As(a.err, &perr) && perr.TimedOut && strings.Contains(a.printed, "<"):
		return fmt.Sprintf("KVM is there but runs a guest's kernel code far too slowly, as nested kvm_pvm does: not done in %s", a.limit)
	case errors.As(a.err, &perr) && perr.TimedOut:
		return fmt.Sprintf("KVM is there but far too slow: a test guest's firmware was not done in %s", a.limit)
	}
	return "KVM does not work: " + a.err.Error()
}

func (t Tool) bootProbe(ctx context.Context, accel string, limit time.Duration) attempt {
	disk, err := unlinkedFile(probeSector)
	if err != nil {
		return attempt{err: fmt.Errorf("probe's disk: %w", err)}
	}
	defer disk.Close()
	a := attempt{limit: limit}
	start := time.Now()
	result, err := process.Cmd{
		Path: t.binary(), Args: probeArgs(accel), Timeout: limit, Grace: time.Second,
		ExtraFiles: []*os.File{disk}, Log: t.Log,
	}.Run(ctx)
	a.took, a.err = time.Since(start), err
	if result == nil {
		return a
	}
	a.printed = string(result.Stdout)
	switch {
	case result.ExitCode == probeExit && a.printed == "<>":
		a.err = nil
	case err == nil:
		a.err = fmt.Errorf("%s ended too early, with status 0", filepath.Base(t.binary()))
	}
	return a
}

func probeArgs(accel string) []string {
	cpu := Accel{Name: accel}.CPU()
	args := []string{
		"-nodefaults", "-no-user-config", "-machine", "pc", "-accel", accel, "-cpu", cpu, "-m", "32",
		"-no-reboot", "-display", "none", "-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
	}
	args = append(args, blockdev("disk", "raw", "/proc/self/fd/3", readOnly)...)
	return append(args, "-device", "virtio-blk-pci,drive=disk,bootindex=0", "-device", "isa-debug-exit,iobase=0xf4,iosize=4")
}

// unlinkedFile has no name, so that nothing is left behind however we end.
func unlinkedFile(content []byte) (*os.File, error) {
	f, err := os.CreateTemp("", "aibuild-probe-")
	if err != nil {
		return nil, err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Truncate(mebibyte) // SeaBIOS takes no smaller virtio disk
	}
	if err = errors.Join(os.Remove(f.Name()), err); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

var versionLine = regexp.MustCompile(`version (\d+\.\d+\.\d+)`)

func (t Tool) version(ctx context.Context) (string, error) {
	result, err := process.Cmd{Path: t.binary(), Args: []string{"--version"}, Timeout: tcgLimit, Log: t.Log}.Run(ctx)
	if errors.Is(err, process.ErrNotFound) {
		return "", fmt.Errorf("qemu: %w: install the package qemu-system-x86", err)
	}
	if err != nil {
		return "", fmt.Errorf("qemu: %w", err)
	}
	m := versionLine.FindSubmatch(result.Stdout)
	if m == nil {
		return "", fmt.Errorf("qemu: %s names no version: %.100q", t.binary(), result.Stdout)
	}
	return string(m[1]), nil
}

// probeCache keeps one file for each boot of the machine and QEMU.
type probeCache struct{ dir, boot, path string }

func (t Tool) openCache(version string) (probeCache, error) {
	if t.CacheDir == "" {
		return probeCache{}, nil
	}
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return probeCache{}, fmt.Errorf("probe: %w", err)
	}
	if err := os.MkdirAll(t.CacheDir, 0o755); err != nil {
		return probeCache{}, fmt.Errorf("probe: %w", err)
	}
	c := probeCache{dir: t.CacheDir, boot: strings.TrimSpace(string(b))}
	sum := sha256.Sum256([]byte(t.binary() + "\x00" + version + "\x00" + string(probeSector)))
	c.path = filepath.Join(c.dir, "accel-"+c.boot+"-"+hex.EncodeToString(sum[:4])+".json")
	return c, nil
}

// read: whatever is wrong with the file, probing again puts it right.
func (c probeCache) read() (Accel, bool) {
	var a Accel
	b, err := os.ReadFile(c.path)
	if err != nil || json.Unmarshal(b, &a) != nil {
		return Accel{}, false
	}
	return a, a.Scale >= 1 && (a.Name == "kvm" || a.Name == "tcg")
}

func (c probeCache) write(a Accel) error {
	if c.path == "" {
		return nil
	}
	b, err := json.Marshal(a)
	if err == nil {
		err = renameio.WriteFile(c.path, b, 0o644)
	}
	if err == nil {
		err = c.dropOld()
	}
	if err != nil {
		return fmt.Errorf("keep what the probe found: %w", err)
	}
	return nil
}

// dropOld removes what earlier boots of the machine left.
func (c probeCache) dropOld() error {
	old, err := filepath.Glob(filepath.Join(c.dir, "accel-*.json"))
	for _, path := range old {
		if !strings.HasPrefix(filepath.Base(path), "accel-"+c.boot) {
			err = errors.Join(err, removeFile(path))
		}
	}
	return err
}
