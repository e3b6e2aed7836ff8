package api

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// told is a store with a story of two projects.
type told struct {
	*lab
	image, theirs, ended, theirRun string
}

func newTold(t *testing.T) told {
	l := newLab(t, nil)
	s := told{lab: l, image: newID(), theirs: newID()}
	// The other project tried to build the name first.
	l.end(l.run(func(r *lineage.Run) { r.Project = other }).ID, lineage.RunRejected)
	second := builtRecord(newID(), "tiny", project)
	second.At = day.AddDate(0, 0, 1)
	l.stored(builtRecord(s.image, "tiny", project), testedRecord(s.image, lineage.Passed), second, builtRecord(s.theirs, "elsewhere", other))
	s.ended = l.run(nil).ID
	l.end(s.ended, lineage.RunFailure)
	s.theirRun = l.run(func(r *lineage.Run) { r.Image, r.Project = "elsewhere", other }).ID
	return s
}

// What the client gives of a story is what the store gives.
func TestClientReadsTheStory(t *testing.T) {
	s := newTold(t)
	c := s.client(s.token(RoleViewer))
	for _, f := range []lineage.Filter{
		{}, {Name: "tiny"}, {Name: "tiny", Limit: 1}, {State: lineage.StatePassed}, {Project: other}, {Since: day.AddDate(0, 0, 1)}, {Name: "none"}, {Limit: -1}, {Cursor: "x"},
	} {
		images, next, err := s.store.Images(t.Context(), f)
		gotImages, gotNext, gotErr := c.Images(t.Context(), f)
		same(t, f, page[lineage.Image]{images, next}, page[lineage.Image]{gotImages, gotNext}, err, gotErr)
		if next != "" {
			f.Cursor = next
			images, next, err = s.store.Images(t.Context(), f)
			gotImages, gotNext, gotErr = c.Images(t.Context(), f)
			same(t, f, page[lineage.Image]{images, next}, page[lineage.Image]{gotImages, gotNext}, err, gotErr)
		}
	}
	for _, ref := range []string{"tiny", s.image, s.image[:30], s.ended, "none", "a b/c?d=e"} {
		for _, limit := range []int{0, 1, -1} {
			want, err := s.store.History(t.Context(), ref, limit)
			got, gotErr := c.History(t.Context(), ref, limit)
			same(t, ref, page[lineage.Entry]{want, ""}, page[lineage.Entry]{got, ""}, err, gotErr)
		}
	}
	for _, f := range []lineage.EventFilter{
		{}, {Image: "tiny"}, {ImageUUID: s.image}, {RunID: s.ended}, {Actor: "ann"}, {Limit: 2}, {RunID: "none"}, {Limit: 1001},
	} {
		events, next, err := s.store.Events(t.Context(), f)
		gotEvents, gotNext, gotErr := c.Events(t.Context(), f)
		same(t, f, page[lineage.Event]{events, next}, page[lineage.Event]{gotEvents, gotNext}, err, gotErr)
	}
}

type page[T any] struct {
	List []T
	Next string
}

func same[T any](t *testing.T, what any, want, got page[T], wantErr, gotErr error) {
	t.Helper()
	a, b := hear("", nil, wantErr), hear("", nil, gotErr)
	if a.Kind != b.Kind || a.Error != b.Error {
		t.Errorf("%+v: the client gives %v, the store %v", what, gotErr, wantErr)
	}
	if len(want.List)+len(got.List) == 0 {
		return
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(lineage.HookEvent{}), cmpopts.IgnoreFields(lineage.HookEvent{}, "Fence")); diff != "" {
		t.Errorf("%+v: -store +client:\n%s", what, diff)
	}
}

