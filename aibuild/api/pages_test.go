package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func TestHealth(t *testing.T) {
	l := newLab(t, func(c *Config) {
		c.Parts = func() map[string]string { return map[string]string{"jenkins": "down: HTTP 502", "gitlab": "ok"} }
	})
	if got := l.send("GET", "/healthz", "", nil); got.status != 200 || string(got.body) != "ok\n" {
		t.Errorf("healthz: HTTP %d %q", got.status, got.body)
	}
	for range 3 {
		h := into[health](t, l.send("GET", "/readyz", "", nil))
		if h.Status != "ready" || h.Database != "ok" || h.Parts["jenkins"] != "down: HTTP 502" {
			t.Errorf("readyz: %+v; a Jenkins that is away is no reason", h)
		}
	}
	// Tables that do not fit are told, without saying where the database is.
	empty := labOn(t, openStore(t, newDSN(t)), nil)
	got := empty.send("GET", "/readyz", "", nil)
	var h health
	if err := json.Unmarshal(got.body, &h); err != nil || got.status != http.StatusServiceUnavailable || h.Database != "schema" || strings.Contains(string(got.body), "unix(") {
		t.Errorf("readyz without tables: HTTP %d %s", got.status, got.body)
	}
	if got := empty.send("GET", "/api/v1/runs", l.token(RoleViewer), nil); got.code(t) != CodeSchema {
		t.Errorf("without tables: HTTP %d %s", got.status, got.body)
	}
}

// A database that only reads is not usable.
func TestReadOnlyIsNotReady(t *testing.T) {
	dsn := newDSN(t)
	store := migrated(t, dsn)
	admin(t, "CREATE USER IF NOT EXISTS reader")
	t.Cleanup(func() { admin(t, "DROP USER reader") })
	admin(t, "GRANT SELECT ON *.* TO reader")
	reading := openStore(t, strings.Replace(dsn, "root@", "reader@", 1))
	if err := store.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := labOn(t, reading, nil).send("GET", "/readyz", "", nil)
	if got.status != http.StatusServiceUnavailable || strings.Contains(string(got.body), "denied") {
		t.Errorf("readyz: HTTP %d %s", got.status, got.body)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	l := newLab(t, func(c *Config) {
		c.Registry = registry
		c.Stats = func() []Stat {
			return []Stat{{Name: "aibuild_hooks_total", Help: "Hooks.", Labels: map[string]string{"state": "handled"}, Value: 3, Counter: true}, {Name: "aibuild_runs", Help: "Runs.", Value: 2}}
		}
	})
	for range 50 {
		l.send("GET", "/api/v1/runs/"+newID(), l.token(RoleViewer), nil)
		l.send("GET", "/"+newID(), "", nil)
	}
	l.send("BREW", "/api/v1/runs", "", nil)
	got := l.send("GET", "/metrics", "", nil)
	text := string(got.body)
	for _, want := range []string{
		`aibuild_build_info{version="test"} 1`, `aibuild_http_requests_total{method="GET",route="/api/v1/runs/{id}",status="4xx"} 50`,
		`aibuild_http_requests_total{method="any",route="none",status="4xx"}`, `aibuild_http_refused_total{reason="no_token"} 1`,
		`aibuild_hooks_total{state="handled"} 3`, "aibuild_runs 2", "aibuild_locks_held 0", "# TYPE aibuild_hooks_total counter", "# TYPE aibuild_runs gauge",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	lines := 0
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			lines++
			if !strings.HasPrefix(line, "aibuild_") {
				t.Errorf("name: %s", line)
			}
		}
	}
	if lines > 100 {
		t.Errorf("%d lines: labels are not bounded\n%s", lines, text)
	}
	if _, err := New(Config{Store: l.store, Registry: registry}); err == nil {
		t.Error("a second server has taken the same registry")
	}
}

