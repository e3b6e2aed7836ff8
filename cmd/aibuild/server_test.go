package main

import (
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
)

// post is a real server of the API on a real database, and switches to take it
// away.
type post struct {
	t     *testing.T
	store *lineage.Store
	url   string
	cut   atomic.Int64 // so many requests are not answered
}

// newPost serves the database that env names.
func newPost(t *testing.T, env map[string]string, change func(*api.Config)) *post {
	t.Helper()
	w := &world{getenv: func(k string) string { return env[k] }, stderr: &strings.Builder{}}
	w.config = config{getenv: w.getenv}
	store, err := w.openStore(t.Context(), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	c := api.Config{Store: store}
	if change != nil {
		change(&c)
	}
	s, err := api.New(c)
	if err != nil {
		t.Fatal(err)
	}
	p := &post{t: t, store: store}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.cut.Load() > 0 && p.cut.Add(-1) >= 0 {
			panic(http.ErrAbortHandler)
		}
		s.Handler().ServeHTTP(w, r)
	}))
	p.url = h.URL
	t.Cleanup(func() {
		h.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := w.close(); err != nil {
			t.Error(err)
		}
		endPrivate(t, env)
	})
	return p
}

// endPrivate ends a private database, which would do so by itself while its
// folder is being removed.
func endPrivate(t *testing.T, env map[string]string) {
	if env["AIBUILD_DSN"] != "private" {
		return
	}
	err := privatedb.Stop(context.Background(), env["AIBUILD_DATA"])
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		err = privatedb.Stop(context.Background(), env["AIBUILD_DATA"]) // its keeper may just be looking at it
	}
	if err != nil {
		t.Error(err)
	}
}

// token makes a token.
func (p *post) token(role string, projects ...string) string {
	p.t.Helper()
	token, hash := api.NewToken()
	_, err := p.store.CreateToken(p.t.Context(), lineage.Token{Name: role, Role: role, Projects: projects, CreatedBy: "test", ExpiresAt: time.Now().Add(time.Hour)}, hash)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(token)
}

// env is what a machine without the database's password has.
func (p *post) env(role string, projects ...string) map[string]string {
	return map[string]string{"AIBUILD_SERVER": p.url, "AIBUILD_TOKEN": p.token(role, projects...), "AIBUILD_DATA": p.t.TempDir()}
}

func (p *post) stored(records ...lineage.Record) {
	p.t.Helper()
	for i := range records {
		records[i].ID, records[i].Actor, records[i].Channel = v7(), "ann", "cli"
	}
	if err := p.store.Record(p.t.Context(), records...); err != nil {
		p.t.Fatal(err)
	}
}

func v7() string { return uuid.Must(uuid.NewV7()).String() }

const (
	storyProject = "group/images"
	whyNotBuilt  = "2 files changed; unaffected base (no file of it changed)"
)

// pushed makes an image's push known, as the daemon handles it, and gives the
// run that it opens.
func (p *post) pushed(name string) string {
	p.t.Helper()
	ctx, ref := p.t.Context(), "refs/heads/main"
	zero := strings.Repeat("0", 40)
	if _, err := p.store.AcceptEvents(ctx, []lineage.HookEvent{{
		Instance: "https://gitlab.example", Key: v7(), Event: "push", Project: storyProject, Ref: ref, Before: zero, After: strings.Repeat("c", 40), Payload: []byte("{}"),
	}}); err != nil {
		p.t.Fatal(err)
	}
	events, err := p.store.ClaimEvents(ctx, "test", 1, time.Minute)
	if err != nil || len(events) != 1 {
		p.t.Fatalf("claimed %d events, %v", len(events), err)
	}
	runs, err := p.store.HandleEvent(ctx, lineage.Handled{Event: events[0].ID, Fence: events[0].Fence, State: lineage.EventHandled, MoveHead: true, Reason: whyNotBuilt,
		Runs: []lineage.Run{{ID: v7(), Image: name, Project: storyProject, Ref: ref, Commit: strings.Repeat("c", 40), Folder: "images/" + name, From: "build", State: lineage.RunQueued}}})
	if err != nil || len(runs) != 1 {
		p.t.Fatalf("handled: %v, %v", runs, err)
	}
	return runs[0].ID
}

