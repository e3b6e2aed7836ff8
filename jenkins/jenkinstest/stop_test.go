package jenkinstest_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

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
