package jenkinstest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options say what Jenkins a Server is. The zero value is a current one on a free port of the loopback
// interface, with two executors and the user DefaultUser.
type Options struct {
	Profile string // Profile2300 or ProfileCurrent; empty means ProfileCurrent
	Listen  string // empty means 127.0.0.1:0
	Context string // path below which Jenkins is, like "/ci"; empty means the root
	RootURL string // what Jenkins is configured to think its URL is, with a slash at the end; empty means URL() and a slash
	Home    string // kept and used again; empty means a temporary folder that Close removes

	Users     []User  // nil means DefaultUser, who may do everything
	Anonymous []Grant // what nobody in particular may do

	Executors   int           // of the built-in node; 0 means 2, negative means none
	Labels      []string      // of the built-in node
	Nodes       []Node        // agents
	QuietPeriod time.Duration // of jobs without their own; 0 means 5 s, as in Jenkins; negative means none
	LeftFor     time.Duration // how long an item can be asked for after it left the queue; 0 means 5 min, as in Jenkins
	StartGap    time.Duration // how long an item that left shows no executable yet

	Plugins []string // ids of those that are installed, for who may see them
	Adopted Job      // what only a stand-in knows of Pipelines that come by createItem: Command, exit codes, Clean

	Environ        []string      // what builds find beside Jenkins' variables; nil means process.Environ()
	Extra          []string      // and what they find beside that, as NAME=value
	Grace          time.Duration // between TERM and KILL when a build is stopped; 0 means 10 s
	ShowStackTrace bool          // pages for what went wrong inside tell what: jenkins.model.Jenkins.SHOW_STACK_TRACE
	Control        bool          // serve ControlPath
	Log            hclog.Logger  // nil means silence
}

// The user of a Server without Users.
const (
	DefaultUser  = "aibuild"
	DefaultToken = "11aa4d28c5bf9e93e5a3cdd2a3d22a6f7e"
)

// Server is a running stand-in. Its methods are safe for concurrent use.
type Server struct {
	options  Options
	profile  profile
	home     string
	ownHome  bool
	listener net.Listener
	http     *http.Server
	serving  chan struct{} // closed when http has ended
	ctx      context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup // of builds

	mu         sync.Mutex
	closed     bool
	root       *item
	nodes      []*node
	queue      []*entry
	left       map[int64]*entry
	timer      *time.Timer
	lastID     int64
	session    string
	cookies    map[string]bool // web sessions
	down       string          // why every answer is 503: "starting" or "restarting"; empty: it is up
	quieting   bool
	workspaces map[string]bool // in use
	faults     []*Fault
	noTokens   bool
	requests   []Request
	problems   []error
}

// Start starts a stand-in. The caller must Close it.
func Start(o Options) (*Server, error) {
	p, err := profileOf(o.Profile)
	if err != nil {
		return nil, fmt.Errorf("start the jenkins stand-in: %w", err)
	}
	s := &Server{
		options: o, profile: p, serving: make(chan struct{}), session: newSession(), cookies: map[string]bool{},
		left: map[int64]*entry{}, workspaces: map[string]bool{}, root: newFolder("", nil),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.defaults()
	if err := s.open(); err != nil {
		s.stop()
		return nil, errors.Join(fmt.Errorf("start the jenkins stand-in: %w", err), s.removeHome())
	}
	go func() {
		defer close(s.serving)
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.problem("serve", err)
		}
	}()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.maintain()
	return s, nil
}

func (s *Server) defaults() {
	o := &s.options
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	if o.Context = strings.Trim(o.Context, "/"); o.Context != "" {
		o.Context = "/" + o.Context
	}
	if o.Users == nil {
		o.Users = []User{{Name: DefaultUser, Token: DefaultToken, Admin: true}}
	}
	if o.LeftFor <= 0 {
		o.LeftFor = 5 * time.Minute
	}
	switch {
	case o.QuietPeriod == 0:
		o.QuietPeriod = 5 * time.Second
	case o.QuietPeriod < 0:
		o.QuietPeriod = 0
	}
	s.makeNodes()
}

// open makes or reads the home folder and listens.
func (s *Server) open() (err error) {
	if s.home = s.options.Home; s.home == "" {
		if s.home, err = os.MkdirTemp("", "jenkinstest-"); err != nil {
			return err
		}
		s.ownHome = true
	}
	if s.home, err = filepath.Abs(s.home); err != nil {
		return err
	}
	if err := s.load(); err != nil {
		return fmt.Errorf("home %s: %w", s.home, err)
	}
	if s.listener, err = net.Listen("tcp", s.options.Listen); err != nil {
		return err
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return s.ctx }}
	return nil
}

// URL is where the stand-in is, without a slash at the end.
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() + s.options.Context }

// rootURL is what Jenkins thinks its URL is.
func (s *Server) rootURL() string {
	if s.options.RootURL != "" {
		return s.options.RootURL
	}
	return s.URL() + "/"
}

// Close ends every build (ABORTED), keeps the queue in the home folder and stops serving. It returns what went
// wrong with the stand-in itself since Start.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	if s.timer != nil {
		s.timer.Stop()
	}
	s.root.walk(func(it *item) {
		for _, b := range it.builds {
			b.interrupt("ABORTED")
		}
	})
	s.mu.Unlock()
	s.stop() // also lets go of requests that hang
	s.work.Wait()
	s.problem("stop serving", s.http.Close())
	<-s.serving
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problemLocked("keep the queue", s.saveQueue())
	s.problemLocked("remove the home folder", s.removeHome())
	return errors.Join(s.problems...)
}

func (s *Server) removeHome() error {
	if !s.ownHome {
		return nil
	}
	return os.RemoveAll(s.home)
}

// problem keeps what goes wrong with the stand-in itself; Close returns it.
func (s *Server) problem(doing string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.problemLocked(doing, err)
}

func (s *Server) problemLocked(doing string, err error) {
	if err == nil {
		return
	}
	s.problems = append(s.problems, fmt.Errorf("jenkins stand-in: %s: %w", doing, err))
	if s.options.Log != nil {
		s.options.Log.Error("cannot "+doing, "error", err)
	}
}

func (s *Server) now() time.Time { return time.Now() }

func newSession() string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
