package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	gitTimeout = 2 * time.Minute // of a git that only reads this machine's disk
	maxOutput  = 64 << 20        // bytes that are taken from one git into memory
)

// errDamaged says that a mirror cannot be read, though git itself works.
var errDamaged = errors.New("repository is damaged")

// repository is a git repository on this machine: that of a Mirror or of a Checkout.
type repository struct {
	flags  []string // that lead git to it
	env    []string
	lock   *os.File // inherited by every git; may be nil
	damage error    // what it means when git fails: errDamaged, or nil where nothing can be done about it
	fresh  bool     // it was made a moment ago: what fails is not its fault

	// bring fetches objects that a partial repository lacks; nil where git does so itself.
	bring func(ctx context.Context, ids []string) error
}

// gitEnviron is the environment of a git: what programs need, settings for this call, and no configuration of the user's
// or the machine's, which could send it elsewhere or start programs.
func gitEnviron(config [][2]string, more ...string) []string {
	env := process.Environ("LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=",
		"GIT_OPTIONAL_LOCKS=0", "GIT_NO_REPLACE_OBJECTS=1", "GIT_LITERAL_PATHSPECS=1",
		// What is missing is fetched by us alone. A git that fetches by itself what a damaged mirror lacks looks at the same
		// mirror to do so, and starts another git, without end.
		"GIT_NO_LAZY_FETCH=1")
	return append(append(env, more...), gitConfig(append([][2]string{
		{"safe.directory", "*"}, {"core.hooksPath", "/dev/null"}, {"core.fsmonitor", "false"}, {"gc.auto", "0"}, {"maintenance.auto", "false"},
	}, config...))...)
}

// gitConfig hands settings to git by its environment.
func gitConfig(pairs [][2]string) []string {
	env := []string{"GIT_CONFIG_COUNT=" + strconv.Itoa(len(pairs))}
	for i, pair := range pairs {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", i, pair[0]), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", i, pair[1]))
	}
	return env
}

func (r *repository) command(args ...string) process.Cmd {
	cmd := process.Cmd{
		Path: "git", Args: append(append([]string{}, r.flags...), args...), Env: r.env,
		Timeout: gitTimeout, Grace: 2 * time.Second, MaxCapture: 8 << 10,
	}
	if r.lock != nil {
		cmd.ExtraFiles = []*os.File{r.lock}
	}
	return cmd
}

// output runs git and gives all that it prints.
func (r *repository) output(ctx context.Context, stdin io.Reader, args ...string) ([]byte, error) {
	out := &bounded{left: maxOutput}
	cmd := r.command(args...)
	cmd.Stdin, cmd.Stdout = stdin, out
	if _, err := cmd.Run(ctx); err != nil {
		return nil, r.failed(ctx, args[0], err)
	}
	if out.left < 0 {
		return nil, fmt.Errorf("git %s printed more than %d MiB; the repository is too large", args[0], maxOutput>>20)
	}
	return out.Bytes(), nil
}

// records runs git and calls each for every text that ends with a NUL.
func (r *repository) records(ctx context.Context, each func(record string) error, args ...string) error {
	git, stop := context.WithCancel(ctx)
	defer stop()
	split := &splitter{each: each, stop: stop}
	cmd := r.command(args...)
	cmd.Stdout = split
	_, err := cmd.Run(git)
	switch {
	case split.err != nil:
		return split.err
	case err != nil:
		return r.failed(ctx, args[0], err)
	case len(split.rest) > 0:
		return r.broken(args[0], errors.New("its output was cut"))
	}
	return nil
}

// failed tells a git that was stopped, or is not there, from a repository that is damaged.
func (r *repository) failed(ctx context.Context, op string, err error) error {
	failed, ok := errors.AsType[*process.Error](err)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("git %s: %w", op, context.Cause(ctx))
	case errors.Is(err, process.ErrNotFound):
		return fmt.Errorf("%w; apt-get install git", err)
	case ok && failed.ExitCode > 0:
		return r.broken(op, err)
	}
	return fmt.Errorf("git %s: %w", op, err)
}

func (r *repository) broken(op string, err error) error {
	if r.damage == nil {
		return fmt.Errorf("git %s: %w", op, err)
	}
	return fmt.Errorf("git %s: %w: %w", op, r.damage, err)
}

// exitCode is git's exit status where that is its answer; ok is false for any other failure.
func exitCode(err error) (code int, ok bool) {
	failed, ok := errors.AsType[*process.Error](err)
	if !ok || failed.ExitCode < 1 || failed.TimedOut {
		return 0, false
	}
	return failed.ExitCode, true
}

// isRef says whether git takes the name for that of a ref.
func isRef(ctx context.Context, r *repository, name string) (bool, error) {
	if !strings.HasPrefix(name, "refs/") || strings.ContainsRune(name, 0) {
		return false, nil // the program takes it for an option, or cannot be given it
	}
	_, err := r.output(ctx, nil, "check-ref-format", name)
	if code, answered := exitCode(err); answered && code == 1 {
		return false, nil
	}
	return err == nil, err
}

// has says whether an object is here; nothing is fetched for the answer where bring is there to do so.
func (r *repository) has(ctx context.Context, id string) (bool, error) {
	_, err := r.output(ctx, nil, "cat-file", "-e", id)
	if code, answered := exitCode(err); answered && code == 1 {
		return false, nil
	}
	return err == nil, err
}

// mergeBase is the newest commit that two commits share; empty when they share none.
func (r *repository) mergeBase(ctx context.Context, a, b string) (string, error) {
	out, err := r.output(ctx, nil, "merge-base", a, b)
	if code, answered := exitCode(err); answered && code == 1 {
		return "", nil
	}
	return strings.TrimSpace(string(out)), err
}

// isID says whether a text is the id of an object, not of nothing.
func isID(id string) bool { return objectID.MatchString(id) && !none(id) }

// idFormat is the object format that ids are of.
func idFormat(ids ...string) string {
	for _, id := range ids {
		if len(id) == 64 {
			return "sha256"
		}
	}
	return "sha1"
}

// bounded keeps what is written up to a limit; left is below 0 when there was more.
type bounded struct {
	bytes.Buffer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// splitter calls each for every text up to a NUL, until that fails.
type splitter struct {
	each func(string) error
	stop func() // ends the writer: nobody wants the rest
	rest []byte
	err  error
}

func (s *splitter) Write(p []byte) (int, error) {
	if s.err != nil {
		return len(p), nil
	}
	s.rest = append(s.rest, p...)
	for {
		record, rest, found := bytes.Cut(s.rest, []byte{0})
		if !found {
			return len(p), nil
		}
		s.rest = rest
		if s.err = s.each(string(record)); s.err != nil {
			s.rest = nil
			s.stop()
			return len(p), nil
		}
	}
}
