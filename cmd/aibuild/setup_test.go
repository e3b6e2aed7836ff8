package main

import (
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

const (
	setupUser   = "installer"
	setupSecret = "hook-c4n4ry-secret"
)

// ground is where something is set up: a Jenkins and a GitLab with nothing in
// them, and users who may no more than each needs.
type ground struct {
	t       *testing.T
	jenkins *jenkinstest.Server
	gitlab  *gitlabtest.Server
	env     map[string]string
	config  string
}

func newGround(t *testing.T) *ground {
	t.Helper()
	g := &ground{t: t, config: filepath.Join(t.TempDir(), "config.yaml")}
	user := func(name, path string, rights ...jenkinstest.Permission) jenkinstest.User {
		u := jenkinstest.User{Name: name, Token: name + "-c4n4ry-token", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}}}
		for _, right := range rights {
			u.Grants = append(u.Grants, jenkinstest.Grant{Permission: right, Path: path})
		}
		return u
	}
	var err error
	g.jenkins, err = jenkinstest.Start(jenkinstest.Options{
		QuietPeriod: -1, Adopted: jenkinstest.Job{Command: `grep -q aibuildPipeline "$PIPELINE_SCRIPT" && exit 7`}, Plugins: []string{"git", "cloudbees-folder", "junit"},
		Users: []jenkinstest.User{
			user(setupUser, "", jenkinstest.ItemRead, jenkinstest.ItemCreate, jenkinstest.ItemConfigure),
			user("reader", "", jenkinstest.ItemRead),
			user("daemon", "ops", jenkinstest.ItemRead, jenkinstest.ItemBuild, jenkinstest.ItemCancel),
			{Name: "root", Token: "root-c4n4ry-token", Admin: true},
		},
	})
	g.must(err)
	t.Cleanup(func() { g.must(g.jenkins.Close()) })
	g.gitlab, err = gitlabtest.Start(gitlabtest.Options{})
	g.must(err)
	t.Cleanup(func() { g.must(g.gitlab.Close()) })
	tokens := map[string]string{}
	for _, name := range []string{"maintainer", "developer", "stranger"} {
		_, err := g.gitlab.CreateUser(gitlabtest.User{Username: name})
		g.must(err)
		made, err := g.gitlab.CreateToken(gitlabtest.Token{User: name, Scopes: []string{"api"}})
		g.must(err)
		tokens[name] = made.Secret
	}
	for _, path := range []string{"ops/images", "ops/more"} {
		_, err := g.gitlab.CreateProject(t.Context(), gitlabtest.Project{Path: path, Members: map[string]gitlabtest.Role{
			"maintainer": gitlabtest.Maintainer, "developer": gitlabtest.Developer,
		}})
		g.must(err)
	}
	g.configure("public_url: http://127.0.0.1:1\ngitlab: {projects: [{path: ops/images}, {path: ops/more}]}\njenkins: {job: ops/images/build}\n")
	g.env = map[string]string{
		"AIBUILD_GITLAB_SECRET": setupSecret,
		"JENKINS_URL":           g.jenkins.URL(), "JENKINS_USER": "daemon", "JENKINS_TOKEN": "daemon-c4n4ry-token",
		"JENKINS_SETUP_USER": setupUser, "JENKINS_SETUP_TOKEN": setupUser + "-c4n4ry-token",
		"GITLAB_URL": g.gitlab.URL(), "GITLAB_TOKEN": tokens["developer"], "GITLAB_SETUP_TOKEN": tokens["maintainer"], "STRANGER": tokens["stranger"],
	}
	return g
}

func (g *ground) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

func (g *ground) configure(text string) { g.must(os.WriteFile(g.config, []byte(text), 0o600)) }

// call runs a command, and looks for secrets in what it says.
func (g *ground) call(line string, args ...string) result {
	g.t.Helper()
	r := call(g.t, g.env, append(append(strings.Fields(line), args...), "--config", g.config)...)
	for _, secret := range []string{"c4n4ry", g.env["GITLAB_TOKEN"], g.env["GITLAB_SETUP_TOKEN"], g.env["STRANGER"]} {
		if secret != "" && strings.Contains(r.out+r.err, secret) {
			g.t.Errorf("%s shows a secret:\n%s%s", line, r.out, r.err)
		}
	}
	return r
}

