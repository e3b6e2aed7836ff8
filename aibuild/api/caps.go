package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Caps is what the definitions of a project may ask for; empty lists cap
// nothing. It is definition.Policy on the wire.
type Caps struct {
	Names        []string `json:"names,omitempty" nullable:"false" doc:"patterns of image names"`
	ReleaseRefs  []string `json:"release_refs,omitempty" nullable:"false" doc:"patterns of the refs that may go out"`
	Clusters     []string `json:"clusters,omitempty" nullable:"false"`
	Visibilities []string `json:"visibilities,omitempty" nullable:"false"`
	MaxTimeoutMS int64    `json:"max_timeout_ms,omitempty"`
	MaxMemory    int64    `json:"max_memory,omitempty" doc:"bytes"`
	MayRelease   bool     `json:"may_release" doc:"whether this run, or the ref that was asked about, may go on after its tests"`
}

func capsOf(p definition.Policy, ref string) *Caps {
	return &Caps{
		Names: p.Names, ReleaseRefs: p.ReleaseRefs, Clusters: p.Clusters, Visibilities: p.Visibilities,
		MaxTimeoutMS: p.MaxTimeout.Milliseconds(), MaxMemory: int64(p.MaxMemory), MayRelease: p.MayRelease(ref),
	}
}

// CapsOf is a policy as it goes over the wire, for a run of this ref.
func CapsOf(p definition.Policy, ref string) Caps { return *capsOf(p, ref) }

// Policy is the caps as those who check definitions read them.
func (c Caps) Policy(project string) definition.Policy {
	return definition.Policy{
		Project: project, Names: c.Names, ReleaseRefs: c.ReleaseRefs, Clusters: c.Clusters, Visibilities: c.Visibilities,
		MaxTimeout: time.Duration(c.MaxTimeoutMS) * time.Millisecond, MaxMemory: definition.Size(c.MaxMemory),
	}
}

type capsInput struct {
	Project string `query:"project" required:"true" minLength:"1" maxLength:"255" doc:"GitLab's path: group/project"`
	Ref     string `query:"ref" maxLength:"255" doc:"for may_release: branch, or refs/heads/BRANCH, refs/tags/TAG"`
}

type capsOutput struct{ Body Caps }

func (s *Server) getCaps(ctx context.Context, in *capsInput) (*capsOutput, error) {
	who := bearer(ctx)
	if !speaksFor(who, in.Project) {
		return nil, fmt.Errorf("project %s: %w", in.Project, lineage.ErrNotFound)
	}
	p, err := s.capsFor(who, in.Project)
	if err != nil {
		return nil, err
	}
	return &capsOutput{Body: *capsOf(p, in.Ref)}, nil
}

// ruleConfigured is the rule that only what is configured is built: a project
// of which the configuration says nothing has no limits that could be held to.
const ruleConfigured = "gitlab.projects"

// caps is what the definitions of a project may ask for. Of a project that is
// not configured it is nothing: [*definition.Refused].
func (s *Server) caps(project string) (definition.Policy, error) {
	if s.config.Caps == nil {
		return definition.Policy{Project: project}, nil
	}
	p, err := s.config.Caps(project)
	if errors.Is(err, lineage.ErrNotFound) {
		err = &definition.Refused{
			Project: project, Rule: ruleConfigured,
			Asked: "a project that is not configured", Allowed: "what gitlab.projects lists",
		}
	}
	return p, err
}

// capsFor is caps for who asks: people may record what they do for projects that
// no Jenkins builds; their role says what that is.
func (s *Server) capsFor(who lineage.Token, project string) (definition.Policy, error) {
	p, err := s.caps(project)
	if r, ok := errors.AsType[*definition.Refused](err); ok && r.Rule == ruleConfigured && who.Role != RoleRecorder {
		return definition.Policy{Project: project}, nil
	}
	return p, err
}
