package jenkins_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bndr/gojenkins"

	"github.com/guestos/aibuild/jenkins"
)

// The tests of this file show what gojenkins v1.2.0 does by itself, and beside it what Client makes of the same
// server. One that fails after an update of gojenkins tells that a detour of ours may have become needless.

// scene is a server with one gojenkins and one Client before it.
type scene struct {
	ctx  context.Context
	f    *fake
	raw  *gojenkins.Jenkins
	ours jenkins.Client
}

func (s scene) job() *gojenkins.Job { return s.raw.GetJobObj(s.ctx, "app") }

func (s scene) build() *gojenkins.Build {
	return &gojenkins.Build{Jenkins: s.raw, Job: s.job(), Raw: new(gojenkins.BuildResponse), Base: "/job/app/52", Depth: 1}
}

// defect is a server, what gojenkins does there, and what Client does.
type defect struct {
	name    string
	answers map[string][]reply
	cut     string // requests whose method and path hold this lose their connection; empty: none
	raw     func(scene) string
	happens string
	ours    func(scene) string
	right   string
}

// stage makes a new server for each of the two.
func (d defect) stage(t *testing.T) scene {
	f := fakeJenkins(t, nil)
	f.answers["GET /ci/job/app/api/json"] = []reply{jenkinsReply(200, parameterized)}
	for path, answers := range d.answers {
		f.answers[path] = answers
	}
	if d.cut != "" {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.Method+" "+r.URL.Path, d.cut) {
				panic(http.ErrAbortHandler)
			}
			f.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		f.url = server.URL + "/ci"
	}
	return scene{t.Context(), f, gojenkins.CreateJenkins(&http.Client{}, f.url, user, token), f.client()}
}

func (d defect) show(t *testing.T) {
	for _, side := range []struct {
		who  string
		do   func(scene) string
		want string
	}{{"gojenkins", d.raw, d.happens}, {"Client", d.ours, d.right}} {
		s := d.stage(t)
		got := strings.ReplaceAll(survived(func() string { return side.do(s) }), s.f.url, "URL")
		if got != side.want {
			t.Errorf("%s: %s\nwant: %s", side.who, got, side.want)
		}
	}
}

// survived is what do says, or that it panicked.
func survived(do func() string) (said string) {
	defer func() {
		if cause := recover(); cause != nil {
			said = fmt.Sprint("panic: ", cause)
		}
	}()
	return do()
}

// outcome puts a value and an error into words; of our errors the reason and the status.
func outcome(value any, err error) string {
	if failed, ok := errors.AsType[*jenkins.Error](err); ok {
		return fmt.Sprintf("%v (%d)", failed.Reason, failed.Status)
	}
	return fmt.Sprintf("%v, %v", value, err)
}

const (
	parameterized = `{"name":"app","buildable":true,"inQueue":false,"property":[{"parameterDefinitions":[{"name":"AIBUILD_RUN_ID"}]}]}`
	plainRun      = `{"number":52,` + running + `}` // without plugins, so that gojenkins can read it
	nilPointer    = "panic: runtime error: invalid memory address or nil pointer dereference"
	notJSON       = "invalid character '<' looking for beginning of value"
	cancel        = "POST /ci/queue/cancelItem"
	trigger       = "POST /ci/job/app/buildWithParameters"
	item          = "GET /ci/queue/item/143/api/json"
	build52       = "GET /ci/job/app/52/api/json"
)

func rawStart(s scene) string {
	id, err := s.raw.BuildJob(s.ctx, "app", map[string]string{"AIBUILD_RUN_ID": "r1"})
	return fmt.Sprintf("%s, posts: %d", outcome(id, err), posts(s.f.asked()))
}

func ourStart(s scene) string {
	got, err := s.ours.Start(s.ctx, "app", map[string]string{"AIBUILD_RUN_ID": "r1"})
	return fmt.Sprintf("%s, posts: %d", outcome(got, err), posts(s.f.asked()))
}

func rawStop(s scene) string {
	stopped, err := s.build().Stop(s.ctx)
	return fmt.Sprintf("%s, posts: %d", outcome(stopped, err), posts(s.f.asked()))
}

