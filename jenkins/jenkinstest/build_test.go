package jenkinstest_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestResults: what a job's exit code becomes, for both kinds.
func TestResults(t *testing.T) {
	for _, kind := range []jenkinstest.Kind{jenkinstest.Freestyle, jenkinstest.Pipeline} {
		inBoth(t, func(t *testing.T, profile string) {
			s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Kind: kind, Parameters: one, Command: "exit $A",
				UnstableReturn: 3, NotBuiltReturn: 5})
			c := admin(t, s)
			for i, row := range []struct{ code, result, color string }{
				{"0", "SUCCESS", "blue"}, {"3", "UNSTABLE", "yellow"}, {"4", "FAILURE", "red"}, {"5", "NOT_BUILT", "notbuilt"}, {"1", "FAILURE", "red"},
			} {
				if got := c.run("p", strconv.Itoa(i+1), "A", row.code); got != row.result {
					t.Errorf("exit %s: %s, want %s", row.code, got, row.result)
				}
				if got := c.json("/job/p/api/json")["color"]; got != row.color {
					t.Errorf("after %s the ball is %v", row.result, got)
				}
			}
			for link, want := range map[string]int{"lastBuild": 5, "lastCompletedBuild": 5, "lastFailedBuild": 5, "lastStableBuild": 1,
				"lastSuccessfulBuild": 2, "lastUnstableBuild": 2, "lastUnsuccessfulBuild": 5} {
				if got := c.json("/job/p/" + link + "/api/json")["number"]; fmt.Sprint(got) != strconv.Itoa(want) {
					t.Errorf("%s is %v, want %d", link, got, want)
				}
			}
		})
	}
}

// TestEnvironment: the variables of Jenkins, and nothing of whoever runs the stand-in.
func TestEnvironment(t *testing.T) {
	t.Setenv("AIBUILD_TOKEN", "canary")
	inBoth(t, func(t *testing.T, profile string) {
		home := t.TempDir()
		s := start(t, jenkinstest.Options{Profile: profile, Home: home}, jenkinstest.Job{Path: "aibuild/build", Parameters: one, Command: "#!/bin/sh\nenv | sort; pwd"})
		c := admin(t, s)
		c.run("aibuild/job/build", "1", "A", "x=1")
		log := c.get("/job/aibuild/job/build/1/consoleText").body
		node := map[string]string{"2.300": "master", "current": "built-in"}[profile]
		for _, line := range []string{
			"A=x=1", "JENKINS_URL=" + s.URL() + "/", "JOB_NAME=aibuild/build", "JOB_BASE_NAME=build", "BUILD_NUMBER=1", "BUILD_ID=1",
			"BUILD_URL=" + s.URL() + "/job/aibuild/job/build/1/", "BUILD_TAG=jenkins-aibuild-build-1", "NODE_NAME=" + node,
			"EXECUTOR_NUMBER=0", "WORKSPACE=" + home + "/workspace/aibuild/build", "JENKINS_HOME=" + home, "CI=true", home + "/workspace/aibuild/build",
		} {
			if !strings.Contains(log, "\n"+line+"\n") {
				t.Errorf("no line %q in %s", line, log)
			}
		}
		if strings.Contains(log, "canary") {
			t.Error("a build sees the environment of the stand-in")
		}
	})
}

// TestBuildDocument: a finished freestyle build, byte for byte but for times.
func TestBuildDocument(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "f/p", Parameters: one, Command: "true"},
			jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, Command: "true"})
		c := admin(t, s)
		c.run("f/job/p", "1", "A", "v")
		c.run("pipe", "1")
		inProgress, pipeProgress := "", ""
		if profile == jenkinstest.ProfileCurrent {
			inProgress, pipeProgress = `"inProgress":false,`, `"inProgress":false,`
		}
		cause := `{"_class":"hudson.model.CauseAction","causes":[{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"Started by user aibuild","userId":"aibuild","userName":"aibuild"}]},{},{}]`
		want := `{"_class":"hudson.model.FreeStyleBuild","actions":[{"_class":"hudson.model.ParametersAction","parameters":[{"_class":"hudson.model.StringParameterValue","name":"A","value":"v"}]},` +
			cause + `,"artifacts":[],"building":false,"description":null,"displayName":"#1","duration":N,"estimatedDuration":N,"executor":null,` +
			`"fullDisplayName":"f » p #1","id":"1",` + inProgress + `"keepLog":false,"number":1,"queueId":1,"result":"SUCCESS","timestamp":TIME,` +
			`"url":"` + s.URL() + `/job/f/job/p/1/","builtOn":"","changeSet":{"_class":"hudson.scm.EmptyChangeLogSet","items":[],"kind":null},"culprits":[]}`
		check(t, want, c.get("/job/f/job/p/1/api/json").body)
		want = `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowRun","actions":[` + cause + `,"artifacts":[],"building":false,"description":null,"displayName":"#1",` +
			`"duration":N,"estimatedDuration":N,"executor":null,"fullDisplayName":"pipe #1","id":"1","keepLog":false,"number":1,"queueId":2,"result":"SUCCESS","timestamp":TIME,` +
			`"url":"` + s.URL() + `/job/pipe/1/","changeSets":[],"culprits":[],` + pipeProgress + `"nextBuild":null,"previousBuild":null}`
		check(t, want, c.get("/job/pipe/1/api/json").body)
	})
}

