package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// An address is what the mux takes it for: an escaped slash in a name is part
// of the name, and no spelling of an address comes past the right to it.
func TestEscapedAddresses(t *testing.T) {
	l := newLab(t, nil)
	run := l.run(nil)
	l.stored(builtRecord(run.ID, "tiny", project), publishedRecord(run.ID))
	viewer, admin := l.token(RoleViewer), l.token(RoleAdmin)
	strange := []string{"a%2F%2Fb", "a%2F..%2Fb", "a%2F."}
	for _, id := range strange {
		for _, e := range []endpoint{
			{"POST", "/api/v1/runs/" + id + "/cancel", "not json", nil, 0}, {"POST", "/api/v1/runs/" + id + "/retry", "not json", nil, 0},
			{"POST", "/api/v1/locks/" + id + "/renew", nil, nil, 0}, {"DELETE", "/api/v1/locks/" + id, nil, nil, 0},
		} {
			if got := l.send(e.method, e.path, viewer, e.body); got.code(t) != CodeForbidden {
				t.Errorf("%s %s as a viewer: HTTP %d %s, want 403 before anything is looked for", e.method, e.path, got.status, got.body)
			}
			if got := l.send(e.method, e.path, "", e.body); got.code(t) != CodeUnauthorized {
				t.Errorf("%s %s without a token: HTTP %d %s", e.method, e.path, got.status, got.body)
			}
		}
		if got := l.send("GET", "/api/v1/runs/"+id, admin, nil); got.code(t) != CodeNotFound || !strings.Contains(string(got.body), "run ") {
			t.Errorf("run %s: HTTP %d %s, want that there is no such run", id, got.status, got.body)
		}
	}
	if got := l.send("GET", "/api/v1/images/http:%2F%2Fweb%2Fimages%2Frelease%2Ftiny%2F"+run.ID+"%2Ftiny.qcow2", admin, nil); got.status != 200 {
		t.Errorf("an image by its address: HTTP %d %s", got.status, got.body)
	}
}

// A person's token of some projects leaves no trace in others: no event in
// their runs, and no name that becomes theirs.
func TestPersonsStayInTheirProjects(t *testing.T) {
	l := newLab(t, nil)
	mine := l.run(nil)
	theirs := l.run(func(r *lineage.Run) { r.Image, r.Project = "elsewhere", other })
	l.stored(builtRecord(mine.ID, "tiny", project))
	admin, both := l.token(RoleAdmin, project), l.token(RoleAdmin, project, other)
	transfer := lineage.Record{ID: newID(), At: day, Verb: lineage.VerbMovedTo, ImageUUID: mine.ID, Marked: &lineage.Mark{Project: other}}
	verdict := testedRecord(mine.ID, lineage.Passed)
	verdict.RunID = theirs.ID
	built := builtRecord(newID(), "tiny", project)
	built.RunID = theirs.ID
	event := lineage.Record{ID: newID(), At: day, Verb: "noted", RunID: theirs.ID}
	before := l.audit()
	for _, tt := range []struct {
		name   string
		record lineage.Record
	}{{"a verdict under their run", verdict}, {"an image under their run", built}, {"an event of their run", event}, {"a transfer away", transfer}} {
		if got := l.post(admin, nil, tt.record); got.code(t) != CodeOtherProject {
			t.Errorf("%s: HTTP %d %s", tt.name, got.status, got.body)
		}
	}
	if after := l.audit(); after != before {
		t.Errorf("%d events were written", after-before)
	}
	if got := l.post(both, nil, transfer); got.status != http.StatusOK {
		t.Errorf("a transfer between the token's projects: HTTP %d %s", got.status, got.body)
	}
}

// What is another project's is told in the words of what there is not.
func TestOthersImagesAreNotTold(t *testing.T) {
	l := newLab(t, nil)
	one := newID()
	two := one[:len(one)-4] + "beef"
	if two == one {
		two = one[:len(one)-4] + "cafe"
	}
	bad, mine := newID(), newID()
	l.stored(builtRecord(one, "elsewhere", other), builtRecord(two, "elsewhere-2", other), builtRecord(bad, "elsewhere", other), testedRecord(bad, lineage.FailedTest),
		builtRecord(mine, "tiny", project), testedRecord(mine, lineage.FailedTest))
	viewer := l.token(RoleViewer, project)
	nothing := strings.Repeat("e", 13)
	for _, tt := range []struct{ query, none string }{
		{"ref=" + one[:len(one)-4], "ref=" + nothing}, {"ref=" + bad + "&good=true", "ref=" + nothing + "&good=true"}, {"name=elsewhere&good=true", "name=nothing&good=true"},
	} {
		got, none := l.send("GET", "/api/v1/resolve?"+tt.query, viewer, nil), l.send("GET", "/api/v1/resolve?"+tt.none, viewer, nil)
		if got.code(t) != CodeNotFound || none.code(t) != CodeNotFound {
			t.Errorf("%s: HTTP %d %s, as nothing at all: HTTP %d", tt.query, got.status, got.body, none.status)
		}
		text := func(r reply, query string) string {
			name, _, _ := strings.Cut(query[strings.Index(query, "=")+1:], "&")
			p := problemIn(t, r)
			return strings.ReplaceAll(p.Detail, name, "X")
		}
		if a, b := text(got, tt.query), text(none, tt.none); a != b {
			t.Errorf("%s is told as %q, nothing at all as %q", tt.query, a, b)
		}
	}
	if got := l.send("GET", "/api/v1/resolve?ref="+mine+"&good=true", viewer, nil); got.code(t) != CodeNotFound || !strings.Contains(string(got.body), "not good") {
		t.Errorf("its own: HTTP %d %s, want why", got.status, got.body)
	}
}

func problemIn(t *testing.T, r reply) Problem {
	t.Helper()
	var p Problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatal(err)
	}
	return p
}

// A retry whose answer was lost is sent again, and opens one run.
func TestRetryIsRepeatable(t *testing.T) {
	l := newLab(t, nil)
	run := l.run(nil)
	l.end(run.ID, lineage.RunFailure)
	inner := l.api.Handler()
	var lost atomic.Int64
	gate := newBehind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost.Add(1) == 1 {
			inner.ServeHTTP(&probe{header: http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))
	c := &Client{URL: gate.http.URL, Token: l.token(RoleOperator)}
	defer c.Close()
	again, err := c.Retry(t.Context(), run.ID, RetryOptions{})
	if err != nil || again.RetryOf != run.ID || again.Attempt != 2 || lost.Load() != 2 {
		t.Errorf("retry = %+v, %v after %d requests", again.Run, err, lost.Load())
	}
	if runs, _, err := l.store.Runs(t.Context(), lineage.RunFilter{Image: "tiny"}); err != nil || len(runs) != 2 {
		t.Errorf("%d runs, %v; want the first and one retry", len(runs), err)
	}
	elsewhere := l.run(nil)
	l.end(elsewhere.ID, lineage.RunFailure)
	if _, err := c.Retry(t.Context(), elsewhere.ID, RetryOptions{RunID: again.ID}); !isA[*lineage.Conflict](err) {
		t.Errorf("the id of another retry = %v", err)
	}
	if _, err := c.Retry(t.Context(), elsewhere.ID, RetryOptions{RunID: "74738ff5-5367-4958-9aee-98fffdcd1876"}); !isA[*lineage.Invalid](err) {
		t.Errorf("an id of another kind = %v", err)
	}
}
