package gitlabtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const projectPath = "group/images"

// start starts a server with the project group/images.
func start(t *testing.T, opts gitlabtest.Options, p gitlabtest.Project) *gitlabtest.Server {
	t.Helper()
	s, err := gitlabtest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	if p.Path == "" {
		p.Path = projectPath
	}
	if _, err := s.CreateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	return s
}

func idle(t *testing.T, s *gitlabtest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Idle(ctx); err != nil {
		t.Fatal(err)
	}
}

// got is a request that a receiver was sent.
type got struct {
	Header http.Header
	Body   []byte
	Err    error // of reading the body
	At     time.Time
}

func (g got) payload(t *testing.T) payload {
	t.Helper()
	var p payload
	if err := json.Unmarshal(g.Body, &p); err != nil {
		t.Fatalf("payload %s: %v", g.Body, err)
	}
	return p
}

// payload is what the tests look at.
type payload struct {
	ObjectKind   string  `json:"object_kind"`
	EventName    string  `json:"event_name"`
	Before       string  `json:"before"`
	After        string  `json:"after"`
	Ref          string  `json:"ref"`
	RefProtected *bool   `json:"ref_protected"`
	CheckoutSHA  *string `json:"checkout_sha"`
	Message      *string `json:"message"`
	UserUsername string  `json:"user_username"`
	UserEmail    *string `json:"user_email"`
	Project      struct {
		DefaultBranch string `json:"default_branch"`
		Namespace     string `json:"namespace"`
		Path          string `json:"path_with_namespace"`
	} `json:"project"`
	Commits []struct {
		ID        string   `json:"id"`
		Message   string   `json:"message"`
		Title     string   `json:"title"`
		Timestamp string   `json:"timestamp"`
		Added     []string `json:"added"`
		Modified  []string `json:"modified"`
		Removed   []string `json:"removed"`
	} `json:"commits"`
	Total int `json:"total_commits_count"`
}

func (p payload) ids() []string {
	ids := []string{}
	for _, c := range p.Commits {
		ids = append(ids, c.ID)
	}
	return ids
}

// receiver is a server that hooks are delivered to.
type receiver struct {
	URL string

	mu     sync.Mutex
	got    []got
	answer http.HandlerFunc // nil: 200 and an empty body
}

func receive(t *testing.T) *receiver {
	r := &receiver{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		r.mu.Lock()
		r.got = append(r.got, got{request.Header, body, err, time.Now()})
		answer := r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(w, request)
		}
	}))
	t.Cleanup(server.Close)
	r.URL = server.URL
	return r
}

// take gives what came since the last take.
func (r *receiver) take() []got {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.got
	r.got = nil
	return taken
}

// answers sets what the receiver answers from now on.
func (r *receiver) answers(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

// status makes the receiver answer with a status.
func (r *receiver) status(code int) {
	r.answers(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
}

// one gives the only payload that came.
func (r *receiver) one(t *testing.T) payload {
	t.Helper()
	taken := r.take()
	if len(taken) != 1 {
		t.Fatalf("%d deliveries; want 1", len(taken))
	}
	return taken[0].payload(t)
}

// work is a clone that pushes.
type work struct {
	t   *testing.T
	dir string
	url string
}

// clone makes an empty working copy whose origin is the project, by HTTP with the token.
func clone(t *testing.T, s *gitlabtest.Server, token string) *work {
	t.Helper()
	w := &work{t: t, dir: t.TempDir(), url: s.CloneURL(projectPath, token)}
	w.git("init", "--quiet", "--initial-branch=main")
	w.git("remote", "add", "origin", w.url)
	return w
}

// gitCommand has no configuration but what the tests need, and dates that do not change.
func gitCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ann Author", "GIT_AUTHOR_EMAIL=ann@example.org", "GIT_AUTHOR_DATE=1700000000 +0100",
		"GIT_COMMITTER_NAME=Carl Committer", "GIT_COMMITTER_EMAIL=carl@example.org", "GIT_COMMITTER_DATE=1700000060 -0300",
		"no_proxy=*")
	return cmd
}

func (w *work) try(args ...string) (string, error) {
	var out bytes.Buffer
	cmd := gitCommand(w.t.Context(), w.dir, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

func (w *work) git(args ...string) string {
	w.t.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(out)
}

func (w *work) write(name, content string) {
	w.t.Helper()
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		w.t.Fatal(err)
	}
}

// commit writes files, given as name and content in turn, and gives the commit's id.
func (w *work) commit(message string, files ...string) string {
	w.t.Helper()
	for i := 0; i+1 < len(files); i += 2 {
		w.write(files[i], files[i+1])
	}
	w.git("add", "--all")
	w.git("commit", "--quiet", "--allow-empty", "--message", message)
	return w.git("rev-parse", "HEAD")
}

func (w *work) push(args ...string) {
	w.t.Helper()
	w.git(append([]string{"push", "--quiet", "origin"}, args...)...)
}

// addHook subscribes a receiver to pushes and tags.
func addHook(t *testing.T, s *gitlabtest.Server, url string) gitlabtest.Hook {
	t.Helper()
	h, err := s.AddHook(projectPath, gitlabtest.Hook{URL: url, Events: []string{"push_events", "tag_push_events"}})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// scene is a project whose main branch has one commit, with a receiver and a clone.
type scene struct {
	*gitlabtest.Server
	*receiver
	*work
	hook gitlabtest.Hook
}

// stage sets a scene; nothing protects its branches unless p says so.
func stage(t *testing.T, opts gitlabtest.Options, p gitlabtest.Project) scene {
	t.Helper()
	if p.Protected == nil {
		p.Protected = []gitlabtest.Protected{}
	}
	s := start(t, opts, p)
	r := receive(t)
	w := clone(t, s, s.RootToken())
	w.commit("first\n", "README", "hello\n")
	w.push("main")
	return scene{s, r, w, addHook(t, s, r.URL)}
}

// api makes a request as root and gives the status and the body.
func (sc scene) api(method, path string, form string) (int, string) {
	sc.t.Helper()
	return apiAs(sc.t, sc.Server, sc.RootToken(), method, path, form)
}

func apiAs(t *testing.T, s *gitlabtest.Server, token, method, path, form string) (int, string) {
	t.Helper()
	response := request(t, s, token, method, path, form)
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

func request(t *testing.T, s *gitlabtest.Server, token, method, path, form string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL()+"/api/v4/"+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("PRIVATE-TOKEN", token)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return response
}

// zero is the object id of nothing.
var zero = strings.Repeat("0", 40)

func seq(from, to int) (numbers []string) {
	for i := from; i <= to; i++ {
		numbers = append(numbers, fmt.Sprint(i))
	}
	return numbers
}
