package jenkins_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bndr/gojenkins"

	"github.com/guestos/aibuild/jenkins"
)

// Each test here shows a defect of gojenkins v1.2.0 happening, and beside it what the client of this package makes of
// the same server. When one fails after an update of gojenkins, a reason for going around it is gone. Missing are D16
// and D17, about revisions and stages, which the client does not offer.

func rawJenkins(f *fake) *gojenkins.Jenkins {
	return gojenkins.CreateJenkins(&http.Client{Timeout: 10 * time.Second}, f.url, user, token)
}

func rawBuild(f *fake, number string) *gojenkins.Build {
	return &gojenkins.Build{Jenkins: rawJenkins(f), Raw: new(gojenkins.BuildResponse), Base: "/job/app/" + number, Depth: 1}
}

// panics says what a call panics with, nil if it does not.
func panics(call func()) (what any) {
	defer func() { what = recover() }()
	call()
	return nil
}

const (
	emptyJob   = `{"_class":"hudson.model.FreeStyleProject","name":"app","inQueue":false,"property":[{"parameterDefinitions":[{"name":"AIBUILD_RUN_ID"}]}]}`
	appRead    = "GET /ci/job/app/api/json"
	appStart   = "POST /ci/job/app/buildWithParameters"
	appBuild   = "GET /ci/job/app/7/api/json"
	crumbRead  = "GET /ci/crumbIssuer/api/json/api/json"
	item25     = "/ci/queue/item/25/"
	crumbReply = `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"c","crumbRequestField":"Jenkins-Crumb"}`
)

func runParams() map[string]string { return map[string]string{"AIBUILD_RUN_ID": "r1"} }

// closed is a server that is down.
func closed(t *testing.T) *fake {
	f := fakeJenkins(t, nil)
	f.url = "http://127.0.0.1:1/ci" // nothing listens on port 1
	return f
}

func TestD1PanicWithoutCrumb(t *testing.T) {
	f := closed(t)
	post := func(ctx context.Context, f *fake) func() {
		return func() { _, _ = rawJenkins(f).Requester.Post(ctx, "/job/app/build", nil, nil, nil) }
	}
	if panics(post(t.Context(), f)) == nil {
		t.Error("gojenkins no longer panics when jenkins is down")
	}
	_, err := f.client().Start(t.Context(), "app", runParams())
	checkError(t, err, jenkins.ErrUnavailable, 0, "connection refused")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	up := fakeJenkins(t, nil)
	if panics(post(ctx, up)) == nil {
		t.Error("gojenkins no longer panics when the context is over")
	}
	_, err = up.client().Start(ctx, "app", runParams())
	checkError(t, err, jenkins.ErrUnavailable, 0, "cancelled")
}

// TestD1FourRequests: the crumb, which tokens do not need, is asked for at a doubled path.
func TestD1FourRequests(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(200, emptyJob), crumbRead: jenkinsReply(200, crumbReply), appStart: redirect(201, item25)})
	if id, err := rawJenkins(f).BuildJob(t.Context(), "app", runParams()); id != 25 || err != nil {
		t.Errorf("gojenkins: %d, %v", id, err)
	}
	if asked := f.asked(); len(asked) != 4 || asked[2] != crumbRead {
		t.Errorf("gojenkins asked %q", asked)
	}
	if _, err := f.client().Start(t.Context(), "app", runParams()); err != nil {
		t.Error(err)
	}
	if asked := f.asked(); len(asked) != 1 {
		t.Errorf("we asked %q", asked)
	}
}

func TestD2SilentDrop(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{
		appRead:  jenkinsReply(200, strings.Replace(emptyJob, `"inQueue":false`, `"inQueue":true`, 1)),
		appStart: redirect(201, item25),
	})
	id, err := rawJenkins(f).BuildJob(t.Context(), "app", runParams())
	if id != 0 || err != nil || posts(f.asked()) != 0 {
		t.Errorf("gojenkins starts a second build: %d, %v", id, err)
	}
	got, err := f.client().Start(t.Context(), "app", runParams())
	if got.QueueID != 25 || err != nil || posts(f.asked()) != 1 {
		t.Errorf("Start = %+v, %v", got, err)
	}
}

