package jenkinstest_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
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

// TestStop: TERM to the whole group, ABORTED, and 302 whatever there was to end.
func TestStop(t *testing.T) {
	for _, kind := range []jenkinstest.Kind{jenkinstest.Freestyle, jenkinstest.Pipeline} {
		inBoth(t, func(t *testing.T, profile string) {
			pids := filepath.Join(t.TempDir(), "pids")
			s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Kind: kind,
				Command: "#!/bin/sh\ntrap 'echo got TERM; exit 0' TERM\nsleep 300 & echo $$ $! > " + pids + ".new; mv " + pids + ".new " + pids + "\nwait"})
			c := admin(t, s)
			c.start("p")
			group := awaitFile(t, pids)
			got := c.do("POST", "/job/p/1/stop", "")
			where := map[string]string{"2.300": s.URL() + "/job/p/1/", "current": "/job/p/1/"}[profile]
			if got.status != 302 || got.header.Get("Location") != where {
				t.Errorf("stop: %d to %s", got.status, got.header.Get("Location"))
			}
			if result := c.ended("/job/p/1"); result != "ABORTED" {
				t.Error(result)
			}
			log := c.get("/job/p/1/consoleText").body
			if !strings.Contains(log, "got TERM\n") || !strings.Contains(log, "Aborted by aibuild\n") || !strings.HasSuffix(log, "\nFinished: ABORTED\n") {
				t.Error(log)
			}
			for pid := range strings.FieldsSeq(group) {
				awaitDeath(t, pid)
			}
			doc := c.get("/job/p/1/api/json?tree=actions[causes[shortDescription]]").body
			if !strings.Contains(doc, `{"_class":"jenkins.model.InterruptedBuildAction","causes":[{"_class":"jenkins.model.CauseOfInterruption$UserInterruption","shortDescription":"Aborted by aibuild"}]}`) {
				t.Error(doc)
			}
			again := c.do("POST", "/job/p/1/stop", "", "Referer", "http://elsewhere/x")
			if again.status != 302 || again.header.Get("Location") != "http://elsewhere/x" {
				t.Errorf("nothing to stop: %d to %s", again.status, again.header.Get("Location"))
			}
			if got := c.get("/job/p/1/stop"); got.status != 405 {
				t.Errorf("get: %d", got.status)
			}
		})
	}
}

func awaitFile(t *testing.T, path string) string {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if text, err := os.ReadFile(path); err == nil {
			return string(text)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", path)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func awaitDeath(t *testing.T, pid string) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if _, err := process.StartTime(n); err != nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %s lives on", pid)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestKill: a pipeline that ignores TERM ends by kill, at once.
func TestKill(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, Command: "#!/bin/sh\ntrap '' TERM\necho ready\nwhile :; do sleep 0.05; done"},
		jenkinstest.Job{Path: "free", Command: "true"})
	c := admin(t, s)
	c.start("pipe")
	awaitLog(c, "/job/pipe/1", "ready")
	began := time.Now()
	if got := c.do("POST", "/job/pipe/1/kill", ""); got.status != 302 {
		t.Errorf("kill: %d", got.status)
	}
	if result := c.ended("/job/pipe/1"); result != "ABORTED" || time.Since(began) > 8*time.Second {
		t.Errorf("%s after %s", result, time.Since(began))
	}
	c.run("free", "1")
	if got := c.do("POST", "/job/free/1/term", ""); got.status != 404 {
		t.Errorf("term of a freestyle build: %d", got.status)
	}
}

func awaitLog(c *client, build, text string) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(c.get(build+"/logText/progressiveText").body, text) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s never logs %q", build, text)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestStopInQueue: a pipeline that waits for an executor can be stopped.
func TestStopInQueue(t *testing.T) {
	s := start(t, jenkinstest.Options{Nodes: []jenkinstest.Node{{Name: "agent"}}}, jenkinstest.Job{Path: "p", Kind: jenkinstest.Pipeline, Label: "none", Command: "true"})
	c := admin(t, s)
	c.start("p")
	c.await("/queue/api/json", "items", func(v any) bool { return len(v.([]any)) == 1 })
	c.do("POST", "/job/p/1/stop", "")
	if result := c.ended("/job/p/1"); result != "ABORTED" || len(c.json("/queue/api/json")["items"].([]any)) != 0 {
		t.Error(result)
	}
}

