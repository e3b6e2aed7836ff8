package hooks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
)

const (
	secretCanary = "c4n4ry-t0ken"
	commitA      = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	commitB      = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// pushBody is a push as GitLab writes it.
func pushBody(project, ref, before, after string, commits int) []byte {
	var list []string
	for i := range commits {
		list = append(list, fmt.Sprintf(`{"id":"%040x","message":"change %d\n","title":"change %d","timestamp":"2026-11-25T10:00:00+00:00","author":{"name":"A","email":"a@example.org"},"added":["images/web/file-%d"],"modified":[],"removed":[]}`, i, i, i, i))
	}
	return fmt.Appendf(nil, `{"object_kind":"push","event_name":"push","before":%q,"after":%q,"ref":%q,"checkout_sha":%q,"user_id":4,"user_name":"Ann","user_username":"ann","project_id":15,"project":{"id":15,"name":"images","path_with_namespace":%q,"visibility_level":0},"commits":[%s],"total_commits_count":%d}`,
		before, after, ref, after, project, strings.Join(list, ","), commits)
}

func goodBody() []byte { return pushBody("cloud/images", "refs/heads/main", commitA, commitB, 3) }

func fixed(value string) func() (string, error) { return func() (string, error) { return value, nil } }

// inbox is a real store, on a private MariaDB that can be stopped.
type inbox struct {
	*lineage.Store
	dir     string
	address string // of its database, as the administrator
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	return newInboxIn(t, t.TempDir())
}

func newInboxIn(t *testing.T, dir string) *inbox {
	t.Helper()
	db, err := privatedb.Open(t.Context(), privatedb.Config{Dir: dir, Linger: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	store, err := lineage.Open(t.Context(), lineage.Config{DSN: db.DSN()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(store.Close(), db.Close()); err != nil {
			t.Error(err)
		}
		err := privatedb.Stop(context.Background(), dir)
		for end := time.Now().Add(20 * time.Second); err != nil && time.Now().Before(end); { // its keeper may just be starting it again
			time.Sleep(100 * time.Millisecond)
			err = privatedb.Stop(context.Background(), dir)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err := store.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := &inbox{store, dir, db.DSN()}
	in.reports(t, "aibuild")
	return in
}

// reports makes every build report that it has ended well, as aibuild does, whose place the jobs of these tests take.
// What Jenkins says of a build that ends otherwise is worse, and counts.
func (i *inbox) reports(t *testing.T, database string) {
	t.Helper()
	i.query(t, "CREATE TRIGGER "+database+".reported BEFORE UPDATE ON "+database+".run FOR EACH ROW "+
		"SET NEW.exit_code = IF(NEW.state = 'building' AND OLD.state <> 'building', COALESCE(NEW.exit_code, 0), NEW.exit_code)")
}

// server gives the pid of the database server.
func (i *inbox) server(t *testing.T) int {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) { // it may just be started again
		if pid := i.pid(t); pid > 0 {
			return pid
		}
	}
	t.Fatal("the database server does not run")
	return 0
}

// pid is 0 where no server runs.
func (i *inbox) pid(t *testing.T) int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		b, err := os.ReadFile(path)
		name, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "comm")) // empty: it has ended
		if err == nil && strings.TrimSpace(string(name)) == "mariadbd" && bytes.Contains(b, []byte(i.dir)) {
			pid, err := strconv.Atoi(strings.Split(path, "/")[2])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	return 0
}

func (i *inbox) all(t *testing.T) []lineage.HookEvent {
	t.Helper()
	events, _, err := i.HookEvents(t.Context(), lineage.HookFilter{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return events
}

// receiver serves a Handler with one global token.
func receiver(t *testing.T, h *Handler) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	h.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace, Mutex: new(sync.Mutex)})
	if h.Secrets == nil {
		h.Secrets = func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }
	}
	if h.GitLabURL == "" {
		h.GitLabURL = "https://gitlab.example.org"
	}
	server := httptest.NewUnstartedServer(h)
	Limits(server.Config)
	server.Start()
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if strings.Contains(log.String(), secretCanary) {
			t.Errorf("the log holds the secret:\n%s", log.String())
		}
	})
	return server, &log
}

