package hooks

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// A head that was read before a push and stored after its hook does not move the
// ref back.
func TestStaleHead(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	f.send("one", library, head)
	f.ended()
	before, err := f.in.Head(t.Context(), "ops/images", head)
	if err != nil {
		t.Fatal(err)
	}
	x := f.send("x", library.with(files{"images/a/f": plain("x")}), head)
	y := f.send("y", library.with(files{"images/a/f": plain("y")}), head)
	p, _ := f.d.project("ops/images")
	if err := f.d.moved(t.Context(), p, before, head, x); err != nil {
		t.Fatal(err)
	}
	runs := f.ended()
	if len(runs) != 4 || runs[0].Commit != y || runs[0].State != lineage.RunSuccess {
		t.Errorf("the newest of %d runs: %+v; want a success of %s", len(runs), runs[0], y)
	}
	if now, err := f.in.Head(t.Context(), "ops/images", head); err != nil || now.SHA != y {
		t.Errorf("the head is %+v, %v; want %s", now, err, y)
	}
	for _, e := range f.in.all(t) {
		if e.Event == eventHead && e.After == x && (e.State != lineage.EventIgnored || !strings.Contains(e.Reason, "came late")) {
			t.Errorf("the stale head is %s: %s", e.State, e.Reason)
		}
	}
}

// A run begins late only where the image that it would go on from is of its ref:
// what another branch has built may not be released.
func TestLateStartIsOfTheSameRef(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	d := &Dispatcher{Store: in.Store}
	sumB, sumT, sumNew, sumOld := strings.Repeat("b", 64), strings.Repeat("1", 64), strings.Repeat("e", 64), strings.Repeat("0", 64)
	img := ImageChange{Name: "a", Definition: &definition.Definition{Name: "a"}}
	img.Definition.Digests.Build, img.Definition.Digests.Test, img.Definition.Digests.Release = sumB, sumT, sumNew
	at := time.Now().Add(-time.Hour)
	for _, of := range []struct{ built, run, from, why string }{
		{"feature", "refs/heads/main", fromBuild, "was built from feature, not from main"},
		{"main", "refs/heads/main", "release", ""},
		{"", "refs/heads/main", fromBuild, "was built from no branch, not from main"},
		{"refs/tags/v1", "refs/tags/v1", "release", ""},
		{"v1", "refs/tags/v1", fromBuild, "not from refs/tags/v1"},
	} {
		at = at.Add(time.Minute) // the newest is taken
		id := uuid.Must(uuid.NewV7()).String()
		built := &lineage.Built{Name: "a", Project: "ops/images", Arch: "x86_64", BuiltAt: at, Artifact: lineage.Artifact{
			Format: "qcow2", Size: 1, SHA256: strings.Repeat(strings.ReplaceAll(id, "-", ""), 2), Ref: of.built,
			BuildDigest: sumB, TestDigest: sumT, ReleaseDigest: sumOld,
		}}
		for _, r := range []lineage.Record{
			{ImageUUID: id, Verb: lineage.VerbBuilt, Built: built},
			{ImageUUID: id, Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: lineage.Passed, TestCase: "all (1 cases)", TestedAt: at}},
		} {
			r.ID, r.At, r.Actor, r.Channel = uuid.Must(uuid.NewV7()).String(), time.Now(), "ann", "jenkins"
			if err := in.Record(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		r := lineage.Run{From: "release", Reason: "changed"}
		if err := d.sure(t.Context(), of.run, img, &r); err != nil || r.From != of.from || !strings.Contains(r.Reason, of.why) {
			t.Errorf("built from %q, pushed to %s: from %s (%s), %v; want %s (%s)", of.built, of.run, r.From, r.Reason, err, of.from, of.why)
		}
	}
}
