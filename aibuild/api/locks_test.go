package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func briefly(c *Config) { c.LockTTL = time.Second }

// free says whether a command with a database of its own would get the lock.
func (l *lab) free(name string) bool {
	l.t.Helper()
	unlock, err := l.store.Lock(l.t.Context(), name, 0)
	if isA[*lineage.Locked](err) {
		return false
	}
	if err == nil {
		err = unlock()
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return true
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

// A client that dies keeps nobody waiting for longer than the lock's time.
func TestDeadClientBlocksNobody(t *testing.T) {
	l := newLab(t, briefly)
	token := l.token(RoleAdmin)
	got := into[lockLease](t, l.send("POST", "/api/v1/locks", token, lockRequest{ID: uuid.NewString(), Name: "tiny", Host: "dead.example", PID: 42}))
	if got.TTLMS != 1000 || got.Fence == 0 {
		t.Errorf("lease = %+v", got)
	}
	if l.free("tiny") {
		t.Fatal("the lock is not the store's")
	}
	c := l.client(token)
	_, err := c.Lock(t.Context(), "tiny", 0)
	locked, ok := errors.AsType[*lineage.Locked](err)
	if !ok || locked.Host != "dead.example" || locked.PID != 42 || locked.Name != "tiny" {
		t.Errorf("holder = %v, want process 42 on dead.example", err)
	}
	start := time.Now()
	unlock, err := c.Lock(t.Context(), "tiny", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(start); waited > 5*time.Second {
		t.Errorf("waited %v for a client that is dead", waited)
	}
	// Whoever comes back from the dead cannot touch the new holder's lock.
	for _, e := range []endpoint{{"POST", "/api/v1/locks/" + got.ID + "/renew", nil, nil, 0}, {"DELETE", "/api/v1/locks/" + got.ID, nil, nil, 0}} {
		if r := l.send(e.method, e.path, token, nil); r.code(t) != CodeLockLost {
			t.Errorf("%s of a lock that is over: HTTP %d %s", e.method, r.status, r.body)
		}
	}
	if l.free("tiny") {
		t.Error("the new holder has lost the lock")
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if !l.free("tiny") {
		t.Error("the lock was not given back")
	}
}

func TestLockIsRenewed(t *testing.T) {
	l := newLab(t, briefly)
	unlock, err := l.client(l.token(RoleAdmin)).Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if l.free("tiny") {
			t.Fatal("the lock does not hold")
		}
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

// behind lets a test change what answers at one address.
type behind struct {
	handler atomic.Pointer[http.Handler]
	http    *httptest.Server
}

func newBehind(t testing.TB, h http.Handler) *behind {
	b := &behind{}
	b.set(h)
	b.http = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*b.handler.Load()).ServeHTTP(w, r) }))
	t.Cleanup(b.http.Close)
	return b
}

func (b *behind) set(h http.Handler) { b.handler.Store(&h) }

func answers(status int, kind, body string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body)) // whoever hangs up does not matter
	})
}

// After a restart of the server the client learns that its lock was lost.
func TestLockAndServerRestart(t *testing.T) {
	l := newLab(t, briefly)
	token := l.token(RoleAdmin)
	gate := newBehind(t, l.api.Handler())
	c := &Client{URL: gate.http.URL, Token: token}
	defer c.Close()
	unlock, err := c.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	gate.set(answers(502, "text/html", "<html>down</html>"))
	if err := l.api.Close(); err != nil {
		t.Error(err)
	}
	if !l.free("tiny") {
		t.Error("a server that stops gives locks back")
	}
	next := labOn(t, l.store, briefly)
	gate.set(next.api.Handler())
	other, err := next.client(token).Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // the first client renews into the new server
	if err := unlock(); !isA[*lineage.LockLost](err) || !strings.Contains(err.Error(), "image tiny") {
		t.Errorf("unlock = %v, want *LockLost", err)
	}
	if err := unlock(); err != nil {
		t.Errorf("again = %v, want nothing", err)
	}
	if next.free("tiny") {
		t.Error("the second client's lock was given back by the first one")
	}
	if err := other(); err != nil {
		t.Error(err)
	}
	// Without a server for longer than the lock lives, it is lost too.
	unlock, err = c.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	gate.set(answers(502, "text/html", "<html>down</html>"))
	eventually(t, "the lock runs out", func() bool { return next.free("tiny") })
	if err := unlock(); !isA[*lineage.LockLost](err) {
		t.Errorf("unlock = %v, want *LockLost", err)
	}
}