func TestD3PanicWithoutInit(t *testing.T) {
	silent := gojenkins.Error
	if silent == nil {
		t.Fatal("this package leaves the logger of gojenkins nil")
	}
	gojenkins.Error = nil // as without this package, and without Init
	defer func() { gojenkins.Error = silent }()
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(200, `{"inQueue":true}`), appStart: redirect(201, item25)})
	if panics(func() { _, _ = rawJenkins(f).BuildJob(t.Context(), "app", nil) }) == nil {
		t.Error("gojenkins no longer panics without Init")
	}
	if got, err := f.client().Start(t.Context(), "app", runParams()); got.QueueID != 25 || err != nil {
		t.Errorf("Start = %+v, %v", got, err)
	}
}

// stdout is what a call prints there.
func stdout(t *testing.T, call func()) string {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	keep := os.Stdout
	os.Stdout = write
	call()
	os.Stdout = keep
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	printed, err := io.ReadAll(read)
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	return string(printed)
}

func TestD4PrintsToStdout(t *testing.T) {
	info, warning, failed := gojenkins.Info, gojenkins.Warning, gojenkins.Error
	defer func() { gojenkins.Info, gojenkins.Warning, gojenkins.Error = info, warning, failed }()
	f := fakeJenkins(t, map[string]reply{"GET /ci/node/wfapi/log/api/json": jenkinsReply(200, `{}`)})
	raw := rawJenkins(f)
	if _, err := raw.Init(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gojenkins.Info == info || gojenkins.Info.Writer() != os.Stdout {
		t.Error("Init of gojenkins no longer puts a logger to stdout in the place of the global one")
	}
	node := gojenkins.PipelineNode{Base: "/node", Run: &gojenkins.PipelineRun{Job: &gojenkins.Job{Jenkins: raw}}}
	if printed := stdout(t, func() { _, _ = node.GetLog(t.Context()) }); printed != "/node/wfapi/log\n" {
		t.Errorf("gojenkins printed %q", printed)
	}
	gojenkins.Info, gojenkins.Warning, gojenkins.Error = info, warning, failed
	printed := stdout(t, func() {
		if _, err := f.client().Check(t.Context()); err == nil {
			t.Error("no answer to whoAmI, and no error")
		}
	})
	if printed != "" {
		t.Errorf("we printed %q", printed)
	}
}

func TestD5StatusLost(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: htmlReply(403, jettyPage("403", "aibuild is missing the Job/Read permission")).
		with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Read")})
	if _, err := rawJenkins(f).GetJob(t.Context(), "app"); err == nil || err.Error() != "invalid character '<' looking for beginning of value" {
		t.Errorf("gojenkins: %v", err)
	}
	_, err := f.client().Job(t.Context(), "app")
	checkError(t, err, jenkins.ErrForbidden, 403, "aibuild lacks hudson.model.Item.Read")
}

func TestD6FoldedIsLost(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(200, emptyJob), crumbRead: jenkinsReply(200, crumbReply), appStart: redirect(303, item25),
		"GET " + item25: {200, map[string]string{"Content-Type": "text/plain;charset=utf-8"}, "Queue item exists. For details check, for example, " + item25 + "api/json?tree=cancelled,executable[url]"}})
	if id, err := rawJenkins(f).BuildJob(t.Context(), "app", runParams()); id != 0 || err == nil || !strings.Contains(err.Error(), "invalid character 'Q'") {
		t.Errorf("gojenkins: %d, %v", id, err)
	}
	if got, err := f.client().Start(t.Context(), "app", runParams()); err != nil || got != (jenkins.Started{QueueID: 25, Folded: true}) {
		t.Errorf("Start = %+v, %v", got, err)
	}
}

func TestD7StopMisreported(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appBuild: jenkinsReply(200, `{"building":true}`), crumbRead: jenkinsReply(200, crumbReply),
		"POST /ci/job/app/7/stop": redirect(302, "/ci/job/app/7/"), "GET /ci/job/app/7/": htmlReply(200, "<html>")})
	if ok, err := rawBuild(f, "7").Stop(t.Context()); ok || err == nil || posts(f.asked()) != 1 {
		t.Errorf("gojenkins: a build that was stopped: %v, %v", ok, err)
	}
	if err := f.client().Stop(t.Context(), "app", 7); err != nil {
		t.Error(err)
	}
	down := closed(t)
	if ok, err := rawBuild(down, "7").Stop(t.Context()); !ok || err != nil {
		t.Errorf("gojenkins: nobody was asked to stop anything: %v, %v", ok, err)
	}
	checkError(t, down.client().Stop(t.Context(), "app", 7), jenkins.ErrUnavailable, 0, "connection refused")
}

