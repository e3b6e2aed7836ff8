package jenkinstest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestTrigger has a row for every answer to a trigger; status and text differ by version.
func TestTrigger(t *testing.T) {
	rows := []struct {
		name, method, path, form string
		old, current             int
		says                     string // by the current version; the old one says it only with stack traces
	}{
		{"queued", "POST", "/job/p/buildWithParameters", "A=1", 201, 201, ""},
		{"in a folder, with slash", "POST", "/job/f/job/p/buildWithParameters/", "A=1", 201, 201, ""},
		{"folded", "POST", "/job/slow/buildWithParameters", "A=same", 201, 303, ""},
		{"not parameterized", "POST", "/job/plain/buildWithParameters", "A=1", 500, 400, " is not parameterized"},
		{"disabled", "POST", "/job/off/buildWithParameters", "A=1", 409, 409, "off is not buildable"},
		{"disabled, build", "POST", "/job/off/build", "", 409, 409, "off is not buildable"},
		{"twice the same name", "POST", "/job/p/buildWithParameters?A=1", "A=2", 500, 500, "Illegal number of parameter values for A: 2"},
		{"bad choice", "POST", "/job/choice/buildWithParameters", "C=z", 500, 500, "Illegal choice for parameter C: z"},
		{"bad delay", "POST", "/job/p/buildWithParameters?delay=soon", "", 500, 500, "Invalid time duration value: soon"},
		{"get", "GET", "/job/p/buildWithParameters?A=1", "", 405, 405, "You must use POST method"},
		{"get of build", "GET", "/job/plain/build", "", 405, 405, "You must use POST method"},
		{"unknown job", "POST", "/job/none/buildWithParameters", "A=1", 404, 404, "Not Found"},
		{"folder", "POST", "/job/f/build", "", 404, 404, "Not Found"},
		{"build of a parameterized job", "POST", "/job/p/build", "", 400, 400, "This page expects a form submission"},
		{"build by form", "POST", "/job/p/build", `json={"parameter":{"name":"A","value":"7"}}`, 201, 201, ""},
		{"build by form, unknown", "POST", "/job/p/build", `json={"parameter":[{"name":"B","value":"7"}]}`, 500, 500, "No such parameter definition: B"},
		{"plain", "POST", "/job/plain/build", "", 201, 201, ""},
	}
	for _, stack := range []bool{false, true} {
		inBoth(t, func(t *testing.T, profile string) {
			s := start(t, jenkinstest.Options{Profile: profile, ShowStackTrace: stack},
				jenkinstest.Job{Path: "p", Parameters: one}, jenkinstest.Job{Path: "f/p", Parameters: one},
				jenkinstest.Job{Path: "slow", Parameters: one}, jenkinstest.Job{Path: "plain"},
				jenkinstest.Job{Path: "off", Parameters: one, Disabled: true},
				jenkinstest.Job{Path: "choice", Parameters: []jenkinstest.Parameter{{Name: "C", Type: "choice", Choices: []string{"x", "y"}}}})
			c := admin(t, s)
			c.do("POST", "/job/slow/buildWithParameters?delay=600sec", "A=same")
			for _, row := range rows {
				got := c.do(row.method, row.path, row.form)
				want := map[string]int{jenkinstest.Profile2300: row.old, jenkinstest.ProfileCurrent: row.current}[profile]
				if got.status != want {
					t.Errorf("%s: status %d, want %d: %s", row.name, got.status, want, got.body)
				}
				told := want != 500 && (want != 409 || profile == jenkinstest.ProfileCurrent) || stack
				if strings.Contains(got.body, row.says) != told && row.says != "" {
					t.Errorf("%s: the page should tell %q: %t; it is %s", row.name, row.says, told, got.body)
				}
				checkTriggerHeaders(t, row.name, got, s.URL())
			}
		})
	}
}

func checkTriggerHeaders(t *testing.T, name string, got reply, root string) {
	t.Helper()
	location, allow := got.header.Get("Location"), got.header.Get("Allow")
	switch got.status {
	case 201, 303:
		id := strings.TrimSuffix(strings.TrimPrefix(location, root+"/queue/item/"), "/")
		if got.body != "" || got.header.Get("Content-Length") != "0" || id == "" || strings.ContainsAny(id, "/:") {
			t.Errorf("%s: %v %q", name, got.header, got.body)
		}
		if got.header.Get("X-Jenkins") != "" || got.header.Get("X-Content-Type-Options") != "nosniff" || got.header["Content-Type"] != nil {
			t.Errorf("%s: headers %v", name, got.header)
		}
	case 405:
		if allow != "POST" {
			t.Errorf("%s: Allow is %q", name, allow)
		}
	default:
		if location != "" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
			t.Errorf("%s: headers %v", name, got.header)
		}
	}
}

