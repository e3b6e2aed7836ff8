package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// staged is a pipeline of Jenkins by hand: a run that is opened, and stages that nothing is bound to.
type staged struct {
	*person         // bound
	free    *person // the same machine, unbound
	dir     string
	file    string // run.json
}

func newStaged(t *testing.T, name string) *staged {
	t.Helper()
	p := newPerson(t)
	s := &staged{person: p, free: &person{t, p.lab, p.data, []string{"AIBUILD_DSN=", "AIBUILD_SERVER=http://127.0.0.1:1"}}, dir: quick(t, name, nil)}
	s.file = filepath.Join(t.TempDir(), "run.json")
	return s
}

func (s *staged) open() string {
	s.t.Helper()
	return s.must(0, "runs", "open", s.dir, "--out", s.file).last()
}

// TestStagesEndOnSIGTERM: Jenkins ends a step by SIGTERM and kills what is left some time later. Reports are there then, no
// program is, and the run is ended as what it is.
func TestStagesEndOnSIGTERM(t *testing.T) {
	s := newStaged(t, "companion-sigterm")
	id := s.open()
	stop := func(stage, sign string, words ...string) {
		t.Helper()
		result, junit := filepath.Join(t.TempDir(), "result.json"), filepath.Join(t.TempDir(), "junit.xml")
		var asked time.Time
		words = append([]string{stage}, append(words, "--run", s.file, "--result", result, "--junit", junit)...)
		r := s.free.whenSays(sign, func(p *os.Process) { asked = time.Now(); _ = p.Signal(syscall.SIGTERM) }, words...)
		if took := time.Since(asked); r.code != 143 || took > 20*time.Second {
			t.Errorf("%s ended with %d after %v:\n%s", stage, r.code, took, tailOf(r.err))
		}
		if o := outcomeIn(t, result); o.Status != "cancelled" || o.ExitCode != 143 || o.RunID != id || o.Stage != stage || o.Error == nil || o.Error.Code != "cancelled" {
			t.Errorf("result of %s: %+v", stage, o)
		}
		if x, err := os.ReadFile(junit); err != nil || !strings.Contains(string(x), "<testsuite") {
			t.Errorf("test report of %s: %v\n%s", stage, err, x)
		}
		s.nothingLeft()
	}
	stop("build", signs["build"], s.dir)
	s.free.must(0, "build", s.dir, "--run", s.file)
	stop("test", signs["test"])
	s.must(0, "runs", "record", "--run", s.file, "--end")
	if run := decoded[map[string]any](t, s.must(0, "runs", "show", id, "-o", "json").out); run["state"] != lineage.RunCancelled {
		t.Errorf("the run is %v", run["state"])
	}
}

// TestTwoExecutorsOneImage: two builds on one machine make the same image at once: two versions, neither disturbed.
func TestTwoExecutorsOneImage(t *testing.T) {
	s := newStaged(t, "companion-twice")
	var wait sync.WaitGroup
	var results [2]result
	for n := range results {
		run := filepath.Join(t.TempDir(), "run.json")
		s.must(0, "runs", "open", s.dir, "--out", run)
		wait.Go(func() {
			if results[n] = s.free.run("build", s.dir, "--run", run); results[n].code == 0 {
				results[n] = s.free.run("test", "--run", run)
			}
			if r := s.person.run("runs", "record", "--run", run, "--end"); results[n].code == 0 {
				results[n].code = r.code
			}
		})
	}
	wait.Wait()
	for _, r := range results {
		if r.code != 0 {
			t.Errorf("ended with %d:\n%s", r.code, tailOf(r.err))
		}
	}
	for _, ref := range []string{"companion-twice@1", "companion-twice@2"} {
		if img := s.show(ref); img["state"] != lineage.StatePassed {
			t.Errorf("%s is %v", ref, img["state"])
		}
	}
	s.nothingLeft()
}

// TestDaemonAwayForTheWholeJob: what an agent could not tell is told later, to whoever records then, once and whole.
func TestDaemonAwayForTheWholeJob(t *testing.T) {
	s := newStaged(t, "companion-away")
	away := &person{t, s.lab, s.data, []string{"AIBUILD_DSN=", "AIBUILD_SERVER=http://127.0.0.1:1", "AIBUILD_TOKEN=aib_" + strings.Repeat("0", 43), "GIT_URL=https://gitlab.example/ops/images.git"}}
	opened := away.run("runs", "open", s.dir, "--out", s.file)
	if opened.code != 0 || !strings.Contains(opened.err, "the run stops after its tests") {
		t.Fatalf("runs open = %d\n%s", opened.code, opened.err)
	}
	id := opened.last()
	s.free.must(0, "build", s.dir, "--run", s.file)
	s.free.must(0, "test", "--run", s.file)
	if r := away.run("runs", "record", "--run", s.file, "--end"); r.code != 0 && r.code != 1 {
		t.Errorf("runs record without a daemon = %d\n%s", r.code, r.err)
	}
	for range 2 {
		s.must(0, "runs", "record", "--run", s.file, "--end")
	}
	run := decoded[map[string]any](t, s.must(0, "runs", "show", id, "-o", "json").out)
	if img := s.show(id); img["state"] != lineage.StatePassed || run["state"] != lineage.RunSuccess {
		t.Errorf("the image is %v, its run %v", img["state"], run["state"])
	}
	for verb, want := range map[string]int{"opened": 1, "built": 1, "tested": 1, "ended": 1} {
		if n := s.lab.count(t, "SELECT COUNT(*) FROM event WHERE (run_id = '"+id+"' OR image_uuid = '"+id+"') AND verb = '"+verb+"'"); n != want {
			t.Errorf("%d times %s, want %d", n, verb, want)
		}
	}
}

