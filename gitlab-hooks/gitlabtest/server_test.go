package gitlabtest_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestTLSOfReceivers(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	for _, skip := range []bool{false, true} {
		h, err := sc.AddHook(projectPath, gitlabtest.Hook{URL: server.URL, SkipTLSCheck: skip})
		if err != nil {
			t.Fatal(err)
		}
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		check(t, "a certificate of nobody", sc.Deliveries(h.ID)[0].OK(), skip)
	}
}

func TestCloseBreaksDeliveriesOff(t *testing.T) {
	s, err := gitlabtest.Start(gitlabtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: projectPath}); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // a server sees that its client goes only when it has read all
			t.Error(err)
		}
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	addHook(t, s, server.URL)
	w := clone(t, s, s.RootToken())
	w.commit("first\n")
	w.push("main", "main:two")
	<-arrived
	before := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if _, err := w.try("ls-remote", "origin"); err == nil {
		t.Error("a closed server answers")
	}
}

func TestHookWorkers(t *testing.T) {
	sc := stage(t, gitlabtest.Options{HookWorkers: 2}, gitlabtest.Project{})
	var arrived sync.WaitGroup
	arrived.Add(2)
	sc.answers(func(http.ResponseWriter, *http.Request) { arrived.Done(); arrived.Wait() }) // each waits for the other
	sc.push("main:refs/heads/a", "main:refs/heads/b")
	idle(t, sc.Server)
	check(t, "deliveries", len(sc.take()), 2)
}

func TestIdleTellsWhatItWaitsFor(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.Disturb(gitlabtest.Trouble{Reorder: 2})
	sc.commit("next\n")
	sc.push("main")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := sc.Idle(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 deliveries are not over") {
		t.Errorf("Idle: %v", err)
	}
	sc.Undisturb()
	idle(t, sc.Server)
}

func TestParseProfile(t *testing.T) {
	for text, want := range map[string]gitlabtest.Profile{"15": gitlabtest.V15, "17.4": gitlabtest.V17, "19": gitlabtest.Current} {
		if got, err := gitlabtest.ParseProfile(text); err != nil || got != want {
			t.Errorf("ParseProfile(%q) = %v, %v", text, got, err)
		}
	}
	if _, err := gitlabtest.ParseProfile("18"); err == nil {
		t.Error("profile 18 was accepted")
	}
}

func TestListenOnAllAddresses(t *testing.T) {
	s := start(t, gitlabtest.Options{Listen: ":0"}, gitlabtest.Project{})
	if !strings.HasPrefix(s.URL(), "http://127.0.0.1:") {
		t.Errorf("URL = %s", s.URL())
	}
	clone(t, s, s.RootToken()).git("ls-remote", "origin")
}

func TestStartRefuses(t *testing.T) {
	if _, err := gitlabtest.Start(gitlabtest.Options{Listen: "127.0.0.1:99999"}); err == nil {
		t.Error("a port that is none was accepted")
	}
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	for _, path := range []string{"", "images", "group/../x", "group//x", "/group/x", "group/x.git", "group/a b", projectPath, "GROUP/images"} {
		if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: path}); err == nil {
			t.Errorf("project %q was accepted", path)
		}
	}
	for _, h := range []gitlabtest.Hook{
		{URL: "ftp://x"}, {URL: "http://"}, {URL: "http://x", SigningToken: "whsec_c2hvcnQ="}, {URL: "http://x", Events: []string{"nothing"}},
		{URL: "http://x", FilterStrategy: "regex", BranchFilter: "("},
	} {
		if _, err := s.AddHook(projectPath, h); err == nil {
			t.Errorf("hook %+v was accepted", h)
		}
	}
	if _, err := s.CreateToken(gitlabtest.Token{User: "nobody"}); err == nil {
		t.Error("a token of nobody was accepted")
	}
	if err := s.RevokeToken("nothing"); err == nil {
		t.Error("a token that is not there was revoked")
	}
	if _, err := s.CreateUser(gitlabtest.User{Username: "root"}); err == nil {
		t.Error("a second root was accepted")
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: "group/y", Members: map[string]gitlabtest.Role{"nobody": gitlabtest.Owner}}); err == nil {
		t.Error("a member who is no user was accepted")
	}
}
