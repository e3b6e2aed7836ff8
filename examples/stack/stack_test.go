package stack_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
)

// TestStack walks one whole stack through its life: the parts share it, as a start costs ten seconds.
func TestStack(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must("up", "--clusters", "alpha,beta")
	env, procs := s.env(), s.procs()

	t.Run("serves", func(t *testing.T) {
		s.must("status", "-q")
		checkDatabase(t, env)
		checkWeb(t, env)
		checkSFTP(t, env)
		checkClusters(t, env, "alpha", "beta")
	})
	t.Run("secrets", func(t *testing.T) { checkSecrets(t, s) })
	t.Run("up again", func(t *testing.T) {
		s.must("up")
		if diff := cmp.Diff(procs, s.procs(), cmp.AllowUnexported(proc{})); diff != "" {
			t.Errorf("up changed what was up (-before +after):\n%s", diff)
		}
	})
	t.Run("crash", func(t *testing.T) { checkCrash(t, s) })
	t.Run("hang", func(t *testing.T) {
		s.must("signal", "STOP", "web")
		if r := s.try("status"); r.code != 1 || !strings.Contains(r.stdout, "hung") {
			t.Errorf("status of a stopped process: exit code %d\n%s", r.code, r.stdout)
		}
		s.must("signal", "CONT", "web")
		s.must("status", "-q")
	})
	t.Run("same ports and passwords", func(t *testing.T) {
		if diff := cmp.Diff(env, s.env()); diff != "" {
			t.Errorf("env (-first +last):\n%s", diff)
		}
	})
	t.Run("down", func(t *testing.T) {
		procs := s.procs()
		s.must("down")
		for _, p := range procs {
			if p.alive() {
				t.Errorf("%s runs after down", p.name)
			}
		}
		if r := s.try("status", "-q"); r.code != 1 {
			t.Errorf("status after down: exit code %d, want 1", r.code)
		}
		s.must("down")
	})
}

// checkSecrets looks for every secret of the stack in every command line, and for files that others may read.
func checkSecrets(t *testing.T, s *stack) {
	secrets, err := filepath.Glob(filepath.Join(s.dir, "secrets", "*-*"))
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, filepath.Join(s.dir, "secrets", "mariadb"))
	if len(secrets) != 11 {
		t.Fatalf("%d secrets, want 5 for each cluster and one for MariaDB", len(secrets))
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, line := range lines {
		if text, err := os.ReadFile(line); err == nil { // a process that has ended meanwhile has no command line
			all[line] = string(text)
		}
	}
	for _, file := range secrets {
		secret, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line, text := range all {
			if strings.Contains(text, string(secret)) {
				t.Errorf("%s is in %s", filepath.Base(file), line)
			}
		}
	}
	for _, name := range []string{"secrets/alpha.json", "clouds.yaml", "mariadb/init.sql", "sftp/client_key", "clouds"} {
		info, err := os.Stat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v; others may read it", name, info.Mode())
		}
	}
}

