package harness

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"
)

// How long a guest that has accepted a connection may take to say its first
// byte, and then to complete the login. QEMU's user network accepts connections
// for a guest that is still down and tries again with growing pauses: a new
// connection finds a guest that has just come up sooner than an old one does.
const (
	bannerWindow    = 1500 * time.Millisecond
	handshakeWindow = 10 * time.Second
	redialPause     = 100 * time.Millisecond
)

// login is the key of one test and the host key that answered to it first.
type login struct {
	user    string
	private ed25519.PrivateKey
	signer  ssh.Signer
	public  string // authorized_keys line

	mu     sync.Mutex
	pinned ssh.PublicKey
}

func newLogin(user string) (*login, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make an SSH key: %w", err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("make an SSH key: %w", err)
	}
	public := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " aibuild-test"
	return &login{user: user, private: private, signer: signer, public: public}, nil
}

// write puts the private key into a file that only this user can read.
func (l *login) write(path string) error {
	block, err := ssh.MarshalPrivateKey(l.private, "aibuild-test")
	if err != nil {
		return fmt.Errorf("write an SSH key: %w", err)
	}
	return os.WriteFile(path, pem.EncodeToMemory(block), 0o600)
}

// hostKey is the key that the guest proved first, or nil.
func (l *login) hostKey() ssh.PublicKey {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pinned
}

var errHostKey = errors.New("the guest's SSH host key is not the one of the first login")

func (l *login) checkHostKey(key ssh.PublicKey) error {
	if p := l.hostKey(); p != nil && !bytes.Equal(p.Marshal(), key.Marshal()) {
		return errHostKey
	}
	return nil
}

// hostKeyAlgorithms asks for the key that was pinned, at first for the one that
// costs an emulated guest least.
func (l *login) hostKeyAlgorithms() []string {
	rsa := []string{ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512}
	switch p := l.hostKey(); {
	case p == nil:
		return append([]string{ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521}, rsa...)
	case p.Type() == ssh.KeyAlgoRSA:
		return rsa
	default:
		return []string{p.Type()}
	}
}

func (l *login) pin(key ssh.PublicKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pinned == nil {
		l.pinned = key
	}
}

// contact is how far an attempt to log in came.
type contact int

const (
	noContact     contact = iota // no connection, or closed at once: the port is shut
	noWord                       // connected, and not a byte in the window
	noHandshake                  // something spoke, then fell silent or made no sense
	keyNotAllowed                // the handshake is complete, our key is refused
	loggedIn
)

// dial makes one attempt to log in, which ctx can end; the connection itself
// outlives ctx. Handshake is the time that it may take once the guest has spoken.
func (l *login) dial(ctx context.Context, addr string, handshake time.Duration) (*ssh.Client, contact, error) {
	conn, err := (&net.Dialer{Timeout: bannerWindow}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, noContact, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	client, reached, err := l.handshake(conn, addr, handshake)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, reached, err
	}
	return client, loggedIn, nil
}

func (l *login) handshake(conn net.Conn, addr string, window time.Duration) (*ssh.Client, contact, error) {
	if err := conn.SetDeadline(time.Now().Add(bannerWindow)); err != nil {
		return nil, noContact, err
	}
	first := make([]byte, 1)
	if _, err := io.ReadFull(conn, first); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, noWord, err
		}
		return nil, noContact, err
	}
	if err := conn.SetDeadline(time.Now().Add(window)); err != nil {
		return nil, noContact, err
	}
	var seen ssh.PublicKey
	config := &ssh.ClientConfig{
		User: l.user,
		Auth: []ssh.AuthMethod{ssh.PublicKeys(l.signer)},

		HostKeyAlgorithms: l.hostKeyAlgorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return l.checkHostKey(key)
		},
	}
	c, chans, reqs, err := ssh.NewClientConn(&spoken{conn, bytes.NewReader(first)}, addr, config)
	if err != nil {
		return nil, howFar(seen, err), err
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, noHandshake, err
	}
	l.pin(seen)
	return ssh.NewClient(c, chans, reqs), loggedIn, nil
}

// howFar tells a refused key from a handshake that broke off: x/crypto/ssh has no
// error type for the former.
func howFar(hostKey ssh.PublicKey, err error) contact {
	var network net.Error
	if hostKey == nil || errors.Is(err, errHostKey) || errors.Is(err, io.EOF) || errors.As(err, &network) {
		return noHandshake
	}
	return keyNotAllowed
}

// spoken is a connection whose first byte has been read already.
type spoken struct {
	net.Conn
	first *bytes.Reader
}

func (s *spoken) Read(p []byte) (int, error) {
	if s.first.Len() > 0 {
		return s.first.Read(p)
	}
	return s.Conn.Read(p)
}

// sightings is what the attempts to log in have seen so far.
type sightings struct {
	best    contact // the furthest that any attempt came
	last    error
	refused bool // the guest's network is up: it shut the port in our face
}

// cutShort counts an attempt that the deadline ended: how far it had come may be
// all that is ever seen of a server that speaks and then says no more.
func (s *sightings) cutShort(reached contact) {
	if reached == noHandshake && s.best < noHandshake {
		s.best, s.last = reached, errors.New("the handshake was under way at the deadline")
	}
}

// wait attempts to log in until it works or ctx ends.
func (l *login) wait(ctx context.Context, addr string, handshake time.Duration, seen *sightings) (*ssh.Client, error) {
	for {
		client, reached, err := l.dial(ctx, addr, handshake)
		if err == nil {
			return client, nil
		}
		if ctx.Err() != nil {
			seen.cutShort(min(reached, noHandshake)) // a login that comes too late is none
			return nil, context.Cause(ctx)
		}
		seen.best, seen.last = max(seen.best, reached), err
		seen.refused = seen.refused || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
		pause := redialPause
		if reached == keyNotAllowed {
			pause = time.Second // the key may still be on its way; sshd slows down whoever knocks too often
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}
