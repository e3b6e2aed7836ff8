package jenkinstest_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

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
