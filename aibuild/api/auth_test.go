package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// endpoint is one line of the matrix: who may, and what they get then.
type endpoint struct {
	method, path string
	body         any
	roles        []string
	status       int
}

func (l *lab) endpoints(run, ended, image string) []endpoint {
	all, steer := Roles(), []string{RoleOperator, RoleReleaser, RoleAdmin}
	release, change := []string{RoleReleaser, RoleAdmin}, ImageChange{Reason: "because"}
	write := []string{RoleReleaser, RoleAdmin, RoleRecorder}
	return []endpoint{
		{"GET", "/api/v1/runs", nil, all, 200},
		{"GET", "/api/v1/runs/" + run, nil, all, 200},
		{"GET", "/api/v1/runs/" + run + "/log", nil, all, 404},
		{"GET", "/api/v1/runs/" + ended + "/log/follow", nil, all, 404},
		{"GET", "/api/v1/resolve?name=tiny", nil, all, 200},
		{"GET", "/api/v1/images/tiny", nil, all, 200},
		{"GET", "/api/v1/images", nil, all, 200},
		{"GET", "/api/v1/images/tiny/history", nil, all, 200},
		{"GET", "/api/v1/images/tiny/packages", nil, all, 200},
		{"GET", "/api/v1/search?q=tin", nil, all, 200},
		{"GET", "/api/v1/images/tiny/cells", nil, all, 200},
		{"GET", "/api/v1/images/tiny/family", nil, all, 200},
		{"GET", "/api/v1/clusters", nil, all, 200},
		{"GET", "/api/v1/images/tiny/evidence/evidence%2Fa.log", nil, all, 404},
		{"GET", "/api/v1/packages/openssl", nil, all, 200},
		{"GET", "/api/v1/diff?from=tiny&to=tiny", nil, all, 200},
		{"GET", "/api/v1/events?run_id=" + run, nil, all, 200},
		{"GET", "/api/v1/pushes?project=" + project + "&ref=main", nil, all, 200},
		{"GET", "/api/v1/caps?project=" + project, nil, all, 200},
		{"POST", "/api/v1/images/tiny/release", change, release, 200},
		{"POST", "/api/v1/images/tiny/rollback", change, release, 200},
		{"POST", "/api/v1/images/tiny/revoke", change, release, 200},
		{"POST", "/api/v1/images/tiny/restore", change, release, 200},
		{"POST", "/api/v1/images/tiny/hold", change, release, 200},
		{"POST", "/api/v1/runs", map[string]any{"image_name": "tiny", "build": Build{Job: "j", Number: 1}}, []string{RoleOperator, RoleReleaser, RoleAdmin, RoleRecorder}, 0},
		{"POST", "/api/v1/runs/" + run + "/cancel", nil, steer, 200},
		{"POST", "/api/v1/runs/" + ended + "/retry", nil, steer, 201},
		{"POST", "/api/v1/records", recordBatch{RunID: run, Build: &Build{Job: "aibuild/build", Number: 7}, Records: []lineage.Record{
			{ID: newID(), At: day, Actor: "x", Verb: "noted", ImageUUID: image, Channel: "cli"}}}, write, 200},
		{"POST", "/api/v1/locks", lockRequest{ID: "11111111-2222-4333-8444-555555555555", Name: "tiny"}, write, 0},
		{"POST", "/api/v1/locks/nothing/renew", nil, write, 410},
		{"DELETE", "/api/v1/locks/nothing", nil, write, 410},
	}
}

// Every operation that is described is in the matrix, so that none can be
// added without its roles being tested.
func TestMatrixIsComplete(t *testing.T) {
	l := newLab(t, nil)
	var have []string
	for _, e := range l.endpoints("RUN", "RUN", "IMAGE") {
		path, _, _ := strings.Cut(e.path, "?")
		path = strings.NewReplacer("/runs/RUN", "/runs/{id}", "/images/tiny", "/images/{ref}", "/packages/openssl", "/packages/{name}", "evidence%2Fa.log", "{file...}", "/locks/nothing", "/locks/{id}").Replace(path)
		have = append(have, e.method+" "+path)
	}
	for pattern := range l.api.rights {
		if !slices.Contains(have, pattern) {
			t.Errorf("%s is not in the matrix of roles", pattern)
		}
	}
	if len(have) != len(l.api.rights) {
		t.Errorf("%d lines, %d operations", len(have), len(l.api.rights))
	}
}

