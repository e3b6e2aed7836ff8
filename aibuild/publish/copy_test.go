package publish_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/guestos/aibuild/aibuild/publish"
)

// The copy of a sparse file is sparse, and the source is read once, its holes not at all.
func TestSparse(t *testing.T) {
	const data, size = 16 << 20, 256 << 20
	source := filepath.Join(t.TempDir(), "disk.raw")
	file, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range int64(data / len(block)) {
		if _, err := file.WriteAt(block, i*(15<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(file.Truncate(size), file.Sync(), file.Close()); err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id, before := newID(t), rchar(t)
		sums := put(t, site, id, source)
		// Over SFTP the server's answers are read too: some bytes for every 32 KiB.
		if read := rchar(t) - before; float64(read) > 1.02*data+(1<<20) {
			t.Errorf("read %d bytes for %d bytes of data", read, data)
		}
		before = rchar(t)
		promote(t, site, id)
		if read := rchar(t) - before; read > 1<<20 {
			t.Errorf("Promote read %d bytes", read)
		}
		there := filepath.Join(root, "images/build", name, id, name+".qcow2")
		info, err := os.Stat(there)
		if err != nil {
			t.Fatal(err)
		}
		blocks := info.Sys().(*syscall.Stat_t).Blocks * 512
		if info.Size() != size || sums.Size != size || float64(blocks) > 1.02*float64(sums.Allocated) {
			t.Errorf("size %d, %d bytes on disk; the source has %d", info.Size(), blocks, sums.Allocated)
		}
		got, err := os.Open(there)
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		found := make([]byte, len(block))
		for i := range int64(data / len(block)) {
			if _, err := got.ReadAt(found, i*(15<<20)); err != nil || !bytes.Equal(found, block) {
				t.Errorf("block %d is another: %v", i, err)
			}
		}
	})
}

// rchar is how many bytes this process has read.
func rchar(t *testing.T) (n int64) {
	t.Helper()
	data, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(data), "rchar: %d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// What Stage and Move give is taken, not copied.
func TestStageAndMove(t *testing.T) {
	root := t.TempDir()
	site := open(t, publish.Config{Root: root})
	ctx, id := t.Context(), newID(t)
	dir, err := site.Stage(ctx, name, id)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := site.Stage(ctx, name, id); again != dir || err != nil {
		t.Errorf("Stage again = %q, %v", again, err)
	}
	staged := filepath.Join(dir, name+".qcow2")
	save(t, staged, "bytes")
	save(t, filepath.Join(dir, "rubbish"), "rubbish")
	before, err := os.Stat(staged)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := site.List(ctx, publish.Build); len(found) > 0 || err != nil {
		t.Errorf("a stage is listed: %v, %v", found, err)
	}
	// A try that fails does not cost the image.
	it := item(id, staged)
	it.Data = map[string][]byte{"definition.tar": []byte("tar")}
	it.Files["evidence/serial.log"] = imageFile(t, 1)
	it.Finish = func(publish.Sums) (map[string][]byte, error) { return nil, errors.New("no database") }
	if _, err := site.Put(ctx, it); err == nil || !strings.Contains(err.Error(), "no database") {
		t.Errorf("Put = %v", err)
	}
	it.Finish = nil
	if _, err := site.Put(ctx, it); err != nil {
		t.Fatal(err)
	}
	same(t, before, filepath.Join(root, "images/build", name, id, name+".qcow2"))
	if got := files(t, root); len(got) != 4 {
		t.Errorf("published %v; rubbish was not listed", got)
	}
	moved := filepath.Join(root, "moved")
	save(t, moved, "other")
	if before, err = os.Stat(moved); err != nil {
		t.Fatal(err)
	}
	it = item(newID(t), moved)
	it.Move = true
	if _, err := site.Put(ctx, it); err != nil {
		t.Fatal(err)
	}
	same(t, before, filepath.Join(root, "images/build", name, it.UUID, name+".qcow2"))
	if _, err := os.Stat(moved); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the moved file is still in its old place: %v", err)
	}
	for _, end := range []func(string) error{
		func(id string) error { return site.Unstage(name, id) },
		func(string) error { return nil }, // Close does it
	} {
		id := newID(t)
		if _, err := site.Stage(ctx, name, id); err != nil {
			t.Fatal(err)
		}
		if err := end(id); err != nil {
			t.Error(err)
		}
	}
	if err := site.Close(); err != nil {
		t.Error(err)
	}
	nothingHidden(t, root)
}

func same(t *testing.T, before os.FileInfo, name string) {
	t.Helper()
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("%s was copied: %v", name, err)
	}
}
