package aibuild

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// The contract of exit codes, for every kind of error that a room gives.
func TestExitCodes(t *testing.T) {
	tests := []struct {
		err   error
		code  int
		blame string
	}{
		{fmt.Errorf("x: %w", context.Canceled), CodeCancelled, lineage.BlameCancelled},
		{&packer.Failed{Blame: packer.BlameTemplate}, CodeImage, lineage.BlameTemplate},
		{&packer.Failed{Blame: packer.BlameDefinition}, CodeUsage, lineage.BlameDefinition},
		{&packer.Failed{Blame: packer.BlameInfrastructure}, CodeInfrastructure, lineage.BlameInfrastructure},
		{&packer.Failed{Blame: packer.BlameTemplate, Err: context.Canceled}, CodeCancelled, lineage.BlameCancelled},
		{&TestFailed{&harness.Report{Verdict: harness.Failed}}, CodeImage, lineage.BlameImage},
		{&TestFailed{&harness.Report{Verdict: harness.Error}}, CodeInfrastructure, lineage.BlameInfrastructure},
		{&qemu.BadImage{}, CodeImage, lineage.BlameImage},
		{definition.Errors{{Message: "x"}}, CodeUsage, lineage.BlameDefinition},
		{&definition.Refused{}, CodeRefused, lineage.BlameRule},
		{&Refused{}, CodeRefused, lineage.BlameRule},
		{&lineage.Taken{}, CodeRefused, lineage.BlameRule},
		{&publish.Corrupt{}, CodeRefused, lineage.BlameInfrastructure},
		{&publish.NoSpace{}, CodeInfrastructure, lineage.BlameInfrastructure},
		{&NotFound{}, CodeNotFound, lineage.BlameUser},
		{fmt.Errorf("x: %w", lineage.ErrNotFound), CodeNotFound, lineage.BlameUser},
		{&lineage.Ambiguous{}, CodeUsage, lineage.BlameUser},
		{&lineage.Unavailable{Err: errors.New("gone")}, CodeInfrastructure, lineage.BlameInfrastructure},
		{errors.Join(&glance.ClusterError{Cluster: "a", Err: &glance.DigestError{What: "sha256"}}), CodeRefused, lineage.BlameRule},
		{errors.Join(&glance.ClusterError{Cluster: "a", Err: errors.New("down")}), CodeInfrastructure, lineage.BlameInfrastructure},
		{fmt.Errorf("packer: %w", process.ErrNotFound), CodeInfrastructure, lineage.BlameInfrastructure},
		{errors.New("anything"), CodeInfrastructure, lineage.BlameInfrastructure},
	}
	for _, tt := range tests {
		got := fail("build", tt.err, "next")
		if got.Code != tt.code || got.Blame != tt.blame || got.Failure.Stage != "build" || got.Failure.Sentence == "" && tt.err.Error() != "" {
			t.Errorf("fail(%T %v) = code %d, blame %s; want %d, %s", tt.err, tt.err, got.Code, got.Blame, tt.code, tt.blame)
		}
		if again := fail("run", got, ""); again != got {
			t.Errorf("an error that has its form was wrapped again: %v", again)
		}
	}
}

func TestProjectOfRemote(t *testing.T) {
	tests := map[string]string{
		"https://gitlab.example.com/cloud/images.git":        "cloud/images",
		"https://user:secret@gitlab.example.com/a/b/c":       "a/b/c",
		"ssh://git@gitlab.example.com:2222/cloud/images.git": "cloud/images",
		"git@gitlab.example.com:cloud/images.git":            "cloud/images",
		"/srv/git/images.git":                                "srv/git/images",
		"":                                                   "",
	}
	for remote, want := range tests {
		if got := projectOf(remote); got != want {
			t.Errorf("projectOf(%s) = %s; want %s", remote, got, want)
		}
	}
}

func TestPublicURLHasNoSecret(t *testing.T) {
	if got := publicURL("https://user:canary@mirror.example/x.iso?token=canary#canary"); got != "https://mirror.example/x.iso" {
		t.Errorf("publicURL = %s", got)
	}
}

func TestDefinitionTarGoesRoundTheWorld(t *testing.T) {
	dir := t.TempDir()
	files := map[string]os.FileMode{"aibuild.yaml": 0o644, "tests/one.sh": 0o755, "http/answers": 0o644, "disk.iso": 0o644}
	for name, mode := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	d := &definition.Definition{From: definition.From{ISO: "disk.iso"}, Files: []string{"aibuild.yaml", "disk.iso", "http/answers", "tests/one.sh"}}
	tarball := filepath.Join(t.TempDir(), "definition.tar")
	if err := packDefinition(t.Context(), &checkout{Definition: d, dir: dir}, tarball); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(tarball)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := t.TempDir()
	if err := unpackDefinition(f, out); err != nil {
		t.Fatal(err)
	}
	delete(files, "disk.iso") // the source is no part of the definition
	for name, mode := range files {
		info, err := os.Stat(filepath.Join(out, name))
		if err != nil || info.Mode().Perm()&0o100 != mode&0o100 {
			t.Errorf("%s came back as %v, %v", name, info, err)
		}
	}
	if _, err := os.Stat(filepath.Join(out, "disk.iso")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the source was packed: %v", err)
	}
}