// says calls a command and compares exit status and words.
func (g *ground) says(code int, line string, words ...string) result {
	g.t.Helper()
	r := g.call(line)
	if r.code != code {
		g.t.Errorf("%s = %d, want %d\n%s%s", line, r.code, code, r.out, r.err)
	}
	for _, word := range words {
		if !strings.Contains(r.out+r.err, word) {
			g.t.Errorf("%s does not say %q:\n%s%s", line, word, r.out, r.err)
		}
	}
	return r
}

func (g *ground) requests(method string) (n int) {
	for _, r := range g.jenkins.Requests() {
		if r.Method == method {
			n++
		}
	}
	return n
}

// From nothing to a job that the daemon can use, and nothing more the second time.
func TestJenkinsSetup(t *testing.T) {
	g := newGround(t)
	dry := g.says(0, "jenkins setup --dry-run", "would be made", "folder ops/images", "--- /dev/null", "+++ ops/images/build/config.xml", "@@ -0,0 +1,",
		"+          <name>AIBUILD_FROM</name>", "+    <script>// aibuild jenkins setup made this job", "+@Library('aibuild') _", "+aibuildPipeline(dir: params.AIBUILD_IMAGE)",
		"+            <libraryPath>jenkins/</libraryPath>", "still to do by a person", "Secret text", "this user may not list them", "give the label kvm to agents that can build: none has it")
	if g.requests("POST") != 0 || strings.Contains(dry.out, "\nok ") {
		t.Errorf("a dry run did something:\n%s", dry.out)
	}
	made := g.says(0, "jenkins setup --library-version v1.2.3 --library-credentials git-id", "made", "job ops/images/build", "can be built, declares what is needed; granted: Job/Build")
	if strings.Contains(made.out, "make a user of Jenkins for the daemon") {
		t.Errorf("it asks for what is there:\n%s", made.out)
	}
	posts := g.requests("POST")
	again := decoded[setupReport](t, g.says(0, "jenkins setup --library-version v1.2.3 --library-credentials git-id -o json").out)
	if len(again.Changes) != 1 || again.Changes[0].Did != isUnchanged || g.requests("POST") != posts || len(again.Todo) == 0 {
		t.Errorf("the second time: %+v", again)
	}
	g.says(0, "jenkins setup --dry-run --library-version v2.0.0 --library-credentials git-id", "would be changed", "-          <defaultVersion>v1.2.3</defaultVersion>", "+          <defaultVersion>v2.0.0</defaultVersion>")
	g.says(0, "jenkins setup --label big --library-version v2.0.0", "changed", "give the label big")
	g.says(0, "jenkins setup --job ops/images/second --library-version v2.0.0", "made", "job ops/images/second", "give the label kvm")
	g.must(g.jenkins.DisableJob("ops/images/build", true))
	g.must(g.jenkins.DropParameters("ops/images/second"))
	g.says(1, "jenkins setup --label big --library-version v2.0.0", "as it is to be", "fail", "is disabled", "enable it in jenkins")
	g.env["JENKINS_SETUP_USER"], g.env["JENKINS_SETUP_TOKEN"] = "root", "root-c4n4ry-token"
	g.says(0, "jenkins setup --job ops/images/second --library-version v2.0.0", "changed", "declares what is needed")
	g.must(g.jenkins.AddJob(jenkinstest.Job{Path: "ops/images/third", Kind: jenkinstest.Pipeline, Script: "node { sh 'make' }"}))
	g.says(5, "jenkins setup --job ops/images/third --library-version v2.0.0", "made by somebody else", "--dry-run --force")
	g.says(0, "jenkins setup --job ops/images/third --library-version v2.0.0 --force --dry-run", "-    <script>node { sh &#39;make&#39; }</script>")
	g.says(0, "jenkins setup --job ops/images/third --library-version v2.0.0 --force", "changed", "install the plugins that are missing: Pipeline (workflow-job), Credentials Binding (credentials-binding)")
}

