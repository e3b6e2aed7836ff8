package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/privatedb"
)

// mariadb is a server of the test's own, which it may stop.
type mariadb struct {
	t      *testing.T
	args   []string
	socket string
	cmd    *exec.Cmd
	root   *sql.DB
	made   int
}

func newMariaDB(t *testing.T) *mariadb {
	t.Helper()
	dir := t.TempDir()
	db, err := privatedb.Open(t.Context(), privatedb.Config{Dir: dir, Linger: time.Second}) // it knows how to make one
	if err != nil {
		t.Fatal(err)
	}
	address := db.DSN()
	err = db.Close()
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if err = errors.Join(err, privatedb.Stop(t.Context(), dir)); err == nil {
			break
		}
		if err = nil; time.Now().After(end) {
			t.Fatal("the private database was not stopped")
		}
	}
	home := filepath.Join(dir, "db")
	socket, _, _ := strings.Cut(strings.TrimPrefix(address, "root@unix("), ")")
	m := &mariadb{t: t, socket: socket, args: []string{
		"--no-defaults", "--datadir=" + filepath.Join(home, "data"), "--socket=" + socket, "--pid-file=" + filepath.Join(home, "data", "own.pid"),
		"--tmpdir=" + filepath.Join(home, "data"), "--skip-networking", "--skip-name-resolve", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M",
		"--performance-schema=OFF", "--log-warnings=1",
	}}
	if os.Geteuid() == 0 {
		m.args = append(m.args, "--user=root")
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		t.Fatal(err)
	}
	if m.root, err = sql.Open("mysql", "root@unix("+socket+")/"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.root.Close(); err != nil {
			t.Error(err)
		}
		if m.cmd != nil {
			m.stop()
		}
	})
	m.start()
	return m
}

func (m *mariadb) start() {
	m.t.Helper()
	m.cmd = exec.Command("mariadbd", m.args...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); m.root.Ping() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("mariadbd does not answer")
		}
	}
}

func (m *mariadb) stop() {
	m.t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.t.Error(err)
	}
	if err := m.cmd.Wait(); err != nil {
		m.t.Error(err)
	}
	m.cmd = nil
}

func (m *mariadb) exec(statement string) {
	m.t.Helper()
	if _, err := m.root.Exec(statement); err != nil {
		m.t.Fatalf("%s: %v", statement, err)
	}
}

// empty makes a database and gives its address, and its name.
func (m *mariadb) empty() (dsn, name string) {
	m.t.Helper()
	m.made++
	name = fmt.Sprintf("ops%d", m.made)
	m.exec("CREATE DATABASE " + name + " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	return "root@unix(" + m.socket + ")/" + name, name
}

// served is a daemon as a process.
type served struct {
	t    *testing.T
	data string
	cmd  *exec.Cmd
	log  *watcher
	url  string
	done chan struct{} // closed when it has ended
}

// launch starts a daemon and waits until it listens.
func launch(t *testing.T, data string, env []string, args ...string) *served {
	t.Helper()
	s := &served{t: t, data: data, log: &watcher{text: "listening on ", seen: make(chan struct{})}, done: make(chan struct{})}
	s.cmd = (&lab{}).command(context.Background(), data, env, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	s.cmd.Stderr = s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.cmd.Wait(); close(s.done) }() // its status is in ProcessState
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("the daemon said:\n%s", tailOf(s.log.String()))
		}
	})
	select {
	case <-s.log.seen:
	case <-s.done:
		t.Fatalf("the daemon ended:\n%s", s.log)
	case <-time.After(time.Minute):
		t.Fatalf("the daemon does not listen:\n%s", s.log)
	}
	_, said, _ := strings.Cut(s.log.String(), "listening on ")
	said, _, _ = strings.Cut(said, "\n")
	s.url = "http://" + said
	return s
}

func (s *served) signal(sig os.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// ends waits for the end and gives the exit status.
func (s *served) ends() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(time.Minute):
		s.t.Fatalf("the daemon does not end:\n%s", tailOf(s.log.String()))
	}
	return s.cmd.ProcessState.ExitCode()
}

// well waits for an end as it should be. A race in the daemon shows here.
func (s *served) well() {
	s.t.Helper()
	if code := s.ends(); code != 0 {
		s.t.Errorf("the daemon ended with %d", code)
	}
}

