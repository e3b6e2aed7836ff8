package jenkinstest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestControl: every switch by HTTP, without a login; none of it without Options.Control.
func TestControl(t *testing.T) {
	g := newGate(t)
	s := start(t, jenkinstest.Options{Control: true}, jenkinstest.Job{Path: "p", Parameters: one, Command: g.command()})
	c, control := admin(t, s), as(t, s, "", "")
	post := func(what, body string) {
		t.Helper()
		if got := control.do("POST", jenkinstest.ControlPath+what, body); got.status != 204 {
			t.Fatalf("%s: %d %s", what, got.status, got.body)
		}
	}
	expect := func(what string, status int) {
		t.Helper()
		if got := c.get("/api/json"); got.status != status {
			t.Errorf("after %s: %d, want %d", what, got.status, status)
		}
	}
	post("fail", `{"Kind":"502","N":-1}`)
	expect("fail", 502)
	post("heal", "")
	expect("heal", 200)
	post("down", "")
	expect("down", 503)
	post("up?lose=true", "")
	expect("up", 200)
	post("tokens?reject=true", "")
	expect("tokens", 401)
	post("tokens?reject=false", "")
	post("restart", "")
	expect("restart", 200)
	post("quiet?on=true", "")
	if c.json("/api/json")["quietingDown"] != true {
		t.Error("quiet: nothing")
	}
	post("quiet?on=false", "")
	post("disable?job=p&on=true", "")
	if c.json("/job/p/api/json")["buildable"] != false {
		t.Error("disable: nothing")
	}
	post("disable?job=p&on=false", "")
	c.start("p", "A", "1")
	awaitLog(c, "/job/p/1", "started")
	post("result?job=p&number=1&result=UNSTABLE", "")
	g.open(t)
	if got := c.ended("/job/p/1"); got != "UNSTABLE" {
		t.Errorf("result: %s", got)
	}
	post("delete?job=p&number=1", "")
	if got := c.get("/job/p/1/api/json"); got.status != 404 {
		t.Errorf("delete: %d", got.status)
	}
	post("drop?job=p&name=A", "")
	if doc := c.get("/job/p/api/json?tree=property[parameterDefinitions[name]]").body; strings.Contains(doc, "parameterDefinitions") {
		t.Error(doc)
	}
	if got := control.get(jenkinstest.ControlPath + "posts?job=p").body; got != "{\"posts\":1}\n" {
		t.Error(got)
	}
	var requests []jenkinstest.Request
	if err := json.Unmarshal([]byte(control.get(jenkinstest.ControlPath+"requests").body), &requests); err != nil || len(requests) == 0 {
		t.Errorf("%v, %v", requests, err)
	}
	if got := control.get(jenkinstest.ControlPath); !strings.Contains(got.body, "POST restart") {
		t.Error(got.body)
	}
	for _, wrong := range []string{"nothing", "quiet?on=perhaps", "delete?job=p&number=x", "delete?job=none&number=1", "fail"} {
		if got := control.do("POST", jenkinstest.ControlPath+wrong, ""); got.status != 400 {
			t.Errorf("%s: %d", wrong, got.status)
		}
	}
	plain := start(t, jenkinstest.Options{})
	if got := admin(t, plain).do("POST", jenkinstest.ControlPath+"down", ""); got.status != 404 {
		t.Errorf("without Control: %d", got.status)
	}
}
