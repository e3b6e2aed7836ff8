package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

func (w *world) gitlabCommand() *cli.Command {
	return &cli.Command{
		Name: "gitlab", Usage: "the GitLab that tells of pushes",
		Subcommands: []*cli.Command{{
			Name: "setup", Usage: "add the webhook to every project of the configuration, or bring it up to date, and try it out",
			Description: "It asks GITLAB_URL with GITLAB_SETUP_TOKEN or GITLAB_SETUP_TOKEN_FILE, else with the daemon's own token: of a member with the\n" +
				"role Maintainer, with the scope api. The webhook gets the daemon's secret, or signs with it if it starts whsec_, push and\n" +
				"tag push events and no others. The daemon is to run: GitLab makes a test delivery, which is a push of the newest commits\n" +
				"of the default branch. A daemon that has never heard of the project may begin to build these.",
			Flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "project", Usage: "only `PROJECT`, such as group/images (repeatable)"},
				&cli.StringFlag{Name: "hook-url", Usage: "`ADDRESS` at which GitLab reaches the daemon, with " + hookPath + " (public_url" + hookPath + ")"},
				&cli.BoolFlag{Name: "no-test", Usage: "make no test delivery"},
				dryRunFlag(), outputFlag(),
			},
			Action: w.gitlabSetup,
		}},
	}
}

func (w *world) gitlabSetup(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	address, err := w.hookAddress(c)
	if err != nil {
		return err
	}
	projects, err := w.setupProjects(c)
	if err != nil {
		return err
	}
	client, err := w.setupGitLab()
	if err != nil {
		return err
	}
	if _, err := client.Check(c.Context); err != nil {
		return err
	}
	r, d := &setupReport{}, &doctor{w: w, c: c}
	for _, p := range projects {
		if err := w.setUpHook(c, client, p, address, d, r); err != nil {
			r.Checks = d.findings
			return errors.Join(err, w.printDone(c, r))
		}
	}
	r.Checks = d.findings
	w.todoOfGitLab(c, address, r)
	return w.printSetup(c, r)
}