func TestD8FinishedWhenUnreachable(t *testing.T) {
	down := closed(t)
	build := rawBuild(down, "7")
	if build.IsRunning(t.Context()) || build.GetResult() != "" {
		t.Error("gojenkins knows that a build may run on while jenkins is down")
	}
	_, err := down.client().Build(t.Context(), "app", 7)
	checkError(t, err, jenkins.ErrUnavailable, 0, "connection refused")

	f := fakeJenkins(t, nil)
	f.answers[appBuild] = []reply{jenkinsReply(200, `{"building":true,"result":null}`), {502, nil, ""}}
	build = rawBuild(f, "7")
	if _, err := build.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, err := build.Poll(t.Context()); status != 502 || err != nil || !build.IsRunning(t.Context()) {
		t.Errorf("gojenkins: an empty 502 is no longer what the answer before was: %d, %v", status, err)
	}
	_, err = f.client().Build(t.Context(), "app", 7)
	checkError(t, err, jenkins.ErrUnavailable, 502, "bad gateway")
}

func TestD9CancelMisreported(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(200, `{"items":[{"id":25}]}`), crumbRead: jenkinsReply(200, crumbReply)})
	f.answers["POST /ci/queue/cancelItem"] = []reply{{204, nil, ""}, {204, nil, ""}, htmlReply(404, jettyPage("404", "Provided id (26) not found"))}
	queue, err := rawJenkins(f).GetQueue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := queue.CancelTask(t.Context(), 25); ok || err != nil {
		t.Errorf("gojenkins: an item that was cancelled: %v, %v", ok, err)
	}
	if panics(func() { _, _ = queue.CancelTask(t.Context(), 26) }) == nil {
		t.Error("gojenkins no longer panics for an item that is gone")
	}
	if err := f.client().Cancel(t.Context(), 25); err != nil {
		t.Error(err)
	}
	checkError(t, f.client().Cancel(t.Context(), 26), jenkins.ErrNotFound, 404, "become a build")
}

// cannedTransport answers without a network, so that time can be a fake.
type cannedTransport func(*http.Request) reply

func (c cannedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := c(r)
	header := http.Header{}
	for name, value := range answer.header {
		header.Set(name, value)
	}
	return &http.Response{StatusCode: answer.status, Header: header, Body: io.NopCloser(strings.NewReader(answer.body)), Request: r}, nil
}

func TestD10WaitsForEver(t *testing.T) {
	for _, test := range []struct {
		name string
		item reply
		want func(t *testing.T, item jenkins.Item, err error)
	}{
		{"cancelled", jenkinsReply(200, strings.Replace(leftCancelled, "143", "25", 1)), func(t *testing.T, item jenkins.Item, err error) {
			if !item.Cancelled || !item.Left || err != nil {
				t.Errorf("Queued = %+v, %v", item, err)
			}
		}},
		{"expired", reply{404, nil, ""}, func(t *testing.T, _ jenkins.Item, err error) {
			checkError(t, err, jenkins.ErrNotFound, 404, "run id")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var polls atomic.Int32
				transport := cannedTransport(func(r *http.Request) reply {
					if r.URL.Path != "/queue/item/25/api/json" {
						return jenkinsReply(200, front)
					}
					polls.Add(1)
					return test.item
				})
				ctx, cancel := context.WithCancel(t.Context())
				raw := gojenkins.CreateJenkins(&http.Client{Transport: transport}, "http://jenkins", user, token)
				ended := make(chan error)
				go func() {
					_, err := raw.GetBuildFromQueueID(ctx, raw.GetJobObj(ctx, "app"), 25)
					ended <- err
				}()
				time.Sleep(time.Hour)
				if polls.Load() < 3600 {
					t.Errorf("gojenkins gave up after %d polls", polls.Load())
				}
				cancel()
				<-ended
				item, err := jenkins.Client{URL: "http://jenkins", User: user, Token: token, Transport: transport}.Queued(t.Context(), 25)
				test.want(t, item, err)
			})
		})
	}
}

