package gitlabtest_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
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
