package publish

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"time"
)

const (
	lockPoll  = 10 * time.Millisecond
	lockStale = 2 * time.Minute // what is done under the lock takes milliseconds
	lockTries = 50
)

// locked runs work while no other process changes the folder. The lock is a symbolic link whose text names its owner: it
// appears with it at once, here and over SFTP. One of a dead process of this machine is broken at once; one of another
// machine when it has not changed for two minutes.
func (s *Site) locked(ctx context.Context, t *tree, folder string, work func() error) error {
	name, mine := path.Join(folder, lockFile), partName("lock")
	seen, since, lost := "", time.Now(), 0
	for {
		err := t.symlink(mine, name)
		if err == nil {
			break
		}
		owner, readErr := t.readlink(name)
		switch {
		case missing(readErr):
			// Freed between the two calls; or no link can be made here at all.
			if lost++; lost > lockTries {
				return err
			}
			continue
		case readErr != nil:
			return readErr
		case owner != seen:
			seen, since = owner, time.Now()
			s.log.Debug("waiting for a lock", "path", name)
		}
		if gone, known := ownerGone(owner); gone || !known && time.Since(since) > lockStale {
			if err := breakLock(t, folder, name, owner); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPoll):
		}
	}
	err := work()
	return errors.Join(err, s.cleanup(ctx, func(t *tree) error { return t.removeAll(name) }))
}

// breakLock takes a lock away from an owner that is gone, and gives it back if it was another's by then.
func breakLock(t *tree, folder, name, owner string) error {
	broken := path.Join(folder, partName("broken"))
	if err := t.rename(name, broken); missing(err) {
		return nil
	} else if err != nil {
		return err
	}
	held, err := t.readlink(broken)
	if err == nil && held != owner {
		if err = t.symlink(held, name); errors.Is(err, fs.ErrExist) {
			err = nil // a third one has it: both work at once, as if there were no lock; each of their steps is atomic
		}
	}
	return errors.Join(err, t.removeAll(broken))
}