type answered struct {
	code int
	body string
	reply
}

func send(t *testing.T, url string, body []byte, header ...string) answered {
	t.Helper()
	got, err := trySend(url, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(got.body, secretCanary) {
		t.Errorf("the answer holds the secret: %s", got.body)
	}
	return got
}

func trySend(url string, body []byte, header ...string) (answered, error) {
	r, err := http.NewRequest(http.MethodPost, url+"/hooks/gitlab", bytes.NewReader(body))
	if err != nil {
		return answered{}, err
	}
	r.Header.Set("X-Gitlab-Token", secretCanary)
	r.Header.Set("X-Gitlab-Event", "Push Hook")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return answered{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	got := answered{code: response.StatusCode, body: string(text)}
	return got, errors.Join(err, json.Unmarshal(text, &got.reply))
}

func TestDeliveries(t *testing.T) {
	in := newInbox(t)
	server, _ := receiver(t, &Handler{Inbox: in, Known: func(p string) bool { return p == "cloud/images" }})
	deep := strings.Replace(string(goodBody()), `"user_id":4`, `"user_id":`+strings.Repeat("[", 9000)+strings.Repeat("]", 9000), 1)
	tests := []struct {
		name   string
		body   []byte
		header []string
		code   int
		says   string
	}{
		{"push", goodBody(), nil, 202, "accepted"},
		{"system hook", goodBody(), []string{"X-Gitlab-Event", "System Hook", "Idempotency-Key", "sys"}, 202, "accepted"},
		{"user id as text", []byte(strings.Replace(string(goodBody()), `"user_id":4`, `"user_id":"four"`, 1)), nil, 202, "accepted"},
		{"odd timestamp", []byte(strings.Replace(string(goodBody()), "2026-11-25T10:00:00+00:00", "2011-12-12 14:27:31 UTC", 1)), nil, 202, "accepted"},
		{"deep", []byte(deep), nil, 202, "accepted"},
		{"10,000 commits", pushBody("cloud/images", "refs/heads/main", commitA, commitB, 10000), nil, 202, "accepted"},
		{"merge request", []byte(`{"object_kind":"merge_request"}`), nil, 200, "merge_request starts nothing"},
		{"custom template", []byte(`{"text":"hello"}`), nil, 200, "custom template"},
		{"null", []byte(`null`), nil, 200, "custom template"},
		{"other project", pushBody("other/images", "refs/heads/main", commitA, commitB, 1), nil, 200, "not configured"},
		{"other gitlab", goodBody(), []string{"X-Gitlab-Instance", "https://evil.example", "Idempotency-Key", "evil"}, 202, "accepted"},
		{"ref with a path", pushBody("cloud/images", "refs/heads/../../etc", commitA, commitB, 1), nil, 200, "no ref"},
		{"no json", []byte("hello"), nil, 400, "not the JSON"},
		{"cut", goodBody()[:100], nil, 400, "not the JSON"},
		{"trailing", append(goodBody(), '{'), nil, 400, "not the JSON"},
		{"duplicate key", []byte(strings.Replace(string(goodBody()), `"user_id":4`, `"after":"`+commitA+`"`, 1)), nil, 400, "not the JSON"},
		{"invalid utf-8 in the ref", []byte(strings.Replace(string(goodBody()), "refs/heads/main", "refs/heads/\xff", 1)), nil, 400, "not the JSON"},
		{"wrong token", goodBody(), []string{"X-Gitlab-Token", "wrong"}, 401, "no valid token"},
		{"no token", goodBody(), []string{"X-Gitlab-Token", ""}, 401, "no valid token"},
		{"no token, no json", []byte("x"), []string{"X-Gitlab-Token", ""}, 401, "no valid token"},
		{"too large", make([]byte, maxPayload+1), nil, 413, "25 MB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := send(t, server.URL, tt.body, tt.header...); got.code != tt.code || !strings.Contains(got.body, tt.says) {
				t.Errorf("%d %s; want %d %q", got.code, got.body, tt.code, tt.says)
			}
		})
	}
	if r, err := http.Get(server.URL + "/hooks/gitlab"); err != nil || r.StatusCode != 405 || r.Body.Close() != nil {
		t.Errorf("GET: %v, %v", r, err)
	}
	if n := len(in.all(t)); n != 7 {
		t.Errorf("%d events are stored, want 7", n)
	}
}

