package gitlabtest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestFaultAnswers(t *testing.T) {
	c := newClock()
	s := start(t, gitlabtest.Options{Now: c.Now}, gitlabtest.Project{})
	json, page := "application/json", "text/html; charset=utf-8"
	for name, test := range map[string]struct {
		answer gitlabtest.Answer
		status int
		kind   string
		body   string
	}{
		"401":         {gitlabtest.Unauthorized, 401, json, `{"message":"401 Unauthorized"}`},
		"revoked":     {gitlabtest.Revoked, 401, json, `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`},
		"403":         {gitlabtest.Forbidden, 403, json, `{"message":"403 Forbidden"}`},
		"scope":       {gitlabtest.InsufficientScope, 403, json, lowScope},
		"404":         {gitlabtest.NotFound, 404, json, `{"message":"404 Project Not Found"}`},
		"409":         {gitlabtest.StatusLocked, 409, json, `{"message":"Another update to this commit status is in progress"}`},
		"throttled":   {gitlabtest.Throttled, 429, "text/plain", "Retry later\n"},
		"limited":     {gitlabtest.Limited, 429, json, `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`},
		"500":         {gitlabtest.InternalError, 500, json, `{"message":"500 Internal Server Error"}`},
		"502":         {gitlabtest.BadGateway, 502, page, "GitLab is not responding (502)"},
		"unavailable": {gitlabtest.Unavailable, 503, page, "GitLab is currently unavailable (503)"},
	} {
		s.Fail(gitlabtest.Fault{Method: "GET", Path: "/api/v4/version", Times: 1, Answer: test.answer})
		response := request(t, s, s.RootToken(), "GET", "version", "")
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		check(t, name, []any{response.StatusCode, response.Header.Get("Content-Type")}, []any{test.status, test.kind})
		if test.kind != page && string(body) != test.body || !strings.Contains(string(body), test.body) {
			t.Errorf("%s: %s; want %s", name, body, test.body)
		}
		h := response.Header
		limits := []string{h.Get("Retry-After"), h.Get("RateLimit-Limit"), h.Get("RateLimit-Reset"), h.Get("RateLimit-ResetTime")}
		if name == "throttled" {
			check(t, "limits", limits, []string{"60", "7200", "1772366460", "Sun, 01 Mar 2026 12:01:00 GMT"})
		} else {
			check(t, name+": limits", limits, []string{"", "", "", ""})
		}
		if status, _ := apiAs(t, s, s.RootToken(), "GET", "version", ""); status != 200 {
			t.Errorf("%s: the fault lasts longer than once", name)
		}
	}
}

func TestFaultsOfRequests(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.Fail(gitlabtest.Fault{Method: "POST", Path: "/api/v4/projects/*/statuses/", Times: 1, Answer: gitlabtest.BadGateway, Perform: true})
	if status, body := sc.api("POST", "projects/1/statuses/main", "state=success&ref=main&name=a"); status != 502 {
		t.Errorf("the answer is not lost: %d %s", status, body)
	}
	check(t, "but what was asked is done", len(sc.rows("name=a")), 1)

	sc.Fail(gitlabtest.Fault{Path: "/api/v4/", Times: 1, Cut: true})
	response := request(t, sc.Server, sc.RootToken(), "GET", "projects/1", "")
	if body, err := io.ReadAll(response.Body); err == nil || len(body) == 0 {
		t.Errorf("cut: %q, %v; want half an answer, and an error", body, err)
	}
	response.Body.Close()

	sc.Fail(gitlabtest.Fault{Path: "/api/v4/version", Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	hanging, err := http.NewRequestWithContext(ctx, "GET", sc.Server.URL()+"/api/v4/version", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(hanging); err == nil {
		response.Body.Close()
		t.Errorf("hang: it answered %d", response.StatusCode)
	}
	sc.ClearFaults()
	sc.Fail(gitlabtest.Fault{Path: "/api/v4/version", Delay: 150 * time.Millisecond, Times: 1})
	before := time.Now()
	if status, _ := sc.api("GET", "version", ""); status != 200 || time.Since(before) < 150*time.Millisecond {
		t.Errorf("delay: %d after %v", status, time.Since(before))
	}

	sc.Fail(gitlabtest.Fault{Path: "/group/images.git/", Answer: gitlabtest.Unavailable})
	if out, err := sc.try("ls-remote", "origin"); err == nil || !strings.Contains(out, "503") {
		t.Errorf("git in spite of 503: %v %s", err, out)
	}
	sc.ClearFaults()
	sc.git("ls-remote", "origin")
	id := sc.commit("next\n")
	sc.Fail(gitlabtest.Fault{Path: "/group/images.git/git-receive-pack", Times: 1, Answer: gitlabtest.BadGateway, Perform: true})
	if out, err := sc.try("push", "origin", "main"); err == nil {
		t.Errorf("the answer to the push is not lost: %s", out)
	}
	idle(t, sc.Server)
	check(t, "but the push has happened", sc.one(t).After, id)
	sc.Fail(gitlabtest.Fault{Path: "/group/images.git/git-upload-pack", Cut: true, Times: 1})
	if out, err := sc.try("clone", "--quiet", sc.work.url, t.TempDir()); err == nil {
		t.Errorf("half an answer was enough to clone: %s", out)
	}
}
