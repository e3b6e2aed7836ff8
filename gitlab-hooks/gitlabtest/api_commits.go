package gitlabtest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

func repositoryRoutes() []route {
	const base = "projects/:id/repository/"
	code := []string{"read_repository"}
	return []route{
		{method: "GET", pattern: base + "branches", open: true, code: true, handle: (*call).listBranches},
		{method: "GET", pattern: base + "branches/:branch", open: true, code: true, handle: (*call).getBranch},
		{method: "GET", pattern: base + "tree", open: true, code: true, handle: (*call).tree},
		{method: "GET", pattern: base + "compare", open: true, code: true, handle: (*call).compare},
		{method: "GET", pattern: base + "files/:file_path/raw", open: true, code: true, scopes: code, handle: (*call).rawFile},
		{method: "GET", pattern: base + "commits/:sha", open: true, code: true, handle: (*call).getCommit},
	}
}

type commitInfo struct {
	ID               string         `json:"id"`
	ShortID          string         `json:"short_id"`
	CreatedAt        string         `json:"created_at"`
	ParentIDs        []string       `json:"parent_ids"`
	Title            string         `json:"title"`
	Message          string         `json:"message"`
	AuthorName       string         `json:"author_name"`
	AuthorEmail      string         `json:"author_email"`
	AuthoredDate     string         `json:"authored_date"`
	CommitterName    string         `json:"committer_name"`
	CommitterEmail   string         `json:"committer_email"`
	CommittedDate    string         `json:"committed_date"`
	Trailers         map[string]any `json:"trailers"`
	ExtendedTrailers map[string]any `json:"extended_trailers"`
	WebURL           string         `json:"web_url"`
}

// commitLayout keeps the zone that the commit was made in.
const commitLayout = "2006-01-02T15:04:05.000-07:00"

func (s *Server) tellCommit(p *project, c commit) commitInfo {
	return commitInfo{
		ID: c.ID, ShortID: c.ID[:8], CreatedAt: c.Committer.When.Format(commitLayout), ParentIDs: c.Parents, Title: c.fullTitle(), Message: c.Message,
		AuthorName: c.Author.Name, AuthorEmail: c.Author.Email, AuthoredDate: c.Author.When.Format(commitLayout),
		CommitterName: c.Committer.Name, CommitterEmail: c.Committer.Email, CommittedDate: c.Committer.When.Format(commitLayout),
		Trailers: map[string]any{}, ExtendedTrailers: map[string]any{}, WebURL: s.webURL(p) + "/-/commit/" + c.ID,
	}
}

// commitAt resolves what the API calls a ref: a branch, a tag, an id, or the default branch if it is empty.
func (c *call) commitAt(name string) (string, error) {
	if name == "" {
		name = "HEAD"
		branches, err := c.project.repo.refs(c.ctx, headsPrefix, "")
		if err != nil {
			return "", err
		}
		standard, err := c.project.repo.defaultBranch(c.ctx, branches)
		if err != nil {
			return "", err
		}
		if standard != "" {
			name = headsPrefix + standard
		}
	}
	return c.project.repo.resolve(c.ctx, name, "commit")
}

func (c *call) getCommit() (any, error) {
	id, err := c.project.repo.resolve(c.ctx, c.path["sha"], "commit")
	if errors.Is(err, errNoObject) {
		return nil, notFound("Commit")
	}
	if err != nil {
		return nil, err
	}
	found, err := c.project.repo.commit(c.ctx, id)
	if err != nil {
		return nil, err
	}
	stats, err := c.stats(id)
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	told := commitDetail{commitInfo: c.s.tellCommit(c.project, found), Stats: stats, ProjectID: c.project.ID}
	if last := c.project.lastPipeline(id, ""); last != nil {
		info := c.tellPipeline(last)
		told.Status, told.LastPipeline = &info.Status, &info
	}
	return told, nil
}

type commitDetail struct {
	commitInfo
	Stats        commitStats   `json:"stats"`
	Status       *string       `json:"status"`
	ProjectID    int           `json:"project_id"`
	LastPipeline *pipelineInfo `json:"last_pipeline"`
}

type commitStats struct {
	Additions int `json:"additions"`
	Deletions int `json:"deletions"`
	Total     int `json:"total"`
}

// stats counts lines against the first parent; binary files count nothing.
func (c *call) stats(id string) (commitStats, error) {
	out, err := c.project.repo.git(c.ctx, nil, "diff-tree", "--numstat", "-r", "--root", "--no-commit-id", "--diff-merges=first-parent", id)
	if err != nil {
		return commitStats{}, err
	}
	var sum commitStats
	for line := range strings.Lines(string(out)) {
		fields := strings.SplitN(line, "\t", 3)
		if len(fields) == 3 && fields[0] == "-" {
			continue
		}
		added, err := strconv.Atoi(fields[0])
		if err != nil || len(fields) != 3 {
			return commitStats{}, fmt.Errorf("git printed a count of lines as %q", line)
		}
		removed, err := strconv.Atoi(fields[1])
		if err != nil {
			return commitStats{}, fmt.Errorf("git printed a count of lines as %q", line)
		}
		sum.Additions, sum.Deletions = sum.Additions+added, sum.Deletions+removed
	}
	sum.Total = sum.Additions + sum.Deletions
	return sum, nil
}