// TestAbortPrevious: disableConcurrentBuilds(abortPrevious: true) ends the older run as NOT_BUILT.
func TestAbortPrevious(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Kind: jenkinstest.Pipeline, AbortPrevious: true, Parameters: one,
		Command: "#!/bin/sh\necho ready\n[ \"$A\" = last ] || exec sleep 300"})
	c := admin(t, s)
	c.start("p", "A", "1")
	awaitLog(c, "/job/p/1", "ready")
	c.start("p", "A", "last")
	if first, second := c.ended("/job/p/1"), c.ended("/job/p/2"); first != "NOT_BUILT" || second != "SUCCESS" {
		t.Errorf("%s, %s", first, second)
	}
}

// TestLog: offsets are the file's, line ends are CRLF, and the headers say what is to come.
func TestLog(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		g := newGate(t)
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Command: g.command()})
		c := admin(t, s)
		c.start("p")
		awaitLog(c, "/job/p/1", "started\r\n")
		first := c.get("/job/p/1/logText/progressiveText?start=0")
		size := first.header.Get("X-Text-Size")
		if first.header.Get("X-More-Data") != "true" || size != strconv.Itoa(len(strings.ReplaceAll(first.body, "\r", ""))) ||
			first.header.Get("Content-Type") != "text/plain;charset=utf-8" || first.header.Get("X-Jenkins") != "" {
			t.Errorf("%v %q", first.header, first.body)
		}
		if nothing := c.get("/job/p/1/logText/progressiveText?start=" + size); nothing.body != "" || nothing.header.Get("X-Text-Size") != size {
			t.Errorf("%v %q", nothing.header, nothing.body)
		}
		g.open(t)
		c.ended("/job/p/1")
		rest := c.get("/job/p/1/logText/progressiveText/?start=" + size)
		if rest.body != "opened\r\nFinished: SUCCESS\r\n" || rest.header["X-More-Data"] != nil {
			t.Errorf("%v %q", rest.header, rest.body)
		}
		whole := c.get("/job/p/1/consoleText/").body
		if whole != strings.ReplaceAll(first.body+rest.body, "\r\n", "\n") || !strings.HasPrefix(whole, "Started by user aibuild\nRunning as SYSTEM\nBuilding in workspace /") {
			t.Errorf("%q", whole)
		}
		if beyond := c.get("/job/p/1/logText/progressiveText?start=99999"); strings.ReplaceAll(beyond.body, "\r", "") != whole {
			t.Errorf("beyond the end: %q", beyond.body)
		}
		if wrong := c.get("/job/p/1/logText/progressiveText?start=x"); wrong.status != 500 {
			t.Errorf("start=x: %d", wrong.status)
		}
		if stages := c.get("/job/p/1/wfapi/describe"); stages.status != http.StatusNotFound {
			t.Errorf("wfapi: %d", stages.status)
		}
	})
}

// TestShell: without #! the script runs with -xe, as the shell step does.
func TestShell(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p", Command: "echo one\nfalse\necho two"},
		jenkinstest.Job{Path: "python", Command: "#!/usr/bin/env python3\nprint(6*7)"}, jenkinstest.Job{Path: "none", Command: "#!/no/such/shell -x\ntrue"},
		jenkinstest.Job{Path: "groovy", Kind: jenkinstest.Pipeline})
	c := admin(t, s)
	for job, want := range map[string]struct{ result, log string }{
		"p":      {"FAILURE", "+ echo one\none\n+ false\nBuild step 'Execute shell' marked build as failure\nFinished: FAILURE\n"},
		"python": {"SUCCESS", "\n42\nFinished: SUCCESS\n"}, "none": {"FAILURE", "not installed"}, "groovy": {"FAILURE", "runs no Groovy"},
	} {
		result := c.run(job, "1")
		if log := c.get("/job/" + job + "/1/consoleText").body; result != want.result || !strings.Contains(log, want.log) {
			t.Errorf("%s: %s: %s", job, result, log)
		}
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
