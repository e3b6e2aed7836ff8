package jenkins_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestStandInPermissions: what a user lacks is known before a build needs it, and nothing is started or stopped to know.
func TestStandInPermissions(t *testing.T) {
	read := []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead, Path: "aibuild"}}
	builds := slices.Concat(read, []jenkinstest.Grant{{Permission: jenkinstest.ItemBuild, Path: "aibuild"}})
	o := jenkinstest.Options{Users: []jenkinstest.User{
		{Name: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Admin: true}, {Name: "builder", Token: "t0ken1", Grants: builds},
	}}
	job := jenkinstest.Job{Path: standInJob, Kind: jenkinstest.Pipeline, Command: "true", Parameters: []jenkinstest.Parameter{{Name: "AIBUILD_RUN_ID"}}}
	inBothVersions(t, o, job, func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		builder := client
		builder.User, builder.Token = "builder", "t0ken1"
		if known, err := builder.MayCancel(t.Context(), standInJob); known || err != nil {
			t.Errorf("before the first build: MayCancel = %v, %v", known, err)
		}
		ended := ends(t, client, becomesBuild(t, client, startRun(t, client, "r1").QueueID).Build)
		if known, err := client.MayCancel(t.Context(), standInJob); !known || err != nil {
			t.Errorf("an administrator: MayCancel = %v, %v", known, err)
		}
		known, err := builder.MayCancel(t.Context(), standInJob)
		checkError(t, err, jenkins.ErrForbidden, 403, "builder lacks hudson.model.Item.Cancel")
		if _, err := builder.MayStart(t.Context(), standInJob); !known || err != nil {
			t.Errorf("MayStart = %v; MayCancel is known: %v", err, known)
		}
		if now, err := client.Build(t.Context(), standInJob, ended.Number); err != nil || now.Result != ended.Result || server.Posts(standInJob) > 2 {
			t.Errorf("the build that was asked: %+v, %v", now, err)
		}
		_, err = client.MayCancel(t.Context(), "aibuild/none")
		if !errors.Is(err, jenkins.ErrNotFound) {
			t.Errorf("no such job: %v", err)
		}
	})
}

// TestStandInSpoiltAnswers: an answer that comes late is as good as any, one that is cut is none, whatever was asked.
func TestStandInSpoiltAnswers(t *testing.T) {
	job := jenkinstest.Job{Path: standInJob, Kind: jenkinstest.Pipeline, Concurrent: true, Command: "true", Parameters: []jenkinstest.Parameter{{Name: "AIBUILD_RUN_ID"}}}
	inBothVersions(t, jenkinstest.Options{}, job, func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		item := becomesBuild(t, client, startRun(t, client, "r1").QueueID)
		ends(t, client, item.Build)
		spoil := func(f jenkinstest.Fault) {
			f.N = -1
			if err := server.Fail(f); err != nil {
				t.Fatal(err)
			}
		}
		usual := everyCall(t, client, item)
		spoil(jenkinstest.Fault{Kind: jenkinstest.Slow, Delay: 20 * time.Millisecond})
		for name, err := range everyCall(t, client, item) {
			if (err == nil) != (usual[name] == nil) {
				t.Errorf("%s, slowly: %v, else %v", name, err, usual[name])
			}
		}
		server.Heal()
		spoil(jenkinstest.Fault{Kind: jenkinstest.Slow, Delay: time.Minute})
		hurried := client
		hurried.Timeout = 100 * time.Millisecond
		for name, err := range everyCall(t, hurried, item) {
			if !errors.Is(err, jenkins.ErrUnavailable) || !strings.Contains(err.Error(), "no whole answer in time") {
				t.Errorf("%s, for ever: %v", name, err)
			}
		}
		server.Heal()
		spoil(jenkinstest.Fault{Kind: jenkinstest.Cut})
		for name, err := range everyCall(t, client, item) {
			if !errors.Is(err, jenkins.ErrUnavailable) {
				t.Errorf("%s, cut: %v", name, err)
			}
		}
	})
}

// TestEndlessAnswers: no call takes more of an answer than it can use.
func TestEndlessAnswers(t *testing.T) {
	page := []byte(strings.Repeat("<p>Jenkins</p>\n", 16<<10))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Jenkins", "2.541.3")
		for sent := 0; sent < 1<<30; sent += len(page) {
			if _, err := w.Write(page); err != nil {
				return
			}
		}
		t.Error("a GiB was read")
	}))
	client := jenkins.Client{URL: server.URL, User: "ann", Token: "t0ken", Timeout: time.Minute}
	for name, err := range everyCall(t, client, jenkins.Item{ID: 1, Build: 1}) {
		if failed, ok := errors.AsType[*jenkins.Error](err); !ok || !errors.Is(err, jenkins.ErrProtocol) || failed.Hint == "" || len(err.Error()) > 1000 {
			t.Errorf("%s: %v", name, err)
		}
	}
	server.Close()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}
