package publish_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

func TestMain(m *testing.M) {
	if os.Getenv("PUBLISH_TEST_CHILD") != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

const name = "debian-12"

// newID gives uuids in the order of their making.
func newID(t *testing.T) string {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

func open(t *testing.T, config publish.Config) *publish.Site {
	t.Helper()
	site, err := publish.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// both runs a test on a folder and on a real SFTP server, whose folder is looked at directly.
func both(t *testing.T, test func(t *testing.T, site *publish.Site, root string)) {
	server := startSSHD(t)
	for kind, config := range map[string]func(root string) publish.Config{
		"folder": func(root string) publish.Config { return publish.Config{Root: root} },
		"sftp":   server.config,
	} {
		t.Run(kind, func(t *testing.T) {
			root := t.TempDir()
			test(t, open(t, config(root)), root)
		})
	}
}

// imageFile makes a file of some megabytes with a hole in it, different for each seed.
func imageFile(t *testing.T, seed byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.qcow2")
	data := append(bytes.Repeat([]byte{seed, 'x'}, 1<<20), make([]byte, 3<<20)...)
	data = append(data, bytes.Repeat([]byte{seed}, 12345)...)
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func item(id, image string) publish.Item {
	return publish.Item{Name: name, UUID: id, Image: name + ".qcow2", Files: map[string]string{name + ".qcow2": image}}
}

func put(t *testing.T, site *publish.Site, id, image string) publish.Sums {
	t.Helper()
	sums, err := site.Put(t.Context(), item(id, image))
	if err != nil {
		t.Fatal(err)
	}
	return sums
}

func promote(t *testing.T, site *publish.Site, id string) {
	t.Helper()
	if err := site.Promote(t.Context(), name, id, map[string][]byte{"image.json": []byte("{}")}); err != nil {
		t.Fatal(err)
	}
}

// files lists all below a folder, hidden ones too.
func files(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			rel, _ := filepath.Rel(root, full)
			found = append(found, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// nothingHidden fails when anything but whole images is in the root.
func nothingHidden(t *testing.T, root string) {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(root, "images/*/*/.*"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

func latest(t *testing.T, root string) string {
	t.Helper()
	target, err := os.Readlink(filepath.Join(root, "images/release", name, "latest"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return target
}

func sha256sum(t *testing.T, dir string) {
	t.Helper()
	result, err := process.Cmd{Path: "sha256sum", Args: []string{"-c", "--strict", "SHA256SUMS"}, Dir: dir, Env: process.Environ()}.Run(t.Context())
	if err != nil {
		t.Errorf("sha256sum -c: %v\n%s", err, result.Stdout)
	}
}

func TestWholeLife(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ctx, id, image := t.Context(), newID(t), imageFile(t, 1)
		evidence := t.TempDir()
		save(t, filepath.Join(evidence, "serial.log"), "boots")
		it := item(id, image)
		it.Files["evidence"] = evidence
		it.Data = map[string][]byte{"manifest.json": []byte("{}"), "definition.tar": []byte("tar")}
		sums, err := site.Put(ctx, it)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		sha, sha5, md := sha256.Sum256(data), sha512.Sum512(data), md5.Sum(data)
		want := publish.Sums{Size: int64(len(data)), Allocated: sums.Allocated, SHA256: hex.EncodeToString(sha[:]), SHA512: hex.EncodeToString(sha5[:]), MD5: hex.EncodeToString(md[:])}
		if diff := cmp.Diff(want, sums); diff != "" {
			t.Error(diff)
		}
		build := filepath.Join(root, "images/build", name, id)
		if diff := cmp.Diff([]string{"SHA256SUMS", "debian-12.qcow2", "definition.tar", "evidence/serial.log", "manifest.json"}, files(t, build)); diff != "" {
			t.Error(diff)
		}
		sha256sum(t, build)
		if again := put(t, site, id, image); again != sums {
			t.Errorf("the same image again: %+v", again)
		}
		var exists *publish.Exists
		if _, err := site.Put(ctx, item(id, imageFile(t, 2))); !errors.As(err, &exists) {
			t.Errorf("another image of the same uuid: %v", err)
		}
		if err := site.Attach(ctx, name, id, map[string]string{"evidence/junit.xml": filepath.Join(evidence, "serial.log")}); err != nil {
			t.Error(err)
		}
		promoted(t, site, root, id)
		journalled(t, site, id)
		found, err := site.List(ctx, publish.Release)
		if err != nil || len(found) != 1 || !found[0].Latest || found[0].UUID != id || found[0].Size < sums.Size || found[0].Reclaim >= sums.Size {
			t.Errorf("List = %+v, %v", found, err)
		}
		if err := site.Remove(ctx, publish.Release, name, id); err != nil {
			t.Error(err)
		}
		for _, area := range []string{publish.Build, publish.Release} {
			err := site.Remove(ctx, area, name, id)
			if area == publish.Build && err != nil || area == publish.Release && !errors.Is(err, publish.ErrNotFound) {
				t.Errorf("Remove from %s: %v", area, err)
			}
		}
		if left := files(t, root); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if err := site.Promote(ctx, name, id, nil); !errors.Is(err, publish.ErrNotFound) {
			t.Errorf("Promote without an image: %v", err)
		}
	})
}

// promoted checks one promotion: links, digests, modes, and that repeating it brings the new story in.
func promoted(t *testing.T, site *publish.Site, root, id string) {
	t.Helper()
	promote(t, site, id)
	if err := site.Promote(t.Context(), name, id, map[string][]byte{"image.json": []byte("new"), "evidence/report.json": []byte("r")}); err != nil {
		t.Error(err)
	}
	release := filepath.Join(root, "images/release", name, id)
	want := []string{"SHA256SUMS", "debian-12.qcow2", "definition.tar", "evidence/junit.xml", "evidence/report.json", "evidence/serial.log", "image.json"}
	if diff := cmp.Diff(want, files(t, release)); diff != "" {
		t.Error(diff)
	}
	sha256sum(t, release)
	for _, file := range want {
		info, err := os.Stat(filepath.Join(release, file))
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s has the mode %v, %v", file, info.Mode(), err)
		}
	}
	for _, folder := range []string{"", "evidence"} {
		if info, err := os.Stat(filepath.Join(release, folder)); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("folder %q: %v, %v", folder, info.Mode(), err)
		}
	}
	a, errA := os.Stat(filepath.Join(release, "debian-12.qcow2"))
	b, errB := os.Stat(filepath.Join(root, "images/build", name, id, "debian-12.qcow2"))
	if errors.Join(errA, errB) != nil || !os.SameFile(a, b) {
		t.Error("the released image is no hard link to the built one")
	}
	if got := latest(t, root); got != id {
		t.Errorf("latest = %q", got)
	}
	nothingHidden(t, root)
}

// journalled checks the small files: what has a digest is final, the journal is not.
func journalled(t *testing.T, site *publish.Site, id string) {
	t.Helper()
	f := publish.File{Area: publish.Build, Name: name, UUID: id, File: "manifest.json"}
	if err := site.WriteFile(t.Context(), f, []byte("second")); err != nil {
		t.Error(err)
	}
	if data, err := site.ReadFile(t.Context(), f); err != nil || string(data) != "second" {
		t.Errorf("ReadFile = %q, %v", data, err)
	}
	for _, final := range []string{"definition.tar", "SHA256SUMS"} {
		f.File = final
		if err := site.WriteFile(t.Context(), f, nil); err == nil || !strings.Contains(err.Error(), "is final") {
			t.Errorf("WriteFile(%s): %v", final, err)
		}
	}
	f.File = "absent"
	if _, err := site.ReadFile(t.Context(), f); !errors.Is(err, publish.ErrNotFound) {
		t.Errorf("ReadFile of an absent file: %v", err)
	}
	if sums, err := site.Verify(t.Context(), publish.Release, name, id); err != nil || len(sums) != 6 {
		t.Errorf("Verify = %v, %v", sums, err)
	}
}

// latest moves forward whatever the order of the promotions, and back only when the newest is taken away.
func TestLatest(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ids := []string{newID(t), newID(t), newID(t)}
		image := imageFile(t, 1)
		for _, id := range ids {
			put(t, site, id, image)
		}
		step := func(what, want string, err error) {
			t.Helper()
			if got := latest(t, root); got != want || err != nil {
				t.Fatalf("%s: latest = %q, %v; want %q", what, got, err, want)
			}
		}
		promote(t, site, ids[1])
		step("the second", ids[1], nil)
		promote(t, site, ids[0])
		step("an older one", ids[1], nil)
		promote(t, site, ids[2])
		step("a newer one", ids[2], nil)
		step("retract the newest", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("again", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("retract the oldest", ids[1], site.Retract(t.Context(), name, ids[0]))
		promote(t, site, ids[2])
		step("restore the newest", ids[2], nil)
		step("retract", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("retract the last", "", site.Retract(t.Context(), name, ids[1]))
		nothingHidden(t, root)
	})
}

// A lock of a process that is dead does not stop anybody.
func TestLatestAfterADeadOwner(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id := newID(t)
		put(t, site, id, imageFile(t, 1))
		promote(t, site, id)
		folder := filepath.Join(root, "images/release", name)
		// The owner's name as this process writes it, with a start time that no process has.
		dir, err := publish.IdentityForTest("lock")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(folder, ".lock")); err != nil {
			t.Fatal(err)
		}
		if err := site.Retract(t.Context(), name, id); err != nil {
			t.Error(err)
		}
		nothingHidden(t, root)
		// A living one is waited for, until the caller has enough.
		live, err := publish.Open(t.Context(), publish.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		if err := os.Symlink(publish.LiveIdentityForTest("lock"), filepath.Join(folder, ".lock")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := live.Promote(ctx, name, id, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Promote under another's lock: %v", err)
		}
	})
}

// The copy of a sparse file is sparse, and the source is read once, its holes not at all.
func TestSparse(t *testing.T) {
	const data = 24 << 20
	source := filepath.Join(t.TempDir(), "disk.raw")
	file, err := os.Create(source)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range int64(data / len(block)) {
		if _, err := file.WriteAt(block, i*83<<20); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(file.Truncate(2<<30), file.Sync(), file.Close()); err != nil {
		t.Fatal(err)
	}
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id, before := newID(t), rchar(t)
		sums := put(t, site, id, source)
		read := rchar(t) - before
		there := filepath.Join(root, "images/build", name, id, name+".qcow2")
		info, err := os.Stat(there)
		if err != nil {
			t.Fatal(err)
		}
		blocks := info.Sys().(*syscall.Stat_t).Blocks * 512
		if info.Size() != 2<<30 || sums.Size != 2<<30 || float64(blocks) > 1.02*float64(sums.Allocated) {
			t.Errorf("size %d, %d bytes on disk; the source has %d", info.Size(), blocks, sums.Allocated)
		}
		if float64(read) > 1.02*data+(1<<20) {
			t.Errorf("read %d bytes for %d bytes of data", read, data)
		}
		if site.Local() {
			digest, err := publish.Digest(t.Context(), there, nil)
			if err != nil || digest.SHA256 != sums.SHA256 {
				t.Errorf("the copy has the digest %s, %v; the source %s", digest.SHA256, err, sums.SHA256)
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
	put(t, site, id, staged)
	same(t, before, filepath.Join(root, "images/build", name, id, name+".qcow2"))
	if got := files(t, root); len(got) != 2 {
		t.Errorf("published %v; rubbish was not listed", got)
	}
	moved := filepath.Join(root, "moved")
	save(t, moved, "other")
	if before, err = os.Stat(moved); err != nil {
		t.Fatal(err)
	}
	it := item(newID(t), moved)
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
	t.Cleanup(func() {})
}

func same(t *testing.T, before os.FileInfo, name string) {
	t.Helper()
	after, err := os.Stat(name)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("%s was copied: %v", name, err)
	}
}

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