// says waits until the log holds text for the n-th time.
func (s *served) says(text string, n int) {
	s.t.Helper()
	s.eventually("the log says "+text, func() bool { return strings.Count(s.log.String(), text) >= n })
}

func (s *served) eventually(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("not so after a minute: %s\n%s", what, tailOf(s.log.String()))
		}
	}
}

// get gives status and body of a page; 0 when there is no answer.
func (s *served) get(path string) (int, string) {
	response, err := http.Get(s.url + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

// metric waits until /metrics shows a line.
func (s *served) metric(line string) {
	s.t.Helper()
	s.eventually("/metrics shows "+line, func() bool { _, body := s.get("/metrics"); return strings.Contains(body, line+"\n") })
}

// ran waits until a chore has been done.
func (s *served) ran(chore string) {
	s.t.Helper()
	line := `aibuild_reconciler_runs_total{chore="` + chore + `"} `
	s.eventually(chore+" was done", func() bool {
		_, body := s.get("/metrics")
		return strings.Contains(body, line) && !strings.Contains(body, line+"0\n")
	})
}

const pushBody = `{"object_kind":"push","event_name":"push","before":"0000000000000000000000000000000000000000","after":"%040d","ref":"refs/heads/main",` +
	`"project_id":1,"project":{"id":1,"path_with_namespace":"ops/images","web_url":"%s/ops/images"}}`

// hook delivers a push of the n-th commit and gives the status.
func (s *served) hook(gitlab, secret string, n int) int {
	s.t.Helper()
	request, err := http.NewRequest(http.MethodPost, s.url+"/hooks/gitlab", strings.NewReader(fmt.Sprintf(pushBody, n, gitlab)))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("X-Gitlab-Event", "Push Hook")
	request.Header.Set("X-Gitlab-Token", secret)
	request.Header.Set("X-Gitlab-Instance", gitlab)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func placed(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certify writes a new one for 127.0.0.1.
func certify(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "aibuild"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	placed(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	placed(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})))
}

// nowhere is an address at which nobody listens.
const nowhere = "http://127.0.0.1:1"

// The daemon's operation: each part has a database of its own on one server.
func TestServeOperation(t *testing.T) {
	m := newMariaDB(t)
	for _, part := range []struct {
		name string
		test func(*testing.T, *mariadb)
	}{
		{"empty database", testEmptyDatabase}, {"rights", testRights}, {"TLS", testTLS}, {"reload", testReload}, {"stop", testStop},
		{"health", testHealth}, {"stand-by", testStandBy}, {"journals", testWebJournals}, {"reconcilers", testReconcilers},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, m) })
	}
}

func testEmptyDatabase(t *testing.T, m *mariadb) {
	dsn, name := m.empty()
	s := launch(t, t.TempDir(), []string{"AIBUILD_DSN=" + dsn})
	for _, table := range []string{"build_log", "test_log", "release_log", "run", "hook_event"} {
		if _, err := m.root.Exec("SELECT 1 FROM " + name + "." + table); err != nil {
			t.Error(err)
		}
	}
	if code, body := s.get("/readyz"); code != http.StatusOK || !strings.Contains(body, `"jenkins":"not configured"`) {
		t.Errorf("/readyz = %d %s", code, body)
	}
	s.signal(syscall.SIGTERM)
	s.well()
}

func testRights(t *testing.T, m *mariadb) {
	dsn, name := m.empty()
	m.exec("CREATE USER small IDENTIFIED BY 'pw'")
	m.exec("GRANT SELECT, INSERT, UPDATE, DELETE ON " + name + ".* TO small")
	small := strings.Replace(dsn, "root@", "small:pw@", 1)
	refused := func(what string) {
		t.Helper()
		r := (&lab{}).run(t.Context(), t.TempDir(), []string{"AIBUILD_DSN=" + small}, "serve", "--listen", "127.0.0.1:0")
		if r.code != 2 || !strings.Contains(r.err, "aibuild db migrate") {
			t.Errorf("%s: %d\n%s", what, r.code, r.err)
		}
	}
	refused("no tables")
	if r := (&lab{}).run(t.Context(), t.TempDir(), []string{"AIBUILD_DSN=" + dsn}, "db", "migrate"); r.code != 0 {
		t.Fatalf("db migrate: %s", r.err)
	}
	s := launch(t, t.TempDir(), []string{"AIBUILD_DSN=" + small})
	if code, body := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("with the tables there: %d %s", code, body)
	}
	s.signal(syscall.SIGTERM)
	s.well()
	m.exec("UPDATE " + name + ".schema_version SET version = version - 1 ORDER BY version DESC LIMIT 1")
	refused("old tables")
}

