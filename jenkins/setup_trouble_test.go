package jenkins_test

import (
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

func theSpec() jenkins.Spec { return backend{folder: "f"}.spec() }

// The permission that is missing is named, and nothing is made by half.
func TestSetupWithoutPermission(t *testing.T) {
	all := []jenkinstest.Grant{
		{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead}, {Permission: jenkinstest.ItemCreate}, {Permission: jenkinstest.ItemConfigure},
	}
	for lacks, says := range map[jenkinstest.Permission]string{
		jenkinstest.OverallRead: "Overall/Read", jenkinstest.ItemCreate: "Job/Create", jenkinstest.ItemConfigure: "Job/Configure", "": "",
		jenkinstest.ItemRead: "it is hidden from the user: grant the user Job/Read",
	} {
		user := jenkinstest.User{Name: "setup", Token: "t0ken"}
		for _, g := range all {
			if g.Permission != lacks {
				user.Grants = append(user.Grants, g)
			}
		}
		server, err := jenkinstest.Start(jenkinstest.Options{Users: []jenkinstest.User{user}})
		if err != nil {
			t.Fatal(err)
		}
		if err := server.AddJob(jenkinstest.Job{Path: "f/other"}); err != nil {
			t.Fatal(err)
		}
		c := jenkins.Client{URL: server.URL(), User: "setup", Token: "t0ken"}
		changes, err := c.Plan(t.Context(), theSpec(), false)
		for _, change := range changes {
			if err == nil {
				err = c.Apply(t.Context(), change)
			}
		}
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("without %s: %v, want %s", lacks, err, says)
		}
		if lacks == "" {
			if _, err := c.Plugins(t.Context()); !errors.Is(err, jenkins.ErrForbidden) {
				t.Errorf("plugins: %v", err)
			}
		}
		c.Token = "wrong-t0ken"
		_, err = c.Plan(t.Context(), theSpec(), false)
		checkError(t, err, jenkins.ErrAuth, 401, "make an api token")
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	}
}

