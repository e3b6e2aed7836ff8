package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// The daemon reads evidence where the pipeline has put it, and nothing else.
func TestEvidenceOfTheWebRoot(t *testing.T) {
	root, from := t.TempDir(), t.TempDir()
	env := map[string]string{"AIBUILD_WEB_ROOT": root, "AIBUILD_DATA": t.TempDir()}
	w := &world{getenv: func(k string) string { return env[k] }, stderr: io.Discard}
	w.config = config{getenv: w.getenv}
	s := &service{w: w, log: hclog.NewNullLogger()}
	e, img := siteEvidence{s}, lineage.Image{UUID: v7(), Name: "tiny"}
	t.Cleanup(func() {
		if err := w.close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := e.Files(t.Context(), img); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of an image that is not there: %v", err)
	}
	disk, log := filepath.Join(from, "tiny.qcow2"), filepath.Join(from, "serial.log")
	for file, text := range map[string]string{disk: "disk", log: "booted\n"} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	site, err := s.site.open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	item := publish.Item{Name: "tiny", UUID: img.UUID, Image: "tiny.qcow2", Files: map[string]string{"tiny.qcow2": disk, "evidence/build/serial.log": log}}
	if _, err := site.Put(t.Context(), item); err != nil {
		t.Fatal(err)
	}
	if err := site.Attach(t.Context(), "tiny", img.UUID, map[string]string{"evidence/test-1/cell/serial.log": log}); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		files, err := e.Files(t.Context(), img)
		if err != nil || !slices.Equal(files, []string{"evidence/build/serial.log", "evidence/test-1/cell/serial.log"}) {
			t.Errorf("%s: %v, %v", when, files, err)
		}
		for _, file := range files {
			f, err := e.Open(t.Context(), img, file)
			if err != nil {
				t.Errorf("%s: %v", when, err)
				continue
			}
			text, err := io.ReadAll(f)
			if err = errors.Join(err, f.Close()); err != nil || string(text) != "booted\n" {
				t.Errorf("%s: %q, %v", when, text, err)
			}
		}
	}
	look("built")
	if err := site.Promote(t.Context(), "tiny", img.UUID, map[string][]byte{"image.json": []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "images", "build", "tiny", img.UUID, "evidence", "link.log")); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"evidence/link.log", "evidence/none.log", "evidence/.hidden", "../tiny.qcow2", "evidence/../../../../../etc/passwd"} {
		if f, err := e.Open(t.Context(), img, file); err == nil || f != nil {
			t.Errorf("%s was opened", file)
		} else if file != "evidence/link.log" && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want that it is not there", file, err)
		}
	}
	if err := site.Remove(t.Context(), publish.Build, "tiny", img.UUID); err != nil {
		t.Fatal(err)
	}
	look("published, and pruned from images/build")
	if _, err := e.Files(t.Context(), lineage.Image{UUID: "by-hand", Name: "Tiny"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of a row that others wrote: %v", err)
	}
}
