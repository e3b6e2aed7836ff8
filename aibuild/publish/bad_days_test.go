package publish_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/publish"
)

// A cancelled Put leaves nothing, and the site is usable after it.
func TestCancel(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ctx, cancel := context.WithCancel(t.Context())
		it := item(newID(t), imageFile(t, 1))
		it.Progress = func(done, total int64) {
			if done > total/4 {
				cancel()
			}
		}
		if _, err := site.Put(ctx, it); !errors.Is(err, context.Canceled) {
			t.Errorf("Put = %v", err)
		}
		if left := files(t, root); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		nothingHidden(t, root)
		it.Progress = nil
		if _, err := site.Put(t.Context(), it); err != nil {
			t.Error(err)
		}
	})
}

// One of several that put one uuid at once wins; the others learn it; nothing is mixed.
func TestConcurrentPut(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id := newID(t)
		type outcome struct {
			seed int
			sums publish.Sums
			err  error
		}
		results := make(chan outcome)
		for seed := range 6 {
			image := imageFile(t, byte(seed%3))
			go func() {
				sums, err := site.Put(t.Context(), item(id, image))
				results <- outcome{seed % 3, sums, err}
			}()
		}
		winners := map[string]bool{}
		for range 6 {
			r := <-results
			var exists *publish.Exists
			switch {
			case r.err == nil:
				winners[r.sums.SHA256] = true
			case !errors.As(r.err, &exists):
				t.Errorf("Put = %v", r.err)
			}
		}
		if len(winners) != 1 {
			t.Errorf("%d different images won", len(winners))
		}
		if sums, err := site.Verify(t.Context(), publish.Build, name, id); err != nil || !winners[sums[name+".qcow2"]] {
			t.Errorf("Verify = %v, %v", sums, err)
		}
		nothingHidden(t, root)
	})
}

// What another machine left is swept only when nobody has touched it for long.
func TestSweepOfOtherMachines(t *testing.T) {
	root := t.TempDir()
	put(t, open(t, publish.Config{Root: root}), newID(t), imageFile(t, 1))
	foreign := filepath.Join(root, "images/build", name, ".part-"+newID(t)+"-ffffffff-ffffffff-1-1-abcdefgh")
	if err := os.MkdirAll(filepath.Join(foreign, "evidence"), 0o700); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(foreign, "evidence/x"), "x")
	for _, c := range []struct {
		later time.Duration
		swept int
	}{{30 * time.Minute, 0}, {2 * time.Hour, 1}} {
		site := open(t, publish.Config{Root: root, Now: func() time.Time { return time.Now().Add(c.later) }})
		if removed, err := site.Sweep(t.Context(), time.Hour); len(removed) != c.swept || err != nil {
			t.Errorf("Sweep after %s = %v, %v", c.later, removed, err)
		}
	}
	nothingHidden(t, root)
	if left := files(t, root); len(left) != 2 {
		t.Errorf("Sweep left %v", left)
	}
}

func TestReaderDuringRemove(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id, image := newID(t), imageFile(t, 7)
		put(t, site, id, image)
		reader, err := os.Open(filepath.Join(root, "images/build", name, id, name+".qcow2"))
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		begin := make([]byte, 1000)
		if _, err := io.ReadFull(reader, begin); err != nil {
			t.Fatal(err)
		}
		if err := site.Remove(t.Context(), publish.Build, name, id); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(reader)
		want, wantErr := os.ReadFile(image)
		if err != nil || wantErr != nil || !bytes.Equal(slices.Concat(begin, rest), want) {
			t.Errorf("a reader saw other bytes after Remove: %v", err)
		}
	})
}

// One flipped bit is found, wherever the bytes are used.
func TestBitFlip(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id := newID(t)
		sums := put(t, site, id, imageFile(t, 1))
		promote(t, site, id)
		there := filepath.Join(root, "images/release", name, id, name+".qcow2")
		file, err := os.OpenFile(there, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt([]byte{'y'}, 1<<20); err != nil {
			t.Fatal(err)
		}
		file.Close()
		var corrupt *publish.Corrupt
		for _, area := range []string{publish.Build, publish.Release} {
			if _, err := site.Verify(t.Context(), area, name, id); !errors.As(err, &corrupt) || corrupt.Want != sums.SHA256 || corrupt.Got == "" {
				t.Errorf("Verify %s = %v", area, err)
			}
		}
		f := publish.File{Area: publish.Release, Name: name, UUID: id, File: name + ".qcow2"}
		dst := filepath.Join(t.TempDir(), "got")
		if _, err := site.Fetch(t.Context(), f, sums.SHA256, dst); !errors.As(err, &corrupt) {
			t.Errorf("Fetch = %v", err)
		}
		if left := files(t, filepath.Dir(dst)); len(left) > 0 {
			t.Errorf("Fetch left %v", left)
		}
		if err := os.Remove(there); err != nil {
			t.Fatal(err)
		}
		if _, err := site.Verify(t.Context(), publish.Release, name, id); !errors.As(err, &corrupt) || corrupt.Got != "" {
			t.Errorf("Verify without the image = %v", err)
		}
		if _, err := site.Fetch(t.Context(), f, sums.SHA256, dst); !errors.Is(err, publish.ErrNotFound) {
			t.Errorf("Fetch without the image = %v", err)
		}
	})
}
