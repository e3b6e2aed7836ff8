package api

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Whatever answers in place of the server, the client says what it is.
func TestClientAndStrangers(t *testing.T) {
	problem := func(p Problem) string {
		return string(must(t, p))
	}
	tests := []struct {
		name    string
		handler http.Handler
		want    func(error) bool
		says    string
	}{
		{"502", answers(502, "text/html", "<html>bad gateway</html>"), isA[*lineage.Unavailable], "HTTP 502"},
		{"503 of a proxy", answers(503, "text/html", "<html>maintenance</html>"), isA[*lineage.Unavailable], "HTTP 503"},
		{"429", answers(429, "text/plain", "slow down"), isA[*lineage.Unavailable], "HTTP 429"},
		{"the database is away", answers(503, problemType, problem(Problem{Status: 503, Code: CodeUnavailable, Detail: "database"})), isA[*lineage.Unavailable], "database"},
		{"a fault", answers(500, problemType, problem(Problem{Status: 500, Code: CodeInternal, Detail: "a fault"})), isA[*lineage.Unavailable], "a fault"},
		{"a login page", answers(200, "text/html", "<html>log in</html>"), isA[*NotAServer], "text/html"},
		{"another 404", answers(404, "text/html", "<html>nothing</html>"), isA[*NotAServer], "HTTP 404"},
		{"a redirect", http.RedirectHandler("https://elsewhere.example/login?next=secret", http.StatusFound), isA[*NotAServer], "elsewhere.example"},
		{"other JSON", answers(200, "application/json", `[1]`), isA[*NotAServer], "cannot be read"},
		{"cut JSON", answers(200, "application/json", `{"images":[{"image_uuid":`), isA[*NotAServer], "cannot be read"},
		{"a code of the future", answers(418, problemType, problem(Problem{Status: 418, Code: "teapot", Detail: "short and stout"})), isA[*Denied], "short and stout"},
		{"unauthorized", answers(401, problemType, problem(Problem{Status: 401, Code: CodeUnauthorized, Detail: "no token"})), isA[*Denied], "no token"},
		{"refused by a rule", answers(403, problemType, problem(Problem{Status: 403, Code: CodeRefused, Project: "p", Rule: "names", Asked: "a", Allowed: "b"})), isA[*definition.Refused], "names"},
		{"too large", answers(413, problemType, problem(Problem{Status: 413, Code: CodeTooLarge, Detail: "too large"})), isA[*lineage.Invalid], "too large"},
		{"an endless answer", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			for block := bytes.Repeat([]byte(" "), 1<<20); ; {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}), isA[*NotAServer], "larger than"},
		{"hangs up", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), isA[*lineage.Unavailable], "127.0.0.1"},
	}
	token, _ := NewToken()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(tt.handler)
			defer server.Close()
			c := &Client{URL: server.URL, Token: token}
			defer c.Close()
			_, err := c.Resolve(t.Context(), lineage.Query{Ref: "tiny"})
			if err == nil || !tt.want(err) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%T: %v; want one that says %q", err, err, tt.says)
			}
			if err != nil && strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), string(token)) {
				t.Errorf("the token is in the error: %v", err)
			}
		})
	}
}

func must(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The token goes to the server that is named, and nowhere else.
func TestTokenDoesNotFollowRedirects(t *testing.T) {
	var reached atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	defer thief.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer server.Close()
	token, _ := NewToken()
	c := &Client{URL: server.URL, Token: token}
	defer c.Close()
	if err := c.Record(t.Context(), testedRecord(newID(), lineage.Passed)); !isA[*NotAServer](err) {
		t.Errorf("record = %v", err)
	}
	if err := c.RunLog(t.Context(), newID(), &bytes.Buffer{}); !isA[*NotAServer](err) {
		t.Errorf("log = %v", err)
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

// A server that is away for a moment is asked again; one that stays away is
// unavailable, and the caller's own end is told as such.
func TestClientTriesAgain(t *testing.T) {
	l := newLab(t, nil)
	inner := l.api.Handler()
	var calls atomic.Int64
	gate := newBehind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) < tries {
			panic(http.ErrAbortHandler)
		}
		inner.ServeHTTP(w, r)
	}))
	c := &Client{URL: gate.http.URL, Token: l.token(RoleAdmin)}
	defer c.Close()
	id := newID()
	if err := c.Record(t.Context(), builtRecord(id, "tiny", project)); err != nil || calls.Load() != tries {
		t.Errorf("record = %v after %d calls", err, calls.Load())
	}
	calls.Store(-1000)
	if err := c.Record(t.Context(), testedRecord(id, lineage.Passed)); !isA[*lineage.Unavailable](err) || calls.Load() != -1000+tries {
		t.Errorf("record = %v after %d calls, want *Unavailable after %d", err, calls.Load()+1000, tries)
	}
	gate.http.Close()
	if err := c.Record(t.Context(), testedRecord(id, lineage.Passed)); !isA[*lineage.Unavailable](err) {
		t.Errorf("nobody there = %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Resolve(ctx, lineage.Query{Ref: "tiny"}); !errors.Is(err, context.Canceled) || isA[*lineage.Unavailable](err) {
		t.Errorf("cancelled = %v", err)
	}
}

