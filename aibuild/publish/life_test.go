package publish_test

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/guestos/aibuild/aibuild/publish"
)

func TestWholeLife(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ctx, id, image := t.Context(), newID(t), imageFile(t, 1)
		evidence := t.TempDir()
		save(t, filepath.Join(evidence, "serial.log"), "boots")
		it := item(id, image)
		it.Files["evidence"] = evidence
		it.Data = map[string][]byte{"definition.tar": []byte("tar")}
		for _, taken := range []string{"definition.tar", "evidence/serial.log", "SHA256SUMS", "../x"} {
			it.Finish = func(publish.Sums) (map[string][]byte, error) { return map[string][]byte{taken: nil}, nil }
			if _, err := site.Put(ctx, it); err == nil {
				t.Errorf("Finish gave %s", taken)
			}
		}
		var told publish.Sums
		it.Finish = func(sums publish.Sums) (map[string][]byte, error) {
			told = sums
			return map[string][]byte{"manifest.json": []byte("{}")}, nil
		}
		sums, err := site.Put(ctx, it)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		sha, sha5 := sha256.Sum256(data), sha512.Sum512(data)
		want := publish.Sums{Size: int64(len(data)), Allocated: sums.Allocated, SHA256: hex.EncodeToString(sha[:]), SHA512: hex.EncodeToString(sha5[:])}
		if diff := cmp.Diff(want, sums); diff != "" {
			t.Error(diff)
		}
		if told != sums {
			t.Errorf("Finish was told %+v", told)
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
		usage, err := site.Usage(ctx)
		if err != nil || usage.Images != 1 || usage.Build < 2<<20 || usage.Release <= 0 || usage.Release > 1<<20 || usage.Free <= 0 {
			t.Errorf("Usage = %+v, %v", usage, err)
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
	told := f
	told.Area, told.File = publish.Release, "image.json"
	if err := site.WriteFile(t.Context(), told, []byte("released")); err != nil {
		t.Errorf("WriteFile of image.json: %v", err)
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
	if sums, err := site.Verify(t.Context(), publish.Release, name, id); err != nil || len(sums) != 5 {
		t.Errorf("Verify = %v, %v", sums, err)
	}
}
