package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

// standards remembers which refs of a project may release where the configuration names none. GitLab is asked now and
// then; while it is away, what it said last counts.
type standards struct {
	mu    sync.Mutex
	seen  map[string]*standard
	flood singleflight.Group // one question for each project at a time, however many ask
}

// standard is what is known of a project. After a question that failed, the last answer, or its error, counts for a
// while: a GitLab that hangs must not hold up everybody who records.
type standard struct {
	refs  []string // nil: never answered
	err   error    // of the last question
	until time.Time
}

const (
	standardFor   = 5 * time.Minute
	standardAgain = 30 * time.Second // after a failure
	standardWait  = 10 * time.Second
)

func (s *standards) of(client *hooks.Client, project string) ([]string, error) {
	if client == nil {
		return []string{"none (release.refs of the project is empty, and there is no gitlab.url to ask for its default branch)"}, nil
	}
	if known, ok := s.known(project); ok {
		return known.answer(project)
	}
	now, _, _ := s.flood.Do(project, func() (any, error) { return s.ask(client, project), nil })
	return now.(standard).answer(project)
}

func (s *standards) known(project string) (standard, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.seen[project]
	if known == nil || time.Now().After(known.until) {
		return standard{}, false
	}
	return *known, true
}

func (s *standards) ask(client *hooks.Client, project string) standard {
	ctx, cancel := context.WithTimeout(context.Background(), standardWait)
	defer cancel()
	refs, err := client.ReleaseRefs(ctx, project)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen = map[string]*standard{}
	}
	now := s.seen[project]
	if now == nil {
		now = &standard{}
		s.seen[project] = now
	}
	now.err, now.until = err, time.Now().Add(standardAgain)
	if err == nil {
		now.refs, now.until = refs, time.Now().Add(standardFor)
	}
	return *now
}

func (n standard) answer(project string) ([]string, error) {
	if n.refs != nil || n.err == nil {
		return n.refs, nil
	}
	err := fmt.Errorf("release.refs of %s is empty, and its default branch is not known: %w", project, n.err)
	return nil, &lineage.Unavailable{Op: "find what may be released", Err: err}
}

// caps is what the definitions of a project may ask for, as configured now.
func (s *service) caps(project string) (definition.Policy, error) {
	settings := s.settings.Load()
	p, known := settings.project(project)
	if !known {
		return definition.Policy{}, fmt.Errorf("project %s: %w", project, lineage.ErrNotFound)
	}
	policy := p.Policy
	if len(policy.ReleaseRefs) > 0 {
		return policy, nil
	}
	var err error
	policy.ReleaseRefs, err = s.standards.of(settings.clients.GitLab, project)
	return policy, err
}

// job is the Jenkins job that builds a project, as the dispatcher chooses it.
func (s *service) job(project string) string {
	settings := s.settings.Load()
	if p, _ := settings.project(project); p.Job != "" {
		return p.Job
	}
	return settings.clients.Job
}
