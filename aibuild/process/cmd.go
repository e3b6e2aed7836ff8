package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Defaults of the zero Cmd.
const (
	defaultGrace   = 10 * time.Second
	defaultCapture = 64 << 10
)

// Cmd is one program to run. Only Path is needed.
type Cmd struct {
	Path string   // name or path; names are looked up with Look
	Args []string // without argv[0]; never put a secret here
	Dir  string   // working directory; empty means the current one

	// Env is the whole environment. Nil means Environ(): what programs need to
	// work, and nothing of aibuild's own configuration.
	Env []string

	Stdin  io.Reader // nil means /dev/null
	Stdout io.Writer // gets redacted output as it comes; may be nil
	Stderr io.Writer // the same; may be the same writer as Stdout only if it is safe for concurrent use

	Timeout    time.Duration // 0 means no limit but ctx's
	Grace      time.Duration // between TERM and KILL; 0 means 10 s
	Secrets    []string      // replaced by *** in captured output, sinks and errors
	MaxCapture int           // bytes kept of each stream, its end; 0 means 64 KiB
	ExtraFiles []*os.File    // become descriptors 3, 4, … (at most 6)
	Log        hclog.Logger  // nil means silence
}

// Result is what a program that has ended left behind.
type Result struct {
	Stdout, Stderr []byte // redacted, at most Cmd.MaxCapture bytes: the end
	ExitCode       int    // -1 when a signal ended it
	Duration       time.Duration
	CPU            time.Duration // user + system, of the program and its reaped children
	MaxRSS         int64         // bytes, the largest single process
}

// ErrNotFound says that a program is not installed.
var ErrNotFound = errors.New("not installed")

// Error is a program that could not be started or ended badly.
type Error struct {
	Program  string   // base name
	Args     []string // redacted
	ExitCode int      // -1: not started, or ended by a signal
	Signal   string   // name of the signal that ended it, or empty
	Stderr   []byte   // redacted end of its stderr
	TimedOut bool     // Cmd.Timeout ran out
	Err      error    // cause: ErrNotFound, the context's error, or the system's
}

// Error gives one line: the program, its first argument, how it ended and the
// last thing it said.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Program)
	if len(e.Args) > 0 && !strings.HasPrefix(e.Args[0], "-") && !strings.Contains(e.Args[0], "/") {
		b.WriteString(" " + e.Args[0])
	}
	switch {
	case e.TimedOut:
		b.WriteString(": ended at its time limit")
	case e.Signal != "":
		b.WriteString(": ended by signal " + e.Signal)
	case e.ExitCode >= 0:
		b.WriteString(": exit status " + strconv.Itoa(e.ExitCode))
	}
	if e.Err != nil && !e.TimedOut {
		b.WriteString(": " + e.Err.Error())
	}
	if last := lastLine(e.Stderr); last != "" {
		b.WriteString(": " + last)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	const limit = 500
	last := strings.TrimSpace(lines[len(lines)-1])
	if len(last) > limit {
		last = last[:limit] + "…"
	}
	return last
}

// Look finds a program by name in PATH and, as services live there, in
// /usr/local/sbin, /usr/sbin and /sbin. A name with a slash is only checked.
func Look(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return filepath.Abs(path)
	}
	if !strings.Contains(name, "/") {
		for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
			if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("program %s: %w", name, ErrNotFound)
}

// Run starts the program and waits for its end.
func (c Cmd) Run(ctx context.Context) (*Result, error) {
	p, err := c.Start(ctx)
	if err != nil {
		return nil, err
	}
	return p.Wait()
}

// watchdog runs the program as "$@" and leaves a process in its group that
// waits for descriptor 9, a pipe whose only writer is us, to close: that is our
// death, however it came. It is a grandchild so that the program never sees it
// as a child of its own.
const watchdog = `((trap "" HUP INT TERM; exec >/dev/null 2>&1; read -r _ <&9; kill -TERM 0
n=$1; while [ "$n" -gt 0 ]; do sleep 1; n=$((n-1)); done; kill -KILL 0) &)
shift; exec 9<&-; exec "$@"`

// Start starts the program and returns at once; the caller must Wait.
func (c Cmd) Start(ctx context.Context) (*Process, error) {
	path, err := Look(c.Path)
	if err != nil {
		return nil, &Error{Program: filepath.Base(c.Path), Args: c.redactedArgs(), ExitCode: -1, Err: err}
	}
	if len(c.ExtraFiles) > 6 {
		return nil, fmt.Errorf("%s: at most 6 extra files can be passed, not %d", c.Path, len(c.ExtraFiles))
	}
	p := &Process{cmd: c, done: make(chan struct{}), started: time.Now()}
	if err := p.launch(path); err != nil {
		return nil, &Error{Program: filepath.Base(path), Args: c.redactedArgs(), ExitCode: -1, Err: err}
	}
	if c.Log != nil {
		c.Log.Debug("started", "program", filepath.Base(path), "pid", p.Pid(), "args", strings.Join(c.redactedArgs(), " "))
	}
	go p.supervise(ctx)
	return p, nil
}

func (c Cmd) redactedArgs() []string {
	args := make([]string, len(c.Args))
	for i, a := range c.Args {
		args[i] = string(Redact([]byte(a), c.Secrets))
	}
	return args
}

func (c Cmd) grace() time.Duration {
	if c.Grace > 0 {
		return c.Grace
	}
	return defaultGrace
}

func (c Cmd) command(path string, pipe *os.File) *exec.Cmd {
	seconds := strconv.Itoa(int(c.grace()/time.Second) + 1)
	cmd := exec.Command("/bin/sh", append([]string{"-c", watchdog, "sh", seconds, path}, c.Args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = c.Dir, c.Env, c.Stdin
	if c.Env == nil {
		cmd.Env = Environ()
	}
	cmd.ExtraFiles = make([]*os.File, 7) // descriptors 3 … 9
	copy(cmd.ExtraFiles, c.ExtraFiles)
	cmd.ExtraFiles[6] = pipe
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}
