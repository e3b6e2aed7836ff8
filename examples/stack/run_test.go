package stack_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// patience is for what must happen soon on a machine that may be busy.
const patience = 2 * time.Minute

// stack runs the script on one state folder.
type stack struct {
	t      *testing.T
	script string
	dir    string
	prefix []string // a command that runs the script as somebody else

	unowned bool // do not bind the stack to the test's own process
}

// newStack has an empty state folder, and ends what runs there when the test ends.
func newStack(t *testing.T) *stack {
	t.Helper()
	script, err := filepath.Abs("stack")
	if err != nil {
		t.Fatal(err)
	}
	return purged(&stack{t: t, script: script, dir: filepath.Join(t.TempDir(), "state")})
}

// purged registers the end of the stack; folders that it needs must be registered before.
func purged(s *stack) *stack {
	s.t.Cleanup(func() {
		if r := s.try("down", "--purge"); r.code != 0 {
			s.t.Errorf("down --purge: exit code %d: %s", r.code, r.stderr)
		}
	})
	return s
}

type result struct {
	stdout, stderr string
	code           int
}

// try runs a command of the script; only a script that cannot be run at all ends the test.
func (s *stack) try(args ...string) result {
	s.t.Helper()
	argv := append(append([]string{}, s.prefix...), s.script, "--state", s.dir)
	if len(args) > 0 && args[0] == "up" && !s.unowned {
		argv = append(argv, "up", "--while", strconv.Itoa(os.Getpid())) // a test that is killed cleans up nothing
		args = args[1:]
	}
	argv = append(argv, args...)
	cmd := process.Cmd{Path: argv[0], Args: argv[1:], Timeout: 3 * time.Minute}
	got, err := cmd.Run(context.Background())
	var failed *process.Error
	if err != nil && (!errors.As(err, &failed) || failed.ExitCode < 0) {
		s.t.Fatalf("stack %s: %v", strings.Join(args, " "), err)
	}
	if failed != nil {
		return result{string(got.Stdout), string(got.Stderr), failed.ExitCode}
	}
	return result{stdout: string(got.Stdout), stderr: string(got.Stderr)}
}

// must runs a command that has to succeed.
func (s *stack) must(args ...string) string {
	s.t.Helper()
	r := s.try(args...)
	if r.code != 0 {
		s.t.Fatalf("stack %s: exit code %d\n%s%s", strings.Join(args, " "), r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// env is what "stack env" exports.
func (s *stack) env() map[string]string {
	s.t.Helper()
	env := map[string]string{}
	for line := range strings.Lines(s.must("env")) {
		name, value, found := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
		if !found {
			s.t.Fatalf("env: not an assignment: %q", line)
		}
		env[name] = strings.Trim(value, "'")
	}
	return env
}

// proc is a process as a pid file names it.
type proc struct {
	name  string
	pid   int
	start string
}

func (p proc) alive() bool { return process.Alive(p.pid, p.start) }

// procs are the recorded processes, the supervisor among them, by service.
func (s *stack) procs() map[string]proc {
	s.t.Helper()
	files, err := filepath.Glob(filepath.Join(s.dir, "run", "*.pid"))
	if err != nil {
		s.t.Fatal(err)
	}
	found := map[string]proc{}
	for _, file := range append(files, filepath.Join(s.dir, "supervisor", "pid")) {
		text, err := os.ReadFile(file)
		if err != nil {
			s.t.Fatal(err)
		}
		fields := strings.Fields(string(text))
		if len(fields) != 3 {
			s.t.Fatalf("%s holds %q, want pid, start time and boot id", file, text)
		}
		pid, err := strconv.Atoi(fields[0])
		if err != nil {
			s.t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".pid")
		if name == "pid" {
			name = "supervisor"
		}
		found[name] = proc{name, pid, fields[1]}
	}
	return found
}

// gone waits until none of the processes runs.
func gone(t *testing.T, procs map[string]proc) {
	t.Helper()
	for _, p := range procs {
		eventually(t, p.name+" has ended", func() bool { return !p.alive() })
	}
}

// eventually polls until good answers true.
func eventually(t *testing.T, what string, good func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !good(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
		<-time.After(50 * time.Millisecond)
	}
}
