package api

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
)

// database is one private MariaDB for all tests of the package.
var database struct {
	dsn  string
	root *sql.DB
	made atomic.Int64
}

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// sharedDSN tells the workers of a fuzz target which database they have.
const sharedDSN = "AIBUILD_API_TEST_DSN"

func runTests(m *testing.M) (code int, err error) {
	if database.dsn = os.Getenv(sharedDSN); database.dsn != "" {
		if database.root, err = sql.Open("mysql", database.dsn); err != nil {
			return 1, err
		}
		return m.Run(), database.root.Close()
	}
	parent := "/dev/shm" // durability is not what is tested here
	if fi, err := os.Stat(parent); err != nil || !fi.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "api")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	db, err := privatedb.Open(ctx, privatedb.Config{Dir: dir, Linger: time.Second})
	if err != nil {
		return 1, err
	}
	database.dsn = db.DSN()
	if err := os.Setenv(sharedDSN, database.dsn); err != nil {
		return 1, err
	}
	if database.root, err = sql.Open("mysql", database.dsn); err != nil {
		return 1, err
	}
	code = m.Run()
	if err := errors.Join(database.root.Close(), db.Close()); err != nil {
		return 1, err
	}
	return code, privatedb.Stop(context.Background(), dir)
}

// admin runs a statement as the database's administrator.
func admin(t testing.TB, statement string) {
	t.Helper()
	if _, err := database.root.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// newDSN makes an empty database.
func newDSN(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d_%d", os.Getpid(), database.made.Add(1))
	admin(t, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	t.Cleanup(func() { admin(t, "DROP DATABASE "+name) })
	return strings.TrimSuffix(database.dsn, "aibuild") + name
}

func openStore(t testing.TB, dsn string) *lineage.Store {
	t.Helper()
	s, err := lineage.Open(t.Context(), lineage.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newStore(t testing.TB) *lineage.Store {
	t.Helper()
	return migrated(t, newDSN(t))
}

func migrated(t testing.TB, dsn string) *lineage.Store {
	t.Helper()
	s := openStore(t, dsn)
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// lab is a server with its store, whose every exchange is held against the
// server's own description.
type lab struct {
	t     testing.TB
	dsn   string
	store *lineage.Store
	api   *Server
	http  *httptest.Server
	log   *logBuffer
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newLab(t testing.TB, change func(*Config)) *lab {
	t.Helper()
	dsn := newDSN(t)
	l := labOn(t, migrated(t, dsn), change)
	l.dsn = dsn
	return l
}

func labOn(t testing.TB, store *lineage.Store, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, store: store, log: &logBuffer{}}
	c := Config{Store: store, Version: "test", Log: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: l.log})}
	if change != nil {
		change(&c)
	}
	var err error
	if l.api, err = New(c); err != nil {
		t.Fatal(err)
	}
	l.http = httptest.NewServer(described(t, l.api))
	t.Cleanup(func() {
		l.http.Close()
		if err := l.api.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// token makes a token.
func (l *lab) token(role string, projects ...string) Secret {
	l.t.Helper()
	token, hash := NewToken()
	_, err := l.store.CreateToken(l.t.Context(), lineage.Token{Name: role, Role: role, Projects: projects, CreatedBy: "test", ExpiresAt: time.Now().Add(time.Hour)}, hash)
	if err != nil {
		l.t.Fatal(err)
	}
	return token
}

// client speaks with a token.
func (l *lab) client(token Secret) *Client {
	c := &Client{URL: l.http.URL, Token: token}
	l.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			l.t.Error(err)
		}
	})
	return c
}

// reply is an answer as it came.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request as any program might. body is sent as JSON unless it is
// a string.
func (l *lab) send(method, path string, token Secret, body any) reply {
	l.t.Helper()
	return l.do(l.request(method, path, token, body))
}

func (l *lab) request(method, path string, token Secret, body any) *http.Request {
	l.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		j, err := json.Marshal(b)
		if err != nil {
			l.t.Fatal(err)
		}
		r = bytes.NewReader(j)
	}
	req, err := http.NewRequestWithContext(l.t.Context(), method, l.http.URL+path, r)
	if err != nil {
		l.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+string(token))
	}
	return req
}

func (l *lab) do(req *http.Request) reply {
	l.t.Helper()
	resp, err := l.http.Client().Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, b}
}