// What else is in a folder stays there, and what is secret in it is in no diff.
func TestJenkinsSetupBesideSecrets(t *testing.T) {
	g := newGround(t)
	const plain = `<com.cloudbees.hudson.plugins.folder.Folder>
  <description>theirs</description>
  <properties>
    <com.cloudbees.hudson.plugins.folder.properties.FolderCredentialsProvider_-FolderCredentialsProperty>
      <username>ann</username>
      <password>{AQAAABAAAAAQc4n4ryc4n4ryc4n4ry/=}</password>
      <apiToken>plain-c4n4ry</apiToken>
    </com.cloudbees.hudson.plugins.folder.properties.FolderCredentialsProvider_-FolderCredentialsProperty>
  </properties>
  <url>https://ann:c4n4ry@git.example.org/x.git</url>
</com.cloudbees.hudson.plugins.folder.Folder>`
	xmlOf := func(method, path, body string) string {
		request, err := http.NewRequest(method, g.jenkins.URL()+path, strings.NewReader(body))
		g.must(err)
		request.SetBasicAuth("root", "root-c4n4ry-token")
		request.Header.Set("Content-Type", "application/xml")
		response, err := http.DefaultClient.Do(request)
		g.must(err)
		text, err := io.ReadAll(response.Body)
		if err = errors.Join(err, response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
			t.Fatalf("%s %s: %d %v", method, path, response.StatusCode, err)
		}
		return string(text)
	}
	xmlOf("POST", "/createItem?name=vault", plain)
	g.says(0, "jenkins setup --job vault/build --dry-run", "would be changed", "folder vault", "<apiToken>***</apiToken>", "https://ann:***@git", "+    <org.jenkinsci.plugins.workflow.libs.FolderLibraries>")
	g.says(1, "jenkins setup --job vault/build", "changed", "folder vault", "not found") // the daemon's user may not see it
	after := xmlOf("GET", "/job/vault/config.xml", "")
	begin, end, _ := strings.Cut(plain, "\n  </properties>")
	if !strings.HasPrefix(after, begin) || !strings.HasSuffix(after, end) {
		t.Errorf("the folder is now\n%s", after)
	}
}

// Who may not, is told what is missing; what is wrongly called, what is right.
func TestJenkinsSetupRefused(t *testing.T) {
	g := newGround(t)
	g.must(g.jenkins.AddJob(jenkinstest.Job{Path: "ops/images/free"}))
	with := func(name, value string, code int, line string, words ...string) {
		t.Helper()
		old := g.env[name]
		g.env[name] = value
		g.says(code, line, words...)
		g.env[name] = old
	}
	with("JENKINS_SETUP_USER", "", 2, "jenkins setup", "JENKINS_SETUP_TOKEN_FILE")
	with("JENKINS_SETUP_TOKEN", "", 2, "jenkins setup", "JENKINS_SETUP_TOKEN_FILE")
	with("JENKINS_SETUP_TOKEN", "wrong-c4n4ry", 2, "jenkins setup", "make an api token at")
	with("JENKINS_URL", "", 2, "jenkins setup", "no url")
	with("JENKINS_URL", "http://u:c4n4ry@127.0.0.1:1", 2, "jenkins setup", "holds credentials")
	with("JENKINS_URL", "http://127.0.0.1:1", 1, "jenkins setup", "connection refused")
	with("JENKINS_URL", g.gitlab.URL(), 2, "jenkins setup", "the url is that of jenkins itself")
	with("JENKINS_URL", g.jenkins.URL()+"/job/ops", 2, "jenkins setup", "the url is that of jenkins itself")
	for kind, code := range map[jenkinstest.FaultKind]int{jenkinstest.LoginPage: 2, jenkinstest.Redirect: 2, jenkinstest.BadGateway: 1, jenkinstest.Unavailable: 1} {
		g.must(g.jenkins.Fail(jenkinstest.Fault{Kind: kind, N: -1}))
		g.says(code, "jenkins setup", "jenkins: log in at ")
		g.jenkins.Heal()
	}
	g.env["JENKINS_SETUP_TOKEN"] = "reader-c4n4ry-token"
	g.says(5, "jenkins setup --user reader", "ask an administrator of jenkins for the permission Job/Configure")
	g.says(5, "jenkins setup --user reader --job new/build", "ask an administrator of jenkins for the permission Job/Create")
	g.env["JENKINS_SETUP_TOKEN"] = setupUser + "-c4n4ry-token"
	g.says(5, "jenkins setup --job ops/images/free --force", "it is no Pipeline")
	g.says(5, "jenkins setup --job ops/images/free/build", "it is no folder")
	g.says(2, "jenkins setup --job build", "is in no folder")
	g.says(2, "jenkins setup --job a//b", "is no path of a job")
	g.says(5, "jenkins setup --job a*/b", "unsafe character")
	g.says(2, "jenkins setup --library https://u:p4ss@git.example.org/x.git", "--library-credentials")
	g.says(2, "jenkins setup --label it's", "--label")
	g.says(2, "jenkins setup --print nonsense", "print config.xml, folder.xml, jcasc or permissions")
	g.env["JENKINS_TOKEN"] = ""
	g.says(0, "jenkins setup", "warn", "what the daemon may do is not known")
	g.env["JENKINS_TOKEN"] = "wrong-c4n4ry"
	g.says(1, "jenkins setup", "fail", "not logged in (status 401)")
}

