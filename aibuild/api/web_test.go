package api

import (
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// browser is somebody with cookies, who follows no redirects by themselves.
type browser struct {
	lab    *lab
	client *http.Client
}

func (l *lab) browser() *browser {
	l.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		l.t.Fatal(err)
	}
	c := *l.http.Client()
	c.Jar = jar
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{l, &c}
}

func (b *browser) do(method, path string, form url.Values, headers ...string) reply {
	b.lab.t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(b.lab.t.Context()), method, b.lab.http.URL+path, strings.NewReader(form.Encode()))
	if err != nil {
		b.lab.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", b.lab.http.URL)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.lab.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.lab.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, body}
}

func (b *browser) signIn(token Secret) reply {
	b.lab.t.Helper()
	return b.do("POST", "/login", url.Values{"token": {string(token)}, "next": {"/runs"}})
}

func TestSession(t *testing.T) {
	clock := time.Now()
	l := newLab(t, func(c *Config) { c.Now = func() time.Time { return clock }; c.Secure = true })
	token, hash := NewToken()
	if _, err := l.store.CreateToken(t.Context(), lineage.Token{Name: "ann", Role: RoleViewer, CreatedBy: "t"}, hash); err != nil {
		t.Fatal(err)
	}
	b := l.browser()
	if got := b.do("GET", "/runs", nil); got.status != http.StatusUnauthorized || !strings.Contains(string(got.body), `name="next" value="/runs"`) {
		t.Errorf("without a session: HTTP %d %s", got.status, got.body)
	}
	wrong, _ := NewToken()
	for _, bad := range []Secret{"", "glpat-12345678", wrong} {
		if got := b.signIn(bad); got.status != http.StatusUnauthorized || got.header.Get("Set-Cookie") != "" || strings.Contains(string(got.body), string(wrong)) {
			t.Errorf("signed in with %q: HTTP %d", bad, got.status)
		}
	}
	in := b.signIn(token)
	cookie := in.header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Lax", "Secure", "Path=/", "Expires="} {
		if in.status != http.StatusSeeOther || in.header.Get("Location") != "/runs" || !strings.Contains(cookie, want) {
			t.Errorf("sign-in: HTTP %d to %s, cookie %s lacks %s", in.status, in.header.Get("Location"), cookie, want)
		}
	}
	if strings.Contains(cookie, string(token)) {
		t.Errorf("the token is in the browser: %s", cookie)
	}
	// Go's jar keeps Secure cookies from plain HTTP: they are carried by hand.
	value, _, _ := strings.Cut(cookie, ";")
	read := func(cookie string) int { return b.do("GET", "/runs", nil, "Cookie", cookie).status }
	if got := read(value); got != http.StatusOK {
		t.Errorf("with a session: HTTP %d", got)
	}
	name, sealed, _ := strings.Cut(value, "=")
	for _, forged := range []string{"", "x", sealed[:len(sealed)-2] + "00", strings.Replace(sealed, ".", ".9", 1), hash + ".99999999999." + strings.Repeat("0", 64), sealed + ".", "." + sealed} {
		if got := read(name + "=" + forged); got != http.StatusUnauthorized {
			t.Errorf("forged session %q: HTTP %d", forged, got)
		}
	}
	if got := l.send("GET", "/api/v1/runs", "", nil); got.status != http.StatusUnauthorized {
		t.Errorf("API without a token: HTTP %d", got.status)
	}
	clock = clock.Add(sessionFor + time.Second)
	if got := read(value); got != http.StatusUnauthorized {
		t.Errorf("after its end: HTTP %d", got)
	}
	clock = clock.Add(-sessionFor)
	if _, err := l.store.RevokeToken(t.Context(), "ann", "t"); err != nil {
		t.Fatal(err)
	}
	part := b.do("GET", "/runs?part=rows", nil, "Cookie", value, "HX-Request", "true")
	if part.status != http.StatusUnauthorized || part.header.Get("HX-Refresh") != "true" {
		t.Errorf("a page that was open when its token was revoked: HTTP %d, HX-Refresh %q", part.status, part.header.Get("HX-Refresh"))
	}
	out := b.do("POST", "/logout", nil, "Cookie", value)
	if out.status != http.StatusSeeOther || !strings.Contains(out.header.Get("Set-Cookie"), sessionCookie+"=;") {
		t.Errorf("sign-out: HTTP %d %s", out.status, out.header.Get("Set-Cookie"))
	}
}

