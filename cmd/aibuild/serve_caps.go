package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

// standards remembers which refs of a project may release where the configuration names none. GitLab is asked now and
// then; while it is away, what it said last counts.
type standards struct {
	mu   sync.Mutex
	seen map[string]standard
}

type standard struct {
	refs []string
	at   time.Time
}

const (
	standardFor  = 5 * time.Minute
	standardWait = 10 * time.Second
)

func (s *standards) of(client *hooks.Client, project string) ([]string, error) {
	s.mu.Lock()
	known, ok := s.seen[project]
	s.mu.Unlock()
	if ok && time.Since(known.at) < standardFor {
		return known.refs, nil
	}
	if client == nil {
		return []string{"none (release.refs of the project is empty, and there is no gitlab.url to ask for its default branch)"}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), standardWait)
	defer cancel()
	refs, err := client.ReleaseRefs(ctx, project)
	if err != nil && ok {
		return known.refs, nil
	}
	if err != nil {
		err = fmt.Errorf("release.refs of %s is empty, and its default branch is not known: %w", project, err)
		return nil, &lineage.Unavailable{Op: "find what may be released", Err: err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]standard{}
	}
	s.seen[project] = standard{refs, time.Now()}
	return refs, nil
}

// caps is what the definitions of a project may ask for, as configured now.
func (s *service) caps(project string) (definition.Policy, error) {
	settings := s.settings.Load()
	for _, p := range settings.watched {
		if p.Mirror.Project != project {
			continue
		}
		policy := p.Policy
		if len(policy.ReleaseRefs) > 0 {
			return policy, nil
		}
		var err error
		policy.ReleaseRefs, err = s.standards.of(settings.clients.GitLab, project)
		return policy, err
	}
	return definition.Policy{}, fmt.Errorf("project %s: %w", project, lineage.ErrNotFound)
}
