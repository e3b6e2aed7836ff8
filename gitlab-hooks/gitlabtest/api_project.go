package gitlabtest

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

type projectInfo struct {
	ID                int               `json:"id"`
	Description       string            `json:"description"`
	Name              string            `json:"name"`
	NameWithNamespace string            `json:"name_with_namespace"`
	PathName          string            `json:"path"`
	Path              string            `json:"path_with_namespace"`
	CreatedAt         *string           `json:"created_at"`
	DefaultBranch     *string           `json:"default_branch,omitempty"` // for those who may read the repository
	TagList           []string          `json:"tag_list"`
	Topics            []string          `json:"topics"`
	SSHURL            string            `json:"ssh_url_to_repo"`
	HTTPURL           string            `json:"http_url_to_repo"`
	WebURL            string            `json:"web_url"`
	ReadmeURL         *string           `json:"readme_url"`
	ForksCount        int               `json:"forks_count"`
	AvatarURL         *string           `json:"avatar_url"`
	StarCount         int               `json:"star_count"`
	LastActivityAt    *string           `json:"last_activity_at"`
	Visibility        Visibility        `json:"visibility"`
	Namespace         namespaceInfo     `json:"namespace"`
	Links             map[string]string `json:"_links"`
	EmptyRepo         bool              `json:"empty_repo"`
	Archived          bool              `json:"archived"`
	ObjectFormat      string            `json:"repository_object_format"`
	JobsEnabled       bool              `json:"jobs_enabled"`
	CreatorID         int               `json:"creator_id"`
	CIConfigPath      *string           `json:"ci_config_path"`
	Permissions       *permissions      `json:"permissions,omitempty"`
}

type namespaceInfo struct {
	ID        int     `json:"id"`
	Name      string  `json:"name"`
	Path      string  `json:"path"`
	Kind      string  `json:"kind"`
	FullPath  string  `json:"full_path"`
	ParentID  *int    `json:"parent_id"`
	AvatarURL *string `json:"avatar_url"`
	WebURL    string  `json:"web_url"`
}

type permissions struct {
	Project *access `json:"project_access"`
	Group   *access `json:"group_access"`
}

type access struct {
	Level        Role `json:"access_level"`
	Notification int  `json:"notification_level"`
}

func (c *call) getProject() (any, error) {
	branches, err := c.project.repo.refs(c.ctx, headsPrefix, "")
	if err != nil {
		return nil, err
	}
	standard, err := c.project.repo.defaultBranch(c.ctx, branches)
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	p := c.project
	full, group := p.namespace()
	web := c.s.webURL(p)
	self := c.s.url + "/api/v4/projects/" + strconv.Itoa(p.ID)
	told := projectInfo{
		ID: p.ID, Description: p.Description, Name: p.Name, NameWithNamespace: group + " / " + p.Name, PathName: path.Base(p.Path), Path: p.Path,
		CreatedAt: apiTime(p.created), TagList: []string{}, Topics: []string{}, SSHURL: c.s.sshURL(p), HTTPURL: web + ".git", WebURL: web,
		LastActivityAt: apiTime(p.created), Visibility: p.Visibility,
		Namespace: namespaceInfo{ID: c.s.namespaceID(full), Name: group, Path: path.Base(full), Kind: "group", FullPath: full, WebURL: c.s.url + "/groups/" + full},
		Links: map[string]string{
			"self": self, "repo_branches": self + "/repository/branches", "labels": self + "/labels", "events": self + "/events", "members": self + "/members",
		},
		EmptyRepo: len(branches) == 0, ObjectFormat: p.ObjectFormat, JobsEnabled: true, CreatorID: 1,
	}
	if p.readableCode(c.user) {
		standard = orElse(standard, p.DefaultBranch)
		told.DefaultBranch = &standard
	}
	if c.user != nil {
		told.Permissions = &permissions{}
		if role := p.role(c.user); role > NoRole {
			told.Permissions.Project = &access{role, 3}
		}
	}
	return told, nil
}

// namespaceID numbers groups by the first project in them.
func (s *Server) namespaceID(full string) int {
	return 1000 + slices.IndexFunc(s.projects, func(p *project) bool { return strings.HasPrefix(p.Path, full+"/") })
}

// protectedBranch is a rule in the words of the protected branches API.
type protectedBranch struct {
	ID         int           `json:"id"`
	Name       string        `json:"name"`
	Push       []accessLevel `json:"push_access_levels"`
	Merge      []accessLevel `json:"merge_access_levels"`
	AllowForce bool          `json:"allow_force_push"`
}

type accessLevel struct {
	ID          int    `json:"id"`
	Level       Role   `json:"access_level"`
	Description string `json:"access_level_description"`
}

func protectedRoutes() []route {
	const one = "projects/:id/protected_branches/:name"
	return []route{
		{method: "GET", pattern: "projects/:id/protected_branches", role: Developer, handle: (*call).listProtected},
		{method: "POST", pattern: "projects/:id/protected_branches", role: Maintainer, handle: (*call).protect},
		{method: "GET", pattern: one, role: Developer, handle: (*call).getProtected},
		{method: "DELETE", pattern: one, role: Maintainer, handle: (*call).unprotect},
	}
}

func (p *project) tellProtected(i int) protectedBranch {
	rule := p.Protected[i]
	role := orElse(rule.Push, Maintainer)
	level := accessLevel{i + 1, role, map[Role]string{Developer: "Developers + Maintainers", Maintainer: "Maintainers", Owner: "Owners"}[role]}
	return protectedBranch{i + 1, rule.Branch, []accessLevel{level}, []accessLevel{level}, rule.AllowForce}
}

func (c *call) listProtected() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	all := []protectedBranch{}
	for i := range c.project.Protected {
		all = append(all, c.project.tellProtected(i))
	}
	return paginate(c, all)
}

// protectedIndex finds the rule of that very name.
func (c *call) protectedIndex(name string) int {
	return slices.IndexFunc(c.project.Protected, func(r Protected) bool { return r.Branch == name })
}

func (c *call) getProtected() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i := c.protectedIndex(c.path["name"])
	if i < 0 {
		return nil, noRecord()
	}
	return c.project.tellProtected(i), nil
}

func (c *call) protect() (any, error) {
	if !c.params.has("name") {
		return nil, invalid("name is missing")
	}
	level, err := c.params.number("push_access_level", int(Maintainer))
	if err != nil {
		return nil, err
	}
	force, err := c.params.flag("allow_force_push", false)
	if err != nil {
		return nil, err
	}
	if role := Role(level); role != Developer && role != Maintainer {
		return nil, invalid("push_access_level does not have a valid value")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	name := c.params.text("name")
	if c.protectedIndex(name) >= 0 {
		return nil, message(http.StatusConflict, "Protected branch '"+name+"' already exists")
	}
	c.project.Protected = append(slices.Clone(c.project.Protected), Protected{name, Role(level), force})
	return c.project.tellProtected(len(c.project.Protected) - 1), nil
}

func (c *call) unprotect() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	i := c.protectedIndex(c.path["name"])
	if i < 0 {
		return nil, noRecord()
	}
	c.project.Protected = slices.Delete(slices.Clone(c.project.Protected), i, i+1)
	c.status = http.StatusNoContent
	return nil, nil
}