func TestRoles(t *testing.T) {
	for _, role := range Roles() {
		t.Run(role, func(t *testing.T) {
			l := newLab(t, func(c *Config) { c.Actor = &helper{} })
			run := l.run(nil)
			ended := l.run(nil)
			l.stored(builtRecord(run.ID, "tiny", project))
			l.end(ended.ID, lineage.RunFailure)
			var projects []string
			if role == RoleRecorder {
				projects = []string{project}
			}
			token := l.token(role, projects...)
			for _, e := range l.endpoints(run.ID, ended.ID, run.ID) {
				got := l.send(e.method, e.path, token, e.body)
				allowed := slices.Contains(e.roles, role)
				switch {
				case !allowed && (got.status != http.StatusForbidden || got.code(t) != CodeForbidden):
					t.Errorf("%s %s as %s: HTTP %d %s, want 403 forbidden", e.method, e.path, role, got.status, got.body)
				case allowed && got.status == http.StatusForbidden && e.status != 0:
					t.Errorf("%s %s as %s: refused: %s", e.method, e.path, role, got.body)
				case allowed && e.status != 0 && got.status != e.status:
					t.Errorf("%s %s as %s: HTTP %d, want %d: %s", e.method, e.path, role, got.status, e.status, got.body)
				}
			}
		})
	}
}

// Without a token everything below /api is 401, whatever it is, before it is
// read or looked for; with the wrong role it is 403 before it is read.
func TestTokenComesFirst(t *testing.T) {
	l := newLab(t, func(c *Config) { c.OpenPages = true }) // the most open that there is, as with --dev
	run := l.run(nil)
	expired, hash := NewToken()
	if _, err := l.store.CreateToken(t.Context(), lineage.Token{Name: "old", Role: RoleAdmin, CreatedBy: "t", ExpiresAt: time.Now().Add(-time.Minute)}, hash); err != nil {
		t.Fatal(err)
	}
	revoked, hash := NewToken()
	if _, err := l.store.CreateToken(t.Context(), lineage.Token{Name: "gone", Role: RoleAdmin, CreatedBy: "t"}, hash); err != nil {
		t.Fatal(err)
	}
	if _, err := l.store.RevokeToken(t.Context(), "gone", "t"); err != nil {
		t.Fatal(err)
	}
	strange, hash := NewToken()
	if _, err := l.store.CreateToken(t.Context(), lineage.Token{Name: "strange", Role: "emperor", CreatedBy: "t"}, hash); err != nil {
		t.Fatal(err)
	}
	unknown, _ := NewToken()
	tokens := map[string]Secret{"none": "", "expired": expired, "revoked": revoked, "unknown": unknown, "of a strange role": strange, "malformed": "aib_short", "not ours": "glpat-0123456789"}
	paths := []endpoint{{"GET", "/api", nil, nil, 0}, {"GET", "/api/v1", nil, nil, 0}, {"GET", "/api/v1/nothing", nil, nil, 0}, {"PUT", "/api/v1/runs", "{}", nil, 0},
		{"POST", "/api/v1/records", "not json", nil, 0}, {"POST", "/api/v1/records", strings.Repeat("x", bodyLimit+2), nil, 0}, {"GET", "/api/v1/runs/../runs", nil, nil, 0}}
	for what, token := range tokens {
		for _, e := range append(l.endpoints(run.ID, run.ID, run.ID), paths...) {
			got := l.send(e.method, e.path, token, e.body)
			if got.status != http.StatusUnauthorized || got.code(t) != CodeUnauthorized || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s %s with a token that is %s: HTTP %d %.100s, want 401", e.method, e.path, what, got.status, got.body)
			}
		}
	}
	viewer := l.token(RoleViewer)
	for _, body := range []string{"not json", strings.Repeat("x", bodyLimit+2), ""} {
		if got := l.send("POST", "/api/v1/records", viewer, body); got.code(t) != CodeForbidden {
			t.Errorf("wrong role: HTTP %d %.100s, want 403 before the body is read", got.status, got.body)
		}
	}
	if got := l.send("POST", "/api/v1/runs/no-such-run/cancel", viewer, nil); got.code(t) != CodeForbidden {
		t.Errorf("wrong role: HTTP %d %.100s, want 403 before the run is looked for", got.status, got.body)
	}
}

