package lineage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func opened(run Run, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "jenkins", Channel: "api", Verb: VerbOpened, Run: &run}
}

func moved(runID, state, reason string, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "daemon", Channel: "daemon", RunID: runID, Verb: VerbMoved, Reason: reason, Run: &Run{State: state}}
}

func getRun(t *testing.T, s *Store, runID string) Run {
	t.Helper()
	r, err := s.Run(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRunMovesToItsEnd(t *testing.T) {
	s := newStore(t)
	runID := id()
	record(t, s,
		opened(Run{ID: runID, Image: "tiny", Project: "ops/images", Ref: "refs/heads/main", Commit: "c0ffee", HeadSeq: 3, Folder: "images/tiny", From: "build"}, day),
		moved(runID, RunQueued, "waits for job aibuild/build", day.Add(time.Second)),
		Record{ID: id(), At: day.Add(2 * time.Second), RunID: runID, Verb: VerbMoved, Run: &Run{State: RunBuilding, Stage: "build", Worker: "host/1/2", JenkinsJob: "aibuild/build", QueueID: 7, Build: 12, BuildTag: "jenkins-aibuild-build-12"}},
	)
	r := getRun(t, s, runID)
	if r.State != RunBuilding || r.Reason != "" || r.Attempt != 1 || r.Build != 12 || !r.StartedAt.Equal(day.Add(2*time.Second)) || r.Final() {
		t.Errorf("run = %+v", r)
	}
	failure := &Failure{Stage: "test", Blame: BlameImage, Sentence: "case disk/grows failed", Lines: []string{"a", "b"}, Next: "aibuild retry " + runID}
	end := Record{ID: id(), At: day.Add(time.Minute), RunID: runID, Verb: VerbEnded, Reason: "tests failed", Run: &Run{State: RunUnstable, Failure: failure, ExitCode: new(3)}}
	record(t, s, end, end)
	record(t, s, moved(runID, RunBuilding, "late", day.Add(3*time.Second))) // delivered late
	r = getRun(t, s, runID)
	if r.State != RunUnstable || r.Reason != "tests failed" || !r.FinishedAt.Equal(day.Add(time.Minute)) || *r.ExitCode != 3 || !r.Final() {
		t.Errorf("run = %+v", r)
	}
	if diff := cmp.Diff(failure, r.Failure); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
	if err := s.Record(t.Context(), moved(runID, RunSuccess, "", day.Add(time.Hour))); !is[*Conflict](err) {
		t.Errorf("another end: %v, want *Conflict", err)
	}
}

func TestOneRunPerPushAndAttempt(t *testing.T) {
	s := newStore(t)
	push := func() Run {
		return Run{ID: id(), Image: "tiny", Project: "ops/images", Ref: "refs/heads/main", HeadSeq: 9}
	}
	first := push()
	record(t, s, opened(first, day))
	if err := s.Record(t.Context(), opened(push(), day)); !is[*Conflict](err) {
		t.Errorf("second run of a push: %v, want *Conflict", err)
	}
	next := push()
	next.HeadSeq = 10
	second := Run{ID: id(), RetryOf: first.ID, State: RunQueued}
	third := Run{ID: id(), RetryOf: first.ID, State: RunQueued} // of the same one again
	local, local2 := Run{ID: id(), Image: "tiny", Project: "ops/images"}, Run{ID: id(), Image: "tiny", Project: "ops/images"}
	record(t, s, opened(next, day), opened(second, day), opened(third, day), opened(local, day), opened(local2, day))
	for _, c := range []struct {
		id      string
		attempt int
		head    int64
	}{{first.ID, 1, 9}, {next.ID, 1, 10}, {second.ID, 2, 9}, {third.ID, 3, 9}, {local.ID, 1, 0}, {local2.ID, 1, 0}} {
		if r := getRun(t, s, c.id); r.Attempt != c.attempt || r.HeadSeq != c.head || r.Image != "tiny" {
			t.Errorf("run = %+v, want attempt %d of head %d", r, c.attempt, c.head)
		}
	}
	if err := s.Record(t.Context(), opened(Run{ID: id(), RetryOf: id()}, day)); !errors.Is(err, ErrNotFound) {
		t.Errorf("retry of an unknown run: %v, want ErrNotFound", err)
	}
	// Retries at once: each its attempt.
	errs := make(chan error, 6)
	for range cap(errs) {
		go func() {
			errs <- s.Record(context.WithoutCancel(t.Context()), opened(Run{ID: id(), RetryOf: local.ID}, day))
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := count(t, s, "run", "first_run = ? AND attempt BETWEEN 2 AND 7", local.ID); n != 6 {
		t.Errorf("%d retries, want 6", n)
	}
}

func TestRunKnowsItsImage(t *testing.T) {
	s := newStore(t)
	run := Run{ID: id(), Image: "tiny", State: RunBuilding}
	built := builtRecord(run.ID, "tiny", day)
	built.ImageUUID, built.RunID = "", run.ID // the run's id is the image's uuid
	record(t, s, opened(run, day), built)
	late := Run{ID: id(), Image: "tiny", State: RunSuccess}
	record(t, s, builtRecord(late.ID, "tiny", day), opened(late, day)) // delivered in the wrong order
	if r := getRun(t, s, late.ID); r.ImageUUID != late.ID {
		t.Errorf("image of late run = %q, want %s", r.ImageUUID, late.ID)
	}
	if r := getRun(t, s, run.ID); r.ImageUUID != run.ID {
		t.Errorf("image of run = %q, want %s", r.ImageUUID, run.ID)
	}
	retry := Run{ID: id(), RetryOf: run.ID, ImageUUID: run.ID, From: "test", State: RunBuilding}
	record(t, s, opened(retry, day))
	if image := resolve(t, s, retry.ID); image.UUID != run.ID {
		t.Errorf("the retry's id resolves to %s, want %s", image.UUID, run.ID)
	}
}

// all walks the pages of a list.
func all[T any](t *testing.T, page func(cursor string) ([]T, string, error)) []T {
	t.Helper()
	var got []T
	for at := ""; ; {
		list, next, err := page(at)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, list...)
		if next == "" {
			return got
		}
		at = next
	}
}

// seven images of one name, each by a run, most at the same time.
func seven(t *testing.T) (s *Store, images, runs []string) {
	t.Helper()
	s = newStore(t)
	for i := range 7 {
		run := Run{ID: id(), Image: "tiny", Project: "p", State: RunBuilding}
		built := builtRecord(id(), "tiny", day)
		built.Built.Project = "p"
		built.RunID = run.ID
		if i%2 == 1 {
			built.Built.BuiltAt = day.Add(time.Duration(i) * time.Hour)
		}
		record(t, s, opened(run, day), built)
		images, runs = append(images, built.ImageUUID), append(runs, run.ID)
	}
	return s, images, runs
}

func TestPagesOfImages(t *testing.T) {
	s, images, _ := seven(t)
	want := []string{images[5], images[3], images[1], images[6], images[4], images[2], images[0]}
	for _, f := range []Filter{{Limit: 3}, {Limit: 1, Name: "tiny"}, {Limit: 2, Project: "p"}, {Limit: 7, State: StateBuilt}, {Limit: 3, Name: "tiny", State: StateBuilt}, {Project: "p", State: StateBuilt}} {
		var got []string
		for _, i := range all(t, func(at string) ([]Image, string, error) { f.Cursor = at; return s.Images(t.Context(), f) }) {
			got = append(got, i.UUID)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", f, diff)
		}
	}
	if page, _, err := s.Images(t.Context(), Filter{Since: day.Add(2 * time.Hour)}); err != nil || len(page) != 2 {
		t.Errorf("since: %d images, %v; want 2", len(page), err)
	}
	for _, f := range []Filter{{Cursor: "x"}, {Cursor: "bm9wZQ"}, {Limit: 1001}, {Limit: -1}} {
		if _, _, err := s.Images(t.Context(), f); !is[*Invalid](err) {
			t.Errorf("%+v: %v, want *Invalid", f, err)
		}
	}
}

func TestPagesOfRuns(t *testing.T) {
	s, _, runs := seven(t)
	slices.Reverse(runs)
	for _, f := range []RunFilter{{Limit: 3}, {Limit: 2, Image: "tiny"}, {Limit: 4, Project: "p"}, {State: RunBuilding}, {Limit: 1, Unfinished: true}, {Image: "tiny", State: RunBuilding}} {
		var got []string
		for _, r := range all(t, func(at string) ([]Run, string, error) { f.Cursor = at; return s.Runs(t.Context(), f) }) {
			got = append(got, r.ID)
		}
		if diff := cmp.Diff(runs, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", f, diff)
		}
	}
}

// A misspelt state is no reason to say that there is nothing.
func TestListsKnowTheirStates(t *testing.T) {
	s := newStore(t)
	_, _, images := s.Images(t.Context(), Filter{State: "relaesed"})
	_, _, runs := s.Runs(t.Context(), RunFilter{State: "relaesed"})
	for what, err := range map[string]error{"images": images, "runs": runs} {
		if invalid, ok := errors.AsType[*Invalid](err); !ok || invalid.Field != "state" || !strings.Contains(err.Error(), "relaesed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPagesOfEvents(t *testing.T) {
	s, images, runs := seven(t)
	for f, want := range map[EventFilter]int{{Limit: 4}: 14, {Limit: 4, Image: "tiny"}: 14, {Limit: 1, ImageUUID: images[0]}: 1, {RunID: runs[0]}: 2, {Actor: "ann", Limit: 3}: 7} {
		seen := map[string]bool{}
		events := all(t, func(at string) ([]Event, string, error) { f.Cursor = at; return s.Events(t.Context(), f) })
		for _, e := range events {
			seen[e.RecordID] = true
		}
		if len(events) != want || len(seen) != want {
			t.Errorf("%+v: %d events, %d different; want %d", f, len(events), len(seen), want)
		}
	}
}
