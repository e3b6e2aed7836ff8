package api

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Config says what a [Server] serves. Store is needed.
type Config struct {
	Store *lineage.Store

	// Caps is what the definitions of a project may ask for; nil allows all. An
	// error that is lineage.ErrNotFound says that the project is not configured:
	// Jenkins builds record nothing for it, and no run of it is started.
	Caps func(project string) (definition.Policy, error)
	// Job is the Jenkins job that builds a project, empty where none is configured:
	// Jenkins builds of another job record nothing for it. nil: of any job.
	Job func(project string) string
	// Logs holds the logs of runs, as RUN.log.zst or RUN.log; nil: there are none.
	Logs fs.FS
	// Consoles reads the consoles of builds that are under way; nil: nobody does.
	Consoles Consoles
	// Evidence is the evidence of images; nil: none can be read.
	Evidence Evidence
	// Parts says how the servers that we talk to are, by name, for /readyz. It
	// must not wait for them; nil: nothing is said of them.
	Parts func() map[string]string
	// Actor releases, rolls back, revokes, restores and holds images; nil: nobody does.
	Actor Actor
	// OpenPages shows the pages of runs without a token to who is on this machine
	// (serve --dev): it is where commit statuses lead. The API needs one always.
	OpenPages bool
	// PublicPages shows the pages to everybody, without any action. Who signs in
	// may do what the token's role lets them do.
	PublicPages bool
	// Secure marks the cookie of a session for TLS only, where a proxy does TLS.
	Secure bool
	// SessionKey makes sessions of the pages outlive this process, and be good at
	// other daemons with the same key; nil: one that ends with the server.
	SessionKey []byte

	Rate    Rate          // of each token, below /api/
	Timeout time.Duration // of one request; 0 = 30 s
	LockTTL time.Duration // how long a lock outlives its last renewal; 0 = 30 s
	Version string        // of the program, for the API's description and aibuild_build_info

	Registry *prometheus.Registry // where metrics are; nil: one of the server's own
	Stats    func() []Stat        // of other rooms, asked for at every scrape
	Log      hclog.Logger         // nil means silence
	Now      func() time.Time     // nil: time.Now
}

// Server is the story over HTTP.
type Server struct {
	config  Config
	log     hclog.Logger
	now     func() time.Time
	timeout time.Duration

	api     huma.API
	guard   *http.ServeMux   // below /api/: behind tokens
	open    *http.ServeMux   // everything else
	rights  map[string]right // of operations, by their patterns
	pages   map[string]right // of pages
	bodies  map[string]bool  // patterns whose requests have a body
	session []byte           // key of the sessions
	spec    []byte
	docs    []byte

	leases  *leases
	metrics *metrics
	ready   readiness
	opening openings // of builds
	acts    *acts
	follows *follows
	memos   memos
	rates   *rates
	handler http.Handler
}

const (
	defaultTimeout = 30 * time.Second
	defaultLockTTL = 30 * time.Second
)

// New makes a server. Close it to give back the locks that it holds for others.
func New(c Config) (*Server, error) {
	if c.Store == nil {
		return nil, errors.New("api: a server needs a store")
	}
	s := &Server{
		config: c, log: c.Log, now: c.Now, timeout: c.Timeout,
		guard: http.NewServeMux(), open: http.NewServeMux(),
		rights: map[string]right{}, pages: map[string]right{}, bodies: map[string]bool{},
	}
	s.session = sessionKey(c.SessionKey)
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.timeout == 0 {
		s.timeout = defaultTimeout
	}
	ttl := c.LockTTL
	if ttl == 0 {
		ttl = defaultLockTTL
	}
	s.acts = newActs(s.timeout*2/3, s.lateAction)
	s.follows = newFollows(s)
	s.leases = newLeases(c.Store, ttl, s.log)
	var err error
	if s.metrics, err = newMetrics(c, s.leases); err != nil {
		return nil, err
	}
	s.rates = newRates(c.Rate)
	if s.handler, err = compressed(http.HandlerFunc(s.serve)); err != nil {
		return nil, err
	}
	s.api = newAPI(s.guard, c.Version)
	s.registerRuns()
	s.registerFollow()
	s.registerRecords()
	s.registerImages()
	s.registerActions()
	s.registerStory()
	s.registerSearch()
	s.registerEvidence()
	s.registerClusters()
	s.registerPackages()
	s.registerDiff()
	s.registerPushes()
	s.registerLocks()
	return s, s.registerOpen()
}

// Handler serves everything that the server has: /api/v1, the description of
// it (/openapi.json, /docs), /healthz, /readyz, /metrics, /runs/ID and /static.
func (s *Server) Handler() http.Handler { return s.handler }

// StopFollowing ends the logs that are followed, which would else keep an HTTP
// server from stopping: see http.Server.RegisterOnShutdown.
func (s *Server) StopFollowing() { s.follows.stop() }

// Close stops the actions that are under way and gives back all locks. Requests that wait for one are refused. Call it
// after the HTTP server has stopped, before the store is closed.
func (s *Server) Close() error {
	s.follows.stop()
	s.acts.close()
	s.memos.wait()
	return s.leases.close()
}

// lateAction logs how an action ended that took longer than its answer. How the
// image is now is recorded.
func (s *Server) lateAction(a lineage.Action, err error) {
	if err != nil {
		s.log.Error("an action went wrong", "verb", a.Verb, "image", a.Name, "uuid", a.Image, "actor", a.Actor, "error", err)
	}
}

// fail gives an error its form on the wire, and the log what is not in it.
func (s *Server) fail(ctx context.Context, err error) *Problem {
	p := *problemOf(err) // a copy: it is completed for this request
	_ = p.complete(ctx)  // itself again
	switch {
	case p.Status == http.StatusInternalServerError:
		s.log.Error("request failed", "request", p.RequestID, "error", err)
	case p.Status > http.StatusInternalServerError:
		s.log.Warn("request cannot be served now", "request", p.RequestID, "error", err)
	}
	return &p
}
