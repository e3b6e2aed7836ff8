package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// patient is an installation for the doctor: stand-ins of Jenkins and GitLab, and
// a configuration that a test makes worse.
type patient struct {
	t       *testing.T
	jenkins *jenkinstest.Server
	gitlab  *gitlabtest.Server
	env     map[string]string
	config  string
	answer  atomic.Int64 // status that the webhooks' url answers
}

const (
	patientKey  = "doctor-c4n4ry-secret"
	patientJob  = "teams/images/build"
	patientYAML = `public_url: https://aibuild.example.org
listen: 127.0.0.1:9753
gitlab:
  projects: [{path: ops/images, labels: [kvm]}, {path: ops/more, job: teams/images/build}]
jenkins: {job: teams/images/build}
`
)

// newPatient is well: the user has the least rights that the daemon needs.
func newPatient(t *testing.T) *patient {
	t.Helper()
	p := &patient{t: t, config: filepath.Join(t.TempDir(), "config.yaml")}
	p.startJenkins()
	p.startGitLab()
	p.write(patientYAML)
	p.env = map[string]string{
		"AIBUILD_DATA": t.TempDir(), "AIBUILD_DSN": "private", "AIBUILD_GITLAB_SECRET": patientKey,
		"JENKINS_URL": p.jenkins.URL(), "JENKINS_USER": "daemon", "JENKINS_TOKEN": "daemon-c4n4ry-token",
		"GITLAB_URL": p.gitlab.URL(), "GITLAB_TOKEN": p.token(gitlabtest.Token{User: "bot"}),
	}
	return p
}

func (p *patient) write(config string) {
	p.t.Helper()
	if err := os.WriteFile(p.config, []byte(config), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) startJenkins() {
	p.t.Helper()
	user := func(name string, rights ...jenkinstest.Permission) jenkinstest.User {
		u := jenkinstest.User{Name: name, Token: name + "-c4n4ry-token", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}}}
		for _, right := range rights {
			u.Grants = append(u.Grants, jenkinstest.Grant{Permission: right, Path: "teams"})
		}
		return u
	}
	nobody := user("nobody")
	nobody.Grants = nil
	server, err := jenkinstest.Start(jenkinstest.Options{
		QuietPeriod: -1,
		Users: []jenkinstest.User{
			user("daemon", jenkinstest.ItemRead, jenkinstest.ItemBuild, jenkinstest.ItemCancel),
			user("builder", jenkinstest.ItemRead, jenkinstest.ItemBuild), user("reader", jenkinstest.ItemRead), user("blind"), nobody,
		},
		Nodes: []jenkinstest.Node{{Name: "kvm1", Labels: []string{"kvm"}}, {Name: "gpu1", Labels: []string{"gpu"}, Offline: true}},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			p.t.Error(err)
		}
	})
	p.jenkins = server
	p.addJob(jenkinstest.Pipeline, "")
}

func (p *patient) addJob(kind jenkinstest.Kind, label string) {
	p.t.Helper()
	job := jenkinstest.Job{Path: patientJob, Kind: kind, Label: label, Concurrent: true, Command: "true"}
	for _, name := range []string{"AIBUILD_RUN_ID", "AIBUILD_PROJECT", "AIBUILD_REF", "AIBUILD_COMMIT", "AIBUILD_IMAGE", "AIBUILD_FROM"} {
		job.Parameters = append(job.Parameters, jenkinstest.Parameter{Name: name})
	}
	if err := p.jenkins.AddJob(job); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) startGitLab() {
	p.t.Helper()
	server, err := gitlabtest.Start(gitlabtest.Options{AutoDisable: true, Transport: p})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := server.Close(); err != nil {
			p.t.Error(err)
		}
	})
	p.gitlab = server
	members := map[string]gitlabtest.Role{"bot": gitlabtest.Maintainer, "dev": gitlabtest.Developer, "reporter": gitlabtest.Reporter}
	for name := range members {
		if _, err := server.CreateUser(gitlabtest.User{Username: name}); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := server.CreateUser(gitlabtest.User{Username: "stranger"}); err != nil {
		p.t.Fatal(err)
	}
	for _, path := range []string{"ops/images", "ops/more"} {
		if _, err := server.CreateProject(p.t.Context(), gitlabtest.Project{Path: path, Members: members}); err != nil {
			p.t.Fatal(err)
		}
		p.hook(path, gitlabtest.Hook{URL: "https://aibuild.example.org/hooks/gitlab", Token: patientKey})
	}
}

