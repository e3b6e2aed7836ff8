package privatedb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// longestSocket leaves room below the kernel's 108 bytes.
const longestSocket = 100

// site is the place of one private database.
type site struct {
	home   string // absolute, without symbolic links
	socket string
	linger time.Duration
	log    hclog.Logger
}

// newSite makes the folders. Every process must find the same ones: nothing in
// the environment counts.
func newSite(c Config) (site, error) {
	if c.Dir == "" {
		return site{}, errors.New("no state folder given")
	}
	home, err := filepath.Abs(filepath.Join(c.Dir, "db"))
	if err != nil {
		return site{}, err
	}
	if err := os.MkdirAll(home, 0o700); err != nil {
		return site{}, err
	}
	if home, err = filepath.EvalSymlinks(home); err != nil {
		return site{}, err
	}
	if err := private(home); err != nil {
		return site{}, err
	}
	s := site{home: home, socket: filepath.Join(home, "sock"), linger: c.Linger, log: c.Log}
	if s.linger <= 0 {
		s.linger = DefaultLinger
	}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if len(s.socket) > longestSocket {
		sum := sha256.Sum256([]byte(home))
		short := fmt.Sprintf("/tmp/aibuild-%d-%s", os.Geteuid(), hex.EncodeToString(sum[:6]))
		s.socket = filepath.Join(short, "sock")
	}
	return s, nil
}

// private refuses a folder that others own or may enter: who can reach the
// socket can rewrite the record.
func private(dir string) error {
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.IsDir() {
		return fmt.Errorf("%s is not a folder; remove it", dir)
	}
	if int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, this process runs as user %d; run as its owner or choose another AIBUILD_DATA", dir, st.Uid, os.Geteuid())
	}
	if fi.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(dir, 0o700); err != nil {
			return fmt.Errorf("%s is open to other users: %w", dir, err)
		}
	}
	return nil
}

// shortFolder makes the folder of a socket that stands outside of home. An
// attacker may have made it first: private refuses that.
func (s site) shortFolder() error {
	dir := filepath.Dir(s.socket)
	if dir == s.home {
		return nil
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return private(dir)
}

// lock opens a lock file and waits for the lock. Closing the file unlocks.
func (s site) lock(ctx context.Context, name string, how int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(s.home, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
	}
}

// held says whether somebody else's lock keeps us from locking.
func (s site) held(name string, how int) bool {
	f, err := os.Open(filepath.Join(s.home, name))
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// kept says whether a keeper lives.
func (s site) kept() bool { return s.held("keeper.lock", syscall.LOCK_SH) }

// used says whether anybody uses the database. The keeper itself holds the lock
// exclusively for moments, and while it stops the server.
func (s site) used() bool {
	return s.held("users.lock", syscall.LOCK_EX) && !s.held("users.lock", syscall.LOCK_SH)
}
