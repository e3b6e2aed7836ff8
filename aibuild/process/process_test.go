package process_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/guestos/aibuild/aibuild/process"
)

// TestMain lets the test binary play a caller that is killed: with
// AIBUILD_TEST_CALLER set it starts a stubborn program and waits to die.
func TestMain(m *testing.M) {
	if pidFile := os.Getenv("AIBUILD_TEST_CALLER"); pidFile != "" {
		p, err := process.Cmd{Path: "sh", Args: []string{"-c", `sleep 300 & echo "$$ $!" >"$0.new"; mv "$0.new" "$0"; wait`, pidFile}, Grace: time.Second}.Start(context.Background())
		if err != nil {
			os.Exit(9)
		}
		<-p.Done()
		os.Exit(8)
	}
	goleak.VerifyTestMain(m)
}

func run(t *testing.T, c process.Cmd) (*process.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return c.Run(ctx)
}

func sh(script string) process.Cmd {
	return process.Cmd{Path: "sh", Args: []string{"-c", script}}
}

func TestRunGivesOutputAndUsage(t *testing.T) {
	res, err := run(t, sh("echo out; echo err >&2"))
	if err != nil {
		t.Fatal(err)
	}
	if string(res.Stdout) != "out\n" || string(res.Stderr) != "err\n" || res.ExitCode != 0 {
		t.Errorf("Run = %q, %q, %d; want out, err, 0", res.Stdout, res.Stderr, res.ExitCode)
	}
	if res.MaxRSS <= 0 || res.Duration <= 0 {
		t.Errorf("usage = %d bytes, %v; want both above 0", res.MaxRSS, res.Duration)
	}
}

func TestErrorSaysHowItEnded(t *testing.T) {
	tests := []struct {
		name string
		cmd  process.Cmd
		want string
	}{
		{"status", sh("echo one >&2; echo two >&2; exit 3"), "sh: exit status 3: two"},
		{"signal", sh("kill -9 $$"), "sh: ended by signal killed"},
		{"time limit", process.Cmd{Path: "sleep", Args: []string{"60"}, Timeout: 50 * time.Millisecond}, "sleep 60: ended at its time limit"},
		{"absent", process.Cmd{Path: "no-such-program-here"}, "no-such-program-here: program no-such-program-here: not installed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := run(t, tt.cmd)
			var e *process.Error
			if !errors.As(err, &e) || err.Error() != tt.want {
				t.Errorf("Run = %v; want %s", err, tt.want)
			}
		})
	}
	_, err := run(t, process.Cmd{Path: "no-such-program-here"})
	if !errors.Is(err, process.ErrNotFound) {
		t.Errorf("Run = %v; want ErrNotFound", err)
	}
}

func TestCancelEndsTheWholeGroup(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	ctx, cancel := context.WithCancel(context.Background())
	c := process.Cmd{Path: "sh", Args: []string{"-c", `trap "" TERM; sleep 300 & echo "$$ $!" >"$0.new"; mv "$0.new" "$0"; wait; wait`, pids}, Grace: 100 * time.Millisecond}
	p, err := c.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	children := readPids(t, pids)
	cancel()
	if _, err := p.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v; want context.Canceled", err)
	}
	gone(t, children)
}

func TestStopAsksFirst(t *testing.T) {
	p, err := sh(`trap "echo bye; exit 0" TERM; echo ready; while :; do sleep 0.05; done`).Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	res, err := p.Wait()
	// TERM may come before the trap is set; both ends are clean.
	if err == nil && !strings.HasSuffix(string(res.Stdout), "bye\n") {
		t.Errorf("Stop: output %q; want bye", res.Stdout)
	}
}

func TestNothingOutlivesAProgram(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	start := time.Now()
	res, err := run(t, process.Cmd{Path: "sh", Args: []string{"-c", `sleep 300 & echo "$$ $!" >"$0"`, pids}})
	if err != nil {
		t.Fatal(err)
	}
	if time.Since(start) > 30*time.Second {
		t.Errorf("Run waited for a left-over that holds its output: %v", res.Duration)
	}
	gone(t, readPids(t, pids))
}

