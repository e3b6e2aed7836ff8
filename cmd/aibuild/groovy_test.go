package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// agent is a machine of Jenkins': it runs Jenkinsfiles under Debian's Groovy, which has the version of Jenkins' own, with
// the real library and the real program.
type agent struct {
	*person
	workspace   string
	credentials string // a file for each
	env         []string
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	p := newPerson(t)
	a := &agent{person: p, workspace: filepath.Join(t.TempDir(), "workspace"), credentials: t.TempDir()}
	a.secret("aibuild-dsn", p.lab.env["AIBUILD_DSN"])
	clouds, err := os.ReadFile(p.lab.env["OS_CLIENT_CONFIG_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	a.secret("aibuild-clouds", string(clouds))
	if err := os.MkdirAll(a.workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *agent) secret(id, text string) {
	a.t.Helper()
	placed(a.t, filepath.Join(a.credentials, id), text)
}

// ended is how a build ended, as run.groovy tells it.
type ended struct {
	File        string           `json:"file"`
	Result      string           `json:"result"`
	Error       string           `json:"error"`
	Description string           `json:"description"`
	MS          int64            `json:"ms"`
	Events      []map[string]any `json:"events"`
}

// of are the events of one step.
func (e ended) of(step string) (found []map[string]any) {
	for _, event := range e.Events {
		if event["step"] == step {
			found = append(found, event)
		}
	}
	return found
}

func repository() string {
	path, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return path
}

// jenkinsfile is what one build runs; env changes the environment of it and of those after it.
type jenkinsfile struct {
	script string
	env    []string
}

// groovy runs Jenkinsfiles one after the other, each as a build of its own.
func (a *agent) groovy(scripts ...string) (console string, builds []ended) {
	a.t.Helper()
	var files []jenkinsfile
	for _, script := range scripts {
		files = append(files, jenkinsfile{script: script})
	}
	return a.runs(files...)
}

func (a *agent) runs(files ...jenkinsfile) (console string, builds []ended) {
	a.t.Helper()
	cmd, events := a.command(files...)
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(events)
	if readErr != nil {
		a.t.Fatalf("groovy: %v, %v\n%s", err, readErr, out)
	}
	if err := json.Unmarshal(text, &builds); err != nil || len(builds) != len(files) {
		a.t.Fatalf("groovy: %v: %s\n%s", err, text, out)
	}
	a.keepsSecrets(string(out))
	return string(out), builds
}

// keepsSecrets looks for what is bound to steps.
func (a *agent) keepsSecrets(console string) {
	a.t.Helper()
	for _, name := range []string{"aibuild-dsn", "aibuild-token"} {
		secret, err := os.ReadFile(filepath.Join(a.credentials, name))
		if err == nil && len(secret) > 0 && strings.Contains(console, strings.TrimSpace(string(secret))) {
			a.t.Errorf("the console shows the credential %s", name)
		}
	}
}

// command is Jenkins' part of builds: a program that writes what became of them to a file.
func (a *agent) command(files ...jenkinsfile) (cmd *exec.Cmd, events string) {
	a.t.Helper()
	dir := a.t.TempDir()
	events = filepath.Join(dir, "events.json")
	args := []string{"--credentials", a.credentials, "--events", events}
	for i, f := range files {
		file := filepath.Join(dir, fmt.Sprintf("Jenkinsfile%d", i))
		placed(a.t, file, f.script)
		for _, variable := range f.env {
			args = append(args, "--env", variable)
		}
		args = append(args, file)
	}
	program := a.program()
	cmd = exec.Command(filepath.Join(repository(), "jenkins/test/run"), args...)
	cmd.Env = append([]string{
		"PATH=" + filepath.Dir(program) + ":" + os.Getenv("PATH"), "HOME=" + a.data, "TMPDIR=" + os.TempDir(), "AIBUILD_DATA=" + a.data, "WORKSPACE=" + a.workspace,
		"AIBUILD_WEB_ROOT=" + a.lab.env["AIBUILD_WEB_ROOT"], "AIBUILD_WEB_URL=" + a.lab.env["AIBUILD_WEB_URL"],
		"JENKINS_URL=http://jenkins.example/", "JOB_NAME=images/x", "BUILD_NUMBER=7", "BUILD_TAG=jenkins-images-x-7", "BUILD_URL=http://jenkins.example/job/images/job/x/7/",
	}, a.env...)
	cmd.Dir = a.workspace
	return cmd, events
}

// image puts a definition that builds quickly into the workspace.
func (a *agent) image(name, folder string, change func(string) string) {
	a.t.Helper()
	dir := quick(a.t, name, change)
	to := filepath.Join(a.workspace, folder)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, ".git")); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(dir, to); err != nil {
		a.t.Fatal(err)
	}
}

// commit commits all, twice the same repository too.
func (a *agent) commit() { a.t.Helper(); git(a.t, a.workspace) }

const withDSN = `databaseCredentialsId: 'aibuild-dsn'`

// literal is a text as Groovy's sources have it.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`).Replace(text) + "'"
}

