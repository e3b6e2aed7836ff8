package api

import (
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// heard puts a push into the inbox, and what became of it.
func (l *lab) heard(of, ref, state, reason string) {
	l.t.Helper()
	ctx := l.t.Context()
	if _, err := l.store.AcceptEvents(ctx, []lineage.HookEvent{{
		Instance: "https://gitlab.example", Key: newID(), Event: "push", Project: of, Ref: ref, Actor: "ann",
		Before: strings.Repeat("a", 40), After: strings.Repeat("b", 40), Payload: []byte(`{"body": "canary"}`),
	}}); err != nil {
		l.t.Fatal(err)
	}
	events, err := l.store.ClaimEvents(ctx, "test", 1, time.Minute)
	if err != nil || len(events) != 1 {
		l.t.Fatalf("claimed %d events, %v", len(events), err)
	}
	if _, err := l.store.HandleEvent(ctx, lineage.Handled{Event: events[0].ID, Fence: events[0].Fence, State: state, Reason: reason}); err != nil {
		l.t.Fatal(err)
	}
}

// Why a push was not built can be asked: by the client as in the store, without
// what GitLab has sent, and by a token of some projects of these only.
func TestPushes(t *testing.T) {
	l := newLab(t, nil)
	const main, tag = "refs/heads/main", "refs/tags/v1"
	l.heard(project, main, lineage.EventHandled, "3 files changed; unaffected tiny (no file of it changed)")
	l.heard(project, tag, lineage.EventIgnored, "tags are not built")
	l.heard(other, main, lineage.EventIgnored, "came late")
	c := l.client(l.token(RoleViewer))
	for _, f := range []lineage.HookFilter{
		{}, {Project: project}, {Project: project, Ref: main}, {Project: project, Ref: tag}, {Project: "group/none"}, {Limit: 1}, {Limit: 2, Project: project},
		{Ref: main}, {Limit: -1}, {Cursor: "x"},
	} {
		pushes, next, err := l.store.HookEvents(t.Context(), f)
		got, gotNext, gotErr := c.Pushes(t.Context(), f)
		same(t, f, page[lineage.HookEvent]{pushes, next}, page[lineage.HookEvent]{got, gotNext}, err, gotErr)
		if next == "" {
			continue
		}
		f.Cursor = next
		pushes, next, err = l.store.HookEvents(t.Context(), f)
		got, gotNext, gotErr = c.Pushes(t.Context(), f)
		same(t, f, page[lineage.HookEvent]{pushes, next}, page[lineage.HookEvent]{got, gotNext}, err, gotErr)
	}
	if got, _, err := c.Pushes(t.Context(), lineage.HookFilter{Project: project, Ref: "main"}); err != nil || len(got) != 1 || !strings.Contains(got[0].Reason, "unaffected tiny") {
		t.Errorf("of a branch by its name = %+v, %v", got, err)
	}
	one, two, recorder := l.token(RoleViewer, project), l.token(RoleOperator, project, "group/third"), l.token(RoleRecorder, project)
	for _, token := range []Secret{one, two, recorder} {
		for query, want := range map[string]int{"": 2, "?limit=1": 1, "?project=" + project: 2, "?project=" + project + "&ref=main": 1, "?project=" + other: 0, "?project=" + other + "&limit=1": 0} {
			got := l.send("GET", "/api/v1/pushes"+query, token, nil)
			list := into[pushesPage](t, got)
			if query == "?limit=1" && token == two {
				want = 0 // the last one is that of another project
			}
			if len(list.Pushes) != want || strings.Contains(string(got.body), other) {
				t.Errorf("pushes%s = %s, want %d", query, got.body, want)
			}
			if strings.Contains(query, other) && list.Next != "" {
				t.Errorf("pushes%s tells that there are more: %s", query, got.body)
			}
			if strings.Contains(string(got.body), "canary") {
				t.Errorf("pushes%s shows what gitlab has sent: %s", query, got.body)
			}
		}
	}
}
