package glance

import (
	"context"
	"errors"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Revoke takes an image out of use in each cluster: it is hidden and marked
// with the property aibuild_state=revoked, and neither Release nor Rollback
// shows it again before Restore. Where it was the visible one and successor is
// given, successor (an image of the same name, uploaded if it is not there)
// becomes visible first; without successor the name is then absent, as nobody
// should get a bad image.
//
// It returns one target per cluster, in their order: Revoked, Missing where the
// cluster does not have the image (no error), or Failed; then those of images
// that became visible or hidden.
func (r Releaser) Revoke(ctx context.Context, id string, successor *Image, clusters []string) ([]Target, error) {
	if err := checkRevocation(id, successor); err != nil {
		return nil, err
	}
	return r.job().mark(ctx, id, clusters, func(s *session, copies []images.Image) ([]Target, error) {
		return s.revoke(ctx, copies, successor)
	})
}

// Restore takes the mark of Revoke away in each cluster. The image stays hidden
// (Release or Rollback show it), unless no image of its name is visible: then
// it becomes visible. Targets are Visible, Hidden, Missing or Failed.
func (r Releaser) Restore(ctx context.Context, id string, clusters []string) ([]Target, error) {
	if err := checkRevocation(id, nil); err != nil {
		return nil, err
	}
	return r.job().mark(ctx, id, clusters, func(s *session, copies []images.Image) ([]Target, error) {
		return s.restore(ctx, copies)
	})
}

func checkRevocation(id string, successor *Image) error {
	if _, err := uuid.Parse(id); err != nil {
		return input("image uuid %q is not a UUID", id)
	}
	if successor == nil {
		return nil
	}
	if successor.UUID == id {
		return input("an image cannot succeed itself")
	}
	return successor.check()
}

// mark changes the copies of one image in every cluster.
func (j *job) mark(ctx context.Context, id string, clusters []string,
	change func(*session, []images.Image) ([]Target, error)) ([]Target, error) {
	if err := checkClusters(clusters); err != nil {
		return nil, err
	}
	first := make([]Target, len(clusters))
	others := make([][]Target, len(clusters))
	errs := j.everywhere(ctx, clusters, func(i int, cluster string) error {
		first[i] = Target{Cluster: cluster, ImageUUID: id, State: Missing}
		s, err := j.login(ctx, cluster)
		if err != nil {
			return err
		}
		defer s.close()
		copies, err := s.copies(ctx, id)
		if err != nil || len(copies) == 0 {
			return err
		}
		changed, err := change(s, copies)
		if len(changed) > 0 {
			first[i] = changed[0]
			others[i] = append(others[i], changed[1:]...)
		}
		return err
	})
	var rest []Target
	for i := range clusters {
		if errs[i] != nil {
			first[i].State, first[i].Error = Failed, errs[i].Error()
		}
		first[i] = j.tell(first[i])
		rest = append(rest, others[i]...)
	}
	return append(first, rest...), errors.Join(errs...)
}

// copies lists what the cluster has of one image, unfinished uploads left out.
func (s *session) copies(ctx context.Context, id string) ([]images.Image, error) {
	found, err := s.inventory(ctx, "", id)
	var whole []images.Image
	for _, have := range found {
		if !unfinished(have) && !gone(have) {
			whole = append(whole, have)
		}
	}
	return whole, err
}

// revoke marks all copies; the first target is the revoked image's.
func (s *session) revoke(ctx context.Context, copies []images.Image, successor *Image) ([]Target, error) {
	var p placement
	for _, have := range copies {
		if have.Hidden || successor == nil {
			continue
		}
		if successor.Name != have.Name {
			return nil, s.fail("revoke", input("%s cannot succeed an image of the name %s", successor.Name, have.Name))
		}
		if err := s.place(ctx, s.cluster, *successor, back, &p); err != nil {
			return nil, errors.Join(err, s.forget(ctx, p))
		}
		break
	}
	ctx, cancel := s.detached(ctx)
	defer cancel()
	for _, have := range copies {
		err := s.patch(ctx, "revoke", have.ID, images.ReplaceImageHidden{NewHidden: true},
			images.UpdateImageProperty{Op: images.AddOp, Name: propState, Value: Revoked})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	targets := []Target{s.targetOf(copies[0], Revoked)}
	if p.target.State != "" {
		targets = append(targets, p.target)
	}
	for _, other := range p.others {
		if other.ImageUUID != targets[0].ImageUUID {
			targets = append(targets, other)
		}
	}
	return targets, nil
}

// restore unmarks all copies, and shows one if its name has no visible image.
func (s *session) restore(ctx context.Context, copies []images.Image) ([]Target, error) {
	for _, have := range copies {
		if property(have, propState) == "" {
			continue
		}
		err := s.patch(ctx, "restore", have.ID, images.UpdateImageProperty{Op: images.RemoveOp, Name: propState})
		if err != nil {
			return nil, err
		}
	}
	ours, err := s.inventory(ctx, copies[0].Name, "")
	if err != nil {
		return nil, err
	}
	for _, have := range ours {
		switch {
		case have.Hidden || have.Status != images.ImageStatusActive:
		case property(have, propUUID) == property(copies[0], propUUID):
			return []Target{s.targetOf(have, Visible)}, nil
		default:
			return []Target{s.targetOf(copies[0], Hidden)}, nil
		}
	}
	if err := s.patch(ctx, "show", copies[0].ID, images.ReplaceImageHidden{NewHidden: false}); err != nil {
		return nil, err
	}
	return []Target{s.targetOf(copies[0], Visible)}, nil
}