// What is printed is what would be made, and can be read by those it is for.
func TestJenkinsSetupPrints(t *testing.T) {
	g := newGround(t)
	g.env = nil
	for _, what := range []string{"config.xml", "folder.xml"} {
		text := g.says(0, "jenkins setup --print "+what).out
		_, body, _ := strings.Cut(text, "?>")
		if err := xml.Unmarshal([]byte(body), new(struct{ XMLName xml.Name })); err != nil || !strings.HasPrefix(text, "<?xml version='1.1'") {
			t.Errorf("%s: %v\n%s", what, err, text)
		}
	}
	text := g.says(0, "jenkins setup --print jcasc --job a/b/c --job a/d --library-credentials x").out
	var doc struct{ Jobs []struct{ Script string } }
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil || len(doc.Jobs) != 4 {
		t.Fatalf("%v in\n%s", err, text)
	}
	for i, begin := range []string{"folder('a') {\n  properties {\n    folderLibraries", "folder('a/b') {\n  properties {\n    folderLibraries", "pipelineJob('a/b/c') {", "pipelineJob('a/d') {"} {
		if !strings.HasPrefix(doc.Jobs[i].Script, begin) {
			t.Errorf("script %d is\n%s", i, doc.Jobs[i].Script)
		}
	}
	if !strings.Contains(doc.Jobs[2].Script, `@Library(\'aibuild\') _\naibuildPipeline(`) || !strings.Contains(doc.Jobs[2].Script, "stringParam('AIBUILD_RUN_ID'") {
		t.Errorf("the job is\n%s", doc.Jobs[2].Script)
	}
	g.says(0, "jenkins setup --print permissions", "folder ops/images: Job/Read, Job/Build, Job/Cancel", "folder ops: Job/Create")
	g.says(2, "jenkins setup --print config.xml --job a/b --job a/c", "name one with --job")
	for _, name := range hooks.JobParameters() {
		if parameterHelp[name] == "" {
			t.Errorf("%s has no description", name)
		}
	}
}

// door stands for the daemon.
func (g *ground) door(answer *int) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(*answer)
		fmt.Fprint(w, map[int]string{200: `{"status":"ignored","reason":"the project is not configured here (gitlab.projects)"}`, 202: `{"status":"accepted"}`}[*answer])
	}))
	g.t.Cleanup(server.Close)
	text, err := os.ReadFile(g.config)
	g.must(err)
	g.configure(strings.Replace(string(text), "http://127.0.0.1:1", server.URL, 1))
}

