package hooks_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

func TestMain(m *testing.M) {
	hooks.RunTestDaemon()
	goleak.VerifyTestMain(m)
}

const token = "glpat-canary0token"

// Answers in the shapes of a real GitLab.
const (
	version = `{"version":"19.2.0-ee","revision":"abc123"}`
	bot     = `{"id":42,"username":"project_7_bot_1a2b","name":"aibuild","state":"active","bot":true,"public_email":null,` +
		`"created_at":"2026-01-02T03:04:05.678Z","web_url":"https://gitlab.example.org/project_7_bot_1a2b"}`
	self = `{"id":9,"name":"aibuild","revoked":false,"created_at":"2026-01-02T03:04:05.678Z","scopes":["api","read_repository"],` +
		`"user_id":42,"last_used_at":null,"active":true,"expires_at":"2027-01-31"}`
	selfReadOnly  = `{"id":9,"name":"aibuild","revoked":false,"scopes":["read_api"],"user_id":42,"active":true,"expires_at":null}`
	unauthorized  = `{"message":"401 Unauthorized"}`
	revoked       = `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`
	insufficient  = `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api"}`
	notFound      = `{"message":"404 Not Found"}`
	nginxPage     = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>GitLab is not responding</body></html>"
	signInPage    = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"
	notPersonal   = `{"message":"400 Bad request"}`
	echoesTheMark = `{"message":"no such token: ` + token + `"}`
)

// reply is one answer of the server; its header is "Name: value", or empty.
type reply struct {
	status       int
	header, body string
}

// answers are those of the three requests of Check.
type answers struct{ version, user, self reply }

func good() answers {
	return answers{reply{200, "", version}, reply{200, "", bot}, reply{200, "", self}}
}

// serve answers below a path, checks the token, and fails the test for every other request.
func serve(t *testing.T, a answers) string {
	t.Helper()
	mux := http.NewServeMux()
	for path, answer := range map[string]reply{"version": a.version, "user": a.user, "personal_access_tokens/self": a.self} {
		mux.HandleFunc("GET /gitlab/api/v4/"+path, func(w http.ResponseWriter, r *http.Request) {
			if got := r.Header.Get("PRIVATE-TOKEN"); got != token {
				t.Errorf("%s: PRIVATE-TOKEN %q", path, got)
			}
			w.Header().Set("Content-Type", "application/json")
			if name, value, found := strings.Cut(answer.header, ": "); found {
				w.Header().Set(name, value)
			}
			w.WriteHeader(answer.status)
			if _, err := w.Write([]byte(answer.body)); err != nil && len(answer.body) < 1<<20 {
				t.Error(err)
			}
		})
	}
	mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) { t.Errorf("unexpected request %s %s", r.Method, r.URL) })
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server.URL + "/gitlab"
}

func TestCheck(t *testing.T) {
	told := hooks.Health{Version: "19.2.0-ee", Revision: "abc123", User: "project_7_bot_1a2b", ScopesKnown: true,
		Scopes: []string{"api", "read_repository"}, Expires: time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)}
	untold := hooks.Health{Version: told.Version, Revision: told.Revision, User: told.User}
	tests := []struct {
		name string
		self reply
		want hooks.Health
	}{
		{"scopes told", good().self, told},
		{"before 15.5", reply{404, "", notFound}, untold},
		{"no access token", reply{400, "", notPersonal}, untold},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := good()
			a.self = test.self
			for _, slash := range []string{"", "/"} {
				got, err := hooks.Client{URL: serve(t, a) + slash, Token: token}.Check(context.Background())
				if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
					t.Errorf("Check: %v (-want +got):\n%s", err, diff)
				}
			}
		})
	}
}

func TestCheckScope(t *testing.T) {
	a := good()
	a.self.body = selfReadOnly
	health, err := hooks.Client{URL: serve(t, a), Token: token}.Check(context.Background())
	checkError(t, err, hooks.ErrForbidden, 0, "it has read_api, not api")
	if health.User == "" || !health.ScopesKnown {
		t.Errorf("health %+v should be filled beside the error", health)
	}
}