func example(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository(), "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestGroovyWithoutADaemon: the declarative example, in a workspace whose path and whose folders no shell likes.
func TestGroovyWithoutADaemon(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.workspace = filepath.Join(t.TempDir(), "a work space "+strings.Repeat("long ", 30)+"ü$(touch pwned)`id`")
	nasty := "images/it's $HOME \"ü\" `id` $(touch pwned)"
	a.image("groovy-nodaemon", nasty, nil)
	a.commit()
	script := strings.ReplaceAll(example(t, "Jenkinsfile.nodaemon"), "'images/debian-12'", literal(nasty))
	console, builds := a.groovy(script)
	if builds[0].Result != "SUCCESS" {
		t.Fatalf("%s: %s\n%s", builds[0].Result, builds[0].Error, tailOf(console))
	}
	img := a.show("groovy-nodaemon")
	if img["state"] != lineage.StateReleased || img["dirty"] == true {
		t.Errorf("the image is %v, dirty %v", img["state"], img["dirty"])
	}
	run := decoded[map[string]any](t, a.must(0, "runs", "show", img["image_uuid"].(string), "-o", "json").out)
	if run["state"] != lineage.RunSuccess || run["jenkins_job"] != "images/x" || run["jenkins_build"] != 7.0 {
		t.Errorf("the run: %v", run)
	}
	bound := map[string]string{}
	for _, sh := range builds[0].of("sh") {
		bound[sh["command"].(string)] += fmt.Sprint(sh["bound"])
		if text := sh["script"].(string); text != `"${AIBUILD_BIN:-aibuild}" $AIBUILD_COMMAND` {
			t.Errorf("the shell gets %q", text)
		}
	}
	for command, want := range map[string]string{"build": "[]", "test": "[]", "publish": "[aibuild-dsn]", "release": "[aibuild-dsn aibuild-clouds]", "runs open": "[aibuild-dsn]"} {
		if bound[command] != want {
			t.Errorf("bound to %s: %s, want %s", command, bound[command], want)
		}
	}
	if junit := builds[0].of("junit"); len(junit) != 2 || junit[1]["cases"].(float64) < 10 || junit[1]["bad"] != 0.0 {
		t.Errorf("test reports: %v", junit)
	}
	var kept []string
	for _, event := range builds[0].of("archiveArtifacts") {
		for _, file := range event["files"].([]any) {
			kept = append(kept, file.(string))
		}
	}
	for _, want := range []string{"aibuild-out/archive/manifest.json", "aibuild-out/build-result.json", "aibuild-out/test-result.json"} {
		if !slices.Contains(kept, want) {
			t.Errorf("not archived: %s; kept %v", want, kept)
		}
	}
	if strings.Contains(strings.Join(kept, " "), ".qcow2") {
		t.Errorf("the image itself is archived: %v", kept)
	}
	if found, err := filepath.Glob(filepath.Join(filepath.Dir(a.workspace), "*", "pwned")); err != nil || len(found) > 0 {
		t.Errorf("a name was run by a shell: %v %v", found, err)
	}
}

// TestGroovyFailures: each failure ends as it should, with the program's own words.
func TestGroovyFailures(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	a.image("groovy-bad-test", "bad-test", nil)
	placed(t, filepath.Join(a.workspace, "bad-test/tests/hello.sh"), "#!/bin/sh\necho the reason why\nexit 1\n")
	a.image("groovy-bad-build", "bad-build", nil)
	spy := `"provisioners": [], "post-processors": [{"type": "shell-local", "inline": ["echo SEEN: $(env | grep -ciE 'aibuild_(dsn|token|server)|os_client')", "exit 9"]}],`
	template := filepath.Join(a.workspace, "bad-build/quick.json")
	text, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	placed(t, template, strings.Replace(string(text), `"builders":`, spy+` "builders":`, 1))
	a.image("groovy-invalid", "invalid", func(yaml string) string { return strings.Replace(yaml, "test:", "tset:", 1) })
	a.commit()
	for _, name := range []string{"bad-test/tests/hello.sh"} {
		if err := os.Chmod(filepath.Join(a.workspace, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	build := func(dir, more string) string {
		return "node('kvm') { aibuildOpen(dir: '" + dir + "', " + withDSN + "); aibuildBuild(dir: '" + dir + "', run: 'aibuild-out/run.json', " + withDSN + "); " + more + "; aibuildRecord(" + withDSN + ") }"
	}
	tests := `aibuildTest(run: 'aibuild-out/run.json', ` + withDSN
	cases := []struct{ name, script, result, says string }{
		{"a test that fails", build("bad-test", tests+")"), "UNSTABLE", ""},
		{"a test that fails, by choice a failure", build("bad-test", tests+", onTestFailure: 'FAILURE')"), "FAILURE", "the reason why"},
		{"a build that fails", build("bad-build", "echo 'not here'"), "FAILURE", "build failed: "},
		{"a definition that is wrong", build("invalid", ""), "FAILURE", `unknown key "tset"`},
		{"a missing credential", "aibuildGate(image: 'x', databaseCredentialsId: 'nowhere')", "FAILURE", "Could not find credentials entry with ID 'nowhere'"},
		{"an unknown option", "aibuildTest(imagee: 'x')", "FAILURE", "there is no option imagee"},
		{"no image", "aibuildPublish(" + withDSN + ")", "FAILURE", "needs to know which image"},
		{"no program", "aibuildGate(image: 'x', aibuild: '/nowhere/aibuild', " + withDSN + ")", "FAILURE", "aibuild is not installed on this agent"},
		{"the gate, of nothing", "aibuildGate(image: 'groovy-nothing', " + withDSN + ")", "FAILURE", "groovy-nothing"},
		{"the gate, asked", "echo 'gate ' + aibuildGate(image: 'groovy-bad-test', fail: false, " + withDSN + ")", "SUCCESS", ""},
		{"what no shell may see", "aibuildGate(image: " + literal("it's $HOME \"ü\" `id`\n$(touch pwned)") + ", " + withDSN + ")", "FAILURE", "`id`"},
		{"a cell that there is not", "aibuildTest(image: 'groovy-bad-test', dir: 'bad-test', cells: [" + literal("b\ni`os") + ", " + literal("$HOME") + "], " + withDSN + ")", "FAILURE", "i`os"},
		{"a folder that means something to Jenkins", "aibuildBuild(out: 'a,b')", "FAILURE", "without commas"},
		{"the gate, shut", "aibuildGate(image: 'groovy-bad-test', published: true, " + withDSN + ")", "FAILURE", "its tests have passed"},
	}
	var scripts []string
	for _, c := range cases {
		scripts = append(scripts, c.script)
	}
	console, builds := a.groovy(scripts...)
	for i, c := range cases {
		if b := builds[i]; b.Result != c.result || !strings.Contains(b.Error, c.says) {
			t.Errorf("%s: %s %q, want %s with %q", c.name, b.Result, b.Error, c.result, c.says)
		}
	}
	if unstable := builds[0].of("unstable"); len(unstable) != 1 || !strings.Contains(unstable[0]["message"].(string), "the reason why") {
		t.Errorf("unstable: %v", unstable)
	}
	if !strings.Contains(console, "SEEN: 0") {
		t.Errorf("what a template's shell-local sees of the secrets:\n%s", grepped(console, "SEEN"))
	}
	if !strings.Contains(console, "gate false") {
		t.Error("the gate that is only asked does not answer")
	}
	states := a.lab.sql(t, "SELECT GROUP_CONCAT(state ORDER BY seq) FROM run WHERE image = 'groovy-bad-test'")
	if strings.TrimSpace(states) != "unstable,unstable,failure" {
		t.Errorf("runs of the failing test: %s", states)
	}
	if got := strings.TrimSpace(a.lab.sql(t, "SELECT state FROM run WHERE image = 'groovy-bad-build'")); got != lineage.RunFailure {
		t.Errorf("the run of the failing build: %s", got)
	}
}

func grepped(text, word string) string {
	var lines []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// TestGroovyChanged: the matrix finds what a commit changes.
func TestGroovyChanged(t *testing.T) {
	t.Parallel()
	a := newAgent(t)
	for _, name := range []string{"one", "two"} {
		a.image("groovy-"+name, "images/"+name, nil)
	}
	a.commit()
	placed(t, filepath.Join(a.workspace, "images/two/tests/hello.sh"), "#!/bin/sh\necho changed\n")
	script := `cd "$0" && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm second`
	if out, err := exec.Command("bash", "-ec", script, a.workspace).CombinedOutput(); err != nil {
		t.Fatalf("git: %v\n%s", err, out)
	}
	console, builds := a.groovy(`List l = aibuildChanged(base: 'HEAD~1'); for (i in l) { echo "CHANGED ${i.image} in ${i.folder} from ${i.from}" }`, `aibuildChanged(base: 'no-such-commit')`)
	if builds[0].Result != "SUCCESS" || strings.Count(console, "CHANGED") != 1 || !strings.Contains(console, "CHANGED groovy-two in images/two from test") {
		t.Errorf("%s %s\n%s", builds[0].Result, builds[0].Error, tailOf(console))
	}
	if builds[1].Result != "FAILURE" || !strings.Contains(builds[1].Error, "no-such-commit") {
		t.Errorf("of a commit that there is not: %+v", builds[1])
	}
}
