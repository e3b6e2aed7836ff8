package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

// settings are what the daemon reads again at SIGHUP.
type settings struct {
	watched []hooks.Watched
	secrets []hooks.Secret
}

// configure makes settings of a configuration.
func (s *service) configure(c config) error {
	token, err := c.secret("GITLAB_TOKEN", "", c.GitLab.TokenFile)
	if err != nil {
		return err
	}
	next := &settings{secrets: s.globalSecrets(c)}
	url := c.env("GITLAB_URL", c.GitLab.URL)
	for _, p := range c.GitLab.Projects {
		policy, err := p.policy()
		if err != nil {
			return err
		}
		rules := hooks.Rules{Refs: p.Refs, NewBranch: hooks.Scope(p.NewBranch)}
		if len(p.Tags) > 0 {
			rules.Tags = hooks.ScopeChanged
		}
		next.watched = append(next.watched, hooks.Watched{
			Mirror: hooks.Mirror{Dir: filepath.Join(s.data, "mirrors"), URL: url, Project: p.Path, Token: token, Log: s.log.Named("mirror")},
			Rules:  rules, Tags: p.Tags, Job: p.Job, Policy: policy,
		})
		for _, file := range p.SecretFiles {
			next.secrets = append(next.secrets, hooks.Secret{Project: p.Path, Value: fileSecret(file)})
		}
	}
	s.settings.Store(next)
	return nil
}

// globalSecrets are those of every project that has none of its own.
func (s *service) globalSecrets(c config) []hooks.Secret {
	var list []hooks.Secret
	for value := range strings.SplitSeq(c.getenv("AIBUILD_GITLAB_SECRET"), ",") {
		if value = strings.TrimSpace(value); value != "" {
			list = append(list, hooks.Secret{Value: func() (string, error) { return value, nil }})
		}
	}
	files := c.GitLab.SecretFiles
	if f := c.getenv("AIBUILD_GITLAB_SECRET_FILE"); f != "" {
		files = strings.Split(f, ",")
	}
	if s.dev && len(list)+len(files) == 0 {
		files = []string{filepath.Join(s.data, "hook-secret")}
	}
	for _, file := range files {
		list = append(list, hooks.Secret{Value: fileSecret(strings.TrimSpace(file))})
	}
	return list
}

// fileSecret reads a secret when it is used: it may have been changed.
func fileSecret(path string) func() (string, error) {
	return func() (string, error) {
		b, err := os.ReadFile(path)
		return strings.TrimSpace(string(b)), err
	}
}

// makeDevSecrets makes the webhook secret that nobody has configured, and says
// only where it is.
func (s *service) makeDevSecrets() error {
	path := filepath.Join(s.data, "hook-secret")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	secret := make([]byte, 24)
	if _, err := rand.Read(secret); err != nil {
		return err
	}
	if err := renameio.WriteFile(path, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
		return err
	}
	fmt.Fprintf(s.w.stderr, "aibuild: the webhook's secret is in %s\n", path)
	return nil
}

// makeDevToken makes an administrator's token where there is none, and says only
// where it is.
func (s *service) makeDevToken(ctx context.Context) error {
	path := filepath.Join(s.data, "admin-token")
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	token, hash := api.NewToken()
	if err := renameio.WriteFile(path, []byte(string(token)+"\n"), 0o600); err != nil {
		return err
	}
	_, err := s.store.CreateToken(ctx, lineage.Token{Name: "dev-admin", Role: api.RoleAdmin, CreatedBy: actor(), ExpiresAt: time.Now().Add(api.DefaultExpiry)}, hash)
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	fmt.Fprintf(s.w.stderr, "aibuild: an administrator's token is in %s\n", path)
	return nil
}