func TestDescriptions(t *testing.T) {
	l := newLab(t, nil)
	spec := l.send("GET", "/openapi.json", "", nil)
	var doc struct {
		OpenAPI string                    `json:"openapi"`
		Paths   map[string]map[string]any `json:"paths"`
	}
	if err := json.Unmarshal(spec.body, &doc); err != nil || doc.OpenAPI != "3.1.0" || spec.header.Get("Content-Type") != "application/openapi+json" {
		t.Errorf("openapi.json: %v, %q", err, doc.OpenAPI)
	}
	docs := string(l.send("GET", "/docs", "", nil).body)
	for path, item := range doc.Paths {
		for method := range item {
			if want := strings.ToUpper(method) + " " + path; !strings.Contains(docs, want) {
				t.Errorf("docs lack %s", want)
			}
		}
	}
	seen := map[string]bool{}
	for _, m := range meanings {
		if seen[m.Code] || !strings.Contains(docs, `id="`+m.Code+`"`) {
			t.Errorf("docs lack the code %s, or it is twice in the list", m.Code)
		}
		seen[m.Code] = true
	}
	for _, found := range regexp.MustCompile(`(?:src|href|url\()="?([^" >]+)`).FindAllStringSubmatch(docs, -1) {
		if !strings.HasPrefix(found[1], "/") {
			t.Errorf("docs lead elsewhere: %s", found[1])
		}
	}
	if strings.Contains(docs, "<script") {
		t.Error("docs hold a script")
	}
	for path, keeps := range map[string]bool{asset("aibuild.css"): true, asset("vendor/htmx-2.0.11.min.js"): true, "/static/aibuild.css": false, "/static/aibuild.css?v=old": false} {
		if got := l.send("GET", path, "", nil); got.status != 200 || strings.Contains(got.header.Get("Cache-Control"), "immutable") != keeps {
			t.Errorf("%s: HTTP %d, Cache-Control %q", path, got.status, got.header.Get("Cache-Control"))
		}
	}
	if css := l.send("GET", "/static/aibuild.css", "", nil); css.status != 200 || !strings.HasPrefix(css.header.Get("Content-Type"), "text/css") {
		t.Errorf("stylesheet: HTTP %d %s", css.status, css.header.Get("Content-Type"))
	}
}

func TestRunPage(t *testing.T) {
	l := newLab(t, nil)
	const evil = `<script>alert(1)</script>`
	run := l.run(func(r *lineage.Run) {
		r.Commit, r.JenkinsJob, r.Build, r.BuildURL = evil, "aibuild/build", 7, "javascript:alert(1)"
	})
	l.stored(lineage.Record{ID: newID(), At: day, Actor: evil, Channel: lineage.ChannelDaemon, RunID: run.ID, Verb: lineage.VerbEnded, Reason: evil,
		Run: &lineage.Run{ID: run.ID, State: lineage.RunUnstable, Failure: &lineage.Failure{Stage: "test", Blame: lineage.BlameImage, Sentence: "case disk/grows failed " + evil, Lines: []string{"expected 2"}, Next: "aibuild retry"}}})
	unknown := l.send("GET", "/runs/"+newID(), "", nil)
	known := l.send("GET", "/runs/"+run.ID, "", nil)
	if known.status != http.StatusUnauthorized || unknown.status != known.status || known.header.Get("WWW-Authenticate") == "" || len(known.body) != len(unknown.body) {
		t.Errorf("without a token: HTTP %d for a run, %d for none; want 401 and no word of it", known.status, unknown.status)
	}
	if !strings.Contains(string(known.body), "aibuild runs show") || !strings.Contains(string(known.body), "<form method=\"post\" action=\"/login\">") || strings.Contains(string(known.body), "tiny") {
		t.Errorf("the page does not say how: %s", known.body)
	}
	page := l.send("GET", "/runs/"+run.ID, l.token(RoleViewer), nil)
	text := string(page.body)
	for _, want := range []string{"tiny: unstable", "the image&#39;s fault", "expected 2", "aibuild/build #7", run.ID, project} {
		if page.status != 200 || !strings.Contains(text, want) {
			t.Errorf("the page lacks %q (HTTP %d)", want, page.status)
		}
	}
	if strings.Contains(text, evil) || strings.Contains(text, "javascript:") {
		t.Errorf("the page runs what a build said:\n%s", text)
	}
	if got := l.send("GET", "/runs/"+newID(), l.token(RoleViewer), nil); got.status != http.StatusNotFound {
		t.Errorf("no run: HTTP %d", got.status)
	}
	if got := l.send("GET", "/runs/"+run.ID, l.token(RoleViewer, other), nil); got.status != http.StatusNotFound {
		t.Errorf("another project's token: HTTP %d", got.status)
	}
	open := labOn(t, l.store, func(c *Config) { c.OpenPages = true })
	if got := open.send("GET", "/runs/"+run.ID, "", nil); got.status != 200 || !strings.Contains(string(got.body), "tiny: unstable") {
		t.Errorf("open pages: HTTP %d", got.status)
	}
	for from, status := range map[string]int{"192.0.2.7:4711": http.StatusUnauthorized, "[::1]:4711": http.StatusOK, "": http.StatusUnauthorized} {
		got, r := httptest.NewRecorder(), open.request("GET", "/runs/"+run.ID, "", nil)
		r.RemoteAddr = from
		if open.api.Handler().ServeHTTP(got, r); got.Code != status {
			t.Errorf("open pages from %q: HTTP %d, want %d", from, got.Code, status)
		}
	}
	if got := open.send("GET", "/api/v1/runs/"+run.ID, "", nil); got.code(t) != CodeUnauthorized {
		t.Errorf("open pages open the API: HTTP %d", got.status)
	}
}

