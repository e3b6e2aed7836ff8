package jenkinstest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// people: one who may do what the daemon needs in one folder, one with a password alone, one who may do nothing.
var people = []jenkinstest.User{
	{Name: "root", Token: "root-token", Admin: true},
	{Name: "aibuild", Token: "aibuild-token", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead},
		{Permission: jenkinstest.ItemRead, Path: "ours"}, {Permission: jenkinstest.ItemBuild, Path: "ours"}, {Permission: jenkinstest.ItemCancel, Path: "ours"}}},
	{Name: "reader", Token: "reader-token", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead}}},
	{Name: "martin", FullName: "Martin P.", Password: "secret word", Groups: []string{"builders"}, Admin: true},
	{Name: "nobody", Token: "nobody-token"},
}

// TestPermissions: who gets which answer, and what a 403 says.
func TestPermissions(t *testing.T) {
	rows := []struct {
		user, secret, method, path string
		status                     int
		missing                    string
		implied                    []string
	}{
		{"aibuild", "aibuild-token", "POST", "/job/ours/job/p/build", 201, "", nil},
		{"aibuild", "aibuild-token", "GET", "/job/theirs/job/p/api/json", 404, "", nil},
		{"aibuild", "aibuild-token", "POST", "/job/theirs/job/p/build", 404, "", nil},
		{"aibuild", "aibuild-token", "GET", "/job/ours/job/p/config.xml", 403, "hudson.model.Item.Configure", []string{"hudson.security.Permission.GenericConfigure",
			"hudson.security.Permission.GenericUpdate", "hudson.security.Permission.GenericWrite", "hudson.model.Hudson.Administer"}},
		{"aibuild", "aibuild-token", "POST", "/quietDown", 403, "hudson.model.Hudson.Administer", nil},
		{"reader", "reader-token", "GET", "/job/theirs/job/p/api/json", 200, "", nil},
		{"reader", "reader-token", "POST", "/job/ours/job/p/build", 403, "hudson.model.Item.Build", []string{"hudson.security.Permission.GenericUpdate",
			"hudson.security.Permission.GenericWrite", "hudson.model.Hudson.Administer"}},
		{"reader", "reader-token", "POST", "/createItem?name=x", 403, "hudson.model.Item.Create", []string{"hudson.security.Permission.GenericCreate",
			"hudson.security.Permission.GenericWrite", "hudson.model.Hudson.Administer"}},
		{"reader", "reader-token", "POST", "/job/ours/job/p/doDelete", 403, "hudson.model.Item.Delete", []string{"hudson.security.Permission.GenericDelete",
			"hudson.security.Permission.GenericWrite", "hudson.model.Hudson.Administer"}},
		{"nobody", "nobody-token", "GET", "/api/json", 403, "hudson.model.Hudson.Read", []string{"hudson.security.Permission.GenericRead", "hudson.model.Hudson.Administer"}},
		{"nobody", "nobody-token", "GET", "/whoAmI/api/json", 200, "", nil},
		{"", "", "GET", "/api/json", 403, "hudson.model.Hudson.Read", []string{"hudson.security.Permission.GenericRead", "hudson.model.Hudson.Administer"}},
		{"", "", "POST", "/job/ours/job/p/build", 403, "", nil}, // no crumb
		{"aibuild", "wrong", "GET", "/api/json", 401, "", nil},
		{"aibuild", "", "GET", "/api/json", 401, "", nil},
		{"stranger", "x", "GET", "/api/json", 401, "", nil},
	}
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile, Users: people}, jenkinstest.Job{Path: "ours/p"}, jenkinstest.Job{Path: "theirs/p"})
		for _, row := range rows {
			name := row.user + " " + row.method + " " + row.path
			got := as(t, s, row.user, row.secret).do(row.method, row.path, "")
			if got.status != row.status || got.header.Get("X-Required-Permission") != row.missing {
				t.Errorf("%s: %d %q, want %d %q", name, got.status, got.header.Get("X-Required-Permission"), row.status, row.missing)
			}
			if row.missing != "" {
				who := row.user
				if who == "" {
					who = "anonymous"
				}
				if got.header.Get("X-You-Are-Authenticated-As") != who || row.implied != nil && cmp.Diff(row.implied, got.header["X-Permission-Implied-By"]) != "" {
					t.Errorf("%s: %v", name, got.header)
				}
			}
			if row.status == 401 && got.header.Get("WWW-Authenticate") != `Basic realm="Jenkins"` {
				t.Errorf("%s: %v", name, got.header)
			}
		}
	})
}