func testTLS(t *testing.T, m *mariadb) {
	dsn, _ := m.empty()
	dir := t.TempDir()
	certify(t, dir, 1)
	settings := fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	config := placed(t, filepath.Join(dir, "config.yaml"), settings)
	s := launch(t, t.TempDir(), []string{"AIBUILD_DSN=" + dsn, "AIBUILD_GITLAB_SECRET=s3cret"}, "--config", config)
	address := strings.TrimPrefix(s.url, "http://")

	if code, body := s.get("/healthz"); code != http.StatusBadRequest || strings.Contains(body, "ok") {
		t.Errorf("plain HTTP: %d %s", code, body)
	}
	dial := func() *tls.Conn {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "first.pem"))
		if err != nil {
			b, err = os.ReadFile(filepath.Join(dir, "cert.pem"))
		}
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(b) {
			t.Fatal("no certificate")
		}
		conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: roots})
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	serial := func(c *tls.Conn) int64 { return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64() }
	newest := func() int64 {
		t.Helper()
		conn := dial()
		defer conn.Close()
		return serial(conn)
	}
	open := dial()
	if serial(open) != 1 || open.ConnectionState().Version < tls.VersionTLS12 {
		t.Errorf("the first certificate is %d", serial(open))
	}
	// A request whose body is not complete when the certificate changes.
	body := fmt.Sprintf(pushBody, 1, nowhere)
	fmt.Fprintf(open, "POST /hooks/gitlab HTTP/1.1\r\nHost: x\r\nX-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: wrong\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:20])
	certify(t, dir, 2)
	s.signal(syscall.SIGHUP)
	s.says("the configuration was read again", 1)
	if n := newest(); n != 2 {
		t.Errorf("after SIGHUP the certificate is %d", n)
	}
	fmt.Fprint(open, body[20:])
	answer, err := http.ReadResponse(bufio.NewReader(open), nil)
	if err != nil || answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("the request that was open: %v, %v", answer, err)
	}
	if err := open.Close(); err != nil {
		t.Error(err)
	}
	// A certificate that is none, and a door that would be another.
	good, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	placed(t, filepath.Join(dir, "first.pem"), string(good))
	placed(t, filepath.Join(dir, "cert.pem"), "nonsense")
	s.signal(syscall.SIGHUP)
	s.says("the old one stays", 1)
	if n := newest(); n != 2 {
		t.Errorf("after a bad certificate it is %d", n)
	}
	placed(t, filepath.Join(dir, "cert.pem"), string(good))
	placed(t, config, "public_url: https://example.org\n")
	s.signal(syscall.SIGHUP)
	s.says("only after a restart: settings=tls", 1)
	if n := newest(); n != 2 {
		t.Errorf("without tls in the configuration it is %d", n)
	}

	for _, half := range []string{"tls: {cert_file: /c.pem}\n", "tls: {key_file: /k.pem}\n", "tls: {cert_file: /none, key_file: /none}\n"} {
		r := (&lab{}).run(t.Context(), t.TempDir(), []string{"AIBUILD_DSN=" + dsn}, "serve", "--listen", "127.0.0.1:0", "--config", placed(t, config, half))
		if r.code != 2 || !strings.Contains(r.err, "tls: ") {
			t.Errorf("%s: %d\n%s", half, r.code, r.err)
		}
	}
	s.signal(syscall.SIGTERM)
	s.well()
}