// A session is good at another server with the same key, and at none with another.
func TestSessionKey(t *testing.T) {
	l := newLab(t, func(c *Config) { c.SessionKey = []byte(strings.Repeat("k", 32)) })
	b := l.browser()
	if got := b.signIn(l.token(RoleViewer)); got.status != http.StatusSeeOther {
		t.Fatalf("sign-in: HTTP %d", got.status)
	}
	at, err := url.Parse(l.http.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookie := b.client.Jar.Cookies(at)[0].String()
	for key, want := range map[string]int{"k": http.StatusOK, "x": http.StatusUnauthorized} {
		other := labOn(t, l.store, func(c *Config) { c.SessionKey = []byte(strings.Repeat(key, 32)) })
		if got := other.browser().do("GET", "/runs", nil, "Cookie", cookie); got.status != want {
			t.Errorf("key %s: HTTP %d, want %d", key, got.status, want)
		}
	}
}

func TestOwnAddress(t *testing.T) {
	for next, want := range map[string]string{
		"/runs?state=failure": "/runs?state=failure", "": "/", "https://evil.example/": "/", "//evil.example": "/", `/\evil.example`: "/", "/\t/evil": "/",
		"javascript:alert(1)": "/", "runs": "/", "/a\r\nSet-Cookie: x": "/",
	} {
		if got := ownAddress(next); got != want {
			t.Errorf("ownAddress(%q) = %q, want %q", next, got, want)
		}
	}
}

// webMatrix says who may open which page; "*" is everybody with a token.
func (l *lab) webMatrix(run, ended, image string) map[string][]string {
	steer, release := []string{RoleOperator, RoleReleaser, RoleAdmin}, []string{RoleReleaser, RoleAdmin}
	lines := map[string][]string{
		"GET /": Roles(), "GET /clusters": Roles(), "GET /images": Roles(), "GET /images/" + image: Roles(), "GET /search?q=tiny": Roles(), "GET /runs": Roles(), "GET /runs/" + run: Roles(), "GET /runs/" + ended + "/log/follow": Roles(), "GET /audit?image=tiny": Roles(), "GET /packages?name=openssl": Roles(), "GET /images/" + image + "/evidence": Roles(), "GET /images/" + image + "/evidence/evidence/a.log": Roles(), "GET /diff?a=" + image + "&b=" + image: Roles(),
		"GET /runs/" + run + "/cancel": steer, "POST /runs/" + run + "/cancel": steer, "GET /runs/" + ended + "/retry": steer, "POST /runs/" + ended + "/retry": steer,
		"GET /images/tiny/start": steer, "POST /images/tiny/start": steer,
	}
	for _, action := range []string{"release", "rollback", "revoke", "restore", "hold"} {
		lines["GET /images/tiny/"+action], lines["POST /images/tiny/"+action] = release, release
	}
	return lines
}

func TestWebMatrix(t *testing.T) {
	l := newLab(t, nil)
	var have []string
	for line := range l.webMatrix("RUN", "RUN", "tiny") {
		if line, _, _ = strings.Cut(line, "?"); line == "GET /" {
			line = "GET /{$}"
		}
		have = append(have, strings.NewReplacer("/runs/RUN", "/runs/{id}", "evidence/evidence/a.log", "evidence/{file...}", "/images/tiny", "/images/{ref}").Replace(line))
	}
	for pattern := range l.api.pages {
		if !slices.Contains(have, pattern) {
			t.Errorf("%s is not in the matrix of pages", pattern)
		}
	}
	for _, role := range append(Roles(), "") {
		t.Run("as "+role, func(t *testing.T) {
			l := newLab(t, func(c *Config) { c.Actor, c.Logs, c.Evidence = &helper{}, anyLog{}, anyShelf{} })
			run, ended := l.run(nil), l.run(nil)
			l.stored(builtRecord(run.ID, "tiny", project))
			l.pushed(project, "refs/heads/main", strings.Repeat("ab", 20))
			l.end(ended.ID, lineage.RunFailure)
			b := l.browser()
			if role != "" {
				var projects []string
				if role == RoleRecorder {
					projects = []string{project}
				}
				if got := b.signIn(l.token(role, projects...)); got.status != http.StatusSeeOther {
					t.Fatalf("sign-in: HTTP %d", got.status)
				}
			}
			for line, roles := range l.webMatrix(run.ID, ended.ID, run.ID) {
				method, path, _ := strings.Cut(line, " ")
				got := b.do(method, path, url.Values{"reason": {"because"}})
				switch {
				case role == "" && got.status != http.StatusUnauthorized:
					t.Errorf("%s without a session: HTTP %d", line, got.status)
				case role != "" && !slices.Contains(roles, role) && got.status != http.StatusForbidden:
					t.Errorf("%s: HTTP %d, want 403", line, got.status)
				case slices.Contains(roles, role) && got.status != http.StatusOK && got.status != http.StatusSeeOther:
					t.Errorf("%s: HTTP %d, want success: %s", line, got.status, got.body)
				}
				if got.header.Get("X-Frame-Options") != "DENY" || !strings.Contains(got.header.Get("Content-Security-Policy"), "frame-ancestors 'none'") || got.header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s: headers %v", line, got.header)
				}
			}
		})
	}
}

