package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// jenkinsFlags is the command line of the Jenkins stand-in.
type jenkinsFlags struct {
	options                      jenkinstest.Options
	jobs, parameters, nodes, env texts
	jobsFile, user, tokenFile    string
	adopt                        string
	kind, label                  string
	unstable                     int
	quiet                        time.Duration
	clean, verbose               bool
}

func (j *jenkinsFlags) add(f *flag.FlagSet) {
	o := &j.options
	f.StringVar(&o.Profile, "profile", jenkinstest.ProfileCurrent, "`version` to be: "+jenkinstest.Profile2300+" or "+jenkinstest.ProfileCurrent)
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "`address` to listen at")
	f.StringVar(&o.Context, "context", "", "`path` below which Jenkins is")
	f.StringVar(&o.RootURL, "root-url", "", "`URL` that Jenkins is configured with; empty means where it listens")
	f.StringVar(&o.Home, "home", "", "`folder` that is kept and used again; empty means one that is removed")
	f.IntVar(&o.Executors, "executors", 2, "executors of the built-in node; negative means none")
	f.DurationVar(&j.quiet, "quiet-period", 0, "of jobs without their own")
	f.Var(&j.nodes, "node", "agent, as `NAME:LABEL,LABEL:EXECUTORS`; may be repeated")
	f.StringVar(&j.user, "user", jenkinstest.DefaultUser, "`name` of the user who may do everything")
	f.StringVar(&j.tokenFile, "token-file", "", "`file` with the user's API token; empty means a known one, which is printed")
	f.Var(&j.jobs, "job", "job, as `PATH=COMMANDFILE`: the file holds the script; may be repeated")
	f.Var(&j.parameters, "parameter", "parameter of every --job, as `NAME` or NAME=DEFAULT; may be repeated")
	f.StringVar(&j.kind, "kind", string(jenkinstest.Freestyle), "of every --job: "+string(jenkinstest.Freestyle)+" or "+string(jenkinstest.Pipeline))
	f.StringVar(&j.label, "label", "", "of nodes that every --job wants")
	f.IntVar(&j.unstable, "unstable-return", 0, "exit `code` of every --job, and of --adopt, that means UNSTABLE")
	f.BoolVar(&j.clean, "clean", false, "empty the workspace before each build of every --job, and of --adopt")
	f.StringVar(&j.adopt, "adopt", "", "`file` with the script that runs in place of the Groovy of pipelines that somebody makes, which it finds in $PIPELINE_SCRIPT")
	f.StringVar(&j.jobsFile, "jobs", "", "`file` with a JSON list of jobs, with the fields of jenkinstest.Job")
	f.Var(&j.env, "env", "`NAME` of a variable of this program that builds find too; may be repeated")
	f.BoolVar(&j.verbose, "verbose", false, "say on stderr what goes wrong inside")
}

// runJenkins runs until it is told to end.
func runJenkins(w world, args []string) error {
	f, l := w.flags("jenkins")
	var j jenkinsFlags
	j.add(f)
	if err := parse(f, args); err != nil {
		return err
	}
	jobs, token, err := j.complete(w)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	server, err := jenkinstest.Start(j.options)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		if err := server.AddJob(job); err != nil {
			return errors.Join(err, server.Close())
		}
	}
	ready := map[string]string{"url": server.URL(), "user": j.user, "control": server.URL() + jenkinstest.ControlPath}
	if j.tokenFile == "" {
		ready["token"] = token
	}
	return errors.Join(w.wait(l, ready), server.Close())
}

// complete makes options and jobs of what the flags say.
func (j *jenkinsFlags) complete(w world) (jobs []jenkinstest.Job, token string, err error) {
	o := &j.options
	o.Control = true
	if o.QuietPeriod = j.quiet; j.quiet == 0 {
		o.QuietPeriod = -1
	}
	if o.Executors == 0 {
		o.Executors = -1
	}
	if j.verbose {
		o.Log = hclog.New(&hclog.LoggerOptions{Name: "jenkins", Output: w.stderr})
	}
	token = jenkinstest.DefaultToken
	if j.tokenFile != "" {
		text, err := os.ReadFile(j.tokenFile)
		if err != nil {
			return nil, "", err
		}
		if token = strings.TrimSpace(string(text)); token == "" {
			return nil, "", fmt.Errorf("--token-file %s is empty", j.tokenFile)
		}
	}
	o.Users = []jenkinstest.User{{Name: j.user, Token: token, Admin: true}}
	if err := j.addNodes(); err != nil {
		return nil, "", err
	}
	if err := j.addEnviron(); err != nil {
		return nil, "", err
	}
	if err := j.addAdopted(); err != nil {
		return nil, "", err
	}
	jobs, err = j.makeJobs()
	return jobs, token, err
}

func (j *jenkinsFlags) addNodes() error {
	for _, text := range j.nodes {
		parts := strings.Split(text, ":")
		n := jenkinstest.Node{Name: parts[0]}
		if len(parts) > 1 && parts[1] != "" {
			n.Labels = strings.Split(parts[1], ",")
		}
		if len(parts) > 2 {
			executors, err := strconv.Atoi(parts[2])
			if err != nil || executors < 1 {
				return fmt.Errorf("--node %s: executors are a number from 1", text)
			}
			n.Executors = executors
		}
		if n.Name == "" || len(parts) > 3 {
			return fmt.Errorf("--node %q: write NAME:LABEL,LABEL:EXECUTORS", text)
		}
		j.options.Nodes = append(j.options.Nodes, n)
	}
	return nil
}

func (j *jenkinsFlags) addEnviron() error {
	for _, name := range j.env {
		value, there := os.LookupEnv(name)
		if !there {
			return fmt.Errorf("--env %s: there is no such variable", name)
		}
		j.options.Extra = append(j.options.Extra, name+"="+value)
	}
	return nil
}

// addAdopted says what pipelines run that come while the stand-in runs.
func (j *jenkinsFlags) addAdopted() error {
	if j.adopt == "" {
		return nil
	}
	command, err := os.ReadFile(j.adopt)
	if err != nil {
		return fmt.Errorf("--adopt: %w", err)
	}
	j.options.Adopted = jenkinstest.Job{Command: string(command), Clean: j.clean, UnstableReturn: j.unstable}
	return nil
}

func (j *jenkinsFlags) makeJobs() ([]jenkinstest.Job, error) {
	var jobs []jenkinstest.Job
	if j.jobsFile != "" {
		text, err := os.ReadFile(j.jobsFile)
		if err != nil {
			return nil, err
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&jobs); err != nil {
			return nil, fmt.Errorf("--jobs %s: %w", j.jobsFile, err)
		}
	}
	var parameters []jenkinstest.Parameter
	for _, text := range j.parameters {
		name, value, _ := strings.Cut(text, "=")
		parameters = append(parameters, jenkinstest.Parameter{Name: name, Default: value})
	}
	for _, text := range j.jobs {
		path, file, found := strings.Cut(text, "=")
		if !found {
			return nil, fmt.Errorf("--job %s: write PATH=COMMANDFILE", text)
		}
		command, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("--job %s: %w", text, err)
		}
		jobs = append(jobs, jenkinstest.Job{Path: path, Kind: jenkinstest.Kind(j.kind), Label: j.label, Command: string(command),
			Clean: j.clean, Parameters: parameters, UnstableReturn: j.unstable})
	}
	return jobs, nil
}