// A token of one project sees its story, and no word of others.
func TestStoryOfAProject(t *testing.T) {
	s := newTold(t)
	viewer, both, recorder := s.token(RoleViewer, project), s.token(RoleViewer, project, "group/third"), s.token(RoleRecorder, project)
	names := func(token Secret, query string) []string {
		var names []string
		for _, i := range into[imagesPage](t, s.send("GET", "/api/v1/images"+query, token, nil)).Images {
			names = append(names, i.Name)
		}
		return names
	}
	for query, want := range map[string]string{"": "[tiny tiny]", "?project=" + other: "[]", "?name=elsewhere": "[]"} {
		for _, token := range []Secret{viewer, both} {
			if got := fmt.Sprint(names(token, query)); got != want {
				t.Errorf("images%s = %s, want %s", query, got, want)
			}
		}
	}
	if got := names(recorder, ""); !slices.Contains(got, "elsewhere") {
		t.Errorf("a recorder, who may build from all, sees %v", got)
	}
	h := into[history](t, s.send("GET", "/api/v1/images/tiny/history", viewer, nil))
	if len(h.Entries) != 3 { // two images, and its own run; not the run of the other project
		t.Errorf("history = %+v", h.Entries)
	}
	for path, want := range map[string]string{
		"/api/v1/images/elsewhere/history": CodeNotFound, "/api/v1/images/" + s.theirRun + "/history": CodeNotFound,
		"/api/v1/events": CodeInvalid, "/api/v1/events?actor=ann": CodeInvalid, "/api/v1/events?run_id=" + s.theirRun: CodeNotFound,
		"/api/v1/events?image=elsewhere": CodeNotFound, "/api/v1/events?image_uuid=" + s.theirs: CodeNotFound,
		"/api/v1/events?image=elsewhere&run_id=" + s.ended: CodeNotFound, "/api/v1/caps?project=" + other: CodeNotFound, "/api/v1/caps": CodeInvalid,
	} {
		for _, token := range []Secret{viewer, recorder} {
			if token == recorder && path == "/api/v1/images/elsewhere/history" {
				continue // it sees the image
			}
			if got := s.send("GET", path, token, nil); got.code(t) != want {
				t.Errorf("%s: HTTP %d %s, want %s", path, got.status, got.body, want)
			}
		}
	}
	for _, query := range []string{"image=tiny", "image_uuid=" + s.image, "run_id=" + s.ended} {
		events := into[eventsPage](t, s.send("GET", "/api/v1/events?"+query, viewer, nil)).Events
		if len(events) == 0 {
			t.Errorf("no events of %s", query)
		}
		for _, e := range events {
			if e.State == lineage.RunRejected {
				t.Errorf("%s tells of another project's run: %+v", query, e)
			}
		}
	}
}

// What the server does not know, no Jenkins build records; people may.
func TestUnconfiguredProject(t *testing.T) {
	l := newLab(t, func(c *Config) {
		c.Caps = func(of string) (definition.Policy, error) {
			if of != project {
				return definition.Policy{}, fmt.Errorf("project %s: %w", of, lineage.ErrNotFound)
			}
			return definition.Policy{Project: of, ReleaseRefs: []string{"main"}}, nil
		}
	})
	run := l.run(func(r *lineage.Run) { r.Image, r.Project = "elsewhere", other })
	l.stored(builtRecord(run.ID, "elsewhere", other), testedRecord(run.ID, lineage.Passed))
	recorder, admin, operator, releaser := l.token(RoleRecorder, other), l.token(RoleAdmin), l.token(RoleOperator), l.token(RoleReleaser)
	before := l.audit()
	opened := movedRecord(newID(), lineage.RunBuilding)
	opened.Run.Image, opened.Run.Project = "elsewhere", other
	for _, r := range []lineage.Record{testedRecord(run.ID, lineage.Passed), releasedRecord(run.ID, "alpha", lineage.TargetHidden, ""), opened} {
		got := l.post(recorder, &seven, r)
		if got.code(t) != CodeRefused || problemIn(t, got).Rule != ruleConfigured {
			t.Errorf("%s: HTTP %d %s, want it refused by %s", r.Verb, got.status, got.body, ruleConfigured)
		}
	}
	if after := l.audit(); after != before {
		t.Errorf("%d events were written", after-before)
	}
	if got := l.send("POST", "/api/v1/runs", operator, NewRun{Image: "elsewhere", Commit: "beef"}); got.code(t) != CodeRefused {
		t.Errorf("a start: HTTP %d %s", got.status, got.body)
	}
	detail := into[RunDetail](t, l.send("GET", "/api/v1/runs/"+run.ID, recorder, nil))
	if detail.ID != run.ID || detail.Caps != nil {
		t.Errorf("the run = %+v", detail)
	}
	if got := l.post(releaser, nil, releasedRecord(run.ID, "alpha", lineage.TargetVisible, newID())); got.status != 200 {
		t.Errorf("a person releases: HTTP %d %s", got.status, got.body)
	}
	var refused *definition.Refused
	if _, err := l.client(recorder).Caps(t.Context(), other); !errors.As(err, &refused) || refused.Rule != ruleConfigured || refused.Project != other {
		t.Errorf("a recorder's caps = %v", err)
	}
	c := l.client(admin)
	if caps, err := c.Caps(t.Context(), other); err != nil || !caps.MayRelease {
		t.Errorf("a person's caps = %+v, %v", caps, err)
	}
	caps, err := c.Caps(t.Context(), project)
	if p := caps.Policy(project); err != nil || !p.MayRelease("main") || p.MayRelease("feature") {
		t.Errorf("caps = %+v, %v", caps, err)
	}
}
