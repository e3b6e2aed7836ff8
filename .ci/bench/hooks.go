package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

const (
	hookProject = "ops/images"
	hookSecret  = "the-secret-of-the-hook"
	hookJob     = "aibuild/build"
	patience    = 2 * time.Minute // for what happens soon on a machine that is not busy
)

// hookSite is a daemon as people run it: bin/aibuild serve on MariaDB, with
// GitLab and Jenkins. The stand-ins of these run in this process.
type hookSite struct {
	b       *bench
	state   string // of the stack, which has MariaDB alone
	db      *sql.DB
	admin   *sql.DB
	dsn     string
	gitlab  *gitlabtest.Server
	jenkins string // URL; empty: none is configured
	config  string
	address string // of the daemon, the same after a restart
	daemon  *process.Process

	builds *jenkinsSite // of the part about the API
	token  string       // for it
}

// newHookSite starts MariaDB and GitLab; the daemon is started by start.
func newHookSite(ctx context.Context, b *bench, name string) (*hookSite, error) {
	s := &hookSite{b: b, state: b.path(name), config: b.path(name + ".yaml")}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s.address = "127.0.0.1:" + strconv.Itoa(port)
	if err := s.stack(ctx, "up", "--only", "mariadb", "--while", strconv.Itoa(os.Getpid())); err != nil {
		return nil, err
	}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if s.gitlab, err = gitlabtest.Start(gitlabtest.Options{Home: b.path(name + "-gitlab")}); err != nil {
		return nil, errors.Join(err, s.close())
	}
	if err = s.project(ctx, hookProject); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *hookSite) project(ctx context.Context, path string) error {
	_, err := s.gitlab.CreateProject(ctx, gitlabtest.Project{Path: path, Visibility: gitlabtest.Public})
	return err
}

func (s *hookSite) stack(ctx context.Context, args ...string) error {
	_, err := process.Cmd{Path: s.b.stackScript(), Args: append([]string{"--state", s.state}, args...), Timeout: patience}.Run(ctx)
	return err
}

// open connects to MariaDB: as aibuild does, and as the administrator.
func (s *hookSite) open(ctx context.Context) error {
	res, err := process.Cmd{Path: "bash", Args: []string{"-c", `eval "$("$0" --state "$1" env)"; printf '%s\n' "$AIBUILD_DSN" "$STACK_MARIADB_ADMIN@unix($STACK_MARIADB_SOCKET)/"`, s.b.stackScript(), s.state}}.Run(ctx)
	if err != nil {
		return err
	}
	dsns := strings.Fields(string(res.Stdout))
	if len(dsns) != 2 {
		return errors.New("the stack does not say where its database is")
	}
	s.dsn = dsns[0]
	if err := mysql.SetLogger(&mysql.NopLogger{}); err != nil { // connections break on purpose
		return err
	}
	if s.db, err = sql.Open("mysql", s.dsn+"?parseTime=true"); err != nil {
		return err
	}
	s.db.SetMaxOpenConns(clients)
	s.db.SetMaxIdleConns(clients)
	if s.admin, err = sql.Open("mysql", dsns[1]); err != nil {
		return err
	}
	return s.durable(ctx)
}

// durable fails unless a commit is on the disk when it returns: without that the comparison is worth nothing.
func (s *hookSite) durable(ctx context.Context) error {
	var flush int
	if err := s.db.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit").Scan(&flush); err != nil || flush != 1 {
		return fmt.Errorf("innodb_flush_log_at_trx_commit is %d, not 1: %w", flush, err)
	}
	return nil
}

// configure writes the daemon's configuration.
func (s *hookSite) configure(more string) error {
	text := "gitlab:\n  url: " + s.gitlab.URL() + "\n  projects:\n    - {path: " + hookProject + ", release: {refs: [main]}}\n"
	if s.jenkins != "" {
		text += "jenkins: {url: \"" + s.jenkins + "\", job: " + hookJob + ", " + more + "}\n"
	}
	return os.WriteFile(s.config, []byte(text), 0o600)
}

