package gitlabtest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Server is a running stand-in. Its methods may be called at any time and from several goroutines.
type Server struct {
	opts Options
	home string
	url  string

	http     *http.Server
	served   chan error
	ctx      context.Context // ends with Close: everything that runs on its own
	cancel   context.CancelFunc
	work     sync.WaitGroup // deliveries
	insecure http.RoundTripper
	secret   string // of the git hooks

	mu       sync.Mutex // guards what follows and all that it points to
	users    []*user
	tokens   []*Token
	projects []*project
	system   []*hook
	hookIDs  int
	logIDs   int
	statusID int
	pipeID   int
	limits   map[string]limitWindow
	locks    map[string]chan struct{} // of commit statuses, by project and commit
	pending  int                      // deliveries that are not over
	idle     chan struct{}            // closed when pending becomes 0
	troubles []*trouble
	faults   []*fault
	dropped  []Dropped
}

// Start starts a server. Close it.
func Start(opts Options) (*Server, error) {
	s := &Server{opts: opts.filled(), served: make(chan error, 1), limits: map[string]limitWindow{}, locks: map[string]chan struct{}{}}
	if err := s.makeHome(); err != nil {
		return nil, fmt.Errorf("start gitlab: %w", err)
	}
	listener, err := net.Listen("tcp", s.opts.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gitlab: %w", err), s.removeHome())
	}
	s.url = "http://" + reachable(listener.Addr().String())
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.transports()
	if err := s.writeHooks(); err != nil {
		return nil, errors.Join(fmt.Errorf("start gitlab: %w", err), listener.Close(), s.removeHome())
	}
	s.users = []*user{{User{ID: 1, Username: "root", Name: "Administrator", Email: "admin@example.com", Admin: true}}}
	if s.opts.RootToken == "" {
		s.opts.RootToken = newSecret()
	}
	s.tokens = []*Token{{ID: 1, User: "root", Name: "root", Secret: s.opts.RootToken, Scopes: everyScope, created: s.opts.Now()}}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second, BaseContext: func(net.Listener) context.Context { return s.ctx }}
	go func() { s.served <- s.http.Serve(listener) }()
	s.opts.Log.Info("gitlab is up", "url", s.url, "home", s.home, "version", s.opts.Profile.version())
	return s, nil
}

// reachable gives the address by which this machine reaches a listener, which may listen on all of its addresses.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return address
}

var everyScope = []string{"api", "read_api", "read_user", "read_repository", "write_repository"}

func (s *Server) makeHome() (err error) {
	if s.home = s.opts.Home; s.home == "" {
		s.home, err = os.MkdirTemp("", "gitlabtest-")
		return err
	}
	if s.home, err = filepath.Abs(s.home); err != nil {
		return err
	}
	return os.MkdirAll(s.home, 0o700)
}

func (s *Server) removeHome() error {
	if s.opts.Home != "" {
		return nil
	}
	return os.RemoveAll(s.home)
}

// transports makes what hooks are delivered by: a connection each, as GitLab does.
func (s *Server) transports() {
	if s.opts.Transport != nil {
		s.insecure = s.opts.Transport
		return
	}
	s.opts.Transport = &http.Transport{DisableKeepAlives: true}
	// A hook may switch the check of certificates off; that is GitLab's own setting enable_ssl_verification.
	s.insecure = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
}

// URL is the base URL of the instance, without a slash at its end.
func (s *Server) URL() string { return s.url }

// RootToken is the access token of root, who may do everything.
func (s *Server) RootToken() string { return s.opts.RootToken }

// Close ends the server and everything that it has started. Deliveries that are under way are broken off.
func (s *Server) Close() error {
	s.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx) // handlers see that s.ctx has ended
	if err != nil {
		err = errors.Join(err, s.http.Close())
	}
	if served := <-s.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	s.work.Wait()
	return errors.Join(err, s.removeHome())
}

// Idle waits until every delivery is over, those held back by a Trouble included.
func (s *Server) Idle(ctx context.Context) error {
	s.mu.Lock()
	pending, idle := s.pending, s.idle
	s.mu.Unlock()
	if pending == 0 {
		return nil
	}
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		return fmt.Errorf("%d deliveries are not over: %w", s.pending, ctx.Err())
	}
}

// begun and ended count deliveries for Idle; s.mu is held.
func (s *Server) begun() {
	if s.pending == 0 {
		s.idle = make(chan struct{})
	}
	s.pending++
}

func (s *Server) ended() {
	if s.pending--; s.pending == 0 {
		close(s.idle)
	}
}

// ServeHTTP answers as GitLab's web server does: the API, git, and a page for everything else.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if name, ok := strings.CutPrefix(path, internalPath); ok {
		s.serveGitHook(w, r, name)
		return
	}
	if s.troubled(w, r, path) {
		return
	}
	s.dispatch(w, r)
}

func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	path := r.URL.EscapedPath()
	if call, ok := strings.CutPrefix(path, "/api/v4/"); ok {
		s.serveAPI(w, r, call)
		return
	}
	if s.serveGit(w, r, path) {
		return
	}
	writePage(w, http.StatusNotFound, "404", "The page could not be found or you don't have permission to view it.")
}