// A token of some projects sees and changes their runs only.
func TestTokensOfProjects(t *testing.T) {
	l := newLab(t, nil)
	mine := l.run(nil)
	theirs := l.run(func(r *lineage.Run) { r.Image, r.Project = "elsewhere", other })
	l.stored(builtRecord(mine.ID, "tiny", project), builtRecord(theirs.ID, "elsewhere", other), testedRecord(theirs.ID, lineage.Passed))
	l.end(theirs.ID, lineage.RunFailure)
	viewer, operator, recorder := l.token(RoleViewer, project), l.token(RoleOperator, project, "group/third"), l.token(RoleRecorder, project)
	for _, token := range []Secret{viewer, operator, recorder} {
		page := into[runsPage](t, l.send("GET", "/api/v1/runs", token, nil))
		if len(page.Runs) != 1 || page.Runs[0].ID != mine.ID {
			t.Errorf("runs = %+v, want those of the project", page.Runs)
		}
		if got := l.send("GET", "/api/v1/runs?project="+other, token, nil); len(into[runsPage](t, got).Runs) != 0 {
			t.Errorf("runs of another project: %s", got.body)
		}
		if got := l.send("GET", "/api/v1/runs/"+theirs.ID, token, nil); got.code(t) != CodeNotFound {
			t.Errorf("a run of another project: HTTP %d, want not_found", got.status)
		}
	}
	if got := l.send("POST", "/api/v1/runs/"+theirs.ID+"/cancel", operator, nil); got.code(t) != CodeOtherProject {
		t.Errorf("cancel a run of another project: HTTP %d %s", got.status, got.body)
	}
	if got := l.send("POST", "/api/v1/runs/"+theirs.ID+"/retry", operator, nil); got.code(t) != CodeOtherProject {
		t.Errorf("retry a run of another project: HTTP %d %s", got.status, got.body)
	}
	if got := l.send("POST", "/api/v1/runs", operator, NewRun{Image: "elsewhere"}); got.code(t) != CodeOtherProject {
		t.Errorf("start an image of another project: HTTP %d %s", got.status, got.body)
	}
	for _, query := range []string{"/api/v1/images/elsewhere", "/api/v1/resolve?ref=" + theirs.ID, "/api/v1/resolve?name=elsewhere&good=true"} {
		if got := l.send("GET", query, viewer, nil); got.code(t) != CodeNotFound {
			t.Errorf("%s of another project: HTTP %d %s", query, got.status, got.body)
		}
		if got := l.send("GET", query, recorder, nil); got.status != http.StatusOK {
			t.Errorf("%s as a recorder, who may build from it: HTTP %d %s", query, got.status, got.body)
		}
	}
	l.stored(releasedRecord(theirs.ID, "alpha", lineage.TargetVisible, newID()))
	const then = "/api/v1/resolve?name=elsewhere&cluster=alpha&at=2025-11-23T00:00:00Z"
	if got := l.send("GET", then, viewer, nil); got.code(t) != CodeNotFound || strings.Contains(string(got.body), theirs.ID) {
		t.Errorf("what a cluster showed of another project: HTTP %d %s", got.status, got.body)
	}
	if got := into[imageList](t, l.send("GET", then, recorder, nil)); len(got.Images) != 1 || got.Images[0].UUID != theirs.ID {
		t.Errorf("what a cluster showed, to a recorder: %+v", got)
	}
	for _, query := range []string{"?at=yesterday", "?name=tiny&at=2025-11-23T00:00:00Z", "?name=tiny&cluster=alpha&good=true&at=2025-11-23T00:00:00Z"} {
		if got := l.send("GET", "/api/v1/resolve"+query, viewer, nil); got.code(t) != CodeInvalid {
			t.Errorf("%s: HTTP %d %s", query, got.status, got.body)
		}
	}
	if got := into[imageList](t, l.send("GET", "/api/v1/resolve?name=elsewhere", viewer, nil)); len(got.Images) != 0 {
		t.Errorf("images of another project: %+v", got.Images)
	}
}