// RoundTrip takes what GitLab delivers.
func (p *patient) RoundTrip(r *http.Request) (*http.Response, error) {
	if p.answer.Load() == 0 {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: int(p.answer.Load()), Body: http.NoBody, Header: http.Header{}, Request: r}, r.Body.Close()
}

func (p *patient) token(t gitlabtest.Token) string {
	p.t.Helper()
	made, err := p.gitlab.CreateToken(t)
	if err != nil {
		p.t.Fatal(err)
	}
	return made.Secret
}

// push pushes a commit, and waits until GitLab has told of it.
func (p *patient) push(path string, times int) {
	p.t.Helper()
	const script = `cd "$0" && git init -q -b main && for i in $(seq "$2"); do
		git -c user.name=tester -c user.email=t@example.com commit -q --allow-empty -m x && git push -q "$1" main; done`
	if out, err := exec.Command("bash", "-ec", script, p.t.TempDir(), p.gitlab.CloneURL(path, p.gitlab.RootToken()), fmt.Sprint(times)).CombinedOutput(); err != nil {
		p.t.Fatalf("push: %v\n%s", err, out)
	}
	if err := p.gitlab.Idle(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// build makes Jenkins' job build once, to its end.
func (p *patient) build() {
	p.t.Helper()
	client := jenkins.Client{URL: p.jenkins.URL(), User: "daemon", Token: "daemon-c4n4ry-token"}
	if _, err := client.Start(p.t.Context(), patientJob, nil); err != nil {
		p.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		builds, err := client.Builds(p.t.Context(), patientJob, 1)
		if err == nil && len(builds) == 1 && !builds[0].Building {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("the build does not end: %+v, %v", builds, err)
		}
	}
}

func (p *patient) fails(kind jenkinstest.FaultKind) {
	p.t.Helper()
	if err := p.jenkins.Fail(jenkinstest.Fault{Kind: kind, N: -1}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) hook(path string, h gitlabtest.Hook) gitlabtest.Hook {
	p.t.Helper()
	made, err := p.gitlab.AddHook(path, h)
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// examine runs the doctor, and gives what is said beside the machine itself.
func (p *patient) examine() []finding {
	p.t.Helper()
	r := call(p.t, p.env, "doctor", "--jenkins", "--gitlab", "-o", "json", "--config", p.config)
	for _, secret := range []string{patientKey, p.env["JENKINS_TOKEN"], p.env["GITLAB_TOKEN"]} {
		if secret != "" && strings.Contains(r.out+r.err, secret) {
			p.t.Errorf("a secret is shown: %s%s", r.out, r.err)
		}
	}
	all := decoded[[]finding](p.t, r.out)
	failed := slices.ContainsFunc(all, func(f finding) bool { return f.Status == bad })
	if (r.code == 1) != failed || r.code > 1 {
		p.t.Errorf("exit status %d of %s%s", r.code, r.out, r.err)
	}
	at := slices.IndexFunc(all, func(f finding) bool { return f.Check == "listen" })
	if at < 0 {
		p.t.Fatalf("no check of the daemon's door: %s%s", r.out, r.err)
	}
	return all[at:]
}

// ask is examine without the program around it, and of one side alone.
func (p *patient) ask(jenkins bool) []finding {
	p.t.Helper()
	w := &world{getenv: func(name string) string { return p.env[name] }}
	var err error
	w.config, err = readConfig(p.config, w.getenv)
	p.must(err)
	d := &doctor{w: w, data: p.env["AIBUILD_DATA"]}
	if jenkins {
		d.jenkins(p.t.Context())
	} else {
		d.gitlab(p.t.Context())
	}
	for _, secret := range []string{patientKey, "c4n4ry", p.env["GITLAB_TOKEN"]} {
		if secret != "" && strings.Contains(told(d.findings), secret) {
			p.t.Errorf("a secret is shown: %s", told(d.findings))
		}
	}
	return d.findings
}

// diseases are what can be wrong with Jenkins, GitLab and between them: each is
// named, and its remedy with it.
var diseases = []struct {
	name   string
	catch  func(*patient)
	status string
	check  string
	found  string
	fix    string
}{
	{"jenkins: wrong token", func(p *patient) { p.env["JENKINS_TOKEN"] = "wrong-c4n4ry" }, bad, "jenkins", "not logged in (status 401)", "make an api token at"},
	{"jenkins: no url", func(p *patient) { p.env["JENKINS_URL"] = "" }, bad, "jenkins", "no url", "as in https://ci.example.org"},
	{"jenkins: no Overall/Read", func(p *patient) { p.asUser("nobody") }, bad, "jenkins", "nobody lacks hudson.model.Hudson.Read", "the permission Overall/Read"},
	{"jenkins: no Job/Read", func(p *patient) { p.asUser("blind") }, bad, "job " + patientJob, "not found (status 404)", "needs Job/Read"},
	{"jenkins: no Job/Build", func(p *patient) { p.asUser("reader") }, bad, "job " + patientJob, "reader lacks hudson.model.Item.Build", "the permission Job/Build"},
	{"jenkins: no Job/Cancel", func(p *patient) { p.build(); p.asUser("builder") }, bad, "job " + patientJob, "builder lacks hudson.model.Item.Cancel", "the permission Job/Cancel"},
	{"jenkins: undeclared parameters", func(p *patient) { p.must(p.jenkins.DropParameters(patientJob, "AIBUILD_RUN_ID", "AIBUILD_FROM")) },
		bad, "job " + patientJob, "does not declare AIBUILD_RUN_ID, AIBUILD_FROM", "add them as string parameters"},
	{"jenkins: no parameters", func(p *patient) { p.must(p.jenkins.DropParameters(patientJob)) },
		bad, "job " + patientJob, "does not declare AIBUILD_RUN_ID, AIBUILD_PROJECT, AIBUILD_REF, AIBUILD_COMMIT, AIBUILD_IMAGE, AIBUILD_FROM", "string parameters"},
	{"jenkins: disabled job", func(p *patient) { p.must(p.jenkins.DisableJob(patientJob, true)) }, bad, "job " + patientJob, "is disabled", "enable it"},
	{"jenkins: a folder", func(p *patient) { p.edit("jenkins: {job: teams/images/build}", "jenkins: {job: teams/images}") }, bad, "job teams/images", "cannot be built", "is it a folder"},
	{"jenkins: no such job", func(p *patient) { p.edit("job: teams/images/build}]", "job: teams/none}]") }, bad, "job teams/none", "not found", "check the job's path"},
	{"jenkins: no job configured", func(p *patient) {
		p.edit("jenkins: {job: teams/images/build}", "")
		p.edit(", job: teams/images/build", "")
	},
		bad, "jenkins", "no job is configured", "set jenkins.job"},
	{"jenkins: no agent", func(p *patient) { p.edit("[kvm]", "[kvm, tpu]") }, bad, "job " + patientJob, "no agent has the label tpu", "give the label to an agent"},
	{"jenkins: no agent of a freestyle job", func(p *patient) { p.addJob(jenkinstest.Freestyle, "tpu") }, bad, "job " + patientJob, "no agent has the label tpu", "correct the label"},
	{"jenkins: agents offline", func(p *patient) { p.edit("[kvm]", "[gpu]") }, bad, "job " + patientJob, "no agent with the label gpu is online: gpu1", "start the agent"},
	{"jenkins: down", func(p *patient) { p.jenkins.GoDown() }, bad, "jenkins", "jenkins is not available (status 503)", "try again"},
	{"jenkins: a proxy without it", func(p *patient) { p.fails(jenkinstest.BadGateway) }, bad, "jenkins", "(status 502)", "cannot reach it"},
	{"jenkins: a login page", func(p *patient) { p.fails(jenkinstest.LoginPage) }, bad, "jenkins", "no header X-Jenkins", "not of a page or a login proxy"},
	{"jenkins: a redirect", func(p *patient) { p.fails(jenkinstest.Redirect) }, bad, "jenkins", "redirects to https://sso.example.org/login", "a proxy wants its own login"},
	{"jenkins: quieting down", func(p *patient) { p.jenkins.QuietDown(true) }, warn, "jenkins", "version", "builds will wait"},

	{"gitlab: wrong token", func(p *patient) { p.env["GITLAB_TOKEN"] = "glpat-wrong" }, bad, "gitlab", "token refused (status 401)", "make a new access token with the scope api"},
	{"gitlab: no token", func(p *patient) { p.env["GITLAB_TOKEN"] = "" }, bad, "gitlab", "no token", "an access token by itself"},
	{"gitlab: scope", func(p *patient) {
		p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "bot", Scopes: []string{"read_api"}})
	},
		bad, "gitlab", "it has read_api, not api", "with the scope api"},
	{"gitlab: token ends soon", func(p *patient) {
		p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "bot", Expires: time.Now().Add(72 * time.Hour)})
	}, warn, "gitlab", "the token ends on 20", "make a new access token"},
	{"gitlab: down", func(p *patient) { p.gitlab.Fail(gitlabtest.Fault{Path: "/api/", Answer: gitlabtest.BadGateway}) }, bad, "gitlab", "(status 502): bad gateway", "try again"},
	{"gitlab: not a member", func(p *patient) { p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "stranger"}) },
		bad, "project ops/more", "404 Project Not Found", "is a member of the project"},
	{"gitlab: role", func(p *patient) { p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "reporter"}) }, bad, "project ops/images", "lower role than Developer", "give it the role Developer"},
	{"gitlab: protected branch", func(p *patient) {
		p.push("ops/images", 1)
		p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "dev"})
	}, bad, "project ops/images", "may not push to the protected branch main", "give it the role Maintainer"},
	{"gitlab: webhooks are not shown", func(p *patient) { p.env["GITLAB_TOKEN"] = p.token(gitlabtest.Token{User: "dev"}) }, warn, "webhook of ops/images", "list webhooks", "the role Maintainer"},
	{"gitlab: git is refused", func(p *patient) {
		p.gitlab.Fail(gitlabtest.Fault{Path: "/ops/more.git/", Answer: gitlabtest.Forbidden})
	},
		bad, "project ops/more", "list the branches of ops/more", "may read the repository"},
	{"gitlab: no such project", func(p *patient) { p.edit("ops/more", "ops/none") }, bad, "project ops/none", "404 Project Not Found", "check the project's path"},
	{"gitlab: spelled otherwise", func(p *patient) { p.edit("ops/more", "Ops/More") }, bad, "project Ops/More", "gitlab calls it ops/more", "webhooks name it like that"},
	{"gitlab: archived", func(p *patient) { p.archive() }, bad, "project ops/more", "it is archived", "unarchive it"},
	{"gitlab: no project", func(p *patient) { p.write("jenkins: {job: teams/images/build}\n") }, warn, "gitlab", "no project is configured", "gitlab.projects"},
	{"webhook: none", func(p *patient) { p.newProject(); p.edit("ops/more", "ops/new") }, bad, "webhook of ops/new", "there is none", "https://aibuild.example.org/hooks/gitlab, push events"},
	{"webhook: elsewhere", func(p *patient) {
		p.newProject(gitlabtest.Hook{URL: "https://u:c4n4ry@chat.example.org/x?key=c4n4ry"})
		p.edit("ops/more", "ops/new")
	}, bad, "webhook of ops/new", "none leads to the daemon, but to https://chat.example.org/x", "Settings, Webhooks"},
	{"webhook: wrong host", func(p *patient) {
		p.newProject(gitlabtest.Hook{URL: "https://old.example.org/hooks/gitlab"})
		p.edit("ops/more", "ops/new")
	}, warn, "webhook of ops/new", "leads to https://old.example.org/hooks/gitlab, and public_url to https://aibuild.example.org", "correct the webhook's url"},
	{"webhook: push events off", func(p *patient) {
		p.newProject(gitlabtest.Hook{URL: "https://aibuild.example.org/hooks/gitlab", Events: []string{"tag_push_events"}})
		p.edit("ops/more", "ops/new")
	}, bad, "webhook of ops/new", "push events are switched off", "webhook settings"},
	{"webhook: wrong secret", func(p *patient) { p.answer.Store(401); p.push("ops/more", 1) }, bad, "webhook of ops/more", "failed: the answer was 401", "enter the same in both"},
	{"webhook: nobody answers", func(p *patient) { p.push("ops/more", 1) }, bad, "webhook of ops/more", "gitlab got no answer (internal error)", "trusts its certificate"},
	{"webhook: disabled", func(p *patient) { p.answer.Store(500); p.push("ops/more", 4) }, bad, "webhook of ops/more", "gitlab has disabled the hook until", "press Test"},
	{"webhook: no secret here", func(p *patient) { p.env["AIBUILD_GITLAB_SECRET"] = "" }, bad, "webhook of ops/more", "no secret is configured", "AIBUILD_GITLAB_SECRET"},
	{"webhook: unreadable secret", func(p *patient) { p.edit("{path: ops/more", "{path: ops/more, secret_files: [/nowhere]") }, bad, "webhook of ops/more", "/nowhere", "readable"},
}

