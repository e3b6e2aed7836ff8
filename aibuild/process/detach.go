package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Detach starts a program that is meant to outlive its caller, in a session of
// its own, and returns its pid at once. Only the private database's keeper is
// started so; it ends itself. Stdin, Timeout and Secrets of c do not apply;
// Stdout and Stderr count only if they are *os.File, else output is dropped.
func Detach(c Cmd) (int, error) {
	path, err := Look(c.Path)
	if err != nil {
		return 0, &Error{Program: filepath.Base(c.Path), Args: c.redactedArgs(), ExitCode: -1, Err: err}
	}
	cmd := exec.Command(path, c.Args...)
	cmd.Dir, cmd.Env, cmd.ExtraFiles = c.Dir, c.Env, c.ExtraFiles
	if c.Env == nil {
		cmd.Env = Environ()
	}
	if f, ok := c.Stdout.(*os.File); ok {
		cmd.Stdout = f
	}
	if f, ok := c.Stderr.(*os.File); ok {
		cmd.Stderr = f
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return 0, &Error{Program: filepath.Base(path), Args: c.redactedArgs(), ExitCode: -1, Err: err}
	}
	pid := cmd.Process.Pid
	go func() { _ = cmd.Wait() }() // no zombie for as long as we live
	return pid, nil
}
