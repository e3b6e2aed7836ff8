package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// told knows one image.
type told struct{ image lineage.Image }

func (r told) Resolve(context.Context, lineage.Query) ([]lineage.Image, error) {
	return []lineage.Image{r.image}, nil
}
func (told) Record(context.Context, ...lineage.Record) error { return nil }
func (told) Lock(context.Context, string, time.Duration) (func() error, error) {
	return func() error { return nil }, nil
}

// A manifest that is another image's, is nobody's, or names another digest than the record leads to no work.
func TestForeignManifest(t *testing.T) {
	const name, id, sum = "web", "0190aaaa-0000-7000-8000-00000000000a", "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
	good := Image{Name: name, UUID: id, File: "web.qcow2", Schema: manifestSchema,
		Records: []lineage.Record{{Verb: lineage.VerbBuilt, Built: &lineage.Built{Artifact: lineage.Artifact{SHA256: sum}}}}}
	other, none, touched := good, Image{Schema: manifestSchema}, good
	other.UUID = "0190aaaa-0000-7000-8000-00000000000b"
	touched.Records = []lineage.Record{{Verb: lineage.VerbBuilt, Built: &lineage.Built{Artifact: lineage.Artifact{SHA256: strings.Repeat("0", 64)}}}}
	for what, c := range map[string]struct {
		img  Image
		want string
	}{
		"good": {good, ""}, "another image's": {other, "is damaged"}, "nobody's": {none, "is damaged"}, "another digest": {touched, "has changed"},
	} {
		root := t.TempDir()
		dir := filepath.Join(root, "images", publish.Build, name, id)
		b, err := json.Marshal(c.img)
		if err = errors.Join(err, os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, manifestFile), b, 0o644)); err != nil {
			t.Fatal(err)
		}
		site, err := publish.Open(t.Context(), publish.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		p := &Pipeline{Site: site, DataDir: t.TempDir(), Recorder: told{lineage.Image{Name: name, UUID: id, Number: 3, SHA256: sum}}}
		img, err := p.Find(t.Context(), name)
		switch {
		case c.want == "" && (err != nil || img.Ref() != "web@3"):
			t.Errorf("%s: %v, %v", what, img, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %q", what, err, c.want)
		}
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := (&Pipeline{Recorder: told{lineage.Image{Name: name, UUID: id}}}).Find(t.Context(), ""); !errors.As(err, new(*NotFound)) {
		t.Errorf("an empty name found something: %v", err)
	}
}
