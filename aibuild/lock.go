package aibuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const defaultLockWait = 10 * time.Minute

// lock makes this the only pipeline that works on images of one name: a file
// lock for this machine, and the Recorder's lock for all of them. While the
// database is away the file lock has to do.
func (p *Pipeline) lock(ctx context.Context, name string) (func(), error) {
	wait := p.LockWait
	if wait == 0 {
		wait = defaultLockWait
	}
	file, err := p.lockFile(ctx, name, wait)
	if err != nil {
		return nil, err
	}
	if p.Recorder == nil {
		return func() { _ = file.Close() }, nil
	}
	unlock, err := p.Recorder.Lock(ctx, name, wait)
	var down *lineage.Unavailable
	if errors.As(err, &down) {
		p.away(err, "locking on this machine only", "name", name)
		return func() { _ = file.Close() }, nil
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", name, err), file.Close())
	}
	return func() {
		if err := unlock(); err != nil {
			p.log().Error("the lock did not hold all the time", "name", name, "error", err)
		}
		_ = file.Close() // closing gives the lock back and cannot fail in a way that matters
	}, nil
}

func (p *Pipeline) lockFile(ctx context.Context, name string, wait time.Duration) (*os.File, error) {
	dir := filepath.Join(p.DataDir, "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	deadline := time.Now().Add(wait)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("another aibuild on this machine works on %s since more than %v; wait for it, or end it", name, wait), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(pause):
		}
	}
}
