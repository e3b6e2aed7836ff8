package hooks

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/xanzy/go-gitlab"
)

// Project is what GitLab says about a project.
type Project struct {
	ID            int
	Path          string // with namespace, in GitLab's own spelling
	DefaultBranch string // empty in an empty repository
	Empty         bool
	Archived      bool // read-only: no commit status can be set
}

// Project reads a project by its path.
func (c Client) Project(ctx context.Context, path string) (Project, error) {
	const op = "read a project"
	api, caught, err := c.caught(op)
	if err != nil {
		return Project{}, err
	}
	found, response, err := api.Projects.GetProject(path, nil, gitlab.WithContext(ctx))
	if err != nil {
		return Project{}, c.refusal(op, response, caught, err)
	}
	return Project{found.ID, found.PathWithNamespace, found.DefaultBranch, found.EmptyRepo, found.Archived}, nil
}

// Branch is a branch as GitLab has it now.
type Branch struct {
	Name      string // main
	Commit    string
	Default   bool
	Protected bool
}

// Branches lists all branches of a project, page by page: a branch that is made or deleted meanwhile may be there, or not.
func (c Client) Branches(ctx context.Context, project string) ([]Branch, error) {
	const op = "list branches"
	var branches []Branch
	err := c.pages(op, func(api *gitlabClient, page gitlab.ListOptions) (*gitlab.Response, error) {
		found, response, err := api.Branches.ListBranches(project, &gitlab.ListBranchesOptions{ListOptions: page}, gitlab.WithContext(ctx))
		for _, b := range found {
			if b != nil && b.Commit != nil {
				branches = append(branches, Branch{b.Name, b.Commit.ID, b.Default, b.Protected})
			}
		}
		return response, err
	})
	if err != nil {
		return nil, err
	}
	return branches, nil
}

// ProjectHook is one webhook of a project.
type ProjectHook struct {
	ID            int
	URL           string // without what may be secret in it: password and query
	Push, TagPush bool
	BranchFilter  string
	AlertStatus   string    // executable, temporarily_disabled or disabled; empty before 15.7
	DisabledUntil time.Time // zero: it is not
}

// Problem says why the hook will not tell of pushes; empty when it will.
func (h ProjectHook) Problem() string {
	switch {
	case h.AlertStatus == "disabled":
		return "gitlab has disabled the hook after too many failures; press Test in the project's webhook settings to enable it"
	case !h.DisabledUntil.IsZero():
		return fmt.Sprintf("gitlab has disabled the hook until %s, as deliveries failed; press Test in the project's webhook settings to enable it",
			h.DisabledUntil.UTC().Format(time.RFC3339))
	case h.AlertStatus != "" && h.AlertStatus != "executable":
		return "gitlab says that the hook is " + h.AlertStatus
	case !h.Push:
		return "push events are switched off in the project's webhook settings"
	}
	return ""
}

// Hooks lists the webhooks of a project, which needs the role maintainer.
func (c Client) Hooks(ctx context.Context, project string) ([]ProjectHook, error) {
	const op = "list webhooks"
	// go-gitlab does not know disabled_until.
	type hook struct {
		ID            int        `json:"id"`
		URL           string     `json:"url"`
		Push          bool       `json:"push_events"`
		TagPush       bool       `json:"tag_push_events"`
		BranchFilter  string     `json:"push_events_branch_filter"`
		AlertStatus   string     `json:"alert_status"`
		DisabledUntil *time.Time `json:"disabled_until"`
	}
	var hooks []ProjectHook
	err := c.pages(op, func(api *gitlabClient, page gitlab.ListOptions) (*gitlab.Response, error) {
		request, err := api.NewRequest(http.MethodGet, "projects/"+gitlab.PathEscape(project)+"/hooks", &page, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
		if err != nil {
			return nil, err
		}
		var found []hook
		response, err := api.Do(request, &found)
		for _, h := range found {
			known := ProjectHook{ID: h.ID, URL: place(h.URL), Push: h.Push, TagPush: h.TagPush, BranchFilter: h.BranchFilter, AlertStatus: h.AlertStatus}
			if h.DisabledUntil != nil {
				known.DisabledUntil = h.DisabledUntil.UTC()
			}
			hooks = append(hooks, known)
		}
		return response, err
	})
	if err != nil {
		return nil, err
	}
	return hooks, nil
}

const (
	perPage  = 100
	maxPages = 1000
)

// pages calls get for every page of a list.
func (c Client) pages(op string, get func(*gitlabClient, gitlab.ListOptions) (*gitlab.Response, error)) error {
	api, caught, err := c.caught(op)
	if err != nil {
		return err
	}
	for page := 1; ; {
		response, err := get(api, gitlab.ListOptions{Page: page, PerPage: perPage})
		if err != nil {
			return c.refusal(op, response, caught, err)
		}
		if response.NextPage == 0 {
			return nil
		}
		if response.NextPage <= page || response.NextPage > maxPages {
			return &Error{Op: op, URL: c.URL, Status: response.StatusCode, Reason: ErrProtocol, Hint: "check that the url is that of gitlab itself",
				Detail: fmt.Sprintf("page %d is said to be followed by page %d", page, response.NextPage)}
		}
		page = response.NextPage
	}
}
