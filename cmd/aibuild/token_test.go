package main

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/api"
)

// A token is printed once, alone, and lets in until it is revoked.
func TestTokens(t *testing.T) {
	env := map[string]string{"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private"}
	made := call(t, env, "token", "create", "ci", "--role", "recorder", "--project", "group/images", "--project", "group/more", "--expires", "2d")
	token, ok := strings.CutSuffix(made.out, "\n")
	if made.code != 0 || !ok || !regexp.MustCompile(`^aib_[0-9A-Za-z]{43}$`).MatchString(token) || strings.Contains(made.err, token) {
		t.Fatalf("token create = %d %q %s", made.code, made.out, made.err)
	}
	answer := server(t, env)
	if status := answer(token); status != http.StatusOK {
		t.Errorf("the token is good for HTTP %d", status)
	}
	list := call(t, env, "token", "list", "-o", "json")
	shown := decoded[[]shownToken](t, list.out)
	if list.code != 0 || len(shown) != 1 || shown[0].Name != "ci" || shown[0].Role != "recorder" || len(shown[0].Projects) != 2 || shown[0].LastUsedAt.IsZero() {
		t.Errorf("token list = %d %s%s", list.code, list.out, list.err)
	}
	if left := time.Until(shown[0].ExpiresAt); left < 47*time.Hour || left > 49*time.Hour {
		t.Errorf("it expires in %v, want 2 days", left)
	}
	if again := call(t, env, "token", "create", "ann", "--role", "viewer"); again.code != 0 {
		t.Errorf("token create = %d %s", again.code, again.err)
	}
	table := call(t, env, "token", "list")
	if table.code != 0 || !strings.Contains(table.out, "group/images,group/more") || !strings.Contains(table.out, "viewer") {
		t.Errorf("token list = %d\n%s", table.code, table.out)
	}
	for _, text := range []string{list.out, list.err, table.out, table.err} {
		if strings.Contains(text, token) || strings.Contains(text, api.HashToken(api.Secret(token))) {
			t.Errorf("the list shows the token: %s", text)
		}
	}
	if left := time.Until(decoded[[]shownToken](t, call(t, env, "token", "list", "-o", "json").out)[0].ExpiresAt); left < 89*24*time.Hour || left > 91*24*time.Hour {
		t.Errorf("a token expires in %v by itself, want 90 days", left)
	}
	if r := call(t, env, "token", "revoke", "ci"); r.code != 0 || r.out != "" {
		t.Errorf("token revoke = %d %q %s", r.code, r.out, r.err)
	}
	if status := answer(token); status != http.StatusUnauthorized {
		t.Errorf("revoked, the token is good for HTTP %d", status)
	}
	if r := call(t, env, "token", "revoke", "ci"); r.code != 0 {
		t.Errorf("token revoke again = %d %s", r.code, r.err)
	}
	if r := call(t, env, "token", "revoke", "nobody"); r.code != 4 {
		t.Errorf("token revoke nobody = %d %s", r.code, r.err)
	}
}

// server answers tokens of the environment's database.
func server(t *testing.T, env map[string]string) func(token string) (status int) {
	t.Helper()
	w := &world{getenv: func(k string) string { return env[k] }, stderr: &strings.Builder{}}
	w.config = config{getenv: w.getenv}
	store, err := w.openStore(t.Context(), hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	s, err := api.New(api.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewServer(s.Handler())
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
	return func(token string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.URL+"/api/v1/runs", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := h.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
}

func TestTokensAreRefused(t *testing.T) {
	for _, words := range [][]string{
		{"ci"}, {"ci", "--role", "emperor"}, {"ci", "--role", "recorder"}, {"two words", "--role", "viewer"}, {"ci", "--role", "viewer", "--project", "/x"},
		{"ci", "--role", "viewer", "--expires", "soon"}, {"ci", "--role", "viewer", "--expires", "0s"},
	} {
		if r := call(t, nil, append([]string{"token", "create"}, words...)...); r.code != 2 || r.out != "" {
			t.Errorf("token create %v = %d %q %s", words, r.code, r.out, r.err)
		}
	}
}
