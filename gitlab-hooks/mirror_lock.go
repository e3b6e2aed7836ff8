package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// mirrorLock makes one process the only user of a mirror. Every git that works on the mirror inherits the file, so that
// the lock outlives a killed process for as long as a git of it may still write.
type mirrorLock struct{ file *os.File }

func (m Mirror) lock(ctx context.Context) (mirrorLock, error) {
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return mirrorLock{}, fmt.Errorf("lock the mirror of %s: %w", m.Project, err)
	}
	file, err := os.OpenFile(m.stem()+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return mirrorLock{}, fmt.Errorf("lock the mirror of %s: %w", m.Project, err)
	}
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return mirrorLock{file}, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			continue
		case <-ctx.Done():
			timer.Stop()
			err = fmt.Errorf("another one works on it: %w", ctx.Err())
		}
		break
	}
	return mirrorLock{}, errors.Join(fmt.Errorf("lock the mirror of %s: %w", m.Project, err), file.Close())
}

// release gives the lock back, even if a git that was killed a moment ago still holds the file.
func (l mirrorLock) release() {
	_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN) // cannot fail on a file that is open
	_ = l.file.Close()                             // nothing was written
}