// archive puts a proxy before GitLab that makes all projects archived ones, which
// the stand-in does not know.
func (p *patient) archive() {
	p.t.Helper()
	to, err := url.Parse(p.gitlab.URL())
	p.must(err)
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Header.Set("Accept-Encoding", "identity") },
		ModifyResponse: func(r *http.Response) error {
			if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
				return nil
			}
			text, err := io.ReadAll(r.Body)
			text = bytes.ReplaceAll(text, []byte(`"archived":false`), []byte(`"archived":true`))
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
			r.Header.Del("Content-Length")
			return err
		},
	})
	p.t.Cleanup(proxy.Close)
	p.env["GITLAB_URL"] = proxy.URL
}

func (p *patient) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *patient) asUser(name string) {
	p.env["JENKINS_USER"], p.env["JENKINS_TOKEN"] = name, name+"-c4n4ry-token"
}

func (p *patient) edit(old, new string) {
	p.t.Helper()
	text, err := os.ReadFile(p.config)
	if err != nil || !strings.Contains(string(text), old) {
		p.t.Fatalf("%v: no %q in %s", err, old, text)
	}
	p.write(strings.ReplaceAll(string(text), old, new))
}

// newProject is one with these hooks alone.
func (p *patient) newProject(hooks ...gitlabtest.Hook) {
	p.t.Helper()
	_, err := p.gitlab.CreateProject(p.t.Context(), gitlabtest.Project{Path: "ops/new", Members: map[string]gitlabtest.Role{"bot": gitlabtest.Maintainer}})
	p.must(err)
	for _, h := range hooks {
		p.hook("ops/new", h)
	}
}

