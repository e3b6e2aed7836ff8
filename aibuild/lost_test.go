package aibuild

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// A process that is killed after its sign and before its run is recorded leaves
// a run that is known, and lost.
func TestRunKilledBeforeItWasRecorded(t *testing.T) {
	p := &Pipeline{DataDir: t.TempDir(), Recorder: &away{down: true}, Actor: "builder", Channel: "cli"}
	id, err := newRunID()
	if err != nil {
		t.Fatal(err)
	}
	r := &run{p: p, id: id}
	if err := r.claim([]lineage.Record{{RunID: id, Verb: lineage.VerbOpened,
		Run: &lineage.Run{ID: id, Image: "web", State: lineage.RunBuilding}}}); err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(p.DataDir, "work", "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("signs: %v, %v", dirs, err)
	}
	if removed, err := p.Sweep(t.Context()); err != nil || len(removed) != 0 {
		t.Fatalf("Sweep took the sign of a process that lives: %v, %v", removed, err)
	}
	if err := os.WriteFile(filepath.Join(dirs[0], ownerFile), []byte("1 0\n"), 0o600); err != nil { // pid 1 began at another time
		t.Fatal(err)
	}
	sweeper := &Pipeline{DataDir: p.DataDir, Recorder: &away{down: true}, Actor: "somebody else", Channel: "daemon"}
	if removed, err := sweeper.Sweep(t.Context()); err != nil || len(removed) != 1 {
		t.Fatalf("Sweep = %v, %v; want the one sign", removed, err)
	}
	var journal waiting
	b, err := os.ReadFile(p.runJournal(id))
	if err != nil || json.Unmarshal(b, &journal) != nil || len(journal.Records) != 2 {
		t.Fatalf("journal %s: %v", b, err)
	}
	opened, lost := journal.Records[0], journal.Records[1]
	if opened.Run.Image != "web" || opened.Actor != "builder" || lost.Run.State != lineage.RunLost || lost.Actor != "somebody else" || lost.RunID != id {
		t.Errorf("journal %s; want the run opened by builder, lost by somebody else", b)
	}
}

// What is edited while Packer reads it belongs to no commit.
func TestEditDuringTheBuild(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "web")
	if err := os.CopyFS(dir, os.DirFS("../examples/images/tiny-broken")); err != nil {
		t.Fatal(err)
	}
	p := &Pipeline{DataDir: t.TempDir()}
	open := func() *building {
		c, err := p.open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		c.rev = revision{Commit: "c0ffee"}
		return &building{p: p, run: &run{p: p, def: c}, img: &Image{}}
	}
	compare := func(b *building, what, want string) {
		t.Helper()
		if err := b.compareDefinition(t.Context()); err != nil || b.run.def.rev.name() != want {
			t.Errorf("%s: commit %s, %v; want %s", what, b.run.def.rev.name(), err, want)
		}
	}
	compare(open(), "nothing changed", "c0ffee")
	for _, file := range []string{"http/user-data", "aibuild.yaml"} {
		b := open()
		if err := os.WriteFile(filepath.Join(dir, file), []byte("edited"), 0o644); err != nil {
			t.Fatal(err)
		}
		compare(b, file, "c0ffee-dirty")
	}
}

// Records, links and clouds order the images of a name alike: by when their runs
// were opened.
func TestTimeOfARun(t *testing.T) {
	now := time.Now().UTC()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	if got := runTime(id, time.Time{}); got.Sub(now).Abs() > time.Second {
		t.Errorf("%s was opened at %v; want about %v", id, got, now)
	}
	if got := runTime(uuid.MustParse("6ba7b810-9dad-41d1-80b4-00c04fd430c8"), now); got != now {
		t.Errorf("an id without a time: %v; want %v", got, now)
	}
}
