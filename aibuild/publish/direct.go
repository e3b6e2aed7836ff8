package publish

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is what every file system of ours asks of direct I/O at most: the alignment of memory, offset and length.
const pageSize = 4096

// direct writes whole chunks past the page cache: of what a copy costs, the copying into the cache and its write-back
// is most, and nobody reads the copy soon. What is not aligned, and all on a file system that refuses, goes the usual
// way; the kernel keeps the two in order.
type direct struct {
	file    *os.File
	on      bool
	refused bool
}

// writeAt writes data at offset; one writer at a time.
func (d *direct) writeAt(data []byte, offset int64) error {
	whole := len(data) == chunkSize && offset%pageSize == 0 && aligned(data)
	d.want(whole && !d.refused)
	_, err := d.file.WriteAt(data, offset)
	if d.on && errors.Is(err, unix.EINVAL) {
		d.refused = true
		d.want(false)
		_, err = d.file.WriteAt(data, offset)
	}
	if err == nil && !d.on {
		// Started on its way to the disk at once, so that the sync at the end has little to wait for. A hint: that
		// sync is the one that counts and reports what is wrong.
		_ = unix.SyncFileRange(int(d.file.Fd()), offset, int64(len(data)), unix.SYNC_FILE_RANGE_WRITE)
	}
	return err
}

// want turns O_DIRECT on or off. A file system that knows nothing of it is not asked again.
func (d *direct) want(on bool) {
	if d.on == on {
		return
	}
	flags, err := unix.FcntlInt(d.file.Fd(), unix.F_GETFL, 0)
	if err == nil {
		_, err = unix.FcntlInt(d.file.Fd(), unix.F_SETFL, flags&^unix.O_DIRECT|directFlag(on))
	}
	if err != nil {
		d.refused = true
		return
	}
	d.on = on
}

func directFlag(on bool) int {
	if on {
		return unix.O_DIRECT
	}
	return 0
}

// aligned says whether memory begins at a page.
func aligned(data []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(data)))%pageSize == 0
}

// newBuffer is a chunk's memory, beginning at a page.
func newBuffer() []byte {
	raw := make([]byte, chunkSize+pageSize)
	skip := 0
	if rest := int(uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % pageSize); rest > 0 {
		skip = pageSize - rest
	}
	return raw[skip : skip+chunkSize : skip+chunkSize]
}
