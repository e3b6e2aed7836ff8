package hooks

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// hospital is a factory whose database is ill: a whole daemon in this process,
// with its spool, beside a server on a disk of its own.
type hospital struct {
	*factory
	disk     string
	spool    *Spool
	log      *syncedLog
	receiver *httptest.Server
	ready    http.Handler
	pushed   int
	sent     map[string]int64 // keys that were acknowledged
}

// wellAgain is how long a daemon may take to be back at work after a database.
const wellAgain = 2 * time.Minute

func newHospital(t *testing.T) *hospital {
	t.Helper()
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=256m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h := &hospital{disk: disk, log: new(syncedLog), sent: map[string]int64{}}
	h.factory = newFactoryOn(t, "", unprivileged(t, newInboxIn(t, disk)))
	h.start(t)
	return h
}

// unprivileged is what a daemon should be: read_only does not bind administrators.
func unprivileged(t *testing.T, in *inbox) *inbox {
	t.Helper()
	in.query(t, "CREATE USER daemon@localhost")
	in.query(t, "GRANT ALL ON aibuild.* TO daemon@localhost")
	store, err := lineage.Open(t.Context(), lineage.Config{DSN: strings.Replace(in.address, "root@", "daemon@", 1) + "?innodb_lock_wait_timeout=1&readTimeout=3s"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return &inbox{store, in.dir, in.address}
}

// start starts the daemon as serve does.
func (h *hospital) start(t *testing.T) {
	t.Helper()
	var err error
	if h.spool, err = OpenSpool(filepath.Join(h.dir, "spool"), 64<<20); err != nil {
		t.Fatal(err)
	}
	log := hclog.New(&hclog.LoggerOptions{Output: h.log, Level: hclog.Info})
	h.d = h.daemon("one")
	h.d.Log, h.d.HeadsEvery, h.d.LostAfter = log, time.Hour, 5*time.Second
	h.d.Before = func(ctx context.Context) error { _, err := h.spool.Drain(ctx, h.in); return err }
	h.first()
	handler := &Handler{Inbox: h.in, Spool: h.spool, Log: log, GitLabURL: h.URL(), Woken: h.d.Wake, Secrets: func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }}
	h.receiver = httptest.NewServer(handler)
	server, err := api.New(api.Config{Store: h.in.Store, Log: log, Parts: func() map[string]string { return map[string]string{"trouble": h.d.Stats().LastError} }})
	if err != nil {
		t.Fatal(err)
	}
	h.ready = server.Handler()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- h.d.Run(ctx) }()
	t.Cleanup(func() {
		h.receiver.Close()
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if t.Failed() {
			t.Logf("the daemon said:\n%s", h.log)
		}
	})
}

// noisyBody is a push of a project that is not configured, which does not get
// much smaller by packing.
func noisyBody() []byte {
	noise := make([]byte, 64<<10)
	for i := range noise {
		noise[i] = byte('a' + rand.N(26))
	}
	return bytes.Replace(pushBody("other/images", head, commitA, commitB, 1), []byte(`"user_id":4`), fmt.Appendf(nil, `"user_id":4,"noise":%q`, noise), 1)
}

// push sends a push that starts a build, and n hooks that start nothing, at once.
func (h *hospital) push(name string, n int) {
	h.t.Helper()
	h.pushed++
	before := strings.Repeat("0", 40)
	if len(h.commits) > 0 {
		before = h.commits[0]
	}
	id := h.work.commit(name, library.with(files{"images/a/f": plain(name)}), h.commits...)
	h.commits = []string{id}
	h.standin.push(id, head)
	h.deliver(name, n, pushBody("ops/images", head, before, id, 1))
}

