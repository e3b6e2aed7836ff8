package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// Where the configuration names no refs, the default branch alone may release, while GitLab protects it.
func TestCapsOfTheDefaultBranch(t *testing.T) {
	server, err := gitlabtest.Start(gitlabtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	for path, protected := range map[string][]gitlabtest.Protected{"ops/safe": nil, "ops/open": {}} {
		if _, err := server.CreateProject(t.Context(), gitlabtest.Project{
			Path: path, Protected: protected,
		}); err != nil {
			t.Fatal(err)
		}
		(&patient{t: t, gitlab: server}).push(path, 1)
	}
	s := &service{}
	watched := func(path string, refs ...string) hooks.Watched {
		return hooks.Watched{Mirror: hooks.Mirror{Project: path}, Policy: definition.Policy{Project: path, ReleaseRefs: refs}}
	}
	s.settings.Store(&settings{
		clients: hooks.Clients{GitLab: &hooks.Client{URL: server.URL(), Token: server.RootToken()}},
		watched: []hooks.Watched{watched("ops/safe"), watched("ops/open"), watched("ops/named", "release/*")},
	})
	server.Fail(gitlabtest.Fault{Path: "/api/", Answer: gitlabtest.BadGateway})
	if _, err := s.caps("ops/safe"); err == nil || !errors.As(err, new(*lineage.Unavailable)) {
		t.Errorf("with a gitlab that is away: %v", err)
	}
	server.ClearFaults()
	if _, err := s.caps("ops/safe"); err == nil {
		t.Error("gitlab is asked again at once: one that hangs would hold up every record")
	}
	s.standards.forget()
	for path, want := range map[string]string{"ops/safe": "main", "ops/open": "", "ops/named": "release/1"} {
		p, err := s.caps(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{"main", "feature", "release/1", "refs/tags/main"} {
			if p.MayRelease(ref) != (ref == want) {
				t.Errorf("%s: MayRelease(%s) = %v; refs %q", path, ref, p.MayRelease(ref), p.ReleaseRefs)
			}
		}
	}
	open, _ := s.caps("ops/open")
	if !strings.Contains(strings.Join(open.ReleaseRefs, ""), "protected in GitLab") {
		t.Errorf("nobody learns why: %q", open.ReleaseRefs)
	}
	server.Fail(gitlabtest.Fault{Path: "/api/", Answer: gitlabtest.BadGateway})
	s.standards.forget()
	if p, err := s.caps("ops/safe"); err != nil || !slices.Equal(p.ReleaseRefs, []string{"refs/heads/main"}) {
		t.Errorf("what gitlab said last: %q, %v", p.ReleaseRefs, err)
	}
	if _, err := s.caps("ops/other"); !errors.Is(err, lineage.ErrNotFound) {
		t.Errorf("a project that is not configured: %v", err)
	}
}

// forget makes all that is known old.
func (s *standards) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, known := range s.seen {
		known.until = time.Time{}
	}
}
