package aibuild

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// ended is a Recorder that takes nothing of one run, as a server from a Jenkins
// build whose run has ended.
type ended struct {
	away
	run string
}

func (e *ended) Record(ctx context.Context, records ...lineage.Record) error {
	for _, r := range records {
		if !e.down && r.RunID == e.run {
			return &lineage.Conflict{ID: e.run, Problem: "has ended"}
		}
	}
	return e.away.Record(ctx, records...)
}

// What an earlier run could not record, and must not any more, keeps the next
// run from nothing, and is delivered by who may.
func TestEarlierRecordsBlockNothing(t *testing.T) {
	server := &ended{run: "0190aaaa-0000-7000-8000-00000000000a"}
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "images", "build", "web", server.run), 0o755); err != nil {
		t.Fatal(err)
	}
	site, err := publish.Open(t.Context(), publish.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	defer site.Close()
	server.down = true
	p := &Pipeline{Site: site, DataDir: t.TempDir(), Recorder: server}
	built := lineage.Record{ID: "0190aaaa-0000-7000-8000-0000000000ff", ImageUUID: server.run, Verb: lineage.VerbBuilt,
		Built: &lineage.Built{Name: "web", Artifact: lineage.Artifact{SHA256: strings.Repeat("a", 64)}}}
	img := &Image{UUID: server.run, Name: "web", File: "web.qcow2", Records: []lineage.Record{built}}
	late := lineage.Record{RunID: server.run, Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: lineage.Passed}}
	next := lineage.Record{RunID: "0190aaaa-0000-7000-8000-00000000000b", Verb: lineage.VerbPublished, Published: &lineage.Published{}}
	first, second := []lineage.Record{late}, []lineage.Record{next}
	if err := p.record(t.Context(), img, first...); err != nil || len(img.Pending) != 1 {
		t.Fatalf("while it is away: %v, pending %v", err, img.Pending)
	}
	server.down = false
	if err := p.record(t.Context(), img, second...); err != nil {
		t.Fatalf("the next run: %v", err)
	}
	if want := []string{img.Records[1].ID}; !slices.Equal(img.Pending, want) || !slices.Equal(server.got, []string{img.Records[2].ID}) {
		t.Errorf("pending %v, recorded %v", img.Pending, server.got)
	}
	stored, err := p.load(t.Context(), img.Name, img.UUID)
	if err != nil || len(stored.Pending) != 1 || len(stored.Records) != 3 {
		t.Errorf("manifest: %+v, %v", stored, err)
	}
	if n, err := p.Deliver(t.Context()); n != 0 || err == nil {
		t.Errorf("Deliver of what is refused = %d, %v", n, err)
	}
	daemon := &Pipeline{Site: site, DataDir: p.DataDir, Recorder: &server.away}
	if n, err := daemon.Deliver(t.Context()); n != 1 || err != nil {
		t.Errorf("Deliver by who may = %d, %v", n, err)
	}
	if stored, err = p.load(t.Context(), img.Name, img.UUID); err != nil || len(stored.Pending) != 0 || len(server.got) != 2 {
		t.Errorf("manifest: %+v, %v; recorded %v", stored, err, server.got)
	}
}