// When the database of the server is away, the pipeline hears what it hears
// when its own is.
func TestServerWithoutDatabase(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleAdmin)
	broken, err := lineage.Open(t.Context(), lineage.Config{DSN: l.dsn})
	if err != nil {
		t.Fatal(err)
	}
	down := labOn(t, broken, nil)
	c := down.client(token)
	if _, err := c.Resolve(t.Context(), lineage.Query{Name: "tiny"}); err != nil {
		t.Fatal(err)
	}
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := c.Record(t.Context(), builtRecord(newID(), "tiny", project)); !isA[*lineage.Unavailable](err) {
		t.Errorf("record = %v, want *Unavailable", err)
	}
	if got := down.send("GET", "/api/v1/runs", "", nil); got.code(t) != CodeUnauthorized {
		t.Errorf("without a token: HTTP %d, want 401 as ever", got.status)
	}
	if got := down.send("GET", "/readyz", "", nil); got.status != http.StatusServiceUnavailable || strings.Contains(string(got.body), "sock") {
		t.Errorf("readyz: HTTP %d %s", got.status, got.body)
	}
}

func TestClientTLS(t *testing.T) {
	l := newLab(t, nil)
	server := httptest.NewTLSServer(l.api.Handler())
	defer server.Close()
	server.Config.ErrorLog = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	token := l.token(RoleViewer)
	trusted := &Client{URL: server.URL, Token: token, CAFile: ca}
	defer trusted.Close()
	if err := trusted.Check(); err != nil {
		t.Errorf("check = %v", err)
	}
	if _, err := trusted.Resolve(t.Context(), lineage.Query{Name: "tiny"}); err != nil {
		t.Errorf("with the CA: %v", err)
	}
	stranger := &Client{URL: server.URL, Token: token}
	defer stranger.Close()
	if _, err := stranger.Resolve(t.Context(), lineage.Query{Name: "tiny"}); !isA[*NotAServer](err) || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA: %v", err)
	}
}

