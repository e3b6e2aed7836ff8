package privatedb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/guestos/aibuild/aibuild/process"
)

// initSQL runs at every start of the server; a crash between installation and
// first start must not leave a server without the database.
const initSQL = "CREATE DATABASE IF NOT EXISTS aibuild CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;\n"

// install makes the data once. It appears by one rename: a killed installation
// is begun anew.
func (s site) install(ctx context.Context) error {
	data := filepath.Join(s.home, "data")
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	lock, err := s.lock(ctx, "install.lock", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer lock.Close()
	if _, err := os.Stat(data); err == nil {
		return nil
	}
	fresh := filepath.Join(s.home, "data.new")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	s.log.Info("making the private database", "dir", data)
	if err := s.runInstaller(ctx, fresh); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := renameio.WriteFile(filepath.Join(fresh, "aibuild-init.sql"), []byte(initSQL), 0o600); err != nil {
		return err
	}
	if err := os.Rename(fresh, data); err != nil {
		return err
	}
	return syncFolder(s.home)
}

func (s site) runInstaller(ctx context.Context, data string) error {
	base, err := s.installBase()
	if err != nil {
		return err
	}
	args := append([]string{"--no-defaults"}, base...)
	args = append(args, "--datadir="+data, "--force", "--skip-test-db", "--skip-name-resolve",
		"--auth-root-authentication-method=normal", "--innodb-log-file-size="+logFileSize)
	args = append(args, asRoot()...)
	// A folder of its own: a server that starts removes the temporary tables that it finds, also those of another one
	// that is being installed at the same moment.
	tmp := data + ".tmp"
	if err := errors.Join(os.RemoveAll(tmp), os.MkdirAll(tmp, 0o700)); err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	res, err := process.Cmd{
		Path: "mariadb-install-db", Args: args, Env: process.Environ("TMPDIR=" + tmp), Timeout: 5 * time.Minute, Log: s.log,
	}.Run(ctx)
	if err != nil && res != nil {
		return fmt.Errorf("%w\n%s", needs(err), complaints(res.Stdout))
	}
	return needs(err)
}

// complaints are the lines of the installer that say what is wrong: it ends with
// advice that is always the same.
func complaints(out []byte) string {
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), func(line string) bool { return !strings.Contains(line, "ERROR") })
	if len(lines) == 0 {
		return lastLines(out, 8)
	}
	return strings.Join(lines[:min(len(lines), 8)], "\n")
}

// installBase makes mariadb-install-db work where only Debian's
// mariadb-server-core is installed: the script insists on my_print_defaults,
// which is in another package, even when it is told to read no defaults. A base
// folder of links satisfies it.
func (s site) installBase() ([]string, error) {
	if _, err := process.Look("my_print_defaults"); err == nil {
		return nil, nil
	}
	server, err := process.Look("mariadbd")
	if err != nil {
		return nil, needs(err)
	}
	base := filepath.Join(s.home, "base")
	if err := os.RemoveAll(base); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(base, "bin"), 0o700); err != nil {
		return nil, err
	}
	for name, target := range map[string]string{
		"bin/my_print_defaults": "/bin/true",
		"sbin":                  filepath.Dir(server),
		"share":                 "/usr/share",
		"lib":                   "/usr/lib",
	} {
		if err := os.Symlink(target, filepath.Join(base, name)); err != nil {
			return nil, err
		}
	}
	return []string{"--basedir=" + base}, nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// needs adds the remedy to a missing program.
func needs(err error) error {
	if errors.Is(err, process.ErrNotFound) {
		return fmt.Errorf("%w; install it (apt-get install mariadb-server-core util-linux), or name a server in AIBUILD_DSN", err)
	}
	return err
}
