package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"
)

// DefaultSlots is the folder through which the machine's processes share its
// processors, unless Harness.Slots names another. It does not follow TMPDIR, which
// CI servers set for each job.
const DefaultSlots = "/tmp/aibuild-slots"

// slotCount is how many guests run at once: a guest under test keeps more than
// one processor busy, its own and those that emulate its devices.
func slotCount() int { return max(1, runtime.NumCPU()/2) }

const slotPoll = 100 * time.Millisecond

// takeSlot waits for one of n slots in dir and returns how to give it back.
// A slot is a file lock: it ends with its process, however that ends.
func takeSlot(ctx context.Context, dir string, n int) (release func(), err error) {
	if err := slotsFolder(dir); err != nil {
		return nil, fmt.Errorf("folder of the guest slots: %w", err)
	}
	tick := time.NewTicker(slotPoll)
	defer tick.Stop()
	for {
		for i := range n {
			f, err := trySlot(filepath.Join(dir, "slot-"+strconv.Itoa(i)))
			if err != nil {
				return nil, fmt.Errorf("take a guest slot: %w", err)
			}
			if f != nil {
				return func() { f.Close() }, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

// slotsFolder makes the folder usable by all users of the machine.
func slotsFolder(dir string) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o777|os.ModeSticky)
}

// trySlot locks path, or returns nil when another process has it. An existing
// file is opened for reading only, which is enough for a lock and works for
// files of other users.
func trySlot(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		f, err = os.OpenFile(path, os.O_RDONLY|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	}
	if err != nil {
		return nil, err
	}
	switch err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); {
	case err == nil:
		return f, nil
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, f.Close()
	}
	return nil, errors.Join(&os.PathError{Op: "flock", Path: path, Err: err}, f.Close())
}