func TestD11RootURL(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appBuild: jenkinsReply(200, run("7", `"building":false,"result":"SUCCESS"`))})
	for root, wrong := range map[string]string{
		"https://ci.example.org": "GET /cihttps://ci.example.org/job/app//7/api/json?depth=1",
		f.url:                    "GET /ci/job/app//7/api/json?depth=1",
	} {
		f.answers[appRead] = []reply{jenkinsReply(200, `{"name":"app","url":"`+root+`/job/app/"}`)}
		job, err := rawJenkins(f).GetJob(t.Context(), "app")
		if err != nil {
			t.Fatal(err)
		}
		f.asked()
		_, err = job.GetBuild(t.Context(), 7)
		if asked := f.asked(); err == nil || !slices.Equal(asked, []string{wrong}) {
			t.Errorf("gojenkins asked %q, %v", asked, err)
		}
		if got, err := f.client().Build(t.Context(), "app", 7); err != nil || got.Result != "SUCCESS" || got.URL != f.url+"/job/app/7/" {
			t.Errorf("Build = %+v, %v", got, err)
		}
	}
}

// countingBodies counts the bodies that are not closed.
type countingBodies struct{ open atomic.Int32 }

type countedBody struct {
	io.ReadCloser
	open *atomic.Int32
}

func (b countedBody) Close() error { b.open.Add(-1); return b.ReadCloser.Close() }

func (c *countingBodies) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(r)
	if err == nil {
		c.open.Add(1)
		response.Body = countedBody{response.Body, &c.open}
	}
	return response, err
}

func TestD12ConnectionLeaks(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(400, "long and wide").with("X-Error", "No such view")})
	var bodies countingBodies
	raw := gojenkins.CreateJenkins(&http.Client{Transport: &bodies}, f.url, user, token)
	if _, err := raw.GetJob(t.Context(), "app"); err == nil || err.Error() != "No such view" || bodies.open.Load() != 1 {
		t.Errorf("gojenkins leaves %d connections open, %v", bodies.open.Load(), err)
	}
	bodies.open.Store(0)
	client := f.client()
	client.Transport = &bodies
	_, err := client.Job(t.Context(), "app")
	checkError(t, err, jenkins.ErrProtocol, 400, "No such view")
	if bodies.open.Load() != 0 {
		t.Errorf("we leave %d connections open", bodies.open.Load())
	}
}

func TestD13EmptyErrorIsSuccess(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: {502, nil, ""}})
	job := rawJenkins(f).GetJobObj(t.Context(), "app")
	if queued, err := job.IsQueued(t.Context()); queued || err != nil {
		t.Errorf("gojenkins: %v, %v", queued, err)
	}
	if ids, err := job.GetAllBuildIds(t.Context()); len(ids) != 0 || err != nil {
		t.Errorf("gojenkins: %v, %v", ids, err)
	}
	_, err := f.client().Job(t.Context(), "app")
	checkError(t, err, jenkins.ErrUnavailable, 502, "bad gateway")
	_, err = f.client().Builds(t.Context(), "app", 10)
	checkError(t, err, jenkins.ErrUnavailable, 502, "bad gateway")
}

func TestD14OneActionSpoilsAll(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appBuild: jenkinsReply(200, run("7", `"building":false,"result":"SUCCESS"`))})
	if _, err := rawBuild(f, "7").Poll(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot unmarshal") {
		t.Errorf("gojenkins: %v", err)
	}
	if got, err := f.client().Build(t.Context(), "app", 7); err != nil || got.Result != "SUCCESS" || got.Params["AIBUILD_RUN_ID"] != "r7" {
		t.Errorf("Build = %+v, %v", got, err)
	}
}