// A caller that gets kill -9 cannot clean up; the watchdog does.
func TestKilledCallerLeavesNoOrphan(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	caller := exec.Command(self)
	caller.Env = append(os.Environ(), "AIBUILD_TEST_CALLER="+pids)
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	children := readPids(t, pids)
	if err := caller.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = caller.Wait() // it was killed: that is the error
	gone(t, children)
}

func TestSecretsAreRedactedEverywhere(t *testing.T) {
	const secret = "hunter2-canary"
	key := "-----BEGIN KEY-----\nabcdefghijklmnop\n-----END KEY-----"
	var sink bytes.Buffer
	c := sh(`printf hunter2; sleep 0.2; printf -- '-canary abcdefghijklmnop\n'; echo ` + secret + ` >&2; exit 1`)
	c.Secrets, c.Stdout = []string{secret, key, "", "x"}, &sink
	_, err := run(t, c)
	var e *process.Error
	if !errors.As(err, &e) {
		t.Fatalf("Run = %v; want *Error", err)
	}
	for name, text := range map[string]string{"error": err.Error(), "sink": sink.String(), "stderr": string(e.Stderr), "args": strings.Join(e.Args, " ")} {
		if strings.Contains(text, secret) || strings.Contains(text, "abcdefghijklmnop") {
			t.Errorf("%s holds a secret: %s", name, text)
		}
	}
	if sink.String() != "*** ***\n" {
		t.Errorf("sink = %q; want the masks", sink.String())
	}
}

func TestCaptureKeepsTheEnd(t *testing.T) {
	c := sh(`head -c 300000 /dev/zero | tr '\0' a; printf END`)
	c.MaxCapture = 1000
	res, err := run(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stdout) != 1000 || !bytes.HasSuffix(res.Stdout, []byte("aEND")) {
		t.Errorf("captured %d bytes ending %q; want 1000 ending aEND", len(res.Stdout), res.Stdout[max(0, len(res.Stdout)-4):])
	}
}

func TestEnvironHidesOurConfiguration(t *testing.T) {
	for _, key := range []string{"AIBUILD_DSN", "OS_PASSWORD", "JENKINS_TOKEN", "GITLAB_TOKEN", "MYSQL_PWD", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(key, "canary")
	}
	t.Setenv("LC_ALL", "C.UTF-8")
	c := sh("env")
	c.Env = process.Environ("EXTRA=1")
	res, err := run(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(res.Stdout, []byte("canary")) {
		t.Errorf("the program saw our configuration:\n%s", res.Stdout)
	}
	for _, want := range []string{"EXTRA=1", "LC_ALL=C.UTF-8", "PATH="} {
		if !bytes.Contains(res.Stdout, []byte(want)) {
			t.Errorf("environment lacks %s:\n%s", want, res.Stdout)
		}
	}
}

func TestExtraFilesAndStdin(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c := sh("cat; echo to-three >&3")
	c.Stdin, c.ExtraFiles = strings.NewReader("in "), []*os.File{w}
	res, err := run(t, c)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	three := make([]byte, 64)
	n, _ := r.Read(three)
	r.Close()
	if string(res.Stdout) != "in " || string(three[:n]) != "to-three\n" {
		t.Errorf("stdin, fd 3 = %q, %q; want both passed", res.Stdout, three[:n])
	}
}

func TestDetachOutlivesTheCall(t *testing.T) {
	pid, err := process.Detach(process.Cmd{Path: "sleep", Args: []string{"300"}})
	if err != nil {
		t.Fatal(err)
	}
	start, err := process.StartTime(pid)
	if err != nil || !process.Alive(pid, start) || process.Alive(pid, "1") {
		t.Errorf("StartTime, Alive of a running program = %q, %v", start, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, []int{pid})
}

func readPids(t *testing.T, path string) []int {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		b, err := os.ReadFile(path)
		if err == nil && bytes.HasSuffix(b, []byte("\n")) {
			var pids []int
			for _, f := range strings.Fields(string(b)) {
				pid, err := strconv.Atoi(f)
				if err != nil {
					t.Fatal(err)
				}
				pids = append(pids, pid)
			}
			return pids
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s was not written: %v", path, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		for deadline := time.Now().Add(30 * time.Second); ; {
			if _, err := process.StartTime(pid); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("process %d still runs", pid)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}
