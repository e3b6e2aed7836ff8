package gitlabtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const gitTimeout = 2 * time.Minute

// errNoObject says that a revision or path names nothing in the repository.
var errNoObject = errors.New("no such object")

// repository is one bare repository.
type repository struct {
	dir  string
	env  []string
	zero string // the object id of nothing
}

// gitEnviron is the environment of every git: no configuration but the repository's own.
func gitEnviron(home string, more ...string) []string {
	env := process.Environ("HOME="+home, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	return append(env, more...)
}

func (r repository) git(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	var out bytes.Buffer
	_, err := process.Cmd{
		Path: "git", Args: append([]string{"--git-dir=" + r.dir}, args...), Env: r.env,
		Stdin: stdin, Stdout: &out, Timeout: gitTimeout,
	}.Run(ctx)
	if err != nil {
		return nil, fmt.Errorf("git %s in %s: %w", args[0], filepath.Base(r.dir), err)
	}
	return out.Bytes(), nil
}

// missing turns git's refusal of a name into errNoObject; a git that could not run stays what it is.
func missing(err error) error {
	if failed, ok := errors.AsType[*process.Error](err); ok && failed.ExitCode > 0 && !failed.TimedOut {
		return fmt.Errorf("%w: %w", errNoObject, failed)
	}
	return err
}

// resolve gives the id of the object that rev names, peeled to kind ("commit", "tree", "blob", or "" for whatever it is).
func (r repository) resolve(ctx context.Context, rev, kind string) (string, error) {
	if rev == "" || strings.ContainsRune(rev, 0) {
		return "", errNoObject
	}
	suffix := ""
	if kind != "" {
		suffix = "^{" + kind + "}"
	}
	out, err := r.git(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+suffix)
	if err != nil {
		return "", missing(err)
	}
	return strings.TrimSpace(string(out)), nil
}

// revList gives the newest commits of revs, newest first; limit 0 means all.
func (r repository) revList(ctx context.Context, limit int, revs ...string) ([]string, error) {
	args := []string{"rev-list"}
	if limit > 0 {
		args = append(args, "--max-count="+strconv.Itoa(limit))
	}
	out, err := r.git(ctx, nil, append(append(args, revs...), "--")...)
	return strings.Fields(string(out)), err
}

func (r repository) count(ctx context.Context, revs ...string) (int, error) {
	out, err := r.git(ctx, nil, append(append([]string{"rev-list", "--count"}, revs...), "--")...)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// ref is a branch or a tag.
type ref struct {
	Name   string // without refs/heads/ or refs/tags/
	Object string // what it points to: for an annotated tag the tag object
	Kind   string // type of that object
}

// refs lists the refs below a prefix ("refs/heads/", "refs/tags/"), by name; contains, if not empty, keeps those that
// the commit is in.
func (r repository) refs(ctx context.Context, prefix, contains string) ([]ref, error) {
	args := []string{"for-each-ref", "--format=%(objectname) %(objecttype) %(refname)"}
	if contains != "" {
		args = append(args, "--contains="+contains)
	}
	out, err := r.git(ctx, nil, append(args, prefix)...)
	if err != nil {
		return nil, err
	}
	var found []ref
	for line := range strings.Lines(string(out)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 3)
		if len(parts) != 3 {
			return nil, fmt.Errorf("git for-each-ref printed %q", line)
		}
		found = append(found, ref{Name: strings.TrimPrefix(parts[2], prefix), Object: parts[0], Kind: parts[1]})
	}
	return found, nil
}

// defaultBranch finds the default branch as Gitaly does: HEAD's if it exists, the only one, main, master, or the first;
// empty when there is no branch.
func (r repository) defaultBranch(ctx context.Context, branches []ref) (string, error) {
	out, err := r.git(ctx, nil, "symbolic-ref", "HEAD")
	if err != nil {
		return "", err
	}
	head := strings.TrimPrefix(strings.TrimSpace(string(out)), headsPrefix)
	for _, name := range []string{head, "main", "master"} {
		for _, branch := range branches {
			if branch.Name == name || len(branches) == 1 {
				return branch.Name, nil
			}
		}
	}
	if len(branches) > 0 {
		return branches[0].Name, nil
	}
	return "", nil
}

const (
	headsPrefix = "refs/heads/"
	tagsPrefix  = "refs/tags/"
)

// blank says that an object id is that of nothing, whatever the repository's hash is.
func blank(id string) bool { return strings.Trim(id, "0") == "" }