// managed is a run that the daemon looks after.
func (p *post) managed(state, url string) string {
	p.t.Helper()
	run, err := p.store.OpenRun(p.t.Context(), lineage.Run{ID: v7(), Image: "base", Project: storyProject, Ref: "refs/heads/main", Folder: "images/base",
		State: state, BuildURL: url}, "ann", lineage.ChannelAPI, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return run.ID
}

func (p *post) end(run, state string, f *lineage.Failure) {
	p.t.Helper()
	err := p.store.Record(p.t.Context(), lineage.Record{ID: v7(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: run, Verb: lineage.VerbEnded,
		Reason: "as it was", Run: &lineage.Run{ID: run, State: state, Failure: f}})
	if err != nil {
		p.t.Fatal(err)
	}
}

func story(image, name, parent string, at time.Time) lineage.Record {
	hex := strings.ReplaceAll(image, "-", "")
	return lineage.Record{At: at, RunID: image, ImageUUID: image, Verb: lineage.VerbBuilt, Built: &lineage.Built{
		Name: name, Project: storyProject, Arch: "x86_64", OSType: "debian", OSVer: "12", FromISO: "https://example.org/debian.iso", UpdateContents: "first",
		Artifact: lineage.Artifact{Format: "qcow2", Size: 1 << 20, SHA256: hex + hex, Commit: "c0ffee", Ref: "main", ParentUUID: parent, Tools: map[string]string{"packer": "1.6.6"}},
	}}
}

// clock and ids are what differs from call to call.
var (
	clock = regexp.MustCompile(`\[\d\d:\d\d:\d\d\]`)
	ids   = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`)
)

// Every command that reads, starts or ends gives by the server what it gives by
// the database, and ends with the same code; a command that needs the database
// says so.
func TestServerAndDatabaseAreOne(t *testing.T) {
	direct := map[string]string{"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private"}
	packed := fstest.MapFS{}
	p := newPost(t, direct, func(c *api.Config) { c.Logs = packed })
	base, child, old := v7(), v7(), time.Date(2025, 11, 22, 8, 0, 0, 0, time.UTC)
	failed, running := p.pushed("web"), v7()
	p.stored(story(base, "base", "", old), story(child, "web", base, old.Add(time.Hour)),
		lineage.Record{At: old.Add(2 * time.Hour), ImageUUID: child, Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: lineage.Passed, TestCase: "all (1 cases)",
			Cases: []lineage.TestCase{{Case: "boots", Cell: "bios-virtio-nocloud", Result: lineage.Passed, MS: 12}}}},
		lineage.Record{At: old.Add(3 * time.Hour), ImageUUID: child, Verb: lineage.VerbReleased, Released: &lineage.Target{Cluster: "alpha", State: lineage.TargetVisible, GlanceID: v7(), ReleaseAt: old.Add(3 * time.Hour)}},
		lineage.Record{At: old, ImageUUID: base, Verb: lineage.VerbListed, Inventory: &lineage.Inventory{Complete: true, Packages: []lineage.Package{{Manager: "dpkg", Name: "openssl", Arch: "amd64", Version: "3.0.9-1"}, {Manager: "dpkg", Name: "gone", Arch: "all", Version: "1"}}}},
		lineage.Record{At: old, ImageUUID: child, Verb: lineage.VerbListed, Inventory: &lineage.Inventory{Complete: true, Packages: []lineage.Package{{Manager: "dpkg", Name: "openssl", Arch: "amd64", Version: "3.0.17-1~deb12u2"}, {Manager: "dpkg", Name: "nginx", Arch: "amd64", Version: "1.22"}}}})
	if _, err := p.store.OpenRun(t.Context(), lineage.Run{ID: running, Image: "base", Project: storyProject, Ref: "refs/heads/main", Folder: "images/base", State: lineage.RunBuilding}, "ann", lineage.ChannelAPI, ""); err != nil {
		t.Fatal(err)
	}
	p.end(failed, lineage.RunUnstable, &lineage.Failure{Stage: "test", Blame: lineage.BlameImage, Sentence: "case disk/grows failed", Lines: []string{"expected 2"}, Next: "aibuild retry"})
	remote := p.env(api.RoleOperator)

	for _, line := range []string{
		"image list", "image list web", "image list none", "image list --state passed -o json", "image list --limit 1", "image list --limit -1",
		"image show web", "image show web -o json", "image show " + child[:len(child)-1] + " -o yaml", "image show none", "image show ffff",
		"image show web --cluster alpha", "image show web --cluster alpha --at 2025-11-22T12:00:00Z -o json", "image show web --cluster alpha --at 2025-11-22", "image show web --cluster beta", "image show web --at 1h", "image show web --cluster alpha --at lunch",
		"image history web", "image history web -o json", "image history " + child + " --limit 1 -o json", "image history none", "image history " + failed + " -o json",
		"image tree base", "image tree web -o json", "image tree none",
		"image diff base web", "image diff base@1 " + child + " -o json", "image diff web none", "image diff base base -o csv",
		"package openssl", "package openssl -o json", "package openssl --version 3.0.9-1", "package openssl --released -o yaml", "package none", "package openssl --limit 1", "package openssl --limit -1", "package openssl --cursor x",
		"search we", "search EB -o json", "search " + child, "search " + failed + " -o yaml", "search none", "search e --limit 1", "search e --limit 101", "search",
		"runs list", "runs list web -o json", "runs list --unfinished", "runs list --state unstable", "runs list --limit 1", "runs list --cursor nonsense",
		"runs show " + failed, "runs show " + failed + " -o json", "runs show " + running + " -o json", "runs show " + v7(),
		"runs log " + failed + " --failed", "runs log " + failed, "runs log " + running + " --failed",
		"runs watch " + failed, "runs watch " + v7(),
		"runs cancel " + failed, "runs cancel " + v7(), "runs cancel " + running, "runs retry " + running, "runs start base", "runs start none", "runs start web --ref refs/heads/none",
		"runs pushes", "runs pushes -o json", "runs pushes --project " + storyProject + " --ref main", "runs pushes --project " + storyProject + " --ref refs/heads/main -o yaml",
		"runs pushes --project " + storyProject + " --ref none", "runs pushes --project group/none -o json", "runs pushes --ref main", "runs pushes --limit 1", "runs pushes --limit -1", "runs pushes --cursor x",
		"audit", "audit web -o json", "audit none", "audit --actor ann --limit 2",
	} {
		a, b := call(t, direct, strings.Fields(line)...), call(t, remote, strings.Fields(line)...)
		if strings.HasPrefix(line, "audit") { // tokens were made, and runs are cancelled by other names
			a.out, b.out = strings.ReplaceAll(a.out, actor(), "operator"), strings.ReplaceAll(b.out, actor(), "operator")
		}
		if strings.HasPrefix(line, "runs start") { // two runs
			a.out, b.out = ids.ReplaceAllString(a.out, "RUN"), ids.ReplaceAllString(b.out, "RUN")
		}
		if a.code != b.code || line != "audit" && a.out != b.out {
			t.Errorf("%s: %d by the database, %d by the server\n%s%s\n%s%s", line, a.code, b.code, a.out, a.err, b.out, b.err)
		}
		if strings.HasPrefix(line, "runs watch "+failed) && clock.ReplaceAllString(stripFirst(a.err), "") != clock.ReplaceAllString(b.err, "") {
			t.Errorf("%s says\n%s by the database,\n%s by the server", line, a.err, b.err)
		}
	}
	if r := call(t, remote, "image", "diff", "base", "web"); r.code != 0 || !regexp.MustCompile(`packages +2 +2: 1 added, 1 removed, 1 upgraded\nupgraded openssl amd64 +3\.0\.9-1 +3\.0\.17-1~deb12u2\nadded nginx amd64 +- +1\.22\nremoved gone all +1 +-\n$`).MatchString(r.out) {
		t.Errorf("image diff = %d\n%s%s", r.code, r.out, r.err)
	}
	if r := call(t, remote, "package", "openssl", "--released"); r.code != 0 || strings.Count(r.out, "\n") != 2 || !regexp.MustCompile(`\nweb@1 +3\.0\.17-1~deb12u2 +amd64 +alpha +visible +[0-9a-f-]{36} +`+child+`\n$`).MatchString(r.out) {
		t.Errorf("package = %d\n%s%s", r.code, r.out, r.err)
	}
	if r := call(t, remote, "package", "openssl", "--limit", "1"); !strings.Contains(r.err, "more: --cursor ") {
		t.Errorf("there is more, and nobody says so: %s", r.err)
	}
	if r := call(t, remote, "runs", "pushes", "--project", storyProject, "--ref", "main"); r.code != 0 || !strings.Contains(r.out, "cccccccccccc") || !strings.Contains(r.out, whyNotBuilt) {
		t.Errorf("runs pushes = %d %s%s", r.code, r.out, r.err)
	}
	if r := call(t, remote, "runs", "cancel", failed); r.code != 5 {
		t.Errorf("cancel of a run that has ended = %d %s, want 5", r.code, r.err)
	}
	followed, local := p.managed(lineage.RunBuilding, "https://jenkins.example/job/build/7/"), v7()
	p.stored(lineage.Record{At: old, RunID: local, Verb: lineage.VerbOpened, Run: &lineage.Run{ID: local, Image: "base", Project: storyProject, State: lineage.RunBuilding, Worker: "laptop/42/1"}})
	for run, says := range map[string]string{
		followed: "follow it at https://jenkins.example/job/build/7/console", p.managed(lineage.RunReceived, ""): "no build of it has begun", local: "laptop/42/1", failed: "no console of it is kept",
	} {
		for _, env := range []map[string]string{direct, remote} {
			if r := call(t, env, "runs", "log", run); r.code != 4 || !strings.Contains(r.err, says) || r.out != "" {
				t.Errorf("runs log of one that is not kept = %d %q %s, want 4 and %q", r.code, r.out, r.err, says)
			}
		}
	}
	packed[failed+".log"] = &fstest.MapFile{Data: []byte("line\n")}
	if r := call(t, remote, "runs", "log", failed); r.code != 0 || r.out != "line\n" {
		t.Errorf("runs log = %d %q %s", r.code, r.out, r.err)
	}
	started := call(t, remote, "runs", "start", "web", "--reason", "for a test")
	if run, err := p.store.Run(t.Context(), strings.TrimSpace(started.out)); err != nil || run.State != lineage.RunReceived || run.Reason != "for a test" || run.Folder != "images/web" {
		t.Errorf("runs start = %d %s%s: %+v, %v", started.code, started.out, started.err, run, err)
	}
	again := call(t, remote, "runs", "retry", failed, "--from", "build")
	if run, err := p.store.Run(t.Context(), strings.TrimSpace(again.out)); err != nil || run.RetryOf != failed || run.Actor != api.RoleOperator {
		t.Errorf("runs retry = %d %s%s: %+v, %v", again.code, again.out, again.err, run, err)
	}
	for _, line := range []string{"db status", "db migrate", "token list", "token create x --role viewer", "token revoke x", "serve"} {
		words, _, _ := strings.Cut(line, " x")
		r := call(t, remote, strings.Fields(line)...)
		if r.code != 2 || !strings.Contains(r.err, "aibuild "+words+" needs the database itself") || !strings.Contains(r.err, "unset it, and set AIBUILD_DSN") {
			t.Errorf("%s = %d %s", line, r.code, r.err)
		}
	}
}

// A retry begins where the run failed, on its image, by the server and by the
// database: a failed step never costs the steps before it.
func TestRetryBeginsWhereItFailed(t *testing.T) {
	direct := map[string]string{"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private"}
	p := newPost(t, direct, nil)
	dir := filepath.Join(t.TempDir(), "web")
	if err := os.CopyFS(dir, os.DirFS("../../examples/images/tiny-broken")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "aibuild.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "aibuild.yaml"), []byte(strings.Replace(string(text), "name: tiny-broken", "name: web", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	image, older := v7(), v7()
	failed, byHand, nobodys := p.pushed("web"), v7(), v7()
	p.stored(story(older, "web", "", time.Now().Add(-time.Hour)), story(image, "web", "", time.Now()))
	if err := p.store.Record(t.Context(), lineage.Record{ID: v7(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: failed, Verb: lineage.VerbEnded,
		Run: &lineage.Run{ID: failed, ImageUUID: older, Stage: "release", State: lineage.RunFailure}}); err != nil {
		t.Fatal(err)
	}
	for id, project := range map[string]string{byHand: storyProject, nobodys: ""} {
		run := lineage.Run{ID: id, Image: "web", Project: project, Ref: "main", Commit: "c0ffee", Folder: "web", State: lineage.RunFailure}
		if project == "" {
			run.Image = "mine"
		}
		p.stored(lineage.Record{At: time.Now(), RunID: id, Verb: lineage.VerbOpened, Run: &run})
	}
	for by, env := range map[string]map[string]string{"database": direct, "server": p.env(api.RoleOperator)} {
		retry := func(code int, words ...string) lineage.Run {
			t.Helper()
			r := call(t, env, append([]string{"runs", "retry"}, words...)...)
			if r.code != code {
				t.Errorf("by the %s, runs retry %v = %d %s", by, words, r.code, r.err)
			}
			if r.code != 0 {
				return lineage.Run{}
			}
			run, err := p.store.Run(t.Context(), strings.TrimSpace(r.out))
			if err != nil {
				t.Error(err)
			}
			return run
		}
		if run := retry(0, failed); run.From != "release" || run.ImageUUID != older || run.RetryOf != failed || run.State != lineage.RunReceived {
			t.Errorf("by the %s, of a run that failed in its release: %+v", by, run)
		} else if r := call(t, jenkinsOf(env, run), "run", "--yes", dir); r.code != 4 || !strings.Contains(r.err, "web@1") {
			t.Errorf("by the %s, the build of the retry = %d %s, want that it looks for web@1, which is nowhere", by, r.code, r.err)
		}
		if run := retry(0, failed, "--from", "build"); run.From != "build" || run.ImageUUID == older {
			t.Errorf("by the %s, from the build: %+v", by, run)
		}
		if run := retry(0, byHand); run.Folder != "images/web" || run.Ref != "refs/heads/main" || run.From != "build" {
			t.Errorf("by the %s, of a run on somebody's machine: %+v", by, run)
		}
		retry(5, nobodys)
		retry(5, byHand, "--from", "test") // made no image
		retry(2, failed, "--from", "deploy")
	}
	barred := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(barred, []byte("gitlab:\n  projects:\n    - path: "+storyProject+"\n      release:\n        refs: [stable]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := call(t, direct, "--config", barred, "runs", "retry", failed, "--from", "release"); r.code != 5 || !strings.Contains(r.err, "stable") {
		t.Errorf("a release that the configuration does not allow = %d %s", r.code, r.err)
	}
}

// jenkinsOf is what the daemon gives to the build of a run.
func jenkinsOf(env map[string]string, r lineage.Run) map[string]string {
	job := maps.Clone(env)
	job["AIBUILD_RUN_ID"], job["AIBUILD_FROM"], job["AIBUILD_REF"] = r.ID, r.From, r.Ref
	return job
}

// stripFirst drops the line that says which database is used.
func stripFirst(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

// What is wrong with server or token ends with the code that says whose turn it
// is, and the token is in no word of it.
func TestServerTroubles(t *testing.T) {
	direct := map[string]string{"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private"}
	p := newPost(t, direct, nil)
	viewer := p.token(api.RoleViewer)
	wrong, _ := api.NewToken()
	image := v7()
	p.stored(story(image, "web", "", time.Now()))
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(viewer+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(http.NotFoundHandler())
	defer page.Close()
	for _, tt := range []struct {
		name string
		env  map[string]string
		line string
		code int
		says string
	}{
		{"good", nil, "runs list", 0, ""},
		{"from a file", map[string]string{"AIBUILD_TOKEN": "", "AIBUILD_TOKEN_FILE": file}, "runs list", 0, ""},
		{"before a database", map[string]string{"AIBUILD_DSN": "nobody:none@tcp(127.0.0.1:1)/none"}, "runs list", 0, ""},
		{"under CI", map[string]string{"CI": "1", "JENKINS_URL": "http://j"}, "image show web", 0, ""},
		{"no token", map[string]string{"AIBUILD_TOKEN": ""}, "runs list", 2, "AIBUILD_TOKEN_FILE"},
		{"no file", map[string]string{"AIBUILD_TOKEN": "", "AIBUILD_TOKEN_FILE": file + "x"}, "runs list", 2, "AIBUILD_TOKEN_FILE"},
		{"not a token", map[string]string{"AIBUILD_TOKEN": "s3cret-canary"}, "runs list", 2, "AIBUILD_TOKEN"},
		{"an unknown token", map[string]string{"AIBUILD_TOKEN": string(wrong)}, "runs list", 2, "unknown, expired or revoked"},
		{"an unknown token, to record", map[string]string{"AIBUILD_TOKEN": string(wrong)}, "image hold web --reason r", 2, "unknown, expired or revoked"},
		{"not an address", map[string]string{"AIBUILD_SERVER": "aibuild.example"}, "runs list", 2, "AIBUILD_SERVER"},
		{"no CA file", map[string]string{"AIBUILD_CA_FILE": file + "x"}, "runs list", 2, "ca file"},
		{"not a server", map[string]string{"AIBUILD_SERVER": page.URL}, "runs list", 2, "does not answer as an aibuild server"},
		{"nobody there", map[string]string{"AIBUILD_SERVER": "http://127.0.0.1:1"}, "runs list", 1, "127.0.0.1:1"},
		{"plain", map[string]string{"AIBUILD_SERVER": "http://aibuild.invalid:9753"}, "runs list", 1, "is not https"},
		{"a viewer starts", nil, "runs start web", 5, "may not do this"},
		{"a viewer cancels", nil, "runs cancel " + v7(), 5, "may not do this"},
	} {
		env := map[string]string{"AIBUILD_SERVER": p.url, "AIBUILD_TOKEN": viewer}
		for k, v := range tt.env {
			env[k] = v
		}
		r := call(t, env, strings.Fields(tt.line)...)
		if r.code != tt.code || !strings.Contains(r.err, tt.says) {
			t.Errorf("%s: %s = %d %s, want %d and %q", tt.name, tt.line, r.code, r.err, tt.code, tt.says)
		}
		for _, secret := range []string{viewer, string(wrong), "s3cret-canary"} {
			if strings.Contains(r.out+r.err, secret) {
				t.Errorf("%s: the token is shown: %s%s", tt.name, r.out, r.err)
			}
		}
		if n := strings.Count(r.err, "is not https"); n > 1 {
			t.Errorf("%s: the warning is printed %d times", tt.name, n)
		}
	}
}

// A server with a certificate of its own is trusted by AIBUILD_CA_FILE.
func TestServerTLS(t *testing.T) {
	l := httptest.NewTLSServer(http.NotFoundHandler())
	defer l.Close()
	token, _ := api.NewToken()
	env := map[string]string{"AIBUILD_SERVER": l.URL, "AIBUILD_TOKEN": string(token)}
	if r := call(t, env, "runs", "list"); r.code != 2 || !strings.Contains(r.err, "not trusted") {
		t.Errorf("an unknown certificate = %d %s", r.code, r.err)
	}
	env["AIBUILD_CA_FILE"] = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(env["AIBUILD_CA_FILE"], pemOf(l.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := call(t, env, "runs", "list"); r.code != 2 || !strings.Contains(r.err, "does not answer as an aibuild server") {
		t.Errorf("trusted = %d %s", r.code, r.err)
	}
}

// The server's caps decide what a run may do; while it is away, what it said
// last, else this machine's configuration, else nothing goes out.
func TestRulesOfTheServer(t *testing.T) {
	direct := map[string]string{"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private"}
	p := newPost(t, direct, func(c *api.Config) {
		c.Caps = func(project string) (definition.Policy, error) {
			if project != storyProject {
				return definition.Policy{}, fmt.Errorf("project %s: %w", project, lineage.ErrNotFound)
			}
			return definition.Policy{Project: project, ReleaseRefs: []string{"main"}}, nil
		}
	})
	client := &api.Client{URL: p.url, Token: api.Secret(p.token(api.RoleRecorder, storyProject, "group/strange"))}
	defer client.Close()
	fresh := func(local ...project) *rules {
		r := &rules{ctx: t.Context(), client: client, known: map[string]definition.Policy{}}
		r.local.GitLab.Projects = local
		return r
	}
	r := fresh()
	if policy, err := r.policy(storyProject); err != nil || !policy.MayRelease("main") || policy.MayRelease("feature") {
		t.Errorf("policy = %+v, %v", policy, err)
	}
	if _, err := r.policy("group/strange"); asError(err).Code != 5 {
		t.Errorf("a project that the server does not know = %v", err)
	}
	if _, err := r.policy(""); err != nil {
		t.Errorf("nobody's = %v", err)
	}
	p.cut.Store(1000)
	if policy, err := r.policy(storyProject); err != nil || policy.MayRelease("feature") {
		t.Errorf("away, policy = %+v, %v", policy, err)
	}
	local := project{Path: storyProject}
	local.Release.Refs = []string{"stable"}
	if policy, err := fresh(local).policy(storyProject); err != nil || policy.MayRelease("main") || !policy.MayRelease("stable") {
		t.Errorf("away, by this machine's configuration = %+v, %v", policy, err)
	}
	if _, err := fresh().policy(storyProject); asError(err).Code != 1 {
		t.Errorf("away and never asked = %v, want that it is tried again", err)
	}
}

// A Jenkins job names its build; a person's machine does not.
func TestJenkinsBuildIsNamed(t *testing.T) {
	job := map[string]string{"JENKINS_URL": "http://j/", "JOB_NAME": "aibuild/build", "BUILD_NUMBER": "7", "BUILD_TAG": "jenkins-7", "BUILD_URL": "http://j/7/"}
	of := func(without, as string) api.Build {
		return (&world{getenv: func(k string) string {
			if k == without {
				return as
			}
			return job[k]
		}}).jenkinsBuild()
	}
	if got, want := of("", ""), (api.Build{Job: "aibuild/build", Number: 7, Tag: "jenkins-7", URL: "http://j/7/"}); got != want {
		t.Errorf("build = %+v", got)
	}
	for _, tt := range [][2]string{{"JENKINS_URL", ""}, {"JOB_NAME", ""}, {"BUILD_NUMBER", ""}, {"BUILD_NUMBER", "x"}, {"BUILD_NUMBER", "0"}} {
		if got := of(tt[0], tt[1]); got != (api.Build{}) {
			t.Errorf("%s=%s: build = %+v", tt[0], tt[1], got)
		}
	}
}

func pemOf(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }

// The server goes away in mid-run: the work goes on, and what happened is
// recorded when it is back. A run of a Jenkins build, by a recorder's token, is
// the same as one with the database.
func TestServerAway(t *testing.T) {
	l := servers(t)
	post := newPost(t, l.env, nil)
	p, dir := newPerson(t), quick(t, "server-away", nil)
	for k, v := range post.env(api.RoleRecorder, "server-away") {
		if k != "AIBUILD_DATA" {
			p.extra = append(p.extra, k+"="+v)
		}
	}
	p.extra = append(p.extra, "AIBUILD_DSN=", "JENKINS_URL=http://127.0.0.1:1/", "JOB_NAME=aibuild/build", "BUILD_NUMBER=7", "BUILD_TAG=jenkins-7")
	// It is back before the run ends, as that is its build's to tell.
	r := p.whenSays(signs["build"], func(*os.Process) { post.cut.Store(12) }, "run", "--project", "server-away", dir)
	if left := post.cut.Load(); left > 0 {
		t.Errorf("the server was asked %d times less than it was to be away", left)
	}
	if r.code != 0 {
		t.Fatalf("the run ended with %d:\n%s", r.code, tailOf(r.err))
	}
	if !strings.Contains(r.err, "recorded later") && !strings.Contains(r.err, "delivered later") {
		t.Errorf("nothing is said about the server:\n%s", tailOf(r.err))
	}
	e := p.history("server-away")[0]
	if e["state"] != "released" || e["image_uuid"] != r.last() {
		t.Errorf("history: %v %v", e["state"], e["image_uuid"])
	}
	run := decoded[map[string]any](t, p.must(0, "runs", "show", r.last(), "-o", "json").out)
	if run["jenkins_build"] != 7.0 || run["jenkins_job"] != "aibuild/build" {
		t.Errorf("the run does not name its build: %v", run)
	}
	if left, _ := filepath.Glob(filepath.Join(p.data, "journal", "*")); len(left) > 0 {
		t.Errorf("journals left: %v", left)
	}
	p.must(0, "image", "show", r.last())
	if slices.ContainsFunc(processesWith(p.data), func(s string) bool { return strings.Contains(s, "mariadb") }) {
		t.Error("a private database was started")
	}
}
