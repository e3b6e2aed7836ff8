package publish

import (
	"context"
	"errors"
)

// Free is what is free for aibuild on the web root's file system, in bytes.
func (s *Site) Free(ctx context.Context) (int64, error) {
	t, done, err := s.tree(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	return t.space()
}

// Require fails with a *NoSpace when need bytes and a small reserve are not free in the web root.
func (s *Site) Require(ctx context.Context, need int64) error {
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	return s.enough(t, need)
}

func (s *Site) enough(t *tree, need int64) error {
	free, err := t.space()
	if err != nil {
		return err
	}
	if free < need+reserve {
		return &NoSpace{Where: redact(s.config.Root), Need: need + reserve, Free: free}
	}
	return nil
}

// explain makes a *NoSpace of a file system that ran full on the way. An SFTP server only says "failure": there the free
// space is asked for.
func (s *Site) explain(ctx context.Context, err error, need int64) error {
	var told *NoSpace
	if cause := ctx.Err(); cause != nil {
		return ended(cause, err)
	}
	if errors.As(err, &told) || !full(err) && s.server == nil {
		return err
	}
	free := int64(0)
	asked := s.cleanup(ctx, func(t *tree) (err error) {
		free, err = t.space()
		return err
	})
	if full(err) || asked == nil && free < need {
		return &NoSpace{Where: redact(s.config.Root), Need: need + reserve, Free: free, Err: err}
	}
	return err
}
