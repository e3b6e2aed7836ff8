package glance

import (
	"context"
	"io"
	"time"
)

// Image is an image file and what is recorded of it.
type Image struct {
	UUID    string // our own, in Glance the property aibuild_uuid
	Name    string
	Arch    string // x86_64
	Distro  string // debian
	Version string // of the distribution: 12
	Format  string // qcow2 or raw

	// Path is the local file; Open is used instead where it is set, and must
	// give a new reader at each call (each cluster and each attempt takes one).
	Path string
	Open func(ctx context.Context) (io.ReadCloser, error)

	// Size and digests (lower-case hex) as recorded when the image was built.
	// SHA512 is required, as Glance tells it of its own bytes; SHA256 is
	// preferred for the bytes on their way, as most processors compute it
	// faster; MD5 is compared with Glance's checksum where it is given.
	Size   int64
	SHA256 string
	SHA512 string
	MD5    string

	VirtualSize int64 // bytes; becomes min_disk in GiB, rounded up
	MinRAM      int64 // bytes; becomes min_ram in MiB, rounded up
	User        string
	BuiltAt     time.Time
	Commit      string
	Visibility  string            // private, shared, community or public; empty is private
	Properties  map[string]string // of the definition; may not name what we set ourselves
}

// Expect is an image that a cluster should have.
type Expect struct {
	Image Image
	State string // Visible, Hidden or Revoked
}
