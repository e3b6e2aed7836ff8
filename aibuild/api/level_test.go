package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// A program of another level is told which side to update; others, such as curl, say none and are served.
func TestLevels(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Version = "v1.2.3" })
	token := l.token(RoleViewer)
	for said, todo := range map[string]string{"": "", "1": "", "2": "update the server", "0": "update the program", "x": "leave the header out"} {
		req := l.request("GET", "/api/v1/runs", token, nil)
		req.Header.Set("User-Agent", "aibuild/v9")
		req.Header.Set(levelHeader, said)
		got := l.do(req)
		text := string(got.body)
		if todo == "" && got.status != http.StatusOK || todo != "" && (got.code(t) != CodeVersion || !strings.Contains(text, todo) || !strings.Contains(text, "aibuild v1.2.3") || !strings.Contains(text, "aibuild/v9")) {
			t.Errorf("level %q: HTTP %d %s, want %s", said, got.status, got.body, todo)
		}
		if got.header.Get(levelHeader) != "1" || got.header.Get(versionHeader) != "v1.2.3" {
			t.Errorf("level %q: the server does not say its own: %v", said, got.header)
		}
	}
	if got := l.send("GET", "/api/v1/runs", "", nil); got.header.Get(versionHeader) != "" {
		t.Error("who has no token learns the server's version")
	}
}

// A server that is older than this client answers what it does not know with 404: that is no missing image.
func TestOlderServer(t *testing.T) {
	l := newLab(t, nil)
	for level, want := range map[string]string{"": CodeVersion, "0": CodeVersion, "1": CodeNotFound} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(levelHeader) != "1" || r.UserAgent() != "aibuild/v2" {
				t.Errorf("the client says level %q, %q", r.Header.Get(levelHeader), r.UserAgent())
			}
			if level != "" {
				w.Header().Set(levelHeader, level)
			}
			w.Header().Set(versionHeader, "v0.9")
			w.Header().Set("Content-Type", problemType)
			w.WriteHeader(http.StatusNotFound)
			if _, err := w.Write([]byte(`{"code":"not_found","detail":"there is nothing at this address","status":404}`)); err != nil {
				t.Error(err)
			}
		}))
		c := &Client{URL: server.URL, Token: l.token(RoleViewer), Version: "v2"}
		_, _, err := c.Runs(t.Context(), lineage.RunFilter{})
		denied, isDenied := errors.AsType[*Denied](err)
		if want == CodeVersion && (!isDenied || denied.Code != CodeVersion || !strings.Contains(err.Error(), "update the server")) || want == CodeNotFound && !errors.Is(err, lineage.ErrNotFound) {
			t.Errorf("level %q: %v", level, err)
		}
		if c.ServerVersion() != "v0.9" {
			t.Errorf("version of the server: %q", c.ServerVersion())
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	}
}
