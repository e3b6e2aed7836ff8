package qemu

import (
	"context"
	"errors"
)

var errSoon = errors.New("not built yet")

type Header struct {
	Format       string
	Version      int
	VirtualSize  int64
	FileSize     int64
	ClusterBits  int
	BackingFile  string
	DataFile     string
	Snapshots    int
	Compression  string
	Incompatible uint64
}

// BadImage is an image that must not be used.
type BadImage struct{ Path, Problem string }

func (e *BadImage) Error() string { return e.Path + ": " + e.Problem }

func ReadHeader(path, format string) (Header, error) { return Header{}, errSoon }
func (t Tool) Check(ctx context.Context, path, format string) (Header, error) {
	return Header{}, errSoon
}

type Seed struct {
	InstanceID, Hostname, User string
	SSHKey                     string
	UserData                   string
	MAC                        string
}

func (s Seed) NoCloud(path string) error     { return errSoon }
func (s Seed) ConfigDrive(path string) error { return errSoon }
