package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// gitlabFlags is the command line of the GitLab stand-in.
type gitlabFlags struct {
	options                      gitlabtest.Options
	profile, visibility          string
	projects, hooks, systemHooks texts
	tokenFile, secretFile        string
	unprotected, verbose         bool
}

func (g *gitlabFlags) add(f *flag.FlagSet) {
	o := &g.options
	f.StringVar(&g.profile, "profile", "19", "`version` to be: 15, 17.4 or 19")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:0", "`address` to listen at")
	f.StringVar(&o.Home, "home", "", "`folder` whose repositories are kept and used again; empty means one that is removed")
	f.StringVar(&g.tokenFile, "token-file", "", "`file` with root's access token, made if it is missing; empty means a new one, which is printed")
	f.Var(&g.projects, "project", "`path` of a project, like group/images; may be repeated")
	f.StringVar(&g.visibility, "visibility", string(gitlabtest.Private), "of every --project: private, internal or public")
	f.BoolVar(&g.unprotected, "unprotected", false, "leave the default branch of every --project unprotected")
	f.Var(&g.hooks, "hook", "`URL` that pushes and tags of every --project are delivered to; may be repeated")
	f.Var(&g.systemHooks, "system-hook", "`URL` that the pushes and tags of all projects are delivered to; may be repeated")
	f.StringVar(&g.secretFile, "secret-file", "", "`file` with the secret of all hooks, made if it is missing; one that starts whsec_ signs")
	f.BoolVar(&o.AutoDisable, "auto-disable", false, "disable hooks that fail again and again")
	f.BoolVar(&g.verbose, "verbose", false, "say on stderr what happens inside")
}

// runGitLab runs until it is told to end.
func runGitLab(w world, args []string) error {
	f, l := w.flags("gitlab")
	var g gitlabFlags
	g.add(f)
	if err := parse(f, args); err != nil {
		return err
	}
	hook, err := g.complete(w)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	server, err := gitlabtest.Start(g.options)
	if err != nil {
		return err
	}
	ready, err := g.furnish(server, hook)
	if err != nil {
		return errors.Join(err, server.Close())
	}
	return errors.Join(w.wait(l, ready), server.Close())
}

// complete makes options, and the hook that all are like, of what the flags say.
func (g *gitlabFlags) complete(w world) (hook gitlabtest.Hook, err error) {
	if g.options.Profile, err = gitlabtest.ParseProfile(g.profile); err != nil {
		return hook, fmt.Errorf("--profile: %w", err)
	}
	switch gitlabtest.Visibility(g.visibility) {
	case gitlabtest.Private, gitlabtest.Internal, gitlabtest.Public:
	default:
		return hook, fmt.Errorf("--visibility %s: use private, internal or public", g.visibility)
	}
	if g.verbose {
		g.options.Log = hclog.New(&hclog.LoggerOptions{Name: "gitlab", Output: w.stderr, Level: hclog.Debug})
	}
	if g.tokenFile != "" {
		if g.options.RootToken, err = secretFrom(g.tokenFile, "glpat-"); err != nil {
			return hook, fmt.Errorf("--token-file: %w", err)
		}
	}
	hook.Events = []string{"push_events", "tag_push_events"}
	if g.secretFile == "" {
		return hook, nil
	}
	secret, err := secretFrom(g.secretFile, "")
	if err != nil {
		return hook, fmt.Errorf("--secret-file: %w", err)
	}
	if strings.HasPrefix(secret, "whsec_") {
		hook.SigningToken = secret
	} else {
		hook.Token = secret
	}
	return hook, nil
}

// furnish creates projects and hooks, and says where the first project is. A project is cloned from URL/PATH.git.
func (g *gitlabFlags) furnish(server *gitlabtest.Server, hook gitlabtest.Hook) (map[string]string, error) {
	ready := map[string]string{"url": server.URL(), "user": "root"}
	if g.tokenFile == "" {
		ready["token"] = server.RootToken()
	}
	for _, path := range g.projects {
		p := gitlabtest.Project{Path: path, Visibility: gitlabtest.Visibility(g.visibility)}
		if g.unprotected {
			p.Protected = []gitlabtest.Protected{}
		}
		if _, err := server.CreateProject(context.Background(), p); err != nil {
			return nil, err
		}
		for _, hook.URL = range g.hooks {
			if _, err := server.AddHook(path, hook); err != nil {
				return nil, fmt.Errorf("--hook %s: %w", hook.URL, err)
			}
		}
	}
	for _, hook.URL = range g.systemHooks {
		if _, err := server.AddSystemHook(hook); err != nil {
			return nil, fmt.Errorf("--system-hook %s: %w", hook.URL, err)
		}
	}
	if len(g.projects) == 0 {
		return ready, nil
	}
	repository, err := server.RepositoryPath(g.projects[0])
	ready["clone_url"], ready["repository"] = server.CloneURL(g.projects[0], ""), repository
	return ready, err
}

// secretFrom reads a secret, or makes one, in a file of its owner alone.
func secretFrom(path, prefix string) (string, error) {
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := prefix + rand.Text()
		return secret, os.WriteFile(path, []byte(secret+"\n"), 0o600)
	}
	if err != nil {
		return "", err
	}
	secret := strings.TrimSpace(string(content))
	if secret == "" || strings.ContainsAny(secret, "\r\n") {
		return "", fmt.Errorf("%s does not hold one line; write the secret there, or remove the file", path)
	}
	return secret, nil
}
