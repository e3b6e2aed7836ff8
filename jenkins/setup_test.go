package jenkins_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// backend is a Jenkins that a job is set up in: the stand-in, or a real one (build tag realjenkins). The tests are the same
// for both.
type backend struct {
	jenkins.Client        // may make and delete a folder
	folder         string // of its own, which is not there before a test and not after it
}

// setupTests are what is to be true of every Jenkins.
var setupTests = []struct {
	name string
	test func(*testing.T, backend)
}{
	{"makes folder and job", setUpAnew},
	{"starts, follows and reads", setUpAndFollow},
	{"lets builds run side by side, and stops them", setUpAndStop},
	{"mends what is ours and keeps the rest", setUpAgain},
	{"leaves alone what is not ours", setUpForeign},
	{"keeps other libraries of the folder", setUpLibraries},
}

// groovy is a script without the library, which a Jenkins in a test could not fetch.
const (
	groovy = "// made by a test of aibuild\necho \"run ${params.AIBUILD_RUN_ID} <&> 'ü'\"\nif (params.AIBUILD_FROM == 'wait') {\n  sleep 600\n}\n"
	// groovyStandIn is what the stand-in runs instead: the same, in its language.
	groovyStandIn = "grep -q 'made by a test' \"$PIPELINE_SCRIPT\"\necho \"run $AIBUILD_RUN_ID <&> 'ü'\"\nif [ \"$AIBUILD_FROM\" = wait ]; then sleep 600; fi"
)

func (b backend) spec() jenkins.Spec {
	return jenkins.Spec{
		Path: b.folder + "/inner/build", Description: "a test of aibuild: <b>&", Mark: "made by a test of aibuild", Script: groovy,
		Parameters: []jenkins.Parameter{{Name: "AIBUILD_RUN_ID", Description: "of the run"}, {Name: "AIBUILD_FROM", Description: "stage \"x\" & 'y'"}},
		Library:    jenkins.Library{Name: "aibuild", Remote: "https://git.example.org/aibuild.git", Version: "v1", Credentials: "git-id", Path: "jenkins/"},
	}
}

