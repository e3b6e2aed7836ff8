package harness

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// shell runs commands in a guest over one SSH connection at a time.
type shell struct {
	login     *login
	addr      string
	handshake time.Duration

	mu     sync.Mutex
	client *ssh.Client
}

// connect logs in anew, for as long as ctx allows; what it saw goes into seen.
func (s *shell) connect(ctx context.Context, seen *sightings) error {
	client, err := s.login.wait(ctx, s.addr, s.handshake, seen)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = client
	return nil
}

// close hangs up.
func (s *shell) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		s.client.Close()
		s.client = nil
	}
}

func (s *shell) current() *ssh.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}

var errNotConnected = errors.New("no connection to the guest")

// exitError is a command that ran in the guest and did not succeed.
type exitError struct {
	status int
	stderr string
}

func (e *exitError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("exit status %d: %s", e.status, lastLine(e.stderr)), ": ")
}

// run runs one command to its end. When ctx ends first the session is closed,
// which the guest may or may not notice, and ctx's cause is returned.
func (s *shell) run(ctx context.Context, command string, stdin io.Reader, stdout, stderr io.Writer) error {
	client := s.current()
	if client == nil {
		return errNotConnected
	}
	ended := make(chan error, 1)
	var mu sync.Mutex
	var session *ssh.Session
	go func() {
		opened, err := client.NewSession()
		if err != nil {
			ended <- err
			return
		}
		defer opened.Close()
		mu.Lock()
		session = opened
		mu.Unlock()
		opened.Stdin, opened.Stdout, opened.Stderr = stdin, stdout, stderr
		ended <- opened.Run(command)
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	mu.Lock()
	defer mu.Unlock()
	if session == nil {
		// The guest does not even open a channel: only hanging up frees the goroutine.
		client.Close()
	} else {
		session.Close()
	}
	return context.Cause(ctx)
}

// output runs a command that says little and returns what it said.
func (s *shell) output(ctx context.Context, command string, stdin io.Reader) ([]byte, error) {
	var stdout, stderr capture
	err := s.run(ctx, command, stdin, &stdout, &stderr)
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		err = &exitError{exit.ExitStatus(), printable(stderr.Bytes())}
	}
	return stdout.Bytes(), err
}

// quote makes one word of s for a POSIX shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// upload copies files into a new folder in the guest, in the login's home or, if
// that is read-only, in a temporary one, and returns its path.
func (s *shell) upload(ctx context.Context, name string, pack func(*tar.Writer) error) (string, error) {
	const script = `for d in "$HOME" /tmp /var/tmp; do
	if mkdir -m 700 "$d/%[1]s" 2>/dev/null; then cd "$d/%[1]s" && tar -xf - && pwd; exit; fi
done; echo "no folder can be made in $HOME, /tmp or /var/tmp" >&2; exit 1`
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		w.CloseWithError(errors.Join(pack(t), t.Close()))
	}()
	defer r.Close()
	out, err := s.output(ctx, "exec sh -c "+quote(fmt.Sprintf(script, name)), r)
	if err != nil {
		return "", fmt.Errorf("copy the tests into the guest: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// packFile adds one executable.
func packFile(t *tar.Writer, name string, content []byte) error {
	h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), ModTime: time.Unix(0, 0)}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := t.Write(content)
	return err
}

func packDir(t *tar.Writer, name string) error {
	return t.WriteHeader(&tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755, ModTime: time.Unix(0, 0)})
}

// packTree adds a folder of this machine below prefix. Links stay links: where
// they lead is the guest's business.
func packTree(t *tar.Writer, files fs.FS, prefix string) error {
	return fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := prefix + "/" + path
		switch {
		case d.IsDir():
			return packDir(t, name)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := fs.ReadLink(files, path)
			if err != nil {
				return err
			}
			return t.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777, ModTime: time.Unix(0, 0)})
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: neither a file nor a folder nor a link", path)
		}
		return packOpen(t, files, path, &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: time.Unix(0, 0)})
	})
}

func packOpen(t *tar.Writer, files fs.FS, path string, h *tar.Header) error {
	f, err := files.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err = io.Copy(t, f)
	return err
}
