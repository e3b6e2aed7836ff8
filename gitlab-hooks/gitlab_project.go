package hooks

import (
	"context"
	"errors"
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
	Role          int  // of the token's owner, in GitLab's numbers, like RoleDeveloper; 0: GitLab does not tell
}

// RoleDeveloper is the least that a token's owner needs, so that commit statuses can be set.
const RoleDeveloper = int(gitlab.DeveloperPermissions)

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
	return Project{found.ID, found.PathWithNamespace, found.DefaultBranch, found.EmptyRepo, found.Archived, role(found.Permissions)}, nil
}

// role is the higher of the two that a member can have.
func role(p *gitlab.Permissions) int {
	highest := gitlab.NoPermissions
	if p != nil && p.ProjectAccess != nil {
		highest = p.ProjectAccess.AccessLevel
	}
	if p != nil && p.GroupAccess != nil {
		highest = max(highest, p.GroupAccess.AccessLevel)
	}
	return int(highest)
}

// ReleaseRefs are the refs that may release where nobody has named any: the default branch, and only while GitLab
// protects it, as everybody who may push would be one who may release otherwise. Where there is none, the one pattern
// matches no ref and says why.
func (c Client) ReleaseRefs(ctx context.Context, path string) ([]string, error) {
	project, err := c.Project(ctx, path)
	if err != nil {
		return nil, err
	}
	if project.DefaultBranch == "" || project.Empty { // which says what it will be called
		return []string{"none (the project has no branch yet)"}, nil // no ref has a space in it
	}
	branch, err := c.Branch(ctx, path, project.DefaultBranch)
	if err != nil {
		return nil, err
	}
	ref := "refs/heads/" + project.DefaultBranch
	if !branch.Protected {
		ref += " (once it is protected in GitLab)"
	}
	return []string{ref}, nil
}

// Branch is a branch as GitLab has it now.
type Branch struct {
	Name      string // main
	Commit    string
	Default   bool
	Protected bool
	MayPush   bool // the token's owner may; on a protected branch, only who may push can set a commit status
}

// Branch reads one branch by its name.
func (c Client) Branch(ctx context.Context, project, name string) (Branch, error) {
	const op = "read a branch"
	api, caught, err := c.caught(op)
	if err != nil {
		return Branch{}, err
	}
	b, response, err := api.Branches.GetBranch(project, name, gitlab.WithContext(ctx))
	if err != nil {
		return Branch{}, c.refusal(op, response, caught, err)
	}
	if b.Commit == nil {
		return Branch{}, c.failure(op, response, errors.New("no commit in the answer"))
	}
	return Branch{b.Name, b.Commit.ID, b.Default, b.Protected, b.CanPush}, nil
}

// Branches lists all branches of a project, page by page: a branch that is made or deleted meanwhile may be there, or not.
func (c Client) Branches(ctx context.Context, project string) ([]Branch, error) {
	const op = "list branches"
	var branches []Branch
	err := c.pages(op, func(api *gitlabClient, page gitlab.ListOptions) (*gitlab.Response, error) {
		found, response, err := api.Branches.ListBranches(project, &gitlab.ListBranchesOptions{ListOptions: page}, gitlab.WithContext(ctx))
		for _, b := range found {
			if b != nil && b.Commit != nil {
				branches = append(branches, Branch{b.Name, b.Commit.ID, b.Default, b.Protected, b.CanPush})
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
		return "push events are switched off; switch them on in the project's webhook settings"
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
		return nil, maintainers(err)
	}
	return hooks, nil
}

// maintainers says which role is missing for what only maintainers see.
func maintainers(err error) error {
	if failed, ok := errors.AsType[*Error](err); ok && errors.Is(failed.Reason, ErrForbidden) {
		failed.Hint = "give the token's owner the role Maintainer, if webhooks are to be looked at: gitlab shows them to no other"
	}
	return err
}

// Delivery is one that a webhook made.
type Delivery struct {
	ID     int
	Status string // of the answer, as "202", or "internal error" when none came
	At     time.Time
	answer string // its body
}

// Problem says why it did not arrive; empty when it did.
func (d Delivery) Problem() string {
	switch {
	case d.Status == "" || d.Status[0] == '2' || d.Status[0] == '3': // both are success to GitLab
		return ""
	case d.Status == "401":
		return "the answer was 401: the webhook's secret is none that the daemon has; enter the same in both"
	case d.Status == "404" || d.Status == "405":
		return "the answer was " + d.Status + ": the webhook leads to something else; correct its url"
	case d.Status[0] >= '0' && d.Status[0] <= '9':
		return "the answer was " + d.Status + "; look into the daemon's log, and press Test in the project's webhook settings"
	}
	return "gitlab got no answer (" + clip(d.Status) + "); see that it reaches the webhook's url, and trusts its certificate"
}

// LastDelivery reads the newest delivery of a webhook. known is false when there is none, or when GitLab keeps no list
// (before 17.3).
func (c Client) LastDelivery(ctx context.Context, project string, hook int) (last Delivery, known bool, err error) {
	const op = "read a webhook's deliveries"
	api, caught, err := c.caught(op)
	if err != nil {
		return Delivery{}, false, err
	}
	at := fmt.Sprintf("projects/%s/hooks/%d/events", gitlab.PathEscape(project), hook)
	request, err := api.NewRequest(http.MethodGet, at, &gitlab.ListOptions{PerPage: 1}, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
	if err != nil {
		return Delivery{}, false, err
	}
	var found []struct {
		ID     int       `json:"id"`
		Status string    `json:"response_status"`
		At     time.Time `json:"created_at"`
		Answer string    `json:"response_body"`
	}
	response, err := api.Do(request, &found)
	if response != nil && response.StatusCode == http.StatusNotFound {
		return Delivery{}, false, nil
	}
	if err != nil {
		return Delivery{}, false, maintainers(c.refusal(op, response, caught, err))
	}
	if len(found) == 0 {
		return Delivery{}, false, nil
	}
	return Delivery{found[0].ID, found[0].Status, found[0].At.UTC(), found[0].Answer}, true, nil
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
