package main

import (
	"net/url"
	"strings"

	"github.com/urfave/cli/v2"
)

// What a build system says of itself is read from its variables: a flag counts
// more than AIBUILD_*, that more than what Jenkins and its GitLab plugin say, and
// that more than git.

// first is the first variable that is set.
func (w *world) first(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(w.getenv(name)); v != "" {
			return v
		}
	}
	return ""
}

// projectOf is the project that is built: a path such as group/images; empty
// leaves it to git.
func (w *world) projectOf(c *cli.Context) string {
	if p := c.String("project"); p != "" {
		return p
	}
	address := w.first("AIBUILD_PROJECT", "gitlabSourceRepoHttpUrl", "gitlabSourceRepoURL", "gitlabSourceRepoSshUrl", "GIT_URL")
	return projectPath(address, w.config.env("GITLAB_URL", w.config.GitLab.URL))
}

// projectPath makes group/project of a clone URL of a GitLab, which may be below
// a path of its host: https://host/gitlab/group/project.git.
func projectPath(address, gitlab string) string {
	path := address
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		path = u.Path
		if base, err := url.Parse(gitlab); err == nil && base.Host == u.Host {
			path = strings.TrimPrefix(path, strings.TrimSuffix(base.Path, "/"))
		}
	} else if _, after, ok := strings.Cut(address, ":"); ok && !strings.HasPrefix(address, "/") {
		path = after // git@host:group/project.git
	}
	return strings.TrimSuffix(strings.Trim(path, "/"), ".git")
}

// refOf is the branch that is built; empty leaves it to git.
func (w *world) refOf(c *cli.Context) string {
	ref := w.given(c, "ref", "AIBUILD_REF")
	if ref == "" {
		ref = w.first("CHANGE_BRANCH", "gitlabSourceBranch", "gitlabBranch", "BRANCH_NAME")
	}
	if ref == "" { // the git plugin names the remote too
		ref = strings.TrimPrefix(w.first("GIT_BRANCH"), "origin/")
	}
	return strings.TrimPrefix(ref, "refs/heads/")
}

// person is who started the Jenkins build, as far as Jenkins says it: the build
// user vars plugin, or the GitLab plugin. Empty: nobody is named.
func (w *world) person() string {
	return w.first("BUILD_USER_ID", "BUILD_USER", "gitlabUserUsername", "gitlabUserName")
}

// whose is who a record names.
func (w *world) whose() string {
	if p := w.person(); p != "" && w.getenv("JENKINS_URL") != "" {
		return p
	}
	return actor()
}
