package jenkins_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guestos/aibuild/jenkins"
)

// Oops is the page of an exception in Jenkins, which since 2.224 does not tell which one.
const oops = `<!DOCTYPE html><html><head><title>Jenkins</title></head><body><div id="main-panel"><h1>Oops!</h1>` +
	`<h2 style="text-align: center">A problem occurred while processing the request</h2>` +
	`<p style="text-align: center">Logging ID=0b5d8f3e-6a0c-4f0e-9a55-3f6d9e2b7c11</p></div></body></html>`

func TestStart(t *testing.T) {
	const post = "POST /ci/job/aibuild/job/build/buildWithParameters"
	tests := []struct {
		name   string
		answer reply
		want   jenkins.Started
	}{
		{"queued", redirect(201, "http://jenkins:8080/ci/queue/item/25/"), jenkins.Started{QueueID: 25}},
		{"folded", redirect(303, "http://jenkins:8080/ci/queue/item/25/"), jenkins.Started{QueueID: 25, Folded: true}},
		{"no slash at the end", redirect(201, "http://jenkins:8080/ci/queue/item/26"), jenkins.Started{QueueID: 26}},
		{"other host and context path", redirect(201, "https://evil.example.org/jenkins/queue/item/27/"), jenkins.Started{QueueID: 27}},
		{"path alone", redirect(201, "/queue/item/9223372036854775807/"), jenkins.Started{QueueID: 1<<63 - 1}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{post: test.answer})
			got, err := f.client().Start(t.Context(), "aibuild/build", map[string]string{
				"AIBUILD_RUN_ID": "r1", "AIBUILD_REF": "refs/heads/a&b=ü;$(x)\n", "AIBUILD_FROM": ""})
			if err != nil || got != test.want {
				t.Errorf("Start = %+v, %v; want %+v", got, err, test.want)
			}
			want := []string{post + "?delay=0sec AIBUILD_FROM=&AIBUILD_REF=refs%2Fheads%2Fa%26b%3D%C3%BC%3B%24%28x%29%0A&AIBUILD_RUN_ID=r1"}
			if asked := f.asked(); !slices.Equal(asked, want) {
				t.Errorf("asked %q, want %q", asked, want)
			}
		})
	}
}

func TestStartRefused(t *testing.T) {
	tests := []struct {
		name   string
		answer reply
		reason error
		status int
		says   string
	}{
		{"vetoed", redirect(302, "http://jenkins:8080/ci/job/app/"), jenkins.ErrNotBuildable, 302, "which plugin refuses"},
		{"login page", redirect(302, "https://sso:pw@login.example.org/start?rd=/ci/job/app/&x=hidden"), jenkins.ErrProtocol, 302,
			"redirects to https://login.example.org/start;"},
		{"to https", redirect(301, "https://ci.example.org/ci/job/app/buildWithParameters?delay=0sec"), jenkins.ErrProtocol, 301, "give the url that it redirects to"},
		{"disabled", htmlReply(409, jettyPage("409", "app is not buildable")), jenkins.ErrNotBuildable, 409, "app is not buildable"},
		{"not parameterized", htmlReply(400, jettyPage("400", "app is not parameterized")), jenkins.ErrParameters, 400, ": app is not parameterized; compare"},
		{"not parameterized, before 2.524", htmlReply(500, jettyPage("500", "java.lang.IllegalStateException: This build is not parameterized!")),
			jenkins.ErrParameters, 500, "This build is not parameterized!"},
		{"bad choice", htmlReply(500, jettyPage("500", "java.lang.IllegalArgumentException: Illegal choice for parameter AIBUILD_FROM: &lt;x&gt; "+token)),
			jenkins.ErrParameters, 500, "Illegal choice for parameter AIBUILD_FROM: <x> ***"},
		{"twice", htmlReply(500, "<pre>java.lang.IllegalArgumentException: Illegal number of parameter values for A: 2\n\tat hudson.model"),
			jenkins.ErrParameters, 500, "values for A: 2;"},
		{"exception", jenkinsReply(500, oops), jenkins.ErrUnavailable, 500, "Logging ID=0b5d8f3e"},
		{"another bad request", htmlReply(400, "<html><title>400 Request Header Or Cookie Too Large</title>"), jenkins.ErrProtocol, 400, "context path"},
		{"wrong token", htmlReply(401, errorPage), jenkins.ErrAuth, 401, "Unauthorized"},
		{"no permission", htmlReply(403, "<html>").with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Build"),
			jenkins.ErrForbidden, 403, "aibuild lacks hudson.model.Item.Build"},
		{"password", htmlReply(403, jettyPage("403", "No valid crumb was included in the request")), jenkins.ErrForbidden, 403, "give an api token"},
		{"no such job", htmlReply(404, jettyPage("404", "Not Found")), jenkins.ErrNotFound, 404, "Job/Read"},
		{"starting", jenkinsReply(503, "<html><body>Please wait while Jenkins is getting ready to work"), jenkins.ErrUnavailable, 503, "try again"},
		{"empty 502", reply{502, nil, ""}, jenkins.ErrUnavailable, 502, "bad gateway"},
		{"html 200", htmlReply(200, loginPage), jenkins.ErrProtocol, 200, "no header X-Jenkins"},
		{"jenkins page", jenkinsReply(200, loginPage), jenkins.ErrProtocol, 200, "jenkins itself"},
		{"no location", reply{201, nil, ""}, jenkins.ErrProtocol, 201, "may be queued"},
		{"odd location", redirect(201, "http://jenkins:8080/ci/queue/item/x/"), jenkins.ErrProtocol, 201, "may be queued"},
		{"location of another thing", redirect(303, "http://jenkins:8080/ci/job/other/25/"), jenkins.ErrProtocol, 303, "may be queued"},
		{"unreadable location", redirect(201, "http://jenkins:8080:x/queue/item/25/"), jenkins.ErrProtocol, 201, "may be queued"},
		{"x-error", reply{500, map[string]string{"X-Error": "no such thing as " + token}, ""}, jenkins.ErrUnavailable, 500, "no such thing as ***"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"POST /ci/job/app/buildWithParameters": test.answer})
			got, err := f.client().Start(t.Context(), "app", map[string]string{"AIBUILD_RUN_ID": "r1"})
			if got != (jenkins.Started{}) {
				t.Errorf("Start = %+v beside an error", got)
			}
			checkError(t, err, test.reason, test.status, test.says)
			if n := posts(f.asked()); n != 1 {
				t.Errorf("%d posts, want 1", n)
			}
		})
	}
}

