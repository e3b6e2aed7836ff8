package hooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/guestos/aibuild/aibuild/definition"
)

// Push is a ref that has moved.
type Push struct {
	Ref string // refs/heads/main, refs/tags/v1
	Old string // what was handled last, else what the push says: the id of a commit or tag; zeros or empty: the ref is new
	New string // zeros: the ref was deleted
}

// Scope says which images of a ref start that has no earlier head to be compared with.
type Scope string

// The scopes.
const (
	ScopeAll     Scope = "all"
	ScopeChanged Scope = "changed" // since the ref left the default branch
	ScopeNone    Scope = "none"
)

// Rules are what a project's configuration says about its refs.
type Rules struct {
	Refs      []string // patterns, as in definition.Policy; other branches start nothing. Empty: every branch counts
	NewBranch Scope    // empty means changed. The first push of the default branch starts all images
	Tags      Scope    // empty means none
}

// Change is what a push means for the images of a repository. Every definition that the push touches is in exactly one of
// its lists, so that it answers why an image was built, and why not.
type Change struct {
	Ref    string `json:"ref,omitempty"`
	Old    string `json:"old,omitempty"`    // the commit that was compared with; empty: none
	New    string `json:"new,omitempty"`    // as in the push
	Commit string `json:"commit,omitempty"` // that New is, or that the tag New names
	Reason string `json:"reason"`           // what was compared with what; why nothing starts, when nothing can

	// Undetermined says why it cannot be told what has changed, so that all images are taken.
	Undetermined string `json:"undetermined,omitempty"`

	Images     []ImageChange `json:"images"`     // to be started, in this order
	Unaffected []Untouched   `json:"unaffected"` // the push touches them, but nothing that a stage reads
	Skipped    []Untouched   `json:"skipped"`    // affected, but the commit's message says not to
	Removed    []Untouched   `json:"removed"`    // have no definition any more

	Uncommitted int `json:"uncommitted,omitempty"` // of a Checkout: paths that are not committed, so that they do not count
}

// ImageChange is an image that a push affects.
type ImageChange struct {
	Name   string `json:"image"`
	Folder string `json:"folder"`          // of the definition
	From   string `json:"from"`            // first stage: build, test or release
	After  string `json:"after,omitempty"` // the image that it is made from, when the push makes a new one of it: that has to be good first
	Reason string `json:"reason"`

	// Problem is what validate says about the definition: the run is to be rejected with it. The name of an image whose
	// definition does not tell it is that of its folder.
	Problem    string                 `json:"problem,omitempty"`
	Definition *definition.Definition `json:"-"` // nil with Problem
}

// Untouched is an image that a push does not start.
type Untouched struct {
	Name   string `json:"image"`
	Folder string `json:"folder"`
	Reason string `json:"reason"`
}

// Stages that a run can begin with.
const (
	fromBuild   = "build"
	fromTest    = "test"
	fromRelease = "release"
)

// FirstStage is where a run has to begin for an image that was made from one state of a definition to be that of another;
// empty when it is already.
func FirstStage(was, is definition.Digests) string {
	switch {
	case was.Build != is.Build:
		return fromBuild
	case was.Test != is.Test:
		return fromTest
	case was.Release != is.Release:
		return fromRelease
	}
	return ""
}

// Summary tells the whole change in one line of at most 64 KiB.
func (c Change) Summary() string {
	var started []string
	for _, i := range c.Images {
		what := i.From
		if i.Problem != "" {
			what = "rejected"
		}
		started = append(started, i.Name+" ("+what+")")
	}
	parts := []string{c.Reason}
	for _, list := range []struct {
		verb  string
		names []string
	}{{"starts", started}, {"unaffected", lines(c.Unaffected)}, {"skipped", lines(c.Skipped)}, {"removed", lines(c.Removed)}} {
		if len(list.names) > 0 {
			parts = append(parts, list.verb+" "+few(list.names, 20))
		}
	}
	return cut(strings.Join(parts, "; "), 60_000)
}

func lines(list []Untouched) []string {
	var out []string
	for _, u := range list {
		out = append(out, u.Name+" ("+u.Reason+")")
	}
	return out
}

// few lists the first names, and says how many there are besides.
func few(names []string, most int) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// changed looks at a push.
func (m Mirror) changed(ctx context.Context, r *repository, push Push, rules Rules) (Change, error) {
	c := Change{Ref: push.Ref, New: push.New}
	why, err := refuses(ctx, r, push, rules)
	if why != "" || err != nil {
		c.Reason = why
		return c, err
	}
	if err := m.need(ctx, r, push.Ref, push.New); err != nil {
		return c, err
	}
	o := r.objects(ctx)
	defer o.close()
	head, ok, err := o.commit(push.New)
	if err != nil {
		return c, err
	}
	if !ok {
		c.Reason = "the tag names no commit, so that it starts nothing"
		return c, nil
	}
	c.Commit = head.id
	base, err := m.basis(ctx, o, push, rules, head)
	if err != nil {
		return c, err
	}
	return c, c.fill(o, head, base)
}

// maxRef is the width of the column, in characters.
const maxRef = 255

// refuses says why a push starts nothing, whatever it holds.
func refuses(ctx context.Context, r *repository, push Push, rules Rules) (string, error) {
	kind, name, _ := strings.Cut(strings.TrimPrefix(push.Ref, "refs/"), "/")
	valid, err := isRef(ctx, r, push.Ref)
	if err != nil {
		return "", err
	}
	switch {
	case !valid:
		return "git takes no such ref, so that it starts nothing", nil
	case kind == "tags" && slices.Contains([]Scope{"", ScopeNone}, rules.Tags):
		return "tags start nothing in this project", nil
	case kind != "tags" && kind != "heads":
		return "neither a branch nor a tag, so that it starts nothing", nil
	// The patterns are the same as those of refs that may release, so they are read by the same code.
	case kind == "heads" && !(definition.Policy{ReleaseRefs: rules.Refs}).MayRelease(push.Ref):
		return fmt.Sprintf("branch %s starts nothing in this project, only %s", name, strings.Join(rules.Refs, ", ")), nil
	case utf8.RuneCountInString(push.Ref) > maxRef:
		return fmt.Sprintf("the ref's name has more than the %d characters that a run's record holds, so that it starts nothing", maxRef), nil
	case none(push.New):
		return map[string]string{"heads": "branch", "tags": "tag"}[kind] + " deleted, so that it starts nothing", nil
	}
	return "", nil
}