// code is the problem's code, and "" for a success.
func (r reply) code(t testing.TB) string {
	t.Helper()
	if r.status < 300 {
		return ""
	}
	var p Problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		t.Fatalf("HTTP %d is no problem: %v: %s", r.status, err, r.body)
	}
	if got := r.header.Get("Content-Type"); got != problemType {
		t.Errorf("problem came as %s", got)
	}
	if p.Status != r.status || p.Title == "" || p.Detail == "" || p.RequestID != r.header.Get("X-Request-Id") || p.Type != "/docs#"+p.Code {
		t.Errorf("problem is incomplete: %s", r.body)
	}
	return p.Code
}

func into[T any](t testing.TB, r reply) T {
	t.Helper()
	var v T
	if r.status >= 300 {
		t.Fatalf("HTTP %d: %s", r.status, r.body)
	}
	if err := json.Unmarshal(r.body, &v); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return v
}

const (
	project = "group/images"
	other   = "group/other"
)

var day = time.Date(2025, 11, 22, 8, 0, 0, 123456000, time.UTC)

// runRecord puts a run into the store as the daemon has it.
func (l *lab) run(change func(*lineage.Run)) lineage.Run {
	l.t.Helper()
	run := lineage.Run{ID: newID(), Image: "tiny", Project: project, Ref: "refs/heads/main", Commit: "c0ffee", Folder: "images/tiny", State: lineage.RunBuilding}
	if change != nil {
		change(&run)
	}
	stored, err := l.store.OpenRun(l.t.Context(), run, "ann", lineage.ChannelAPI, "")
	if err != nil {
		l.t.Fatal(err)
	}
	return stored
}

// end ends a run as the daemon does.
func (l *lab) end(id, state string) {
	l.t.Helper()
	err := l.store.Record(l.t.Context(), lineage.Record{
		ID: newID(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: id, Verb: lineage.VerbEnded, Run: &lineage.Run{ID: id, State: state},
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func builtRecord(image, name, of string) lineage.Record {
	sha := strings.ReplaceAll(image, "-", "") + strings.ReplaceAll(image, "-", "")
	return lineage.Record{ID: newID(), At: day, Actor: "jenkins", Channel: "jenkins", RunID: image, ImageUUID: image, Verb: lineage.VerbBuilt, Built: &lineage.Built{
		Name: name, Project: of, Arch: "x86_64", OSType: "debian", OSVer: "12", FromISO: "https://example.org/debian.iso", UpdateContents: "first",
		Artifact: lineage.Artifact{Format: "qcow2", Size: 1 << 20, SHA256: sha, Commit: "c0ffee", Ref: "main", Tools: map[string]string{"packer": "1.6.6"}},
	}}
}

func testedRecord(image, verdict string) lineage.Record {
	return lineage.Record{ID: newID(), At: day.Add(time.Minute), Actor: "jenkins", Channel: "jenkins", ImageUUID: image, Verb: lineage.VerbTested, Tested: &lineage.Tested{
		Verdict: verdict, TestCase: "all (1 cases)", Cases: []lineage.TestCase{{Case: "boots", Cell: "bios-virtio-nocloud", Result: verdict, MS: 12}},
	}}
}

func publishedRecord(image string) lineage.Record {
	return lineage.Record{ID: newID(), At: day.Add(2 * time.Minute), Actor: "jenkins", Channel: "jenkins", ImageUUID: image, Verb: lineage.VerbPublished,
		Published: &lineage.Published{ReleaseURL: "http://web/images/release/tiny/" + image + "/tiny.qcow2"}}
}

func releasedRecord(image, cluster, state, glance string) lineage.Record {
	at := day.Add(3 * time.Minute)
	t := &lineage.Target{Cluster: cluster, State: state, GlanceID: glance}
	if state == lineage.TargetVisible {
		t.ReleaseAt = at
	}
	return lineage.Record{ID: newID(), At: at, Actor: "jenkins", Channel: "jenkins", ImageUUID: image, Verb: lineage.VerbReleased, Released: t}
}

func movedRecord(run, state string) lineage.Record {
	return lineage.Record{ID: newID(), At: time.Now(), Actor: "jenkins", Channel: "jenkins", RunID: run, Verb: lineage.VerbMoved, Run: &lineage.Run{ID: run, State: state}}
}

// stored records as the owner of the database.
func (l *lab) stored(records ...lineage.Record) {
	l.t.Helper()
	if err := l.store.Record(l.t.Context(), records...); err != nil {
		l.t.Fatal(err)
	}
}
