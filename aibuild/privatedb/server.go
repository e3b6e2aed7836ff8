package privatedb

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/guestos/aibuild/aibuild/process"
)

//go:embed keeper.sh
var keeperScript []byte

// ensure returns when the server answers. The caller holds users.lock.
func (s site) ensure(ctx context.Context) error {
	if s.answers(ctx) == nil && s.kept() {
		return nil
	}
	if err := s.install(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for try := 0; ; try++ {
		started, err := s.startKeeper()
		if err != nil {
			return err
		}
		err = s.await(ctx, started)
		if err == nil || ctx.Err() != nil || try == 2 {
			return err
		}
	}
}

// await returns when the server answers, or with an error when there is no
// keeper that could start it.
func (s site) await(ctx context.Context, keeper string) error {
	seen := false
	for {
		err := s.answers(ctx)
		kept := s.kept()
		if err == nil && kept {
			return nil
		}
		seen = seen || kept
		if !kept && (seen || !alive(keeper)) {
			return fmt.Errorf("the server does not start; %s", s.lastWords())
		}
		if perr := pause(ctx, 10*time.Millisecond); perr != nil {
			return fmt.Errorf("the server does not answer (%w): %w; %s", err, perr, s.lastWords())
		}
	}
}

// answers greets the server: it speaks first, and 10 is its protocol.
func (s site) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", s.socket)
	if err != nil {
		return err
	}
	defer c.Close()
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		return err
	}
	var greeting [5]byte
	if _, err := io.ReadFull(c, greeting[:]); err != nil {
		return err
	}
	if greeting[4] != 10 {
		return fmt.Errorf("unexpected greeting % x", greeting)
	}
	return nil
}

// startKeeper starts a keeper, which ends at once when there is one already,
// and returns a name for the process.
func (s site) startKeeper() (string, error) {
	for _, program := range []string{"mariadbd", "flock", "setpriv"} {
		if _, err := process.Look(program); err != nil {
			return "", needs(err)
		}
	}
	mariadbd, err := process.Look("mariadbd")
	if err != nil {
		return "", needs(err)
	}
	if err := s.shortFolder(); err != nil {
		return "", err
	}
	script := filepath.Join(s.home, "keeper.sh")
	if err := renameio.WriteFile(script, keeperScript, 0o600); err != nil {
		return "", err
	}
	half := strconv.FormatInt(max(1, int64(s.linger/(500*time.Millisecond))), 10)
	args := append([]string{script, s.home, s.socket, half, mariadbd}, s.serverArgs()...)
	pid, err := process.Detach(process.Cmd{Path: "/bin/sh", Args: args, Dir: "/", Log: s.log})
	if err != nil {
		return "", err
	}
	start, err := process.StartTime(pid)
	if err != nil {
		return "", nil // it has ended already: another keeper is there
	}
	return strconv.Itoa(pid) + "/" + start, nil
}

// alive says whether the keeper of that name still runs.
func alive(keeper string) bool {
	pid, start, _ := strings.Cut(keeper, "/")
	n, err := strconv.Atoi(pid)
	return err == nil && process.Alive(n, start)
}

const logFileSize = "16M"

// serverArgs are small: the record of one person, and a start within 0.3 s.
func (s site) serverArgs() []string {
	return append([]string{
		"--no-defaults",
		"--datadir=" + filepath.Join(s.home, "data"),
		"--socket=" + s.socket,
		"--pid-file=" + filepath.Join(s.home, "data", "server.pid"),
		"--init-file=" + filepath.Join(s.home, "data", "aibuild-init.sql"),
		"--tmpdir=" + filepath.Join(s.home, "data"),
		"--skip-networking",
		"--skip-name-resolve",
		"--skip-log-bin",
		"--character-set-server=utf8mb4",
		"--collation-server=utf8mb4_bin",
		"--innodb-flush-log-at-trx-commit=1",
		"--innodb-buffer-pool-size=32M",
		"--innodb-log-file-size=" + logFileSize,
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--key-buffer-size=1M",
		"--aria-pagecache-buffer-size=1M",
		"--performance-schema=OFF",
		"--max-connections=500",
		"--log-warnings=1",
	}, asRoot()...)
}

// asRoot: MariaDB refuses to run as root unless told.
func asRoot() []string {
	if os.Geteuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// lastWords is the end of the server's log.
func (s site) lastWords() string {
	path := filepath.Join(s.home, "server.log")
	b, err := os.ReadFile(path)
	if err != nil {
		return "it left no log (" + err.Error() + ")"
	}
	return "the end of " + path + ":\n" + lastLines(b, 8)
}

func lastLines(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
