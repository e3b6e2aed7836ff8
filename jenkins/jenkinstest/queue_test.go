package jenkinstest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// gate is a command that runs until open is called.
type gate struct{ file string }

func newGate(t *testing.T) gate { return gate{filepath.Join(t.TempDir(), "open")} }

func (g gate) command() string {
	return "#!/bin/sh\necho started\nwhile ! [ -e '" + g.file + "' ]; do sleep 0.02; done\necho opened"
}

func (g gate) open(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(g.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

var numbers = regexp.MustCompile(`\b1[0-9]{12}\b`)

// TestWaitingItem: the whole document, byte for byte but for times.
func TestWaitingItem(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "folder/app", Kind: jenkinstest.Pipeline, Parameters: one})
		c := admin(t, s)
		c.do("POST", "/job/folder/job/app/buildWithParameters", "A=4")
		got := c.get("/queue/item/1/api/json")
		want := `{"_class":"hudson.model.Queue$WaitingItem","actions":[{"_class":"hudson.model.ParametersAction","parameters":` +
			`[{"_class":"hudson.model.StringParameterValue","name":"A","value":"4"}]},{"_class":"hudson.model.CauseAction","causes":` +
			`[{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"Started by user aibuild","userId":"aibuild","userName":"aibuild"}]}],` +
			`"blocked":false,"buildable":false,"id":1,"inQueueSince":TIME,"params":"\u000aA=4","stuck":false,` +
			`"task":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","name":"app","url":"` + s.URL() + `/job/folder/job/app/","color":"notbuilt"},` +
			`"url":"queue/item/1/","why":"In the quiet period. Expires in SPAN","timestamp":TIME}`
		text := regexp.MustCompile(`Expires in [0-9.]+ m?sec`).ReplaceAllString(numbers.ReplaceAllString(got.body, "TIME"), "Expires in SPAN")
		// "name" and "url" come before "color" as the class of the one is above that of the other
		if diff := cmp.Diff(want, text); diff != "" {
			t.Error(diff)
		}
		for name, want := range map[string]string{"X-Jenkins": map[string]string{"2.300": "2.300", "current": "2.541.3"}[profile],
			"Content-Type": "application/json;charset=utf-8", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "deny"} {
			if got.header.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, got.header.Get(name), want)
			}
		}
		page := c.get("/queue/item/1/")
		if profile == jenkinstest.Profile2300 && page.status != 404 || profile != jenkinstest.Profile2300 &&
			page.body != "Queue item exists. For details check, for example, /queue/item/1/api/json?tree=cancelled,executable[url]" {
			t.Errorf("the item's page: %d %s", page.status, page.body)
		}
	})
}

// TestQuietPeriod: 5 s unless the job or the trigger says other things.
func TestQuietPeriod(t *testing.T) {
	minute := time.Minute
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "a"}, jenkinstest.Job{Path: "b", QuietPeriod: &minute})
	c := admin(t, s)
	for _, row := range []struct{ path, why string }{
		{"/job/a/build", `^In the quiet period\. Expires in (5|4\.[0-9]) sec$`},
		{"/job/b/build", `^In the quiet period\. Expires in (1 min 0|59) sec$`},
		{"/job/b/build?delay=3sec", `^In the quiet period\. Expires in (3|2\.[0-9]) sec$`}, // folded: the sooner one counts
	} {
		item := c.do("POST", row.path, "").header.Get("Location")
		doc := c.json(strings.TrimPrefix(item, s.URL()) + "api/json")
		if why := fmt.Sprint(doc["why"]); !regexp.MustCompile(row.why).MatchString(why) {
			t.Errorf("%s: why is %q", row.path, why)
		}
	}
	if got := c.start("a"); c.ended("/job/a/1") != "SUCCESS" || got != "/queue/item/1/" { // no delay: starts the folded one at once
		t.Errorf("started %s", got)
	}
}

