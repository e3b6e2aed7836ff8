package process

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Process is a program that was started. All methods may be called at any time
// and from several goroutines.
type Process struct {
	cmd     Cmd
	exec    *exec.Cmd
	alive   *os.File // its closing wakes the watchdog; nothing is ever written
	started time.Time

	outR, errR     *os.File
	stdout, stderr *capture
	copies         sync.WaitGroup

	done   chan struct{}
	result *Result
	err    error
}

// launch starts the program with pipes of our own: os/exec's would keep Wait
// from returning for as long as any grandchild holds them.
func (p *Process) launch(path string) error {
	watch, alive, err := os.Pipe()
	if err != nil {
		return err
	}
	defer watch.Close()
	p.exec, p.alive = p.cmd.command(path, watch), alive
	p.stdout, p.stderr = newCapture(p.cmd, p.cmd.Stdout), newCapture(p.cmd, p.cmd.Stderr)
	outW, err := p.pipe(&p.outR, p.stdout)
	if err != nil {
		return errors.Join(err, alive.Close())
	}
	defer outW.Close()
	errW, err := p.pipe(&p.errR, p.stderr)
	if err != nil {
		return errors.Join(err, alive.Close())
	}
	defer errW.Close()
	p.exec.Stdout, p.exec.Stderr = outW, errW
	if err := p.exec.Start(); err != nil {
		return errors.Join(err, alive.Close())
	}
	return nil
}

func (p *Process) pipe(read **os.File, to io.Writer) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	*read = r
	p.copies.Add(1)
	go func() {
		defer p.copies.Done()
		// The pipe's end is the only end: a sink that fails must not stall or
		// kill the program, and capture never returns an error.
		_, _ = io.Copy(to, r)
		_ = r.Close()
	}()
	return w, nil
}

// Pid is the process id of the program, which is also its process group.
func (p *Process) Pid() int { return p.exec.Process.Pid }

// Done is closed when the program has ended and its output has been read.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the program's end. It may be called more than once.
func (p *Process) Wait() (*Result, error) {
	<-p.done
	return p.result, p.err
}

// Signal sends sig to the whole process group. A program that has ended is no
// error.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if err := syscall.Kill(-p.Pid(), sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// Stop ends the group: TERM, and KILL when it is still there after grace. It
// returns when the program is gone.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	}
	err := p.Signal(syscall.SIGKILL)
	<-p.done
	return err
}

func (p *Process) supervise(ctx context.Context) {
	if p.cmd.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, p.cmd.Timeout, errTimeout)
		defer cancel()
	}
	exited := make(chan error, 1)
	go func() { exited <- p.exec.Wait() }()
	var err, cause error
	select {
	case err = <-exited:
	case <-ctx.Done():
		cause = context.Cause(ctx)
		_ = p.Signal(syscall.SIGTERM) // an ESRCH race is all that can fail here
		err = p.killAfterGrace(exited)
	}
	p.finish(err, cause)
}

var errTimeout = errors.New("time limit")

func (p *Process) killAfterGrace(exited <-chan error) error {
	timer := time.NewTimer(p.cmd.grace())
	defer timer.Stop()
	select {
	case err := <-exited:
		return err
	case <-timer.C:
		_ = p.Signal(syscall.SIGKILL)
		return <-exited
	}
}

// finish ends whatever is left of the group (the watchdog keeps the group's
// number from being given to anybody else until then) and reads the output out.
func (p *Process) finish(err, cause error) {
	_ = syscall.Kill(-p.Pid(), syscall.SIGKILL)
	_ = p.alive.Close()
	p.drain()
	state := p.exec.ProcessState
	p.result = &Result{
		Stdout: p.stdout.bytes(), Stderr: p.stderr.bytes(),
		ExitCode: state.ExitCode(), Duration: time.Since(p.started),
		CPU: state.UserTime() + state.SystemTime(),
	}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		p.result.MaxRSS = usage.Maxrss << 10
	}
	p.err = p.failure(err, cause)
	close(p.done)
}

// drain waits for the output's end. A process that left the group may hold the
// pipes for ever; two seconds after the program's end we stop listening to it.
func (p *Process) drain() {
	read := make(chan struct{})
	go func() { p.copies.Wait(); close(read) }()
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case <-read:
	case <-timer.C:
		now := time.Now()
		_, _ = p.outR.SetReadDeadline(now), p.errR.SetReadDeadline(now)
		<-read
	}
	p.stdout.flush()
	p.stderr.flush()
}

func (p *Process) failure(err, cause error) error {
	if err == nil && cause == nil {
		return nil
	}
	e := &Error{
		Program: filepath.Base(p.cmd.Path), Args: p.cmd.redactedArgs(),
		ExitCode: p.result.ExitCode, Stderr: p.result.Stderr,
	}
	if status, ok := p.exec.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		e.Signal = status.Signal().String()
	}
	var exit *exec.ExitError
	switch {
	case errors.Is(cause, errTimeout):
		e.TimedOut, e.Err = true, context.DeadlineExceeded
	case cause != nil:
		e.Err = cause
	case !errors.As(err, &exit):
		e.Err = err
	}
	return e
}