var duration = regexp.MustCompile(`"(duration|estimatedDuration)":-?[0-9]+`)

func check(t *testing.T, want, got string) {
	t.Helper()
	got = duration.ReplaceAllString(numbers.ReplaceAllString(got, "TIME"), `"$1":N`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestPostProduction: a freestyle build that is no longer building, but still in progress and in the way.
func TestPostProduction(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Command: "true", PostProduction: 400 * time.Millisecond})
		c := admin(t, s)
		c.start("p")
		c.await("/job/p/api/json?tree=nextBuildNumber", "nextBuildNumber", func(v any) bool { return fmt.Sprint(v) == "2" })
		doc := c.await("/job/p/1/api/json", "building", is(false))
		more := c.get("/job/p/1/logText/progressiveText").header.Get("X-More-Data")
		wanted := map[string]any{"2.300": nil, "current": true}[profile]
		if doc["result"] != "SUCCESS" || doc["inProgress"] != wanted || more != "true" {
			t.Errorf("%v; more data: %q", doc, more)
		}
		second := c.start("p")
		if why := c.json(second + "api/json")["why"]; why != "Build #1 is already in progress (ETA: N/A)" {
			t.Errorf("why: %v", why)
		}
		c.ended("/job/p/2")
	})
}

// TestSetResult: a result can be there while the build goes on, and only gets worse.
func TestSetResult(t *testing.T) {
	g := newGate(t)
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Kind: jenkinstest.Pipeline, Command: g.command()})
	c := admin(t, s)
	c.start("p")
	c.await("/job/p/api/json?tree=color", "color", is("notbuilt_anime"))
	for _, result := range []string{"UNSTABLE", "SUCCESS"} {
		if err := s.SetResult("p", 1, result); err != nil {
			t.Fatal(err)
		}
	}
	if doc := c.json("/job/p/1/api/json"); doc["result"] != "UNSTABLE" || doc["building"] != true || doc["inProgress"] != true {
		t.Errorf("%v", doc)
	}
	g.open(t)
	if got := c.ended("/job/p/1"); got != "UNSTABLE" {
		t.Error(got)
	}
	if s.SetResult("p", 1, "FAILURE") == nil || s.SetResult("p", 9, "FAILURE") == nil || s.SetResult("q", 1, "FAILURE") == nil {
		t.Error("a build that does not run cannot change")
	}
}

// TestConcurrent: builds side by side have a workspace each; the next build has the first one again.
func TestConcurrent(t *testing.T) {
	g := newGate(t)
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Concurrent: true, Parameters: one, Command: g.command() + "\npwd"})
	c := admin(t, s)
	c.start("p", "A", "1")
	c.start("p", "A", "2")
	awaitLog(c, "/job/p/1", "started")
	awaitLog(c, "/job/p/2", "started")
	g.open(t)
	c.ended("/job/p/1")
	c.ended("/job/p/2")
	c.run("p", "3", "A", "3")
	seen := map[string]int{}
	for _, n := range []string{"1", "2", "3"} {
		lines := strings.Split(c.get("/job/p/"+n+"/consoleText").body, "\n")
		seen[filepath.Base(lines[len(lines)-3])]++
	}
	if diff := cmp.Diff(map[string]int{"p": 2, "p@2": 1}, seen); diff != "" {
		t.Error(diff)
	}
}

// TestWorkspace: a build finds what the last one left, unless the job cleans up first.
func TestWorkspace(t *testing.T) {
	for clean, want := range map[bool]string{false: "FAILURE", true: "SUCCESS"} {
		s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Clean: clean, Command: "mkdir once"})
		c := admin(t, s)
		if first, second := c.run("p", "1"), c.run("p", "2"); first != "SUCCESS" || second != want {
			t.Errorf("clean %t: %s, %s", clean, first, second)
		}
	}
}

// TestBuildsRange: what a poller asks for, newest first; allBuilds only by name.
func TestBuildsRange(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Parameters: one})
	c := admin(t, s)
	for i := range 3 {
		c.run("p", strconv.Itoa(i+1), "A", strconv.Itoa(i))
	}
	got := c.get("/job/p/api/json?tree=builds[number,queueId,result,actions[parameters[name,value]]]{0,2}").body
	run := func(n, queue int) string {
		return fmt.Sprintf(`{"_class":"hudson.model.FreeStyleBuild","actions":[{"_class":"hudson.model.ParametersAction","parameters":[{"_class":"hudson.model.StringParameterValue","name":"A","value":"%d"}]},{"_class":"hudson.model.CauseAction"},{},{}],"number":%d,"queueId":%d,"result":"SUCCESS"}`, n-1, n, queue)
	}
	if diff := cmp.Diff(`{"_class":"hudson.model.FreeStyleProject","builds":[`+run(3, 3)+","+run(2, 2)+"]}", got); diff != "" {
		t.Error(diff)
	}
	if all := c.get("/job/p/api/json?tree=allBuilds[number]{2,9}").body; all != `{"_class":"hudson.model.FreeStyleProject","allBuilds":[{"_class":"hudson.model.FreeStyleBuild","number":1}]}` {
		t.Error(all)
	}
	if strings.Contains(c.get("/job/p/api/json?depth=1").body, "allBuilds") {
		t.Error("allBuilds is shown unasked")
	}
	if got := c.get("/job/p/api/json?tree=builds["); got.status != 500 {
		t.Errorf("malformed tree: %d", got.status)
	}
}
