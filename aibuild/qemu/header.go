package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
)

// MaxVirtualSize is the largest disk, in bytes, that an image may claim: 16 TiB.
// A file of a few MiB can claim a PiB.
const MaxVirtualSize = 16 << 40

// Header is what a disk image says of itself.
type Header struct {
	Format        string // qcow2 or raw
	Version       int    // of qcow2: 2 or 3
	VirtualSize   int64  // bytes that a guest sees
	FileSize      int64  // bytes of the file, holes included
	ClusterBits   int    // a cluster has 1<<ClusterBits bytes
	BackingFile   string // only together with an error: such images are refused
	BackingFormat string
	DataFile      string // the same; "(unnamed)" if only the flag is set
	Snapshots     int    // internal ones; Compact leaves them out
	Compression   string // of qcow2: zlib or zstd, whether any cluster is compressed or not
	Incompatible  uint64 // the feature bits that a reader must know
}

// BadImage is an image that must not be used. It is the image's fault.
type BadImage struct{ Path, Problem string }

// Error gives the file and what is wrong with it.
func (e *BadImage) Error() string { return e.Path + ": " + e.Problem }

// bad is a problem before its path is known.
type bad string

func (b bad) Error() string { return string(b) }

func badf(format string, args ...any) error { return bad(fmt.Sprintf(format, args...)) }

// ReadHeader reads the header of a disk image whose format, qcow2 or raw, the
// caller knows: a guess would let the image choose. It opens nothing but the file
// itself. An image that is malformed, truncated, encrypted, not what format says,
// larger than MaxVirtualSize, or that names another file, is a *BadImage; the
// header then holds what was read so far.
func ReadHeader(path, format string) (Header, error) {
	if err := knownFormat(format); err != nil {
		return Header{}, fmt.Errorf("read %s: %w", path, err)
	}
	// A FIFO would hang an open that waits for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Header{}, fmt.Errorf("read image: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Header{}, fmt.Errorf("read image: %w", err)
	}
	if !info.Mode().IsRegular() {
		return Header{}, &BadImage{path, "not a regular file"}
	}
	h, err := parse(f, info.Size(), format)
	var problem bad
	if errors.As(err, &problem) {
		return h, &BadImage{path, string(problem)}
	}
	if err != nil {
		return h, fmt.Errorf("read %s: %w", path, err)
	}
	return h, nil
}

func parse(r io.ReaderAt, size int64, format string) (Header, error) {
	h := Header{Format: format, FileSize: size}
	if size == 0 {
		return h, bad("the file is empty")
	}
	start := make([]byte, 512)
	n, err := r.ReadAt(start, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	claims := claimedFormat(start[:n])
	if format == "raw" {
		return parseRaw(h, claims)
	}
	if claims != "qcow2" {
		return h, badf("declared as qcow2 but %s", orRaw(claims))
	}
	return parseQcow2(r, h)
}

func orRaw(claims string) string {
	if claims == "" {
		return "it does not begin as one"
	}
	return "it is " + claims
}

func parseRaw(h Header, claims string) (Header, error) {
	h.VirtualSize = h.FileSize
	switch {
	case claims != "":
		return h, badf("declared as raw but begins as %s: whoever guesses its format would be misled", claims)
	case h.FileSize > MaxVirtualSize:
		return h, tooLarge(uint64(h.FileSize))
	}
	return h, nil
}

func tooLarge(size uint64) error {
	return badf("claims a disk of %d bytes; more than %d (16 TiB) is refused", size, int64(MaxVirtualSize))
}

// claimedFormat is the format that a program which guesses would find.
func claimedFormat(start []byte) string {
	for _, m := range []struct{ name, magic string }{
		{"qcow2", "QFI\xfb\x00\x00\x00\x02"}, {"qcow2", "QFI\xfb\x00\x00\x00\x03"}, {"qcow", "QFI\xfb"},
		{"vmdk", "KDMV"}, {"vmdk", "COWD"}, {"vmdk", "# Disk DescriptorFile"},
		{"vhdx", "vhdxfile"}, {"vhd", "conectix"}, {"qed", "QED\x00"}, {"luks", "LUKS\xba\xbe"},
		{"parallels", "WithoutFreeSpace"}, {"parallels", "WithouFreSpacExt"},
	} {
		if bytes.HasPrefix(start, []byte(m.magic)) {
			return m.name
		}
	}
	if len(start) >= 0x44 && binary.LittleEndian.Uint32(start[0x40:]) == 0xbeda107f {
		return "vdi"
	}
	return ""
}