func testReload(t *testing.T, m *mariadb) {
	dsn, _ := m.empty()
	dir := t.TempDir()
	first, second := placed(t, filepath.Join(dir, "first"), "first-s3cret\n"), placed(t, filepath.Join(dir, "second"), "second-s3cret\n")
	settings := func(secret string) string {
		return fmt.Sprintf("gitlab:\n  url: %s\n  projects:\n    - path: ops/images\n      secret_files: [%q]\n", nowhere, secret)
	}
	config := placed(t, filepath.Join(dir, "config.yaml"), settings(first))
	s := launch(t, t.TempDir(), []string{"AIBUILD_DSN=" + dsn}, "--config", config)
	answers := func(when string, toFirst, toSecond int) {
		t.Helper()
		if a, b := s.hook(nowhere, "first-s3cret", 1), s.hook(nowhere, "second-s3cret", 1); a != toFirst || b != toSecond {
			t.Errorf("%s: the first secret gets %d, the second %d", when, a, b)
		}
	}
	answers("at first", http.StatusAccepted, http.StatusUnauthorized)
	placed(t, config, settings(second))
	s.signal(syscall.SIGHUP)
	s.says("the configuration was read again", 1)
	answers("after SIGHUP", http.StatusUnauthorized, http.StatusAccepted)

	placed(t, config, "listen: :1\nnonsense: true\n")
	s.signal(syscall.SIGHUP)
	s.says(config+":2: ", 1)
	s.says("the old one stays", 1)
	answers("after a broken configuration", http.StatusUnauthorized, http.StatusAccepted)

	placed(t, second, "third-s3cret\n") // a secret's file is read when it is used
	if code := s.hook(nowhere, "third-s3cret", 2); code != http.StatusAccepted {
		t.Errorf("a secret that was changed in its file: %d", code)
	}

	// Jenkins comes with the configuration, without a restart.
	jenkins := httptest.NewServer(http.NotFoundHandler())
	defer jenkins.Close()
	token := placed(t, filepath.Join(dir, "jenkins-token"), "jenkins-s3cret")
	placed(t, config, settings(second)+fmt.Sprintf("jenkins: {url: %q, user: bot, token_file: %q}\n", jenkins.URL, token))
	s.signal(syscall.SIGHUP)
	s.says("the configuration was read again", 2)
	s.eventually("/readyz tells of Jenkins", func() bool { _, body := s.get("/readyz"); return strings.Contains(body, `"jenkins":"unavailable"`) })

	// What an authority's file holds is read again, too.
	var trusted atomic.Int64
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { trusted.Add(1); http.NotFound(w, r) }))
	defer secure.Close()
	certify(t, dir, 1)
	ca := filepath.Join(dir, "cert.pem")
	placed(t, config, settings(second)+fmt.Sprintf("jenkins: {url: %q, user: bot, token_file: %q, ca_file: %q}\n", secure.URL, token, ca))
	s.signal(syscall.SIGHUP)
	s.says("the configuration was read again", 3)
	if n := trusted.Load(); n != 0 {
		t.Errorf("a Jenkins of another authority was asked %d times", n)
	}
	placed(t, ca, string(pemOf(secure.Certificate().Raw)))
	s.signal(syscall.SIGHUP)
	s.eventually("the Jenkins of the authority is asked", func() bool { return trusted.Load() > 0 })

	// Another GitLab needs a restart: until then nobody asks it, and the door knows the old one.
	var asked atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); http.NotFound(w, r) }))
	defer other.Close()
	moved := strings.Replace(settings(second), nowhere, other.URL, 1)
	moved = strings.Replace(moved, "  projects:", fmt.Sprintf("  token_file: %q\n  projects:", token), 1)
	placed(t, config, moved)
	tried := fmt.Sprintf("fetch %040d of ops/images at %s: ", 1, nowhere)
	before := strings.Count(s.log.String(), tried)
	s.signal(syscall.SIGHUP)
	s.says("only after a restart: settings=gitlab.url", 1)
	s.eventually("/readyz tells of GitLab, as it was", func() bool { _, body := s.get("/readyz"); return strings.Contains(body, `"gitlab":"unavailable"`) })
	if code := s.hook(nowhere, "third-s3cret", 3); code != http.StatusAccepted {
		t.Errorf("a push of the GitLab of the start: %d", code)
	}
	s.says(tried, before+1) // by git
	if n := asked.Load(); n != 0 {
		t.Errorf("the other GitLab was asked %d times before the restart", n)
	}

	// An authority that cannot be read changes nothing.
	placed(t, config, strings.Replace(settings(second), "  projects:", "  ca_file: /nonexistent/ca.pem\n  projects:", 1))
	s.signal(syscall.SIGHUP)
	s.says("gitlab.ca_file: open /nonexistent/ca.pem", 1)
	s.says("the old one stays", 2)
	for _, secret := range []string{"first-s3cret", "second-s3cret", "third-s3cret", "jenkins-s3cret"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
	s.signal(syscall.SIGTERM)
	s.well()
}

