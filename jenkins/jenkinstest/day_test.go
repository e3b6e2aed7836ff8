package jenkinstest_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestRestart: 503 pages, then another session; items that left are forgotten, those in the queue stay, pipelines
// go on and freestyle builds do not.
func TestRestart(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		g := newGate(t)
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "waits", Parameters: one}, jenkinstest.Job{Path: "done"},
			jenkinstest.Job{Path: "free", Command: "exec sleep 300"}, jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, Command: g.command()})
		c := admin(t, s)
		left := c.start("done")
		c.ended("/job/done/1")
		c.start("free")
		c.start("pipe")
		awaitLog(c, "/job/pipe/1", "started")
		c.do("POST", "/job/waits/buildWithParameters?delay=600sec", "A=1")
		before := c.get("/api/json").header.Get("X-Jenkins-Session")
		s.QuietDown(true)
		s.GoDown()
		for _, path := range []string{"/api/json", "/job/pipe/1/api/json", "/whatever"} {
			got := c.get(path)
			words := map[string]string{"2.300": "Please wait while Jenkins is restarting", "current": "Jenkins is restarting"}[profile]
			if got.status != 503 || !strings.Contains(got.body, words) || got.header.Get("X-Jenkins") != "" || got.header.Get("Cache-Control") != "no-cache,no-store,must-revalidate" {
				t.Errorf("%s: %d %v %s", path, got.status, got.header, got.body)
			}
		}
		if got := c.do("POST", "/job/waits/build", ""); got.status != 503 || s.Posts("waits") != 2 {
			t.Errorf("a trigger: %d; %d posts", got.status, s.Posts("waits"))
		}
		g.open(t)
		s.ComeUp(false)
		if after := c.get("/api/json").header.Get("X-Jenkins-Session"); len(after) != 8 || after == before {
			t.Errorf("session %s, before %s", after, before)
		}
		if got := c.get(left + "api/json"); got.status != 404 {
			t.Errorf("an item that left: %d", got.status)
		}
		if got := c.get("/queue/api/json?tree=items[id,task[name]]").body; got != `{"_class":"hudson.model.Queue","items":[{"_class":"hudson.model.Queue$WaitingItem","id":5,"task":{"_class":"hudson.model.FreeStyleProject","name":"waits"}}]}` {
			t.Error(got)
		}
		if free, pipe := c.ended("/job/free/1"), c.ended("/job/pipe/1"); free != "ABORTED" || pipe != "SUCCESS" || c.json("/api/json")["quietingDown"] != false {
			t.Errorf("freestyle %s, pipeline %s", free, pipe)
		}
		s.Restart(true)
		if got := c.get("/queue/api/json?tree=items[id]").body; got != `{"_class":"hudson.model.Queue","items":[]}` {
			t.Errorf("a lost queue: %s", got)
		}
		if next := c.start("waits", "A", "1"); next != "/queue/item/6/" {
			t.Errorf("ids begin again: %s", next)
		}
	})
}

