package privatedb

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/guestos/aibuild/aibuild/process"
)

// The test binary run again with this variable is another user of the database
// in that folder, until it is killed.
const userVariable = "PRIVATEDB_TEST_USER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(userVariable); dir != "" {
		db, err := Open(context.Background(), Config{Dir: dir, Linger: time.Second})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(db.DSN())
		select {}
	}
	code := m.Run()
	if dir, err := template(); err == nil {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// template is an installed database that tests copy: installing takes long.
var template = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "privatedb-template")
	if err != nil {
		return "", err
	}
	s, err := newSite(Config{Dir: dir})
	if err != nil {
		return "", err
	}
	return dir, s.install(context.Background())
})

// folder is a state folder with an installed database, gone after the test
// with all that runs in it.
func folder(t *testing.T) string {
	t.Helper()
	from, err := template()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "db", "data"), os.DirFS(filepath.Join(from, "db", "data"))); err != nil {
		t.Fatal(err)
	}
	cleanFolder(t, dir)
	return dir
}

func cleanFolder(t *testing.T, dir string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := Stop(ctx, dir); err != nil {
			t.Error(err)
		}
		eventually(t, "nothing is left of the database", func() bool { return len(processes(t, dir)) == 0 })
	})
}

func open(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := Open(t.Context(), Config{Dir: dir, Linger: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// exec runs statements on a new connection.
func execute(dsn string, stmts ...string) error {
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	for _, s := range stmts {
		if _, err := db.Exec(s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// processes gives those whose command line names the folder: keeper, server,
// users of other processes do not.
func processes(t *testing.T, dir string) []int {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && strings.Contains(string(b), dir+"/db") {
			pids = append(pids, pid)
		}
	}
	return pids
}

func pidOf(t *testing.T, path string) int {
	t.Helper()
	pid := 0
	eventually(t, path, func() bool {
		b, err := os.ReadFile(path)
		if err != nil {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return pid
}

func keeperPID(t *testing.T, dir string) int { return pidOf(t, filepath.Join(dir, "db", "keeper.pid")) }
func serverPID(t *testing.T, dir string) int {
	return pidOf(t, filepath.Join(dir, "db", "data", "server.pid"))
}

func kill(t *testing.T, pid int) {
	t.Helper()
	start, err := process.StartTime(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "killed process is gone", func() bool { return !process.Alive(pid, start) })
}

func TestFirstUseByTwoAtOnce(t *testing.T) {
	dir := t.TempDir()
	cleanFolder(t, dir)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			db, err := Open(t.Context(), Config{Dir: dir, Linger: time.Second})
			if err != nil {
				t.Error(err)
				return
			}
			if err := execute(db.DSN(), fmt.Sprintf("CREATE TABLE t%d (i INT)", i)); err != nil {
				t.Error(err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	db := open(t, dir)
	var flush, n int
	var network string
	conn, err := sql.Open("mysql", db.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.QueryRow("SELECT @@innodb_flush_log_at_trx_commit, @@skip_networking, (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'aibuild')").Scan(&flush, &network, &n); err != nil {
		t.Fatal(err)
	}
	if flush != 1 || network != "1" || n != 4 {
		t.Errorf("flush = %d, skip_networking = %s, tables = %d; want 1, 1, 4", flush, network, n)
	}
	if err := Stop(t.Context(), dir); err == nil {
		t.Error("stopped a database that is in use")
	}
	fi, err := os.Stat(filepath.Join(dir, "db"))
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("folder = %v, %v; want mode 0700", fi.Mode(), err)
	}
}

// Keeper, server and another user are killed in turn, again and again; what
// was committed is there, and the next statement works.
func TestKilledAgainAndAgain(t *testing.T) {
	dir := folder(t)
	db := open(t, dir)
	if err := execute(db.DSN(), "CREATE TABLE kept (i INT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	next := 0
	for round := range 2 {
		for what, victim := range map[string]func() int{
			"keeper": func() int { return keeperPID(t, dir) },
			"server": func() int { return serverPID(t, dir) },
			"user":   func() int { return startUser(t, dir) },
		} {
			next++
			if err := execute(db.DSN(), fmt.Sprintf("INSERT INTO kept VALUES (%d)", next)); err != nil {
				t.Fatal(err)
			}
			kill(t, victim())
			eventually(t, fmt.Sprintf("round %d: usable after kill -9 of the %s", round, what), func() bool {
				next++
				return execute(db.DSN(), fmt.Sprintf("INSERT INTO kept VALUES (%d)", next)) == nil && db.site.kept()
			})
			if err := execute(db.DSN(), fmt.Sprintf("DELETE FROM kept WHERE i = %d", next)); err != nil {
				eventually(t, "the delete works", func() bool { return execute(db.DSN(), fmt.Sprintf("DELETE FROM kept WHERE i = %d", next)) == nil })
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	// All at once, and nobody is left who could start anything.
	for _, pid := range []int{keeperPID(t, dir), serverPID(t, dir)} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
	}
	again := open(t, dir)
	conn, err := sql.Open("mysql", again.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var n int
	if err := conn.QueryRow("SELECT COUNT(*) FROM kept").Scan(&n); err != nil || n < 6 {
		t.Errorf("%d rows, %v; want at least the 6 that were acknowledged", n, err)
	}
}

// startUser starts another process that uses the database.
func startUser(t *testing.T, dir string) int {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), userVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // it was killed
	return cmd.Process.Pid
}

// The last user is killed: the keeper stops the server all the same.
func TestStopsWithoutUsers(t *testing.T) {
	dir := folder(t)
	pid := startUser(t, dir)
	if len(processes(t, dir)) < 2 {
		t.Error("no keeper and server while it is used")
	}
	kill(t, pid)
	eventually(t, "keeper and server are gone", func() bool { return len(processes(t, dir)) == 0 })
	// And it starts again.
	if err := execute(open(t, dir).DSN(), "CREATE TABLE t (i INT)"); err != nil {
		t.Error(err)
	}
}

func TestStopsWhenItsFolderVanishes(t *testing.T) {
	from, err := template()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "state")
	if err := os.CopyFS(filepath.Join(dir, "db", "data"), os.DirFS(filepath.Join(from, "db", "data"))); err != nil {
		t.Fatal(err)
	}
	db, err := Open(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if len(processes(t, dir)) < 2 {
		t.Error("no keeper and server while it is used")
	}
	eventually(t, "the folder is removed", func() bool { return os.RemoveAll(dir) == nil })
	eventually(t, "keeper and server are gone", func() bool { return len(processes(t, dir)) == 0 })
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder came back: %v", err)
	}
}

func TestLongPath(t *testing.T) {
	from, err := template()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	if err := os.CopyFS(filepath.Join(dir, "db", "data"), os.DirFS(filepath.Join(from, "db", "data"))); err != nil {
		t.Fatal(err)
	}
	cleanFolder(t, dir)
	db := open(t, dir)
	if err := execute(db.DSN(), "CREATE TABLE t (i INT)"); err != nil {
		t.Fatal(err)
	}
	short := filepath.Dir(db.site.socket)
	fi, err := os.Stat(short)
	if err != nil || len(db.site.socket) > longestSocket || fi.Mode().Perm() != 0o700 {
		t.Errorf("socket %s: %v, %v; want a short one in a folder of mode 0700", db.site.socket, fi.Mode(), err)
	}
	// Somebody cleans /tmp under us.
	if err := os.RemoveAll(short); err != nil {
		t.Fatal(err)
	}
	eventually(t, "usable after its socket was removed", func() bool { return execute(db.DSN(), "INSERT INTO t VALUES (1)") == nil })
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Stop(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(short); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %s (%v)", short, err)
	}
}

// What stands at the place of the short folder is not trusted.
func TestShortFolderOfOthers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	s, err := newSite(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Dir(s.socket)
	if err := os.Symlink(t.TempDir(), short); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(short)
	if err := s.shortFolder(); err == nil {
		t.Error("a link at the place of the socket's folder was accepted")
	}
}

// A server that cannot start is an error with its own words, soon.
func TestBrokenData(t *testing.T) {
	dir := folder(t)
	if err := os.WriteFile(filepath.Join(dir, "db", "data", "ibdata1"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), Config{Dir: dir, Linger: time.Second})
	if err == nil || !strings.Contains(err.Error(), "server.log") || !strings.Contains(err.Error(), "ibdata1") {
		t.Errorf("open = %v, want the end of the server's log", err)
	}
}

// A killed installation is begun anew.
func TestHalfInstalled(t *testing.T) {
	dir := folder(t)
	home := filepath.Join(dir, "db")
	if err := os.Rename(filepath.Join(home, "data"), filepath.Join(home, "data.new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(home, "data.new", "ibdata1")); err != nil {
		t.Fatal(err)
	}
	if err := execute(open(t, dir).DSN(), "CREATE TABLE t (i INT)"); err != nil {
		t.Error(err)
	}
}

func TestCancelledOpen(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	cleanFolder(t, dir)
	if _, err := Open(ctx, Config{Dir: dir}); !errors.Is(err, context.Canceled) {
		t.Errorf("open = %v, want context.Canceled", err)
	}
	if _, err := Open(t.Context(), Config{}); err == nil {
		t.Error("opened without a folder")
	}
}
