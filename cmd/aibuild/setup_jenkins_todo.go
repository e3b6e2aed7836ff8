package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/jenkins"
)

// neededPlugins are those of the shared library and of the job, with an id of
// each of their parts; where several may do, they are separated by a bar.
var neededPlugins = []struct {
	name string
	ids  []string
}{
	{"Pipeline", []string{"workflow-job", "workflow-cps", "workflow-basic-steps", "workflow-durable-task-step", "pipeline-stage-step", "pipeline-groovy-lib|workflow-cps-global-lib"}},
	{"Folders", []string{"cloudbees-folder"}},
	{"Credentials Binding", []string{"credentials-binding"}},
	{"JUnit", []string{"junit"}},
	{"Git", []string{"git"}},
}

// todoOfJenkins says what only a person can do, without what is seen to be done.
func (w *world) todoOfJenkins(c *cli.Context, client jenkins.Client, s jenkins.Spec, r *setupReport) {
	folder := s.Path[:strings.LastIndexByte(s.Path, '/')]
	if todo := pluginsTodo(c.Context, client); todo != "" {
		r.Todo = append(r.Todo, todo)
	}
	if todo := labelTodo(c.Context, client, c.String("label")); todo != "" {
		r.Todo = append(r.Todo, todo)
	}
	r.Todo = append(r.Todo,
		fmt.Sprintf("in the folder %s, add the credentials aibuild-token (Secret text): what `aibuild token create agents --role recorder --project GROUP/PROJECT` prints; and aibuild-clouds (Secret file): the clouds.yaml with which images are released", folder),
		"set AIBUILD_SERVER (the daemon's address), AIBUILD_WEB_ROOT and AIBUILD_WEB_URL in the environment of the agents; on them are aibuild, Packer, QEMU and git",
		"for projects and a library that are not public: a git credential helper with a read-only deploy token on the agents; for the library --library-credentials")
	if user := w.config.env("JENKINS_USER", w.config.Jenkins.User); user == "" || slices.ContainsFunc(r.Checks, func(f finding) bool { return f.Status != ok }) || c.Bool("dry-run") {
		r.Todo = append(r.Todo, fmt.Sprintf("make a user of Jenkins for the daemon, with an api token, Overall/Read and, on the folder %s, Job/Read, Job/Build and Job/Cancel (--print permissions)", folder))
	}
	if len(w.config.jobs()) == 0 {
		r.Todo = append(r.Todo, "write jenkins.job: "+s.Path+" into the configuration of the daemon")
	}
}

func pluginsTodo(ctx context.Context, client jenkins.Client) string {
	have, err := client.Plugins(ctx)
	var all, missing []string
	for _, needed := range neededPlugins {
		all = append(all, needed.name)
		for _, ids := range needed.ids {
			if !slices.ContainsFunc(strings.Split(ids, "|"), func(id string) bool { return slices.Contains(have, id) }) {
				missing = append(missing, fmt.Sprintf("%s (%s)", needed.name, ids))
				break
			}
		}
	}
	switch {
	case err != nil: // most users may not see them
		return "see that the plugins " + strings.Join(all, ", ") + " are installed: this user may not list them"
	case len(missing) > 0:
		return "install the plugins that are missing: " + strings.Join(missing, ", ")
	}
	return ""
}

func labelTodo(ctx context.Context, client jenkins.Client, name string) string {
	label, err := client.Label(ctx, name)
	switch {
	case err != nil:
		return fmt.Sprintf("give the label %s to agents that can build; whether one has it is not known: %v", name, err)
	case len(label.Agents) == 0 && label.Clouds == 0:
		return fmt.Sprintf("give the label %s to agents that can build: none has it", name)
	case label.Executors == 0 && label.Clouds == 0:
		return fmt.Sprintf("start an agent with the label %s: %s is offline, or has no executors", name, strings.Join(label.Agents, ", "))
	}
	return ""
}
