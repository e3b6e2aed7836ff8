package publish

import (
	"context"
	"errors"
	"time"
)

var errSoon = errors.New("publish: being written")

// Site is one web root.
type Site struct{ config Config }

// Open opens the web root.
func Open(ctx context.Context, config Config) (*Site, error) { return nil, errSoon }

// Close ends the connection and discards stages.
func (s *Site) Close() error { return nil }

// Digest reads a file once for all digests.
func Digest(ctx context.Context, path string, progress func(done, total int64)) (Sums, error) {
	return Sums{}, errSoon
}

// Local says whether the root is a folder of this machine.
func (s *Site) Local() bool { return false }

// Stage makes the hidden folder in which the files of an image may be written so that Put only renames it; empty on SFTP.
func (s *Site) Stage(ctx context.Context, name, uuid string) (dir string, err error) {
	return "", errSoon
}

// Unstage removes what Stage made. It does nothing after Put.
func (s *Site) Unstage(name, uuid string) error { return errSoon }

// Put puts an image into images/build.
func (s *Site) Put(ctx context.Context, item Item) (Sums, error) { return Sums{}, errSoon }

// Attach adds files (name in the folder to local path) to an image in images/build.
func (s *Site) Attach(ctx context.Context, name, uuid string, files map[string]string) error {
	return errSoon
}

// Promote links an image from images/build into images/release.
func (s *Site) Promote(ctx context.Context, name, uuid string, extra map[string][]byte) error {
	return errSoon
}

// Retract takes an image out of images/release.
func (s *Site) Retract(ctx context.Context, name, uuid string) error { return errSoon }

// Fetch gives a local path of a file whose SHA-256 is want: the file itself when the root is local, else a download to dst.
func (s *Site) Fetch(ctx context.Context, from File, want, dst string) (path string, err error) {
	return "", errSoon
}

// File names one file of an image.
type File struct{ Area, Name, UUID, File string }

// Open opens a file for reading.
func (s *Site) Open(ctx context.Context, f File) (reader, error) { return nil, errSoon }

// ReadFile reads a small file.
func (s *Site) ReadFile(ctx context.Context, f File) ([]byte, error) { return nil, errSoon }

// WriteFile replaces a small file atomically.
func (s *Site) WriteFile(ctx context.Context, f File, data []byte) error { return errSoon }

// List lists an area.
func (s *Site) List(ctx context.Context, area string) ([]Entry, error) { return nil, errSoon }

// Remove removes an image from an area.
func (s *Site) Remove(ctx context.Context, area, name, uuid string) error { return errSoon }

// Verify reads every file of an image again and compares.
func (s *Site) Verify(ctx context.Context, area, name, uuid string) (map[string]string, error) {
	return nil, errSoon
}

// Free is the free bytes of the root's file system.
func (s *Site) Free(ctx context.Context) (int64, error) { return 0, errSoon }

// Require is a *NoSpace when less than need bytes are free.
func (s *Site) Require(ctx context.Context, need int64) error { return errSoon }

// Sweep removes hidden folders of dead processes, and those of other machines that nobody touched for age.
func (s *Site) Sweep(ctx context.Context, age time.Duration) (removed []string, err error) {
	return nil, errSoon
}

// URL is the address of a file on the web server; empty without Config.URL.
func (s *Site) URL(f File) string { return "" }

// The typed errors.
type (
	// NoSpace says how much is missing.
	NoSpace struct {
		Where      string
		Need, Free int64
	}
	// Exists says that an image of that uuid is there with other bytes.
	Exists struct{ Area, Name, UUID string }
	// Corrupt says that bytes are not what was recorded.
	Corrupt struct{ File, Want, Got string }
)

func (e *NoSpace) Error() string { return "no space" }
func (e *Exists) Error() string  { return "exists" }
func (e *Corrupt) Error() string { return "corrupt" }

// ErrNotFound is what a missing image or file is.
var ErrNotFound = errors.New("not found")