func TestDoctorOfTheDaemon(t *testing.T) {
	for _, test := range diseases {
		t.Run(test.name, func(t *testing.T) {
			p := newPatient(t)
			test.catch(p)
			all := p.ask(strings.HasPrefix(test.name, "jenkins:"))
			if !slices.ContainsFunc(all, func(f finding) bool {
				return f.Status == test.status && f.Check == test.check && strings.Contains(f.Found, test.found) && strings.Contains(f.Fix, test.fix)
			}) {
				t.Errorf("not told: %s %s: %s; %s\ntold: %s", test.status, test.check, test.found, test.fix, told(all))
			}
		})
	}
}

func told(all []finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "\n  %s %s: %s; %s", f.Status, f.Check, f.Found, f.Fix)
	}
	return b.String()
}

// Of an installation that is well, nothing else is said.
func TestDoctorOfAHealthyDaemon(t *testing.T) {
	p := newPatient(t)
	t.Cleanup(func() { // its keeper may just be ending it
		dir := p.env["AIBUILD_DATA"]
		err := privatedb.Stop(context.Background(), dir)
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			err = privatedb.Stop(context.Background(), dir)
		}
		if err != nil {
			t.Error(err)
		}
	})
	p.answer.Store(202)
	p.push("ops/images", 1)
	p.build()
	_, err := p.gitlab.CreateProject(t.Context(), gitlabtest.Project{Path: "ops/group", Members: map[string]gitlabtest.Role{"bot": gitlabtest.Developer}})
	p.must(err)
	p.edit("{path: ops/more", "{path: ops/group}, {path: ops/more")
	all := p.examine()
	if slices.ContainsFunc(all, func(f finding) bool { return f.Status != ok && f.Check != "webhook of ops/group" }) {
		t.Errorf("told: %s", told(all))
	}
	for _, says := range []string{"granted: Job/Build, Job/Cancel; there are agents with kvm", "last delivery 20", "can be read by git"} {
		if !strings.Contains(told(all), says) {
			t.Errorf("it does not say %q: %s", says, told(all))
		}
	}

	// A project without a webhook, of which a group's or the instance's tells.
	p.newProject()
	p.edit("ops/group", "ops/new")
	p.received("ops/new", "head") // this one the daemon found out itself
	if all := p.examine(); !strings.Contains(told(all), "fail webhook of ops/new") {
		t.Errorf("told: %s", told(all))
	}
	p.received("ops/new", "push")
	if all := p.examine(); !strings.Contains(told(all), "ok webhook of ops/new: none of its own, but pushes are told") || strings.Contains(told(all), "fail") {
		t.Errorf("told: %s", told(all))
	}
	r := call(t, p.env, "doctor", "--jenkins", "--gitlab", "--config", p.config)
	if r.code != 0 || !strings.Contains(r.out, "job teams/images/build") {
		t.Errorf("doctor = %d\n%s%s", r.code, r.out, r.err)
	}
	p.asUser("reader")
	r = call(t, p.env, "doctor", "--jenkins", "--config", p.config)
	if r.code != 1 || strings.Count(r.out, "ask an administrator of jenkins for the permission Job/Build") != 1 || strings.Contains(r.out, "webhook") {
		t.Errorf("doctor = %d\n%s%s", r.code, r.out, r.err)
	}
}