// A request that does not end is cut off: the daemon ends within 10 s, well.
func testStop(t *testing.T, m *mariadb) {
	dsn, _ := m.empty()
	s := launch(t, t.TempDir(), []string{"AIBUILD_DSN=" + dsn, "AIBUILD_GITLAB_SECRET=s3cret"})
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /hooks/gitlab HTTP/1.1\r\nHost: x\r\nX-Gitlab-Event: Push Hook\r\nX-Gitlab-Token: s3cret\r\nContent-Length: 1000000\r\n\r\n{")
	if code, _ := s.get("/healthz"); code != http.StatusOK { // so the daemon has the other request too
		t.Fatalf("/healthz = %d", code)
	}
	began := time.Now()
	s.signal(syscall.SIGTERM)
	code := s.ends()
	if took := time.Since(began); code != 0 || took > stopWithin+4*time.Second { // 2 s are the machine's
		t.Errorf("it ended with %d after %v", code, took)
	}
	if !strings.Contains(s.log.String(), "cut off") {
		t.Error("nothing was cut off: the request was not open")
	}
}

func testHealth(t *testing.T, m *mariadb) {
	dsn, name := m.empty()
	s := launch(t, t.TempDir(), []string{
		"AIBUILD_DSN=" + dsn, "AIBUILD_GITLAB_SECRET=s3cret", "GITLAB_URL=" + nowhere, "GITLAB_TOKEN=gitlab-s3cret",
		"JENKINS_URL=" + nowhere, "JENKINS_USER=bot", "JENKINS_TOKEN=jenkins-s3cret",
	}, "--config", placed(t, filepath.Join(t.TempDir(), "config.yaml"), "gitlab: {projects: [{path: ops/images}]}\n"))
	s.eventually("Jenkins and GitLab are known to be down", func() bool {
		code, body := s.get("/readyz")
		return code == http.StatusOK && strings.Contains(body, `"jenkins":"unavailable"`) && strings.Contains(body, `"gitlab":"unavailable"`)
	})
	if code, body := s.get("/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("/healthz = %d %s", code, body)
	}
	for _, line := range []string{
		"aibuild_dispatcher_active 1", `aibuild_neighbour_up{name="jenkins"} 0`, `aibuild_neighbour_up{name="gitlab"} 0`,
		`aibuild_reconciler_failures_total{chore="prune"} 0`, `aibuild_build_info{version="unknown"} 1`,
	} {
		s.metric(line)
	}

	m.stop()
	s.eventually("/readyz is 503", func() bool { code, _ := s.get("/readyz"); return code == http.StatusServiceUnavailable })
	if code, body := s.get("/readyz"); !strings.Contains(body, `"database":"unavailable"`) || strings.Contains(body, m.socket) {
		t.Errorf("/readyz = %d %s", code, body)
	}
	if code, _ := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("/healthz without a database = %d", code)
	}
	if code := s.hook(nowhere, "s3cret", 1); code != http.StatusAccepted {
		t.Errorf("a hook without a database = %d", code)
	}
	m.start()
	s.eventually("/readyz is 200", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	s.eventually("what came meanwhile is in the database", func() bool {
		n := 0
		err := m.root.QueryRow("SELECT COUNT(*) FROM " + name + ".hook_event WHERE after_sha LIKE '%1'").Scan(&n)
		return err == nil && n == 1
	})
	s.metric("aibuild_dispatcher_active 1")
	for _, secret := range []string{"s3cret", "gitlab-s3cret", "jenkins-s3cret"} {
		if strings.Contains(s.log.String(), secret) {
			t.Errorf("the log holds %s", secret)
		}
	}
	s.signal(syscall.SIGTERM)
	s.well()
}

func testStandBy(t *testing.T, m *mariadb) {
	dsn, _ := m.empty()
	env := []string{"AIBUILD_DSN=" + dsn}
	one := launch(t, t.TempDir(), env)
	one.metric("aibuild_dispatcher_active 1")
	two := launch(t, t.TempDir(), env)
	two.ran("journals") // of its own machine
	if code, body := two.get("/readyz"); code != http.StatusOK || !strings.Contains(body, `"dispatcher":"standing by"`) {
		t.Errorf("the stand-by: %d %s", code, body)
	}
	one.ran("foreign_rows")
	two.metric(`aibuild_reconciler_runs_total{chore="foreign_rows"} 0`)
	one.signal(syscall.SIGKILL)
	one.ends()
	two.metric("aibuild_dispatcher_active 1")
	two.ran("foreign_rows")
	two.signal(syscall.SIGTERM)
	two.well()
}

// --dev makes what it lacks, and shows no secret.
func TestServeDev(t *testing.T) {
	data := t.TempDir()
	env := []string{"CI=1"} // as --dev means the private database
	s := launch(t, data, env, "--dev")
	read := func(name string) string {
		t.Helper()
		path := filepath.Join(data, name)
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: %v, %v", name, info, err)
		}
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(s.log.String(), path+"\n") {
			t.Errorf("%s is not named: %v\n%s", path, err, s.log)
		}
		return strings.TrimSpace(string(b))
	}
	secret, token := read("hook-secret"), read("admin-token")
	if len(secret) < 32 || len(token) < 32 || strings.Contains(s.log.String(), secret) || strings.Contains(s.log.String(), token) {
		t.Error("a secret is short, or shown")
	}
	status := func(s *served, token string) int {
		request, err := http.NewRequest(http.MethodGet, s.url+"/api/v1/runs", nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	if a, b := status(s, token), status(s, "aib_wrong"); a != http.StatusOK || b != http.StatusUnauthorized {
		t.Errorf("the token gets %d, another %d", a, b)
	}
	if a, b := s.hook(nowhere, secret, 1), s.hook(nowhere, "wrong", 1); a != http.StatusOK || b != http.StatusUnauthorized { // no project is configured
		t.Errorf("the secret gets %d, another %d", a, b)
	}
	s.signal(syscall.SIGTERM)
	s.well()
	// Again: the same secrets. A token that the database does not know is made anew.
	s = launch(t, data, env, "--dev")
	if read("hook-secret") != secret || read("admin-token") != token || status(s, token) != http.StatusOK {
		t.Error("the second start made other secrets")
	}
	s.signal(syscall.SIGTERM)
	s.well()
	placed(t, filepath.Join(data, "admin-token"), "aib_of_another_database\n")
	slow := placed(t, filepath.Join(data, "config.yaml"), "rate: {per_second: 0.001, burst: 2}\n")
	s = launch(t, data, append(env, "AIBUILD_GITLAB_SECRET=configured-s3cret"), "--dev", "--config", slow)
	token = read("admin-token")
	if status(s, token) != http.StatusOK {
		t.Error("a token that is no good was kept")
	}
	if a, b := status(s, token), status(s, token); a != http.StatusOK || b != http.StatusTooManyRequests {
		t.Errorf("with a rate of two at once, the second request gets %d, the third %d", a, b)
	}
	if s.hook(nowhere, secret, 1) != http.StatusUnauthorized || s.hook(nowhere, "configured-s3cret", 1) != http.StatusOK || strings.Contains(s.log.String(), "hook-secret") {
		t.Error("a secret was made, though one is configured")
	}
	s.signal(syscall.SIGTERM)
	s.well()
	if err := privatedb.Stop(t.Context(), data); err != nil {
		t.Error(err)
	}
}

// Where a daemon listens, and what it says of a door that is open to all.
func TestServeListens(t *testing.T) {
	for _, test := range []struct {
		env, file string
		dev       bool
		want      string
	}{
		{"", "", false, ":9753"}, {"", "", true, "127.0.0.1:9753"}, {"", "10.0.0.1:1", true, "10.0.0.1:1"}, {"10.0.0.2:2", "10.0.0.1:1", false, "10.0.0.2:2"},
	} {
		w := &world{getenv: func(k string) string { return map[string]string{"AIBUILD_LISTEN": test.env}[k] }}
		w.config = config{Listen: test.file, getenv: w.getenv}
		if got := (&service{w: w, dev: test.dev}).address(""); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
	for address, warns := range map[string]bool{"127.0.0.1:0": false, "[::1]:0": false, ":0": true, "0.0.0.0:0": true} {
		var log bytes.Buffer
		s := &service{w: &world{getenv: func(string) string { return "" }}, log: hclog.New(&hclog.LoggerOptions{Output: &log})}
		s.settings.Store(&settings{})
		listener, err := s.listen(t.Context(), address) // nothing is served there
		if err != nil {
			t.Fatal(err)
		}
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		if strings.Contains(log.String(), "in clear") != warns {
			t.Errorf("%s: %q", address, log.String())
		}
	}
}