// checkCrash kills two services, one by the script and one behind its back. The start after it takes up the
// two hooks that tests of the release need: own settings, and another URL in the catalog.
func checkCrash(t *testing.T, s *stack) {
	before := s.procs()
	s.must("down", "glance@alpha", "--signal", "KILL")
	if err := syscall.Kill(before["mariadb"].pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, map[string]proc{"glance": before["glance@alpha"], "mariadb": before["mariadb"]})
	checkDown(t, s, "glance@alpha", "mariadb")

	conf := filepath.Join(s.dir, "clouds", "alpha", "glance", "conf.d", "cap.conf")
	if err := os.WriteFile(conf, []byte("[DEFAULT]\nimage_size_cap = 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const proxy = "http://127.0.0.1:9/proxy"
	s.must("up", "--glance-endpoint", "beta="+proxy)
	s.must("status", "-q")
	after, env := s.procs(), s.env()
	if after["mariadb"] == before["mariadb"] || after["glance@beta"] != before["glance@beta"] {
		t.Errorf("up should start mariadb and leave glance@beta: before %v, after %v", before, after)
	}
	checkRow(t, env)
	entries := clouds(t, env)
	if status, _ := login(t, entries["alpha"]).upload(t, make([]byte, 2000)); status != http.StatusRequestEntityTooLarge {
		t.Errorf("upload beyond image_size_cap: status %d, want 413", status)
	}
	if got := login(t, entries["beta"]).image; got != proxy {
		t.Errorf("image service in the catalog = %q, want the URL given", got)
	}
	s.must("up", "--only", "clouds", "--glance-endpoint", "beta=")
	if status, _ := login(t, clouds(t, env)["beta"]).upload(t, make([]byte, 2000)); status != http.StatusNoContent {
		t.Errorf("upload to beta: status %d, want 204", status)
	}
}

// checkDown wants these services down in the table, no other, and the exit code that says so.
func checkDown(t *testing.T, s *stack, want ...string) {
	t.Helper()
	r := s.try("status")
	var down []string
	for line := range strings.Lines(r.stdout) {
		if fields := strings.Fields(line); fields[1] == "down" {
			down = append(down, fields[0])
		}
	}
	if diff := cmp.Diff(want, down); diff != "" || r.code != 1 {
		t.Errorf("status: exit code %d, want 1; services that are down (-want +got):\n%s", r.code, diff)
	}
}

// checkRow finds what checkDatabase has written.
func checkRow(t *testing.T, env map[string]string) {
	t.Helper()
	db, err := sql.Open("mysql", env["AIBUILD_DSN"])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.QueryRow("SELECT n FROM stack_check").Scan(&n); err != nil || n != 1 {
		t.Errorf("the row from before the crash = %d, %v; want 1", n, err)
	}
}

// TestOrdinaryUser runs a whole stack without root, beside the others. Root drops to nobody for it.
func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	s := ordinary(t)
	s.must("up", "--clusters", "gamma")
	env := s.env()
	checkDatabase(t, env)
	checkSFTP(t, env)
	checkClusters(t, env, "gamma")
	if status, _, _ := get(t, env["AIBUILD_WEB_URL"]+"/images/release/", nil); status != http.StatusOK {
		t.Errorf("web server: status %d, want 200", status)
	}
	procs := s.procs()
	s.must("down")
	gone(t, procs)
}

// ordinary is a stack of somebody who is not root: of nobody, in a copy that nobody may read, when root tests.
func ordinary(t *testing.T) *stack {
	if os.Getuid() != 0 {
		return newStack(t)
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "aibuild-stack-test-") // t.TempDir's parent is root's alone
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	bin, home := filepath.Join(dir, "bin"), filepath.Join(dir, "home")
	if err := errors.Join(os.CopyFS(bin, os.DirFS(".")), os.Mkdir(home, 0o755), os.Chown(home, uid, -1), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	return purged(&stack{
		t: t, script: filepath.Join(bin, "stack"), dir: filepath.Join(home, "state"),
		prefix: []string{"setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"},
	})
}

// TestVanishedFolder deletes the state folder under a running stack: nothing may outlive it.
func TestVanishedFolder(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must("up", "--only", "mariadb,web,sftp")
	procs := s.procs()
	if err := os.Rename(s.dir, s.dir+".away"); err != nil {
		t.Fatal(err)
	}
	gone(t, procs)
}

// TestEndedOwner: a stack that was wanted by one process ends with it, and can be started by another.
func TestEndedOwner(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.unowned = true
	owner, err := process.Cmd{Path: "sleep", Args: []string{"600"}}.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s.must("up", "--only", "web", "--while", strconv.Itoa(owner.Pid()))
	procs := s.procs()
	if err := owner.Stop(time.Second); err != nil {
		t.Fatal(err)
	}
	gone(t, procs)
	s.must("up", "--only", "web")
	s.must("status", "-q")
}

// TestKilledSupervisor: its services end with it, and up starts all of them again.
func TestKilledSupervisor(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must("up", "--only", "web,sftp")
	env, procs := s.env(), s.procs()
	if err := syscall.Kill(procs["supervisor"].pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, procs)
	s.must("up", "--only", "web,sftp")
	s.must("status", "-q")
	if diff := cmp.Diff(env, s.env()); diff != "" {
		t.Errorf("env (-before +after):\n%s", diff)
	}
}

// TestForeignPid: a pid file of a former boot, or of a number that another process has now, is nobody to kill.
func TestForeignPid(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must("up", "--only", "web")
	s.must("down")
	if r := s.try("down", "glance@alpha"); r.code != 1 || !strings.Contains(r.stderr, "it has: web") {
		t.Errorf("down of a service that this stack has not: exit code %d, %q", r.code, r.stderr)
	}
	own, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	start := strings.Fields(string(own[strings.LastIndexByte(string(own), ')'):]))[20]
	for _, line := range []string{
		strconv.Itoa(os.Getpid()) + " 12345 ",                              // this number, another process
		strconv.Itoa(os.Getpid()) + " " + start + " another-boot-id-0000 ", // this very process, in another boot
	} {
		boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "run", "web.pid"), append([]byte(line), boot...), 0o600); err != nil {
			t.Fatal(err)
		}
		s.must("down") // would end this test
		if r := s.try("status", "-q"); r.code != 1 {
			t.Errorf("status with the pid file %q: exit code %d, want 1", line, r.code)
		}
	}
}

