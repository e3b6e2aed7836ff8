package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// What somebody has is not sent again, and what has changed is.
func TestETags(t *testing.T) {
	s := newTold(t)
	viewer, mine := s.token(RoleViewer), s.token(RoleViewer, project)
	for _, path := range []string{
		"/api/v1/images", "/api/v1/images/tiny", "/api/v1/images/tiny/history", "/api/v1/images/tiny/cells", "/api/v1/runs", "/api/v1/events", "/api/v1/search?q=t", "/api/v1/resolve?name=tiny", "/api/v1/diff?from=tiny&to=tiny",
	} {
		asked := func(token Secret, tag string) reply {
			req := s.request("GET", path, token, nil)
			if tag != "" {
				req.Header.Set("If-None-Match", tag)
			}
			return s.do(req)
		}
		first := asked(viewer, "")
		tag := first.header.Get("ETag")
		if first.status != http.StatusOK || len(tag) < 20 || strings.HasPrefix(tag, "W/") {
			t.Fatalf("%s: HTTP %d, tag %q", path, first.status, tag)
		}
		for _, have := range []string{tag, `"other", ` + tag, "W/" + tag, "*"} {
			if again := asked(viewer, have); again.status != http.StatusNotModified || len(again.body) != 0 || again.header.Get("ETag") == "" || again.header.Get("Content-Type") != "" {
				t.Errorf("%s with %s: HTTP %d %.100s", path, have, again.status, again.body)
			}
		}
		for _, have := range []string{`"other"`, strings.Trim(tag, `"`) + "x", `""`, ",,"} {
			if again := asked(viewer, have); again.status != http.StatusOK || !bytes.Equal(again.body, first.body) {
				t.Errorf("%s with %s: HTTP %d", path, have, again.status)
			}
		}
		if got := asked("", tag); got.status != http.StatusUnauthorized {
			t.Errorf("%s: a tag is no token: HTTP %d", path, got.status)
		}
	}
	all, some := s.send("GET", "/api/v1/images", viewer, nil), s.send("GET", "/api/v1/images", mine, nil)
	if all.header.Get("ETag") == some.header.Get("ETag") {
		t.Error("what one token sees has the tag of what another sees")
	}
	s.stored(builtRecord(newID(), "tiny", project))
	req := s.request("GET", "/api/v1/images", viewer, nil)
	req.Header.Set("If-None-Match", all.header.Get("ETag"))
	if got := s.do(req); got.status != http.StatusOK || got.header.Get("ETag") == all.header.Get("ETag") {
		t.Errorf("after another image: HTTP %d", got.status)
	}
	for _, path := range []string{"/api/v1/images/none", "/api/v1/runs?limit=-1"} {
		if got := s.send("GET", path, viewer, nil); got.status < 400 || got.header.Get("ETag") != "" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: HTTP %d %v", path, got.status, got.header)
		}
	}
	if got := s.send("POST", "/api/v1/runs/"+s.ended+"/retry", s.token(RoleAdmin), nil); got.header.Get("ETag") != "" {
		t.Errorf("a POST has a tag: %v", got.header)
	}
}