// TestBlockedItem: one build at a time, and what Jenkins says of the second.
func TestBlockedItem(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		g := newGate(t)
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Parameters: one, Command: g.command()})
		c := admin(t, s)
		c.start("p", "A", "1")
		c.await("/job/p/api/json?tree=nextBuildNumber,color", "color", is("notbuilt_anime"))
		second := c.start("p", "A", "2")
		doc := c.await(second+"api/json", "_class", is("hudson.model.Queue$BlockedItem"))
		if doc["why"] != "Build #1 is already in progress (ETA: N/A)" || doc["blocked"] != true || doc["buildableStartMilliseconds"] == nil {
			t.Errorf("blocked: %v", doc)
		}
		g.open(t)
		if one, two := c.ended("/job/p/1"), c.ended("/job/p/2"); one+two != "SUCCESSSUCCESS" {
			t.Errorf("%s, %s", one, two)
		}
		left := c.get(second + "api/json?tree=_class,cancelled,executable[number,url],why,task[name]").body
		want := `{"_class":"hudson.model.Queue$LeftItem","task":{"_class":"hudson.model.FreeStyleProject","name":"p"},"why":null,"cancelled":false,` +
			`"executable":{"_class":"hudson.model.FreeStyleBuild","number":2,"url":"` + s.URL() + `/job/p/2/"}}`
		if diff := cmp.Diff(want, left); diff != "" {
			t.Error(diff)
		}
	})
}

// TestWhy: every reason for which a buildable item waits.
func TestWhy(t *testing.T) {
	g := newGate(t)
	busy := jenkinstest.Job{Path: "busy", Label: "one", Command: g.command()}
	twice := jenkinstest.Job{Path: "twice", Label: "two", Concurrent: true, Parameters: one, Command: g.command()}
	s := start(t, jenkinstest.Options{Executors: -1, Nodes: []jenkinstest.Node{
		{Name: "agent-1", Labels: []string{"one"}, Exclusive: true}, {Name: "agent-2", Labels: []string{"two"}, Exclusive: true},
		{Name: "agent-3", Labels: []string{"two"}, Exclusive: true}, {Name: "agent-4", Labels: []string{"off", "all-off"}, Offline: true},
		{Name: "agent-5", Labels: []string{"all-off"}, Offline: true}, {Name: "agent-6", Labels: []string{"idle"}, Exclusive: true}}},
		busy, twice, jenkinstest.Job{Path: "kvm", Label: "kvm"}, jenkinstest.Job{Path: "off", Label: "off"}, jenkinstest.Job{Path: "all-off", Label: "all-off"},
		jenkinstest.Job{Path: "one", Label: "agent-1"}, jenkinstest.Job{Path: "any"})
	c := admin(t, s)
	c.start("busy")
	c.start("twice", "A", "1")
	c.start("twice", "A", "2")
	c.await("/computer/api/json", "busyExecutors", func(v any) bool { return fmt.Sprint(v) == "3" })
	for _, row := range []struct {
		job, params, why string
		stuck            bool
	}{
		{"kvm", "", "There are no nodes with the label ‘kvm’", true},
		{"off", "", "‘agent-4’ is offline", true},
		{"all-off", "", "All nodes of label ‘all-off’ are offline", true},
		{"one", "", "Waiting for next available executor on ‘agent-1’", false},
		{"twice", "3", "Waiting for next available executor on ‘two’", false},
		{"any", "", "‘agent-6’ is reserved for jobs with matching label expression", false},
	} {
		item := ""
		if row.params != "" {
			item = c.start(row.job, "A", row.params)
		} else {
			item = c.start(row.job)
		}
		doc := c.await(item+"api/json", "_class", is("hudson.model.Queue$BuildableItem"))
		if doc["why"] != row.why || doc["stuck"] != row.stuck || doc["pending"] != false || doc["buildable"] != true {
			t.Errorf("%s: %v", row.job, doc)
		}
	}
	s.QuietDown(true)
	if doc := c.json("/queue/item/4/api/json"); doc["why"] != "Jenkins is about to shut down" {
		t.Errorf("quieting down: %v", doc["why"])
	}
	g.open(t)
}

// TestNoAgents: a Jenkins without agents does not speak of labels.
func TestNoAgents(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "kvm", Label: "kvm"})
		c := admin(t, s)
		doc := c.await(c.start("kvm")+"api/json", "_class", is("hudson.model.Queue$BuildableItem"))
		if doc["why"] != "‘Jenkins’ doesn’t have label ‘kvm’" || doc["stuck"] != true {
			t.Errorf("%v", doc)
		}
	})
}