// TestStartExceptionExplained: the page of an exception does not tell that it is about a parameter.
func TestStartExceptionExplained(t *testing.T) {
	tests := []struct {
		name, from string
		job        reply
		reason     error
		says       string
	}{
		{"no choice", "publish", jenkinsReply(200, jobBody), jenkins.ErrParameters, "AIBUILD_FROM=publish is none of the choices: build, test;"},
		{"no parameters", "build", jenkinsReply(200, `{"buildable":true,"property":[{}]}`), jenkins.ErrParameters, "app declares no parameters"},
		{"something else", "build", jenkinsReply(200, jobBody), jenkins.ErrUnavailable, "Logging ID="},
		{"job unreadable", "publish", jenkinsReply(500, oops), jenkins.ErrUnavailable, "Logging ID="},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"POST /ci/job/app/buildWithParameters": jenkinsReply(500, oops), "GET /ci/job/app/api/json": test.job})
			_, err := f.client().Start(t.Context(), "app", map[string]string{"AIBUILD_RUN_ID": "r1", "AIBUILD_FROM": test.from})
			checkError(t, err, test.reason, 500, test.says)
		})
	}
}

func TestRetryAfter(t *testing.T) {
	tests := []struct {
		name, value string
		least, most time.Duration
	}{
		{"none", "", 0, 0},
		{"seconds", "120", 2 * time.Minute, 2 * time.Minute},
		{"date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat), 59 * time.Minute, time.Hour},
		{"past", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat), 0, 0},
		{"negative", "-5", 0, 0},
		{"absurd", "99999999999", 0, 24 * time.Hour},
		{"nonsense", "soon", 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(503, "").with("Retry-After", test.value)})
			_, err := f.client().Queue(t.Context())
			checkError(t, err, jenkins.ErrUnavailable, 503, "service unavailable")
			if got := err.(*jenkins.Error).RetryAfter; got < test.least || got > test.most {
				t.Errorf("RetryAfter = %v, want %v to %v", got, test.least, test.most)
			}
		})
	}
}

