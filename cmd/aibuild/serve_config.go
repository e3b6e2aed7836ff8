package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/api"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

// settings are what the daemon reads again at SIGHUP.
type settings struct {
	config  config
	watched []hooks.Watched
	secrets []hooks.Secret
	clients hooks.Clients
	cert    *tls.Certificate // nil without TLS
}

// project is what is configured of a project, by its path.
func (s *settings) project(path string) (p hooks.Watched, known bool) {
	i := slices.IndexFunc(s.watched, func(p hooks.Watched) bool { return p.Mirror.Project == path })
	if i < 0 {
		return hooks.Watched{}, false
	}
	return s.watched[i], true
}

// configure makes settings of a configuration, all or none.
func (s *service) configure(c config) error {
	next := &settings{config: c, secrets: s.globalSecrets(c)}
	token, err := c.secret("GITLAB_TOKEN", "", c.GitLab.TokenFile)
	if err != nil {
		return err
	}
	if next.cert, err = c.certificate(); err != nil {
		return err
	}
	if next.clients, err = c.clients(); err != nil {
		return err
	}
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
			Mirror: hooks.Mirror{
				Dir: filepath.Join(s.data, "mirrors"), URL: url, Project: p.Path, Token: token, CAFile: c.GitLab.CAFile, Log: s.log.Named("mirror"),
			},
			Rules: rules, Tags: p.Tags, Job: p.Job, Policy: policy,
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

// certificate reads the certificate of the daemon; nil without TLS.
func (c config) certificate() (*tls.Certificate, error) {
	switch {
	case c.TLS.CertFile == "" && c.TLS.KeyFile == "":
		return nil, nil
	case c.TLS.CertFile == "":
		return nil, usagef("tls: key_file is set, but no cert_file; set both, or none for plain HTTP")
	case c.TLS.KeyFile == "":
		return nil, usagef("tls: cert_file is set, but no key_file; set both, or none for plain HTTP")
	}
	cert, err := tls.LoadX509KeyPair(c.TLS.CertFile, c.TLS.KeyFile)
	if err != nil {
		return nil, usagef("tls: %v; cert_file and key_file must be readable PEM files that belong together", err)
	}
	return &cert, nil
}

// clients are those of the dispatcher, with what it goes by.
func (c config) clients() (hooks.Clients, error) {
	j, err := c.jenkinsClient()
	if err != nil {
		return hooks.Clients{}, err
	}
	g, err := c.gitlabClient()
	return hooks.Clients{
		Jenkins: j, GitLab: g, StatusURL: c.PublicURL,
		Job: c.Jenkins.Job, MaxPerJob: c.Jenkins.MaxPerJob, MaxRuns: c.Jenkins.MaxRuns,
	}, err
}

// fixed are the settings that a running daemon cannot change, by the names that
// they have in the file.
func (c config) fixed() map[string]string {
	return map[string]string{
		"data": c.Data, "database.dsn": c.Database.DSN, "database.dsn_file": c.Database.DSNFile,
		"listen": c.Listen, "gitlab.url": c.GitLab.URL, "web.root": c.Web.Root, "web.url": c.Web.URL,
		"web.sftp_key_file": c.Web.SFTPKeyFile, "web.sftp_known_hosts": c.Web.SFTPKnownHosts,
		"tls": fmt.Sprintf("%t", c.TLS.CertFile != ""), "rate": fmt.Sprint(c.Rate),
	}
}

// needRestart lists what is different in next, and does not count yet.
func (c config) needRestart(next config) []string {
	var names []string
	was := c.fixed()
	for name, value := range next.fixed() {
		if was[name] != value {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
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
		LogDir: filepath.Join(s.data, "logs"), Before: s.before(),
	}
	s.handler.Woken = s.dispatcher.Wake
	logs := filepath.Join(s.data, "logs")
	if err := os.MkdirAll(logs, 0o750); err != nil {
		return err
	}
	key, err := s.sessionKey()
	if err != nil {
		return err
	}
	if s.api, err = api.New(api.Config{
		Store: s.store, Caps: s.caps, Job: s.job, Actor: handyman{s}, Rate: api.Rate{PerSecond: c.Rate.PerSecond, Burst: c.Rate.Burst},
		Logs: os.DirFS(logs), Consoles: consoles{s}, Evidence: siteEvidence{s}, Parts: s.parts, OpenPages: s.dev, PublicPages: c.Pages.Public,
		Secure: strings.HasPrefix(c.PublicURL, "https://"), SessionKey: key, Version: version, Stats: s.stats, Log: s.log.Named("api"),
	}); err != nil {
		return err
	}
	s.w.closers = append(s.w.closers, s.api.Close)
	s.dispatcher.Use(s.settings.Load().clients)
	return nil
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

func (s *service) known(project string) bool {
	_, known := s.settings.Load().project(project)
	return known
}

// jenkinsClient is nil where no Jenkins is configured.
func (c config) jenkinsClient() (*jenkins.Client, error) {
	url := c.env("JENKINS_URL", c.Jenkins.URL)
	transport, err := c.trustJenkins()
	if err != nil || url == "" {
		return nil, err
	}
	token, err := c.secret("JENKINS_TOKEN", "", c.Jenkins.TokenFile)
	if err != nil {
		return nil, err
	}
	return &jenkins.Client{URL: url, User: c.env("JENKINS_USER", c.Jenkins.User), Token: token, Transport: transport, Slots: make(chan struct{}, 4)}, nil
}

// gitlabClient is nil where no GitLab, or no token for it, is configured.
func (c config) gitlabClient() (*hooks.Client, error) {
	url := c.env("GITLAB_URL", c.GitLab.URL)
	transport, err := c.trustGitLab() // which the mirrors need without a token, too
	if err != nil {
		return nil, err
	}
	token, err := c.secret("GITLAB_TOKEN", "", c.GitLab.TokenFile)
	if err != nil || url == "" || token == "" {
		return nil, err
	}
	return &hooks.Client{URL: url, Token: token, Transport: transport}, nil
}

// before is done at the begin of a pass, where nothing else uses the dispatcher:
// a configuration that was read again takes effect, and what was spooled comes
// first.
func (s *service) before() func(context.Context) error {
	used := s.settings.Load()
	return func(ctx context.Context) error {
		if next := s.settings.Load(); next != used {
			used = next
			s.dispatcher.Use(next.clients)
		}
		_, err := s.spool.Drain(ctx, s.store)
		return err
	}
}
