package lineage

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"sync"
	"time"
)

// keepAlive is how often a held lock is looked after. A server drops idle
// connections, and locks with them.
const keepAlive = 10 * time.Second

// lockIdle is how long a server keeps the lock of a process that does not look
// after it: one that was stopped, or whose machine stands still or is cut off,
// must not keep all others waiting.
const lockIdle = 6 * keepAlive

// Lock keeps other processes, on any machine that uses the same database, from
// working on the image name. It waits at most so long for the holder to end (0 =
// not at all) and then gives [*Locked], which says who it is. The lock lives on
// a connection of its own: it ends with unlock, with the process and with the
// server. When the connection breaks, Lock is taken again as long as nobody
// else had it meanwhile; else unlock gives [*LockLost].
func (s *Store) Lock(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error) {
	_, unlock, err = s.Hold(ctx, name, wait)
	return unlock, err
}

// Hold is Lock for work that has to end when the lock does: holding ends with
// ctx, with unlock, and as soon as it is known that another process has had the
// lock; then its cause is [*LockLost].
func (s *Store) Hold(ctx context.Context, name string, wait time.Duration) (holding context.Context, unlock func() error, err error) {
	if err := s.ready(ctx, "lock"); err != nil {
		return nil, nil, err
	}
	if name == "" || len(name) > 255 {
		return nil, nil, &Invalid{Field: "name", Problem: "must have 1 to 255 characters"}
	}
	h := &held{store: s, name: name, key: s.lockName("name", name), stop: make(chan struct{})}
	if err := h.take(ctx, wait); err != nil {
		return nil, nil, s.fault(ctx, "lock", err)
	}
	holding, h.end = context.WithCancelCause(ctx)
	h.wg.Go(h.keep)
	return holding, h.unlock, nil
}

// held is a lock that this process has.
type held struct {
	store *Store
	name  string
	key   string
	fence int64 // the how-manieth holder of this name we are
	stop  chan struct{}
	end   context.CancelCauseFunc // of what is done under the lock
	wg    sync.WaitGroup
	once  sync.Once

	mu   sync.Mutex
	conn *sql.Conn
	lost error
}

func (h *held) take(ctx context.Context, wait time.Duration) error {
	conn, err := h.store.locks.Conn(ctx)
	if err != nil {
		return err
	}
	if err = neglectable(ctx, conn); err == nil {
		err = takeLock(ctx, conn, h.key, wait)
	}
	if errors.Is(err, errAgain) {
		err = h.holder(ctx, conn)
	}
	if err == nil {
		err = h.note(ctx, conn)
	}
	if err != nil {
		h.store.dropLock(conn, h.key)
		return errors.Join(err, ignoreDone(conn.Close()))
	}
	h.conn = conn
	return nil
}

// neglectable lets the server end a connection that nobody looks after.
func neglectable(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, "SET SESSION wait_timeout = ?", int(lockIdle.Seconds()))
	return err
}

// holder says who has the lock.
func (h *held) holder(ctx context.Context, conn *sql.Conn) error {
	l := &Locked{Name: h.name}
	err := conn.QueryRowContext(ctx, "SELECT host, pid, since FROM lock_holder WHERE name = ?", h.name).Scan(&l.Host, &l.PID, &l.Since)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return l
}

// note leaves word for others and counts the holders.
func (h *held) note(ctx context.Context, conn *sql.Conn) error {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	_, err = conn.ExecContext(ctx, `INSERT INTO lock_holder (name, host, pid, since, fence) VALUES (?, ?, ?, ?, 1)
		ON DUPLICATE KEY UPDATE host = VALUES(host), pid = VALUES(pid), since = VALUES(since), fence = fence + 1`,
		h.name, host, os.Getpid(), utc(h.store.now()))
	if err != nil {
		return err
	}
	return conn.QueryRowContext(ctx, "SELECT fence FROM lock_holder WHERE name = ?", h.name).Scan(&h.fence)
}

// keep looks after the lock until unlock.
func (h *held) keep() {
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-h.stop:
			return
		case <-tick.C:
			h.check()
		}
	}
}

// check sees that the connection lives and has the lock, and takes it again
// where nobody else had it.
func (h *held) check() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if h.mine(ctx) {
		return
	}
	if err := h.retake(ctx); err != nil {
		// The server may come back: only another holder is final.
		h.store.log.Warn("lock does not hold", "image", h.name, "error", err)
		if is[*LockLost](err) {
			h.lost = err
			h.end(err)
		}
	}
}

// mine asks whether our connection still has the lock.
func (h *held) mine(ctx context.Context) bool {
	if h.conn == nil {
		return false
	}
	var ours sql.NullBool
	err := h.conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK(?) = CONNECTION_ID()", h.key).Scan(&ours)
	return err == nil && ours.Valid && ours.Bool
}

func (h *held) retake(ctx context.Context) error {
	if h.conn != nil {
		if err := ignoreDone(h.conn.Close()); err != nil {
			h.store.log.Debug("close broken connection", "error", err)
		}
		h.conn = nil
	}
	conn, err := h.store.locks.Conn(ctx)
	if err != nil {
		return err
	}
	got, err := false, neglectable(ctx, conn)
	if err == nil {
		got, err = getLock(ctx, conn, h.key, 0)
	}
	if err == nil && !got {
		err = &LockLost{Name: h.name, Err: h.holder(ctx, conn)}
	}
	var fence int64
	if err == nil {
		err = conn.QueryRowContext(ctx, "SELECT fence FROM lock_holder WHERE name = ?", h.name).Scan(&fence)
	}
	if err == nil && fence != h.fence {
		err = &LockLost{Name: h.name, Err: errors.New("another process had it meanwhile")}
	}
	if err != nil {
		h.store.dropLock(conn, h.key)
		return errors.Join(err, ignoreDone(conn.Close()))
	}
	h.conn = conn
	return nil
}

// unlock gives the lock back. It gives [*LockLost] when others may have had it
// meanwhile. Calling it again does nothing.
func (h *held) unlock() error {
	var err error
	h.once.Do(func() {
		close(h.stop)
		h.wg.Wait()
		h.check()
		h.end(nil)
		h.mu.Lock()
		defer h.mu.Unlock()
		err = h.lost
		if h.conn != nil {
			h.store.dropLock(h.conn, h.key)
			err = errors.Join(err, ignoreDone(h.conn.Close()))
			h.conn = nil
		} else if err == nil {
			err = &LockLost{Name: h.name, Err: errors.New("the server is gone")}
		}
	})
	return err
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrConnDone) {
		return nil
	}
	return err
}
