package publish

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Whole chunks go past the page cache and everything else through it, and the file holds what was written: on a disk,
// and on a file system in memory, which may refuse.
func TestDirect(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "aibuild-direct-*")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	for kind, dir := range map[string]string{"disk": t.TempDir(), "memory": memory} {
		t.Run(kind, func(t *testing.T) {
			file, err := os.Create(filepath.Join(dir, "file"))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			want := make([]byte, 6*chunkSize+12345)
			_, _ = rand.Read(want) // never fails, says its documentation
			d := &direct{file: file}
			at := int64(0)
			for i, n := range []int{chunkSize, 4096, chunkSize, 512, chunkSize, 1, chunkSize, chunkSize - 4096, 4096 - 513} {
				buffer := newBuffer()[:n]
				copy(buffer, want[at:])
				if err := d.writeAt(buffer, at); err != nil {
					t.Fatalf("write %d, %d bytes at %d: %v", i, n, at, err)
				}
				if n < chunkSize && d.on || d.on != set(t, file) {
					t.Errorf("write %d: direct I/O is %v, the kernel says %v", i, d.on, set(t, file))
				}
				at += int64(n)
			}
			askew := newBuffer()[1:] // as memory that begins elsewhere than at a page
			if err := d.writeAt(askew[:copy(askew, want[at:])], at); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(file.Name())
			if err != nil {
				t.Fatal(err)
			}
			if end := min(int64(len(want)), at+int64(len(askew))); !bytes.Equal(got, want[:end]) {
				t.Errorf("another file than was written: %d bytes of %d", len(got), end)
			}
		})
	}
}

// A file system that refuses is asked once, and the write that it refused is done the usual way.
func TestDirectRefused(t *testing.T) {
	file, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := &direct{file: file} // a character device knows no direct I/O
	for range 2 {
		if err := d.writeAt(newBuffer(), 0); err != nil {
			t.Fatal(err)
		}
	}
	if !d.refused || d.on || set(t, file) {
		t.Errorf("refused %v, on %v", d.refused, d.on)
	}
}

// set is what the kernel says of the open file.
func set(t *testing.T, file *os.File) bool {
	t.Helper()
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	if err != nil {
		t.Fatal(err)
	}
	return flags&unix.O_DIRECT != 0
}
