package jenkins_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/guestos/aibuild/jenkins"
)

func TestSession(t *testing.T) {
	f := fakeJenkins(t, nil)
	if got, err := f.client().Session(t.Context()); got != "a1b2c3d4" || err != nil {
		t.Errorf("Session = %q, %v", got, err)
	}
	f = fakeJenkins(t, map[string]reply{"GET /ci/api/json": {200, map[string]string{"X-Jenkins": "2.541.3"}, front}})
	_, err := f.client().Session(t.Context())
	checkError(t, err, jenkins.ErrProtocol, 200, "no header X-Jenkins-Session")
	f = fakeJenkins(t, map[string]reply{"GET /ci/api/json": jenkinsReply(503, "")})
	_, err = f.client().Session(t.Context())
	checkError(t, err, jenkins.ErrUnavailable, 503, "try again")
}

// TestOnSession: each answer of Jenkins tells of a restart, a refusal too.
func TestOnSession(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(200, emptyQueue)})
	f.answers["GET /ci/job/app/52/api/json"] = []reply{
		jenkinsReply(200, run("52", running)),
		jenkinsReply(503, "").with("X-Jenkins-Session", "b2"),
		{502, nil, ""},
		jenkinsReply(200, run("52", running)).with("X-Jenkins-Session", "b2"),
	}
	client := f.client()
	var heard []string
	client.OnSession = func(session string) { heard = append(heard, session) }
	if _, err := client.Queue(t.Context()); err != nil {
		t.Fatal(err)
	}
	var failed int
	for range 4 {
		if _, err := client.Build(t.Context(), "app", 52); err != nil {
			failed++
		}
	}
	if want := []string{"a1b2c3d4", "a1b2c3d4", "b2", "b2"}; !slices.Equal(heard, want) || failed != 2 {
		t.Errorf("heard %q, %d failures; want %q", heard, failed, want)
	}
}

// TestSlots: copies of a client share the limit, and waiting for one ends with the context.
func TestSlots(t *testing.T) {
	var now, most atomic.Int32
	arrived, release := make(chan struct{}, 6), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		arrived <- struct{}{}
		<-release
		now.Add(-1)
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
	client := jenkins.Client{URL: server.URL, User: user, Token: token, Slots: make(chan struct{}, 2)}
	var workers sync.WaitGroup
	for range 6 {
		workers.Go(func() {
			if _, err := client.Session(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for range cap(client.Slots) {
		<-arrived
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.Session(ctx)
	checkError(t, err, jenkins.ErrUnavailable, 0, "cancelled")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not context.Canceled", err)
	}
	close(release)
	workers.Wait()
	if most.Load() != 2 || len(client.Slots) != 0 {
		t.Errorf("%d requests at once, want 2; %d slots are still taken", most.Load(), len(client.Slots))
	}
}
