package aibuild

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// A run that begins after the build works on the image that it is asked for:
// never on a newer one, never on one that it builds instead.
func TestResumeTakesTheImageOfTheRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web")
	if err := os.CopyFS(dir, os.DirFS("../examples/images/tiny-broken")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "aibuild.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// A release to no cluster needs no cloud.
	if err := os.WriteFile(filepath.Join(dir, "aibuild.yaml"), bytes.Replace(text, []byte("clusters: [alpha], "), nil, 1), 0o644); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	site, err := publish.Open(t.Context(), publish.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	p := &Pipeline{Site: site, DataDir: t.TempDir(), Recorder: &away{}}
	def, err := p.open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	const name = "tiny-broken"
	other := "0190aaaa-0000-7000-8000-00000000000a" // of settings that have changed since
	older, newest, strange := "0190aaaa-0000-7000-8000-00000000000b", "0190aaaa-0000-7000-8000-00000000000c", "0190aaaa-0000-7000-8000-00000000000d"
	for _, i := range []struct{ name, id, digest string }{{name, other, "changed"}, {name, older, def.Digests.Build}, {name, newest, def.Digests.Build}, {"web", strange, def.Digests.Build}} {
		if err := os.MkdirAll(filepath.Join(root, "images", "build", i.name, i.id), 0o755); err != nil {
			t.Fatal(err)
		}
		img := &Image{UUID: i.id, Name: i.name, File: i.name + ".qcow2", Records: []lineage.Record{
			{ImageUUID: i.id, Verb: lineage.VerbBuilt, Built: &lineage.Built{Name: i.name, Artifact: lineage.Artifact{SHA256: strings.Repeat("a", 64), BuildDigest: i.digest}}},
			{ImageUUID: i.id, Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: lineage.Passed}},
		}}
		if err := p.save(t.Context(), img); err != nil {
			t.Fatal(err)
		}
	}
	for asked, want := range map[string]string{"": newest, older: older, newest: newest, other: other} {
		img, err := p.Run(t.Context(), RunOptions{Build: BuildOptions{Dir: dir}, From: StageRelease, Image: asked})
		if err != nil || img == nil || img.UUID != want {
			t.Errorf("image %q asked for: %+v, %v; want %s", asked, img, err, want)
		}
	}
	for asked, code := range map[string]int{strange: CodeUsage, "0190aaaa-0000-7000-8000-00000000000e": CodeNotFound} {
		img, err := p.Run(t.Context(), RunOptions{Build: BuildOptions{Dir: dir}, From: StageRelease, Image: asked})
		if failed, ok := errors.AsType[*Error](err); img != nil || !ok || failed.Code != code || failed.Stage != StageRelease {
			t.Errorf("image %s asked for: %+v, %v; want code %d", asked, img, err, code)
		}
	}
}
