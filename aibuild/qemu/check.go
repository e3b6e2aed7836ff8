package qemu

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	checkLimit = 30 * time.Minute
	// A crafted image must not take the machine's memory with it: bytes.
	checkMemory = "--as=4294967296"
)

// Statuses of qemu-img check.
const (
	checkCorrupt = 2
	checkLeaks   = 3
)

// Check decides whether a disk image may be used at all: ReadHeader's rules, then
// for qcow2 `qemu-img check`, which finds truncated data and damaged tables. What
// is wrong with the image is a *BadImage; the header holds what was read of it.
// Clusters that are allocated but unused are no error: Compact leaves them out.
func (t Tool) Check(ctx context.Context, path, format string) (Header, error) {
	h, err := ReadHeader(path, format)
	if err != nil || format == "raw" {
		return h, err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return h, fmt.Errorf("check: %w", err)
	}
	img, err := process.Look(t.img())
	if err != nil {
		return h, fmt.Errorf("check %s: %w: install the package qemu-utils", path, err)
	}
	_, err = process.Cmd{
		Path: "prlimit", Args: []string{checkMemory, "--", img, "check", "-q", "-f", format, path},
		Timeout: checkLimit, Log: t.Log,
	}.Run(ctx)
	var perr *process.Error
	switch {
	case err == nil:
		return h, nil
	case !errors.As(err, &perr) || perr.TimedOut || perr.ExitCode <= 0 || ctx.Err() != nil:
		return h, fmt.Errorf("check %s: %w", path, err)
	case perr.ExitCode == checkLeaks:
		t.log().Warn("image has leaked clusters", "path", path)
		return h, nil
	case perr.ExitCode == checkCorrupt:
		return h, &BadImage{path, "damaged, says qemu-img check: " + firstLine(perr.Stderr)}
	}
	return h, &BadImage{path, "qemu-img check cannot read it: " + firstLine(perr.Stderr)}
}

func firstLine(b []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(b)), "\n")
	if line == "" {
		return "no reason given"
	}
	return line
}