// TestPages: the words of pages for people.
func TestPages(t *testing.T) {
	s := start(t, jenkinstest.Options{Users: people, Profile: jenkinstest.Profile2300}, jenkinstest.Job{Path: "p"})
	now := start(t, jenkinstest.Options{Users: people}, jenkinstest.Job{Path: "p"})
	for _, row := range []struct {
		c            *client
		method, path string
		says         []string
		contentType  string
		inside       bool // made by Jenkins itself, not by its container
	}{
		{as(t, s, "reader", "reader-token"), "POST", "/job/p/build", []string{"<h1>Access Denied</h1>", "reader is missing the Job/Build permission"}, "text/html;charset=utf-8", true},
		{as(t, s, "", ""), "GET", "/api/json", []string{"Authentication required", "url=/login?from=%2Fapi%2Fjson", "You are authenticated as: anonymous",
			"Permission you need to have (but didn't): hudson.model.Hudson.Read", " ... which is implied by: hudson.model.Hudson.Administer"}, "text/html;charset=utf-8", true},
		{as(t, s, "root", "x"), "GET", "/", []string{"<title>Error 401 Unauthorized</title>", "<h2>HTTP ERROR 401 Unauthorized</h2>", "Powered by Jetty:// 9.4.41"}, "text/html;charset=iso-8859-1", false},
		{as(t, s, "root", "root-token"), "GET", "/job/x/", []string{"<title>Error 404 Not Found</title>", "<tr><th>URI:</th><td>/job/x/</td></tr>"}, "text/html;charset=iso-8859-1", false},
		{as(t, now, "root", "root-token"), "GET", "/job/x/", []string{"<title>Not Found - Jenkins"}, "text/html;charset=utf-8", true},
		{as(t, now, "martin", "secret word"), "POST", "/job/p/build", []string{`<meta http-equiv="Content-Type" content="text/html;charset=ISO-8859-1"/>`,
			"<title>Error 403 No valid crumb was included in the request</title>", "<tr><th>STATUS:</th><td>403</td></tr>"}, "text/html;charset=iso-8859-1", false},
		{as(t, now, "root", "root-token"), "GET", "/", []string{"<title>Dashboard [Jenkins]</title>"}, "text/html;charset=utf-8", true},
		{as(t, now, "root", "root-token"), "GET", "/job/p/", []string{"<h1>p</h1>"}, "text/html;charset=utf-8", true},
	} {
		got := row.c.do(row.method, row.path, "")
		for _, words := range row.says {
			if !strings.Contains(got.body, words) {
				t.Errorf("%s %s: no %q in %s", row.method, row.path, words, got.body)
			}
		}
		if got.header.Get("Content-Type") != row.contentType || (got.header.Get("X-Jenkins") != "") != row.inside || (got.header.Get("X-Hudson") == "1.395") != row.inside {
			t.Errorf("%s %s: %v", row.method, row.path, got.header)
		}
	}
}