func ourStop(s scene) string {
	err := s.ours.Stop(s.ctx, "app", 52)
	return fmt.Sprintf("%s, posts: %d", outcome("stop", err), posts(s.f.asked()))
}

func rawCancel(s scene) string {
	queue, err := s.raw.GetQueue(s.ctx)
	if err != nil {
		return err.Error()
	}
	return outcome(queue.CancelTask(s.ctx, 143))
}

func ourCancel(s scene) string { return outcome("cancelled", s.ours.Cancel(s.ctx, 143)) }

func ourItem(s scene) string {
	got, err := s.ours.Queued(s.ctx, 143)
	return outcome(fmt.Sprintf("left %v, cancelled %v, why %q", got.Left, got.Cancelled, got.Why), err)
}

func ourBuild(s scene) string {
	got, err := s.ours.Build(s.ctx, "app", 52)
	return outcome(fmt.Sprintf("building %v, result %q", got.Building, got.Result), err)
}

// wayOf is what the last request asked for.
func wayOf(s scene, said string) string {
	asked := s.f.asked()
	way, _, _ := strings.Cut(asked[len(asked)-1], "?")
	return said + "; " + way
}

func TestGojenkinsStarts(t *testing.T) {
	queued := []reply{jenkinsReply(200, strings.Replace(parameterized, `"inQueue":false`, `"inQueue":true`, 1))}
	created := []reply{redirect(201, "/ci/queue/item/25/")}
	for _, d := range []defect{
		{name: "D1: the connection breaks where the crumb is asked for", cut: "/crumbIssuer/", answers: map[string][]reply{trigger: created},
			raw: rawStart, happens: nilPointer, ours: ourStart, right: "{25 false}, <nil>, posts: 1"},
		{name: "D2: a job that is queued already", answers: map[string][]reply{"GET /ci/job/app/api/json": queued, trigger: created},
			raw: rawStart, happens: "0, <nil>, posts: 0", ours: ourStart, right: "{25 false}, <nil>, posts: 1"},
		{name: "D3: the same without Init", answers: map[string][]reply{"GET /ci/job/app/api/json": queued, trigger: created},
			raw: func(s scene) string {
				defer func(logger *log.Logger) { gojenkins.Error = logger }(gojenkins.Error)
				gojenkins.Error = nil // as a program finds it
				return rawStart(s)
			}, happens: nilPointer, ours: ourStart, right: "{25 false}, <nil>, posts: 1"},
		{name: "D6: a folded build", answers: map[string][]reply{trigger: {redirect(303, "/ci/queue/item/25/")},
			"GET /ci/queue/item/25/": {{200, map[string]string{"Content-Type": "text/plain"}, "Queue item exists. For details check, for example, api/json"}}},
			raw: rawStart, happens: "0, invalid character 'Q' looking for beginning of value, posts: 1",
			ours: ourStart, right: "{25 true}, <nil>, posts: 1"},
	} {
		t.Run(d.name, d.show)
	}
}

// TestGojenkinsCrumbCancelled: D1 again, with a context that ends.
func TestGojenkinsCrumbCancelled(t *testing.T) {
	d := defect{
		raw: func(s scene) string { return outcome(s.raw.Requester.Post(s.ctx, "/job/app/build", nil, nil, nil)) }, happens: nilPointer,
		ours: ourStart, right: "jenkins is not available (0), posts: 0",
	}
	for _, side := range []*func(scene) string{&d.raw, &d.ours} {
		do := *side
		*side = func(s scene) string {
			ctx, cancel := context.WithCancel(s.ctx)
			cancel()
			s.ctx = ctx
			return do(s)
		}
	}
	d.show(t)
}

