package publish_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/guestos/aibuild/aibuild/publish"
)

func TestFiles(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ctx, id := t.Context(), newID(t)
		put(t, site, id, imageFile(t, 1))
		if got, err := site.Files(ctx, publish.Build, name, id, "evidence"); !errors.Is(err, publish.ErrNotFound) {
			t.Errorf("without the folder: %v, %v", got, err)
		}
		evidence := t.TempDir()
		if err := os.Mkdir(filepath.Join(evidence, "bios"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"junit.xml", "bios/serial.log", "bios/.hidden"} {
			save(t, filepath.Join(evidence, file), file)
		}
		folder := filepath.Join(root, "images/build", name, id, "evidence")
		if err := os.CopyFS(filepath.Join(folder, "test-1"), os.DirFS(evidence)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("/etc/passwd", filepath.Join(folder, "link")); err != nil {
			t.Fatal(err)
		}
		got, err := site.Files(ctx, publish.Build, name, id, "evidence")
		if diff := cmp.Diff([]string{"evidence/test-1/bios/serial.log", "evidence/test-1/junit.xml"}, got); err != nil || diff != "" {
			t.Errorf("%v %s", err, diff)
		}
		var bad *publish.BadName
		for _, folder := range []string{"", "../..", "/etc", ".part"} {
			if _, err := site.Files(ctx, publish.Build, name, id, folder); !errors.As(err, &bad) {
				t.Errorf("%q: %v", folder, err)
			}
		}
	})
}