func TestGitLabSetup(t *testing.T) {
	g, answer := newGround(t), 202
	g.door(&answer)
	dry := g.says(0, "gitlab setup --dry-run", "would be made", "webhook of ops/more", "+push_events: true", "+tag_push_events: true", "+secret token: set to the daemon's", "still to do", "Outbound requests", "is not https")
	if strings.Contains(dry.out, "issues_events") {
		t.Errorf("it tells of what is off already:\n%s", dry.out)
	}
	g.says(0, "gitlab setup", "made", "webhook of ops/images", "the daemon took a test delivery (202)", "project ops/more", "can be read by git", "nothing can be released yet: only from none (the project has no branch yet)")
	again := decoded[setupReport](t, g.says(0, "gitlab setup --project ops/more -o json").out)
	if len(again.Changes) != 1 || again.Changes[0].Did != isUnchanged || again.Changes[0].What != "webhook of ops/more" {
		t.Errorf("the second time: %+v", again)
	}
	answer = 200 // of another project, as ops/images has no commit
	g.says(0, "gitlab setup --project ops/images", "there is no commit yet")
	g.push(t.TempDir())
	g.says(1, "gitlab setup --project ops/images --no-test", "may not push to the protected branch main", "give it the role Maintainer")
	g.env["GITLAB_TOKEN"] = g.env["GITLAB_SETUP_TOKEN"]
	g.says(1, "gitlab setup --project ops/images", "fail", "the daemon ignored the test delivery: the project is not configured here", "SIGHUP")
	answer = 401
	g.says(1, "gitlab setup --project ops/images", "fail", "the webhook's secret is none that the daemon has")
	answer = 202
	file := filepath.Join(t.TempDir(), "secret")
	g.must(os.WriteFile(file, []byte("whsec_"+base64.StdEncoding.EncodeToString([]byte("c4n4ry-"+strings.Repeat("k", 25)))+"\n"), 0o600))
	g.env["AIBUILD_GITLAB_SECRET_FILE"] = file // beside the token: the key is what the daemon then wants
	g.says(0, "gitlab setup --project ops/images --dry-run", "as it is to be", "+signing token: set to the daemon's")
	g.says(0, "gitlab setup --project ops/images --no-test", "as it is to be", "press Test, Push events")
	g.must(os.WriteFile(file, []byte("whsec_c4n4ry"), 0o600))
	g.says(5, "gitlab setup --project ops/images", "32 random bytes in base64")
}

// push commits what is in a folder and pushes it to ops/images.
func (g *ground) push(dir string) (commit string) {
	g.t.Helper()
	const script = `cd "$0" && { [ -d .git ] || git init -q -b main; } && git add -A && git -c user.name=t -c user.email=t@example.org commit -q --allow-empty -m x && git push -q "$1" HEAD:refs/heads/main && git rev-parse HEAD`
	out, err := exec.Command("bash", "-ec", script, dir, g.gitlab.CloneURL("ops/images", g.gitlab.RootToken())).CombinedOutput()
	if err != nil {
		g.t.Fatalf("push: %v\n%s", err, out)
	}
	lines := strings.Fields(string(out))
	return lines[len(lines)-1]
}

