package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What GitLab may answer, and what is made of it.
func TestGitLabRefusesGit(t *testing.T) {
	const token = "glpat-canary0token"
	h := newHost(t, token)
	g, m := h.project(t, "ops/images")
	one := g.push(head, "one", library)
	page := func(status int, header, body string) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			if name, value, found := strings.Cut(header, ": "); found {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
			return true
		}
	}
	var redirected bool
	elsewhere := newHost(t, "")
	elsewhere.set(func(*http.Request) { redirected = true }, nil)
	tests := []struct {
		name   string
		mirror func(*Mirror)
		answer func(http.ResponseWriter, *http.Request) bool
		reason error
		says   string
	}{
		{"wrong token", func(m *Mirror) { m.Token = "glpat-wrong0token" }, nil, ErrAuth, "new access token"},
		{"no token", func(m *Mirror) { m.Token = "" }, nil, ErrAuth, "new access token"},
		{"no such project", func(m *Mirror) { m.Project = "ops/nothing" }, nil, ErrNotFound, "member"},
		{"forbidden", nil, page(403, "", "no"), ErrForbidden, "may read"},
		{"too many", nil, page(429, "Retry-After: 7", "Retry later\n"), ErrUnavailable, "429"},
		{"starting", nil, page(502, "", "<html>GitLab is not responding</html>"), ErrUnavailable, "502"},
		{"a page", nil, page(200, "Content-Type: text/html", "<html>Sign in</html>"), ErrProtocol, "gitlab itself"},
		{"cut", nil, page(200, "Content-Type: application/x-git-upload-pack-advertisement", "001e# service=git-upload-pack\n0000"), ErrUnavailable, ""},
		{"redirect", nil, page(302, "Location: "+elsewhere.URL+"/gitlab/ops/images.git/info/refs?service=git-upload-pack", ""), ErrProtocol, "redirects"},
		{"hangs", func(m *Mirror) { m.Timeout = 300 * time.Millisecond }, func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true }, ErrUnavailable, "no whole answer in time"},
		{"unreachable", func(m *Mirror) { m.URL = "http://127.0.0.1:1" }, nil, ErrUnavailable, "127.0.0.1"},
		{"unknown certificate", func(m *Mirror) { m.CAFile = "/nonexistent/ca.pem"; m.URL = "https" + strings.TrimPrefix(h.URL, "http") }, nil, ErrUnavailable, ""},
		{"bad url", func(m *Mirror) { m.URL = "file:///etc" }, nil, ErrConfig, "http://"},
		{"a program as url", func(m *Mirror) { m.URL = "ext::sh -c touch% canary" }, nil, ErrConfig, "http://"},
		{"credentials", func(m *Mirror) { m.URL = "http://u:" + token + "@127.0.0.1:1" }, nil, ErrConfig, "credentials"},
		{"project with dots", func(m *Mirror) { m.Project = "ops/../../x" }, nil, ErrConfig, "no path of a project"},
		{"project like an option", func(m *Mirror) { m.Project = "--upload-pack=touch/x" }, nil, ErrConfig, "no path of a project"},
		{"project with a space", func(m *Mirror) { m.Project = "ops/x y" }, nil, ErrConfig, "no path of a project"},
		{"project with a newline", func(m *Mirror) { m.Project = "ops/x\ny" }, nil, ErrConfig, "no path of a project"},
		{"relative folder", func(m *Mirror) { m.Dir = "mirrors" }, nil, ErrConfig, "absolute"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := m
			m.Dir = filepath.Join(t.TempDir(), "m")
			if test.mirror != nil {
				test.mirror(&m)
			}
			h.set(nil, test.answer)
			defer h.set(nil, nil)
			_, err := m.Changed(t.Context(), Push{head, "", one}, Rules{})
			_, headsErr := m.Heads(t.Context())
			for _, err := range []error{err, headsErr} {
				failed, ok := errors.AsType[*Error](err)
				if !ok || !errors.Is(err, test.reason) || !strings.Contains(err.Error(), test.says) || failed.Hint == "" {
					t.Errorf("got %v; want %v that says %q, with a hint", err, test.reason, test.says)
				}
				if text := fmt.Sprintf("%v %+v", err, errors.Unwrap(err)); strings.Contains(text, token) || strings.Contains(text, m.basic()) {
					t.Errorf("the error holds the token: %s", text)
				}
			}
		})
	}
	if redirected {
		t.Error("the redirect was followed")
	}
	want(t, look(t, m, Push{head, "", one}, Rules{}), "a>build b>build", "")
}

// GitLab fails after the commits have come: nothing is decided, and the next look goes on.
func TestGitLabFailsHalfway(t *testing.T) {
	h := newHost(t, "")
	g, m := h.project(t, "ops/images")
	one := g.push(head, "one", library)
	posts := 0
	h.set(nil, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPost {
			if posts++; posts > 3 { // list of refs, commits; then the files
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
		}
		return false
	})
	push := Push{head, one, g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)}
	c, err := m.Changed(t.Context(), push, Rules{})
	if !errors.Is(err, ErrUnavailable) || len(c.Images) != 0 {
		t.Errorf("with 503 for the files: %q, %v", brief(c), err)
	}
	h.set(nil, nil)
	want(t, look(t, m, push, Rules{}), "a>build", "")
}

func TestMirrorIsCancelled(t *testing.T) {
	h := newHost(t, "")
	g, m := h.project(t, "ops/images")
	one := g.push(head, "one", library)
	ctx, cancel := context.WithCancel(t.Context())
	h.set(nil, func(_ http.ResponseWriter, r *http.Request) bool { cancel(); <-r.Context().Done(); return true })
	start := time.Now()
	_, err := m.Changed(ctx, Push{head, "", one}, Rules{})
	if !errors.Is(err, context.Canceled) || time.Since(start) > 20*time.Second {
		t.Errorf("after %v: %v", time.Since(start), err)
	}
	h.set(nil, nil)
	want(t, look(t, m, Push{head, "", one}, Rules{}), "a>build b>build", "")
}
