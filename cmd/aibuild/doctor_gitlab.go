package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

// hookPath is where the daemon takes webhooks.
const hookPath = "/hooks/gitlab"

// gitlab asks the instance, and then about every project of the configuration.
func (d *doctor) gitlab(ctx context.Context) {
	c := d.w.config
	token, err := c.secret("GITLAB_TOKEN", "", c.GitLab.TokenFile)
	if err != nil {
		d.fails("gitlab", err, "")
		return
	}
	transport, err := c.trustGitLab()
	if err != nil {
		d.fails("gitlab", err, "")
		return
	}
	client := hooks.Client{URL: c.env("GITLAB_URL", c.GitLab.URL), Token: token, Transport: transport}
	h, err := client.Check(ctx)
	if err != nil {
		d.gitlabFails(bad, "gitlab", err)
		return
	}
	found := "version " + h.Version + ", logged in as " + h.User
	switch {
	case !h.Expires.IsZero() && time.Until(h.Expires) < expiring:
		d.add(warn, "gitlab", found+"; the token ends on "+h.Expires.Format(time.DateOnly), "make a new access token with the scope api")
	case !h.ScopesKnown:
		d.add(ok, "gitlab", found+"; it does not tell the token's scopes", "")
	default:
		d.add(ok, "gitlab", found, "")
	}
	if len(c.GitLab.Projects) == 0 {
		d.add(warn, "gitlab", "no project is configured", "name those that are to be built under gitlab.projects")
	}
	for _, p := range c.GitLab.Projects {
		d.project(ctx, client, p.Path)
		d.secrets(p)
	}
}

// secrets says whether webhooks of a project can prove where they come from.
func (d *doctor) secrets(p project) {
	check := "webhook of " + p.Path
	list := d.w.config.secretsOf(p)
	if len(list) == 0 {
		d.add(bad, check, "no secret is configured, so that the daemon refuses all webhooks", "set gitlab.secret_files, or AIBUILD_GITLAB_SECRET")
	}
	for _, s := range list {
		if value, err := s.Value(); err != nil {
			d.fails(check, err, "make the file of the secret readable for the daemon's user")
		} else if value == "" {
			d.add(bad, check, "a secret is empty", "write the webhook's secret token into its file")
		}
	}
}

// secretsOf are those that speak for a project: its own, else everybody's.
func (c config) secretsOf(p project) []hooks.Secret {
	if len(p.SecretFiles) == 0 {
		return (&service{}).globalSecrets(c)
	}
	var list []hooks.Secret
	for _, file := range p.SecretFiles {
		list = append(list, hooks.Secret{Value: fileSecret(file)})
	}
	return list
}

// project says all that is wrong with a project and its webhooks.
func (d *doctor) project(ctx context.Context, client hooks.Client, path string) {
	if d.projectItself(ctx, client, path) {
		d.webhooks(ctx, client, path)
	}
}

// projectItself says all that is wrong with a project, and whether it could be read.
func (d *doctor) projectItself(ctx context.Context, client hooks.Client, path string) bool {
	check, before := "project "+path, d.failed()
	p, err := client.Project(ctx, path)
	if err != nil {
		d.gitlabFails(bad, check, err)
		return false
	}
	if p.Path != path {
		d.add(bad, check, "gitlab calls it "+p.Path, "write it so under gitlab.projects: webhooks name it like that")
	}
	if p.Archived {
		d.add(bad, check, "it is archived: no commit status can be set", "unarchive it, or take it out of gitlab.projects")
	}
	if p.Role > 0 && p.Role < hooks.RoleDeveloper {
		d.add(bad, check, "the token's owner has a lower role than Developer", "give it the role Developer: commit statuses need it")
	}
	if !p.Empty && p.DefaultBranch != "" && !p.Archived {
		d.branch(ctx, client, check, path, p.DefaultBranch)
	}
	d.mirror(ctx, client, check, path)
	if d.failed() == before {
		d.add(ok, check, "can be read by git, and its commits can be given statuses", "")
	}
	return true
}

func (d *doctor) branch(ctx context.Context, client hooks.Client, check, path, name string) {
	b, err := client.Branch(ctx, path, name)
	switch {
	case err != nil:
		d.gitlabFails(bad, check, err)
	case b.Protected && !b.MayPush:
		d.add(bad, check, fmt.Sprintf("the token's owner may not push to the protected branch %s: gitlab takes no commit status from it there", name),
			"give it the role Maintainer, or allow it to push under Settings, Repository, Protected branches")
	}
}

