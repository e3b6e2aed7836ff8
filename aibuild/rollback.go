package aibuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// RollbackOptions say what returns, where and why.
type RollbackOptions struct {
	To       string   // image; empty: in each cluster the good one before the visible one
	Clusters []string // empty: everywhere the name is visible
	Reason   string   // for the record; needed
}

// Rollback makes an older image of a name the visible one. Where it is still in
// the cluster nothing is uploaded.
func (p *Pipeline) Rollback(ctx context.Context, name string, o RollbackOptions) ([]glance.Target, error) {
	targets, err := p.rollback(ctx, name, o)
	if err != nil {
		return targets, fail("rollback", err, "aibuild clusters --verify "+name)
	}
	return targets, nil
}

func (p *Pipeline) rollback(ctx context.Context, name string, o RollbackOptions) ([]glance.Target, error) {
	if strings.TrimSpace(o.Reason) == "" {
		return nil, &lineage.Invalid{Field: "reason", Problem: "a rollback is recorded with a reason; give --reason"}
	}
	if p.CloudsFile == "" {
		return nil, &lineage.Invalid{Field: "clouds", Problem: "no clouds.yaml is configured; set OS_CLIENT_CONFIG_FILE"}
	}
	images, err := p.imagesOf(ctx, name)
	if err != nil {
		return nil, err
	}
	var to *Image
	if o.To != "" {
		if to, err = p.Find(ctx, o.To); err != nil {
			return nil, err
		}
		if to.Name != name {
			return nil, &Refused{Image: to.Ref(), Rule: "a rollback stays within one name", Found: "this is not an image of " + name}
		}
	}
	groups, err := rollbackTargets(images, to, o.Clusters)
	if err != nil {
		return nil, err
	}
	var targets []glance.Target
	var errs []error
	for _, g := range groups {
		done, err := p.rollbackTo(ctx, g.to, g.clusters, o.Reason)
		targets, errs = append(targets, done...), append(errs, err)
	}
	return targets, errors.Join(errs...)
}

// imagesOf are the images of a name whose manifests are there, newest first.
func (p *Pipeline) imagesOf(ctx context.Context, name string) ([]*Image, error) {
	entries, err := p.Site.List(ctx, publish.Build)
	if err != nil {
		return nil, err
	}
	var images []*Image
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		img, err := p.load(ctx, e.Name, e.UUID)
		if err != nil {
			return nil, err
		}
		images = append(images, img)
	}
	if len(images) == 0 {
		return nil, &NotFound{What: "image", Ref: name, Hint: "aibuild image list"}
	}
	slices.SortFunc(images, func(a, b *Image) int { return strings.Compare(b.UUID, a.UUID) })
	return images, nil
}

type rollbackGroup struct {
	to       *Image
	clusters []string
}

// rollbackTargets finds which image returns in which cluster.
func rollbackTargets(images []*Image, to *Image, only []string) ([]rollbackGroup, error) {
	visible := map[string]*Image{}
	var clusters []string
	for _, img := range images {
		for _, c := range img.clusters() {
			if t := img.target(c); t.State == lineage.TargetVisible && visible[c] == nil {
				visible[c] = img
				clusters = append(clusters, c)
			}
		}
	}
	if len(only) > 0 {
		clusters = only
	}
	slices.Sort(clusters)
	var groups []rollbackGroup
	for _, c := range clusters {
		goal := to
		if goal == nil {
			goal = before(images, visible[c], c)
		}
		if goal == nil {
			return nil, &Refused{Image: images[0].Name, Rule: "a rollback needs an older good image that was in the cluster", Found: c + " has none on record", Next: "name one with --to IMAGE"}
		}
		if i := slices.IndexFunc(groups, func(g rollbackGroup) bool { return g.to.UUID == goal.UUID }); i >= 0 {
			groups[i].clusters = append(groups[i].clusters, c)
		} else {
			groups = append(groups, rollbackGroup{goal, []string{c}})
		}
	}
	if len(groups) == 0 {
		return nil, &Refused{Image: images[0].Name, Rule: "a rollback needs a visible image", Found: "no cluster has one on record", Next: "aibuild clusters --verify " + images[0].Name}
	}
	return groups, nil
}

// before is the newest good image, older than current, that the cluster had.
func before(images []*Image, current *Image, cluster string) *Image {
	for _, img := range images {
		older := current != nil && img.UUID < current.UUID
		if older && img.in(cluster) && img.passed("") == nil {
			return img
		}
	}
	return nil
}

// in says whether the cluster has the image, as far as is on record.
func (i *Image) in(cluster string) bool {
	t := i.target(cluster)
	return t != nil && (t.State == lineage.TargetVisible || t.State == lineage.TargetHidden)
}

func (p *Pipeline) rollbackTo(ctx context.Context, to *Image, clusters []string, reason string) ([]glance.Target, error) {
	unlock, err := p.lockImage(ctx, to)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := p.mayGoTo(to, clusters); err != nil {
		return nil, err
	}
	p.say("rollback", to, fmt.Sprintf("back to %s in %s", to.Ref(), strings.Join(clusters, ", ")))
	k := &keeper{p: p, img: to, ctx: ctx, verb: lineage.VerbRolled, reason: short(reason)}
	releaser := p.releaser(to)
	releaser.OnState = k.state
	targets, err := releaser.Rollback(ctx, p.glanceImage(to), clusters)
	return targets, errors.Join(err, k.finish(), p.updateStory(ctx, to))
}