// received writes what the daemon would, had it been told of a push.
func (p *patient) received(project, event string) {
	p.t.Helper()
	w := &world{stderr: new(strings.Builder), getenv: func(name string) string { return p.env[name] }}
	w.config.getenv = w.getenv
	store, err := w.openStore(p.t.Context(), hclog.NewNullLogger())
	p.must(err)
	_, err = store.AcceptEvents(p.t.Context(), []lineage.HookEvent{{
		Instance: p.gitlab.URL(), Key: event, Event: event, Project: project, Ref: "refs/heads/main",
		Before: strings.Repeat("0", 40), After: strings.Repeat("a", 40), Payload: []byte("{}"), State: lineage.EventPending,
	}})
	p.must(errors.Join(err, w.close()))
}

// certificate writes a pair that ends then.
func certificate(t *testing.T, end time.Time) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-90 * 24 * time.Hour), NotAfter: end, DNSNames: []string{"localhost"}}
	public, err := x509.CreateCertificate(rand.Reader, form, form, secret.Public(), secret)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{"cert": {Type: "CERTIFICATE", Bytes: public}, "key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert"), filepath.Join(dir, "key")
}

// Whether secrets come in clear is told before anybody sends one.
func TestDoctorOfTheDoor(t *testing.T) {
	tests := []struct {
		name, listen string
		tls          time.Duration // left of the certificate; 0: there is none
		status, says string
	}{
		{"loopback", "127.0.0.1:9753", 0, ok, "only this machine"},
		{"loopback by name", "localhost:9753", 0, ok, "only this machine"},
		{"loopback of IPv6", "[::1]:9753", 0, ok, "only this machine"},
		{"default", "", 0, warn, ":9753 without TLS"},
		{"all", "0.0.0.0:9753", 0, warn, "set tls.cert_file"},
		{"all of IPv6", "[::]:9753", 0, warn, "behind a proxy with TLS"},
		{"one of the net", "192.0.2.1:9753", 0, warn, "come in clear"},
		{"no port", "192.0.2.1", 0, bad, "missing port"},
		{"TLS", ":9753", 60 * 24 * time.Hour, ok, "ends on 20"},
		{"TLS that ends soon", ":9753", 24 * time.Hour, warn, "name a certificate"},
		{"TLS that has ended", ":9753", -time.Hour, bad, "ends on 20"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := &world{getenv: func(string) string { return "" }}
			w.config = config{getenv: w.getenv, Listen: test.listen}
			if test.tls != 0 {
				w.config.TLS.CertFile, w.config.TLS.KeyFile = certificate(t, time.Now().Add(test.tls))
			}
			d := &doctor{w: w}
			d.listen(t.Context())
			if len(d.findings) != 1 || d.findings[0].Status != test.status || !strings.Contains(told(d.findings), test.says) {
				t.Errorf("want %s %q; told: %s", test.status, test.says, told(d.findings))
			}
		})
	}
	w := &world{getenv: func(string) string { return "" }}
	w.config = config{getenv: w.getenv}
	w.config.TLS.CertFile, w.config.TLS.KeyFile = "/nowhere/cert", "/nowhere/key"
	d := &doctor{w: w}
	if d.listen(t.Context()); d.failed() != 1 || !strings.Contains(told(d.findings), "/nowhere/cert") {
		t.Errorf("told: %s", told(d.findings))
	}
}