// TestGojenkinsPages: D5, one text for every refusal.
func TestGojenkinsPages(t *testing.T) {
	for status, right := range map[int]string{400: "the job refuses the parameters (400)", 403: "permission missing (403)",
		404: "not found (404)", 409: "the job takes no builds (409)", 500: "jenkins is not available (500)", 503: "jenkins is not available (503)"} {
		page := htmlReply(status, jettyPage(fmt.Sprint(status), map[int]string{400: "app is not parameterized"}[status]))
		defect{answers: map[string][]reply{trigger: {page}}, raw: rawStart, happens: "0, " + notJSON + ", posts: 1",
			ours: ourStart, right: right + ", posts: 1"}.show(t)
	}
}

func TestGojenkinsStops(t *testing.T) {
	runs := jenkinsReply(200, plainRun)
	for _, d := range []defect{
		{name: "D7: a stop that is obeyed", answers: map[string][]reply{build52: {runs}, "POST /ci/job/app/52/stop": {redirect(302, "/ci/job/app/52/")},
			"GET /ci/job/app/52/": {htmlReply(200, loginPage)}},
			raw: rawStop, happens: "false, " + notJSON + ", posts: 1", ours: ourStop, right: "stop, <nil>, posts: 1"},
		{name: "D7: a dead server", cut: "/ci/",
			raw: rawStop, happens: "true, <nil>, posts: 0", ours: ourStop, right: "jenkins is not available (0), posts: 0"},
		{name: "D9: a cancellation that is obeyed", answers: map[string][]reply{"GET /ci/queue/api/json": {jenkinsReply(200, queueOf(waiting))}, cancel: {{204, nil, ""}}},
			raw: rawCancel, happens: "false, <nil>", ours: ourCancel, right: "cancelled, <nil>"},
		{name: "D9: an unknown item", answers: map[string][]reply{"GET /ci/queue/api/json": {jenkinsReply(200, emptyQueue)}},
			raw: rawCancel, happens: nilPointer, ours: ourCancel, right: "not found (404)"},
	} {
		t.Run(d.name, d.show)
	}
}

func TestGojenkinsReads(t *testing.T) {
	runs := jenkinsReply(200, plainRun)
	starting, gone := htmlReply(503, "<html>Please wait while Jenkins is getting ready to work"), reply{502, nil, ""}
	rawRunning := func(s scene) string { return fmt.Sprint("running: ", s.build().IsRunning(s.ctx)) }
	for _, d := range []defect{
		{name: "D8: waiting for the end while Jenkins restarts", answers: map[string][]reply{build52: {starting}},
			raw: rawRunning, happens: "running: false", ours: ourBuild, right: "jenkins is not available (503)"},
		{name: "D8: and while it is gone", cut: "/ci/", raw: rawRunning, happens: "running: false", ours: ourBuild, right: "jenkins is not available (0)"},
		{name: "D8: and behind a proxy", answers: map[string][]reply{build52: {runs, gone}},
			raw: func(s scene) string {
				build := s.build()
				return fmt.Sprintf("running: %v, then %v", build.IsRunning(s.ctx), build.IsRunning(s.ctx))
			}, happens: "running: true, then true",
			ours: func(s scene) string { return ourBuild(s) + ", then " + ourBuild(s) }, right: `building true, result "", <nil>, then jenkins is not available (502)`},
		{name: "D13: an empty 502", answers: map[string][]reply{"GET /ci/job/app/api/json": {gone}},
			raw: func(s scene) string {
				builds, err := s.job().GetAllBuildIds(s.ctx)
				return outcome(builds, err) + "; queued " + outcome(s.job().IsQueued(s.ctx))
			}, happens: "[], <nil>; queued false, <nil>",
			ours: func(s scene) string {
				builds, err := s.ours.Builds(s.ctx, "app", 50)
				_, err2 := s.ours.Job(s.ctx, "app")
				return outcome(builds, err) + "; " + outcome(nil, err2)
			}, right: "jenkins is not available (502); jenkins is not available (502)"},
		{name: "D14: an action of a plugin", answers: map[string][]reply{build52: {jenkinsReply(200, run("52", `"building":false,"result":"SUCCESS"`))}},
			raw:     func(s scene) string { return outcome(s.build().Poll(s.ctx)) },
			happens: "0, json: cannot unmarshal number into Go struct field generalObj.Actions.causes of type []map[string]interface {}",
			ours:    ourBuild, right: `building false, result "SUCCESS", <nil>`},
		{name: "D15: an item that left the queue", answers: map[string][]reply{item: {jenkinsReply(200, waiting), jenkinsReply(200, leftCancelled)}},
			raw: func(s scene) string {
				task, err := s.raw.GetQueueItem(s.ctx, 143)
				if err != nil {
					return err.Error()
				}
				_, err = task.Poll(s.ctx)
				return outcome(task.GetWhy(), err)
			}, happens: "In the quiet period. Expires in 4.6 sec, <nil>",
			ours:  func(s scene) string { return ourItem(s) + "; " + ourItem(s) },
			right: `left false, cancelled false, why "In the quiet period. Expires in 4.6 sec", <nil>; left true, cancelled true, why "", <nil>`},
		{name: "D18: the log of a build that is no more", answers: map[string][]reply{"GET /ci/job/app/52/logText/progressiveText/": {htmlReply(404, "<html>")}},
			raw: func(s scene) string {
				got, err := s.build().GetConsoleOutputFromIndex(s.ctx, 0)
				return outcome(got.Content, err)
			}, happens: `<html>, strconv.ParseInt: parsing "": invalid syntax`,
			ours: func(s scene) string {
				text, _, _, err := s.ours.Log(s.ctx, "app", 52, 0)
				return outcome(text, err)
			}, right: "not found (404)"},
	} {
		t.Run(d.name, d.show)
	}
}