func TestSetupOfTheStandIn(t *testing.T) {
	for _, profile := range []string{jenkinstest.Profile2300, jenkinstest.ProfileCurrent} {
		t.Run(profile, func(t *testing.T) {
			server, err := jenkinstest.Start(jenkinstest.Options{Profile: profile, Context: "/ci", QuietPeriod: -1, Grace: time.Second,
				Adopted: jenkinstest.Job{Command: groovyStandIn}, Plugins: []string{"workflow-job"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			runSetupTests(t, jenkins.Client{URL: server.URL(), User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Transport: transport})
		})
	}
}

func runSetupTests(t *testing.T, client jenkins.Client) {
	for i, tt := range setupTests {
		t.Run(tt.name, func(t *testing.T) {
			b := backend{client, fmt.Sprintf("aibuild test %d %d", time.Now().UnixNano(), i)}
			t.Cleanup(func() {
				if got := b.call(t, "POST", "/job/"+strings.ReplaceAll(b.folder, " ", "%20")+"/doDelete", ""); got.status != http.StatusFound && got.status != http.StatusNotFound {
					t.Errorf("the folder was not deleted: %d", got.status)
				}
			})
			tt.test(t, b)
		})
	}
}

// call asks what the Client has no method for.
func (b backend) call(t *testing.T, method, path, body string) reply {
	t.Helper()
	request, err := http.NewRequest(method, b.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth(b.User, b.Token)
	request.Header.Set("Content-Type", "text/xml; charset=utf-8")
	transport := b.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		t.Fatal(err)
	}
	return reply{response.StatusCode, nil, string(text)}
}

func (b backend) at(path string) string {
	return "/job/" + strings.ReplaceAll(strings.ReplaceAll(path, "/", "/job/"), " ", "%20")
}

func (b backend) edit(t *testing.T, path string, change func(string) string) {
	t.Helper()
	text := b.call(t, "GET", b.at(path)+"/config.xml", "")
	changed := change(text.body)
	if text.status != 200 || changed == text.body {
		t.Fatalf("config.xml of %s: %d, nothing to change in:\n%s", path, text.status, text.body)
	}
	if got := b.call(t, "POST", b.at(path)+"/config.xml", changed); got.status != 200 {
		t.Fatalf("config.xml of %s: %d %s", path, got.status, got.body)
	}
}

// setUp does all that is planned, and says what that was.
func (b backend) setUp(t *testing.T, s jenkins.Spec, force bool) string {
	t.Helper()
	changes, err := b.Plan(t.Context(), s, force)
	if err != nil {
		t.Fatal(err)
	}
	var done []string
	for _, change := range changes {
		what := "changes "
		if change.New {
			what = "makes "
		}
		if err := b.Apply(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		done = append(done, what+strings.TrimPrefix(strings.TrimPrefix(change.Path, b.folder), "/"))
	}
	if again, err := b.Plan(t.Context(), s, false); err != nil || len(again) > 0 {
		t.Fatalf("after that: %+v, %v", again, err)
	}
	return strings.Join(done, ", ")
}

func setUpAnew(t *testing.T, b backend) {
	if got := b.setUp(t, b.spec(), false); got != "makes , makes inner, makes inner/build" {
		t.Errorf("set up: %s", got)
	}
	job, err := b.Job(t.Context(), b.spec().Path)
	if err != nil || !job.Buildable || job.Disabled || fmt.Sprint(job.Parameters) != "[AIBUILD_RUN_ID AIBUILD_FROM]" {
		t.Errorf("job %+v, %v", job, err)
	}
	if got := b.setUp(t, b.spec(), false); got != "" {
		t.Errorf("once more: %s", got)
	}
	other := b.spec()
	other.Path = b.folder + "/inner/second"
	if got := b.setUp(t, other, false); got != "makes inner/second" {
		t.Errorf("a second job: %s", got)
	}
	other.Path = b.folder + "/third"
	if got := b.setUp(t, other, false); got != "changes , makes third" {
		t.Errorf("a job in the folder above: %s", got)
	}
	if plugins, err := b.Plugins(t.Context()); err != nil || !slices.Contains(plugins, "workflow-job") {
		t.Errorf("plugins %v, %v", plugins, err)
	}
}

func (b backend) start(t *testing.T, run, from string) jenkins.Build {
	t.Helper()
	started, err := b.Start(t.Context(), b.spec().Path, map[string]string{"AIBUILD_RUN_ID": run, "AIBUILD_FROM": from})
	if err != nil {
		t.Fatal(err)
	}
	item := until(t, "a build", func() (jenkins.Item, error) { return b.Queued(t.Context(), started.QueueID) }, func(i jenkins.Item) bool { return i.Build > 0 })
	build, err := b.Build(t.Context(), b.spec().Path, item.Build)
	if err != nil || build.Params["AIBUILD_RUN_ID"] != run || build.QueueID != started.QueueID {
		t.Errorf("build %+v, %v", build, err)
	}
	return build
}

func (b backend) ended(t *testing.T, number int64) jenkins.Build {
	t.Helper()
	return until(t, "the end", func() (jenkins.Build, error) { return b.Build(t.Context(), b.spec().Path, number) }, func(b jenkins.Build) bool { return !b.Building })
}

func setUpAndFollow(t *testing.T, b backend) {
	b.setUp(t, b.spec(), false)
	started := b.start(t, "r1", "build")
	if found, err := b.FindByRunID(t.Context(), b.spec().Path, "r1"); err != nil || found.Build == nil || found.Build.Number != started.Number {
		t.Errorf("found %+v, %v", found, err)
	}
	if build := b.ended(t, started.Number); build.Result != "SUCCESS" {
		t.Errorf("ended as %+v", build)
	}
	log, _, more, err := b.Log(t.Context(), b.spec().Path, started.Number, 0)
	if err != nil || more || !strings.Contains(string(log), "run r1 <&> 'ü'\n") {
		t.Errorf("log %q, %v, %v", log, more, err)
	}
}

func setUpAndStop(t *testing.T, b backend) {
	b.setUp(t, b.spec(), false)
	one, two := b.start(t, "r1", "wait"), b.start(t, "r2", "wait")
	for _, build := range []jenkins.Build{one, two} {
		if build, err := b.Build(t.Context(), b.spec().Path, build.Number); err != nil || !build.Building {
			t.Errorf("does not run: %+v, %v", build, err)
		}
		if err := b.Stop(t.Context(), b.spec().Path, build.Number); err != nil {
			t.Error(err)
		}
	}
	for _, build := range []jenkins.Build{one, two} {
		if build := b.ended(t, build.Number); build.Result != "ABORTED" || build.AbortedBy == "" {
			t.Errorf("stopped: %+v", build)
		}
	}
}

const discarder = `<jenkins.model.BuildDiscarderProperty>
      <strategy class="hudson.tasks.LogRotator">
        <daysToKeep>-1</daysToKeep>
        <numToKeep>77</numToKeep>
        <artifactDaysToKeep>-1</artifactDaysToKeep>
        <artifactNumToKeep>-1</artifactNumToKeep>
      </strategy>
    </jenkins.model.BuildDiscarderProperty>`

func setUpAgain(t *testing.T, b backend) {
	b.setUp(t, b.spec(), false)
	b.edit(t, b.spec().Path, func(text string) string {
		text = strings.Replace(text, "<properties>", "<properties>\n    "+discarder+
			"\n    <org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty>\n      <abortPrevious>true</abortPrevious>\n    </org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty>", 1)
		text = strings.Replace(text, "<name>AIBUILD_FROM</name>", "<name>OTHER</name>", 1)
		return strings.Replace(text, "<description>a test of aibuild", "<description>by hand", 1)
	})
	b.edit(t, b.folder+"/inner", func(text string) string {
		return strings.Replace(text, "<defaultVersion>v1<", "<defaultVersion>v0<", 1)
	})
	if got := b.setUp(t, b.spec(), false); got != "changes inner, changes inner/build" {
		t.Errorf("set up: %s", got)
	}
	text := b.call(t, "GET", b.at(b.spec().Path)+"/config.xml", "").body
	if !strings.Contains(text, "<numToKeep>77</numToKeep>") || !strings.Contains(text, "by hand") || strings.Contains(text, "DisableConcurrent") || strings.Contains(text, "OTHER") {
		t.Errorf("config.xml:\n%s", text)
	}
	job, err := b.Job(t.Context(), b.spec().Path)
	if err != nil || fmt.Sprint(job.Parameters) != "[AIBUILD_RUN_ID AIBUILD_FROM]" {
		t.Errorf("job %+v, %v", job, err)
	}
	// Whoever presses Save in a page gets the versions of plugins into the file; a job that was disabled stays so.
	b.edit(t, b.spec().Path, func(text string) string {
		text = strings.Replace(text, "<disabled>false", "<disabled>true", 1)
		if strings.Contains(text, `CpsFlowDefinition" plugin=`) { // Jenkins has been there since 2.568
			return text
		}
		return strings.Replace(text, `CpsFlowDefinition"`, `CpsFlowDefinition" plugin="workflow-cps@1"`, 1)
	})
	if got := b.setUp(t, b.spec(), false); got != "" {
		t.Errorf("after Save: %s", got)
	}
	other := b.spec()
	other.Script += "echo 'more'\n"
	if got := b.setUp(t, other, false); got != "changes inner/build" {
		t.Errorf("another script: %s", got)
	}
	stale, err := b.Plan(t.Context(), b.spec(), false)
	if err != nil || len(stale) != 1 {
		t.Fatalf("plan %+v, %v", stale, err)
	}
	b.edit(t, b.spec().Path, func(text string) string { return strings.Replace(text, "numToKeep>77", "numToKeep>78", 1) })
	if err := b.Apply(t.Context(), stale[0]); !errors.Is(err, jenkins.ErrRefused) || !strings.Contains(err.Error(), "somebody has just changed it") {
		t.Errorf("a plan that is old: %v", err)
	}
}

func setUpForeign(t *testing.T, b backend) {
	b.setUp(t, b.spec(), false)
	refused := func(s jenkins.Spec, force bool, says string) {
		t.Helper()
		_, err := b.Plan(t.Context(), s, force)
		checkError(t, err, jenkins.ErrForeign, 0, says)
	}
	b.edit(t, b.spec().Path, func(text string) string { return strings.Replace(text, "made by a test", "of somebody", 1) })
	refused(b.spec(), false, "did not make it")
	if got := b.setUp(t, b.spec(), true); got != "changes inner/build" {
		t.Errorf("by force: %s", got)
	}
	b.edit(t, b.folder+"/inner", func(text string) string { return strings.Replace(text, "aibuild-jenkins-setup", "5f0e", 1) })
	if got := b.setUp(t, b.spec(), false); got != "" {
		t.Errorf("a library that is the same but for its id: %s", got)
	}
	b.edit(t, b.folder+"/inner", func(text string) string {
		return strings.Replace(text, "https://git.example.org/aibuild.git", "https://git.example.org/other.git", 1)
	})
	refused(b.spec(), false, "it has a shared library aibuild")
	if got := b.setUp(t, b.spec(), true); got != "changes inner" {
		t.Errorf("by force: %s", got)
	}
	freestyle := "<project><properties/><scm class=\"hudson.scm.NullSCM\"/><builders/><publishers/><buildWrappers/></project>"
	if got := b.call(t, "POST", b.at(b.folder)+"/createItem?name=free", freestyle); got.status != 200 {
		t.Fatalf("createItem: %d %s", got.status, got.body)
	}
	other := b.spec()
	other.Path = b.folder + "/free"
	refused(other, true, "it is no Pipeline, but project")
	other.Path = b.folder + "/free/build"
	refused(other, true, "it is no folder, but project")
	other.Path = "build"
	if _, err := b.Plan(t.Context(), other, true); !errors.Is(err, jenkins.ErrConfig) {
		t.Errorf("a job in no folder: %v", err)
	}
}

func setUpLibraries(t *testing.T, b backend) {
	folder := `<?xml version='1.1' encoding='UTF-8'?>
<com.cloudbees.hudson.plugins.folder.Folder>
  <description>theirs</description>
  <properties>
    <org.jenkinsci.plugins.workflow.libs.FolderLibraries>
      <libraries>
        <org.jenkinsci.plugins.workflow.libs.LibraryConfiguration>
          <name>theirs</name>
          <retriever class="org.jenkinsci.plugins.workflow.libs.SCMSourceRetriever">
            <scm class="jenkins.plugins.git.GitSCMSource">
              <id>theirs-id</id>
              <remote>https://git.example.org/theirs.git</remote>
            </scm>
          </retriever>
          <defaultVersion>main</defaultVersion>
        </org.jenkinsci.plugins.workflow.libs.LibraryConfiguration>
      </libraries>
    </org.jenkinsci.plugins.workflow.libs.FolderLibraries>
  </properties>
</com.cloudbees.hudson.plugins.folder.Folder>`
	if got := b.call(t, "POST", "/createItem?name="+strings.ReplaceAll(b.folder, " ", "%20"), folder); got.status != 200 {
		t.Fatalf("createItem: %d %s", got.status, got.body)
	}
	s := b.spec()
	s.Path = b.folder + "/build"
	if got := b.setUp(t, s, false); got != "changes , makes build" {
		t.Errorf("set up: %s", got)
	}
	text := b.call(t, "GET", b.at(b.folder)+"/config.xml", "").body
	for _, part := range []string{"theirs-id", "aibuild-jenkins-setup", "<description>theirs</description>", "<credentialsId>git-id</credentialsId>", "<libraryPath>jenkins/</libraryPath>"} {
		if strings.Count(text, part) != 1 {
			t.Errorf("%d times %s in\n%s", strings.Count(text, part), part, text)
		}
	}
}