// What is no answer of Jenkins' changes nothing, and is said to be none.
func TestSetupOfWhatIsNoJenkins(t *testing.T) {
	server, err := jenkinstest.Start(jenkinstest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := server.AddJob(jenkinstest.Job{Path: "f/other"}); err != nil {
		t.Fatal(err)
	}
	c := jenkins.Client{URL: server.URL(), User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken}
	plan, err := c.Plan(t.Context(), theSpec(), false)
	if err != nil || len(plan) != 2 || plan[1].Path != "f/inner/build" {
		t.Fatalf("plan %+v, %v", plan, err)
	}
	folder := jenkins.Change{Path: "new", New: true, After: theSpec().FolderXML()}
	for kind, reason := range map[jenkinstest.FaultKind]error{
		jenkinstest.BadGateway: jenkins.ErrUnavailable, jenkinstest.Unavailable: jenkins.ErrUnavailable, jenkinstest.LoginPage: jenkins.ErrProtocol,
		jenkinstest.Redirect: jenkins.ErrProtocol, jenkinstest.Reset: jenkins.ErrUnavailable,
	} {
		if err := server.Fail(jenkinstest.Fault{Kind: kind, N: -1}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Plan(t.Context(), theSpec(), false); !errors.Is(err, reason) {
			t.Errorf("Plan with %s: %v, want %v", kind, err, reason)
		}
		if err := c.Apply(t.Context(), folder); !errors.Is(err, reason) || strings.Contains(err.Error(), jenkinstest.DefaultToken) {
			t.Errorf("Apply with %s: %v, want %v", kind, err, reason)
		}
		server.Heal()
	}
	for _, tt := range []struct {
		change jenkins.Change
		says   string
	}{
		{jenkins.Change{Path: "f", New: true, After: theSpec().FolderXML()}, "already exists"},
		{jenkins.Change{Path: "f:x", New: true, After: theSpec().FolderXML()}, "unsafe character"},
		{jenkins.Change{Path: "x", New: true, After: "<no.such.Plugin/>"}, "plugins Pipeline, Folders and Git"},
	} {
		err := c.Apply(t.Context(), tt.change)
		if !errors.Is(err, jenkins.ErrRefused) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want %q", tt.change.Path, err, tt.says)
		}
	}
	if err := c.Apply(t.Context(), jenkins.Change{Path: "gone/x", New: true, After: "<project/>"}); !errors.Is(err, jenkins.ErrNotFound) {
		t.Errorf("in a folder that is gone: %v", err)
	}
	safe := httptest.NewUnstartedServer(http.NotFoundHandler())
	safe.Config.ErrorLog = log.New(io.Discard, "", 0)
	safe.StartTLS()
	defer safe.Close()
	c.URL = safe.URL
	_, err = c.Plan(t.Context(), theSpec(), false)
	checkError(t, err, jenkins.ErrUnavailable, 0, "jenkins.ca_file")
}

// Pieces are put into a config.xml as it is, however it is written; not one other byte changes.
func TestSetupOfOddFiles(t *testing.T) {
	const library = "\n        <org.jenkinsci.plugins.workflow.libs.LibraryConfiguration>"
	for name, tt := range map[string]struct{ folder, begin string }{
		"empty":       {"<?xml version='1.1' encoding='UTF-8'?>\n<com.cloudbees.hudson.plugins.folder.Folder plugin=\"x@1\">\n  <properties/>\n  <views/>\n</com.cloudbees.hudson.plugins.folder.Folder>", "  <properties>\n    <org.jenkinsci"},
		"one line":    {`<?xml version="1.1" encoding="UTF-8" standalone="no"?><com.cloudbees.hudson.plugins.folder.Folder><description>a&#x1;b &#127;</description><properties></properties></com.cloudbees.hudson.plugins.folder.Folder>`, "<properties>\n  <org.jenkinsci"},
		"no library":  {"<com.cloudbees.hudson.plugins.folder.Folder>\n  <properties>\n    <secret>{AQAAABAAAAAQ}</secret>\n    <org.jenkinsci.plugins.workflow.libs.FolderLibraries plugin='y'>\n      <libraries/>\n    </org.jenkinsci.plugins.workflow.libs.FolderLibraries>\n  </properties>\n</com.cloudbees.hudson.plugins.folder.Folder>", "      <libraries>" + library},
		"with a note": {"<!-- <properties/> -->\n<com.cloudbees.hudson.plugins.folder.Folder>\n  <x><properties/></x>\n  <properties>\n  </properties>\n</com.cloudbees.hudson.plugins.folder.Folder>", "  <properties>\n    <org.jenkinsci"},
	} {
		f := fakeJenkins(t, map[string]reply{
			"GET /ci/job/f/config.xml": {200, map[string]string{"Content-Type": "application/xml"}, tt.folder},
		})
		s := theSpec()
		s.Path = "f/build"
		plan, err := f.client().Plan(t.Context(), s, false)
		if err != nil || len(plan) != 2 || !strings.Contains(plan[0].After, tt.begin) {
			t.Errorf("%s: %+v, %v", name, plan, err)
			continue
		}
		before, _, _ := strings.Cut(tt.folder, "<properties")
		_, after, _ := strings.Cut(tt.folder, "</com")
		if !strings.HasPrefix(plan[0].After, before) || !strings.HasSuffix(plan[0].After, "</com"+after) || strings.Count(plan[0].After, "{AQA") != strings.Count(tt.folder, "{AQA") {
			t.Errorf("%s: more was changed:\n%s", name, plan[0].After)
		}
		f.answers["GET /ci/job/f/config.xml"] = []reply{{200, map[string]string{"Content-Type": "application/xml"}, plan[0].After}}
		if plan, err := f.client().Plan(t.Context(), s, false); err != nil || len(plan) != 1 {
			t.Errorf("%s, again: %+v, %v", name, plan, err)
		}
	}
	for _, broken := range []string{"", "<a>", "</a>", "<a></b>", "<a><b></a>"} {
		f := fakeJenkins(t, map[string]reply{"GET /ci/job/f/config.xml": {200, map[string]string{"Content-Type": "application/xml"}, broken}})
		s := theSpec()
		s.Path = "f/build"
		_, err := f.client().Plan(t.Context(), s, false)
		checkError(t, err, jenkins.ErrProtocol, 200, "config.xml cannot be read")
	}
}
