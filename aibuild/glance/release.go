package glance

import (
	"context"
	"errors"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Release makes img the visible image of its name in each cluster: what an
// earlier attempt left is deleted, the bytes are uploaded hidden and compared
// with the record, then img becomes visible, then older images of the name are
// hidden. Where img is there already, only what is missing or changed is put
// right; nothing missing, nothing done.
//
// It returns one target per cluster, in the order of clusters, followed by
// those of other images whose state changed. The error joins a *ClusterError
// for each cluster that failed; the others are released all the same. An image
// older than the visible one is refused (ErrBackwards), a revoked one, too
// (ErrRevoked), and bytes that are not those of the record (ErrDigest). Where
// only a rule refuses, the target is Failed, but OnState hears nothing of it,
// as the image stays in the cluster what it was.
func (r Releaser) Release(ctx context.Context, img Image, clusters []string) ([]Target, error) {
	return r.job().putInPlace(ctx, img, forward, clusters)
}

// Rollback makes the image to the visible one of its name in each cluster,
// whatever its age. Where it is still there, nothing is uploaded: its digest is
// compared, it becomes visible, and the others of the name are hidden. Targets
// and errors are those of Release.
func (r Releaser) Rollback(ctx context.Context, to Image, clusters []string) ([]Target, error) {
	return r.job().putInPlace(ctx, to, back, clusters)
}

func (j *job) putInPlace(ctx context.Context, img Image, to goal, clusters []string) ([]Target, error) {
	if err := errors.Join(img.check(), checkClusters(clusters)); err != nil {
		return nil, err
	}
	placements := make([]placement, len(clusters))
	errs := j.everywhere(ctx, clusters, func(i int, cluster string) error {
		return j.place(ctx, cluster, img, to, &placements[i])
	})
	var targets, others []Target
	for i, p := range placements {
		if p.target.State != Visible {
			p.target = j.giveUp(ctx, clusters[i], img, p, errs[i])
		}
		targets = append(targets, p.target)
		others = append(others, p.others...)
	}
	return append(targets, others...), errors.Join(errs...)
}

// placement is what became of an image in one cluster, over all tries.
type placement struct {
	target   Target   // of the image itself
	others   []Target // images of the name that were hidden or deleted
	uploaded string   // Glance id of a verified image that nobody saw yet
}

// place is one try in one cluster. All it needs to know it finds in the
// cluster, so a try goes on where the last one, or a dead process, ended.
func (j *job) place(ctx context.Context, cluster string, img Image, to goal, p *placement) error {
	s, err := j.login(ctx, cluster)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := s.survey(ctx, img, to, nil)
	if err != nil {
		return err
	}
	for _, dead := range d.dead {
		s.log.Info("deleting an unfinished upload", "glance", dead.ID, "uuid", img.UUID)
		if err := s.remove(ctx, dead.ID); err != nil {
			return err
		}
	}
	if d.keep == nil {
		have, err := s.upload(ctx, img)
		if err != nil {
			return err
		}
		p.uploaded = have.ID
		// An upload takes its time: look again before anything becomes visible.
		if d, err = s.survey(ctx, img, to, have); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return s.fail("show", err)
	}
	return s.swap(ctx, d, p)
}

// survey decides from the cluster's present state. fresh is an image that was
// just made, which a list may not have yet.
func (s *session) survey(ctx context.Context, img Image, to goal, fresh *images.Image) (decision, error) {
	ours, err := s.inventory(ctx, img.Name, img.UUID)
	if err != nil {
		return decision{}, err
	}
	listed := func(have images.Image) bool { return have.ID == fresh.ID }
	if fresh != nil && !slices.ContainsFunc(ours, listed) {
		ours = append(ours, *fresh)
	}
	d, err := decide(ours, img, to)
	if err == nil && d.keep == nil {
		err = img.checkSource()
	}
	return d, s.fail("release", err)
}

// swap shows the image, and only then hides the others. Once begun it is
// brought to its end even when the caller's context is over: an end in between
// would leave two visible images.
func (s *session) swap(ctx context.Context, d decision, p *placement) error {
	ctx, cancel := s.detached(ctx)
	defer cancel()
	if len(d.repair) > 0 {
		s.log.Info("putting settings right", "glance", d.keep.ID, "changed", texts(d.repair))
		var patches []images.Patch
		for _, wrong := range d.repair {
			patches = append(patches, wrong.patch)
		}
		if err := s.patch(ctx, "repair", d.keep.ID, patches...); err != nil {
			return err
		}
	}
	if d.keep.Hidden {
		if err := s.patch(ctx, "show", d.keep.ID, images.ReplaceImageHidden{NewHidden: false}); err != nil {
			return err
		}
	}
	p.uploaded = ""
	p.target = s.tell(s.targetOf(*d.keep, Visible))
	for _, older := range d.hide {
		if err := s.hide(ctx, older); err != nil {
			return s.half(p, err)
		}
		p.others = append(p.others, s.tell(s.targetOf(older, stateWhenHidden(older))))
	}
	for _, extra := range d.drop {
		if err := s.drop(ctx, extra); err != nil {
			return s.half(p, err)
		}
	}
	return nil
}

// half notes that the image is visible, but others are, too.
func (s *session) half(p *placement, err error) error {
	p.target.Error = err.Error()
	return err
}

func stateWhenHidden(have images.Image) string {
	if property(have, propState) == Revoked {
		return Revoked
	}
	return Hidden
}

func (s *session) hide(ctx context.Context, have images.Image) error {
	err := s.patch(ctx, "hide", have.ID, images.ReplaceImageHidden{NewHidden: true})
	if errors.Is(err, ErrNotFound) { // deleted meanwhile: nobody sees it either
		return nil
	}
	return err
}

// drop gets rid of a needless copy; one that Glance does not delete stays hidden.
func (s *session) drop(ctx context.Context, extra images.Image) error {
	if !extra.Hidden {
		if err := s.hide(ctx, extra); err != nil {
			return err
		}
	}
	err := s.remove(ctx, extra.ID)
	if refusedDelete(err) {
		s.log.Warn("a second copy stays, hidden", "glance", extra.ID, "error", err)
		return nil
	}
	return err
}

// giveUp describes a cluster that failed for good, and deletes the image that
// was uploaded there but never became visible.
func (j *job) giveUp(ctx context.Context, cluster string, img Image, p placement, err error) Target {
	t := Target{Cluster: cluster, Name: img.Name, ImageUUID: img.UUID, GlanceID: p.uploaded, State: Failed}
	t.Error = err.Error()
	if p.uploaded == "" && errors.Is(err, ErrRefused) && !errors.Is(err, ErrDigest) {
		return j.stamp(t) // a rule said no before anything was done: no state has changed
	}
	if p.uploaded != "" {
		if undone := j.discard(ctx, cluster, p.uploaded); undone != nil {
			t.Error += "; image " + p.uploaded + " stays, the next release uses it: " + undone.Error()
		} else {
			t.GlanceID = ""
		}
	}
	return j.tell(t)
}

// discard deletes a hidden image with a login and a time of its own. It looks
// first: the answer to a request that showed it may have been lost.
func (j *job) discard(ctx context.Context, cluster, id string) error {
	ctx, cancel := j.detached(ctx)
	defer cancel()
	s, err := j.login(ctx, cluster)
	if err != nil {
		return err
	}
	defer s.close()
	have, err := s.get(ctx, "delete", id)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	case !have.Hidden:
		return errors.New("it has become visible after all")
	}
	return s.remove(ctx, id)
}

// forget deletes the image that a placement which is given up uploaded.
func (s *session) forget(ctx context.Context, p placement) error {
	if p.uploaded == "" {
		return nil
	}
	return s.discard(ctx, s.cluster, p.uploaded)
}