// anyLog has a log of every run.
type anyLog struct{}

func (anyLog) Open(name string) (fs.File, error) {
	if !strings.HasSuffix(name, ".log") {
		return nil, fs.ErrNotExist
	}
	return fstest.MapFS{name: {Data: []byte("a line\n")}}.Open(name)
}

// anyShelf has one file of evidence for every image.
type anyShelf struct{}

func (anyShelf) Files(context.Context, lineage.Image) ([]string, error) {
	return []string{"evidence/a.log"}, nil
}
func (anyShelf) Open(context.Context, lineage.Image, string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("a line\n")), nil
}

// What another site's page sends does nothing, whoever is signed in here.
func TestCrossSite(t *testing.T) {
	l := newLab(t, nil)
	run := l.run(nil)
	b := l.browser()
	b.signIn(l.token(RoleAdmin))
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "", "Origin", "null"},
	} {
		for _, path := range []string{"/runs/" + run.ID + "/cancel", "/images/tiny/start"} {
			if got := b.do("POST", path, url.Values{"reason": {"x"}}, headers...); got.status != http.StatusForbidden {
				t.Errorf("%s with %v: HTTP %d, want 403", path, headers, got.status)
			}
		}
		if got := b.do("POST", "/login", url.Values{"token": {string(l.token(RoleViewer))}}, headers...); got.status != http.StatusForbidden || got.header.Get("Set-Cookie") != "" {
			t.Errorf("sign-in with %v: HTTP %d", headers, got.status)
		}
	}
	if now, err := l.store.Run(t.Context(), run.ID); err != nil || now.CancelBy != "" {
		t.Errorf("the run is cancelled by %q, %v", now.CancelBy, err)
	}
}