// TestLocation: the host is what the caller, or the proxy in front of it, called; ids go on.
func TestLocation(t *testing.T) {
	s := start(t, jenkinstest.Options{Context: "/ci/", RootURL: "https://ci.example.org/jenkins/", QuietPeriod: -1}, jenkinstest.Job{Path: "p", Parameters: one})
	c := admin(t, s)
	trigger := func(header ...string) string {
		return c.do("POST", "/job/p/buildWithParameters?delay=600sec", "A="+strings.Join(header, ""), header...).header.Get("Location")
	}
	got := []string{
		trigger(), trigger("Host", "jenkins:8080"), trigger("Host", "jenkins:80"),
		trigger("X-Forwarded-Host", "ci.example.org", "X-Forwarded-Proto", "https"),
	}
	want := []string{
		s.URL() + "/queue/item/1/", "http://jenkins:8080/ci/queue/item/2/", "http://jenkins/ci/queue/item/3/",
		"https://ci.example.org/ci/queue/item/4/",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if link := c.json("/job/p/api/json")["url"]; link != "https://ci.example.org/jenkins/job/p/" {
		t.Errorf("documents should have the configured url, not %v", link)
	}
	if got := c.do("GET", "/../job/p/api/json", ""); got.status != 404 {
		t.Errorf("outside the context: %d", got.status)
	}
}

// TestParameters: what reaches the build of what is sent, declared or not.
func TestParameters(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Command: `#!/bin/sh
echo "[$A][$bool][$C][$T][$trim][$TRIM][$secret][$extra]"`, Parameters: []jenkinstest.Parameter{
			{Name: "A", Default: "a default"}, {Name: "bool", Type: "boolean"}, {Name: "C", Type: "choice", Choices: []string{"x", "y"}},
			{Name: "T", Type: "text"}, {Name: "trim", Trim: true}, {Name: "secret", Type: "password"}}})
		c := admin(t, s)
		c.run("p", "1", "extra", "dropped")
		c.run("p", "2", "A", "ä$(touch x)\n", "bool", "TRUE", "C", "y", "T", "1\n2", "trim", "  t ", "secret", "hush", "extra", "dropped")
		for build, want := range map[string]string{
			"1": "[a default][false][x][][][][][]\n",
			"2": "[ä$(touch x)\n][true][y][1\n2][t][t][hush][]\n",
		} {
			if log := c.get("/job/p/" + build + "/consoleText").body; !strings.Contains(log, want) {
				t.Errorf("build %s: the log should hold %q: %s", build, want, log)
			}
		}
		doc := c.get("/job/p/2/api/json?tree=actions[parameters[*]]").body
		want := `{"_class":"hudson.model.FreeStyleBuild","actions":[{"_class":"hudson.model.ParametersAction","parameters":[` +
			`{"_class":"hudson.model.StringParameterValue","name":"A","value":"ä$(touch x)\u000a"},` +
			`{"_class":"hudson.model.BooleanParameterValue","name":"bool","value":true},` +
			`{"_class":"hudson.model.StringParameterValue","name":"C","value":"y"},` +
			`{"_class":"hudson.model.TextParameterValue","name":"T","value":"1\u000a2"},` +
			`{"_class":"hudson.model.StringParameterValue","name":"trim","value":"t"},` +
			`{"_class":"hudson.model.PasswordParameterValue","name":"secret"}]},{"_class":"hudson.model.CauseAction"},{},{}]}`
		if diff := cmp.Diff(want, doc); diff != "" {
			t.Error(diff)
		}
	})
}

// TestFolding: the same parameters join the item in the queue; others, and a run id above all, do not.
func TestFolding(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Parameters: one}, jenkinstest.Job{Path: "plain"})
		c := admin(t, s)
		trigger := func(path, form string) string {
			return c.do("POST", path, form).header.Get("Location")
		}
		first := trigger("/job/p/buildWithParameters", "A=1")
		if again := trigger("/job/p/buildWithParameters", "A=1"); again != first {
			t.Errorf("the same set: %s and %s", first, again)
		}
		if other := trigger("/job/p/buildWithParameters", "A=2"); other == first {
			t.Errorf("another set is folded into %s", first)
		}
		if a, b := trigger("/job/plain/build", ""), trigger("/job/plain/build", ""); a != b || a == "" {
			t.Errorf("without parameters: %s and %s", a, b)
		}
		if got := c.do("POST", "/job/p/build", `json={"parameter":{"name":"A","value":"1"}}`); got.status != 302 {
			t.Errorf("a form that folds: %d, want 302", got.status)
		}
		causes := c.json("/queue/item/1/api/json?tree=actions[causes[shortDescription]]")["actions"].([]any)[1].(map[string]any)["causes"].([]any)
		if len(causes) != 3 || s.Posts("p") != 4 || s.Posts("plain") != 2 {
			t.Errorf("%d causes, %d posts, want 3 and 4", len(causes), s.Posts("p"))
		}
	})
}

// TestGone: a trigger that meets nothing counts for nothing.
func TestPostsOfNothing(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "f/p"})
	c := admin(t, s)
	c.do("POST", "/job/f/build", "")
	c.do("POST", "/job/f/job/q/build", "")
	if got := c.do(http.MethodGet, "/job/f/job/p/build", ""); got.status != 405 || s.Posts("f/p") != 0 || s.Posts("f") != 0 {
		t.Errorf("status %d, posts %d", got.status, s.Posts("f/p"))
	}
}