// TestRestartByHTTP: as an administrator does it.
func TestRestartByHTTP(t *testing.T) {
	s := start(t, jenkinstest.Options{})
	c := admin(t, s)
	before := c.get("/api/json").header.Get("X-Jenkins-Session")
	if got := c.do("POST", "/restart", ""); got.status != 302 {
		t.Errorf("restart: %d", got.status)
	}
	if got := c.get("/api/json"); got.status != 503 {
		t.Errorf("while restarting: %d", got.status)
	}
	deadline := time.Now().Add(10 * time.Second)
	for c.get("/api/json").status != 200 {
		if time.Now().After(deadline) {
			t.Fatal("it does not come up")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if after := c.get("/api/json").header.Get("X-Jenkins-Session"); after == before {
		t.Error("the session is the same")
	}
}

// TestHome: jobs, builds, logs, numbers and the queue are there again after the process has ended.
func TestHome(t *testing.T) {
	home := t.TempDir()
	open := func() *jenkinstest.Server {
		s, err := jenkinstest.Start(jenkinstest.Options{Home: home})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	for _, job := range []jenkinstest.Job{{Path: "a/b/p", Parameters: one, Command: "echo hello $A"}, {Path: "long", Command: "exec sleep 300"}} {
		if err := s.AddJob(job); err != nil {
			t.Fatal(err)
		}
	}
	c := admin(t, s)
	c.run("a/job/b/job/p", "1", "A", "1")
	c.start("long")
	c.await("/job/long/api/json?tree=color", "color", is("notbuilt_anime"))
	c.do("POST", "/job/a/job/b/job/p/buildWithParameters?delay=600sec", "A=2")
	document, url := c.get("/job/a/job/b/job/p/1/api/json").body, s.URL()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = start(t, jenkinstest.Options{Home: home})
	c = admin(t, s)
	if diff := cmp.Diff(document, strings.ReplaceAll(c.get("/job/a/job/b/job/p/1/api/json").body, s.URL(), url)); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(c.get("/job/a/job/b/job/p/1/consoleText").body, "\nhello 1\n") || c.ended("/job/long/1") != "ABORTED" {
		t.Error("the log, or the end of what ran, is lost")
	}
	if next := c.start("a/job/b/job/p", "A", "3"); next != "/queue/item/4/" {
		t.Errorf("ids begin again: %s", next)
	}
	if c.ended("/job/a/job/b/job/p/2") != "SUCCESS" || len(c.json("/queue/api/json")["items"].([]any)) != 1 {
		t.Errorf("queue %s", c.get("/queue/api/json").body)
	}
}

// TestFaults: what the caller sees of each, and whether Jenkins did what it was asked for.
func TestFaults(t *testing.T) {
	for _, row := range []struct {
		kind   jenkinstest.FaultKind
		status int // 0: no whole answer
		done   bool
		says   string
	}{
		{jenkinstest.BadGateway, 502, false, ""}, {jenkinstest.Unavailable, 503, false, "getting ready to work"},
		{jenkinstest.LoginPage, 200, false, "Sign in"}, {jenkinstest.Redirect, 302, false, ""},
		{jenkinstest.Hang, 0, false, ""}, {jenkinstest.Reset, 0, false, ""},
		{jenkinstest.Slow, 201, true, ""}, {jenkinstest.Cut, 0, true, ""}, {jenkinstest.Lost, 0, true, ""},
	} {
		t.Run(string(row.kind), func(t *testing.T) {
			s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "p"})
			c := admin(t, s)
			if err := s.Fail(jenkinstest.Fault{Kind: row.kind, Method: "POST", Path: "/job/p/", Delay: 100 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			if row.kind == jenkinstest.Hang {
				c.http.Timeout = 200 * time.Millisecond
			}
			c.get("/job/p/api/json") // does not match
			got, err := c.try("POST", "/job/p/build", "")
			if got.status != row.status || (err != nil) != (row.status == 0) || !strings.Contains(got.body, row.says) {
				t.Errorf("%d %q, %v", got.status, got.body, err)
			}
			c.http.Timeout = 10 * time.Second
			if queued := len(c.json("/queue/api/json")["items"].([]any)); (queued == 1) != row.done || s.Posts("p") != 1 {
				t.Errorf("%d in the queue, %d posts", queued, s.Posts("p"))
			}
			if got := c.do("POST", "/job/p/build", ""); got.status/100 == 5 {
				t.Errorf("the second: %d", got.status)
			}
		})
	}
}

// TestCutBody: half of a document, with the length of the whole.
func TestCutBody(t *testing.T) {
	s := start(t, jenkinstest.Options{})
	c := admin(t, s)
	for _, f := range []jenkinstest.Fault{{Kind: jenkinstest.Cut}, {Kind: jenkinstest.Slow, N: -1, Delay: 200 * time.Millisecond}} {
		if err := s.Fail(f); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.try("GET", "/api/json", "")
	if got.status != 200 || len(got.body) == 0 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d %q %v", got.status, got.body, err)
	}
	for range 2 {
		began := time.Now()
		if got := c.get("/api/json"); got.status != 200 || time.Since(began) < 190*time.Millisecond {
			t.Errorf("slow: %d after %s", got.status, time.Since(began))
		}
	}
	s.Heal()
	began := time.Now()
	if got := c.get("/api/json"); got.status != 200 || time.Since(began) > 150*time.Millisecond {
		t.Errorf("healed: %d after %s", got.status, time.Since(began))
	}
	if s.Fail(jenkinstest.Fault{Kind: "no such"}) == nil {
		t.Error("a fault that is none")
	}
	requests := s.Requests()
	if len(requests) != 4 || requests[0] != (jenkinstest.Request{Method: http.MethodGet, Path: "/api/json", Status: 200}) {
		t.Errorf("%+v", requests)
	}
}

// TestSwitches: what happens to jobs and builds.
func TestSwitches(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "f/p", Parameters: []jenkinstest.Parameter{{Name: "A"}, {Name: "B"}}, Command: "#!/bin/sh\necho \"[$A$B]\""})
		c := admin(t, s)
		c.do("POST", "/job/f/job/p/buildWithParameters?delay=600sec", "A=1&B=2")
		must(t, s.DisableJob("f/p", true))
		if doc := c.json("/job/f/job/p/api/json"); doc["buildable"] != false || doc["disabled"] != true || doc["color"] != "disabled" || doc["inQueue"] != false {
			t.Errorf("disabled: %v", doc)
		}
		if doc := c.json("/queue/item/1/api/json"); doc["cancelled"] != true {
			t.Errorf("its item: %v", doc)
		}
		must(t, s.DisableJob("f/p", false))
		must(t, s.DropParameters("f/p", "B"))
		c.run("f/job/p", "1", "A", "1", "B", "2")
		must(t, s.DropParameters("f/p"))
		if got := c.do("POST", "/job/f/job/p/buildWithParameters", "A=1"); got.status != map[string]int{"2.300": 500, "current": 400}[profile] {
			t.Errorf("without parameters: %d", got.status)
		}
		if log := c.get("/job/f/job/p/1/consoleText").body; !strings.Contains(log, "[1]\n") {
			t.Error(log)
		}
		must(t, s.DeleteBuild("f/p", 1))
		if got := c.get("/job/f/job/p/1/api/json"); got.status != 404 || c.json("/job/f/job/p/api/json")["lastBuild"] != nil || c.get("/job/f/job/p/lastBuild/api/json").status != 404 {
			t.Errorf("a deleted build: %d", got.status)
		}
		if result := c.run("f/job/p", "2"); result != "SUCCESS" {
			t.Error(result)
		}
		for name, err := range map[string]error{"disable": s.DisableJob("f", true), "drop": s.DropParameters("x"), "delete": s.DeleteBuild("f/p", 9),
			"add below a job": s.AddJob(jenkinstest.Job{Path: "f/p/q"}), "add over a folder": s.AddJob(jenkinstest.Job{Path: "f"}),
			"path": s.AddJob(jenkinstest.Job{Path: "f//q"}), "kind": s.AddJob(jenkinstest.Job{Path: "q", Kind: "matrix"}),
			"choice": s.AddJob(jenkinstest.Job{Path: "q", Parameters: []jenkinstest.Parameter{{Name: "C", Type: "choice"}}}),
			"type":   s.AddJob(jenkinstest.Job{Path: "q", Parameters: []jenkinstest.Parameter{{Name: "C", Type: "file"}}})} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDeleteRunning: a build that is deleted while it runs is ended, and so is what waits of a deleted job.
func TestDeleteRunning(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "f/p", Parameters: one, Command: "#!/bin/sh\necho $$\nexec sleep 300"})
	c := admin(t, s)
	c.start("f/job/p", "A", "1")
	awaitLog(c, "/job/f/job/p/1", "\r\n")
	c.start("f/job/p", "A", "2")
	if got := c.do("POST", "/job/f/job/p/1/doDelete", ""); got.status != 302 || c.get("/job/f/job/p/1/api/json").status != 404 {
		t.Errorf("delete a build: %d", got.status)
	}
	if got := c.do("POST", "/job/f/doDelete", ""); got.status != 302 || c.get("/job/f/api/json").status != 404 {
		t.Errorf("delete: %d", got.status)
	}
	if queue := c.get("/queue/api/json?tree=items[id]").body; queue != `{"_class":"hudson.model.Queue","items":[]}` {
		t.Error(queue)
	}
	c.await("/computer/api/json", "busyExecutors", func(v any) bool { n, ok := v.(interface{ String() string }); return ok && n.String() == "0" })
}
