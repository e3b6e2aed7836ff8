package gitlabtest

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
)

// The hooks that git itself calls in every repository.
//
//go:embed pre-receive.sh
var preReceive []byte

//go:embed post-receive.sh
var postReceive []byte

// internalPath is where the git hooks report to.
const internalPath = "/-/internal/"

const secretHeader = "Gitlabtest-Secret"

func (s *Server) hooksDir() string { return filepath.Join(s.home, "hooks") }

// writeHooks puts the hooks, and what they need to find the server, where every repository looks for them. The secret
// is in a file of its owner alone, and never in an argument.
func (s *Server) writeHooks() error {
	if _, err := process.Look("curl"); err != nil {
		return fmt.Errorf("git's hooks report with it: %w", err)
	}
	s.secret = rand.Text()
	dir := s.hooksDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "server"), []byte("header = \""+secretHeader+": "+s.secret+"\"\nnoproxy = \"*\"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "address"), []byte(s.url+internalPath+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "pre-receive"), preReceive, 0o700),
		os.WriteFile(filepath.Join(dir, "post-receive"), postReceive, 0o700),
	)
}

// change is one ref that a push has moved.
type change struct {
	old, new, ref string
	forced        bool // only told by pre-receive
}

// maxHookBody bounds what a git hook may report: a line a ref.
const maxHookBody = 16 << 20

// serveGitHook hears of a push: before it is accepted, when an answer other than 200 refuses it, and after.
func (s *Server) serveGitHook(w http.ResponseWriter, r *http.Request, name string) {
	if subtle.ConstantTimeCompare([]byte(r.Header.Get(secretHeader)), []byte(s.secret)) != 1 {
		http.Error(w, "GitLab: this is for git's hooks", http.StatusUnauthorized)
		return
	}
	p, u, err := s.pusher(r.Header.Get("Gitlab-Project"), r.Header.Get("Gitlab-User"))
	if err != nil {
		http.Error(w, "GitLab: "+err.Error(), http.StatusForbidden)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxHookBody))
	if err != nil {
		http.Error(w, "GitLab: "+err.Error(), http.StatusBadRequest)
		return
	}
	changes, err := parseChanges(string(body))
	switch {
	case err != nil:
	case name == "pre-receive":
		err = s.allowed(r.Context(), p, u, changes)
	case name == "post-receive":
		// The push has happened: what it means is worked out even if the pusher goes away.
		err = s.received(context.WithoutCancel(r.Context()), p, u, changes)
	default:
		err = fmt.Errorf("no hook %q", name)
	}
	if err != nil {
		s.opts.Log.Warn("push", "hook", name, "project", p.Path, "user", u.Username, "error", err)
		http.Error(w, "GitLab: "+err.Error(), http.StatusForbidden)
	}
}

func (s *Server) pusher(projectPath, username string) (*project, *user, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, u := s.projectByPath(projectPath), s.userByName(orElse(username, "root"))
	if p == nil {
		return nil, nil, refusal("The project you were looking for could not be found.")
	}
	if u == nil {
		return nil, nil, fmt.Errorf("no user %q", username)
	}
	return p, u, nil
}

// parseChanges reads lines of "old new forced ref".
func parseChanges(body string) ([]change, error) {
	var changes []change
	for line := range strings.Lines(body) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) != 4 {
			return nil, fmt.Errorf("unreadable change %q", line)
		}
		changes = append(changes, change{old: fields[0], new: fields[1], forced: fields[2] == "forced", ref: fields[3]})
	}
	return changes, nil
}
