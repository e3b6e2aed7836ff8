package publish

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

const (
	dialTimeout = 20 * time.Second
	aliveEvery  = 15 * time.Second // a server that does not answer within as much again is gone
)

// errKeyRefused is a login that failed after the server had proven itself.
var errKeyRefused = errors.New("login refused")

// server is the SFTP side of a Site: one connection, made again when it is lost.
type server struct {
	address string // host:port
	user    string
	base    string
	config  Config

	mu   sync.Mutex
	live *link
}

// link is one connection.
type link struct {
	ssh    *ssh.Client
	client *sftp.Client
	gone   chan struct{}
	once   sync.Once
}

// cut ends the connection; calls that wait on it fail.
func (l *link) cut() {
	l.once.Do(func() {
		close(l.gone)
		_ = l.ssh.Close() // it may be broken already, and there is nothing left to lose on it
	})
}

func (l *link) isGone() bool {
	select {
	case <-l.gone:
		return true
	default:
		return false
	}
}

func newServer(config Config) (*server, error) {
	u, err := url.Parse(config.Root)
	if err != nil || u.Hostname() == "" || u.User.Username() == "" || !path.IsAbs(u.Path) || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("open web root %s: it must be sftp://USER@HOST:PORT/PATH; correct AIBUILD_WEB_ROOT", redact(config.Root))
	}
	if _, has := u.User.Password(); has {
		return nil, fmt.Errorf("open web root %s: a password has no place in an address; use a key (AIBUILD_SFTP_KEY_FILE)", u.Redacted())
	}
	if config.KeyFile == "" || config.KnownHosts == "" {
		return nil, errors.New("open web root: SFTP needs a private key and known host keys; set AIBUILD_SFTP_KEY_FILE and AIBUILD_SFTP_KNOWN_HOSTS (ssh-keyscan makes the latter)")
	}
	port := u.Port()
	if port == "" {
		port = "22"
	}
	return &server{address: net.JoinHostPort(u.Hostname(), port), user: u.User.Username(), base: path.Clean(u.Path), config: config}, nil
}

func (s *server) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil {
		s.live.cut()
		<-s.live.gone
		s.live = nil
	}
	return nil
}

// connect gives the live connection, or a new one.
func (s *server) connect(ctx context.Context) (*link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live != nil && !s.live.isGone() {
		return s.live, nil
	}
	link, err := s.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, s.unreachable(err)
	}
	s.live = link
	return link, nil
}

func (s *server) dial(ctx context.Context) (*link, error) {
	config, err := s.sshConfig()
	if err != nil {
		return nil, err
	}
	known := false
	check := config.HostKeyCallback
	config.HostKeyCallback = func(host string, address net.Addr, key ssh.PublicKey) error {
		err := check(host, address, key)
		known = err == nil
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context: closing the connection is what ends it.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	sshConn, channels, requests, err := ssh.NewClientConn(conn, s.address, config)
	if err != nil {
		if known && ctx.Err() == nil {
			err = fmt.Errorf("%w: %w", errKeyRefused, err)
		}
		return nil, errors.Join(err, conn.Close())
	}
	client := ssh.NewClient(sshConn, channels, requests)
	files, err := sftp.NewClient(client, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true))
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	for _, extension := range []string{"hardlink@openssh.com", "posix-rename@openssh.com", "statvfs@openssh.com", "fsync@openssh.com"} {
		if _, ok := files.HasExtension(extension); !ok {
			return nil, errors.Join(fmt.Errorf("the server lacks %s", extension), client.Close())
		}
	}
	l := &link{ssh: client, client: files, gone: make(chan struct{})}
	go l.watch()
	return l, nil
}

// watch notices a connection that died, in silence too.
func (l *link) watch() {
	ended := make(chan struct{})
	go func() {
		_ = l.ssh.Wait() // why it ended is told to the call that was using it
		close(ended)
	}()
	ticker := time.NewTicker(aliveEvery)
	defer ticker.Stop()
	answers := make(chan error, 1)
	waiting := false
	for {
		select {
		case <-ended:
			l.cut()
			return
		case err := <-answers:
			waiting = false
			if err != nil {
				l.cut()
			}
		case <-ticker.C:
			if waiting {
				l.cut()
				continue
			}
			waiting = true
			go func() {
				_, _, err := l.ssh.SendRequest("keepalive@openssh.com", true, nil)
				answers <- err
			}()
		}
	}
}

func (s *server) sshConfig() (*ssh.ClientConfig, error) {
	pem, err := os.ReadFile(s.config.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(pem)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("key %s has a passphrase: use one without, readable for aibuild only", s.config.KeyFile)
	}
	if err != nil {
		// The error of the parser could quote the key.
		return nil, fmt.Errorf("%s is no private key in OpenSSH's form", s.config.KeyFile)
	}
	check, err := knownhosts.New(s.config.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("read known hosts: %w", err)
	}
	return &ssh.ClientConfig{
		User: s.user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: check, HostKeyAlgorithms: known(check, s.address), Timeout: dialTimeout,
	}, nil
}

// known lists the kinds of key that the file has for the server, so that the server shows one that can be compared.
func known(check ssh.HostKeyCallback, address string) []string {
	probe, err := ssh.NewPublicKey(make(ed25519.PublicKey, ed25519.PublicKeySize))
	if err != nil {
		return nil
	}
	var kinds []string
	var mismatch *knownhosts.KeyError
	if errors.As(check(address, &net.TCPAddr{IP: net.IPv4zero}, probe), &mismatch) {
		for _, want := range mismatch.Want {
			kind := want.Key.Type()
			if kind == ssh.KeyAlgoRSA {
				kinds = append(kinds, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
				continue
			}
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// unreachable says what to do about a failed connection.
func (s *server) unreachable(err error) error {
	hint := "check that the server runs and may be reached from here"
	var key *knownhosts.KeyError
	switch {
	case errors.As(err, &key) && len(key.Want) == 0:
		hint = "its host key is not in " + s.config.KnownHosts + ": add it with ssh-keyscan after comparing the fingerprint"
	case errors.As(err, &key):
		hint = "its host key is not the one in " + s.config.KnownHosts + ": somebody may be in between; ask the server's administrator"
	case errors.Is(err, errKeyRefused):
		hint = "it does not accept the key in " + s.config.KeyFile + " for " + s.user + ": add its public half to authorized_keys"
	}
	return &Unreachable{Server: s.address, Hint: hint, Err: err}
}