// TestTakenPort: another program has taken the port that the stack remembers.
func TestTakenPort(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.must("up", "--only", "web")
	address := strings.TrimPrefix(s.env()["AIBUILD_WEB_URL"], "http://")
	s.must("down")
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	r := s.try("up", "--only", "web")
	_, port, _ := strings.Cut(address, ":")
	if r.code != 1 || !strings.Contains(r.stderr, "port "+port) || !strings.Contains(r.stderr, "another program") {
		t.Errorf("up: exit code %d, %q; want 1 and the port's number", r.code, r.stderr)
	}
}

// TestFailedStart: the end of the log and what to do are on stderr.
func TestFailedStart(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	if err := os.MkdirAll(filepath.Join(s.dir, "web", "error.log"), 0o755); err != nil { // in the log's place
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "aibuild-stack"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := s.try("up", "--only", "web")
	for _, want := range []string{"stack: web: ", "error.log", "next: "} {
		if r.code != 1 || !strings.Contains(r.stderr, want) {
			t.Errorf("up: exit code %d, stderr lacks %q:\n%s", r.code, want, r.stderr)
		}
	}
}

// TestForeignFolder: a folder that holds somebody's files is never used, and never purged.
func TestForeignFolder(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	file := filepath.Join(s.dir, "thesis.txt")
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.try("up", "--only", "web"); r.code != 1 || !strings.Contains(r.stderr, "neither empty nor") {
		t.Errorf("up: exit code %d, %q", r.code, r.stderr)
	}
	s.must("down", "--purge")
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestTwoAtOnce: two people start the same stack at the same moment.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	results := make(chan result, 2)
	for range 2 {
		go func() { results <- s.try("up", "--only", "web") }()
	}
	for range 2 {
		if r := <-results; r.code != 0 {
			t.Errorf("up: exit code %d: %s", r.code, r.stderr)
		}
	}
	log, err := os.ReadFile(filepath.Join(s.dir, "web", "error.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "resuming normal operations"); n != 1 {
		t.Errorf("Apache has started %d times, want once:\n%s", n, log)
	}
	s.must("status", "-q")
}

// TestMissingPackages: what is not installed is named, with the command that installs it.
func TestMissingPackages(t *testing.T) {
	t.Parallel()
	const script = `. lib/state.sh
one_files() { echo "/nonexistent/b pack-b
/bin/bash bash"; }
two_files() { echo "/nonexistent/a pack-a
/nonexistent/c pack-b"; }
need_packages one two`
	got, err := process.Cmd{Path: "bash", Args: []string{"-c", script}, Timeout: patience}.Run(context.Background())
	if err == nil {
		t.Fatal("need_packages succeeds although files are missing")
	}
	const want = "stack: not installed: pack-a pack-b; run 'make deps', or: " +
		"apt-get install --no-install-recommends pack-a pack-b\n"
	if diff := cmp.Diff(want, string(got.Stderr)); diff != "" {
		t.Errorf("stderr (-want +got):\n%s", diff)
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"no command", nil, "stack [--state DIR] up"},
		{"unknown command", []string{"start"}, "unknown command 'start'"},
		{"unknown kind", []string{"up", "--only", "mariadb,nginx"}, "unknown kind 'nginx'"},
		{"no kind", []string{"up", "--only", ","}, "--only: no kind"},
		{"bad cluster", []string{"up", "--clusters", "../x"}, "'../x' is not a name"},
		{"name of an entry", []string{"up", "--clusters", "alpha-admin"}, "entry in clouds.yaml"},
		{"endpoint of none", []string{"up", "--only", "web", "--glance-endpoint", "alpha=http://h"}, "no cluster 'alpha'"},
		{"bad owner", []string{"up", "--while", "me"}, "'me' is not the number of a process"},
		{"missing value", []string{"up", "--only"}, "--only needs a value"},
		{"bad endpoint", []string{"up", "--glance-endpoint", "alpha"}, "want CLUSTER=URL"},
		{"bad signal", []string{"down", "--signal", "9"}, "not '9'"},
		{"purge of one", []string{"down", "web", "--purge"}, "it takes no service"},
		{"env with more", []string{"env", "x"}, "env takes no argument"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newStack(t).try(test.args...)
			if r.code != 2 || !strings.Contains(r.stderr, test.want) || r.stdout != "" {
				t.Errorf("exit code %d, stdout %q, stderr %q; want 2 and %q", r.code, r.stdout, r.stderr, test.want)
			}
		})
	}
}