func TestRunLog(t *testing.T) {
	packer, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("line of a log\n", 100_000)
	logs := fstest.MapFS{}
	l := newLab(t, func(c *Config) { c.Logs = logs })
	packed, plain, none, broken := l.run(nil), l.run(nil), l.run(nil), l.run(nil)
	logs[packed.ID+".log.zst"] = &fstest.MapFile{Data: packer.EncodeAll([]byte(long), nil)}
	logs[plain.ID+".log"] = &fstest.MapFile{Data: []byte("<b>plain</b>")}
	logs[broken.ID+".log.zst"] = &fstest.MapFile{Data: []byte("not zstd")}
	token := l.token(RoleViewer)
	if got := l.send("GET", "/api/v1/runs/"+packed.ID+"/log", token, nil); got.status != 200 || string(got.body) != long || got.header.Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("packed: HTTP %d, %d bytes of %s", got.status, len(got.body), got.header.Get("Content-Type"))
	}
	var text strings.Builder
	if err := l.client(token).RunLog(t.Context(), plain.ID, &text); err != nil || text.String() != "<b>plain</b>" {
		t.Errorf("plain = %q, %v", text.String(), err)
	}
	if got := l.send("GET", "/api/v1/runs/"+none.ID+"/log", token, nil); got.code(t) != CodeNotFound {
		t.Errorf("none: HTTP %d", got.status)
	}
	building := l.run(func(r *lineage.Run) { r.BuildURL = "https://jenkins.example/job/build/7/" })
	if got := l.send("GET", "/api/v1/runs/"+building.ID+"/log", token, nil); got.code(t) != CodeNotFound || !strings.Contains(string(got.body), "https://jenkins.example/job/build/7/console") {
		t.Errorf("of one that is building: HTTP %d %s", got.status, got.body)
	}
	if got := l.send("GET", "/api/v1/runs/..%2F..%2Fsecret/log", token, nil); got.code(t) != CodeNotFound {
		t.Errorf("a path: HTTP %d", got.status)
	}
	direct := newBehind(t, l.api.Handler())
	c := &Client{URL: direct.http.URL, Token: token}
	defer c.Close()
	if err := c.RunLog(t.Context(), broken.ID, &text); err == nil {
		t.Error("a log that cannot be read ended as if it were all")
	}
}

// A canary in the place of every secret is found nowhere.
func TestSecretsAreNotShown(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleAdmin)
	wrong, _ := NewToken()
	c := l.client(token)
	_, _ = c.Run(t.Context(), newID()) // its error is looked at below
	var texts []string
	for _, as := range []Secret{token, wrong} {
		for _, path := range []string{"/api/v1/runs", "/api/v1/nothing", "/runs/x", "/metrics", "/docs", "/openapi.json", "/api/v1/runs?token=" + string(as)} {
			got := l.send("GET", path, as, nil)
			texts = append(texts, string(got.body), strings.Join(got.header.Values("Location"), ""))
		}
	}
	j, err := json.Marshal(struct{ Token Secret }{token})
	if err != nil {
		t.Fatal(err)
	}
	dump := ""
	for _, table := range []string{"api_token", "event"} {
		rows, err := database.root.Query("SELECT * FROM " + l.dsn[strings.LastIndex(l.dsn, "/")+1:] + "." + table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			columns, err := rows.Columns()
			if err != nil {
				t.Fatal(err)
			}
			cells := make([]any, len(columns))
			for i := range cells {
				cells[i] = new([]byte)
			}
			if err := rows.Scan(cells...); err != nil {
				t.Fatal(err)
			}
			for _, cell := range cells {
				dump += string(*cell.(*[]byte)) + "\n"
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(dump, HashToken(token)) {
		t.Fatal("the dump of the database is not one")
	}
	texts = append(texts, l.log.String(), string(j), dump)
	for _, text := range texts {
		for _, secret := range []Secret{token, wrong} {
			if strings.Contains(text, string(secret)) {
				t.Errorf("a token is shown: %.300s", text)
			}
		}
	}
}
