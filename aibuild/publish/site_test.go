package publish_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

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
