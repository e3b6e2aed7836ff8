package gitlabtest

import (
	"net/url"
	"slices"
	"strings"
)

type branchInfo struct {
	Name     string     `json:"name"`
	Commit   commitInfo `json:"commit"`
	Merged   bool       `json:"merged"`
	Guarded  bool       `json:"protected"`
	DevPush  bool       `json:"developers_can_push"`
	DevMerge bool       `json:"developers_can_merge"`
	CanPush  bool       `json:"can_push"`
	Default  bool       `json:"default"`
	WebURL   string     `json:"web_url"`
}

func (c *call) listBranches() (any, error) {
	branches, err := c.project.repo.refs(c.ctx, headsPrefix, "")
	if err != nil {
		return nil, err
	}
	standard, err := c.project.repo.defaultBranch(c.ctx, branches)
	if err != nil {
		return nil, err
	}
	if search := c.params.text("search"); search != "" {
		branches = slices.DeleteFunc(branches, func(b ref) bool { return !found(b.Name, search) })
	}
	if c.params.text("pagination") == "keyset" {
		branches, err = paginateKeyset(c, branches, func(b ref) string { return b.Name })
	} else {
		branches, err = paginateGitaly(c, branches)
	}
	if err != nil {
		return nil, err
	}
	return c.tellBranches(branches, standard)
}

// found says whether a branch matches a search, in which ^ and $ stand for the ends of the name.
func found(name, search string) bool {
	text, start := strings.CutPrefix(search, "^")
	text, end := strings.CutSuffix(text, "$")
	switch {
	case start && end:
		return name == text
	case start:
		return strings.HasPrefix(name, text)
	case end:
		return strings.HasSuffix(name, text)
	}
	return strings.Contains(name, text)
}

func (c *call) getBranch() (any, error) {
	name := c.path["branch"]
	branches, err := c.project.repo.refs(c.ctx, headsPrefix, "")
	if err != nil {
		return nil, err
	}
	standard, err := c.project.repo.defaultBranch(c.ctx, branches)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(branches, func(b ref) bool { return b.Name == name })
	if i < 0 {
		return nil, notFound("Branch")
	}
	told, err := c.tellBranches(branches[i:i+1], standard)
	if err != nil {
		return nil, err
	}
	return told[0], nil
}

func (c *call) tellBranches(branches []ref, standard string) ([]branchInfo, error) {
	ids := make([]string, len(branches))
	for i, b := range branches {
		ids[i] = b.Object
	}
	commits, err := c.project.repo.commits(c.ctx, ids...)
	if err != nil {
		return nil, err
	}
	merged, err := c.merged(standard)
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	told := make([]branchInfo, len(branches))
	for i, b := range branches {
		rule, protected := c.project.protection(b.Name)
		developers := protected && rule.Push <= Developer
		told[i] = branchInfo{
			Name: toUTF8([]byte(b.Name)), Commit: c.s.tellCommit(c.project, commits[i]), Merged: slices.Contains(merged, b.Name) && b.Name != standard,
			Guarded: protected, DevPush: developers, DevMerge: developers, CanPush: c.project.mayPush(c.user, b.Name),
			Default: b.Name == standard, WebURL: c.s.webURL(c.project) + "/-/tree/" + escapeSegments(b.Name),
		}
	}
	return told, nil
}

// merged are the branches whose commits are all in the default one.
func (c *call) merged(standard string) ([]string, error) {
	if standard == "" {
		return nil, nil
	}
	out, err := c.project.repo.git(c.ctx, nil, "for-each-ref", "--format=%(refname:lstrip=2)", "--merged="+headsPrefix+standard, headsPrefix)
	return strings.Split(strings.TrimSpace(string(out)), "\n"), err
}

func escapeSegments(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}