func TestPageActions(t *testing.T) {
	l := newLab(t, nil)
	run, ended := l.run(nil), l.run(nil)
	l.end(ended.ID, lineage.RunFailure)
	b := l.browser()
	b.signIn(l.token(RoleOperator))
	ask := b.do("GET", "/runs/"+run.ID+"/cancel", nil)
	if ask.status != http.StatusOK || !strings.Contains(string(ask.body), "Cancel the run of tiny") || !strings.Contains(string(ask.body), `action="/runs/`+run.ID+`/cancel"`) {
		t.Errorf("the page that asks: HTTP %d %s", ask.status, ask.body)
	}
	if got := b.do("POST", "/runs/"+run.ID+"/cancel", url.Values{"reason": {"  "}}); got.status != http.StatusUnprocessableEntity || !strings.Contains(string(got.body), "Say why") {
		t.Errorf("without a reason: HTTP %d", got.status)
	}
	done := b.do("POST", "/runs/"+run.ID+"/cancel", url.Values{"reason": {"wrong mirror"}})
	if done.status != http.StatusSeeOther || done.header.Get("Location") != "/runs/"+run.ID+"?said=cancelled" {
		t.Errorf("cancel: HTTP %d to %s", done.status, done.header.Get("Location"))
	}
	if now, err := l.store.Run(t.Context(), run.ID); err != nil || now.CancelBy != RoleOperator || now.CancelReason != "wrong mirror" {
		t.Errorf("cancelled: %+v, %v", now, err)
	}
	if page := b.do("GET", done.header.Get("Location"), nil); !strings.Contains(string(page.body), "The end of the run is asked for.") {
		t.Error("the page does not say what was done")
	}
	again := b.do("POST", "/runs/"+ended.ID+"/cancel", url.Values{"reason": {"x"}})
	if again.status != http.StatusConflict || !strings.Contains(string(again.body), "has ended") && !strings.Contains(string(again.body), "failure") {
		t.Errorf("cancel of what has ended: HTTP %d %s", again.status, again.body)
	}
	retried := b.do("POST", "/runs/"+ended.ID+"/retry", url.Values{"reason": {"the mirror is back"}, "from": {"build"}})
	id := strings.TrimSuffix(strings.TrimPrefix(retried.header.Get("Location"), "/runs/"), "?said=retried")
	if now, err := l.store.Run(t.Context(), id); err != nil || now.RetryOf != ended.ID || now.Attempt != 2 {
		t.Errorf("retry: HTTP %d, %+v, %v", retried.status, now, err)
	}
}

// Whatever comes from outside is text on a page.
func TestPagesRunNothing(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>{{.}}javascript:alert(1)`
	l := newLab(t, nil)
	run := l.run(func(r *lineage.Run) {
		r.Ref, r.Commit, r.Folder, r.BuildURL, r.JenkinsJob, r.Build = "refs/heads/"+evil, evil[:60], evil, "javascript:alert(1)//"+evil, evil, 1
	})
	b := builtRecord(run.ID, "tiny", project)
	b.Actor, b.Reason, b.Built.FromISO, b.Built.UpdateContents, b.Built.OSType = evil, evil, "javascript:alert(1)", evil, `<b>x</b>`
	b.Built.Artifact.SourceURL, b.Built.Artifact.BuildURL, b.Built.Artifact.Ref, b.Built.Artifact.Tools = "javascript:alert(1)", "javascript:alert(1)", evil, map[string]string{evil: evil}
	tested := testedRecord(run.ID, lineage.FailedTest)
	tested.Tested.TestCase = evil
	tested.Tested.Cases[0] = lineage.TestCase{Case: evil, Cell: evil[:60], Result: lineage.FailedTest, Message: evil, Evidence: evil}
	l.stored(b, tested, releasedRecord(run.ID, "<i>alpha</i>", lineage.TargetVisible, evil[:30]))
	l.stored(lineage.Record{ID: newID(), At: day, Actor: evil, Channel: lineage.ChannelDaemon, RunID: run.ID, Verb: lineage.VerbEnded, Reason: evil,
		Run: &lineage.Run{ID: run.ID, State: lineage.RunUnstable, Failure: &lineage.Failure{Stage: "test", Sentence: evil, Lines: []string{evil}}}})
	p := l.browser()
	p.signIn(l.token(RoleAdmin))
	for _, path := range []string{"/", "/images", "/images/tiny", "/images/" + run.ID, "/runs", "/runs/" + run.ID, "/audit", "/images/" + run.ID + "/evidence", "/audit?actor=" + url.QueryEscape(evil), "/packages?name=" + url.QueryEscape(evil), "/diff?a=" + run.ID + "&b=" + run.ID, "/search?q=" + url.QueryEscape(evil), "/images?name=" + url.QueryEscape(evil), "/runs/" + run.ID + "/cancel", "/nothing/" + url.PathEscape(evil), "/login?next=" + url.QueryEscape(evil)} {
		text := string(p.do("GET", path, nil).body)
		for _, bad := range []string{"<script>alert", "<img src=x", `href="javascript:`, "<b>x</b>", "<i>alpha", " onerror=alert(1)>"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s holds %s", path, bad)
			}
		}
		for _, tag := range []string{"<style", " style=", "<iframe", " onclick="} {
			if strings.Contains(text, tag) {
				t.Errorf("%s holds %s, which the page's own policy forbids", path, tag)
			}
		}
	}
}
