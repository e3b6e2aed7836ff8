package jenkins_test

import (
	"bytes"
	"context"
	"errors"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/guestos/aibuild/jenkins"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	user  = "aibuild"
	token = "11d2c3canary0token"
)

// Answers in the shapes of a real Jenkins.
const (
	whoAmI = `{"_class":"hudson.security.WhoAmI","anonymous":false,"authenticated":true,` +
		`"authorities":["authenticated","builders"],"details":null,"name":"aibuild","toString":"UsernamePasswordAuthenticationToken"}`
	anonymous = `{"_class":"hudson.security.WhoAmI","anonymous":true,"authenticated":true,` +
		`"authorities":["anonymous"],"details":null,"name":"anonymous"}`
	front        = `{"_class":"hudson.model.Hudson","quietingDown":false}`
	quietingDown = `{"_class":"hudson.model.Hudson","quietingDown":true}`
	loginPage    = "<html><head><title>Sign in - Jenkins</title></head><body></body></html>"
	errorPage    = `<html><head><title>Error 401 Unauthorized</title></head><body><h2>HTTP ERROR 401 Unauthorized</h2></body></html>`
)

// reply is one answer of the server.
type reply struct {
	status int
	header map[string]string
	body   string
}

func jenkinsReply(status int, body string) reply {
	return reply{status, map[string]string{"X-Jenkins": "2.541.3", "X-Jenkins-Session": "a1b2c3d4",
		"Content-Type": "application/json;charset=utf-8"}, body}
}

func (r reply) with(name, value string) reply {
	header := maps.Clone(r.header)
	header[name] = value
	r.header = header
	return r
}

// serve answers the two requests of Check, below a context path, and fails the test for every other one.
func serve(t *testing.T, who, top reply) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, answer := range map[string]reply{"GET /ci/whoAmI/api/json": who, "GET /ci/api/json": top} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if gotUser, gotToken, _ := r.BasicAuth(); gotUser != user || gotToken != token {
				t.Errorf("%s: logged in as %q with %q", path, gotUser, gotToken)
			}
			for name, value := range answer.header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(answer.status)
			if _, err := w.Write([]byte(answer.body)); err != nil && len(answer.body) < 1<<20 {
				t.Error(err)
			}
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { t.Errorf("unexpected request %s %s", r.Method, r.URL) })
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server
}

func TestCheck(t *testing.T) {
	server := serve(t, jenkinsReply(200, whoAmI), jenkinsReply(200, quietingDown))
	for _, address := range []string{server.URL + "/ci", server.URL + "/ci/"} {
		got, err := jenkins.Client{URL: address, User: user, Token: token}.Check(context.Background())
		want := jenkins.Health{Version: "2.541.3", Session: "a1b2c3d4", User: "aibuild",
			Authorities: []string{"authenticated", "builders"}, QuietingDown: true}
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("Check with %s: %v (-want +got):\n%s", address, err, diff)
		}
	}
}

