package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/guestos/aibuild/aibuild/process"
)

// Overlay makes at path an empty qcow2 disk whose content is base's, which is
// never written. size is the disk's size in bytes, not less than base's; 0 means
// base's. The base must pass ReadHeader, else the error is a *BadImage; path must
// not exist.
func (t Tool) Overlay(ctx context.Context, base, baseFormat, path string, size int64) error {
	header, err := ReadHeader(base, baseFormat)
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	if size != 0 && size < header.VirtualSize {
		return fmt.Errorf("overlay: %d bytes are less than the %d of %s", size, header.VirtualSize, base)
	}
	base, err = filepath.Abs(base)
	if err != nil {
		return fmt.Errorf("overlay: %w", err)
	}
	return t.create(ctx, "overlay", path, func(path string) []string {
		args := []string{"create", "-q", "-f", "qcow2", "-F", baseFormat, "-b", base, path}
		if size != 0 {
			args = append(args, strconv.FormatInt(size, 10))
		}
		return args
	})
}

// Compact writes a copy of src without its unused blocks and internal snapshots.
// format is qcow2 or raw; compress is none, zlib or zstd (which needs QEMU >= 5.1
// wherever the copy is used), for raw only none. Empty means qcow2 and none. The
// source must pass ReadHeader, else the error is a *BadImage; dst must not exist
// and does not after an error. Wrong formats are errors before anything is run.
func (t Tool) Compact(ctx context.Context, src, srcFormat, dst, format, compress string) error {
	args, err := convertArgs(srcFormat, format, compress)
	if err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if _, err := ReadHeader(src, srcFormat); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	if src, err = filepath.Abs(src); err != nil {
		return fmt.Errorf("compact: %w", err)
	}
	return t.create(ctx, "compact", dst, func(dst string) []string { return append(args, src, dst) })
}

// convertWorkers: compression runs in that many threads.
const convertWorkers = "4"

func convertArgs(srcFormat, format, compress string) ([]string, error) {
	if format == "" {
		format = "qcow2"
	}
	if err := errors.Join(knownFormat(srcFormat), knownFormat(format)); err != nil {
		return nil, err
	}
	args := []string{"convert", "-f", srcFormat, "-O", format, "-W", "-m", convertWorkers}
	switch {
	case compress == "" || compress == "none":
		return args, nil
	case compress != "zlib" && compress != "zstd":
		return nil, fmt.Errorf("compression %q: must be none, zlib or zstd", compress)
	case format != "qcow2":
		return nil, fmt.Errorf("a %s image cannot be compressed: choose none, or the format qcow2", format)
	}
	return append(args, "-c", "-o", "compression_type="+compress), nil
}

func knownFormat(format string) error {
	if format != "qcow2" && format != "raw" {
		return fmt.Errorf("image format %q: must be qcow2 or raw", format)
	}
	return nil
}

// create runs qemu-img to make a file that is not there, and removes what an
// error leaves. Paths are absolute: qemu-img takes a relative one with a colon
// for a protocol.
func (t Tool) create(ctx context.Context, verb, path string, args func(path string) []string) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if _, err := t.runImg(ctx, args(path)...); err != nil {
		return errors.Join(fmt.Errorf("%s %s: %w", verb, path, err), removeFile(path))
	}
	return nil
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (t Tool) runImg(ctx context.Context, args ...string) (*process.Result, error) {
	return process.Cmd{Path: t.img(), Args: args, Log: t.Log}.Run(ctx)
}
