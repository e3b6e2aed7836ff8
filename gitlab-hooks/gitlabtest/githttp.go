package gitlabtest

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

// gitRequest is a request of git's smart protocol.
type gitRequest struct {
	project string // path
	file    string // info/refs, git-upload-pack or git-receive-pack
	push    bool
	moved   string // where the request belongs when the URL lacks .git
}

// parseGit recognises git's requests by their path; ok is false for all others.
func parseGit(r *http.Request, path string) (found gitRequest, ok bool) {
	service := r.URL.Query().Get("service")
	for _, file := range []string{"info/refs", uploadPack, receivePack} {
		rest, matches := strings.CutSuffix(path, "/"+file)
		if !matches {
			continue
		}
		rest, err := url.PathUnescape(strings.TrimPrefix(rest, "/"))
		if err != nil || file == "info/refs" && service != uploadPack && service != receivePack {
			return gitRequest{}, false
		}
		found := gitRequest{file: file, push: file == receivePack || service == receivePack}
		if found.project, ok = strings.CutSuffix(rest, ".git"); !ok {
			found.moved = "/" + rest + ".git/" + file + "?" + r.URL.RawQuery
		}
		return found, true
	}
	return gitRequest{}, false
}

// serveGit answers git's smart protocol; it returns false if that is not what was asked.
func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, path string) bool {
	asked, ok := parseGit(r, path)
	if !ok {
		return false
	}
	if asked.moved != "" {
		http.Redirect(w, r, asked.moved, http.StatusMovedPermanently)
		return true
	}
	p, u, err := s.gitAccess(r, asked)
	var denied *gitDenied
	switch {
	case errors.As(err, &denied):
		if denied.status == http.StatusUnauthorized {
			w.Header().Set("Www-Authenticate", `Basic realm="GitLab"`)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(denied.status)
		fmt.Fprintln(w, denied.text)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		s.backend(w, r, p, u, asked.file)
	}
	return true
}

// gitDenied is an answer of GitLab's that git shows to its user.
type gitDenied struct {
	status int
	text   string
}

func (d *gitDenied) Error() string { return d.text }

const (
	accessDenied = "HTTP Basic: Access denied. If a password was provided for Git authentication, the password was incorrect " +
		"or you're required to use a token instead of a password. If a token was provided, it was either incorrect, expired, or improperly scoped. " +
		"See %s/help/topics/git/troubleshooting_git.md#error-on-git-fetch-http-basic-access-denied"
	noSuchRepository = "The project you were looking for could not be found or you don't have permission to view it."
)

// gitAccess logs in with the token that is the password, whatever the user name, and says what may be done with it.
func (s *Server) gitAccess(r *http.Request, asked gitRequest) (*project, *user, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projectByPath(asked.project)
	_, password, given := r.BasicAuth()
	if !given {
		if p != nil && !asked.push && p.readableCode(nil) {
			return p, nil, nil
		}
		return nil, nil, &gitDenied{http.StatusUnauthorized, fmt.Sprintf(accessDenied, s.url)}
	}
	scopes := []string{"api", "read_repository", "write_repository"}
	if asked.push {
		scopes = []string{"api", "write_repository"}
	}
	t := s.tokenBySecret(password)
	if t == nil || t.Revoked || t.expired(s.opts.Now()) || !t.hasScope(scopes...) {
		return nil, nil, &gitDenied{http.StatusUnauthorized, fmt.Sprintf(accessDenied, s.url)}
	}
	t.used = s.opts.Now()
	u := s.userByName(t.User)
	switch {
	case p == nil || !p.readableCode(u):
		return nil, nil, &gitDenied{http.StatusNotFound, noSuchRepository}
	case asked.push && p.role(u) < Developer:
		return nil, nil, &gitDenied{http.StatusForbidden, string(notPusher)}
	}
	return p, u, nil
}
