package publish_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

// sftpServer is a real sshd of the test's own: keys, configuration and port; it runs as whoever runs the test.
type sftpServer struct {
	address, user string
	dir           string // keys and configuration
	process       *process.Process
}

// config is a web root on the server.
func (s sftpServer) config(root string) publish.Config {
	return publish.Config{
		Root:    fmt.Sprintf("sftp://%s@%s%s", s.user, s.address, root),
		KeyFile: filepath.Join(s.dir, "user_key"), KnownHosts: filepath.Join(s.dir, "known_hosts"),
	}
}

func startSSHD(t *testing.T) sftpServer {
	t.Helper()
	who, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := sftpServer{user: who.Username, dir: t.TempDir()}
	if os.Geteuid() == 0 {
		// sshd wants this folder, which Debian makes when the service starts.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host := newKey(t, filepath.Join(s.dir, "host_key"))
	client := newKey(t, filepath.Join(s.dir, "user_key"))
	save(t, filepath.Join(s.dir, "authorized_keys"), string(ssh.MarshalAuthorizedKey(client)))
	program, err := process.Look("sshd")
	if err != nil {
		t.Fatal(err)
	}
	// The port is free when it is chosen; somebody may take it before sshd does: then another one.
	for range 5 {
		s.address = freeAddress(t)
		save(t, filepath.Join(s.dir, "known_hosts"), knownhosts.Line([]string{knownhosts.Normalize(s.address)}, host)+"\n")
		if s.start(t, program) {
			return s
		}
	}
	t.Fatal("sshd does not start on any of five free ports")
	return s
}

func (s *sftpServer) start(t *testing.T, program string) bool {
	_, port, err := net.SplitHostPort(s.address)
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`ListenAddress 127.0.0.1
Port %s
HostKey %[2]s/host_key
AuthorizedKeysFile %[2]s/authorized_keys
PidFile %[2]s/pid
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
`, port, s.dir)
	save(t, filepath.Join(s.dir, "sshd_config"), config)
	p, err := process.Cmd{Path: program, Args: []string{"-D", "-e", "-f", filepath.Join(s.dir, "sshd_config")}, Env: process.Environ()}.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		conn, err := net.DialTimeout("tcp", s.address, time.Second)
		if err == nil {
			conn.Close()
			s.process = p
			t.Cleanup(func() {
				// Ending it by a signal is no clean exit, so only a hang is an error.
				if err := p.Stop(5 * time.Second); errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
			return true
		}
		select {
		case <-p.Done():
			result, err := p.Wait()
			t.Logf("sshd: %v: %s", err, result.Stderr)
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
	t.Log("sshd does not listen")
	_ = p.Stop(time.Second)
	return false
}

// newKey writes a private key and gives its public half.
func newKey(t *testing.T, name string) ssh.PublicKey {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		t.Fatal(err)
	}
	save(t, name, string(pem.EncodeToMemory(block)))
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func save(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSFTPRefusals(t *testing.T) {
	server := startSSHD(t)
	root := t.TempDir()
	good := server.config(root)
	other := filepath.Join(t.TempDir(), "known_hosts")
	stranger := newKey(t, filepath.Join(t.TempDir(), "k"))
	save(t, other, knownhosts.Line([]string{knownhosts.Normalize(server.address)}, stranger)+"\n")
	empty := filepath.Join(t.TempDir(), "known_hosts")
	save(t, empty, "")
	noKey := filepath.Join(t.TempDir(), "k")
	newKey(t, noKey)
	garbage := filepath.Join(t.TempDir(), "k")
	save(t, garbage, "-----BEGIN OPENSSH PRIVATE KEY-----\nCANARY\n")
	for name, c := range map[string]struct {
		change func(*publish.Config)
		want   string
	}{
		"wrong host key":   {func(c *publish.Config) { c.KnownHosts = other }, "is not the one in " + other + ": somebody may be in between"},
		"unknown host":     {func(c *publish.Config) { c.KnownHosts = empty }, "is not in " + empty + ": add it with ssh-keyscan"},
		"no known hosts":   {func(c *publish.Config) { c.KnownHosts = "" }, "set AIBUILD_SFTP_KEY_FILE and AIBUILD_SFTP_KNOWN_HOSTS"},
		"key not accepted": {func(c *publish.Config) { c.KeyFile = noKey }, "does not accept the key in " + noKey},
		"no key":           {func(c *publish.Config) { c.KeyFile = garbage }, "is no private key in OpenSSH's form"},
		"password":         {func(c *publish.Config) { c.Root = strings.Replace(c.Root, "@", ":CANARY@", 1) }, "a password has no place in an address"},
		"no user":          {func(c *publish.Config) { c.Root = "sftp://" + server.address + root }, "it must be sftp://USER@HOST:PORT/PATH"},
		"no folder":        {func(c *publish.Config) { c.Root += "/nowhere" }, "make it, or correct AIBUILD_WEB_ROOT"},
		"nobody listens":   {func(c *publish.Config) { c.Root = "sftp://x@" + freeAddress(t) + root }, "check that the server runs"},
	} {
		config := good
		c.change(&config)
		site, err := publish.Open(t.Context(), config)
		if err == nil {
			t.Errorf("%s: Open accepted it", name)
			site.Close()
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}