// deliver sends n hooks that start nothing, and others; all have to be
// acknowledged.
func (h *hospital) deliver(name string, n int, others ...[]byte) {
	h.t.Helper()
	bodies := map[string][]byte{}
	for i, body := range others {
		bodies[fmt.Sprintf("%s-push-%d", name, i)] = body
	}
	for i := range n {
		bodies[fmt.Sprintf("%s-%d", name, i)] = noisyBody()
	}
	var wait sync.WaitGroup
	var mu sync.Mutex
	for key, body := range bodies {
		wait.Go(func() {
			got, err := trySend(h.receiver.URL, body, "Idempotency-Key", key)
			if err != nil || got.code != http.StatusAccepted {
				h.t.Errorf("%s: %d %s %v", key, got.code, got.body, err)
			}
			mu.Lock()
			defer mu.Unlock()
			h.sent[key] = got.Event
		})
	}
	wait.Wait()
}

// says waits for /readyz to be of that status.
func (h *hospital) says(status int) (body string) {
	h.t.Helper()
	for end := time.Now().Add(wellAgain); ; time.Sleep(100 * time.Millisecond) {
		w := httptest.NewRecorder()
		h.ready.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/readyz", nil))
		if w.Code == status {
			return w.Body.String()
		}
		if time.Now().After(end) {
			h.t.Fatalf("/readyz says %d %s, want %d", w.Code, w.Body, status)
		}
	}
}

// well waits until everything that was acknowledged is in the database, once,
// and all is done.
func (h *hospital) well(name string) {
	h.t.Helper()
	for end := time.Now().Add(wellAgain); ; time.Sleep(100 * time.Millisecond) {
		problem := h.ill()
		if problem == "" {
			break
		}
		if time.Now().After(end) {
			h.t.Fatalf("%s: not well again: %s; runs %s", name, problem, states(h.runs()))
		}
	}
	h.says(http.StatusOK)
	if got := len(h.in.allOf(h.t)); got != len(h.sent) {
		h.t.Errorf("%s: %d events of hooks are in the database, %d were acknowledged", name, got, len(h.sent))
	}
	runs := h.runs()
	if got, want := states(runs), "a:success b:success"+strings.Repeat(" a:success", h.pushed-1); got != want {
		h.t.Errorf("%s: runs %s, want %s", name, got, want)
	}
	if n := h.jenkins.Posts(jobPath); n != len(runs) || built(h.factory) != len(runs) {
		h.t.Errorf("%s: %d requests and %d builds for %d runs", name, n, built(h.factory), len(runs))
	}
}

func (h *hospital) ill() string {
	ctx := h.t.Context()
	runs, _, err := h.in.Runs(ctx, lineage.RunFilter{Limit: 100})
	if err != nil {
		return err.Error()
	}
	st, err := h.in.Stats(ctx)
	switch {
	case err != nil:
		return err.Error()
	case st.EventsPending > 0, st.StatusesDue > 0, h.spool.Stats().Events > 0:
		return fmt.Sprintf("%+v, in the spool: %+v", st, h.spool.Stats())
	case len(runs) < h.pushed+1, slices.ContainsFunc(runs, func(r lineage.Run) bool { return !r.Final() }):
		return "runs have not ended"
	}
	return ""
}

// allOf are the events that came as hooks.
func (i *inbox) allOf(t *testing.T) []lineage.HookEvent {
	return slices.DeleteFunc(i.all(t), func(e lineage.HookEvent) bool {
		return strings.HasPrefix(e.Key, "head/") || strings.HasPrefix(e.Key, "watched/")
	})
}