// TestCrumb: a password needs one, of its own web session; it dies with a restart. A token needs none.
func TestCrumb(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile, Users: people}, jenkinstest.Job{Path: "p"})
		c := as(t, s, "martin", "secret word")
		doc := c.json("/crumbIssuer/api/json")
		crumb, _ := doc["crumb"].(string)
		if doc["_class"] != "hudson.security.csrf.DefaultCrumbIssuer" || doc["crumbRequestField"] != "Jenkins-Crumb" || len(crumb) != 64 {
			t.Fatalf("%v", doc)
		}
		if again := c.json("/crumbIssuer/api/json")["crumb"]; again != crumb {
			t.Errorf("another crumb in the same session: %v", again)
		}
		for name, got := range map[string]reply{
			"header": c.do("POST", "/job/p/build", "", "Jenkins-Crumb", crumb),
			"query":  c.do("POST", "/job/p/build?Jenkins-Crumb="+crumb, ""),
		} {
			if got.status != http.StatusCreated {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
		stranger := as(t, s, "martin", "secret word")
		if got := stranger.do("POST", "/job/p/build", "", "Jenkins-Crumb", crumb); got.status != 403 {
			t.Errorf("without the session: %d", got.status)
		}
		if got := c.do("POST", "/job/p/build", "", "Jenkins-Crumb", "0"+crumb[1:]); got.status != 403 && crumb[0] != '0' {
			t.Errorf("wrong crumb: %d", got.status)
		}
		s.Restart(false)
		if got := c.do("POST", "/job/p/build", "", "Jenkins-Crumb", crumb); got.status != 403 {
			t.Errorf("after a restart: %d", got.status)
		}
		if got := c.get("/crumbIssuer/api/json/api/json"); got.status != 404 {
			t.Errorf("doubled path: %d", got.status)
		}
	})
}

// TestWho: whoAmI and me.
func TestWho(t *testing.T) {
	s := start(t, jenkinstest.Options{Users: people, Anonymous: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead}}}, jenkinstest.Job{Path: "p"})
	c, anybody := as(t, s, "martin", "secret word"), as(t, s, "", "")
	for _, row := range []struct {
		c          *client
		path, want string
	}{
		{c, "/whoAmI/api/json", `{"_class":"hudson.security.WhoAmI","anonymous":false,"authenticated":true,"authorities":["authenticated","builders"],"name":"martin"}`},
		{anybody, "/whoAmI/api/json", `{"_class":"hudson.security.WhoAmI","anonymous":true,"authenticated":true,"authorities":["anonymous"],"name":"anonymous"}`},
		{c, "/me/api/json?depth=0", `{"_class":"hudson.model.User","absoluteUrl":"` + s.URL() + `/user/martin","description":null,"fullName":"Martin P.","id":"martin","property":[]}`},
		{anybody, "/job/p/api/json?tree=name", `{"_class":"hudson.model.FreeStyleProject","name":"p"}`},
	} {
		if got := row.c.get(row.path).body; got != row.want {
			t.Errorf("%s: %s", row.path, got)
		}
	}
	if got := anybody.get("/me/api/json"); got.status != 404 {
		t.Errorf("me of nobody: %d", got.status)
	}
	crumb, _ := c.json("/crumbIssuer/api/json")["crumb"].(string)
	c.do("POST", "/job/p/build?delay=0sec", "", "Jenkins-Crumb", crumb)
	if c.ended("/job/p/1"); !strings.HasPrefix(c.get("/job/p/1/consoleText").body, "Started by user Martin P.\n") {
		t.Error(c.get("/job/p/1/consoleText").body)
	}
}

// TestRejectTokens: a revoked token is 401, a password goes on.
func TestRejectTokens(t *testing.T) {
	s := start(t, jenkinstest.Options{Users: people})
	root, martin := as(t, s, "root", "root-token"), as(t, s, "martin", "secret word")
	s.RejectTokens(true)
	if a, b := root.get("/api/json").status, martin.get("/api/json").status; a != 401 || b != 200 {
		t.Errorf("rejecting: %d, %d", a, b)
	}
	s.RejectTokens(false)
	if a := root.get("/api/json").status; a != 200 {
		t.Errorf("again: %d", a)
	}
}