// hookAddress is where GitLab is to deliver.
func (w *world) hookAddress(c *cli.Context) (string, error) {
	address, from := c.String("hook-url"), "--hook-url"
	if address == "" && w.config.PublicURL != "" {
		address, from = strings.TrimRight(w.config.PublicURL, "/")+hookPath, "public_url"
	}
	if address == "" {
		return "", usagef("aibuild gitlab setup: where does GitLab reach the daemon? set public_url in the configuration, or give --hook-url")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" ||
		!strings.HasSuffix(strings.TrimRight(u.Path, "/"), hookPath) {
		return "", usagef("%s: it is to be like https://aibuild.example.org:9753%s, without user, password and query", from, hookPath)
	}
	return address, nil
}

// setupProjects are those that are named, with what the configuration says of
// them, else all of it.
func (w *world) setupProjects(c *cli.Context) ([]project, error) {
	all, named := w.config.GitLab.Projects, c.StringSlice("project")
	if len(named) == 0 {
		if len(all) == 0 {
			return nil, usagef("aibuild gitlab setup: no project is configured; name those that are to be built under gitlab.projects")
		}
		return all, nil
	}
	var list []project
	for _, path := range named {
		i := slices.IndexFunc(all, func(p project) bool { return p.Path == path })
		if i < 0 {
			return nil, usagef("--project %s: it is not under gitlab.projects, so that the daemon would ignore its pushes; write it there first", path)
		}
		list = append(list, all[i])
	}
	return list, nil
}

// setupGitLab is GitLab with a token that may do more than the daemon's.
func (w *world) setupGitLab() (hooks.Client, error) {
	token, err := w.config.secret("GITLAB_SETUP_TOKEN", "", "")
	if err == nil && token == "" {
		token, err = w.config.secret("GITLAB_TOKEN", "", w.config.GitLab.TokenFile)
	}
	if err == nil && token == "" {
		err = usagef("aibuild gitlab setup needs an access token with the scope api of a Maintainer: set GITLAB_SETUP_TOKEN_FILE")
	}
	if err != nil {
		return hooks.Client{}, err
	}
	transport, err := w.config.trustGitLab()
	return hooks.Client{URL: w.config.env("GITLAB_URL", w.config.GitLab.URL), Token: token, Transport: transport}, err
}

// hookSecret is the one of a project's secrets that its webhook gets: a signing
// key if there is one, as the daemon then takes nothing else.
func (w *world) hookSecret(p project) (string, error) {
	chosen := ""
	for _, s := range w.config.secretsOf(p) {
		value, err := s.Value()
		if err != nil {
			return "", usagef("the webhook's secret of %s: %v; make its file readable for this user", p.Path, err)
		}
		if chosen == "" || strings.HasPrefix(value, "whsec_") && !strings.HasPrefix(chosen, "whsec_") {
			chosen = value
		}
	}
	if chosen == "" {
		return "", usagef("no webhook's secret is configured for %s: write random letters into a file and name it in gitlab.secret_files "+
			"(with GitLab 19: whsec_ and the output of openssl rand -base64 32)", p.Path)
	}
	return chosen, nil
}

// setUpHook plans and does what a project needs, tries it out, and says so.
func (w *world) setUpHook(c *cli.Context, client hooks.Client, p project, address string, d *doctor, r *setupReport) error {
	secret, err := w.hookSecret(p)
	if err != nil {
		return err
	}
	plan, err := client.PlanHook(c.Context, p.Path, hooks.HookSpec{URL: address, Secret: secret})
	if err != nil {
		return err
	}
	what := "webhook of " + p.Path
	planned, done := wouldChange, isChanged
	switch {
	case plan.ID == 0:
		planned, done = wouldMake, isMade
	case len(plan.Changes) == 0:
		planned, done = isUnchanged, isUnchanged
	}
	for _, other := range plan.Twice {
		d.add(warn, what, "there is another one to "+other+": every push comes twice", "delete one of them in the project's webhook settings")
	}
	for _, other := range plan.Astray {
		d.add(warn, what, "another one leads to "+other, "delete it in the project's webhook settings, if no daemon is there any more")
	}
	if c.Bool("dry-run") {
		r.did(what, planned, hookDiff(what, plan, secret))
		return nil
	}
	id, err := client.ApplyHook(c.Context, plan)
	if err != nil {
		return err
	}
	r.did(what, done, "")
	d.daemonsProject(c.Context, p)
	if !c.Bool("no-test") {
		d.tryHook(c.Context, client, p.Path, id)
	}
	return nil
}

// daemonsProject looks at a project as the daemon will.
func (d *doctor) daemonsProject(ctx context.Context, p project) {
	check := "project " + p.Path
	client, err := d.w.config.gitlabClient()
	switch {
	case err != nil:
		d.fails(check, err, "")
		return
	case client == nil:
		d.add(warn, check, "what the daemon may do is not known", "set GITLAB_TOKEN_FILE, or gitlab.token_file, to its own, and run it again")
		return
	}
	if !d.projectItself(ctx, *client, p.Path) || len(p.Release.Refs) > 0 {
		return
	}
	refs, err := client.ReleaseRefs(ctx, p.Path)
	if err != nil {
		d.gitlabFails(bad, check, err)
	} else if strings.Contains(strings.Join(refs, ""), "(") { // why none may
		d.add(warn, check, "nothing can be released yet: only from "+strings.Join(refs, ", "), "protect its default branch (Settings, Repository), or name refs under release.refs")
	}
}

// tryHook lets GitLab deliver something, and says what became of it.
func (d *doctor) tryHook(ctx context.Context, client hooks.Client, path string, id int) {
	check := "webhook of " + path
	made, known, err := client.TestHook(ctx, path, id)
	if err != nil {
		d.gitlabFails(bad, check, err)
		return
	}
	if !known {
		d.add(warn, check, "gitlab makes no test delivery by its api before version 16.11", "press Test, Push events in the project's webhook settings")
		return
	}
	if problem, fix := remedied(made.Problem(), ";"); problem != "" {
		d.add(bad, check, "the test delivery failed: "+problem, fix)
		return
	}
	reason := made.Ignored()
	if reason == "" {
		d.add(ok, check, "the daemon took a test delivery ("+made.Status+")", "")
		return
	}
	if p, err := client.Project(ctx, path); err == nil && p.Empty { // GitLab's sample is then of another project
		d.add(ok, check, "a test delivery arrived ("+made.Status+"); there is no commit yet that it could tell of", "")
		return
	}
	d.add(bad, check, "the daemon ignored the test delivery: "+reason, "correct gitlab.projects in the daemon's configuration, and let it read that (SIGHUP)")
}

// hookDiff shows settings as lines, but never the secret.
func hookDiff(what string, plan hooks.HookPlan, secret string) string {
	var before, after strings.Builder
	for _, s := range plan.Changes {
		if plan.ID != 0 {
			fmt.Fprintf(&before, "%s: %s\n", s.Name, s.Have)
		}
		fmt.Fprintf(&after, "%s: %s\n", s.Name, s.Want)
	}
	name := "secret token"
	if strings.HasPrefix(secret, "whsec_") {
		name = "signing token"
	}
	after.WriteString(name + ": set to the daemon's; gitlab shows none\n")
	from := what
	if plan.ID == 0 {
		from = "/dev/null"
	}
	return unified(from, what, before.String(), after.String())
}

// todoOfGitLab says what only a person can do.
func (w *world) todoOfGitLab(c *cli.Context, address string, r *setupReport) {
	if u, err := url.Parse(address); err == nil && local(u.Hostname()) {
		r.Todo = append(r.Todo, "let GitLab call "+u.Host+": Admin area, Settings, Network, Outbound requests, \"Allow requests to the local network from webhooks and integrations\"")
	}
	if strings.HasPrefix(address, "http://") {
		r.Todo = append(r.Todo, "the webhook is not https: give the daemon a certificate (tls), or put a proxy with TLS before it; a secret token is sent in clear, a signing token is not")
	}
	if c.Bool("no-test") || c.Bool("dry-run") {
		r.Todo = append(r.Todo, "start the daemon, and press Test, Push events in the project's webhook settings, or run this again without --no-test or --dry-run")
	}
}

// local says whether an address is one that GitLab does not call without leave.
func local(host string) bool {
	if host == "localhost" || !strings.Contains(host, ".") && net.ParseIP(host) == nil {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && (ip.IsLoopback() || ip.IsPrivate() || ip.IsLinkLocalUnicast())
}