// In every trouble of the database hooks are acknowledged, none is lost and none
// is doubled, and the daemon goes on by itself when it is over.
func TestDatabaseInTrouble(t *testing.T) {
	t.Parallel()
	h := newHospital(t)
	h.push("well", 4)
	h.well("well")
	h.during("killed", func() {
		for n := range 3 {
			if err := syscall.Kill(h.in.server(t), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			h.deliver(fmt.Sprint("killed-", n), 10)
			h.eventually("it is started again", func() bool { _, err := h.in.Stats(t.Context()); return err == nil })
		}
	})
	h.during("hanging", func() {
		pid := h.in.server(t)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		h.push("while it hangs", 30)
		h.reason("it does not answer", "the database did not answer within 1s")
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	})
	h.during("read-only", func() {
		h.in.query(t, "SET GLOBAL read_only = 1")
		h.push("while it is read-only", 10)
		h.reason("it is read-only", "the server is read-only")
		h.in.query(t, "SET GLOBAL read_only = 0")
	})
	h.during("locked", func() { h.lockRows(t) })
	h.during("full", func() { h.fill(t) })
}

// during makes trouble in the middle of a build, and looks at what it comes to.
func (h *hospital) during(name string, trouble func()) {
	h.t.Helper()
	writeFile(h.t, filepath.Join(h.dir, "hold"), "")
	h.push(name, 4)
	h.eventually("it is built", func() bool { return built(h.factory) == h.pushed+1 })
	trouble()
	removeFile(h.t, filepath.Join(h.dir, "hold"))
	h.deliver("after "+name, 4)
	h.well(name)
}

func (h *hospital) eventually(what string, so func() bool) {
	h.t.Helper()
	for end := time.Now().Add(wellAgain); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not so after %v: %s", wellAgain, what)
		}
	}
}

// reason waits until /readyz and the log say what is wrong.
func (h *hospital) reason(ready, log string) {
	h.t.Helper()
	h.eventually("/readyz says "+ready, func() bool { return strings.Contains(h.says(http.StatusServiceUnavailable), ready) })
	h.eventually("the log says "+log, func() bool { return strings.Contains(h.log.String(), log) })
}

// fill leaves the server no room on its disk.
func (h *hospital) fill(t *testing.T) {
	t.Helper()
	ballast := filepath.Join(h.disk, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil { // until the disk is full
		_, err = f.Write(make([]byte, 64<<10))
	}
	if !errors.Is(err, syscall.ENOSPC) || f.Close() != nil {
		t.Fatal(err)
	}
	rounds := 0
	h.eventually("the database takes nothing", func() bool { // but what still fits into the server's files
		rounds++
		h.deliver(fmt.Sprintf("full-%d", rounds), 40)
		return h.spool.Stats().Events > 40
	})
	h.push("while it is full", 1)
	h.eventually("the log says so", func() bool { return strings.Contains(h.log.String(), "full") })
	removeFile(t, ballast)
}

// lockRows lets another session lock what the daemon wants to write: it gets lock
// waits that are too long (1205), and deadlocks (1213).
func (h *hospital) lockRows(t *testing.T) {
	t.Helper()
	db, err := sql.Open("mysql", h.in.address)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	status := func(name string) (n int) {
		if err := db.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(new(string), &n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	must := func(tx *sql.Tx, stmt string) {
		t.Helper()
		if _, err := tx.Exec(stmt); err != nil {
			t.Fatalf("%s: %v", stmt, err)
		}
	}
	h.in.query(t, "CREATE TABLE aibuild.heavy (n INT)")
	waits, deadlocks := status("Innodb_row_lock_waits"), status("Innodb_deadlocks")
	for i := 0; status("Innodb_deadlocks") == deadlocks; i++ {
		if i == 100 {
			t.Fatal("the daemon was never in a deadlock")
		}
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		must(tx, "INSERT INTO heavy SELECT seq FROM seq_1_to_1000") // the server ends the lighter one
		must(tx, "SELECT seq FROM run FOR UPDATE")
		if i == 0 {
			h.push("locked out", 1)
			h.eventually("the daemon has waited too long for a lock", func() bool { return status("Innodb_row_lock_waits") > waits+3 })
		}
		h.eventually("the daemon waits for a lock", func() bool { return status("Innodb_row_lock_current_waits") > 0 })
		must(tx, "SET SESSION innodb_lock_wait_timeout = 1")
		_, _ = tx.Exec("SELECT id FROM hook_event WHERE state = 'pending' FOR UPDATE") // it may have to wait for too long itself
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
	}
}
