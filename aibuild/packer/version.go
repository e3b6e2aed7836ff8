package packer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// Oldest is the first Packer that this package drives.
var oldest = Version{Major: 1, Minor: 2, Patch: 5}

// Version is a Packer version.
type Version struct {
	Major, Minor, Patch int
	Pre                 string // "dev", "beta1"; empty for a release
}

// String gives 1.6.6 or 1.12.0-dev.
func (v Version) String() string {
	s := fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
	if v.Pre != "" {
		s += "-" + v.Pre
	}
	return s
}

// AtLeast says whether v is major.minor.patch or newer; pre-releases count as
// the release.
func (v Version) AtLeast(major, minor, patch int) bool {
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

func parseVersion(s string) (Version, error) {
	core, pre, _ := strings.Cut(strings.TrimPrefix(s, "v"), "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 {
		return Version{}, fmt.Errorf("version %q is not of the form 1.2.3", s)
	}
	var n [3]int
	for i, p := range parts {
		var err error
		if n[i], err = strconv.Atoi(p); err != nil || n[i] < 0 {
			return Version{}, fmt.Errorf("version %q is not of the form 1.2.3", s)
		}
	}
	return Version{Major: n[0], Minor: n[1], Patch: n[2], Pre: pre}, nil
}

// Version asks Packer which version it is. The error is a *Failed: Packer is
// not installed, too old, or the program is not HashiCorp's Packer (some systems
// have another of that name).
func (t Tool) Version(ctx context.Context) (Version, error) {
	var text versionLines
	cmd := process.Cmd{
		Path: t.binary(), Args: []string{"version", "-machine-readable"},
		Env: environ("CHECKPOINT_DISABLE=1"), Timeout: 30 * time.Second, Log: t.Log,
	}
	s := newScanner(text.line)
	cmd.Stdout = s
	_, err := cmd.Run(ctx)
	s.flush()
	switch {
	case ctx.Err() != nil:
		return Version{}, cancelled(ctx, "asking packer for its version")
	case errors.Is(err, process.ErrNotFound):
		return Version{}, notInstalled(t.binary(), err)
	case err == nil && text.version == "":
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return Version{}, notPacker(t.binary(), err)
	}
	v, err := parseVersion(text.version)
	if err != nil {
		return Version{}, notPacker(t.binary(), err)
	}
	if v.Pre == "" {
		v.Pre = text.pre
	}
	if !v.AtLeast(oldest.Major, oldest.Minor, oldest.Patch) {
		return v, tooOld(v)
	}
	return v, nil
}

func (t Tool) binary() string {
	if t.Binary != "" {
		return t.Binary
	}
	return "packer"
}

// versionLines picks what counts out of the answer.
type versionLines struct{ version, pre string }

func (v *versionLines) line(l line) {
	switch l.kind {
	case "version":
		v.version = l.arg(0)
	case "version-prelease": // sic
		v.pre = l.arg(0)
	}
}

func notInstalled(binary string, err error) *Failed {
	return &Failed{
		Code: CodeNotInstalled, Blame: BlameInfrastructure, Err: err,
		Sentence: fmt.Sprintf("packer is not installed here: no program %q; install Packer %s or newer (Debian: apt-get install packer)", binary, oldest),
	}
}

func notPacker(binary string, err error) *Failed {
	return &Failed{
		Code: CodeNotInstalled, Blame: BlameInfrastructure, Err: err,
		Sentence: fmt.Sprintf("%q does not answer like HashiCorp's Packer: %v; put the right packer first in PATH", binary, err),
	}
}

func tooOld(v Version) *Failed {
	return &Failed{
		Code: CodeTooOld, Blame: BlameInfrastructure,
		Sentence: fmt.Sprintf("packer %s is too old: install %s or newer", v, oldest),
	}
}