// One key is one event, however often and at once it comes.
func TestEqualDeliveries(t *testing.T) {
	in := newInbox(t)
	server, _ := receiver(t, &Handler{Inbox: in})
	ids := make(chan int64, 64)
	for _, header := range [][]string{{"Idempotency-Key", "3fa4"}, nil} {
		var wait sync.WaitGroup
		for range 32 {
			wait.Go(func() {
				got, err := trySend(server.URL, goodBody(), header...)
				if err != nil || got.code != 202 {
					t.Errorf("%d %s %v", got.code, got.body, err)
				}
				ids <- got.Event
			})
		}
		wait.Wait()
		first := <-ids
		for range 31 {
			if id := <-ids; id != first || id == 0 {
				t.Errorf("event %d, and %d for the same key", first, id)
			}
		}
	}
	if n := len(in.all(t)); n != 2 {
		t.Errorf("%d events are stored, want one for each key", n)
	}
}

// opensslSignature is what an independent program makes of a delivery.
func opensslSignature(t *testing.T, secret, id string, at time.Time, body []byte) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, signingPrefix))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", fmt.Sprintf("hexkey:%x", key), "-binary")
	cmd.Stdin = io.MultiReader(strings.NewReader(fmt.Sprintf("%s.%d.", id, at.Unix())), bytes.NewReader(body))
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("openssl: %v", err)
	}
	return "v1," + base64.StdEncoding.EncodeToString(out)
}

func signingKey(t *testing.T) string {
	t.Helper()
	key := make([]byte, 24)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	return signingPrefix + base64.StdEncoding.EncodeToString(key)
}

func TestSignatures(t *testing.T) {
	in := newInbox(t)
	key, old, other := signingKey(t), signingKey(t), signingKey(t)
	list := []Secret{
		{"cloud/images", fixed(old)}, {"cloud/images", fixed(key)}, {"cloud/images", fixed("its-token")},
		{"other/images", fixed("other-token")}, {"", fixed(secretCanary)},
	}
	now := time.Now()
	server, _ := receiver(t, &Handler{Inbox: in, Secrets: func() []Secret { return list }})
	body, elsewhere := goodBody(), pushBody("other/images", "refs/heads/main", commitA, commitB, 1)
	third := pushBody("third/images", "refs/heads/main", commitA, commitB, 1)
	signedAt := func(secret string, at time.Time, more string) []string {
		return []string{"X-Gitlab-Token", "", "webhook-id", "id-1", "webhook-timestamp", fmt.Sprint(at.Unix()),
			"webhook-signature", strings.TrimSpace(more + " " + opensslSignature(t, secret, "id-1", at, body))}
	}
	tests := []struct {
		name   string
		body   []byte
		header []string
		code   int
	}{
		{"signed", body, signedAt(key, now, ""), 202},
		{"by the old key", body, signedAt(old, now, ""), 202},
		{"one of several", body, signedAt(key, now, "v1,AAAA v2,BBBB"), 202},
		{"four minutes late", body, signedAt(key, now.Add(-4*time.Minute), ""), 202},
		{"six minutes late", body, signedAt(key, now.Add(-6*time.Minute), ""), 401},
		{"from the future", body, signedAt(key, now.Add(6*time.Minute), ""), 401},
		{"by another key", body, signedAt(other, now, ""), 401},
		{"body changed", pushBody("cloud/images", "refs/heads/evil", commitA, commitB, 3), signedAt(key, now, ""), 401},
		{"token only, where keys are configured", body, []string{"X-Gitlab-Token", "its-token"}, 401},
		{"token and 19.x headers, where keys are configured", body, []string{"X-Gitlab-Token", "its-token", "webhook-id", "x", "webhook-timestamp", fmt.Sprint(now.Unix())}, 401},
		{"the global token, where own secrets are configured", body, nil, 401},
		{"token of a project without keys, with 19.x headers", elsewhere, []string{"X-Gitlab-Token", "other-token", "webhook-id", "y", "webhook-timestamp", fmt.Sprint(now.Unix())}, 202},
		{"another project's token", body, []string{"X-Gitlab-Token", "other-token"}, 401},
		{"a project's token for one without own", third, []string{"X-Gitlab-Token", "other-token"}, 401},
		{"the global token for one without own", third, nil, 202},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := send(t, server.URL, tt.body, tt.header...); got.code != tt.code {
				t.Errorf("%d %s; want %d", got.code, got.body, tt.code)
			}
		})
	}
}

