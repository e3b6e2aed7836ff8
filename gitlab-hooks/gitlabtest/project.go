package gitlabtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Visibility says who may read a project.
type Visibility string

// The levels of GitLab.
const (
	Private  Visibility = "private"
	Internal Visibility = "internal" // every user
	Public   Visibility = "public"
)

func (v Visibility) level() int {
	return map[Visibility]int{Private: 0, Internal: 10, Public: 20}[v]
}

// Project is a project with its repository.
type Project struct {
	ID          int    // given by CreateProject
	Path        string // needed, like group/images
	Name        string // empty means the last part of Path
	Description string
	Visibility  Visibility // empty means Private

	DefaultBranch string // empty means main
	ObjectFormat  string // sha1 (if empty) or sha256

	Members map[string]Role // by user name; root owns every project

	// Protected are the protected branches. Nil means what GitLab does: the default branch, to which maintainers may
	// push, but nobody may force. An empty list protects nothing.
	Protected []Protected
}

// Protected is a rule for branches.
type Protected struct {
	Branch     string // name, or wildcard like release-*
	Push       Role   // who may push and merge; 0 means Maintainer
	AllowForce bool
}

type project struct {
	Project
	repo    repository
	created time.Time
	hooks   []*hook

	pipelines []*pipeline
	statuses  []*status
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*$`)

func validName(s string) bool {
	return nameForm.MatchString(s) && !strings.HasSuffix(s, ".git") && !strings.HasSuffix(s, ".")
}

// CreateProject adds a project. A repository that is in Options.Home already is taken as it is.
func (s *Server) CreateProject(ctx context.Context, given Project) (Project, error) {
	p, err := s.newProject(given)
	if err != nil {
		return Project{}, fmt.Errorf("create project: %w", err)
	}
	if err := s.makeRepository(ctx, p); err != nil {
		return Project{}, fmt.Errorf("create project %s: %w", p.Path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.projectByPath(p.Path) != nil {
		return Project{}, fmt.Errorf("create project: %s exists", p.Path)
	}
	p.ID = len(s.projects) + 1
	s.projects = append(s.projects, p)
	return p.Project, nil
}

func (s *Server) newProject(p Project) (*project, error) {
	parts := strings.Split(p.Path, "/")
	if len(parts) < 2 {
		return nil, fmt.Errorf("the path %q has no group; use one like group/images", p.Path)
	}
	for _, part := range parts {
		if !validName(part) {
			return nil, fmt.Errorf("the path %q cannot be a project's", p.Path)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := range p.Members {
		if s.userByName(name) == nil {
			return nil, fmt.Errorf("%s: no user %q; create it first", p.Path, name)
		}
	}
	p.Name = orElse(p.Name, path.Base(p.Path))
	p.Visibility = orElse(p.Visibility, Private)
	p.DefaultBranch = orElse(p.DefaultBranch, "main")
	p.ObjectFormat = orElse(p.ObjectFormat, "sha1")
	if p.Protected == nil {
		p.Protected = []Protected{{Branch: p.DefaultBranch}}
	}
	p.Members, p.Protected = maps.Clone(p.Members), slices.Clone(p.Protected)
	made := &project{Project: p, created: s.opts.Now()}
	made.repo = repository{
		dir: filepath.Join(s.home, "repositories", filepath.FromSlash(p.Path)+".git"), env: gitEnviron(s.home),
		zero: strings.Repeat("0", map[string]int{"sha1": 40, "sha256": 64}[p.ObjectFormat]),
	}
	if made.repo.zero == "" {
		return nil, fmt.Errorf("%s: no object format %q; use sha1 or sha256", p.Path, p.ObjectFormat)
	}
	return made, nil
}

// makeRepository creates the bare repository if need be, and sets it up as Gitaly's are: filters and any object may be
// fetched, nothing is collected behind our back, and our hooks are called.
func (s *Server) makeRepository(ctx context.Context, p *project) error {
	if _, err := os.Stat(p.repo.dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(p.repo.dir), 0o755); err != nil {
			return err
		}
		_, err := p.repo.git(ctx, nil, "init", "--quiet", "--bare", "--template=", "--object-format="+p.ObjectFormat,
			"--initial-branch="+p.DefaultBranch)
		if err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	for _, setting := range [][2]string{
		{"gitlab.fullpath", p.Path},
		{"core.hooksPath", s.hooksDir()},
		{"uploadpack.allowFilter", "true"},
		{"uploadpack.allowAnySHA1InWant", "true"},
		{"http.receivepack", "true"},
		{"receive.autogc", "false"},
		{"gc.auto", "0"},
	} {
		if _, err := p.repo.git(ctx, nil, "config", setting[0], setting[1]); err != nil {
			return err
		}
	}
	return nil
}

// RepositoryPath is the bare repository of a project on disk. A push to it by its path is a push, too: by the user
// that the environment variable GL_USERNAME names, or by root.
func (s *Server) RepositoryPath(projectPath string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projectByPath(projectPath)
	if p == nil {
		return "", fmt.Errorf("no project %q", projectPath)
	}
	return p.repo.dir, nil
}

// CloneURL is where a project is cloned from and pushed to by HTTP; with a token, the URL logs in with it.
func (s *Server) CloneURL(projectPath, token string) string {
	u, err := url.Parse(s.url)
	if err != nil { // it was made from a listener's address
		panic(err)
	}
	u = u.JoinPath(projectPath + ".git")
	if token != "" {
		u.User = url.UserPassword("oauth2", token)
	}
	return u.String()
}

// CollectGarbage drops every object that no ref reaches, as GitLab does two weeks later: a commit that was forced away
// cannot be fetched any more.
func (s *Server) CollectGarbage(ctx context.Context, projectPath string) error {
	s.mu.Lock()
	p := s.projectByPath(projectPath)
	s.mu.Unlock()
	if p == nil {
		return fmt.Errorf("collect garbage: no project %q", projectPath)
	}
	if _, err := p.repo.git(ctx, nil, "repack", "-a", "-d", "-q"); err != nil {
		return err
	}
	_, err := p.repo.git(ctx, nil, "prune", "--expire=now")
	return err
}

func (s *Server) projectByPath(projectPath string) *project {
	for _, p := range s.projects {
		if strings.EqualFold(p.Path, projectPath) {
			return p
		}
	}
	return nil
}

// projectByID finds what stands for :id in the API: a number or a path.
func (s *Server) projectByID(id string) *project {
	n, err := strconv.Atoi(id)
	if err != nil {
		return s.projectByPath(id)
	}
	if n < 1 || n > len(s.projects) {
		return nil
	}
	return s.projects[n-1]
}

// role is what the user may do in the project; nil is somebody who has not logged in.
func (p *project) role(u *user) Role {
	switch {
	case u == nil:
		return NoRole
	case u.Admin:
		return Owner
	}
	return p.Members[u.Username]
}

func (p *project) readable(u *user) bool {
	return p.role(u) > NoRole || p.Visibility == Public || p.Visibility == Internal && u != nil
}

// readableCode says whether the user may read the repository: guests of a private project may not.
func (p *project) readableCode(u *user) bool {
	return p.readable(u) && (p.Visibility != Private || p.role(u) >= Reporter)
}

// protection is the rule for a branch; of several, the most permissive counts.
func (p *project) protection(branch string) (Protected, bool) {
	var found Protected
	known := false
	for _, rule := range p.Protected {
		if !matchWildcard(rule.Branch, branch) {
			continue
		}
		rule.Push = orElse(rule.Push, Maintainer)
		if known {
			rule.Push, rule.AllowForce = min(rule.Push, found.Push), rule.AllowForce || found.AllowForce
		}
		found, known = rule, true
	}
	return found, known
}

func (p *project) mayPush(u *user, branch string) bool {
	rule, protected := p.protection(branch)
	if !protected {
		return p.role(u) >= Developer
	}
	return p.role(u) >= rule.Push
}

// namespace is the group of the project; its name differs from its path, as GitLab's may.
func (p *project) namespace() (fullPath, name string) {
	fullPath = path.Dir(p.Path)
	base := path.Base(fullPath)
	return fullPath, strings.ToUpper(base[:1]) + base[1:]
}

// matchWildcard matches a name with a pattern in which * is any text, slashes too.
func matchWildcard(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	for i, part := range parts {
		parts[i] = regexp.QuoteMeta(part)
	}
	return regexp.MustCompile(`^(?s:` + strings.Join(parts, ".*") + `)$`).MatchString(name)
}