// assemble puts the daemon together.
func (s *service) assemble() error {
	c := s.w.config
	s.handler = &hooks.Handler{
		Inbox: s.store, Spool: s.spool, GitLabURL: c.env("GITLAB_URL", c.GitLab.URL), Log: s.log.Named("hooks"),
		Secrets: func() []hooks.Secret { return s.settings.Load().secrets },
		Known:   s.known,
	}
	owner, err := ownerName()
	if err != nil {
		return err
	}
	s.dispatcher = &hooks.Dispatcher{
		Store: s.store, Projects: func() []hooks.Watched { return s.settings.Load().watched }, Owner: owner, Log: s.log.Named("dispatcher"),
		Job: c.Jenkins.Job, MaxPerJob: c.Jenkins.MaxPerJob, MaxRuns: c.Jenkins.MaxRuns, StatusURL: c.PublicURL,
		LogDir: filepath.Join(s.data, "logs"), Before: s.chores(),
	}
	s.handler.Woken = s.dispatcher.Wake
	logs := filepath.Join(s.data, "logs")
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return err
	}
	if s.api, err = api.New(api.Config{
		Store: s.store, Caps: s.caps,
		Logs: os.DirFS(logs), Parts: s.parts, OpenPages: s.dev, Version: version, Stats: s.stats, Log: s.log.Named("api"),
	}); err != nil {
		return err
	}
	s.w.closers = append(s.w.closers, s.api.Close)
	if s.dispatcher.Jenkins, err = c.jenkinsClient(); err != nil {
		return err
	}
	s.dispatcher.GitLab, err = c.gitlabClient()
	return err
}

// ownerName names this process among all daemons on the database.
func ownerName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), id), nil
}

// caps is what the definitions of a project may ask for, as configured now.
func (s *service) caps(project string) (definition.Policy, error) {
	for _, p := range s.settings.Load().watched {
		if p.Mirror.Project == project {
			return p.Policy, nil
		}
	}
	return definition.Policy{Project: project}, nil
}

func (s *service) known(project string) bool {
	for _, p := range s.settings.Load().watched {
		if p.Mirror.Project == project {
			return true
		}
	}
	return false
}

// jenkinsClient is nil where no Jenkins is configured.
func (c config) jenkinsClient() (*jenkins.Client, error) {
	url := c.env("JENKINS_URL", c.Jenkins.URL)
	if url == "" {
		return nil, nil
	}
	token, err := c.secret("JENKINS_TOKEN", "", c.Jenkins.TokenFile)
	if err != nil {
		return nil, err
	}
	return &jenkins.Client{URL: url, User: c.env("JENKINS_USER", c.Jenkins.User), Token: token, Slots: make(chan struct{}, 4)}, nil
}

// gitlabClient is nil where no GitLab, or no token for it, is configured.
func (c config) gitlabClient() (*hooks.Client, error) {
	url := c.env("GITLAB_URL", c.GitLab.URL)
	token, err := c.secret("GITLAB_TOKEN", "", c.GitLab.TokenFile)
	if err != nil || url == "" || token == "" {
		return nil, err
	}
	return &hooks.Client{URL: url, Token: token}, nil
}

// chores are done at the begin of a pass: what was spooled comes first, and now
// and then what others wrote, and what could not be recorded.
func (s *service) chores() func(context.Context) error {
	var adopted, expired time.Time
	return func(ctx context.Context) error {
		_, err := s.spool.Drain(ctx, s.store)
		if time.Since(adopted) > time.Minute {
			adopted = time.Now()
			_, adoptErr := s.store.AdoptForeign(ctx)
			err = errors.Join(err, adoptErr, s.deliver(ctx))
		}
		if time.Since(expired) > time.Hour {
			expired = time.Now()
			_, expireErr := s.store.ExpirePayloads(ctx, payloadsFor, 1000)
			err = errors.Join(err, expireErr)
		}
		return err
	}
}

// payloadsFor is how long the bodies of deliveries are kept.
const payloadsFor = 30 * 24 * time.Hour

// deliver records what builds on this machine, or with its web root, could not.
func (s *service) deliver(ctx context.Context) error {
	if s.site == nil {
		site, err := s.w.site(ctx, s.log)
		if err != nil {
			return err
		}
		s.site = site
	}
	p := &aibuild.Pipeline{Site: s.site, DataDir: s.data, Recorder: s.store, Actor: lineage.ChannelDaemon, Channel: lineage.ChannelDaemon, Log: s.log}
	_, err := p.Deliver(ctx)
	return err
}