// TestStartNotRepeated: a connection that breaks after the request may have started a build.
func TestStartNotRepeated(t *testing.T) {
	var got atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			got.Add(1)
			panic(http.ErrAbortHandler)
		}
		for name, value := range jenkinsReply(200, front).header {
			w.Header().Set(name, value)
		}
		if _, err := w.Write([]byte(front)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	client := jenkins.Client{URL: server.URL, User: user, Token: token}
	if _, err := client.Session(t.Context()); err != nil { // the connection is used again
		t.Fatal(err)
	}
	_, err := client.Start(t.Context(), "app", map[string]string{"AIBUILD_RUN_ID": "r1"})
	checkError(t, err, jenkins.ErrUnavailable, 0, "EOF")
	if got.Load() != 1 {
		t.Errorf("%d posts, want 1", got.Load())
	}
}

func TestStartDown(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = jenkins.Client{URL: address, User: user, Token: token}.Start(t.Context(), "app", nil)
	checkError(t, err, jenkins.ErrUnavailable, 0, "connection refused")

	_, err = jenkins.Client{URL: hanging(t), User: user, Token: token, Timeout: 50 * time.Millisecond}.Start(t.Context(), "app", nil)
	checkError(t, err, jenkins.ErrUnavailable, 0, "no whole answer in time")
}

// TestBadPaths: they would ask for another thing than was meant.
func TestBadPaths(t *testing.T) {
	f := fakeJenkins(t, nil)
	client := f.client()
	for _, path := range []string{"", "/app", "app/", "a//b", ".", "a/../b"} {
		calls := map[string]func(context.Context) error{
			"Job":         func(ctx context.Context) error { _, err := client.Job(ctx, path); return err },
			"MayStart":    func(ctx context.Context) error { _, err := client.MayStart(ctx, path); return err },
			"Start":       func(ctx context.Context) error { _, err := client.Start(ctx, path, nil); return err },
			"Build":       func(ctx context.Context) error { _, err := client.Build(ctx, path, 1); return err },
			"Builds":      func(ctx context.Context) error { _, err := client.Builds(ctx, path, 1); return err },
			"Log":         func(ctx context.Context) error { _, _, _, err := client.Log(ctx, path, 1, 0); return err },
			"Stop":        func(ctx context.Context) error { return client.Stop(ctx, path, 1) },
			"FindByRunID": func(ctx context.Context) error { _, err := client.FindByRunID(ctx, path, "r1"); return err },
		}
		for name, call := range calls {
			checkError(t, call(t.Context()), jenkins.ErrConfig, 0, "no path of a job")
			if asked := f.asked(); len(asked) > 0 {
				t.Errorf("%s of %q asked %q", name, path, asked)
			}
		}
	}
}

// TestPathsOnTheWire: each name is escaped once, as Jenkins itself writes it.
func TestPathsOnTheWire(t *testing.T) {
	tests := map[string]string{
		"app":                  "/job/app",
		"folder/sub/app":       "/job/folder/job/sub/job/app",
		"mb/feature%2Fx":       "/job/mb/job/feature%252Fx",
		"mb/100%":              "/job/mb/job/100%25",
		"mb/a#b?c":             "/job/mb/job/a%23b%3Fc",
		"my folder/ünï~[1]":    "/job/my%20folder/job/%C3%BCn%C3%AF%7E%5B1%5D",
		"a+b&c=d@e,f;g:h!(i)*": "/job/a+b&c=d@e,f%3Bg%3Ah!(i)*",
		"quote\"'`<x>\\|^{}":   "/job/quote%22'%60%3Cx%3E%5C%7C%5E%7B%7D",
		"line\nend":            "/job/line%0Aend",
	}
	for path, wire := range tests {
		f := fakeJenkins(t, map[string]reply{
			"POST /ci" + wire + "/buildWithParameters": redirect(201, "/ci/queue/item/1/"),
			"POST /ci" + wire + "/7/stop":              redirect(302, "http://other/ci"+wire+"/7/"),
			"GET /ci" + wire + "/api/json":             jenkinsReply(200, `{"_class":"x","buildable":true}`),
		})
		client := f.client()
		_, err := client.Start(t.Context(), path, nil)
		job, err2 := client.Job(t.Context(), path)
		err3 := client.Stop(t.Context(), path, 7)
		if err != nil || err2 != nil || err3 != nil || job.URL != f.url+wire+"/" {
			t.Errorf("%q: %v, %v, %v, url %q", path, err, err2, err3, job.URL)
		}
		for _, asked := range f.asked() {
			if !strings.Contains(asked, " /ci"+wire+"/") {
				t.Errorf("%q: asked %q", path, asked)
			}
		}
	}
}