// Large answers come compressed to who takes that, with a tag of their own.
func TestGzip(t *testing.T) {
	s := newTold(t)
	token := s.token(RoleViewer)
	server := httptest.NewServer(s.api.Handler())
	defer server.Close()
	ask := func(path string, header ...string) reply {
		req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+string(token))
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		return s.do(req) // what is asked for by hand is not unpacked by the client
	}
	const takes = "Accept-Encoding"
	for _, path := range []string{"/api/v1/events", "/openapi.json", "/docs", "/static/aibuild.css", "/"} {
		plain, packed := ask(path, takes, "identity"), ask(path, takes, "gzip, zstd, br")
		z, err := gzip.NewReader(bytes.NewReader(packed.body))
		if err != nil || packed.header.Get("Content-Encoding") != "gzip" || !strings.Contains(strings.Join(packed.header.Values("Vary"), ","), takes) {
			t.Errorf("%s: %v %v", path, err, packed.header)
			continue
		}
		b, err := io.ReadAll(z)
		if err != nil || plain.header.Get("Content-Encoding") != "" || path != "/" && !bytes.Equal(b, plain.body) || len(packed.body) >= len(plain.body) {
			t.Errorf("%s: %d bytes, packed %d, unpacked %d, %v", path, len(plain.body), len(packed.body), len(b), err)
		}
		tag := packed.header.Get("ETag")
		if !strings.HasPrefix(path, "/api/") {
			continue
		}
		if tag == plain.header.Get("ETag") {
			t.Errorf("%s: other bytes have the same tag %s", path, tag)
		}
		for _, have := range []string{tag, plain.header.Get("ETag")} {
			if got := ask(path, takes, "gzip", "If-None-Match", have); got.status != http.StatusNotModified || got.header.Get("ETag") != have || len(got.body) != 0 {
				t.Errorf("%s with %s: HTTP %d %v", path, have, got.status, got.header)
			}
		}
	}
	for _, path := range []string{"/healthz", "/api/v1/runs?image=none"} {
		if got := ask(path, takes, "gzip"); got.header.Get("Content-Encoding") != "" {
			t.Errorf("%s: a few bytes are compressed", path)
		}
	}
}

// A token that asks too often is told when to ask again, and others are not.
func TestRate(t *testing.T) {
	now := time.Now()
	l := newLab(t, func(c *Config) { c.Rate, c.Now = Rate{PerSecond: 2, Burst: 3}, func() time.Time { return now } })
	eager, other := l.token(RoleViewer), l.token(RoleViewer, project)
	for range 3 {
		if got := l.send("GET", "/api/v1/runs", eager, nil); got.status != http.StatusOK {
			t.Fatalf("HTTP %d", got.status)
		}
	}
	for _, path := range []string{"/api/v1/runs", "/api/v1/images/none", "/api/v1/nothing"} {
		if got := l.send("GET", path, eager, nil); got.code(t) != CodeRate || got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") != "1" {
			t.Errorf("%s: HTTP %d %v %s", path, got.status, got.header, got.body)
		}
	}
	if got := l.send("GET", "/api/v1/runs", other, nil); got.status != http.StatusOK {
		t.Errorf("another token: HTTP %d", got.status)
	}
	if got := l.send("GET", "/api/v1/runs", "", nil); got.status != http.StatusUnauthorized {
		t.Errorf("no token: HTTP %d", got.status)
	}
	if _, _, err := l.client(eager).Runs(t.Context(), lineage.RunFilter{}); !isA[*lineage.Unavailable](err) {
		t.Errorf("the client gives %v, want that it is to be tried later", err)
	}
	if got := l.send("GET", "/metrics", "", nil); !strings.Contains(string(got.body), `aibuild_http_refused_total{reason="rate"} 6`) {
		t.Errorf("refusals are not counted: %s", got.body)
	}
	now = now.Add(500 * time.Millisecond)
	if got := l.send("GET", "/api/v1/runs", eager, nil); got.status != http.StatusOK {
		t.Errorf("half a second later: HTTP %d", got.status)
	}
}

func TestRates(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		rate Rate
		want int // at once
	}{{Rate{}, 1000}, {Rate{PerSecond: 2}, 4}, {Rate{PerSecond: 0.1}, 1}, {Rate{PerSecond: 5, Burst: 7}, 7}, {Rate{PerSecond: -1}, 5000}} {
		r, n := newRates(c.rate), 0
		for n < 5000 && r.allow(lineage.Token{ID: 1}, now) == nil {
			n++
		}
		if n != c.want {
			t.Errorf("%+v lets %d through at once, want %d", c.rate, n, c.want)
		}
	}
	r := newRates(Rate{PerSecond: 1, Burst: 2})
	for id := range int64(10 * idleTokens) {
		if err := r.allow(lineage.Token{ID: id}, now.Add(time.Duration(id)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.of); n > idleTokens {
		t.Errorf("%d tokens are remembered", n)
	}
}