// The answer to an unlock may be lost; the lock was held all the same.
func TestUnlockIsRepeated(t *testing.T) {
	l := newLab(t, nil)
	inner := l.api.Handler()
	lost := false
	gate := newBehind(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && !lost {
			lost = true
			inner.ServeHTTP(httptest.NewRecorder(), r)
			answers(502, "text/html", "").ServeHTTP(w, r)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	c := &Client{URL: gate.http.URL, Token: l.token(RoleAdmin)}
	defer c.Close()
	unlock, err := c.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil || !lost {
		t.Errorf("unlock = %v (lost: %t)", err, lost)
	}
}

// When the database gives the lock to somebody else, the client is told.
func TestLockLostInTheDatabase(t *testing.T) {
	l := newLab(t, nil)
	unlock, err := l.client(l.token(RoleAdmin)).Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	kill(t, l.dsn[strings.LastIndex(l.dsn, "/")+1:])
	thief, err := openStore(t, l.dsn).Lock(t.Context(), "tiny", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); !isA[*lineage.LockLost](err) {
		t.Errorf("unlock = %v, want *LockLost", err)
	}
	if err := thief(); err != nil {
		t.Error(err)
	}
}

// Who only renews is told too, as soon as the store knows, and records nothing
// of what was done since, also when the lease is over.
func TestRenewingALostLock(t *testing.T) {
	l := newLab(t, nil)
	token, image := l.token(RoleAdmin), newID()
	l.stored(builtRecord(image, "tiny", project))
	want := lockRequest{ID: uuid.NewString(), Name: "tiny"}
	got := into[lockLease](t, l.send("POST", "/api/v1/locks", token, want))
	batch := func() recordBatch {
		return recordBatch{Locks: []batchLock{{Name: got.Name, Fence: got.Fence}}, Records: []lineage.Record{testedRecord(image, lineage.Passed)}}
	}
	if r := l.send("POST", "/api/v1/records", token, batch()); r.status != http.StatusOK {
		t.Errorf("under the lock: HTTP %d %s", r.status, r.body)
	}
	kill(t, l.dsn[strings.LastIndex(l.dsn, "/")+1:])
	thief, err := openStore(t, l.dsn).Lock(t.Context(), "tiny", 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) { // the store looks every 10 s
		r := l.send("POST", "/api/v1/locks/"+got.ID+"/renew", token, nil)
		if r.code(t) == CodeLockLost {
			break
		}
		if r.status >= 300 || time.Now().After(deadline) {
			t.Fatalf("renewed: HTTP %d %s", r.status, r.body)
		}
	}
	if r := l.send("POST", "/api/v1/locks", token, want); r.code(t) != CodeLockLost {
		t.Errorf("asked for again under its id: HTTP %d %s", r.status, r.body)
	}
	for _, when := range []string{"before", "after"} {
		if r := l.send("POST", "/api/v1/records", token, batch()); r.code(t) != CodeConflict || !strings.Contains(string(r.body), "locked by somebody else") {
			t.Errorf("%s it was given back: HTTP %d %s", when, r.status, r.body)
		}
		if r := l.send("DELETE", "/api/v1/locks/"+got.ID, token, nil); r.code(t) != CodeLockLost {
			t.Errorf("given back: HTTP %d %s", r.status, r.body)
		}
	}
	if err := thief(); err != nil {
		t.Error(err)
	}
}

// kill ends every connection to a database.
func kill(t testing.TB, name string) {
	t.Helper()
	rows, err := database.root.Query("SELECT id FROM information_schema.processlist WHERE db = ?", name)
	if err != nil {
		t.Fatal(err)
	}
	var all []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		all = append(all, id)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatalf("nothing is connected to %s", name)
	}
	for _, id := range all {
		admin(t, fmt.Sprintf("KILL %d", id))
	}
}

func TestLockRequestsAreRepeatable(t *testing.T) {
	l := newLab(t, nil)
	token, another := l.token(RoleAdmin), l.token(RoleReleaser)
	want := lockRequest{ID: uuid.NewString(), Name: "tiny"}
	first := into[lockLease](t, l.send("POST", "/api/v1/locks", token, want))
	again := into[lockLease](t, l.send("POST", "/api/v1/locks", token, want))
	if first != again {
		t.Errorf("repeated: %+v, then %+v", first, again)
	}
	if got := l.send("POST", "/api/v1/locks", token, lockRequest{ID: want.ID, Name: "small"}); got.code(t) != CodeConflict {
		t.Errorf("the same id for another name: HTTP %d %s", got.status, got.body)
	}
	for _, got := range []reply{
		l.send("POST", "/api/v1/locks/"+want.ID+"/renew", another, nil), l.send("DELETE", "/api/v1/locks/"+want.ID, another, nil),
	} {
		if got.code(t) != CodeLockLost {
			t.Errorf("somebody else's token: HTTP %d %s", got.status, got.body)
		}
	}
	if got := l.send("DELETE", "/api/v1/locks/"+want.ID, token, nil); got.status != http.StatusNoContent {
		t.Errorf("unlock: HTTP %d %s", got.status, got.body)
	}
	next := into[lockLease](t, l.send("POST", "/api/v1/locks", token, lockRequest{ID: uuid.NewString(), Name: "tiny"}))
	if next.Fence <= first.Fence {
		t.Errorf("fence %d after %d, want more", next.Fence, first.Fence)
	}
}

// A token of one project cannot stop the work of another, and nobody that of
// the daemon.
func TestWhoMayLock(t *testing.T) {
	l := newLab(t, nil)
	theirs := l.run(func(r *lineage.Run) { r.Image, r.Project = "elsewhere", other })
	mine := l.run(nil)
	l.stored(builtRecord(theirs.ID, "elsewhere", other), builtRecord(mine.ID, "tiny", project))
	token := l.token(RoleRecorder, project)
	for name, code := range map[string]string{
		"tiny": "", "nobody-has-it": "", mine.ID: "", newID(): "", "elsewhere": CodeOtherProject, theirs.ID: CodeOtherProject,
		"aibuild/daemon": CodeInvalid, "run": CodeInvalid, "A B": CodeInvalid, readyLock: CodeInvalid, strings.Repeat("a", 64): CodeInvalid,
	} {
		if got := l.send("POST", "/api/v1/locks", token, lockRequest{ID: uuid.NewString(), Name: name}); got.code(t) != code {
			t.Errorf("lock %s: HTTP %d %s, want %q", name, got.status, got.body, code)
		}
	}
	if got := l.send("POST", "/api/v1/locks", l.token(RoleAdmin), lockRequest{ID: uuid.NewString(), Name: "aibuild/daemon"}); got.code(t) != CodeInvalid {
		t.Errorf("an administrator locks the daemon out: HTTP %d %s", got.status, got.body)
	}
}

// The server holds so many locks and no more; who comes then waits.
func TestMostLocks(t *testing.T) {
	l := newLab(t, nil)
	tokens := make([]Secret, mostLeases/mostOfToken+1)
	for i := range tokens {
		tokens[i] = l.token(RoleAdmin)
	}
	ids := make([]string, mostLeases)
	for i := range ids {
		ids[i] = uuid.NewString()
		if got := l.send("POST", "/api/v1/locks", tokens[i/mostOfToken], lockRequest{ID: ids[i], Name: fmt.Sprintf("image-%d", i)}); got.status != http.StatusCreated {
			t.Fatalf("lock %d: HTTP %d %s", i, got.status, got.body)
		}
	}
	last := tokens[len(tokens)-1]
	got := l.send("POST", "/api/v1/locks", last, lockRequest{ID: uuid.NewString(), Name: "one-more"})
	if got.code(t) != CodeBusy || got.header.Get("Retry-After") == "" {
		t.Errorf("one more: HTTP %d %s", got.status, got.body)
	}
	waiting := make(chan error)
	go func() {
		unlock, err := l.client(last).Lock(t.Context(), "one-more", time.Minute)
		if err == nil {
			err = unlock()
		}
		waiting <- err
	}()
	if got := l.send("DELETE", "/api/v1/locks/"+ids[0], tokens[0], nil); got.status != http.StatusNoContent {
		t.Errorf("unlock: HTTP %d", got.status)
	}
	if err := <-waiting; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

// One token does not hold all locks. Processes that have one get the next all
// the same, or each would wait for the others.
func TestMostLocksOfAToken(t *testing.T) {
	l := newLab(t, nil)
	token, another := l.token(RoleRecorder, project), l.token(RoleRecorder, project)
	lock := func(token Secret, name string, pid int) reply {
		return l.send("POST", "/api/v1/locks", token, lockRequest{ID: uuid.NewString(), Name: name, Host: "agent", PID: pid})
	}
	for i := range mostOfToken {
		if got := lock(token, fmt.Sprintf("image-%d", i), 100+i); got.status != http.StatusCreated {
			t.Fatalf("lock %d: HTTP %d %s", i, got.status, got.body)
		}
	}
	got := lock(token, "one-more", 99)
	if got.code(t) != CodeBusy || !strings.Contains(string(got.body), "this token has 8 locks") {
		t.Errorf("one more process: HTTP %d %s", got.status, got.body)
	}
	if got := lock(another, "one-more", 99); got.status != http.StatusCreated {
		t.Errorf("another token: HTTP %d %s", got.status, got.body)
	}
	for i := range mostOfToken {
		if got := lock(token, fmt.Sprintf("second-%d", i), 100+i); got.status != http.StatusCreated {
			t.Errorf("the second lock of process %d: HTTP %d %s", i, got.status, got.body)
		}
	}
	if got := lock(token, "third", 100); got.code(t) != CodeBusy {
		t.Errorf("more than twice as many: HTTP %d %s", got.status, got.body)
	}
}

// Who has lost a lock to somebody else records nothing of what it was for.
func TestStaleHolder(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleAdmin)
	image, elsewhere := newID(), newID()
	l.stored(builtRecord(image, "tiny", project), builtRecord(elsewhere, "small", project))
	stale, next := l.client(token), l.client(token)
	unlock, err := stale.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := stale.Record(t.Context(), testedRecord(image, lineage.Passed)); err != nil {
		t.Errorf("under the lock: %v", err)
	}
	// As when it was not renewed for too long: others may have it.
	for _, h := range stale.locks() {
		l.api.leases.mu.Lock()
		lease := l.api.leases.byName[h.Name]
		l.api.leases.mu.Unlock()
		if err := l.api.leases.release(lease.id, lease.token); err != nil {
			t.Fatal(err)
		}
	}
	if err := stale.Record(t.Context(), testedRecord(image, lineage.Passed)); err != nil {
		t.Errorf("nobody has had it since: %v", err)
	}
	unlockNext, err := next.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	before := l.audit()
	for _, r := range []lineage.Record{testedRecord(image, lineage.FailedTest), builtRecord(newID(), "tiny", project)} {
		if err := stale.Record(t.Context(), r); !isA[*lineage.Conflict](err) || !strings.Contains(err.Error(), "locked by somebody else") {
			t.Errorf("%s by a stale holder = %v, want a conflict", r.Verb, err)
		}
	}
	if after := l.audit(); after != before {
		t.Errorf("a stale holder has written %d events", after-before)
	}
	if err := stale.Record(t.Context(), testedRecord(elsewhere, lineage.Passed)); err != nil {
		t.Errorf("of what it never locked: %v", err)
	}
	if err := next.Record(t.Context(), testedRecord(image, lineage.Passed)); err != nil {
		t.Errorf("the new holder: %v", err)
	}
	if err := unlockNext(); err != nil {
		t.Error(err)
	}
	if err := unlock(); !isA[*lineage.LockLost](err) {
		t.Errorf("unlock of the stale one = %v", err)
	}
	if err := stale.Record(t.Context(), testedRecord(image, lineage.Passed)); err != nil {
		t.Errorf("without a lock: %v", err)
	}
}

// The fences of images that nobody works on do not stay for ever.
func TestOldFencesAreForgotten(t *testing.T) {
	l := newLeases(nil, time.Second, nil)
	now := time.Now()
	for i := range manyFences {
		l.nextFence(fmt.Sprint(i), now.Add(-2*oldFences))
	}
	first := l.nextFence("tiny", now)
	if len(l.fences) != 1 || !l.overtaken("tiny", first-1) || l.overtaken("tiny", first) {
		t.Errorf("%d fences are kept", len(l.fences))
	}
	if second := l.nextFence("tiny", now.Add(-time.Hour)); second <= first {
		t.Errorf("fence %d after %d: a clock that goes back", second, first)
	}
}

// Who hangs up while waiting leaves nothing behind, and a server that stops
// lets nobody wait.
func TestWaitingForALock(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleAdmin)
	unlock, err := l.client(token).Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	if _, err := l.client(token).Lock(ctx, "tiny", time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled = %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	eventually(t, "the lock is free", func() bool { return l.free("tiny") })
	foreign, err := openStore(t, l.dsn).Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := make(chan string)
	for range 3 { // for one that is held elsewhere
		go func() {
			codes <- l.send("POST", "/api/v1/locks", token, lockRequest{ID: uuid.NewString(), Name: "tiny", WaitMS: 20_000}).code(t)
		}()
	}
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	if err := l.api.Close(); err != nil {
		t.Error(err)
	}
	for range 3 {
		if code := <-codes; code != CodeBusy {
			t.Errorf("code = %s, want busy", code)
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	if err := foreign(); err != nil {
		t.Error(err)
	}
}

// The daemon's HTTP server gives clients little time to send; that is no limit
// to how long they may wait for a lock.
func TestWaitOutlastsReadTimeout(t *testing.T) {
	l := newLab(t, nil)
	server := httptest.NewUnstartedServer(l.api.Handler())
	server.Config.ReadTimeout = 300 * time.Millisecond
	server.Start()
	defer server.Close()
	c := &Client{URL: server.URL, Token: l.token(RoleAdmin)}
	defer c.Close()
	unlock, err := c.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Lock(t.Context(), "tiny", 1500*time.Millisecond); !isA[*lineage.Locked](err) {
		t.Errorf("waited = %v, want *Locked", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
