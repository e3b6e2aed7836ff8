package hooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Mirror is a copy of one project's history on this machine: a bare repository with every commit and folder, and only
// those file contents that were looked at. It is a cache: whatever is wrong with it, it is made anew. It is safe for
// concurrent use, also by several processes, which wait for each other; and it may be copied.
type Mirror struct {
	Dir     string // holds the mirrors of all projects; made when needed
	URL     string // of the GitLab, as Client.URL
	Project string // path with namespace
	Token   string // reads the repository; empty for a public project

	CAFile  string        // certificate authorities of GitLab, PEM; empty means those of the machine
	Timeout time.Duration // of one exchange with GitLab; 0 means 10 minutes, which the first copy may need
	Log     hclog.Logger  // nil means silence
}

// Changed says which images a push affects; see Change. What the mirror lacks is fetched first. An error is worth another
// try, except ErrGone: the ref has moved on, and the commit cannot be had any more.
func (m Mirror) Changed(ctx context.Context, push Push, rules Rules) (Change, error) {
	var change Change
	if !isID(push.New) && !none(push.New) || !isID(push.Old) && !none(push.Old) {
		return change, &Error{Op: "look at a push", Reason: ErrProtocol, Detail: "before and after are no object ids"}
	}
	err := m.use(ctx, idFormat(push.New, push.Old), func(r *repository) (err error) {
		change, err = m.changed(ctx, r, push, rules)
		return err
	})
	return change, err
}

// Definitions loads every definition of a commit, in the order in which they would be built: for schedules, and for
// children that follow their parents. From is build and Reason is empty in all of them.
func (m Mirror) Definitions(ctx context.Context, commit string) ([]ImageChange, error) {
	if !isID(commit) {
		return nil, &Error{Op: "read definitions", Reason: ErrProtocol, Detail: fmt.Sprintf("%q is no object id", commit)}
	}
	var change Change
	err := m.use(ctx, idFormat(commit), func(r *repository) error {
		if err := m.need(ctx, r, "", commit); err != nil {
			return err
		}
		o := r.objects(ctx)
		defer o.close()
		head, _, err := o.commit(commit)
		if err != nil {
			return err
		}
		change = Change{Commit: head.id}
		head.message = "" // what it skips was for the push
		return change.fill(o, head, basis{})
	})
	return change.Images, err
}

// use gives the mirror to work, alone. A mirror that turns out to be damaged is made anew, once.
func (m Mirror) use(ctx context.Context, format string, work func(*repository) error) error {
	if err := m.valid(); err != nil {
		return err
	}
	lock, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.release()
	for try := 1; ; try++ {
		r, err := m.open(ctx, lock.file, format)
		if err != nil {
			return err
		}
		r.fresh = r.fresh || try > 1
		err = work(r)
		if !errors.Is(err, errDamaged) || ctx.Err() != nil {
			m.tidy(ctx, r)
			return err
		}
		m.log().Warn("the mirror is damaged and is removed", "project", m.Project, "error", err)
		if removeErr := os.RemoveAll(m.path()); removeErr != nil || try > 1 {
			return errors.Join(err, removeErr)
		}
	}
}

// open makes the mirror where there is none, or one of another object format.
func (m Mirror) open(ctx context.Context, lock *os.File, format string) (*repository, error) {
	r := &repository{
		flags: []string{"--git-dir=" + m.path()}, env: gitEnviron(nil, "GIT_ALLOW_PROTOCOL="), lock: lock, damage: errDamaged,
	}
	r.bring = func(ctx context.Context, ids []string) error { return m.bring(ctx, r, ids) }
	marker := filepath.Join(m.path(), "aibuild-"+format) // written when the mirror is complete
	if _, err := os.Stat(marker); err == nil {
		return r, nil
	}
	r.fresh = true
	if err := os.RemoveAll(m.path()); err != nil {
		return nil, fmt.Errorf("mirror of %s: %w", m.Project, err)
	}
	init := &repository{env: r.env, lock: lock}
	if _, err := init.output(ctx, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+format, "--", m.path()); err != nil {
		return nil, fmt.Errorf("make the mirror of %s: %w", m.Project, err)
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		return nil, fmt.Errorf("make the mirror of %s: %w", m.Project, err)
	}
	return r, nil
}

// manyPacks: every fetch leaves a pack behind, and git looks through all of them.
const manyPacks = 50

// tidy joins the packs when there are many. What it cannot tidy is removed.
func (m Mirror) tidy(ctx context.Context, r *repository) {
	packs, err := filepath.Glob(filepath.Join(m.path(), "objects", "pack", "*.pack"))
	if err != nil || len(packs) <= manyPacks || ctx.Err() != nil {
		return
	}
	half, err := filepath.Glob(filepath.Join(m.path(), "objects", "pack", "tmp_*")) // of a fetch that was killed
	for _, name := range half {
		err = errors.Join(err, os.Remove(name))
	}
	partial := *r
	partial.env = gitEnviron([][2]string{{"remote.origin.promisor", "true"}}, "GIT_ALLOW_PROTOCOL=")
	for _, args := range [][]string{{"pack-refs", "--all"}, {"repack", "-a", "-d", "-q"}} {
		if err == nil {
			_, err = partial.output(ctx, nil, args...)
		}
	}
	if err != nil && ctx.Err() == nil {
		m.log().Warn("the mirror cannot be tidied and is removed", "project", m.Project, "error", errors.Join(err, os.RemoveAll(m.path())))
	}
}

// path is the mirror's folder: readable, and another one for every address.
func (m Mirror) path() string { return m.stem() + ".git" }

func (m Mirror) stem() string {
	sum := sha256.Sum256([]byte(m.address()))
	name := path.Base(m.Project)
	return filepath.Join(m.Dir, name[:min(len(name), 60)]+"-"+hex.EncodeToString(sum[:8]))
}

// address is where the project is fetched from. It is made of settings alone, never of what a push says.
func (m Mirror) address() string { return strings.TrimRight(m.URL, "/") + "/" + m.Project + ".git" }

var projectPath = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+$`)

func (m Mirror) valid() error {
	const op = "mirror a project"
	if err := (Client{URL: m.URL, Token: "-"}).valid(op); err != nil {
		return err
	}
	switch {
	case !projectPath.MatchString(m.Project) || len(m.Project) > 255 || strings.Contains(m.Project, ".."):
		return &Error{Op: op, Reason: ErrConfig, Detail: fmt.Sprintf("%q is no path of a project", m.Project), Hint: "write it as in group/project"}
	case !filepath.IsAbs(m.Dir):
		return &Error{Op: op, Reason: ErrConfig, Detail: fmt.Sprintf("the folder of mirrors is %q", m.Dir), Hint: "give an absolute path"}
	}
	return nil
}

func (m Mirror) log() hclog.Logger {
	if m.Log == nil {
		return hclog.NewNullLogger()
	}
	return m.Log
}