// TestGojenkinsAddresses: D11, the address that Jenkins is configured with counts for builds.
func TestGojenkinsAddresses(t *testing.T) {
	seven := jenkinsReply(200, `{"number":7,"building":true,"result":null}`)
	rawSeven := func(s scene) string {
		job, err := s.raw.GetJob(s.ctx, "app")
		if err != nil {
			return err.Error()
		}
		job.Raw.URL = strings.ReplaceAll(job.Raw.URL, "SAME", s.f.url)
		build, err := job.GetBuild(s.ctx, 7)
		if err != nil {
			return wayOf(s, err.Error())
		}
		return wayOf(s, fmt.Sprint(build.GetBuildNumber()))
	}
	ourSeven := func(s scene) string {
		build, err := s.ours.Build(s.ctx, "app", 7)
		return wayOf(s, outcome(build.Number, err))
	}
	const right = "7, <nil>; GET /ci/job/app/7/api/json"
	for _, d := range []defect{
		{name: "another address", answers: map[string][]reply{"GET /ci/job/app/7/api/json": {seven},
			"GET /ci/job/app/api/json": {jenkinsReply(200, `{"url":"https://ci.example.org/job/app/"}`)}},
			raw: rawSeven, happens: notJSON + "; GET /cihttps://ci.example.org/job/app//7/api/json", ours: ourSeven, right: right},
		{name: "the same", answers: map[string][]reply{"GET /ci/job/app/7/api/json": {seven}, "GET /ci/job/app//7/api/json": {seven},
			"GET /ci/job/app/api/json": {jenkinsReply(200, `{"url":"SAME/job/app/"}`)}},
			raw: rawSeven, happens: "7; GET /ci/job/app//7/api/json", ours: ourSeven, right: right},
	} {
		t.Run(d.name, d.show)
	}
}

// TestGojenkinsWaitsForEver: D10, an hour of an item that will never be a build. No time passes really.
func TestGojenkinsWaitsForEver(t *testing.T) {
	for _, d := range []struct {
		name  string
		left  reply
		right string
	}{
		{"cancelled", jenkinsReply(200, leftCancelled), `left true, cancelled true, why "", <nil>`},
		{"expired", reply{404, map[string]string{"X-Jenkins": "2.541.3"}, ""}, "not found (404)"},
	} {
		t.Run(d.name, func(t *testing.T) {
			s := defect{answers: map[string][]reply{item: {d.left}}}.stage(t)
			if got := ourItem(s); got != d.right {
				t.Errorf("Client: %s\nwant: %s", got, d.right)
			}
			s.f.asked()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour-time.Millisecond)
				defer cancel()
				raw := gojenkins.CreateJenkins(&http.Client{Transport: within{s.f}}, s.f.url, user, token)
				_, err := raw.GetBuildFromQueueID(ctx, raw.GetJobObj(ctx, "app"), 143)
				if n := len(s.f.asked()); !errors.Is(err, context.DeadlineExceeded) || n != 3600 {
					t.Errorf("gojenkins: %d requests, %v", n, err)
				}
			})
		})
	}
}

