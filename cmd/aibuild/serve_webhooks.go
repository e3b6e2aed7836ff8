package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

// checkWebhooks asks GitLab whether it will tell of the next push. Pushes that it
// does not tell of are found all the same, but later.
func (r *reconciler) checkWebhooks(ctx context.Context, s *service, _ *aibuild.Pipeline) error {
	now := s.settings.Load()
	if now.clients.GitLab == nil {
		return nil
	}
	unwell := map[string]string{}
	var errs []error
	for _, p := range now.watched {
		project := p.Mirror.Project
		switch why, err := webhookTrouble(ctx, *now.clients.GitLab, project); {
		case errors.Is(err, hooks.ErrForbidden):
			s.log.Debug("whether the webhook is well is not known", "project", project, "error", err)
		case err != nil:
			errs = append(errs, fmt.Errorf("webhooks of %s: %w", project, err))
		case why != "":
			unwell[project] = why
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for project, why := range unwell {
		if r.webhooks[project] != why {
			s.log.Warn("a webhook is not well: pushes are found later than they could be", "project", project, "reason", why)
		}
	}
	r.webhooks = unwell
	return errors.Join(errs...)
}

// webhookTrouble says why GitLab will not tell of a project's pushes; empty when
// it will, or when it is told by a webhook that is not the project's.
func webhookTrouble(ctx context.Context, client hooks.Client, project string) (string, error) {
	all, err := client.Hooks(ctx, project)
	if err != nil {
		return "", err
	}
	ours := slices.DeleteFunc(all, leadsElsewhere)
	var why []string
	for _, h := range ours {
		if h.Problem() == "" {
			return "", nil
		}
		why = append(why, h.Problem())
	}
	return strings.Join(why, "; "), nil
}

// leadsElsewhere says whether a webhook is none that a daemon takes.
func leadsElsewhere(h hooks.ProjectHook) bool {
	u, err := url.Parse(h.URL)
	return err != nil || !strings.HasSuffix(strings.TrimRight(u.Path, "/"), hookPath)
}

// unwell says in how many projects no webhook is well.
func (r *reconciler) unwell() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.webhooks)
}
