package publish_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

// No name leads anywhere else.
func TestBadNames(t *testing.T) {
	root := t.TempDir()
	site := open(t, publish.Config{Root: root})
	ctx, id, image := t.Context(), newID(t), imageFile(t, 1)
	refused := func(what string, err error) {
		t.Helper()
		var bad *publish.BadName
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v; want a *BadName", what, err)
		}
	}
	for _, n := range []string{"", ".", "..", "../x", "a/b", "/etc", "A", "a b", "a;$(x)", "-x", ".part-x", "a\x00", strings.Repeat("a", 300)} {
		it := item(id, image)
		it.Name = n
		_, err := site.Put(ctx, it)
		refused("name "+n, err)
		refused("name "+n, site.Promote(ctx, n, id, nil))
		refused("name "+n, site.Remove(ctx, publish.Build, n, id))
		refused("name "+n, site.Unstage(n, id))
		_, err = site.Stage(ctx, n, id)
		refused("name "+n, err)
	}
	for _, u := range []string{"", "latest", "..", strings.ToUpper(id), "{" + id + "}", id + "/..", strings.ReplaceAll(id, "-", "")} {
		_, err := site.Put(ctx, item(u, image))
		refused("uuid "+u, err)
		_, err = site.Verify(ctx, publish.Build, name, u)
		refused("uuid "+u, err)
	}
	put(t, site, id, image)
	for _, f := range []string{"", "..", "../x", "a/../b", "/etc/passwd", ".hidden", "a/.b", "a//b", `a\b`, "a\nb", "a/"} {
		file := publish.File{Area: publish.Build, Name: name, UUID: id, File: f}
		_, err := site.ReadFile(ctx, file)
		refused("file "+f, err)
		refused("file "+f, site.WriteFile(ctx, file, nil))
		it := item(newID(t), image)
		it.Files[f] = image
		_, err = site.Put(ctx, it)
		refused("file "+f, err)
		refused("file "+f, site.Promote(ctx, name, id, map[string][]byte{f: nil}))
	}
	refused("area", site.Remove(ctx, "../build", name, id))
	_, err := site.List(ctx, "other")
	refused("area", err)
}

// Links in the place of our folders and files are refused, and what they lead to stays as it was.
func TestLinksAreRefused(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ctx, image, outside := t.Context(), imageFile(t, 1), t.TempDir()
		save(t, filepath.Join(outside, "secret"), "secret")
		id := newID(t)
		put(t, site, id, image)
		promote(t, site, id)
		build := filepath.Join(root, "images/build")
		link := func(target, place string) {
			t.Helper()
			if err := errors.Join(os.RemoveAll(place), os.Symlink(target, place)); err != nil {
				t.Fatal(err)
			}
		}
		link(filepath.Join(outside, "secret"), filepath.Join(build, name, id, "leak"))
		f := publish.File{Area: publish.Build, Name: name, UUID: id, File: "leak"}
		if data, err := site.ReadFile(ctx, f); err == nil {
			t.Errorf("read %q over a link", data)
		}
		if err := site.Promote(ctx, name, id, nil); err == nil || !strings.Contains(err.Error(), "not a plain file") {
			t.Errorf("Promote of a link: %v", err)
		}
		if err := site.WriteFile(ctx, f, []byte("x")); err != nil {
			t.Errorf("WriteFile in the place of a link: %v", err)
		}
		link(outside, filepath.Join(build, "linked"))
		it := item(newID(t), image)
		it.Name = "linked"
		if _, err := site.Put(ctx, it); err == nil || !strings.Contains(err.Error(), "a link or file where a folder must be") {
			t.Errorf("Put over a link: %v", err)
		}
		link(outside, filepath.Join(build, name, it.UUID))
		if err := site.Remove(ctx, publish.Build, name, it.UUID); err == nil {
			t.Error("Remove over a link")
		}
		if found, err := site.List(ctx, publish.Build); err != nil || len(found) != 1 {
			t.Errorf("List = %v, %v", found, err)
		}
		if left := files(t, outside); len(left) != 1 {
			t.Errorf("the folder outside holds %v", left)
		}
		if data, err := os.ReadFile(filepath.Join(outside, "secret")); err != nil || string(data) != "secret" {
			t.Errorf("the file outside is %q, %v", data, err)
		}
	})
}

// Somebody exchanges the image's folder for a link outwards, again and again, while images are put there: nothing ever
// lands outside.
func TestLinkRace(t *testing.T) {
	root, outside, image := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "small")
	save(t, image, "small")
	site := open(t, publish.Config{Root: root})
	put(t, site, newID(t), image)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	swapped := make(chan int)
	go func() {
		folder, aside := filepath.Join(root, "images/build", name), filepath.Join(root, "aside")
		link, n := filepath.Join(root, "link"), 0
		for ; ctx.Err() == nil; n++ {
			// Each step may find what Put left between two others; then the next round tries again.
			_ = os.Symlink(outside, link)
			_ = os.Rename(folder, aside)
			_ = os.Rename(link, folder)
			_ = os.Remove(folder)
			_ = os.Rename(aside, folder)
		}
		swapped <- n
	}()
	for ctx.Err() == nil {
		// Most fail, as they should.
		_, _ = site.Put(ctx, item(newID(t), image))
	}
	if n := <-swapped; n < 10 {
		t.Errorf("only %d exchanges", n)
	}
	if left := files(t, outside); len(left) > 0 {
		t.Errorf("written outside: %v", left)
	}
}

// A disk that is too full is refused before, and cleaned up when it fills in the middle.
func TestDiskFull(t *testing.T) {
	if os.Geteuid() != 0 {
		// A mount needs root: in a user namespace everybody is.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		result, err := process.Cmd{Path: "unshare", Args: []string{"--map-root-user", "--mount", self, "-test.run=^TestDiskFull$"}, Env: process.Environ()}.Run(t.Context())
		if err != nil {
			t.Fatalf("%v\n%s", err, result.Stdout)
		}
		return
	}
	both(t, func(t *testing.T, site *publish.Site, root string) {
		mount(t, root)
		if site.Local() { // it was opened on the folder below the mount
			site = open(t, publish.Config{Root: root})
		}
		big := filepath.Join(t.TempDir(), "big")
		if err := os.WriteFile(big, make([]byte, 24<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		var noSpace *publish.NoSpace
		if err := site.Require(t.Context(), 1<<30); !errors.As(err, &noSpace) || !strings.Contains(err.Error(), "1.1 GiB needed, 96.0 MiB free; remove old images with aibuild prune") {
			t.Errorf("Require = %v", err)
		}
		it := item(newID(t), big)
		filler := filepath.Join(root, "filler")
		it.Progress = func(done, _ int64) {
			if done == 8<<20 {
				// Others fill the disk meanwhile; this ends with an error, as it should.
				_ = os.WriteFile(filler, make([]byte, 100<<20), 0o600)
			}
		}
		if _, err := site.Put(t.Context(), it); !errors.As(err, &noSpace) {
			t.Errorf("Put on a disk that fills = %v", err)
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		if left := files(t, root); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		it.Progress = nil
		if _, err := site.Put(t.Context(), it); err != nil {
			t.Errorf("Put with space again: %v", err)
		}
		_, err := site.Put(t.Context(), item(newID(t), big))
		if !errors.As(err, &noSpace) || noSpace.Need < 24<<20 {
			t.Errorf("Put without space = %v", err)
		}
		nothingHidden(t, root)
	})
}

func mount(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Sites are closed later than this; the mount goes when they are.
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
