package gitlabtest

import (
	"context"
	"strings"
	"unicode/utf8"
)

// pushPayload is the body of a push hook. The order of the fields is GitLab's.
type pushPayload struct {
	ObjectKind   string             `json:"object_kind"`
	EventName    string             `json:"event_name"`
	Before       string             `json:"before"`
	After        string             `json:"after"`
	Ref          string             `json:"ref"`
	RefProtected *bool              `json:"ref_protected,omitempty"` // since 17
	CheckoutSHA  *string            `json:"checkout_sha"`
	Message      *string            `json:"message"`
	UserID       int                `json:"user_id"`
	UserName     string             `json:"user_name"`
	UserUsername string             `json:"user_username,omitempty"` // only the constant sample has none
	UserEmail    *string            `json:"user_email"`
	UserAvatar   string             `json:"user_avatar"`
	ProjectID    int                `json:"project_id"`
	Project      payloadProject     `json:"project"`
	Commits      []payloadCommit    `json:"commits"`
	Total        int                `json:"total_commits_count"`
	PushOptions  map[string]any     `json:"push_options"`
	Repository   *payloadRepository `json:"repository,omitempty"`
}

type payloadProject struct {
	ID             int     `json:"id"`
	Name           string  `json:"name"`
	Description    string  `json:"description"`
	WebURL         string  `json:"web_url"`
	AvatarURL      *string `json:"avatar_url"`
	GitSSHURL      string  `json:"git_ssh_url"`
	GitHTTPURL     string  `json:"git_http_url"`
	Namespace      string  `json:"namespace"` // the group's name, not its path
	Visibility     int     `json:"visibility_level"`
	Path           string  `json:"path_with_namespace"`
	DefaultBranch  string  `json:"default_branch"`
	*projectExtras         // missing in the constant sample
}

type projectExtras struct {
	CIConfigPath *string `json:"ci_config_path"`
	Homepage     string  `json:"homepage"`
	URL          string  `json:"url"`
	SSHURL       string  `json:"ssh_url"`
	HTTPURL      string  `json:"http_url"`
}

type payloadCommit struct {
	ID        string        `json:"id"`
	Message   string        `json:"message"`
	Title     string        `json:"title"`
	Timestamp string        `json:"timestamp"`
	URL       string        `json:"url"`
	Author    payloadAuthor `json:"author"`
	*commitPaths
}

type payloadAuthor struct {
	Name  string `json:"name"`
	Email string `json:"email"`
}

type commitPaths struct {
	Added    []string `json:"added"`
	Modified []string `json:"modified"`
	Removed  []string `json:"removed"`
}

type payloadRepository struct {
	Name        string `json:"name"`
	URL         string `json:"url"`
	Description string `json:"description"`
	Homepage    string `json:"homepage"`
	GitHTTPURL  string `json:"git_http_url"`
	GitSSHURL   string `json:"git_ssh_url"`
	Visibility  int    `json:"visibility_level"`
}

// pushFacts are what a payload says about one moved ref.
type pushFacts struct {
	before, after, ref string
	checkout           string // empty means null
	message            *string
	ids                []string // commits, in the order of the payload
	total              int
}

// timeLayout is Ruby's xmlschema of a time with a zone.
const timeLayout = "2006-01-02T15:04:05-07:00"

// payload fills in everything around the facts.
func (s *Server) payload(ctx context.Context, p *project, u *user, facts pushFacts) (*pushPayload, error) {
	commits, err := s.payloadCommits(ctx, p, facts.ids)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	kind := "push"
	if strings.HasPrefix(facts.ref, tagsPrefix) {
		kind = "tag_push"
	}
	data := &pushPayload{
		ObjectKind: kind, EventName: kind, Before: facts.before, After: facts.after, Ref: toUTF8([]byte(facts.ref)),
		Message: facts.message, UserID: u.ID, UserName: u.Name, UserUsername: u.Username, UserAvatar: u.avatar(),
		ProjectID: p.ID, Project: s.payloadProject(p), Commits: commits, Total: facts.total, PushOptions: map[string]any{},
	}
	if facts.checkout != "" {
		data.CheckoutSHA = &facts.checkout
	}
	if u.PublicEmail != "" {
		email := u.PublicEmail
		data.UserEmail = &email
	}
	if s.opts.Profile.atLeast(V17) {
		_, protected := p.protection(strings.TrimPrefix(facts.ref, headsPrefix))
		protected = protected && kind == "push"
		data.RefProtected = &protected
	}
	data.Repository = &payloadRepository{
		Name: data.Project.Name, URL: data.Project.URL, Description: data.Project.Description, Homepage: data.Project.Homepage,
		GitHTTPURL: data.Project.GitHTTPURL, GitSSHURL: data.Project.GitSSHURL, Visibility: data.Project.Visibility,
	}
	return data, nil
}

func (s *Server) payloadProject(p *project) payloadProject {
	_, group := p.namespace()
	web, ssh, http := s.webURL(p), s.sshURL(p), s.webURL(p)+".git"
	return payloadProject{
		ID: p.ID, Name: p.Name, Description: p.Description, WebURL: web, GitSSHURL: ssh, GitHTTPURL: http, Namespace: group,
		Visibility: p.Visibility.level(), Path: p.Path, DefaultBranch: p.DefaultBranch,
		projectExtras: &projectExtras{Homepage: web, URL: ssh, SSHURL: ssh, HTTPURL: http},
	}
}

func (s *Server) payloadCommits(ctx context.Context, p *project, ids []string) ([]payloadCommit, error) {
	commits, err := p.repo.commits(ctx, ids...)
	if err != nil {
		return nil, err
	}
	deltas, err := p.repo.deltas(ctx, ids)
	if err != nil {
		return nil, err
	}
	told := make([]payloadCommit, len(commits))
	for i, c := range commits {
		paths := &commitPaths{}
		paths.Added, paths.Modified, paths.Removed = changedPaths(deltas[c.ID])
		told[i] = payloadCommit{
			ID: c.ID, Message: c.Message, Title: c.title(), Timestamp: c.Committer.When.Format(timeLayout),
			URL: s.webURL(p) + "/-/commit/" + c.ID, Author: payloadAuthor{c.Author.Name, c.Author.Email}, commitPaths: paths,
		}
	}
	return told, nil
}

// fullTitle is the first line of the message.
func (c commit) fullTitle() string {
	if strings.TrimSpace(c.Message) == "" {
		return "No commit message"
	}
	if end := strings.IndexAny(c.Message, "\r\n"); end >= 0 {
		return c.Message[:end]
	}
	return c.Message
}

// title is the first line, cut at a word if it is 100 characters or longer.
func (c commit) title() string {
	full := c.fullTitle()
	if utf8.RuneCountInString(full) < 100 {
		return full
	}
	const most = 81 - len("...")
	cut := []rune(full)[:most+1]
	if end := strings.LastIndexByte(string(cut), ' '); end >= 0 {
		return string(cut)[:end] + "..."
	}
	return string(cut[:most]) + "..."
}

func (s *Server) webURL(p *project) string { return s.url + "/" + p.Path }

// sshURL is told, but nothing listens there.
func (s *Server) sshURL(p *project) string {
	host := strings.TrimPrefix(s.url, "http://")
	return "ssh://git@" + host[:strings.LastIndexByte(host, ':')] + ":2222/" + p.Path + ".git"
}
