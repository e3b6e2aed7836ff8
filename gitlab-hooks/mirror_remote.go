package hooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const mirrorTimeout = 10 * time.Minute

// RemoteRef is a branch or a tag as GitLab has it now.
type RemoteRef struct {
	Ref string // refs/heads/main
	ID  string // of an annotated tag, that of the tag object, as in a push
}

// Heads lists the branches and tags that GitLab has now, by name.
func (m Mirror) Heads(ctx context.Context) ([]RemoteRef, error) {
	lines, err := m.ask(ctx, "list the branches", "ls-remote", "--heads", "--tags", "origin")
	if err != nil {
		return nil, err
	}
	var refs []RemoteRef
	for _, line := range lines {
		if id, ref, ok := strings.Cut(line, "\t"); ok && !strings.HasSuffix(ref, "^{}") {
			refs = append(refs, RemoteRef{ref, id})
		}
	}
	return refs, nil
}

// standard is the ref of the default branch; empty when there is none.
func (m Mirror) standard(ctx context.Context) (string, error) {
	lines, err := m.ask(ctx, "find the default branch", "ls-remote", "--symref", "origin", "HEAD")
	for _, line := range lines {
		if ref, ok := strings.CutPrefix(strings.TrimSuffix(line, "\tHEAD"), "ref: "); ok {
			return ref, nil
		}
	}
	return "", err
}

