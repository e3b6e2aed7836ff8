package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// client is the server that AIBUILD_SERVER names; nil where none is named.
func (w *world) client(c *cli.Context) (*api.Client, error) { return w.clientOf(c, "", api.Build{}) }

// jobClient is client for what records: a Jenkins job says with every record
// which build it is, and of which run.
func (w *world) jobClient(c *cli.Context) (*api.Client, error) {
	run := w.given(c, "run-id", "AIBUILD_RUN_ID")
	if t, err := ticketOf(c); err != nil {
		return nil, err
	} else if t != nil {
		run = t.RunID
	}
	return w.clientOf(c, run, w.jenkinsBuild())
}

func (w *world) clientOf(c *cli.Context, run string, build api.Build) (*api.Client, error) {
	address := w.getenv("AIBUILD_SERVER")
	if address == "" {
		return nil, nil
	}
	token, err := w.config.secret("AIBUILD_TOKEN", "", "")
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, usagef("AIBUILD_SERVER is set, but no token for it: set AIBUILD_TOKEN, or AIBUILD_TOKEN_FILE to a file that " +
			"holds it; an administrator makes one with: aibuild token create")
	}
	client := &api.Client{
		URL: address, Token: api.Secret(token), CAFile: w.getenv("AIBUILD_CA_FILE"),
		RunID: run, Build: build, Version: version, Log: w.logger(c).Named("api"),
	}
	err = client.Check()
	if plain, ok := errors.AsType[*api.Plaintext](err); ok {
		if !w.warned {
			w.warned = true
			fmt.Fprintf(w.stderr, "aibuild: warning: %v\n", plain)
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, client.Close)
	return client, nil
}

// jenkinsBuild is the Jenkins build that we run in, if we do.
func (w *world) jenkinsBuild() api.Build {
	number, err := strconv.ParseInt(w.getenv("BUILD_NUMBER"), 10, 64)
	job := w.getenv("JOB_NAME")
	if w.getenv("JENKINS_URL") == "" || job == "" || err != nil || number < 1 {
		return api.Build{}
	}
	return api.Build{Job: job, Number: number, Tag: w.getenv("BUILD_TAG"), URL: w.getenv("BUILD_URL")}
}

// remote is a server as a Recorder.
type remote struct{ client *api.Client }

func (r remote) Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error) {
	return r.client.Resolve(ctx, q)
}

func (r remote) Record(ctx context.Context, records ...lineage.Record) error {
	return refusal(r.client.Record(ctx, records...))
}

func (r remote) Lock(ctx context.Context, name string, wait time.Duration) (func() error, error) {
	unlock, err := r.client.Lock(ctx, name, wait)
	return unlock, refusal(err)
}

// refusal makes what the token may not do the gate that it is: a record that
// this token may not write is not kept to be sent again and again.
func refusal(err error) error {
	denied, ok := errors.AsType[*api.Denied](err)
	if !ok || denied.Code == api.CodeUnauthorized || denied.Code == api.CodeVersion {
		return err
	}
	return &aibuild.Refused{
		Image: "the server", Rule: "a token's role and projects say what it may record", Found: denied.Detail,
		Next: "use a token that may do this (AIBUILD_TOKEN), or ask an administrator for one",
	}
}

// ready asks the server for something small: what is wrong with address or
// token is told before an image is built for an hour.
func (r remote) ready(ctx context.Context) error {
	_, _, err := r.client.Runs(ctx, lineage.RunFilter{Limit: 1})
	return err
}

// rules are what the server lets projects do. While it is away the last answer
// counts, else what this machine's own configuration says of the project; it is
// never taken for granted that a release is allowed.
type rules struct {
	ctx    context.Context
	client *api.Client
	local  config

	mu    sync.Mutex
	known map[string]definition.Policy
}

func (r *rules) policy(project string) (definition.Policy, error) {
	if project == "" {
		return definition.Policy{}, nil // belongs to nobody: there is no rule for it
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	caps, err := r.client.Caps(r.ctx, project)
	if err == nil {
		r.known[project] = caps.Policy(project)
		return r.known[project], nil
	}
	if _, away := errors.AsType[*lineage.Unavailable](err); away {
		if last, ok := r.known[project]; ok {
			return last, nil
		}
		for _, p := range r.local.GitLab.Projects {
			if p.Path == project {
				return p.policy()
			}
		}
	}
	return definition.Policy{}, fmt.Errorf("what %s may do: %w", project, refusal(err))
}

// judgeServer gives what only a server can be wrong with its exit code.
func judgeServer(err error) (code int, blame string) {
	if denied, ok := errors.AsType[*api.Denied](err); ok && denied.Code != api.CodeUnauthorized && denied.Code != api.CodeVersion {
		return aibuild.CodeRefused, lineage.BlameRule
	} else if ok {
		return aibuild.CodeUsage, lineage.BlameUser
	}
	if _, ok := errors.AsType[*api.NotAServer](err); ok {
		return aibuild.CodeUsage, lineage.BlameUser
	}
	return judgeNeighbour(err)
}

// record chooses where the pipeline records: the server, else the database.
func (w *world) record(c *cli.Context, p *aibuild.Pipeline, log hclog.Logger) error {
	client, err := w.jobClient(c)
	if err != nil {
		return err
	}
	if client == nil {
		r := &recorder{open: func(ctx context.Context) (*lineage.Store, error) { return w.store(ctx, log) }}
		p.Recorder, p.Policy = r, w.config.policy
		_, err = r.get(c.Context)
	} else {
		r := remote{client}
		rules := &rules{ctx: c.Context, client: client, local: w.config, known: map[string]definition.Policy{}}
		p.Recorder, p.Policy = r, rules.policy
		err = r.ready(c.Context)
	}
	if _, away := errors.AsType[*lineage.Unavailable](err); away {
		fmt.Fprintf(w.stderr, "aibuild: %v; going on: what happens is journalled and recorded later\n", err)
		return nil
	}
	return err
}
