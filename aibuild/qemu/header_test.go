package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

// image makes one with qemu-img and returns its path.
func image(t *testing.T, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image.qcow2")
	run(t, "qemu-img", append(append([]string{"create", "-q", "-f", "qcow2"}, args...), path, "64M")...)
	return path
}

// patched is a good image with some bytes changed.
func patched(t *testing.T, offset int64, value any) string {
	t.Helper()
	path := image(t)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b bytes.Buffer
	if err := binary.Write(&b, binary.BigEndian, value); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b.Bytes(), offset); err != nil {
		t.Fatal(err)
	}
	return path
}

func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadHeader(t *testing.T) {
	for _, test := range []struct {
		name    string
		options string
		want    Header
	}{
		{"default", "compat=1.1", Header{Version: 3, ClusterBits: 16, Compression: "zlib"}},
		{"version 2", "compat=0.10", Header{Version: 2, ClusterBits: 16, Compression: "zlib"}},
		{"zstd", "compression_type=zstd", Header{Version: 3, ClusterBits: 16, Compression: "zstd", Incompatible: featureCompression}},
		{"small clusters", "cluster_size=512", Header{Version: 3, ClusterBits: 9, Compression: "zlib"}},
		{"extended L2", "extended_l2=on,cluster_size=2M", Header{Version: 3, ClusterBits: 21, Compression: "zlib", Incompatible: featureExtendedL2}},
		{"preallocated", "preallocation=metadata", Header{Version: 3, ClusterBits: 16, Compression: "zlib"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := image(t, "-o", test.options)
			got, err := Tool{}.Check(testContext(t), path, "qcow2")
			want := test.want
			want.Format, want.VirtualSize, want.FileSize = "qcow2", 64<<20, got.FileSize
			if err != nil || got != want {
				t.Errorf("Check = %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestReadHeaderSnapshots(t *testing.T) {
	path := image(t)
	run(t, "qemu-img", "snapshot", "-c", "one", path)
	if h, err := (Tool{}).Check(testContext(t), path, "qcow2"); err != nil || h.Snapshots != 1 {
		t.Errorf("Check = %+v, %v; want one snapshot", h, err)
	}
}

func TestReadHeaderRaw(t *testing.T) {
	path := written(t, strings.Repeat("\x00", 4096))
	h, err := Tool{}.Check(testContext(t), path, "raw")
	if err != nil || h.VirtualSize != 4096 || h.Format != "raw" {
		t.Errorf("Check = %+v, %v", h, err)
	}
}

// TestBadImages: every one of them is refused as the image's fault, by Check, by
// Compact and as a base of Overlay, with a sentence that says why.
func TestBadImages(t *testing.T) {
	truncated := image(t)
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 1 0 8M", truncated)
	if err := os.Truncate(truncated, 4<<20); err != nil {
		t.Fatal(err)
	}
	half := image(t, "-o", "preallocation=metadata")
	if err := os.Truncate(half, 300<<10); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(image(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, path, format, want string }{
		{"data cut off", truncated, "qcow2", "qemu-img check"},
		{"tables cut off", half, "qcow2", "truncated: an L2 table"},
		{"header cut off", written(t, string(good[:70])), "qcow2", "truncated in the header"},
		{"tables missing", written(t, string(good[:512])), "qcow2", "truncated"},
		{"empty", written(t, ""), "qcow2", "empty"},
		{"empty raw", written(t, ""), "raw", "empty"},
		{"a folder", t.TempDir(), "qcow2", "not a regular file"},
		{"a pipe", fifo, "raw", "not a regular file"},
		{"raw claiming to be qcow2", written(t, string(good)), "raw", "begins as qcow2"},
		{"raw claiming to be vmdk", written(t, "# Disk DescriptorFile\nversion=1\n"), "raw", "begins as vmdk"},
		{"raw claiming to be vdi", written(t, strings.Repeat("\x00", 64)+"\x7f\x10\xda\xbe"), "raw", "begins as vdi"},
		{"qcow2 that is raw", written(t, strings.Repeat("x", 4096)), "qcow2", "does not begin as one"},
		{"qcow2 that is vmdk", written(t, "KDMV"+strings.Repeat("x", 4096)), "qcow2", "it is vmdk"},
		{"qcow version 1", patched(t, 4, uint32(1)), "qcow2", "it is qcow"},
		{"qcow version 4", patched(t, 4, uint32(4)), "qcow2", "it is qcow"},
		{"a PiB", patched(t, 24, uint64(1)<<50), "qcow2", "1125899906842624 bytes"},
		{"size 0", patched(t, 24, uint64(0)), "qcow2", "0 bytes"},
		{"L1 too short", patched(t, 24, uint64(1)<<40), "qcow2", "L1 table of 1 entries"},
		{"L1 too long", patched(t, 36, uint32(1)<<30), "qcow2", "L1 table of"},
		{"L1 beyond the end", patched(t, 40, uint64(1)<<40), "qcow2", "truncated: the L1 table"},
		{"L1 between clusters", patched(t, 40, uint64(0x30001)), "qcow2", "not at a cluster's start"},
		{"L1 entry beyond the end", patched(t, 0x30000, uint64(1)<<40), "qcow2", "truncated: an L2 table"},
		{"L1 entry between clusters", patched(t, 0x30000, uint64(0x200)), "qcow2", "not to a cluster's start"},
		{"no refcounts", patched(t, 56, uint32(0)), "qcow2", "refcount table"},
		{"huge refcounts", patched(t, 56, uint32(1)<<31), "qcow2", "refcount table"},
		{"clusters of one byte", patched(t, 20, uint32(0)), "qcow2", "clusters of 2^0"},
		{"clusters of 4 GiB", patched(t, 20, uint32(32)), "qcow2", "clusters of 2^32"},
		{"encrypted", patched(t, 32, uint32(1)), "qcow2", "encrypted"},
		{"marked corrupt", patched(t, 72, uint64(featureCorrupt)), "qcow2", "corrupt"},
		{"not closed", patched(t, 72, uint64(featureDirty)), "qcow2", "not closed cleanly"},
		{"unknown feature", patched(t, 72, uint64(1)<<40), "qcow2", "unknown features"},
		{"unknown compression", patched(t, 104, byte(7)), "qcow2", "contradict"},
		{"many snapshots", patched(t, 60, uint32(1)<<31), "qcow2", "snapshots"},
		{"odd header length", patched(t, 100, uint32(3)), "qcow2", "a header of 3 bytes"},
		{"header longer than its cluster", patched(t, 100, uint32(1)<<20), "qcow2", "does not fit"},
		{"refcount width", patched(t, 96, uint32(9)), "qcow2", "refcounts of 2^9"},
		{"backing name outside", patched(t, 8, uint64(1)<<40), "qcow2", "outside its first cluster"},
		{"endless extension", patched(t, 112+4, uint32(1)<<31), "qcow2", "leaves its cluster"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var refused *BadImage
			_, err := Tool{}.Check(testContext(t), test.path, test.format)
			if !errors.As(err, &refused) || refused.Path != test.path || !strings.Contains(refused.Problem, test.want) {
				t.Errorf("Check = %v; want a *BadImage with %q", err, test.want)
			}
		})
	}
}

// TestImagesThatNameFiles: an image must not make us read another file. The file
// it names is watched; nothing of it may be opened, let alone printed.
func TestImagesThatNameFiles(t *testing.T) {
	canary := filepath.Join(t.TempDir(), "canary")
	const secret = "canary-5f2b19"
	if err := os.WriteFile(canary, []byte(strings.Repeat(secret, 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	dataFile := image(t, "-o", "data_file="+filepath.Join(t.TempDir(), "data"))
	rename(t, dataFile, canary)
	evil := map[string]string{
		"backing file":     image(t, "-u", "-b", canary, "-F", "raw"),
		"data file":        dataFile,
		"json backing":     image(t, "-u", "-b", `json:{"driver":"raw","file":{"driver":"file","filename":"`+canary+`"}}`, "-F", "raw"),
		"unnamed data":     patched(t, 72, uint64(featureDataFile)),
		"backing, version": image(t, "-o", "compat=0.10", "-u", "-b", canary, "-F", "raw"),
	}
	opened := watch(t, canary)
	for name, path := range evil {
		ctx, dst := testContext(t), filepath.Join(t.TempDir(), "out.qcow2")
		_, checkErr := Tool{}.Check(ctx, path, "qcow2")
		for what, err := range map[string]error{
			"Check":          checkErr,
			"Compact":        Tool{}.Compact(ctx, path, "qcow2", dst, "qcow2", "zlib"),
			"Overlay":        Tool{}.Overlay(ctx, path, "qcow2", dst, 0),
			"Compact as raw": Tool{}.Compact(ctx, path, "raw", dst, "qcow2", "none"),
		} {
			var refused *BadImage
			if !errors.As(err, &refused) || strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %s = %v; want a *BadImage", name, what, err)
			}
		}
		if _, err := os.Stat(dst); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: something was written: %v", name, err)
		}
	}
	if n := opened(); n != 0 {
		t.Errorf("the canary was opened %d times", n)
	}
	if _, err := os.ReadFile(canary); err != nil {
		t.Fatal(err)
	}
	if opened() == 0 {
		t.Error("the watch sees nothing")
	}
}

// rename changes the external data file's name in an image's header: qemu-img
// itself would create and truncate the file.
func rename(t *testing.T, path, to string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, []byte("DATA"))
	if at < 0 {
		t.Fatal("no data file extension")
	}
	binary.BigEndian.PutUint32(b[at+4:], uint32(len(to)))
	rest := make([]byte, 4096)
	copy(rest, to)
	copy(b[at+8:], rest)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// watch returns a function that counts the openings of path since its last call.
func watch(t *testing.T, path string) func() int {
	t.Helper()
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if _, err := syscall.InotifyAddWatch(fd, path, syscall.IN_OPEN|syscall.IN_ACCESS); err != nil {
		t.Fatal(err)
	}
	return func() int {
		buf := make([]byte, 4096)
		n, err := syscall.Read(fd, buf)
		if err != nil {
			return 0 // EAGAIN: nothing happened
		}
		return n / int(unsafe.Sizeof(syscall.InotifyEvent{}))
	}
}

func TestUnknownFormat(t *testing.T) {
	for _, format := range []string{"", "vmdk", "QCOW2"} {
		if _, err := ReadHeader(image(t), format); err == nil || !strings.Contains(err.Error(), "must be qcow2 or raw") {
			t.Errorf("format %q: %v", format, err)
		}
	}
}

// FuzzParse: whatever the bytes, the parser ends, stays within them and accepts
// only what keeps its promises.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"v2", "v3", "zstd", "backing", "data-file"} {
		b, err := os.ReadFile(filepath.Join("testdata", "header-"+name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, int64(1<<20))
	}
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if size < int64(len(b)) || size > 1<<24 {
			size = int64(len(b))
		}
		h, err := parse(padded{b, size}, size, "qcow2")
		if err != nil {
			return
		}
		if h.BackingFile != "" || h.DataFile != "" || h.VirtualSize <= 0 || h.VirtualSize > MaxVirtualSize ||
			h.ClusterBits < 9 || h.ClusterBits > 21 || h.Incompatible&(featureDirty|featureCorrupt|featureDataFile) != 0 {
			t.Errorf("accepted: %+v", h)
		}
	})
}

// padded is b and zeros up to size.
type padded struct {
	b    []byte
	size int64
}

func (p padded) ReadAt(to []byte, at int64) (int, error) {
	clear(to)
	if at < int64(len(p.b)) {
		copy(to, p.b[at:])
	}
	if at+int64(len(to)) > p.size {
		return int(max(0, p.size-at)), io.EOF
	}
	return len(to), nil
}