// within answers without a network, which a faked clock would not wait for.
type within struct{ handler http.Handler }

func (w within) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.RequestURI, r.Body = r.URL.RequestURI(), http.NoBody
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}

// TestGojenkinsLeaks: D12. With one connection at most, the second request waits for the one that was not closed.
func TestGojenkinsLeaks(t *testing.T) {
	s := defect{answers: map[string][]reply{build52: {jenkinsReply(400, "<html>").with("X-Error", "no")}}}.stage(t)
	transport := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(transport.CloseIdleConnections)
	s.ours.Transport = transport
	for range 3 {
		if got := ourBuild(s); got != "not an answer of jenkins (400)" {
			t.Errorf("Client: %s", got)
		}
	}
	leaking := &http.Transport{MaxConnsPerHost: 1}
	t.Cleanup(leaking.CloseIdleConnections)
	s.raw = gojenkins.CreateJenkins(&http.Client{Transport: leaking}, s.f.url, user, token)
	if _, err := s.build().Poll(s.ctx); err == nil || err.Error() != "no" {
		t.Errorf("gojenkins: %v", err)
	}
	ctx, cancel := context.WithTimeout(s.ctx, 200*time.Millisecond)
	defer cancel()
	if _, err := s.build().Poll(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("gojenkins, the second time: %v", err)
	}
}

// TestGojenkinsPrints: D4 and D19, standard output and whole answers in the log.
func TestGojenkinsPrints(t *testing.T) {
	s := defect{answers: map[string][]reply{build52: {jenkinsReply(200, run("52", running))}}}.stage(t)
	defer func(info, warning, failure *log.Logger) {
		gojenkins.Info, gojenkins.Warning, gojenkins.Error = info, warning, failure
	}(gojenkins.Info, gojenkins.Warning, gojenkins.Error)
	//lint:ignore SA1029 this very key is what gojenkins looks for
	s.ctx = context.WithValue(s.ctx, "debug", true)
	logger := func() io.Writer { return gojenkins.Warning.Writer() }
	if out, logged := printed(t, func() { ourBuild(s) }); out != "" || logged != "" || logger() != io.Discard {
		t.Errorf("Client prints %q, logs %q, or lets gojenkins log to %v", out, logged, logger())
	}
	out, logged := printed(t, func() {
		if _, err := s.raw.Init(s.ctx); err != nil {
			t.Error(err)
		}
		gojenkins.Warning.Print("what artifacts say")
		if _, err := (&gojenkins.PipelineNode{Run: &gojenkins.PipelineRun{Job: s.job()}, Base: "/job/app/52/execution/node/6"}).GetLog(s.ctx); err == nil {
			t.Error("a log where there is none")
		}
	})
	if !strings.Contains(out, "what artifacts say\n") || !strings.Contains(out, "\n/job/app/52/execution/node/6/wfapi/log\n") {
		t.Errorf("gojenkins prints %q", out)
	}
	if !strings.Contains(logged, "DEBUG") || !strings.Contains(logged, `quietingDown`) {
		t.Errorf("gojenkins logs %q", logged)
	}
}

// printed is what do writes to standard output and to the standard logger.
func printed(t *testing.T, do func()) (out, logged string) {
	t.Helper()
	file, err := os.Create(t.TempDir() + "/stdout")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var buffer bytes.Buffer
	log.SetOutput(&buffer)
	defer log.SetOutput(os.Stderr)
	defer func(stdout *os.File) { os.Stdout = stdout }(os.Stdout)
	os.Stdout = file
	do()
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(text), buffer.String()
}