// start starts the daemon and waits until it is ready.
func (s *hookSite) start(ctx context.Context) error {
	log, err := os.OpenFile(s.config+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the daemon has its own
	env := []string{
		"AIBUILD_DATA=" + s.config + ".data", "AIBUILD_WEB_ROOT=" + s.b.web(), "AIBUILD_DSN=" + s.dsn, "AIBUILD_GITLAB_SECRET=" + hookSecret,
		"GITLAB_TOKEN=" + s.gitlab.RootToken(), "HOME=" + s.b.dir,
	}
	if s.jenkins != "" {
		env = append(env, "JENKINS_USER="+jenkinstest.DefaultUser, "JENKINS_TOKEN="+jenkinstest.DefaultToken)
	}
	if err := os.MkdirAll(s.b.web(), 0o755); err != nil {
		return err
	}
	s.daemon, err = process.Cmd{
		Path: s.b.aibuild(), Args: []string{"serve", "--config", s.config, "--listen", s.address}, Env: process.Environ(env...), Stderr: log, Dir: s.b.dir,
	}.Start(ctx)
	if err != nil {
		return err
	}
	return s.await(ctx, "the daemon is ready", func() (bool, error) {
		select {
		case <-s.daemon.Done():
			_, err := s.daemon.Wait()
			return false, fmt.Errorf("the daemon ended: %w", err)
		default:
		}
		response, err := http.Get("http://" + s.address + "/readyz")
		if err != nil {
			return false, nil
		}
		return response.StatusCode == http.StatusOK, response.Body.Close()
	})
}

// await polls until good says so.
func (s *hookSite) await(ctx context.Context, what string, good func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		if ok, err := good(); ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("not within %v: %s", patience, what)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// stop ends the daemon as systemd does.
func (s *hookSite) stop() error {
	if s.daemon == nil {
		return nil
	}
	err := s.daemon.Stop(20 * time.Second)
	s.daemon = nil
	return err
}

func (s *hookSite) close() error {
	errs := []error{s.stop()}
	if s.builds != nil {
		errs = append(errs, s.builds.Close())
	}
	if s.gitlab != nil {
		errs = append(errs, s.gitlab.Close())
	}
	for _, db := range []*sql.DB{s.db, s.admin} {
		if db != nil {
			_ = db.Close() // fails where MariaDB was killed under a connection
		}
	}
	errs = append(errs, s.stack(context.Background(), "down", "--purge"))
	return errors.Join(errs...)
}

// mariadb is the number of the server's process.
func (s *hookSite) mariadb() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.state, "run", "mariadb.pid"))
	if err != nil {
		return "", err
	}
	pid, _, _ := strings.Cut(string(b), " ")
	return pid, nil
}

// number is one number that the database knows.
func (s *hookSite) number(ctx context.Context, query string, args ...any) (n int64, err error) {
	err = s.db.QueryRowContext(ctx, query, args...).Scan(&n)
	return n, err
}

// metric is one value of the daemon's /metrics.
func (s *hookSite) metric(name string) (float64, error) {
	response, err := http.Get("http://" + s.address + "/metrics")
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() // it is read out
	text, err := readAll(response.Body)
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(l, name+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("/metrics has no %s", name)
}

// push commits what fill writes into a new checkout, or the one that is there, and pushes it.
func (s *hookSite) push(ctx context.Context, dir, message string) error {
	script := `cd "$0" && git init -q -b main . && git add -A && git -c user.name=Ann -c user.email=ann@example.org commit -q --allow-empty -m "$1" && git push -q "$2" HEAD:refs/heads/main`
	cmd := exec.CommandContext(ctx, "bash", "-ec", script, dir, message, s.gitlab.CloneURL(hookProject, s.gitlab.RootToken()))
	cmd.Env = append(process.Environ("HOME="+s.b.dir), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("git push: %w: %s", err, out)
	}
	return nil
}