// ask runs a git that needs GitLab, but no repository on this machine.
func (m Mirror) ask(ctx context.Context, op string, args ...string) ([]string, error) {
	if err := m.valid(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(m.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("mirror of %s: %w", m.Project, err)
	}
	out := &bounded{left: maxOutput}
	cmd := m.command(&repository{}, nil, args...)
	cmd.Dir, cmd.Stdout = m.Dir, out
	cmd.Env = append(cmd.Env, "GIT_CEILING_DIRECTORIES="+filepath.Dir(m.Dir)) // whatever repository the folder may lie in
	if _, err := cmd.Run(ctx); err != nil {
		return nil, m.refused(ctx, op, err)
	}
	if out.left < 0 {
		return nil, m.protocol(op, fmt.Sprintf("it has more than %d MiB of refs", maxOutput>>20))
	}
	if out.Len() > 0 {
		return strings.FieldsFunc(out.String(), func(r rune) bool { return r == '\n' }), nil
	}
	// Nothing may mean an empty repository, or a page: to git, the login page of a proxy is a list without refs. Only a
	// server of git's own kind answers in packets.
	cmd.Env = append(cmd.Env, "GIT_TRACE_PACKET=1")
	result, err := cmd.Run(ctx)
	switch {
	case err != nil:
		return nil, m.refused(ctx, op, err)
	case !bytes.Contains(result.Stderr, []byte("packet:")):
		return nil, m.protocol(op, "the answer is none of a git server")
	}
	return nil, nil
}

func (m Mirror) protocol(op, detail string) *Error {
	return &Error{Op: op + " of " + m.Project, URL: m.base(), Reason: ErrProtocol, Detail: detail,
		Hint: "check that the url is that of gitlab itself; a login page means that a proxy wants its own login"}
}

// need makes sure that the mirror has the commit (or tag object) that a push has put on a ref.
func (m Mirror) need(ctx context.Context, r *repository, ref, id string) error {
	if found, err := r.has(ctx, id); found || err != nil {
		return err
	}
	if ref != "" {
		if err := m.fetch(ctx, r, nil, "+"+ref+":"+seen(ref)); err == nil {
			if found, err := r.has(ctx, id); found || err != nil {
				return err
			}
		}
		// The ref is gone or has moved on since the push; GitLab keeps the commit for a while.
	}
	err := m.fetch(ctx, r, nil, id)
	if err == nil {
		return nil
	}
	if unknown(err) {
		refs, askErr := m.Heads(ctx)
		if askErr != nil {
			return askErr
		}
		if !slices.ContainsFunc(refs, func(known RemoteRef) bool { return known.ID == id }) {
			return &Error{Op: "fetch " + id + " of " + m.Project, URL: m.base(), Reason: ErrGone, Err: err,
				Hint: "it was pushed away and cannot be built; what was pushed since is looked at by itself"}
		}
	}
	return m.trouble(ctx, r, "fetch "+id, err)
}

// reach makes sure that the mirror has an older commit; why says that it cannot be had any more.
func (m Mirror) reach(ctx context.Context, r *repository, id string) (why string, err error) {
	if found, err := r.has(ctx, id); found || err != nil {
		return "", err
	}
	err = m.fetch(ctx, r, nil, id)
	switch {
	case err == nil:
		return "", nil
	case unknown(err):
		return "gitlab does not have it any more", nil
	}
	return "", m.trouble(ctx, r, "fetch "+id, err)
}

// bring fetches objects, whatever they are.
func (m Mirror) bring(ctx context.Context, r *repository, ids []string) error {
	err := m.fetch(ctx, r, [][2]string{{"fetch.negotiationAlgorithm", "noop"}}, ids...)
	if err == nil {
		return nil
	}
	return m.trouble(ctx, r, fmt.Sprintf("fetch %d files", len(ids)), err)
}

// trouble tells GitLab's trouble from the mirror's: when GitLab answers, and the exchange was not broken off, a mirror that
// cannot fetch is to be made anew, unless it is new.
func (m Mirror) trouble(ctx context.Context, r *repository, op string, err error) error {
	failed, ok := errors.AsType[*process.Error](err)
	if !ok || ctx.Err() != nil || failed.TimedOut || sayBroken.Match(failed.Stderr) {
		return m.refused(ctx, op, err)
	}
	if _, askErr := m.standard(ctx); askErr != nil {
		return askErr
	}
	if r.fresh {
		return m.refused(ctx, op, err)
	}
	return r.broken("fetch", err)
}

// fetch brings what is wanted, refspecs or object ids, with all that belongs to it but the files' contents.
func (m Mirror) fetch(ctx context.Context, r *repository, config [][2]string, wanted ...string) error {
	cmd := m.command(r, config, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--filter=blob:none", "--stdin", "origin")
	cmd.Stdin = strings.NewReader(strings.Join(wanted, "\n") + "\n")
	_, err := cmd.Run(ctx)
	return err
}

// seen is where the mirror keeps a ref. It is flat, as a branch may be called like the folder of an older one.
func seen(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return "refs/seen/" + hex.EncodeToString(sum[:16])
}

// command is a git that talks to GitLab. The token comes to it by its environment: arguments can be read by everybody on
// the machine. Redirects are not followed: they would take the token to another host.
func (m Mirror) command(r *repository, config [][2]string, args ...string) process.Cmd {
	config = append([][2]string{
		{"remote.origin.url", m.address()},
		{"remote.origin.promisor", "true"}, {"remote.origin.partialCloneFilter", "blob:none"},
		{"http.followRedirects", "false"}, {"credential.helper", ""},
		{"http.lowSpeedLimit", "100"}, {"http.lowSpeedTime", "60"}, // of a server that hangs
	}, config...)
	if m.Token != "" {
		config = append(config, [2]string{"http." + m.base() + "/.extraHeader", "Authorization: Basic " + m.basic()})
	}
	if m.CAFile != "" {
		config = append(config, [2]string{"http.sslCAInfo", m.CAFile})
	}
	remote := *r
	remote.env = gitEnviron(config, "GIT_ALLOW_PROTOCOL=http:https")
	cmd := remote.command(args...)
	cmd.Secrets, cmd.Timeout = []string{m.Token, m.basic()}, m.Timeout
	if cmd.Timeout == 0 {
		cmd.Timeout = mirrorTimeout
	}
	return cmd
}

// basic is what logs in. GitLab takes any user name with a token.
func (m Mirror) basic() string { return base64.StdEncoding.EncodeToString([]byte("oauth2:" + m.Token)) }

func (m Mirror) base() string { return strings.TrimRight(m.URL, "/") }

// What git says, in the language C. What is not recognised counts as worth another try.
var (
	sayUnknown  = regexp.MustCompile(`not our ref|unadvertised object`)
	sayAuth     = regexp.MustCompile(`could not read (Username|Password)|Authentication failed|returned error: 401`)
	sayForbid   = regexp.MustCompile(`returned error: 403`)
	sayNotFound = regexp.MustCompile(`fatal: repository '.*' not found|returned error: 404`)
	sayRedirect = regexp.MustCompile(`returned error: 30[1278]`)
	sayBroken   = regexp.MustCompile(`returned error: \d|RPC failed|unable to access|hung up unexpectedly|early EOF`)
	sayNoGit    = regexp.MustCompile(`not valid: is this a git repository|invalid server response|expected service, got`)
	fatalLine   = regexp.MustCompile(`(?m)^(?:fatal|error): (.*)$`)
)

// unknown says that GitLab does not have an object.
func unknown(err error) bool {
	failed, ok := errors.AsType[*process.Error](err)
	return ok && sayUnknown.Match(failed.Stderr)
}

// refused makes the Error of a git that GitLab gave no satisfaction.
func (m Mirror) refused(ctx context.Context, op string, err error) error {
	refused := &Error{Op: op + " of " + m.Project, URL: m.base(), Reason: ErrUnavailable, Detail: "git cannot be run", Err: err,
		Hint: "check the url, the name, the certificate and the network, then try again"}
	failed, ok := errors.AsType[*process.Error](err)
	if !ok || errors.Is(err, process.ErrNotFound) {
		refused.Detail, refused.Hint = clip(err.Error()), "apt-get install git"
		return refused
	}
	refused.Detail = clip(failed.Error())
	if line := fatalLine.FindSubmatch(failed.Stderr); line != nil {
		refused.Detail = clip(strings.ToValidUTF8(string(line[1]), "?"))
	}
	switch {
	case ctx.Err() != nil:
		refused.Detail, refused.Hint = context.Cause(ctx).Error(), "it was stopped"
	case failed.TimedOut:
		refused.Detail = "no whole answer in time"
	case sayAuth.Match(failed.Stderr):
		refused.Reason, refused.Hint = ErrAuth, "make a new access token with the scope api; it may have expired"
	case sayForbid.Match(failed.Stderr):
		refused.Reason, refused.Hint = ErrForbidden, "use a token of a member that may read the repository"
	case sayNotFound.Match(failed.Stderr):
		refused.Reason, refused.Hint = ErrNotFound, "check the project's path, and that the token's owner is a member of it"
	case sayRedirect.Match(failed.Stderr):
		refused.Reason, refused.Hint = ErrProtocol, "give the url that it redirects to; the project may have been moved"
	case sayNoGit.Match(failed.Stderr):
		refused.Reason, refused.Hint = ErrProtocol, m.protocol("", "").Hint
	}
	return refused
}
