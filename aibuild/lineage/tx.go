package lineage

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

func isBadConn(err error) bool { return errors.Is(err, driver.ErrBadConn) }

func isNetError(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

// errAgain asks write to run the transaction again: somebody else wrote, or is
// writing, what was just looked for.
var errAgain = errors.New("others write the same at this moment")

const (
	lockTries = 20 // against deadlocks, lock waits and lost races
	connTries = 3  // against broken connections
)

// write runs fn in one transaction, under the named server-wide locks, and
// again as [Store.again] says.
func (s *Store) write(ctx context.Context, op string, locks []string, fn func(*sql.Tx) error) error {
	return s.again(ctx, op, func() error { return s.attempt(ctx, locks, fn) })
}

// again runs fn until it succeeds: a deadlock, a lock wait or a lost race runs
// it again, as does a connection that breaks. fn must be idempotent, because
// what it sent may have arrived.
func (s *Store) again(ctx context.Context, op string, fn func() error) error {
	races, breaks := 0, 0
	for {
		err := fn()
		switch n := number(err); {
		case err == nil:
			return nil
		case errors.Is(err, errAgain), n == erDeadlock, n == erLockWait:
			races++
		case broken(err) && ctx.Err() == nil:
			breaks++
		default:
			return s.fault(ctx, op, err)
		}
		if races >= lockTries || breaks >= connTries {
			return s.fault(ctx, op, err)
		}
		s.log.Debug("runs again", "op", op, "error", err)
		if err := pause(ctx, time.Duration(1+rand.IntN(20*(races+breaks)))*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
}

func (s *Store) attempt(ctx context.Context, locks []string, fn func(*sql.Tx) error) (err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := conn.Close(); err == nil && cerr != nil && !errors.Is(cerr, sql.ErrConnDone) {
			s.log.Debug("give back connection", "error", cerr)
		}
	}()
	slices.Sort(locks) // all take them in one order
	for _, name := range slices.Compact(locks) {
		if err := takeLock(ctx, conn, name, 3*time.Second); err != nil {
			return err
		}
		defer s.dropLock(conn, name)
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // does nothing after Commit; a broken connection has rolled back
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// lockName fits GET_LOCK's 64 characters; the locks of a server are common to
// its databases.
func (s *Store) lockName(kind, name string) string {
	sum := sha256.Sum256([]byte(s.cfg.DBName + "\x00" + name))
	return "aibuild." + kind + "." + hex.EncodeToString(sum[:16])
}

// takeLock waits at most so long for a lock of the server, in slices, so that
// ctx and the read timeout are kept.
func takeLock(ctx context.Context, conn *sql.Conn, name string, wait time.Duration) error {
	deadline := time.Now().Add(wait)
	for {
		slice := min(time.Until(deadline), time.Second)
		got, err := getLock(ctx, conn, name, max(slice, 0))
		if err != nil {
			return err
		}
		if got {
			return nil
		}
		if !time.Now().Before(deadline) {
			return errAgain
		}
	}
}

func getLock(ctx context.Context, conn *sql.Conn, name string, wait time.Duration) (bool, error) {
	var got sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, wait.Seconds()).Scan(&got); err != nil {
		return false, err
	}
	return got.Valid && got.Int64 == 1, nil
}

// dropLock releases a lock; where that fails the connection is given up, which
// releases it too.
func (s *Store) dropLock(conn *sql.Conn, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var n sql.NullInt64
	if err := conn.QueryRowContext(ctx, "SELECT RELEASE_LOCK(?)", name).Scan(&n); err != nil {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // its error is the one just given
	}
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