func TestUnreadableSecret(t *testing.T) {
	server, log := receiver(t, &Handler{Inbox: newInbox(t), Secrets: func() []Secret {
		return []Secret{{Value: func() (string, error) { return "", os.ErrPermission }}}
	}})
	got := send(t, server.URL, goodBody())
	if got.code != 503 || !strings.Contains(log.String(), "permission denied") {
		t.Errorf("%d %s, log %s", got.code, got.body, log)
	}
}

// The database stops, and is killed, while deliveries come: all of them are
// acknowledged soon, and all that were are in the database afterwards, once.
func TestDatabaseAwayWhileDeliveriesCome(t *testing.T) {
	in := newInbox(t)
	spool, err := OpenSpool(t.TempDir(), 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Inbox: in, Spool: spool}
	server, _ := receiver(t, h)
	pid := in.server(t)
	deliver := func(n int, name string) {
		var wait sync.WaitGroup
		for i := range n {
			wait.Go(func() {
				began := time.Now()
				got, err := trySend(server.URL, goodBody(), "Idempotency-Key", fmt.Sprintf("%s-%d", name, i))
				if err != nil || got.code != 202 || time.Since(began) > 5*time.Second {
					t.Errorf("%s %d: %d %s %v after %v", name, i, got.code, got.body, err, time.Since(began))
				}
			})
		}
		wait.Wait()
	}
	before := runtime.NumGoroutine()
	deliver(8, "up")
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	deliver(40, "stopped")
	if n := spool.Stats().Events; n == 0 {
		t.Error("nothing is in the spool while the database hangs")
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	deliver(16, "killed")
	deadline := time.Now().Add(30 * time.Second)
	for spool.Stats().Events > 0 {
		if _, err := spool.Drain(t.Context(), in); err != nil && time.Now().After(deadline) {
			t.Fatalf("Drain: %v", err)
		}
		time.Sleep(50 * time.Millisecond)
	}
	if n := len(in.all(t)); n != 64 {
		t.Errorf("%d events are in the database, 64 were acknowledged", n)
	}
	if s := spool.Stats(); s.Bytes != 0 || s.Events != 0 {
		t.Errorf("the spool is not empty: %+v", s)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before+20 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if n := runtime.NumGoroutine(); n > before+20 {
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// nowhere is an inbox whose database is away.
type nowhere struct{}

func (nowhere) AcceptEvents(context.Context, []lineage.HookEvent) ([]lineage.Accepted, error) {
	return nil, &lineage.Unavailable{Op: "accept", Err: errors.New("connection refused")}
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	spool, err := OpenSpool(dir, 40<<10)
	if err != nil {
		t.Fatal(err)
	}
	server, _ := receiver(t, &Handler{Inbox: nowhere{}, Spool: spool})
	count := 0
	for ; count < 100; count++ {
		got := send(t, server.URL, goodBody(), "Idempotency-Key", fmt.Sprintf("k-%03d", count))
		if got.code == 503 {
			break
		}
		if got.code != 202 || got.Event != 0 {
			t.Fatalf("%d %s", got.code, got.body)
		}
	}
	if count < 5 || count == 100 {
		t.Errorf("the quota of 40 KiB took %d deliveries", count)
	}
	// A file that a power loss tore does not hold up the others.
	names, err := spool.list()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, names[2]), 100); err != nil {
		t.Fatal(err)
	}
	again, err := OpenSpool(dir, 40<<10) // the next process
	if err != nil || again.Stats().Events != count {
		t.Fatalf("%+v, %v; want %d events", again.Stats(), err, count)
	}
	if _, err := again.Drain(t.Context(), nowhere{}); err == nil {
		t.Error("drained into nowhere")
	}
	in := newInbox(t)
	n, err := again.Drain(t.Context(), in)
	if n != count-1 || again.Stats().Events != 0 {
		t.Errorf("Drain = %d, %v, left %+v; want %d", n, err, again.Stats(), count-1)
	}
	events := in.all(t)
	for i, e := range events { // newest first
		if want := fmt.Sprintf("k-%03d", count-1-i); i < count-3 && e.Key != want {
			t.Errorf("event %d has the key %s, want %s", i, e.Key, want)
		}
	}
	if damaged, _ := filepath.Glob(filepath.Join(dir, "*"+damagedEnd)); len(damaged) != 1 {
		t.Errorf("put aside: %v", damaged)
	}
}

// Slow and silent clients hold up nobody.
func TestSlowClients(t *testing.T) {
	server, _ := receiver(t, &Handler{Inbox: newInbox(t)})
	address := server.Listener.Addr().String()
	var idle []net.Conn
	defer func() {
		for _, c := range idle {
			c.Close()
		}
	}()
	for i := range 1000 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
		if i < 50 {
			if _, err := fmt.Fprintf(c, "POST /hooks/gitlab HTTP/1.1\r\nHost: x\r\nX-Gitlab-Token: %s\r\nContent-Length: 5000\r\n\r\n{", secretCanary); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	if got := send(t, server.URL, goodBody()); got.code != 202 || time.Since(began) > 3*time.Second {
		t.Errorf("%d %s after %v beside 1,000 silent clients", got.code, got.body, time.Since(began))
	}
	if err := idle[999].SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := idle[999].Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a client that says nothing is kept: %v", err)
	}
}

// A body costs its size and little more, whatever it holds.
func TestMemoryOfABody(t *testing.T) {
	body := append([]byte(`{"object_kind":"push","commits":[`), bytes.Repeat([]byte(`{"id":"x","added":["a","b"]},`), 700_000)...)
	body = append(body, []byte(`{}]}`)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := decode(body); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("decoding %d MiB allocates %d KiB", len(body)>>20, used>>10)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(goodBody())
	f.Add([]byte(`{"project":{"path_with_namespace":"a"},"ref":"\u0072"}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, body []byte) { sameVerdict(t, body) })
}

// sameVerdict: what is accepted is JSON, and what encoding/json refuses is refused.
func sameVerdict(t *testing.T, body []byte) {
	t.Helper()
	r, err := decode(body)
	if err == nil && !json.Valid(body) {
		t.Fatalf("accepted, though it is no JSON: %q", body)
	}
	if err != nil {
		return
	}
	if kind, err := r.event(false); err == nil && (kind == "" || !validRef(r.ref) || !objectID.MatchString(r.after)) {
		t.Fatalf("event %q of %+v", kind, r)
	}
}

// TestMutatedBodies is the fuzz target for two seconds, with the same bodies each
// time.
func TestMutatedBodies(t *testing.T) {
	random := uint32(1)
	next := func(n int) int {
		random = random*1664525 + 1013904223
		return int(random>>8) % n
	}
	seed := goodBody()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		body := bytes.Clone(seed)
		for range 1 + next(4) {
			at := next(len(body))
			switch next(4) {
			case 0:
				body[at] = byte(next(256))
			case 1:
				body = append(body[:at], body[min(len(body), at+next(20)):]...)
			case 2:
				body = append(body[:at:at], append([]byte(`,"ref":"x"`), body[at:]...)...)
			default:
				body = append(body[:at:at], append(bytes.Repeat([]byte("["), next(50)), body[at:]...)...)
			}
			if len(body) == 0 {
				body = []byte("{")
			}
		}
		sameVerdict(t, body)
		header := http.Header{"Webhook-Signature": {string(body[:min(len(body), 60)])}, "Webhook-Timestamp": {fmt.Sprint(time.Now().Unix())}}
		if p, err := prove([]Secret{{Value: fixed("whsec_" + base64.StdEncoding.EncodeToString(seed[:24]))}}, header, body, time.Now()); err != nil || p.any() {
			t.Fatalf("a wrong signature proves something: %v", err)
		}
	}
}
