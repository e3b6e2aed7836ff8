package gitlabtest

import (
	"context"
	"regexp"
	"strings"
)

// refusal is a message in GitLab's own words.
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	notPusher       refusal = "You are not allowed to push code to this project."
	defaultDeleted  refusal = "The default branch of a project cannot be deleted."
	protectedForced refusal = "You are not allowed to force push code to a protected branch on this project."
	protectedPush   refusal = "You are not allowed to push code to protected branches on this project."
	protectedMade   refusal = "You are not allowed to create protected branches on this project."
	protectedGone   refusal = "You are not allowed to delete protected branches from this project. Only a project maintainer or owner can delete a protected branch."
	onlyOnWeb       refusal = "You can only delete protected branches using the web interface."
	looksLikeID     refusal = "You cannot create a branch with a 40-character hexadecimal branch name."
)

var idForm = regexp.MustCompile(`^[0-9a-f]{40}(-/|/|$)`)

// allowed says whether a push may happen; one refused ref refuses all of it.
func (s *Server) allowed(ctx context.Context, p *project, u *user, changes []change) error {
	branches, err := p.repo.refs(ctx, headsPrefix, "")
	if err != nil {
		return err
	}
	standard, err := p.repo.defaultBranch(ctx, branches)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.role(u) < Developer {
		return notPusher
	}
	for _, c := range changes {
		branch, ok := strings.CutPrefix(c.ref, headsPrefix)
		if !ok {
			continue
		}
		if refused := p.refuses(u, c, branch, standard); refused != "" {
			return refused
		}
	}
	return nil
}

// refuses follows GitLab's order of checks; standard is the default branch.
func (p *project) refuses(u *user, c change, branch, standard string) refusal {
	created, deleted := blank(c.old), blank(c.new)
	rule, protected := p.protection(branch)
	mayPush := p.mayPush(u, branch)
	switch {
	case deleted && branch == standard:
		return defaultDeleted
	case !deleted && idForm.MatchString(branch):
		return looksLikeID
	case !protected:
		return ""
	case c.forced && !rule.AllowForce:
		return protectedForced
	case deleted && p.role(u) < Maintainer:
		return protectedGone
	case deleted:
		return onlyOnWeb
	case created && !mayPush && standard != "":
		return protectedMade
	case !mayPush:
		return protectedPush
	}
	return ""
}
