package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
)

const systemConfig = "/etc/aibuild/aibuild-config.yaml"

// config is the configuration file; the environment wins over it. Every key is
// in examples/aibuild-config.yaml.
type config struct {
	Data     string `yaml:"data"` // state folder
	Database struct {
		DSN     string `yaml:"dsn"`
		DSNFile string `yaml:"dsn_file"`
	} `yaml:"database"`
	Web struct {
		Root           string `yaml:"root"`
		URL            string `yaml:"url"`
		SFTPKeyFile    string `yaml:"sftp_key_file"`
		SFTPKnownHosts string `yaml:"sftp_known_hosts"`
	} `yaml:"web"`
	Listen    string `yaml:"listen"`     // of the daemon
	PublicURL string `yaml:"public_url"` // of the daemon, as people reach it
	Pages     struct {
		Public bool `yaml:"public"` // reading needs no token
	} `yaml:"pages"`
	Rate struct { // of requests to the API with one token
		PerSecond float64 `yaml:"per_second"`
		Burst     int     `yaml:"burst"`
	} `yaml:"rate"`
	TLS struct {
		CertFile string `yaml:"cert_file"`
		KeyFile  string `yaml:"key_file"`
	} `yaml:"tls"`
	GitLab struct {
		URL         string    `yaml:"url"`
		CAFile      string    `yaml:"ca_file"`
		TokenFile   string    `yaml:"token_file"`
		SecretFiles []string  `yaml:"secret_files"`
		Projects    []project `yaml:"projects"`
	} `yaml:"gitlab"`
	Jenkins struct {
		URL       string `yaml:"url"`
		CAFile    string `yaml:"ca_file"`
		User      string `yaml:"user"`
		TokenFile string `yaml:"token_file"`
		Job       string `yaml:"job"`
		MaxPerJob int    `yaml:"max_per_job"`
		MaxRuns   int    `yaml:"max_runs"`
	} `yaml:"jenkins"`
	Clouds    string `yaml:"clouds"` // path of clouds.yaml
	Retention struct {
		Keep   int    `yaml:"keep"`
		Failed string `yaml:"failed"`
		Cache  string `yaml:"cache"`
	} `yaml:"retention"`

	getenv func(string) string
}

// project caps what the definitions of one GitLab project may ask for.
type project struct {
	Path        string   `yaml:"path"`
	Names       []string `yaml:"names"`
	SecretFiles []string `yaml:"secret_files"`
	Refs        []string `yaml:"refs"`       // branches that are built
	NewBranch   string   `yaml:"new_branch"` // all, changed, none
	Tags        []string `yaml:"tags"`       // that are built
	Job         string   `yaml:"job"`        // Jenkins job
	Labels      []string `yaml:"labels"`     // of the agents that the job asks for; doctor looks for them
	Release     struct {
		Refs       []string `yaml:"refs"`
		Clusters   []string `yaml:"clusters"`
		Visibility []string `yaml:"visibility"`
	} `yaml:"release"`
	MaxTimeout string `yaml:"max_timeout"`
	MaxMemory  string `yaml:"max_memory"`
}

// readConfig reads the file that is named, by flag or AIBUILD_CONFIG, or the
// system's where it exists; never one from the working folder.
func readConfig(flag string, getenv func(string) string) (config, error) {
	c := config{getenv: getenv}
	path, named := flag, true
	if path == "" {
		path = getenv("AIBUILD_CONFIG")
	}
	if path == "" {
		path, named = systemConfig, false
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !named:
		return c, nil
	case err != nil:
		return c, usagef("configuration: %v; name a readable file with --config or AIBUILD_CONFIG", err)
	}
	if err := definition.DecodeStrict(path, b, &c); err != nil {
		return c, err
	}
	return c, c.check(path)
}

func (c config) check(path string) error {
	for _, text := range []string{c.Retention.Failed, c.Retention.Cache} {
		if text == "" {
			continue
		}
		if _, err := definition.ParseDuration(text); err != nil {
			return usagef("%s: retention: %v", path, err)
		}
	}
	for _, p := range c.GitLab.Projects {
		if _, err := p.policy(); err != nil {
			return usagef("%s: gitlab.projects: %s: %v", path, p.Path, err)
		}
		if !slices.Contains([]string{"", "all", "changed", "none"}, p.NewBranch) {
			return usagef("%s: gitlab.projects: %s: new_branch: %q is not known; write all, changed or none", path, p.Path, p.NewBranch)
		}
	}
	return nil
}

// env is a setting: the environment, else the file's value.
func (c config) env(name, fromFile string) string {
	if v := c.getenv(name); v != "" {
		return v
	}
	return fromFile
}

// secret is env for what may also come as a file, NAME_FILE, which is read now.
func (c config) secret(name, value, file string) (string, error) {
	if v := c.getenv(name); v != "" {
		return v, nil
	}
	if f := c.getenv(name + "_FILE"); f != "" {
		value, file = "", f
	}
	if value != "" || file == "" {
		return value, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", usagef("%s: %v; the file must be readable by this user", name+"_FILE", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// dataDir is AIBUILD_DATA, else /var/lib/aibuild for root and the user's state
// folder for others.
func (c config) dataDir() (string, error) {
	dir := c.env("AIBUILD_DATA", c.Data)
	if dir == "" {
		dir = "/var/lib/aibuild"
		if os.Geteuid() != 0 {
			state := c.getenv("XDG_STATE_HOME")
			if state == "" {
				home, err := os.UserHomeDir()
				if err != nil {
					return "", usagef("no state folder: %v; set AIBUILD_DATA", err)
				}
				state = filepath.Join(home, ".local", "state")
			}
			dir = filepath.Join(state, "aibuild")
		}
	}
	if !filepath.IsAbs(dir) {
		return "", usagef("AIBUILD_DATA must be an absolute path, not %q", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("state folder: %w; set AIBUILD_DATA to one that this user may write", err)
	}
	return dir, nil
}

// policy is what the definitions of a project may ask for.
func (c config) policy(path string) (definition.Policy, error) {
	for _, p := range c.GitLab.Projects {
		if p.Path == path {
			return p.policy()
		}
	}
	return definition.Policy{Project: path}, nil
}

func (p project) policy() (definition.Policy, error) {
	out := definition.Policy{
		Project: p.Path, Names: p.Names, ReleaseRefs: p.Release.Refs,
		Clusters: p.Release.Clusters, Visibilities: p.Release.Visibility,
	}
	if p.MaxTimeout != "" {
		d, err := definition.ParseDuration(p.MaxTimeout)
		if err != nil {
			return out, err
		}
		out.MaxTimeout = d
	}
	if p.MaxMemory != "" {
		size, err := definition.ParseSize(p.MaxMemory)
		if err != nil {
			return out, err
		}
		out.MaxMemory = size
	}
	return out, nil
}

// duration reads a setting that was checked before; empty is 0.
func duration(text string) time.Duration {
	d, err := definition.ParseDuration(text)
	if err != nil {
		return 0
	}
	return d
}