func TestD15OldValuesStay(t *testing.T) {
	f := fakeJenkins(t, nil)
	first, second := jenkinsReply(200, `{"number":7,"building":false,"result":"FAILURE"}`), jenkinsReply(200, `{"number":7,"building":true,"result":null}`)
	f.answers[appBuild] = []reply{first, second}
	build := rawBuild(f, "7")
	for range 2 {
		if _, err := build.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if build.GetResult() != "FAILURE" || !build.Raw.Building {
		t.Errorf("gojenkins: result %q", build.GetResult())
	}
	f.answers[appBuild] = []reply{first, second}
	for _, want := range []string{"FAILURE", ""} {
		if got, err := f.client().Build(t.Context(), "app", 7); err != nil || got.Result != want {
			t.Errorf("Build = %+v, %v; want result %q", got, err, want)
		}
	}
}

func TestD18LogOfNothing(t *testing.T) {
	f := fakeJenkins(t, nil)
	console, err := rawBuild(f, "7").GetConsoleOutputFromIndex(t.Context(), 0)
	if !strings.Contains(console.Content, "HTTP ERROR 404") || err == nil || !strings.Contains(err.Error(), `parsing ""`) {
		t.Errorf("gojenkins: %q, %v", console.Content, err)
	}
	text, _, _, err := f.client().Log(t.Context(), "app", 7, 0)
	checkError(t, err, jenkins.ErrNotFound, 404, "check the number")
	if text != nil {
		t.Errorf("text %q", text)
	}
}

func TestD19PrintsAnswers(t *testing.T) {
	var printed bytes.Buffer
	log.SetOutput(&printed)
	defer log.SetOutput(os.Stderr)
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(200, emptyJob)})
	//lint:ignore SA1029 this very key is what gojenkins looks for
	ctx := context.WithValue(t.Context(), "debug", true)
	if _, err := rawJenkins(f).GetJob(ctx, "app"); err != nil || !strings.Contains(printed.String(), "AIBUILD_RUN_ID") {
		t.Errorf("gojenkins printed %q, %v", printed.String(), err)
	}
	printed.Reset()
	if _, err := f.client().Job(ctx, "app"); err != nil || printed.Len() > 0 {
		t.Errorf("we printed %q, %v", printed.String(), err)
	}
}

func TestD20ParametersLost(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{appRead: jenkinsReply(200, emptyJob), crumbRead: jenkinsReply(200, crumbReply),
		"GET /ci/job/app/0/api/json": jenkinsReply(200, `{"building":false}`), appStart: redirect(201, item25)})
	if ok, err := rawJenkins(f).GetJobObj(t.Context(), "app").Invoke(t.Context(), nil, false, runParams(), "", ""); !ok || err != nil {
		t.Errorf("gojenkins: %v, %v", ok, err)
	}
	asked := f.asked()
	sent := asked[len(asked)-1]
	if !strings.Contains(sent, `name="json"`) || strings.Contains(sent, `name="AIBUILD_RUN_ID"`) {
		t.Errorf("gojenkins sent %q", sent)
	}
	if _, err := f.client().Start(t.Context(), "app", runParams()); err != nil {
		t.Error(err)
	}
	if sent := f.asked()[0]; !strings.HasSuffix(sent, " AIBUILD_RUN_ID=r1") {
		t.Errorf("we sent %q", sent)
	}
}

func TestD21NoLimit(t *testing.T) {
	huge := jenkinsReply(200, strings.Repeat("x", 17<<20))
	f := fakeJenkins(t, map[string]reply{appRead: huge, "GET /ci/job/app/consoleText/": huge})
	var body string
	if _, err := rawJenkins(f).Requester.GetXML(t.Context(), "/job/app/consoleText", &body, nil); err != nil || len(body) != 17<<20 {
		t.Errorf("gojenkins has a limit: %d bytes, %v", len(body), err)
	}
	_, err := f.client().Builds(t.Context(), "app", 10)
	checkError(t, err, jenkins.ErrProtocol, 0, "larger than 16 MiB")
}

func TestD22SlashAtTheEnd(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{"GET /ci/job/app/7/logText/progressiveText": logReply("3", "", "a\r\n")})
	if _, err := rawBuild(f, "7").GetConsoleOutputFromIndex(t.Context(), 0); err == nil {
		t.Error("gojenkins puts no slash behind the path any more")
	}
	if asked := fmt.Sprint(f.asked()); asked != "[GET /ci/job/app/7/logText/progressiveText/?start=0]" {
		t.Errorf("gojenkins asked %s", asked)
	}
	if _, _, _, err := f.client().Log(t.Context(), "app", 7, 0); err != nil {
		t.Error(err)
	}
}
