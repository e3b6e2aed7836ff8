package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/guestos/aibuild/aibuild/qemu"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdSlot); dir != "" {
		os.Exit(holdTheSlot(dir))
	}
	dir, err := os.MkdirTemp("", "aibuild-harness-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	baseDisk.dir = dir
	code := m.Run()
	if err := errors.Join(goleak.Find(), os.RemoveAll(dir)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// software is the accelerator of all tests: it works everywhere, and its scale of
// 1 makes deadlines what the tests say.
var software = qemu.Accel{Name: "tcg", Reason: "test", Scale: 1}

// longBoot is more than any good guest needs, on the busiest machine.
const longBoot = 4 * time.Minute

// bootTime is how long the good guest took, in nanoseconds; 0 = not known yet.
var bootTime atomic.Int64

// patience is a boot deadline that a good guest keeps, on this machine today.
func patience() time.Duration {
	if d := time.Duration(bootTime.Load()); d > 0 {
		return 2*d + 4*time.Second
	}
	return time.Minute
}

// harness is a Harness whose work folder must be empty when the test has ended.
func harness(t *testing.T) Harness {
	t.Helper()
	work := t.TempDir()
	t.Cleanup(func() {
		entries, err := os.ReadDir(work)
		if err != nil || len(entries) > 0 {
			t.Errorf("work folder after the test: %v, %v; want it empty", entries, err)
		}
	})
	return Harness{Accel: software, WorkDir: work}
}

func testPlan(t *testing.T, v variant) Plan {
	t.Helper()
	return Plan{
		Image: image(t, v), Format: "raw", Evidence: filepath.Join(t.TempDir(), "evidence"),
		Memory: 256 << 20, BootTimeout: longBoot,
	}
}

// results are the results by "cell/case".
func results(r *Report) map[string]CaseResult {
	out := map[string]CaseResult{}
	for _, c := range r.Cases {
		out[c.Cell+"/"+c.Case] = c
	}
	return out
}

// guestPid waits for a guest below work and returns QEMU's process id.
func guestPid(ctx context.Context, work string) (int, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		found, err := filepath.Glob(filepath.Join(work, "*", ".aibuild-vm"))
		if err != nil {
			return 0, err
		}
		for _, path := range found {
			var record struct {
				VM struct{ Pid int }
			}
			b, err := os.ReadFile(path)
			if err == nil && json.Unmarshal(b, &record) == nil && record.VM.Pid > 0 {
				return record.VM.Pid, nil
			}
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
	}
}

// killGuests kills the first n guests that appear below work.
func killGuests(ctx context.Context, work string, n int) error {
	last := 0
	for n > 0 {
		pid, err := guestPid(ctx, work)
		if err != nil {
			return err
		}
		if pid == last {
			continue
		}
		last = pid
		n--
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
	}
	return nil
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// noSecrets fails when a file below dir holds a private key.
func noSecrets(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".qcow2") {
			return err
		}
		b, err := os.ReadFile(path)
		if strings.Contains(string(b), "PRIVATE KEY") {
			t.Errorf("%s holds a private key", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