func TestGitLabSetupRefused(t *testing.T) {
	g := newGround(t)
	with := func(name, value string, code int, line string, words ...string) {
		t.Helper()
		old := g.env[name]
		g.env[name] = value
		g.says(code, line, words...)
		g.env[name] = old
	}
	with("GITLAB_SETUP_TOKEN", g.env["GITLAB_TOKEN"], 5, "gitlab setup", "role Maintainer (GITLAB_SETUP_TOKEN_FILE)")
	with("GITLAB_SETUP_TOKEN", "", 5, "gitlab setup", "role Maintainer (GITLAB_SETUP_TOKEN_FILE)") // the daemon's, then
	with("GITLAB_SETUP_TOKEN", g.env["STRANGER"], 4, "gitlab setup", "404 Project Not Found")
	with("GITLAB_SETUP_TOKEN", "glpat-c4n4ry", 2, "gitlab setup", "token refused (status 401)")
	with("GITLAB_URL", "", 2, "gitlab setup", "no url")
	with("GITLAB_URL", "http://127.0.0.1:1", 1, "gitlab setup", "connection refused")
	with("GITLAB_URL", g.jenkins.URL(), 2, "gitlab setup", "that of gitlab itself")
	with("AIBUILD_GITLAB_SECRET", "", 2, "gitlab setup", "no webhook's secret is configured for ops/images")
	with("AIBUILD_GITLAB_SECRET_FILE", "/nowhere", 2, "gitlab setup", "/nowhere", "make its file readable")
	g.says(2, "gitlab setup --project ops/none", "not under gitlab.projects")
	g.says(2, "gitlab setup --hook-url http://127.0.0.1:1/other", "--hook-url: it is to be like")
	g.says(2, "gitlab setup --hook-url http://u:c4n4ry@127.0.0.1:1/hooks/gitlab", "without user, password and query")
	g.says(1, "gitlab setup", "made", "the test delivery failed: gitlab got no answer")
	for _, fault := range []gitlabtest.Answer{gitlabtest.BadGateway, gitlabtest.Unavailable, gitlabtest.Throttled} {
		g.gitlab.Fail(gitlabtest.Fault{Answer: fault})
		g.says(1, "gitlab setup", "gitlab is not available")
		g.gitlab.ClearFaults()
	}
	g.configure("gitlab: {projects: [{path: ops/images}]}\n")
	g.says(2, "gitlab setup", "set public_url")
	g.configure("public_url: https://aibuild.example.org\n")
	g.says(2, "gitlab setup", "no project is configured")
}

// A diff is as diff -u makes it, and hides what may be a secret.
func TestUnified(t *testing.T) {
	numbered := func(change map[int]string) string {
		var b strings.Builder
		for i := 1; i <= 20; i++ {
			if text, changed := change[i]; changed {
				b.WriteString(text)
				continue
			}
			fmt.Fprintf(&b, "%d\n", i)
		}
		return b.String()
	}
	before := numbered(nil)
	for name, tt := range map[string]struct{ after, want string }{
		"equal":    {before, ""},
		"one line": {numbered(map[int]string{10: "ten\n"}), "--- a\n+++ b\n@@ -7,7 +7,7 @@\n 7\n 8\n 9\n-10\n+ten\n 11\n 12\n 13\n"},
		"far":      {numbered(map[int]string{1: "", 20: "20\n21\n"}), "--- a\n+++ b\n@@ -1,4 +1,3 @@\n-1\n 2\n 3\n 4\n@@ -18,3 +17,4 @@\n 18\n 19\n 20\n+21\n"},
		"near":     {numbered(map[int]string{8: "", 14: "x\n"}), "--- a\n+++ b\n@@ -5,13 +5,12 @@\n 5\n 6\n 7\n-8\n 9\n 10\n 11\n 12\n 13\n-14\n+x\n 15\n 16\n 17\n"},
		"gone":     {"", "--- a\n+++ b\n@@ -1,20 +0,0 @@\n-" + strings.TrimSuffix(strings.ReplaceAll(before, "\n", "\n-"), "-")},
	} {
		if got := unified("a", "b", before, tt.after); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, tt.want)
		}
	}
	for line, want := range map[string]string{
		"  <password>{AQAAABAAAAAQc4n4ry+/c4n4ry=}</password>": "  <password>***</password>",
		"<x>{AQAAABAAAAAQc4n4ry+/c4n4ry=}</x>":                 "<x>{***}</x>",
		"<authToken>c4n4ry</authToken>":                        "<authToken>***</authToken>",
		"<a.b-ApiKey plugin='x'>c4n4ry</a.b-ApiKey>":           "<a.b-ApiKey plugin='x'>***</a.b-ApiKey>",
		"<remote>https://me:c4n4ry@git.example.org/</remote>":  "<remote>https://me:***@git.example.org/</remote>",
		"<credentialsId>git-id</credentialsId>":                "<credentialsId>git-id</credentialsId>",
	} {
		if got := withoutSecrets(line); got != want {
			t.Errorf("%s becomes %s", line, got)
		}
	}
}
