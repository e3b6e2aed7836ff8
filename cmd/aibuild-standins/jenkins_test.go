package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// asProgram makes the test binary the program.
const asProgram = "STANDINS_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// program is a stand-in that runs.
type program struct {
	*process.Process
	stdin *os.File
	ready map[string]string
}

// start runs a stand-in until it says that it is ready.
func start(t *testing.T, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in, stdin, err := os.Pipe() // a file, as os/exec waits for the end of everything else
	if err != nil {
		t.Fatal(err)
	}
	out, stdout := io.Pipe()
	p, err := process.Cmd{Path: self, Args: args, Env: process.Environ(asProgram+"=1", "CANARY=sings"), Stdin: in, Stdout: stdout}.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // the program has its own
	t.Cleanup(func() {
		_ = stdin.Close() // closed already, where a test did
		if err := p.Stop(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	go func() { <-p.Done(); _ = stdout.Close() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		result, runErr := p.Wait()
		t.Fatalf("%v: %v: %s", err, runErr, result.Stderr)
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // until it is closed
	ready := map[string]string{}
	if err := json.Unmarshal([]byte(line), &ready); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	return &program{p, stdin, ready}
}

// request sends one, as the user of the stand-in.
func (p *program) request(t *testing.T, method, path, token string) (int, string) {
	t.Helper()
	return p.send(t, method, path, token, "")
}

// send is request with XML as its body.
func (p *program) send(t *testing.T, method, path, token, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, p.ready["url"]+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/xml")
	r.SetBasicAuth(p.ready["user"], token)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestJenkins: a job of a file runs with its parameters and the variables that it may see; SIGTERM ends it all.
func TestJenkins(t *testing.T) {
	script := write(t, "build", "#!/bin/sh\necho \"$AIBUILD_RUN_ID $AIBUILD_FROM $CANARY $STANDINS_AS_PROGRAM.\"; exit 3\n")
	more := write(t, "jobs.json", `[{"Path":"more","Kind":"pipeline","Command":"true","Parameters":[{"Name":"C","Type":"choice","Choices":["1"]}]}]`)
	home := filepath.Join(t.TempDir(), "home")
	p := start(t, "jenkins", "--home", home, "--profile", "2.300", "--job", "aibuild/build="+script, "--parameter", "AIBUILD_RUN_ID",
		"--parameter", "AIBUILD_FROM=build", "--unstable-return", "3", "--env", "CANARY", "--jobs", more, "--node", "agent:kvm,big:3")
	token := p.ready["token"]
	if code, body := p.request(t, "POST", "/job/aibuild/job/build/buildWithParameters?AIBUILD_RUN_ID=r1", token); code != 201 {
		t.Fatalf("trigger: %d %s", code, body)
	}
	const document = "/job/aibuild/job/build/1/api/json?tree=result"
	deadline := time.Now().Add(20 * time.Second)
	for {
		if code, body := p.request(t, "GET", document, token); code == 200 && strings.Contains(body, `"result":"UNSTABLE"`) {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the build: %d %s", code, body)
		}
		time.Sleep(10 * time.Millisecond)
	}
	if _, log := p.request(t, "GET", "/job/aibuild/job/build/1/consoleText", token); !strings.Contains(log, "\nr1 build sings .\n") {
		t.Error(log)
	}
	for path, want := range map[string]string{
		"/api/json?tree=jobs[name]": `"name":"more"`, "/label/kvm/api/json?tree=totalExecutors": `"totalExecutors":3`,
		"/stand-in/posts?job=aibuild/build": `{"posts":1}`,
	} {
		if code, body := p.request(t, "GET", path, token); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if p.ready["control"] != p.ready["url"]+"/stand-in/" {
		t.Errorf("%v", p.ready)
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if result, err := p.Wait(); err != nil || result.ExitCode != 0 {
		t.Errorf("%v: %s", err, result.Stderr)
	}
	p = start(t, "jenkins", "--home", home)
	if code, body := p.request(t, "GET", document, token); code != 200 || !strings.Contains(body, "UNSTABLE") {
		t.Errorf("with the same home: %d %s", code, body)
	}
}

// TestAdopt: a pipeline that somebody makes while it runs has a command.
func TestAdopt(t *testing.T) {
	p := start(t, "jenkins", "--adopt", write(t, "run", "cat \"$PIPELINE_SCRIPT\"; exit 3\n"), "--unstable-return", "3")
	token := p.ready["token"]
	const job = `<flow-definition><properties/><definition class="org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"><script>echo 'made'</script></definition></flow-definition>`
	if code, body := p.send(t, "POST", "/createItem?name=made", token, job); code != 200 {
		t.Fatalf("createItem: %d %s", code, body)
	}
	if code, body := p.request(t, "POST", "/job/made/build", token); code != 201 {
		t.Fatalf("trigger: %d %s", code, body)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, log := p.request(t, "GET", "/job/made/1/consoleText", token)
		if strings.Contains(log, "\necho 'made'") && strings.HasSuffix(log, "Finished: UNSTABLE\n") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the build says\n%s", log)
		}
	}
}

// TestEnds: a stand-in goes when its standard input or its folder does.
func TestEnds(t *testing.T) {
	state := t.TempDir()
	for name, test := range map[string]struct {
		args []string
		end  func(*program) error
	}{
		"stdin": {[]string{"jenkins", "--stdin"}, func(p *program) error { return p.stdin.Close() }},
		"state": {[]string{"jenkins", "--state", state}, func(*program) error { return os.RemoveAll(state) }},
	} {
		p := start(t, test.args...)
		select {
		case <-p.Done():
			t.Errorf("%s: it ends by itself", name)
		case <-time.After(500 * time.Millisecond):
		}
		if err := test.end(p); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it goes on", name)
		}
		if result, err := p.Wait(); err != nil {
			t.Errorf("%s: %v: %s", name, err, result.Stderr)
		}
	}
}

// TestToken: a token of one's own is not printed.
func TestToken(t *testing.T) {
	p := start(t, "jenkins", "--user", "me", "--token-file", write(t, "token", "hush\n"))
	if code, _ := p.request(t, "GET", "/api/json", "hush"); code != 200 || p.ready["token"] != "" || p.ready["user"] != "me" {
		t.Errorf("%d %v", code, p.ready)
	}
}

// TestUsage: what is wrong on the command line is exit code 2, what cannot start 1.
func TestUsage(t *testing.T) {
	empty := write(t, "empty", "")
	for _, row := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "say which one"}, {"hudson", 2, "say which one"}, {"jenkins --nope", 2, "nope"}, {"jenkins word", 2, "no arguments"},
		{"jenkins --job x", 2, "PATH=COMMANDFILE"}, {"jenkins --job x=/no/such/file", 2, "no such file"}, {"jenkins --node :a", 2, "NAME:LABEL"},
		{"jenkins --node a:b:0", 2, "from 1"}, {"jenkins --env NO_SUCH_VARIABLE", 2, "no such variable"}, {"jenkins --token-file " + empty, 2, "empty"},
		{"jenkins --jobs " + empty, 2, "EOF"}, {"jenkins --profile 1.0", 1, "no profile"}, {"jenkins --listen nowhere:x", 1, "listen tcp"},
		{"jenkins --job a//b=" + empty, 1, "folder/job"}, {"jenkins --help", 0, "-quiet-period"},
	} {
		var stderr strings.Builder
		code := run(world{strings.NewReader(""), io.Discard, &stderr}, strings.Fields(row.args))
		if code != row.code || !strings.Contains(stderr.String(), row.says) {
			t.Errorf("%q: %d %s", row.args, code, stderr.String())
		}
	}
}
