package packer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// sharePorts lets Packers that have different cache folders keep out of each other's way. Packer looks for free ports (for
// VNC and SSH) and holds a lock on each until its QEMU has it; the locks lie in the cache folder. As several Packers of one
// moment begin with the same port, those of one user share their locks. Where that cannot be, each has its own, as ever.
func sharePorts(cache string) error {
	locks := filepath.Join(os.TempDir(), "aibuild-ports-"+strconv.Itoa(os.Getuid()))
	if err := os.Mkdir(locks, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("folder of the port locks: %w", err)
	}
	info, err := os.Lstat(locks)
	if err != nil {
		return fmt.Errorf("folder of the port locks: %w", err)
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); !info.IsDir() || !ok || int(stat.Uid) != os.Getuid() {
		return fmt.Errorf("folder of the port locks: %s is no folder of ours; remove it", locks)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return fmt.Errorf("cache folder: %w", err)
	}
	if err := os.Symlink(locks, filepath.Join(cache, "port")); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("folder of the port locks: %w", err)
	}
	return nil
}
