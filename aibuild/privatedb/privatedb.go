package privatedb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

// DefaultLinger is how long the server stays up after its last user.
const DefaultLinger = time.Minute

// startLimit bounds waiting for a server that recovers from a crash.
const startLimit = 2 * time.Minute

// Config says where the private database lives.
type Config struct {
	Dir    string        // state folder; the database is made in its subfolder db
	Linger time.Duration // how long the server outlives its last user; 0 = DefaultLinger. The user who starts it decides
	Log    hclog.Logger  // nil means silence
}

// DB is one user of the private database.
type DB struct {
	site  site
	users *os.File
	done  chan struct{}
	wg    sync.WaitGroup
	once  sync.Once
}

// Open makes the database if there is none, starts it if it does not run, and
// holds it running until Close or the end of the process.
func Open(ctx context.Context, c Config) (*DB, error) {
	s, err := newSite(c)
	if err != nil {
		return nil, fmt.Errorf("private database: %w", err)
	}
	users, err := s.lock(ctx, "users.lock", syscall.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("private database: join: %w", err)
	}
	db := &DB{site: s, users: users, done: make(chan struct{})}
	if err := s.ensure(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("private database in %s: %w", s.home, err), users.Close())
	}
	db.wg.Go(db.watch)
	return db, nil
}

// DSN is the address of the database in the form of the MySQL driver. It holds
// no secret: the socket's folder is the protection.
func (db *DB) DSN() string {
	return "root@unix(" + db.site.socket + ")/aibuild"
}

// Close ends this use. The keeper stops the server when nobody else uses it.
func (db *DB) Close() error {
	var err error
	db.once.Do(func() {
		close(db.done)
		db.wg.Wait()
		err = db.users.Close()
	})
	return err
}

// watch starts a new keeper when the old one was killed.
func (db *DB) watch() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-db.done:
			return
		case <-tick.C:
		}
		if _, err := os.Stat(filepath.Join(db.site.home, "data")); err != nil {
			return // the state folder is gone: nothing is left to keep
		}
		if db.site.kept() {
			continue
		}
		db.site.log.Warn("the keeper of the private database is gone, starting another", "dir", db.site.home)
		go func() { // Close must not wait for a start
			select {
			case <-db.done:
				cancel()
			case <-ctx.Done():
			}
		}()
		if err := db.site.ensure(ctx); err != nil {
			db.site.log.Error("private database", "error", err)
		}
	}
}

// Stop stops the private database of the state folder dir, unless somebody
// uses it, and waits until it is gone. Without it the keeper does the same
// after Config.Linger.
func Stop(ctx context.Context, dir string) error {
	s, err := newSite(Config{Dir: dir})
	if err != nil {
		return fmt.Errorf("stop private database: %w", err)
	}
	request := filepath.Join(s.home, "stop")
	if err := os.WriteFile(request, nil, 0o600); err != nil {
		return fmt.Errorf("stop private database: %w", err)
	}
	defer func() { _ = os.Remove(request) }() // the keeper removes it too
	free := time.Now()
	for s.kept() {
		// A lock that is given back may be held a moment longer: by a program that is
		// just being started, which has it until it runs.
		if !s.used() {
			free = time.Now()
		} else if time.Since(free) > time.Second {
			return fmt.Errorf("stop private database in %s: it is in use", s.home)
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("stop private database in %s: %w", s.home, err)
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
