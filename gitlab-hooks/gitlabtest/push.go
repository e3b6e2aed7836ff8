package gitlabtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Limits of GitLab on what it looks at of one push.
const (
	processLimit = 100 // commits
	payloadLimit = 20  // commits in a payload
)

// received works out what a push means and queues the hooks, as GitLab's post-receive worker does. Here that has
// happened when git push returns.
func (s *Server) received(ctx context.Context, p *project, u *user, changes []change) error {
	if err := s.protectDefault(ctx, p); err != nil {
		return err
	}
	var problems []error
	for _, prefix := range []string{headsPrefix, tagsPrefix} {
		for _, group := range grouped(changes, prefix) {
			problems = append(problems, s.groupReceived(ctx, p, u, prefix, group))
		}
	}
	return errors.Join(problems...)
}

// grouped splits the changes of one type of ref by what happened, in the order in which it first did.
func grouped(changes []change, prefix string) [][]change {
	var order []string
	groups := map[string][]change{}
	for _, c := range changes {
		if !strings.HasPrefix(c.ref, prefix) {
			continue
		}
		action := "pushed"
		switch {
		case blank(c.old):
			action = "created"
		case blank(c.new):
			action = "removed"
		}
		if !slices.Contains(order, action) {
			order = append(order, action)
		}
		groups[action] = append(groups[action], c)
	}
	sorted := make([][]change, len(order))
	for i, action := range order {
		sorted[i] = groups[action]
	}
	return sorted
}

func (s *Server) groupReceived(ctx context.Context, p *project, u *user, prefix string, group []change) error {
	trigger := pushHooks
	if prefix == tagsPrefix {
		trigger = tagPushHooks
	}
	if len(group) > s.opts.PushHookLimit {
		for _, c := range group {
			s.drop(Dropped{Trigger: trigger, Ref: c.ref, After: c.new, Reason: fmt.Sprintf("more than %d refs in one push", s.opts.PushHookLimit)})
		}
		return nil
	}
	for _, c := range group {
		if !s.anyHook(p, trigger) {
			continue
		}
		data, err := s.pushData(ctx, p, u, c)
		if err != nil {
			return fmt.Errorf("%s: %w", c.ref, err)
		}
		if err := s.fire(p, trigger, data); err != nil {
			return fmt.Errorf("%s: %w", c.ref, err)
		}
	}
	return nil
}

// protectDefault: a default branch that came to be under another name than expected is protected in its stead.
func (s *Server) protectDefault(ctx context.Context, p *project) error {
	branches, err := p.repo.refs(ctx, headsPrefix, "")
	if err != nil {
		return err
	}
	standard, err := p.repo.defaultBranch(ctx, branches)
	if err != nil || standard == "" {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(p.Protected) == 1 && p.Protected[0] == (Protected{Branch: p.DefaultBranch}) {
		p.Protected[0].Branch = standard
	}
	p.DefaultBranch = standard
	return nil
}

// pushData builds the payload for one moved ref.
func (s *Server) pushData(ctx context.Context, p *project, u *user, c change) (*pushPayload, error) {
	facts := pushFacts{before: c.old, after: c.new, ref: c.ref}
	var err error
	if tag, ok := strings.CutPrefix(c.ref, tagsPrefix); ok {
		err = p.tagFacts(ctx, tag, c, &facts)
	} else {
		err = p.branchFacts(ctx, strings.TrimPrefix(c.ref, headsPrefix), c, &facts)
	}
	if err != nil {
		return nil, err
	}
	return s.payload(ctx, p, u, facts)
}

// branchFacts finds the commits of a push to a branch. A plain exclusion finds them: what a forced push has dropped is
// not in it, and a roll-back has none.
func (p *project) branchFacts(ctx context.Context, branch string, c change, facts *pushFacts) error {
	if blank(c.new) {
		return nil
	}
	facts.checkout = c.new
	revs, err := p.pushedRange(ctx, branch, c)
	if err != nil {
		return err
	}
	ids, err := p.repo.revList(ctx, processLimit+1, revs...)
	if err != nil {
		return err
	}
	facts.total = len(ids)
	if len(ids) > processLimit {
		if facts.total, err = p.repo.count(ctx, revs...); err != nil {
			return err
		}
	}
	facts.ids = ids[:min(len(ids), payloadLimit)]
	slices.Reverse(facts.ids)
	return nil
}

func (p *project) pushedRange(ctx context.Context, branch string, c change) ([]string, error) {
	branches, err := p.repo.refs(ctx, headsPrefix, "")
	if err != nil {
		return nil, err
	}
	standard, err := p.repo.defaultBranch(ctx, branches)
	if err != nil {
		return nil, err
	}
	// A branch that has gone meanwhile counts as created, too.
	created := blank(c.old) || !slices.ContainsFunc(branches, func(r ref) bool { return r.Name == branch })
	switch {
	case created && (standard == "" || standard == branch):
		return []string{c.new}, nil
	case created:
		return []string{"^" + headsPrefix + standard, c.new}, nil
	}
	return []string{"^" + c.old, c.new}, nil
}

// tagFacts finds the commit that a tag stands for, if the tag is still what was pushed.
func (p *project) tagFacts(ctx context.Context, tag string, c change, facts *pushFacts) error {
	if blank(c.new) {
		return nil
	}
	target, err := p.repo.resolve(ctx, tagsPrefix+tag, "")
	if errors.Is(err, errNoObject) {
		return nil
	}
	if err != nil {
		return err
	}
	commit, err := p.repo.resolve(ctx, tagsPrefix+tag, "commit")
	if err != nil && !errors.Is(err, errNoObject) { // a tag of a tree or a blob has none
		return err
	}
	facts.checkout = commit
	if target != c.new {
		return nil
	}
	message := ""
	objects, err := p.repo.objects(ctx, target)
	if err != nil {
		return err
	}
	if objects[0].kind == "tag" {
		message = tagMessage(objects[0])
	}
	facts.message = &message
	if commit != "" {
		facts.ids, facts.total = []string{commit}, 1
	}
	return nil
}