func TestEvilTarIsRefused(t *testing.T) {
	for _, h := range []tar.Header{
		{Name: "../evil", Typeflag: tar.TypeReg}, {Name: "/evil", Typeflag: tar.TypeReg}, {Name: "a/../../evil", Typeflag: tar.TypeReg},
		{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "dev", Typeflag: tar.TypeChar},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := unpackDefinition(&b, t.TempDir()); err == nil {
			t.Errorf("%s (%c) was unpacked", h.Name, h.Typeflag)
		}
	}
}

// away is a Recorder whose database comes and goes.
type away struct {
	down bool
	got  []string
}

func (a *away) Resolve(context.Context, lineage.Query) ([]lineage.Image, error) {
	return nil, lineage.ErrNotFound
}

func (a *away) Record(_ context.Context, records ...lineage.Record) error {
	if a.down {
		return &lineage.Unavailable{Op: "record", Err: errors.New("connection refused")}
	}
	for _, r := range records {
		if !slices.Contains(a.got, r.ID) {
			a.got = append(a.got, r.ID)
		}
	}
	return nil
}

func (a *away) Lock(context.Context, string, time.Duration) (func() error, error) {
	return nil, &lineage.Unavailable{Op: "lock", Err: errors.New("connection refused")}
}

// What could not be recorded waits in the journal, in order, and is delivered
// once.
func TestJournalIsDeliveredOnce(t *testing.T) {
	db := &away{down: true}
	p := &Pipeline{DataDir: t.TempDir(), Recorder: db}
	id := "0190aaaa-0000-7000-8000-00000000000a"
	first := lineage.Record{RunID: id, Verb: lineage.VerbOpened, Run: &lineage.Run{ID: id, State: lineage.RunBuilding}}
	second := lineage.Record{RunID: id, Verb: lineage.VerbEnded, Run: &lineage.Run{ID: id, State: lineage.RunFailure}}
	for _, r := range []lineage.Record{first, second} {
		if err := p.recordRun(t.Context(), r); err != nil {
			t.Fatalf("a database that is away is no error: %v", err)
		}
	}
	if n, err := p.Deliver(t.Context()); n != 0 || err != nil || len(db.got) != 0 {
		t.Errorf("Deliver while it is away = %d, %v", n, err)
	}
	db.down = false
	if n, err := p.Deliver(t.Context()); n != 1 || err != nil || len(db.got) != 2 {
		t.Errorf("Deliver = %d, %v, %d records; want 1 run, 2 records", n, err, len(db.got))
	}
	if n, err := p.Deliver(t.Context()); n != 0 || err != nil || len(db.got) != 2 {
		t.Errorf("Deliver again = %d, %v", n, err)
	}
}

func TestWhatRollbackReturns(t *testing.T) {
	img := func(uuid, verdict string, targets ...lineage.Target) *Image {
		i := &Image{UUID: uuid, Name: "web", Records: []lineage.Record{{Tested: &lineage.Tested{Verdict: verdict}}}}
		for _, target := range targets {
			i.Records = append(i.Records, lineage.Record{Released: &target})
		}
		return i
	}
	at := func(cluster, state string) lineage.Target { return lineage.Target{Cluster: cluster, State: state} }
	images := []*Image{ // newest first
		img("4", lineage.Passed, at("a", lineage.TargetVisible), at("b", lineage.TargetFailed)),
		img("3", lineage.FailedTest, at("a", lineage.TargetHidden)),
		img("2", lineage.Passed, at("a", lineage.TargetHidden), at("b", lineage.TargetVisible)),
		img("1", lineage.Passed, at("b", lineage.TargetHidden)),
	}
	groups, err := rollbackTargets(images, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, g := range groups {
		got[strings.Join(g.clusters, ",")] = g.to.UUID
	}
	if diff := cmp.Diff(map[string]string{"a": "2", "b": "1"}, got); diff != "" {
		t.Errorf("rollback goes elsewhere:\n%s", diff)
	}
	if _, err := rollbackTargets(images[3:], nil, nil); err == nil {
		t.Error("a name that is visible nowhere was rolled back")
	}
}
