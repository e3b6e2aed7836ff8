package aibuild

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
)

// revision is where a definition stands in git. Outside git it is all empty but
// Dirty, as nobody could find the same state again.
type revision struct {
	Commit  string
	Ref     string // branch
	Dirty   bool   // the folder, or what it depends on, has uncommitted changes
	Project string // path of the remote, such as group/images
}

// dirtySuffix marks the commit of a tree that was changed after it.
const dirtySuffix = "-dirty"

// name is the commit for the record.
func (r revision) name() string {
	if r.Dirty && r.Commit != "" {
		return r.Commit + dirtySuffix
	}
	return r.Commit
}

type gitTool struct{ dir string }

// run gives git's output without the final newline. safe.directory: the
// checkout may belong to another user, as in a Jenkins workspace.
func (g gitTool) run(ctx context.Context, args ...string) (string, error) {
	c := process.Cmd{
		Path: "git", Args: append([]string{"-c", "safe.directory=*", "-C", g.dir}, args...),
		Env: process.Environ("GIT_OPTIONAL_LOCKS=0", "LC_ALL=C"), MaxCapture: 1 << 20,
	}
	res, err := c.Run(ctx)
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(res.Stdout), "\n"), nil
}

// readRevision looks at the folder dir and the folders that it depends on.
func readRevision(ctx context.Context, dir string, dependsOn []string) (revision, error) {
	g := gitTool{dir}
	commit, err := g.run(ctx, "rev-parse", "--verify", "-q", "HEAD^{commit}")
	if errors.Is(err, process.ErrNotFound) || isExit(err) {
		return revision{Dirty: true}, nil // no git, no repository, or no commit yet
	}
	if err != nil {
		return revision{}, err
	}
	r := revision{Commit: commit}
	paths := []string{"."}
	for _, d := range dependsOn {
		paths = append(paths, filepath.FromSlash(d))
	}
	changes, err := g.run(ctx, append([]string{"status", "--porcelain", "--"}, paths...)...)
	if err != nil {
		return revision{}, err
	}
	r.Dirty = changes != ""
	if r.Ref, err = g.optional(ctx, "symbolic-ref", "-q", "--short", "HEAD"); err != nil {
		return revision{}, err
	}
	remote, err := g.optional(ctx, "config", "--get", "remote.origin.url")
	if err != nil {
		return revision{}, err
	}
	r.Project = projectOf(remote)
	return r, nil
}

// optional is run, where git's exit status 1 means that there is nothing.
func (g gitTool) optional(ctx context.Context, args ...string) (string, error) {
	out, err := g.run(ctx, args...)
	if isExit(err) {
		return "", nil
	}
	return out, err
}

func isExit(err error) bool {
	var e *process.Error
	return errors.As(err, &e) && e.ExitCode > 0
}

// projectOf makes group/project of a remote: https://host/group/project.git,
// git@host:group/project.git, or a path.
func projectOf(remote string) string {
	path := remote
	if u, err := url.Parse(remote); err == nil && u.Scheme != "" && u.Host != "" {
		path = u.Path
	} else if _, after, ok := strings.Cut(remote, ":"); ok && !strings.HasPrefix(remote, "/") {
		path = after
	}
	return strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

// messages are the subjects of the commits to dir since an earlier one, newest
// first, for update_contents.
func messages(ctx context.Context, dir, since string) (string, error) {
	g := gitTool{dir}
	args := []string{"log", "--format=%s", "--max-count=50"}
	if since != "" {
		if _, err := g.run(ctx, "merge-base", "--is-ancestor", since, "HEAD"); err == nil {
			args = append(args, since+"..HEAD")
		} else if !isExit(err) {
			return "", err
		}
	} else {
		args = append(args, "--max-count=1")
	}
	text, err := g.optional(ctx, append(args, "--", ".")...)
	return strings.ToValidUTF8(text, "?"), err
}

// tracked lists the files that belong to the definition in git's eyes: tracked
// or not yet, but not ignored. Outside git ok is false.
func tracked(ctx context.Context, dir string) (files map[string]bool, ok bool) {
	out, err := gitTool{dir}.run(ctx, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", ".")
	if err != nil {
		return nil, false
	}
	files = map[string]bool{}
	for name := range strings.SplitSeq(out, "\x00") {
		if name != "" {
			files[name] = true
		}
	}
	return files, true
}

// absolute makes dir independent of the working directory.
func absolute(dir string) (string, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", err
	}
	return path, nil
}
