package lineage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/hashicorp/go-hclog"
)

// ownServer is a server that the test may hurt.
func ownServer(t *testing.T) (dir string, open func() *privatedb.DB) {
	t.Helper()
	dir = t.TempDir()
	t.Cleanup(func() {
		if err := privatedb.Stop(context.Background(), dir); err != nil {
			t.Error(err)
		}
	})
	return dir, func() *privatedb.DB {
		db, err := privatedb.Open(t.Context(), privatedb.Config{Dir: dir, Linger: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
}

func serverPID(t *testing.T, dir string) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "db", "data", "server.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func TestServerComesAndGoes(t *testing.T) {
	dir, open := ownServer(t)
	db := open()
	s := openStore(t, db.DSN()+"?readTimeout=1s")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	uuid := id()
	record(t, s, builtRecord(uuid, "tiny", day))
	hang(t, s, dir, uuid)
	killInWork(t, s, dir)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := privatedb.Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	stopped(t, s, uuid)
	db = open() // and the same store goes on
	published := publishedRecord(uuid, day)
	record(t, s, published, published)
	if image := resolve(t, s, uuid); image.State != StatePublished {
		t.Errorf("state = %s, want published", image.State)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// hang: the caller hears of it and may journal.
func hang(t *testing.T, s *Store, dir, uuid string) {
	t.Helper()
	tested := testedRecord(uuid, Passed, day)
	pid := serverPID(t, dir)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "every thread of the server stands still", func() bool { return standsStill(t, pid) })
	err := s.Record(t.Context(), tested)
	if kerr := syscall.Kill(pid, syscall.SIGCONT); kerr != nil {
		t.Fatal(kerr)
	}
	if !is[*Unavailable](err) {
		t.Errorf("server hangs: %v, want *Unavailable", err)
	}
	eventually(t, "the record is taken", func() bool { return s.Record(t.Context(), tested) == nil })
}

// standsStill: a stop signal takes its time to reach every thread.
func standsStill(t *testing.T, pid int) bool {
	t.Helper()
	stats, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	if err != nil || len(stats) == 0 {
		t.Fatalf("threads of process %d: %v", pid, err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(b), ") T ") {
			return false
		}
	}
	return true
}

// killInWork: what was acknowledged is there, once.
func killInWork(t *testing.T, s *Store, dir string) {
	t.Helper()
	done, acked := make(chan struct{}), []string{}
	go func() {
		defer close(done)
		for range 60 {
			r := builtRecord(id(), "tiny", day)
			for s.Record(context.WithoutCancel(t.Context()), r) != nil {
				time.Sleep(5 * time.Millisecond)
			}
			acked = append(acked, r.ImageUUID)
		}
	}()
	eventually(t, "work has begun", func() bool { return count(t, s, "image", "1 = 1") > 5 })
	if err := syscall.Kill(serverPID(t, dir), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-done
	for _, uuid := range acked {
		if n := count(t, s, "build_log", "image_uuid = ?", uuid); n != 1 {
			t.Errorf("image %s: %d rows in build_log, want 1", uuid, n)
		}
	}
	if n := count(t, s, "image", "1 = 1"); n != 61 {
		t.Errorf("%d images, want 61", n)
	}
}

func stopped(t *testing.T, s *Store, uuid string) {
	t.Helper()
	_, resolveErr := s.Resolve(t.Context(), Query{Ref: uuid})
	_, lockErr := s.Lock(t.Context(), "tiny", 0)
	_, openErr := Open(t.Context(), Config{DSN: s.cfg.FormatDSN()})
	for what, err := range map[string]error{"record": s.Record(t.Context(), publishedRecord(uuid, day)), "resolve": resolveErr, "lock": lockErr, "open": openErr} {
		if !is[*Unavailable](err) {
			t.Errorf("server is stopped, %s: %v, want *Unavailable", what, err)
		}
	}
}

func TestReadOnlyServer(t *testing.T) {
	s := newStore(t)
	query(t, "CREATE USER writer IDENTIFIED BY 'c4nary'")
	query(t, "GRANT ALL ON "+s.cfg.DBName+".* TO writer")
	t.Cleanup(func() { query(t, "DROP USER writer") })
	writer := openStore(t, withUser(t, s, "writer", "c4nary"))
	uuid := id()
	record(t, writer, builtRecord(uuid, "tiny", day))
	tested := testedRecord(uuid, Passed, day)
	query(t, "SET GLOBAL read_only = 1")
	err := writer.Record(t.Context(), tested)
	image := resolve(t, writer, "tiny")
	query(t, "SET GLOBAL read_only = 0")
	away, ok := errors.AsType[*Unavailable](err)
	if !ok || !strings.Contains(err.Error(), "read-only") || away.Why() != "it is read-only" {
		t.Errorf("record = %v, want *Unavailable that says read-only", err)
	}
	if image.UUID != uuid {
		t.Errorf("reading does not go on: %+v", image)
	}
	record(t, writer, tested)
}

// A lock wait is over when the other transaction is.
func TestLockWaitIsRetried(t *testing.T) {
	s := newStore(t)
	impatient := openStore(t, strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName+"?innodb_lock_wait_timeout=1", 1))
	uuid := id()
	record(t, s, builtRecord(uuid, "tiny", day))
	tx, err := s.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("UPDATE image SET arch = 'x' WHERE uuid = ?", uuid); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- impatient.Record(context.WithoutCancel(t.Context()), testedRecord(uuid, Passed, day)) }()
	eventually(t, "a lock wait has timed out", func() bool {
		var name, n string
		if err := s.db.QueryRow("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_waits'").Scan(&name, &n); err != nil {
			t.Fatal(err)
		}
		waits, err := strconv.Atoi(n)
		return err == nil && waits > 1
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("record = %v", err)
	}
}

func TestCancelledCall(t *testing.T) {
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Record(ctx, builtRecord(id(), "tiny", day)); !errors.Is(err, context.Canceled) {
		t.Errorf("record = %v, want context.Canceled", err)
	}
	if n := count(t, s, "event", "1 = 1"); n != 0 {
		t.Errorf("%d events, want 0", n)
	}
}

// The password is in no error and in no log, whatever is wrong.
func TestPasswordIsNeverShown(t *testing.T) {
	const canary = "c4nary:/@(s)?%41"
	socket, err := mysql.ParseDSN(server.dsn)
	if err != nil {
		t.Fatal(err)
	}
	query(t, "CREATE USER known IDENTIFIED BY 'other'")
	t.Cleanup(func() { query(t, "DROP USER known") })
	var log bytes.Buffer
	logger := hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
	for _, dsn := range []string{
		"known:" + canary + "@unix(" + socket.Addr + ")/aibuild",
		"known:" + canary + "@unix(/nonexistent/sock)/aibuild",
		"known:" + canary + "@tcp(127.0.0.1:1)/aibuild",
		"known:" + canary + "@tcp(127.0.0.1:1)/",
		"known:" + canary,
		"known:" + canary + "/aibuild",
		canary + "@" + canary + "/aibuild",
		"known:" + canary + "@tcp(h/aibuild",
		"mysql://known:" + canary + "@h/aibuild?tls=" + canary,
		"known:x@tcp(h)/aibuild?tls=" + canary,
		"known:x@tcp(h)/aibuild?timeout=" + canary,
	} {
		s, err := Open(t.Context(), Config{DSN: dsn, Log: logger})
		if err == nil {
			t.Errorf("opened %s", dsn)
			_ = s.Close()
			continue
		}
		for _, text := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", err), log.String()} {
			if strings.Contains(text, "c4nary") {
				t.Errorf("shown: %s", text)
			}
		}
	}
}

func TestUnknownDatabase(t *testing.T) {
	_, err := Open(t.Context(), Config{DSN: strings.Replace(server.dsn, "/aibuild", "/nowhere", 1)})
	if err == nil || !strings.Contains(err.Error(), "CREATE DATABASE nowhere") || is[*Unavailable](err) {
		t.Errorf("open = %v, want the remedy", err)
	}
}

// What the server refuses for good is a matter of the address, not of a server that is away: work does not begin on it.
func TestRefusedAddress(t *testing.T) {
	socket, err := mysql.ParseDSN(server.dsn)
	if err != nil {
		t.Fatal(err)
	}
	query(t, "CREATE USER stranger IDENTIFIED BY 'right'")
	t.Cleanup(func() { query(t, "DROP USER stranger") })
	for dsn, want := range map[string]string{
		"stranger:wrong@unix(" + socket.Addr + ")/aibuild": "refuses user stranger or the password",
		"stranger:right@unix(" + socket.Addr + ")/aibuild": "may not use database aibuild",
		server.dsn + "?tls=true":                           "does not have",
	} {
		_, err := Open(t.Context(), Config{DSN: dsn})
		invalid, ok := errors.AsType[*Invalid](err)
		if !ok || invalid.Field != "database" || !strings.Contains(err.Error(), want) {
			t.Errorf("open = %v, want %q", err, want)
		}
	}
}
