package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
)

// Checkout is a git repository that somebody works in.
type Checkout struct {
	Dir string // any folder of it
}

// ErrCheckout says that there is nothing to compare: no repository, no commit, or no such base.
var ErrCheckout = errors.New("cannot compare")

// Changed says which images the checked out commit affects, compared with base: any name of a commit. Without base it says
// what a push would start now: the comparison is with where the branch left its upstream or, where it has none, the
// default branch. What is not committed does not count.
func (c Checkout) Changed(ctx context.Context, base string) (Change, error) {
	r := &repository{
		flags: []string{"-C", c.Dir},
		env: append(process.Environ("LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_LITERAL_PATHSPECS=1"),
			// A checkout may belong to another user, as in a Jenkins workspace.
			gitConfig([][2]string{{"safe.directory", "*"}, {"core.fsmonitor", "false"}})...),
	}
	o := r.objects(ctx)
	defer o.close()
	id, err := r.revision(ctx, "HEAD")
	switch code, answered := exitCode(err); {
	case answered && code == 128:
		return Change{}, fmt.Errorf("%w: %s is in no git repository; run it in a checkout", ErrCheckout, c.Dir)
	case err != nil:
		return Change{}, err
	case id == "":
		return Change{}, fmt.Errorf("%w: there is no commit yet", ErrCheckout)
	}
	head, _, err := o.commit(id)
	if err != nil {
		return Change{}, err
	}
	b, err := c.basis(ctx, o, base, head)
	if err != nil {
		return Change{}, err
	}
	change := Change{New: head.id, Commit: head.id}
	if change.Uncommitted, err = r.uncommitted(ctx); err != nil {
		return change, err
	}
	return change, change.fill(o, head, b)
}

// bases are what a branch is compared with that has no upstream.
var bases = []string{"@{upstream}", "refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/remotes/origin/master", "refs/heads/main", "refs/heads/master"}

func (c Checkout) basis(ctx context.Context, o *objects, base string, head commit) (basis, error) {
	if base != "" {
		id, err := o.repo.revision(ctx, base)
		if code, answered := exitCode(err); err != nil && (!answered || code != 128) {
			return basis{}, err
		}
		if id == "" {
			return basis{}, fmt.Errorf("%w: %q names no commit here; fetch it, or give another base", ErrCheckout, base)
		}
		old, _, err := o.commit(id)
		return basis{commit: old, nothing: id == head.id, why: "compared with " + short(id)}, err
	}
	for _, name := range bases {
		id, err := o.repo.revision(ctx, name)
		if code, answered := exitCode(err); err != nil && (!answered || code != 128) {
			return basis{}, err
		}
		if id == "" {
			continue
		}
		where := strings.TrimPrefix(strings.TrimPrefix(name, "refs/remotes/"), "refs/heads/")
		if name == bases[0] {
			where = "its upstream"
		}
		shared, err := o.repo.mergeBase(ctx, head.id, id)
		if err != nil {
			return basis{}, err
		}
		if shared == "" {
			return undetermined("it shares no commit with " + where), nil
		}
		old, _, err := o.commit(shared)
		return basis{commit: old, nothing: shared == head.id, why: fmt.Sprintf("compared with %s, where it left %s", short(shared), where)}, err
	}
	return basis{}, fmt.Errorf("%w: the branch has no upstream, and there is no default branch; give a base", ErrCheckout)
}

// revision is the commit that a name stands for; empty when there is none.
func (r *repository) revision(ctx context.Context, name string) (string, error) {
	out, err := r.output(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	if code, answered := exitCode(err); answered && code == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// uncommitted counts the paths that differ from the commit that is checked out.
func (r *repository) uncommitted(ctx context.Context) (int, error) {
	bare, err := r.output(ctx, nil, "rev-parse", "--is-bare-repository")
	if err != nil || strings.TrimSpace(string(bare)) == "true" {
		return 0, err
	}
	out, err := r.output(ctx, nil, "status", "--porcelain", "-z", "--no-renames")
	return bytes.Count(out, []byte{0}), err
}
