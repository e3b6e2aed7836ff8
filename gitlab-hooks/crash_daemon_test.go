package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// daemonSpec says how a daemon of its own process runs, and where it ends.
type daemonSpec struct {
	DSN, Owner                   string
	GitLab, Token, Project, Dir  string
	Jenkins, Job                 string
	LostAfter, Heads, JenkinsFor time.Duration
	Unstored                     int32 // deliveries that the database does not take
	Looked                       bool  // it has just compared the heads

	Point  string         // where it is hit, the first time it is there
	Signal syscall.Signal // by what
}

const daemonEnv = "HOOKS_TEST_DAEMON"

// RunTestDaemon is the whole program where this process was started as a daemon
// by a test; else it returns at once. It listens on the descriptor 3, and ends
// with its standard input.
func RunTestDaemon() {
	text := os.Getenv(daemonEnv)
	if text == "" {
		return
	}
	var spec daemonSpec
	err := json.Unmarshal([]byte(text), &spec)
	if err == nil {
		go func() {
			_, _ = os.Stdin.Read(make([]byte, 1)) // until whoever started us is gone
			os.Exit(0)
		}()
		err = spec.run()
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func (s daemonSpec) run() error {
	ctx := context.Background()
	failpoint = s.hit()
	store, err := lineage.Open(ctx, lineage.Config{DSN: s.DSN})
	if err != nil {
		return err
	}
	spool, err := OpenSpool(filepath.Join(s.Dir, "spool"), 8<<20)
	if err != nil {
		return err
	}
	log := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Trace})
	d := s.dispatcher(store)
	d.Log, d.Before = log, func(ctx context.Context) error { _, err := spool.Drain(ctx, store); return err }
	handler := &Handler{
		Inbox: &moody{Inbox: store, left: s.Unstored}, Spool: spool, GitLabURL: s.GitLab, Log: log, Woken: d.Wake,
		Secrets: func() []Secret { return []Secret{{Value: fixed(secretCanary)}} },
	}
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler}
	Limits(server)
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(listener) }()
	go func() { failed <- d.Run(ctx) }()
	return <-failed
}

func (s daemonSpec) dispatcher(store *lineage.Store) *Dispatcher {
	watched := []Watched{{
		Mirror: Mirror{Dir: filepath.Join(s.Dir, "mirrors"), URL: s.GitLab, Project: s.Project, Token: s.Token},
		Policy: definition.Policy{ReleaseRefs: []string{"main"}},
	}}
	d := &Dispatcher{
		Store: store, GitLab: &Client{URL: s.GitLab, Token: s.Token}, Projects: func() []Watched { return watched }, Owner: s.Owner,
		Jenkins: &jenkins.Client{URL: s.Jenkins, User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Timeout: s.JenkinsFor, Transport: calls{}},
		Job:     s.Job, LogDir: filepath.Join(s.Dir, "logs"), LostAfter: s.LostAfter, HeadsEvery: s.Heads,
	}
	if d.init(); s.Looked {
		d.due(choreHeads+s.Project, d.HeadsEvery)
	}
	return d
}

// hit sends this process the signal when it comes to its point.
func (s daemonSpec) hit() func(string) {
	known := map[string]bool{}
	for _, p := range crashPoints {
		known[p.name] = true
	}
	var once sync.Once
	return func(point string) {
		if !known[point] {
			panic("this point is not in the list of crash points: " + point)
		}
		if point != s.Point {
			return
		}
		once.Do(func() {
			if s.Signal == syscall.SIGSTOP { // what others have sent to GitLab by now is answered: it could not be called back
				time.Sleep(300 * time.Millisecond)
			}
			if err := syscall.Kill(os.Getpid(), s.Signal); err != nil {
				panic(err)
			}
		})
	}
}

// moody is an inbox that does not take the first deliveries.
type moody struct {
	Inbox
	left int32
}

func (m *moody) AcceptEvents(ctx context.Context, events []lineage.HookEvent) ([]lineage.Accepted, error) {
	if atomic.AddInt32(&m.left, -1) >= 0 {
		return nil, &lineage.Unavailable{Op: "accept", Err: context.DeadlineExceeded}
	}
	return m.Inbox.AcceptEvents(ctx, events)
}

// calls are crash points around each request to Jenkins, and one when it is
// written whole and not answered yet.
type calls struct{}

func (calls) RoundTrip(r *http.Request) (*http.Response, error) {
	if failpoint == nil {
		return http.DefaultTransport.RoundTrip(r)
	}
	name := callName(r)
	milestone("before jenkins " + name)
	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { milestone("wrote jenkins " + name) }}
	response, err := http.DefaultTransport.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	milestone("after jenkins " + name)
	return response, err
}

var buildPath = regexp.MustCompile(`/[0-9]+/api/json$`)

func callName(r *http.Request) string {
	path := r.URL.Path
	for part, name := range map[string]string{
		"/buildWithParameters": "start", "/queue/api/json": "queue", "/queue/item/": "item", "/queue/cancelItem": "cancel",
		"/logText/": "log", "/stop": "stop",
	} {
		if strings.Contains(path, part) {
			return name
		}
	}
	switch {
	case buildPath.MatchString(path):
		return "build"
	case strings.Contains(r.URL.RawQuery, "uilds"):
		return "builds"
	}
	return "job"
}