func TestClientCheck(t *testing.T) {
	token, _ := NewToken()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		c    Client
		ok   func(error) bool
		says string
	}{
		{"https", Client{URL: "https://aibuild.example:9753", Token: token}, func(err error) bool { return err == nil }, ""},
		{"loopback", Client{URL: "http://127.0.0.1:9753", Token: token}, func(err error) bool { return err == nil }, ""},
		{"localhost", Client{URL: "http://localhost:9753/below", Token: token}, func(err error) bool { return err == nil }, ""},
		{"the network", Client{URL: "http://aibuild.example:9753", Token: token}, isA[*Plaintext], "unprotected"},
		{"no scheme", Client{URL: "aibuild.example:9753", Token: token}, isA[*lineage.Invalid], "AIBUILD_SERVER"},
		{"nothing", Client{Token: token}, isA[*lineage.Invalid], "AIBUILD_SERVER"},
		{"a password", Client{URL: "https://ann:c4nary@aibuild.example", Token: token}, isA[*lineage.Invalid], "AIBUILD_SERVER"},
		{"no token", Client{URL: "https://aibuild.example"}, isA[*lineage.Invalid], "AIBUILD_TOKEN"},
		{"a strange token", Client{URL: "https://aibuild.example", Token: "c4nary"}, isA[*lineage.Invalid], "AIBUILD_TOKEN"},
		{"no such file", Client{URL: "https://aibuild.example", Token: token, CAFile: ca + "x"}, isA[*lineage.Invalid], "no such file"},
		{"no certificate", Client{URL: "https://aibuild.example", Token: token, CAFile: ca}, isA[*lineage.Invalid], "no PEM"},
	}
	for i := range tests {
		tt := &tests[i]
		err := tt.c.Check()
		if !tt.ok(err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if text := fmt.Sprint(err); err != nil && (!strings.Contains(text, tt.says) || strings.Contains(text, "c4nary") || strings.Contains(text, string(token))) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// What the client's methods do, against the server.
func TestClientRuns(t *testing.T) {
	l := newLab(t, capped)
	run := l.run(nil)
	c := l.client(l.token(RoleOperator))
	got, err := c.Run(t.Context(), run.ID)
	if err != nil || got.Image != "tiny" || got.ImageUUID != run.ID || got.Caps == nil || !got.Caps.MayRelease {
		t.Errorf("run = %+v, %v", got, err)
	}
	if p := got.Caps.Policy(project); p.Project != project || !p.MayRelease("main") || p.MayRelease("feature") || p.Clusters[0] != "alpha" || p.Visibilities[0] != "private" {
		t.Errorf("policy = %+v", p)
	}
	runs, next, err := c.Runs(t.Context(), lineage.RunFilter{Image: "tiny", Project: project, Unfinished: true, Limit: 1})
	if err != nil || len(runs) != 1 || next != "" {
		t.Errorf("runs = %v, %q, %v", runs, next, err)
	}
	if _, _, err := c.Runs(t.Context(), lineage.RunFilter{Limit: 1001}); !isA[*lineage.Invalid](err) {
		t.Errorf("too many runs = %v", err)
	}
	if _, err := c.Run(t.Context(), newID()); !errors.Is(err, lineage.ErrNotFound) {
		t.Errorf("no run = %v", err)
	}
	if _, err := c.Retry(t.Context(), run.ID, RetryOptions{}); !isA[*lineage.Conflict](err) {
		t.Errorf("retry of one that has not ended = %v", err)
	}
	wanted, err := c.Cancel(t.Context(), run.ID, "not this one")
	if err != nil || wanted.CancelBy != RoleOperator || wanted.CancelReason != "not this one" {
		t.Errorf("cancel = %+v, %v", wanted, err)
	}
	l.end(run.ID, lineage.RunCancelled)
	if _, err := c.Cancel(t.Context(), run.ID, ""); !isA[*lineage.Conflict](err) {
		t.Errorf("cancel of one that has ended = %v", err)
	}
	again, err := c.Retry(t.Context(), run.ID, RetryOptions{Reason: "once more"})
	if err != nil || again.RetryOf != run.ID || again.Attempt != 2 || again.From != stageBuild || again.Actor != RoleOperator || again.State != lineage.RunReceived {
		t.Errorf("retry = %+v, %v", again, err)
	}
	opened, err := c.OpenRun(t.Context(), NewRun{Image: "tiny", Commit: "beef"})
	if err != nil || opened.Project != project || opened.Ref != "refs/heads/main" || opened.Folder != "images/tiny" {
		t.Errorf("open = %+v, %v", opened, err)
	}
	if err := c.Record(t.Context()); err != nil {
		t.Errorf("nothing recorded = %v", err)
	}
	if err := c.Record(t.Context(), movedRecord(run.ID, lineage.RunBuilding)); !isA[*Denied](err) {
		t.Errorf("an operator records = %v", err)
	}
}

// A client that is one Jenkins build says so with every record.
func TestClientOfABuild(t *testing.T) {
	l := newLab(t, capped)
	run := l.run(func(r *lineage.Run) { r.State = lineage.RunTriggering })
	c := l.client(l.token(RoleRecorder, project))
	c.Build, c.RunID = seven, run.ID
	detail, err := c.OpenRun(t.Context(), NewRun{Image: "tiny", Project: project})
	if err != nil || detail.ID != run.ID || detail.Build != 7 || detail.State != lineage.RunBuilding {
		t.Errorf("open = %+v, %v", detail, err)
	}
	image := builtRecord(run.ID, "tiny", project)
	image.RunID = ""
	if err := c.Record(t.Context(), image, testedRecord(run.ID, lineage.Passed)); err != nil {
		t.Error(err)
	}
	var refused *definition.Refused
	if err := c.Record(t.Context(), releasedRecord(run.ID, "beta", lineage.TargetUploading, "")); !errors.As(err, &refused) || refused.Rule != "release.clusters" || refused.Project != project || refused.Allowed != "alpha" {
		t.Errorf("beta = %v", err)
	}
	late := l.client(l.token(RoleRecorder, project))
	late.Build, late.RunID = Build{Job: seven.Job, Number: 8}, run.ID
	if err := late.Record(t.Context(), testedRecord(run.ID, lineage.FailedTest)); !isA[*lineage.Conflict](err) {
		t.Errorf("another build = %v", err)
	}
}

func TestTooLargeABatchIsNotSent(t *testing.T) {
	l := newLab(t, nil)
	c := l.client(l.token(RoleAdmin))
	r := testedRecord(newID(), lineage.Passed)
	for range 200 {
		r.Tested.Cases = append(r.Tested.Cases, lineage.TestCase{Case: newID(), Message: strings.Repeat("x", 60_000)})
	}
	if err := c.Record(t.Context(), r); !isA[*lineage.Invalid](err) {
		t.Errorf("record = %v", err)
	}
}
