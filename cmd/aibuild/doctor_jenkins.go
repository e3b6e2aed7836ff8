package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

// jenkins asks the controller, and then about every job that would be started.
func (d *doctor) jenkins(ctx context.Context) {
	c := d.w.config
	token, err := c.secret("JENKINS_TOKEN", "", c.Jenkins.TokenFile)
	if err != nil {
		d.fails("jenkins", err, "")
		return
	}
	transport, err := c.trustJenkins()
	if err != nil {
		d.fails("jenkins", err, "")
		return
	}
	client := jenkins.Client{URL: c.env("JENKINS_URL", c.Jenkins.URL), User: c.env("JENKINS_USER", c.Jenkins.User), Token: token, Transport: transport}
	h, err := client.Check(ctx)
	if err != nil {
		d.jenkinsFails("jenkins", err)
		return
	}
	found := "version " + h.Version + ", logged in as " + h.User
	if h.QuietingDown {
		d.add(warn, "jenkins", found, "it is preparing for shutdown: builds will wait")
	} else {
		d.add(ok, "jenkins", found, "")
	}
	jobs := c.jobs()
	if len(jobs) == 0 {
		d.add(bad, "jenkins", "no job is configured", "set jenkins.job, or job of every project under gitlab.projects")
	}
	for _, j := range jobs {
		d.job(ctx, client, j)
	}
}

// jobUse is a Jenkins job with all that projects say of it.
type jobUse struct {
	path   string
	labels []string
}

// jobs are those of all projects, and the one of projects without.
func (c config) jobs() []jobUse {
	var list []jobUse
	use := func(path string, labels []string) {
		if path == "" {
			return
		}
		i := slices.IndexFunc(list, func(j jobUse) bool { return j.path == path })
		if i < 0 {
			i = len(list)
			list = append(list, jobUse{path: path})
		}
		list[i].labels = append(list[i].labels, labels...)
	}
	use(c.Jenkins.Job, nil)
	for _, p := range c.GitLab.Projects {
		path := p.Job
		if path == "" {
			path = c.Jenkins.Job
		}
		use(path, p.Labels)
	}
	return list
}

// job says all that is wrong with a job, not only the first.
func (d *doctor) job(ctx context.Context, client jenkins.Client, use jobUse) {
	check, before := "job "+use.path, d.failed()
	job, err := client.Job(ctx, use.path)
	if err != nil {
		d.jenkinsFails(check, err)
		return
	}
	if problem, fix := remedied(hooks.JobProblem(job), ":"); problem != "" {
		if job.Buildable {
			fix += "; aibuild jenkins setup does it"
		}
		d.add(bad, check, problem, fix)
	}
	rights := d.rights(ctx, client, check, use.path)
	labels := use.labels
	if job.Label != "" {
		labels = append(labels, job.Label)
	}
	slices.Sort(labels)
	labels = slices.Compact(labels)
	for _, label := range labels {
		d.label(ctx, client, check, label)
	}
	if d.failed() > before {
		return
	}
	agents := "which agents it needs is not known here: name their labels by gitlab.projects: labels"
	if len(labels) > 0 {
		agents = "there are agents with " + strings.Join(labels, ", ")
	}
	d.add(ok, check, "can be built, declares what is needed; "+rights+"; "+agents, "")
}

// rights asks for the permissions that running builds needs, and says which of
// them could be asked for.
func (d *doctor) rights(ctx context.Context, client jenkins.Client, check, path string) string {
	var sure, unsure []string
	for _, right := range []struct {
		name string
		may  func(context.Context, string) (bool, error)
	}{{"Job/Build", client.MayStart}, {"Job/Cancel", client.MayCancel}} {
		known, err := right.may(ctx, path)
		switch {
		case err != nil:
			d.jenkinsFails(check, err)
		case known:
			sure = append(sure, right.name)
		default:
			unsure = append(unsure, right.name)
		}
	}
	var said []string
	if len(sure) > 0 {
		said = append(said, "granted: "+strings.Join(sure, ", "))
	}
	if len(unsure) > 0 {
		said = append(said, "jenkins does not tell about "+strings.Join(unsure, " and "))
	}
	return strings.Join(said, ", ")
}

func (d *doctor) label(ctx context.Context, client jenkins.Client, check, name string) {
	label, err := client.Label(ctx, name)
	switch {
	case err != nil:
		d.jenkinsFails(check, err)
	case len(label.Agents) == 0 && label.Clouds == 0:
		d.add(bad, check, fmt.Sprintf("no agent has the label %s: its builds would wait for ever", name),
			"give the label to an agent (Manage Jenkins, Nodes), or correct the label")
	case label.Executors == 0 && label.Clouds == 0:
		d.add(bad, check, fmt.Sprintf("no agent with the label %s is online: %s", name, strings.Join(label.Agents, ", ")),
			"start the agent, or give it executors")
	}
}

// failed counts what is wrong so far.
func (d *doctor) failed() int {
	n := 0
	for _, f := range d.findings {
		if f.Status == bad {
			n++
		}
	}
	return n
}

// jenkinsFails adds an error with its hint as the remedy, said once.
func (d *doctor) jenkinsFails(check string, err error) {
	var failed *jenkins.Error
	if !errors.As(err, &failed) {
		d.fails(check, err, "")
		return
	}
	bare := *failed
	bare.Hint = ""
	d.fails(check, &bare, failed.Hint)
}
