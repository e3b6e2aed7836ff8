package packer

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// trimAbove is how large a log grows before its middle is given back to the
// disk: Packer and QEMU write what a guest prints, for as long as it prints.
const trimAbove = 64 << 20

// punchHole frees a range and keeps the file's size: fallocate(2)'s
// FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE.
const punchHole = 0x02 | 0x01

// trim frees the middle of a log that somebody else writes: neither its writer
// nor its readers, which want the two ends, notice. from is where the last trim
// ended; the return value is the next from.
func trim(path string, from int64) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return from, nil
	}
	if err != nil {
		return from, fmt.Errorf("trim a log: %w", err)
	}
	from = max(from, keepHead)
	until := info.Size() - trimAbove/2
	if until-from < trimAbove/2 {
		return from, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return from, fmt.Errorf("trim a log: %w", err)
	}
	defer f.Close()
	err = syscall.Fallocate(int(f.Fd()), punchHole, from, until-from)
	if err != nil && !errors.Is(err, syscall.EOPNOTSUPP) {
		return from, fmt.Errorf("trim %s: %w", path, err)
	}
	return until, nil
}