// mirror asks GitLab by git, as the daemon does, but in a folder of its own: what
// another user makes in the daemon's, the daemon could not use.
func (d *doctor) mirror(ctx context.Context, client hooks.Client, check, path string) {
	dir, err := os.MkdirTemp("", "aibuild-doctor-")
	if err != nil {
		d.fails(check, err, "set TMPDIR")
		return
	}
	_, err = hooks.Mirror{Dir: dir, URL: client.URL, Project: path, Token: client.Token, CAFile: d.w.config.GitLab.CAFile}.Heads(ctx)
	if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
		d.gitlabFails(bad, check, err)
	}
}

// webhooks says whether GitLab tells the daemon of pushes. That needs a higher
// role than the daemon itself, so that not to know is no failure.
func (d *doctor) webhooks(ctx context.Context, client hooks.Client, path string) {
	check := "webhook of " + path
	all, err := client.Hooks(ctx, path)
	if err != nil {
		d.gitlabFails(warn, check, err)
		return
	}
	ours := slices.DeleteFunc(slices.Clone(all), leadsElsewhere)
	if len(ours) == 0 {
		d.noWebhook(ctx, check, path, all)
		return
	}
	for _, h := range ours {
		d.webhook(ctx, client, check, path, h)
	}
}

func (d *doctor) webhook(ctx context.Context, client hooks.Client, check, path string, h hooks.ProjectHook) {
	found, before := h.URL, len(d.findings)
	if problem, fix := remedied(h.Problem(), ";"); problem != "" {
		d.add(bad, check, found+": "+problem, fix)
	}
	if want := d.hookURL(); d.w.config.PublicURL != "" && !strings.EqualFold(strings.TrimRight(h.URL, "/"), want) {
		d.add(warn, check, fmt.Sprintf("it leads to %s, and public_url to %s", h.URL, want), "correct the webhook's url, if that is not this daemon")
	}
	last, known, err := client.LastDelivery(ctx, path, h.ID)
	switch problem, fix := remedied(last.Problem(), ";"); {
	case err != nil:
		d.gitlabFails(warn, check, err)
	case problem != "":
		d.add(bad, check, fmt.Sprintf("%s: the last delivery (%s) failed: %s", found, last.At.Format(time.RFC3339), problem), fix)
	case known:
		found += fmt.Sprintf(", last delivery %s", last.At.Format(time.RFC3339))
	}
	if len(d.findings) == before {
		d.add(ok, check, found, "")
	}
}

// noWebhook is for a project whose own webhooks all lead elsewhere: one of its
// group, or of the whole instance, may do as well, which only shows in what came.
func (d *doctor) noWebhook(ctx context.Context, check, path string, others []hooks.ProjectHook) {
	if at := d.lastPush(ctx, path); !at.IsZero() {
		d.add(ok, check, "none of its own, but pushes are told: the last on "+at.UTC().Format(time.RFC3339), "")
		return
	}
	found := "there is none"
	if len(others) > 0 {
		var lead []string
		for _, h := range others {
			lead = append(lead, h.URL)
		}
		found = "none leads to the daemon, but to " + strings.Join(lead, ", ")
	}
	d.add(bad, check, found+": pushes would only be found when the branches are looked at",
		"add one under Settings, Webhooks: "+d.hookURL()+", push events and tag push events, with the secret that the daemon has; aibuild gitlab setup does it")
}

// hookURL is what to enter in GitLab.
func (d *doctor) hookURL() string {
	base := d.w.config.PublicURL
	if base == "" {
		base = "https://DAEMON:9753"
	}
	return strings.TrimRight(base, "/") + hookPath
}

// lastPush is when the newest delivery about a project came; zero for never, and
// where the database does not tell.
func (d *doctor) lastPush(ctx context.Context, path string) time.Time {
	if d.store == nil {
		return time.Time{}
	}
	events, _, err := d.store.HookEvents(ctx, lineage.HookFilter{Project: path, Limit: 100})
	for _, e := range events {
		if err == nil && (e.Event == "push" || e.Event == "tag_push") { // others are what the daemon found out itself
			return e.ReceivedAt
		}
	}
	return time.Time{}
}

// gitlabFails adds an error with its hint as the remedy, said once.
func (d *doctor) gitlabFails(status, check string, err error) {
	var failed *hooks.Error
	if !errors.As(err, &failed) {
		d.add(status, check, err.Error(), "")
		return
	}
	bare := *failed
	bare.Hint = ""
	d.add(status, check, bare.Error(), failed.Hint)
}

// remedied tells what is wrong from what to do about it, in a sentence that has
// both with a mark between them.
func remedied(text, mark string) (problem, fix string) {
	problem, fix, _ = strings.Cut(text, mark+" ")
	return problem, fix
}