func TestCheckRefused(t *testing.T) {
	good := jenkinsReply(200, whoAmI)
	tests := []struct {
		name     string
		who, top reply
		reason   error
		status   int
		says     string
	}{
		{"wrong token", reply{401, map[string]string{"X-Jenkins": "2.541.3", "Content-Type": "text/html;charset=iso-8859-1"}, errorPage},
			good, jenkins.ErrAuth, 401, "/me/security"},
		{"anonymous", jenkinsReply(200, anonymous), good, jenkins.ErrAuth, 200, "anonymous"},
		{"no permission", good,
			jenkinsReply(403, "<html>").with("X-You-Are-Authenticated-As", "aibuild").with("X-Required-Permission", "hudson.model.Hudson.Read"),
			jenkins.ErrForbidden, 403, "aibuild lacks hudson.model.Hudson.Read"},
		{"forbidden by a proxy", reply{403, nil, "no"}, good, jenkins.ErrForbidden, 403, "no proxy"},
		{"starting", reply{503, map[string]string{"X-Jenkins": "2.541.3"}, "<html>Please wait while Jenkins is getting ready to work"},
			good, jenkins.ErrUnavailable, 503, "starting"},
		{"empty 502", reply{502, nil, ""}, good, jenkins.ErrUnavailable, 502, "bad gateway"},
		{"a page of another server", reply{200, map[string]string{"Content-Type": "text/html"}, loginPage}, good,
			jenkins.ErrProtocol, 200, "no header X-Jenkins"},
		{"wrong context path", reply{404, nil, "not here"}, good, jenkins.ErrProtocol, 404, "context path"},
		{"gone behind jenkins", jenkinsReply(404, "<html>"), good, jenkins.ErrProtocol, 404, "not found"},
		{"html of jenkins", jenkinsReply(200, loginPage), good, jenkins.ErrProtocol, 200, "not json"},
		{"redirect", reply{302, map[string]string{"Location": "https://sso:pw@login.example.org/start?session=hidden"}, ""}, good,
			jenkins.ErrProtocol, 302, "redirects to https://login.example.org/start;"},
		{"x-error", jenkinsReply(400, "").with("X-Error", "no such thing as "+token), good, jenkins.ErrProtocol, 400, "no such thing as ***"},
		{"endless", jenkinsReply(200, `{"name":"`+strings.Repeat("x", 20<<20)+`"}`), good, jenkins.ErrProtocol, 0, "larger than 16 MiB"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := serve(t, test.who, test.top)
			_, err := jenkins.Client{URL: server.URL + "/ci", User: user, Token: token}.Check(context.Background())
			checkError(t, err, test.reason, test.status, test.says)
		})
	}
}

func checkError(t *testing.T, err, reason error, status int, says string) {
	t.Helper()
	var failed *jenkins.Error
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

// TestCheckPrintsNothing: gojenkins prints whole answers when a context holds a value by the name "debug".
func TestCheckPrintsNothing(t *testing.T) {
	var printed bytes.Buffer
	log.SetOutput(&printed)
	defer log.SetOutput(os.Stderr)
	server := serve(t, jenkinsReply(200, whoAmI), jenkinsReply(200, front))
	//lint:ignore SA1029 this very key is what gojenkins looks for
	ctx := context.WithValue(context.Background(), "debug", true)
	if _, err := (jenkins.Client{URL: server.URL + "/ci", User: user, Token: token}).Check(ctx); err != nil {
		t.Fatal(err)
	}
	if printed.Len() > 0 {
		t.Errorf("printed: %s", printed.String())
	}
}

// TestCheckUnreachable: gojenkins' own calls panic when the connection breaks.
func TestCheckUnreachable(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = jenkins.Client{URL: address, User: user, Token: token}.Check(context.Background())
	checkError(t, err, jenkins.ErrUnavailable, 0, "connection refused")
}

// hanging is a server that never answers.
func hanging(t *testing.T) string {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() { close(release); server.Close() })
	return server.URL
}

func TestCheckTimeout(t *testing.T) {
	_, err := jenkins.Client{URL: hanging(t), User: user, Token: token, Timeout: 50 * time.Millisecond}.Check(context.Background())
	checkError(t, err, jenkins.ErrUnavailable, 0, "no whole answer in time")
}

func TestCheckCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := jenkins.Client{URL: hanging(t), User: user, Token: token}.Check(ctx)
	checkError(t, err, jenkins.ErrUnavailable, 0, "cancelled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
}

func TestCheckConfig(t *testing.T) {
	tests := []struct {
		name   string
		client jenkins.Client
		says   string
	}{
		{"no url", jenkins.Client{User: user, Token: token}, "no url"},
		{"no scheme", jenkins.Client{URL: "ci.example.org", User: user, Token: token}, "http://"},
		{"other scheme", jenkins.Client{URL: "ftp://ci.example.org", User: user, Token: token}, "http://"},
		{"unreadable", jenkins.Client{URL: "http://sso:pw@ci.example.org:x", User: user, Token: token}, "cannot be read"},
		{"credentials", jenkins.Client{URL: "http://sso:pw@ci.example.org", User: user, Token: token}, "holds credentials"},
		{"query", jenkins.Client{URL: "http://ci.example.org/?x=hidden"}, "query"},
		{"no token", jenkins.Client{URL: "http://ci.example.org", User: user}, "without a token"},
		{"no user", jenkins.Client{URL: "http://ci.example.org", Token: token}, "without a user"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := test.client.Check(context.Background())
			checkError(t, err, jenkins.ErrConfig, 0, test.says)
		})
	}
}
