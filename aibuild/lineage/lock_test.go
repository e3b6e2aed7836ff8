package lineage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestLockExcludes(t *testing.T) {
	s := newStore(t)
	other := openStore(t, strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName, 1))
	unlock, err := s.Lock(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Lock(t.Context(), "tiny", 0)
	locked, ok := errors.AsType[*Locked](err)
	host, herr := os.Hostname()
	if herr != nil {
		t.Fatal(herr)
	}
	if !ok || locked.PID != os.Getpid() || locked.Host != host || time.Since(locked.Since).Abs() > time.Minute {
		t.Errorf("second holder: %v, want *Locked by process %d on %s", err, os.Getpid(), host)
	}
	if _, err := s.Lock(t.Context(), "tiny", 0); !is[*Locked](err) {
		t.Errorf("same process: %v, want *Locked", err)
	}
	free, err := other.Lock(t.Context(), "another", 0)
	if err != nil {
		t.Fatalf("another name: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := other.Lock(ctx, "tiny", time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled wait: %v, want the context's error", err)
	}
	waited := make(chan error, 1)
	go func() {
		again, err := other.Lock(context.WithoutCancel(t.Context()), "tiny", time.Minute)
		if err == nil {
			err = again()
		}
		waited <- err
	}()
	if err := errors.Join(free(), unlock(), unlock()); err != nil {
		t.Error(err)
	}
	if err := <-waited; err != nil {
		t.Errorf("the one that waited: %v", err)
	}
}

// A lock ends with its process, however it ends.
func TestLockDiesWithItsHolder(t *testing.T) {
	s := newStore(t)
	dsn := strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName, 1)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "LINEAGE_TEST_HOLD="+dsn)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait() //nolint:errcheck // it is killed
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder said %q, %v", line, err)
	}
	_, err = s.Lock(t.Context(), "tiny", 0)
	if locked, ok := errors.AsType[*Locked](err); !ok || locked.PID != cmd.Process.Pid {
		t.Errorf("while it lives: %v, want *Locked by %d", err, cmd.Process.Pid)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	unlock, err := s.Lock(t.Context(), "tiny", 30*time.Second)
	if err != nil {
		t.Fatalf("after kill -9 of the holder: %v", err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}

// holdLock is the other process of TestLockDiesWithItsHolder.
func holdLock(dsn string) error {
	s, err := Open(context.Background(), Config{DSN: dsn})
	if err != nil {
		return err
	}
	if _, err := s.Lock(context.Background(), "tiny", 0); err != nil {
		return err
	}
	fmt.Println("held")
	select {} // until it is killed
}

// connection gives the id of the connection that has a lock.
func (h *held) connection(t *testing.T) int64 {
	t.Helper()
	var conn int64
	if err := h.store.db.QueryRow("SELECT COALESCE(IS_USED_LOCK(?), 0)", h.key).Scan(&conn); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestLockSurvivesItsConnection(t *testing.T) {
	s := newStore(t)
	var ended error
	h := &held{store: s, name: "tiny", key: s.lockName("name", "tiny"), stop: make(chan struct{}), end: func(err error) { ended = err }}
	if err := h.take(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	query(t, fmt.Sprintf("KILL %d", h.connection(t)))
	h.check()
	if h.lost != nil || ended != nil || h.connection(t) == 0 {
		t.Errorf("lock was not taken again: %v", h.lost)
	}
	// Another process takes it in the moment without connection.
	query(t, fmt.Sprintf("KILL %d", h.connection(t)))
	thief, err := s.Lock(t.Context(), "tiny", 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := thief(); err != nil {
		t.Error(err)
	}
	if h.check(); !is[*LockLost](ended) {
		t.Errorf("the work under it ended with %v, want *LockLost", ended)
	}
	if err := h.unlock(); !is[*LockLost](err) {
		t.Errorf("unlock = %v, want *LockLost", err)
	}
	if err := h.unlock(); err != nil {
		t.Errorf("second unlock = %v", err)
	}
}

// A server does not keep the lock of a process that stands still.
func TestNeglectedLockIsFree(t *testing.T) {
	s := newStore(t)
	h := &held{store: s, name: "tiny", key: s.lockName("name", "tiny"), stop: make(chan struct{}), end: func(error) {}}
	if err := h.take(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	var kept float64
	if err := h.conn.QueryRowContext(t.Context(), "SELECT @@session.wait_timeout").Scan(&kept); err != nil || kept != lockIdle.Seconds() {
		t.Errorf("kept for %v s, %v; want %v", kept, err, lockIdle)
	}
	if _, err := h.conn.ExecContext(t.Context(), "SET SESSION wait_timeout = 1"); err != nil { // not to wait so long here
		t.Fatal(err)
	}
	unlock, err := s.Lock(t.Context(), "tiny", 30*time.Second)
	if err != nil {
		t.Fatalf("nobody looks after it, and still: %v", err)
	}
	if h.check(); !is[*LockLost](h.lost) {
		t.Errorf("it goes on, and has lost it: %v", h.lost)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
	if err := h.unlock(); !is[*LockLost](err) {
		t.Errorf("unlock = %v, want *LockLost", err)
	}
}

func TestHold(t *testing.T) {
	s := newStore(t)
	holding, unlock, err := s.Hold(t.Context(), "tiny", 0)
	if err != nil || holding.Err() != nil {
		t.Fatal(err, holding)
	}
	if err := unlock(); err != nil || holding.Err() == nil || is[*LockLost](context.Cause(holding)) {
		t.Errorf("after unlock: %v, work ends with %v", err, context.Cause(holding))
	}
}

func TestManyLocksAtOnce(t *testing.T) {
	s := newStore(t)
	for i := range 40 { // more than the pool has connections
		unlock, err := s.Lock(t.Context(), fmt.Sprintf("image-%d", i), 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unlock(); err != nil {
				t.Error(err)
			}
		})
	}
	record(t, s, builtRecord(id(), "tiny", day))
}