// TestReplayedBuild: who replays a build in Jenkins starts another with the same parameters. It is a new attempt, which
// goes on with the image that there is: what was built from the same digests is not built again.
func TestReplayedBuild(t *testing.T) {
	s := newSiteWith(t, stagedScript, "replayed")
	s.edit("images/replayed/tests/hello.sh", "#!/bin/sh\necho the reason\nexit 1\n")
	commit := s.push("an image that does not pass", "main")
	got, first := s.runsOf(commit, 1)
	if got != "replayed:unstable" {
		t.Fatalf("the push: %s", got)
	}
	parameters := url.Values{"AIBUILD_RUN_ID": {first["run_id"].(string)}, "AIBUILD_REF": {"refs/heads/main"}, "AIBUILD_COMMIT": {commit}, "AIBUILD_IMAGE": {"images/replayed"},
		"AIBUILD_PROJECT": {s.gitlab.CloneURL(siteProject, "")}}
	request, err := http.NewRequest(http.MethodPost, s.jenkins.URL()+"/job/aibuild/job/build/buildWithParameters", strings.NewReader(parameters.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.SetBasicAuth(jenkinstest.DefaultUser, jenkinstest.DefaultToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil || response.StatusCode != http.StatusCreated || response.Body.Close() != nil {
		t.Fatalf("the build is not started: %v, %v", response, err)
	}
	got, second := s.runsOf(commit, 2)
	if got != "replayed:unstable replayed:unstable" || second["retry_of"] != first["run_id"] || second["attempt"] != 2.0 || second["image_uuid"] != first["image_uuid"] {
		t.Errorf("the replay: %s, %v", got, second)
	}
	if n := s.lab.count(t, "SELECT COUNT(*) FROM build_log WHERE image_name = 'replayed'"); n != 1 {
		t.Errorf("%d images were built, want 1", n)
	}
}

// TestHeartbeat: whoever watches a console sees that something is still under way, and what.
func TestHeartbeat(t *testing.T) {
	var out bytes.Buffer
	s := &screen{out: &out}
	s.show(aibuild.Event{At: time.Now(), Stage: "test", Text: "testing in bios-virtio-nocloud\nmore of it"})
	said := out.Len()
	s.still(s.spoke.Add(heartbeat-time.Millisecond), heartbeat)
	if out.Len() != said {
		t.Errorf("too early: %s", out.String()[said:])
	}
	s.still(s.spoke.Add(heartbeat), heartbeat)
	if text := out.String()[said:]; !strings.Contains(text, "test: still at it: testing in bios-virtio-nocloud\n") {
		t.Errorf("after %v: %q", heartbeat, text)
	}
	if stop := s.beat(4 * time.Millisecond); stop() != nil {
		t.Error("it cannot be stopped")
	}
	said = out.Len()
	time.Sleep(20 * time.Millisecond)
	if out.Len() != said {
		t.Error("it goes on after it was stopped")
	}
}

// TestOtherRelease: aibuild and a daemon that does not know it: the step ends before anything is built, and says which to update.
func TestOtherRelease(t *testing.T) {
	s := newStaged(t, "companion-release")
	old := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"code":"not_found","status":404,"detail":"there is nothing at this address"}`)) // the client says what it misses
	})
	newer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"code":"version","status":400,"detail":"this server, aibuild v9, speaks api level 9, and aibuild/v1 asks for \"1\": update the program to the server's release"}`)) // as above
	})
	for says, handler := range map[string]http.Handler{"update the server": old, "update the program": newer} {
		server := httptest.NewServer(handler)
		defer server.Close()
		p := &person{t, s.lab, s.data, []string{"AIBUILD_DSN=", "AIBUILD_SERVER=" + server.URL, "AIBUILD_TOKEN=aib_" + strings.Repeat("0", 43)}}
		if r := p.run("runs", "open", s.dir, "--out", s.file); r.code != 2 || !strings.Contains(r.err, says) {
			t.Errorf("%s: %d\n%s", says, r.code, r.err)
		}
	}
}

// TestOpenNowhere: no run is opened whose file cannot be written: nobody would ever end it.
func TestOpenNowhere(t *testing.T) {
	s := newStaged(t, "companion-nowhere")
	if r := s.person.run("runs", "open", s.dir, "--out", "/nowhere/run.json"); r.code != 2 || !strings.Contains(r.err, "--out") {
		t.Errorf("runs open = %d\n%s", r.code, r.err)
	}
	if n := s.lab.count(t, "SELECT COUNT(*) FROM run WHERE image = 'companion-nowhere'"); n != 0 {
		t.Errorf("%d runs are opened", n)
	}
}