// A git that cannot be kept from fetching by itself is no good for the daemon.
func TestDoctorOfGit(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	env := map[string]string{"AIBUILD_DATA": t.TempDir()}
	for version, want := range map[string]string{
		"git version 2.39.5": ok, "git version 2.39.4": ok, "git version 2.53.0.windows.1": ok, "git version 3.0": ok, "git version 2.40.1 (Apple Git-154)": ok,
		"git version 2.39.3": bad, "git version 2.38.5": bad, "git version 2.9": bad, "git version 1.8.3.1": bad, "what?": bad,
	} {
		if err := os.WriteFile(filepath.Join(dir, "git"), []byte("#!/bin/sh\necho '"+version+"'\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, daemon := range []bool{true, false} {
			set := flag.NewFlagSet("doctor", flag.ContinueOnError)
			set.Bool("gitlab", daemon, "")
			d := &doctor{w: &world{getenv: func(name string) string { return env[name] }}, c: cli.NewContext(nil, set, nil)}
			d.tools(t.Context())
			status := want
			if want == bad && !daemon && version != "what?" {
				status = warn
			}
			at := slices.IndexFunc(d.findings, func(f finding) bool { return f.Check == "git" })
			if at < 0 || d.findings[at].Status != status || status != ok && !strings.Contains(told(d.findings), "install git 2.39.4 or later") {
				t.Errorf("%s, daemon %v: want %s; told: %s", version, daemon, status, told(d.findings))
			}
		}
	}
}
