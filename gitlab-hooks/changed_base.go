package hooks

import (
	"context"
	"fmt"
	"strings"
)

// basis is what a head is compared with.
type basis struct {
	commit commit // without id: nothing, so that every image is taken
	why    string // the whole change's reason
	each   string // reason of every image that is taken

	undetermined bool
	nothing      bool // no image starts
}

// everything takes every image, for a reason.
func everything(why string) basis { return basis{why: why, each: why} }

// undetermined takes every image, because it cannot be told which have changed: nothing is left out in silence.
func undetermined(why string) basis {
	return basis{why: "it cannot be told what has changed: " + why, each: why, undetermined: true}
}

// basis finds the commit to compare a push's head with.
func (m Mirror) basis(ctx context.Context, o *objects, push Push, rules Rules, head commit) (basis, error) {
	if strings.HasPrefix(push.Ref, "refs/tags/") && rules.Tags == ScopeAll {
		return everything("tags build all images"), nil
	}
	if none(push.Old) {
		return m.fresh(ctx, o, push, rules, head)
	}
	why, err := m.reach(ctx, o.repo, push.Old)
	if err != nil {
		return basis{}, err
	}
	if why != "" {
		return undetermined(fmt.Sprintf("the former head %s: %s", short(push.Old), why)), nil
	}
	old, ok, err := o.commit(push.Old)
	switch {
	case err != nil:
		return basis{}, err
	case !ok:
		return undetermined("the former head " + short(push.Old) + " is no commit"), nil
	case old.id == head.id:
		return basis{nothing: true, why: "the head is the one that was handled last"}, nil
	}
	return basis{commit: old, why: "compared with " + short(old.id) + ", the head that was handled last"}, nil
}

// fresh is the basis of a ref without an earlier head.
func (m Mirror) fresh(ctx context.Context, o *objects, push Push, rules Rules, head commit) (basis, error) {
	standard, err := m.standard(ctx)
	if err != nil {
		return basis{}, err
	}
	branch := strings.TrimPrefix(standard, "refs/heads/")
	scope := rules.NewBranch
	if strings.HasPrefix(push.Ref, "refs/tags/") {
		scope = rules.Tags
	}
	switch {
	case push.Ref == standard:
		return everything("first push of the default branch"), nil
	case scope == ScopeAll:
		return everything("new branches build all images"), nil
	case scope == ScopeNone:
		return basis{nothing: true, why: "new branches start nothing in this project"}, nil
	case standard == "":
		return undetermined("the project has no default branch to compare with"), nil
	}
	if err := m.fetch(ctx, o.repo, nil, "+"+standard+":"+seen(standard)); err != nil {
		return basis{}, m.trouble(ctx, o.repo, "fetch "+standard, err)
	}
	base, err := o.repo.mergeBase(ctx, head.id, seen(standard))
	if err != nil {
		return basis{}, err
	}
	if base == "" {
		return undetermined("it shares no commit with " + branch), nil
	}
	old, _, err := o.commit(base)
	return basis{commit: old, nothing: base == head.id, why: fmt.Sprintf("compared with %s, where it left %s", short(base), branch)}, err
}

// short is an object id for people.
func short(id string) string { return id[:min(len(id), 10)] }