func TestCheckRefused(t *testing.T) {
	tests := []struct {
		name    string
		version reply
		reason  error
		status  int
		says    string
	}{
		{"wrong token", reply{401, "", unauthorized}, hooks.ErrAuth, 401, "401 Unauthorized"},
		{"revoked token", reply{401, "", revoked}, hooks.ErrAuth, 401, "new access token"},
		{"scope too low", reply{403, "", insufficient}, hooks.ErrForbidden, 403, "scope api"},
		{"echoed token", reply{403, "", echoesTheMark}, hooks.ErrForbidden, 403, "no such token: ***"},
		{"too many", reply{429, "Retry-After: 17", "Retry later\n"}, hooks.ErrUnavailable, 429, "after 17 s"},
		{"starting", reply{502, "", nginxPage}, hooks.ErrUnavailable, 502, "bad gateway; gitlab is starting"},
		{"wrong path", reply{404, "", notFound}, hooks.ErrProtocol, 404, "without /api/v4"},
		{"redirect", reply{302, "Location: https://sso:pw@login.example.org/start?session=hidden", ""}, hooks.ErrProtocol, 302,
			"redirects to https://login.example.org/start;"},
		{"a page", reply{200, "", signInPage}, hooks.ErrProtocol, 200, "invalid character"},
		{"other json", reply{200, "", `{"ok":true}`}, hooks.ErrProtocol, 200, "no version"},
		{"endless", reply{200, "", `{"version":"` + strings.Repeat("x", 10<<20) + `"}`}, hooks.ErrProtocol, 200, "larger than 8 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := good()
			a.version = test.version
			_, err := hooks.Client{URL: serve(t, a), Token: token, Timeout: 2 * time.Minute}.Check(context.Background())
			checkError(t, err, test.reason, test.status, test.says)
		})
	}
}

func checkError(t *testing.T, err, reason error, status int, says string) {
	t.Helper()
	var failed *hooks.Error
	if !errors.As(err, &failed) || !errors.Is(err, reason) || failed.Status != status {
		t.Fatalf("got %#v, want %v with status %d", err, reason, status)
	}
	if !strings.Contains(err.Error(), says) || failed.Hint == "" {
		t.Errorf("error %q should say %q, and a hint", err, says)
	}
	for _, secret := range []string{token, "hidden", "sso:pw"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("error %q holds the secret %q", err, secret)
		}
	}
}

// TestCheckKeepsToken: go-gitlab's own client sends the token to the host of a redirect.
func TestCheckKeepsToken(t *testing.T) {
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with the token %q", r.Header.Get("PRIVATE-TOKEN"))
	}))
	defer other.Close()
	a := good()
	a.version = reply{307, "Location: " + other.URL + "/api/v4/version", ""}
	_, err := hooks.Client{URL: serve(t, a), Token: token}.Check(context.Background())
	checkError(t, err, hooks.ErrProtocol, 307, "redirects to "+other.URL)
}

func TestCheckUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = hooks.Client{URL: address, Token: token}.Check(context.Background())
	checkError(t, err, hooks.ErrUnavailable, 0, "connection refused")
}

// hanging is a server that sends these first bytes of an answer and then nothing more.
func hanging(t *testing.T, first string) string {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if first != "" {
			if _, err := w.Write([]byte(first)); err != nil {
				t.Error(err)
			}
			w.(http.Flusher).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release); server.Close() })
	return server.URL
}

func TestCheckTimeout(t *testing.T) {
	for _, first := range []string{"", `{"version":`} {
		client := hooks.Client{URL: hanging(t, first), Token: token, Timeout: 100 * time.Millisecond}
		_, err := client.Check(context.Background())
		checkError(t, err, hooks.ErrUnavailable, 0, "no whole answer in time")
	}
}

func TestCheckCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := hooks.Client{URL: hanging(t, ""), Token: token}.Check(ctx)
	checkError(t, err, hooks.ErrUnavailable, 0, "cancelled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
}

func TestCheckConfig(t *testing.T) {
	tests := []struct {
		name   string
		client hooks.Client
		says   string
	}{
		{"no url", hooks.Client{Token: token}, "no url"},
		{"no scheme", hooks.Client{URL: "gitlab.example.org", Token: token}, "http://"},
		{"unreadable", hooks.Client{URL: "http://sso:pw@gitlab.example.org:x", Token: token}, "cannot be read"},
		{"credentials", hooks.Client{URL: "http://sso:pw@gitlab.example.org", Token: token}, "holds credentials"},
		{"query", hooks.Client{URL: "http://gitlab.example.org/?private_token=hidden", Token: token}, "query"},
		{"no token", hooks.Client{URL: "http://gitlab.example.org"}, "no token"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.client.Check(context.Background())
			checkError(t, err, hooks.ErrConfig, 0, test.says)
		})
	}
}