// TestQuietDown: triggers are taken, nothing starts, and it goes on afterwards.
func TestQuietDown(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "free", Parameters: one}, jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, Parameters: one, Command: "true"})
	c := admin(t, s)
	if got := c.do("POST", "/quietDown", ""); got.status != 302 || c.json("/api/json")["quietingDown"] != true {
		t.Errorf("quietDown: %d", got.status)
	}
	for job, class := range map[string]string{"free": "Buildable", "pipe": "Blocked"} {
		doc := c.await(c.start(job, "A", "1")+"api/json", "why", is("Jenkins is about to shut down"))
		if doc["_class"] != "hudson.model.Queue$"+class+"Item" {
			t.Errorf("%s: %v", job, doc["_class"])
		}
	}
	c.do("POST", "/cancelQuietDown", "")
	for _, job := range []string{"free", "pipe"} {
		if result := c.ended("/job/" + job + "/1"); result != "SUCCESS" {
			t.Errorf("%s: %s", job, result)
		}
	}
}

// TestCancelItem: in the queue 204, what left 500, unknown 404, without permission 422.
func TestCancelItem(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile, Users: []jenkinstest.User{
			{Name: "root", Token: "root-token", Admin: true},
			{Name: "reader", Token: "reader-token", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead}}}}},
			jenkinstest.Job{Path: "p"})
		c, reader := as(t, s, "root", "root-token"), as(t, s, "reader", "reader-token")
		c.do("POST", "/job/p/build", "")
		for _, row := range []struct {
			who    *client
			path   string
			status int
		}{
			{reader, "?id=1", 422}, {c, "?id=77", 404}, {c, "?id=x", 500}, {c, "?id=1", 204}, {c, "?id=1", 500},
		} {
			if got := row.who.do("POST", "/queue/cancelItem"+row.path, ""); got.status != row.status {
				t.Errorf("cancelItem%s: %d, want %d: %s", row.path, got.status, row.status, got.body)
			}
		}
		if got := c.get("/queue/cancelItem?id=1"); got.status != 405 || got.header.Get("Allow") != "POST" {
			t.Errorf("get: %d", got.status)
		}
		want := `{"_class":"hudson.model.Queue$LeftItem","id":1,"why":null,"cancelled":true,"executable":null}`
		if diff := cmp.Diff(want, c.get("/queue/item/1/api/json?tree=id,why,cancelled,executable[number]").body); diff != "" {
			t.Error(diff)
		}
		if got := c.get("/queue/api/json").body; got != `{"_class":"hudson.model.Queue","discoverableItems":[],"items":[]}` {
			t.Error(got)
		}
	})
}

// TestLeftItem: it can be asked for for a time, first without its build.
func TestLeftItem(t *testing.T) {
	s := start(t, jenkinstest.Options{LeftFor: 600 * time.Millisecond, StartGap: 200 * time.Millisecond}, jenkinstest.Job{Path: "p"})
	c := admin(t, s)
	item := c.start("p")
	doc := c.await(item+"api/json", "_class", is("hudson.model.Queue$LeftItem"))
	if doc["executable"] != nil || doc["cancelled"] != false {
		t.Errorf("just started: %v", doc)
	}
	c.await(item+"api/json", "executable", func(v any) bool { return v != nil })
	deadline := time.Now().Add(10 * time.Second)
	for c.get(item+"api/json").status != 404 {
		if time.Now().After(deadline) {
			t.Fatal("the item stays for ever")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestPlaceholder: a pipeline that waits for an executor has an entry of its own in the queue.
func TestPlaceholder(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		g := newGate(t)
		s := start(t, jenkinstest.Options{Profile: profile, Nodes: []jenkinstest.Node{{Name: "agent", Labels: []string{"kvm"}}}},
			jenkinstest.Job{Path: "holds", Label: "kvm", Command: g.command()},
			jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, Label: "kvm", Parameters: one, Command: "echo $NODE_NAME $EXECUTOR_NUMBER"})
		c := admin(t, s)
		c.start("holds")
		c.await("/computer/agent/api/json", "idle", is(false))
		c.start("pipe", "A", "1")
		c.await("/job/pipe/api/json?tree=color", "color", is("notbuilt_anime"))
		items := c.await("/queue/api/json", "items", func(v any) bool { return len(v.([]any)) == 1 })["items"].([]any)
		doc := items[0].(map[string]any)
		if cmp.Diff(map[string]any{"_class": "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"}, doc["task"]) != "" ||
			doc["why"] != "Waiting for next available executor on ‘agent’" || len(doc["actions"].([]any)) != 0 {
			t.Errorf("%v", doc)
		}
		g.open(t)
		if result := c.ended("/job/pipe/1"); result != "SUCCESS" || !strings.Contains(c.get("/job/pipe/1/consoleText").body, "\nagent 0\n") {
			t.Errorf("%s: %s", result, c.get("/job/pipe/1/consoleText").body)
		}
	})
}
