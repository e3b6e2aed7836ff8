package api

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// recorder is aibuild.Recorder, which is above this package.
type recorder interface {
	Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error)
	Record(ctx context.Context, records ...lineage.Record) error
	Lock(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error)
}

var (
	_ recorder = (*lineage.Store)(nil)
	_ recorder = (*Client)(nil)
)

// heard is what a step of the contract came to.
type heard struct {
	Step   string
	Kind   string // of the error
	Error  string
	Images []lineage.Image
}

func hear(step string, images []lineage.Image, err error) heard {
	h := heard{Step: step, Images: images, Kind: "none"}
	if err == nil {
		return h
	}
	h.Kind, h.Error = kindOf(err), err.Error()
	if l, ok := errors.AsType[*lineage.Locked](err); ok { // since when is up to the clock
		h.Error = fmt.Sprintf("%s %s %d %t", l.Name, l.Host, l.PID, time.Since(l.Since).Abs() < time.Minute)
	}
	if a, ok := errors.AsType[*lineage.Ambiguous](err); ok {
		h.Images = a.Candidates
	}
	return h
}

func kindOf(err error) string {
	if errors.Is(err, lineage.ErrNotFound) {
		return "not found"
	}
	if errors.Is(err, context.Canceled) {
		return "cancelled"
	}
	for kind, is := range map[string]func(error) bool{
		"invalid": isA[*lineage.Invalid], "conflict": isA[*lineage.Conflict], "taken": isA[*lineage.Taken], "ambiguous": isA[*lineage.Ambiguous],
		"locked": isA[*lineage.Locked], "lock lost": isA[*lineage.LockLost], "unavailable": isA[*lineage.Unavailable],
	} {
		if is(err) {
			return kind
		}
	}
	return fmt.Sprintf("%T", err)
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// story is the records of the contract, made once for all recorders.
type story struct {
	one, two, stranger, run, third string
	records                        map[string]lineage.Record
}

func newStory() story {
	s := story{one: newID(), stranger: newID(), run: newID(), third: newID()}
	s.two = s.one[:len(s.one)-4] + "beef"
	if s.two == s.one {
		s.two = s.one[:len(s.one)-4] + "cafe"
	}
	child := builtRecord(s.third, "child", project)
	child.Built.Artifact.ParentUUID = s.one
	child.At = day.Add(time.Hour)
	second := builtRecord(s.two, "tiny", project)
	second.At = day.Add(time.Minute)
	otherSum := builtRecord(s.one, "tiny", project)
	otherSum.Built.Artifact.SHA256 = strings.Repeat("a", 64)
	opened := lineage.Record{ID: newID(), At: day, Actor: "ann", Channel: "cli", RunID: s.run, Verb: lineage.VerbOpened,
		Run: &lineage.Run{ID: s.run, Image: "tiny", Project: project, Ref: "main", Commit: "c0ffee", State: lineage.RunBuilding}}
	success, failure := movedRecord(s.run, lineage.RunSuccess), movedRecord(s.run, lineage.RunFailure)
	success.At, failure.At = day.Add(time.Minute), day.Add(2*time.Minute)
	failure.Run.Failure = &lineage.Failure{Stage: "test", Blame: lineage.BlameImage, Sentence: "it failed", Lines: []string{"a", "b"}}
	twice := testedRecord(s.one, lineage.Passed)
	twice.Tested.Cases = append(twice.Tested.Cases, twice.Tested.Cases[0])
	s.records = map[string]lineage.Record{
		"built": builtRecord(s.one, "tiny", project), "second": second, "child": child, "other sum": otherSum,
		"tested": testedRecord(s.one, lineage.Passed), "published": publishedRecord(s.one), "visible": releasedRecord(s.one, "alpha", lineage.TargetVisible, newID()),
		"stolen": builtRecord(s.stranger, "tiny", other), "opened": opened, "success": success, "failure": failure, "twice": twice,
		"unknown image": testedRecord(newID(), lineage.Passed),
	}
	reused := s.records["published"]
	reused.ID = s.records["built"].ID
	s.records["reused id"] = reused
	bad := s.records["tested"]
	bad.ID = "not-a-uuid"
	s.records["bad id"] = bad
	long := builtRecord(newID(), "tiny", project)
	long.Built.OSVer = "12.0.0.0.0.1"
	s.records["too long"] = long
	none := s.records["tested"]
	none.ID, none.ImageUUID = newID(), ""
	s.records["no image"] = none
	return s
}

// contract plays the same scenes with any recorder and gives what it heard.
func contract(t *testing.T, r recorder, s story) []heard {
	ctx := t.Context()
	var all []heard
	resolve := func(step string, q lineage.Query) {
		images, err := r.Resolve(ctx, q)
		all = append(all, hear(step, images, err))
	}
	record := func(names ...string) {
		var records []lineage.Record
		for _, name := range names {
			if _, ok := s.records[name]; !ok {
				t.Fatalf("no record %q", name)
			}
			records = append(records, s.records[name])
		}
		all = append(all, hear("record "+strings.Join(names, ", "), nil, r.Record(ctx, records...)))
	}
	resolve("nothing is there", lineage.Query{Ref: "tiny"})
	resolve("nothing good is there", lineage.Query{Name: "tiny", Good: true})
	resolve("an empty list", lineage.Query{Name: "tiny"})
	resolve("two questions at once", lineage.Query{Ref: "tiny", Name: "tiny"})
	resolve("too many", lineage.Query{Name: "tiny", Limit: 10_001})
	resolve("less than none", lineage.Query{Name: "tiny", Limit: -1})
	record()
	for _, name := range []string{"bad id", "too long", "no image", "unknown image", "built", "built", "second", "child", "reused id", "other sum", "stolen", "twice"} {
		record(name)
	}
	record("tested", "published", "visible", "stolen") // all or none
	resolve("nothing of a refused batch is there", lineage.Query{Ref: s.one})
	record("tested", "published", "visible")
	record("tested", "published", "visible")
	record("opened", "success")
	record("failure")
	for step, q := range map[string]lineage.Query{
		"by name": {Ref: "tiny"}, "by number": {Ref: "tiny@1"}, "by uuid": {Ref: s.one}, "by sha256": {Ref: "sha256:" + s.records["built"].Built.Artifact.SHA256},
		"by prefix": {Ref: s.one[:len(s.one)-4]}, "by glance id": {Ref: s.records["visible"].Released.GlanceID}, "by url": {Ref: s.records["published"].Published.ReleaseURL},
		"newest good": {Name: "tiny", Good: true}, "all": {Name: "tiny"}, "in a cluster": {Cluster: "alpha"}, "nowhere": {Cluster: "gamma"}, "children": {Parent: s.one},
		"any cluster": {}, "not good": {Ref: s.two, Good: true}, "shown then": {Name: "tiny", Cluster: "alpha", At: day.Add(time.Hour)}, "shown before": {Name: "tiny", Cluster: "alpha", At: day},
		"shown nowhere": {Name: "tiny", Cluster: "gamma", At: day.Add(time.Hour)}, "a time alone": {At: day}, "strange": {Ref: "a b/c?d=e&f#g%41"},
	} {
		resolve(step, q)
	}
	return append(all, lockContract(t, r)...)
}

func lockContract(t *testing.T, r recorder) (all []heard) {
	lock := func(step, name string, wait time.Duration) func() error {
		unlock, err := r.Lock(t.Context(), name, wait)
		all = append(all, hear(step, nil, err))
		return unlock
	}
	lock("no name", "", 0)
	all[len(all)-1].Error = "" // a server also says what a name looks like
	first := lock("lock", "tiny", 0)
	lock("locked", "tiny", 0)
	start := time.Now()
	lock("locked after a wait", "tiny", 700*time.Millisecond)
	if waited := time.Since(start); waited < 500*time.Millisecond || waited > 10*time.Second {
		t.Errorf("waited %v, want 0.7 s", waited)
	}
	another := lock("another name", "small", 0)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	_, err := r.Lock(ctx, "tiny", time.Minute)
	all = append(all, hear("cancelled", nil, err))
	all[len(all)-1].Error = ""
	got := make(chan heard)
	go func() {
		unlock, err := r.Lock(t.Context(), "tiny", time.Minute)
		if err == nil {
			err = unlock()
		}
		got <- hear("the one that waited", nil, err)
	}()
	time.Sleep(200 * time.Millisecond) // so that it waits, which is no matter for the outcome
	all = append(all, hear("unlock", nil, first()), hear("again", nil, first()), hear("unlock another", nil, another()), <-got)
	return all
}

func byStep(all []heard) map[string][]heard {
	m := map[string][]heard{}
	for _, h := range all {
		m[h.Step] = append(m[h.Step], h)
	}
	return m
}

// A recorder is a recorder: what the pipeline hears does not depend on how it
// speaks to the record.
func TestStoreAndClientAreOneContract(t *testing.T) {
	s := newStory()
	direct := contract(t, newStore(t), s)
	l := newLab(t, nil)
	remote := contract(t, l.client(l.token(RoleAdmin)), s)
	if diff := cmp.Diff(byStep(direct), byStep(remote)); diff != "" {
		t.Errorf("store and client differ (-store +client):\n%s", diff)
	}
	kinds := map[string]int{}
	for _, h := range direct {
		kinds[h.Kind]++
	}
	for _, kind := range []string{"none", "not found", "cancelled", "invalid", "conflict", "taken", "ambiguous", "locked"} {
		if kinds[kind] == 0 {
			t.Errorf("the contract never gave %s: %v", kind, kinds)
		}
	}
	if host, err := os.Hostname(); err != nil || !strings.Contains(fmt.Sprint(remote), fmt.Sprintf("tiny %s %d true", host, os.Getpid())) {
		t.Errorf("the holder of a lock is not told: %v", err)
	}
}
