package publish

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ErrNotFound means that the image or file is not there.
var ErrNotFound = errors.New("not found")

// NoSpace means that the file system is too full, before or while it was written; nothing of the image is left on it.
type NoSpace struct {
	Where      string // the web root, or the folder of a download
	Need, Free int64  // bytes; Need includes a small reserve
	Err        error  // what the file system said, if it was asked
}

func (e *NoSpace) Error() string {
	return fmt.Sprintf("no space on %s: %s needed, %s free; remove old images with aibuild prune, grow the volume, or use a larger one",
		e.Where, human(e.Need), human(e.Free))
}

func (e *NoSpace) Unwrap() error { return e.Err }

// Exists means that the area holds an image of that uuid with other bytes.
type Exists struct{ Area, Name, UUID string }

func (e *Exists) Error() string {
	return fmt.Sprintf("images/%s/%s/%s is already there with other bytes; a uuid names one image for ever: use a new one", e.Area, e.Name, e.UUID)
}

// Corrupt means that bytes are not those that were recorded.
type Corrupt struct {
	File      string // path or URL
	Want, Got string // SHA-256; Got is empty for a file that is missing
}

func (e *Corrupt) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("%s is missing, its SHA-256 was %s; do not use this image: build it again, or restore the file from a backup", e.File, e.Want)
	}
	return fmt.Sprintf("%s has changed: its SHA-256 was %s and is %s; do not use this image: build it again, or restore the file from a backup", e.File, e.Want, e.Got)
}

// BadName means a name, uuid or file name that has no place in the web root.
type BadName struct{ What, Value, Rule string }

func (e *BadName) Error() string {
	return fmt.Sprintf("%q is no %s; it must be %s", e.Value, e.What, e.Rule)
}

// Unreachable means that the SFTP server could not be reached, or did not let us in.
type Unreachable struct {
	Server string // host:port
	Hint   string
	Err    error
}

func (e *Unreachable) Error() string {
	return fmt.Sprintf("sftp %s: %v; %s", e.Server, e.Err, e.Hint)
}

func (e *Unreachable) Unwrap() error { return e.Err }

// full says that the file system refused for want of space or quota.
func full(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// human writes bytes as people read them.
func human(n int64) string {
	value, unit := float64(n), "B"
	for _, next := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, next
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
