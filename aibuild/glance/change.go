package glance

import (
	"context"
	"errors"
	"net/http"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// target describes img in this cluster.
func (s *session) target(img Image, id, state string) Target {
	return Target{Cluster: s.cluster, Name: img.Name, ImageUUID: img.UUID, GlanceID: id, State: state}
}

// targetOf describes what the cluster has.
func (s *session) targetOf(have images.Image, state string) Target {
	return Target{Cluster: s.cluster, Name: have.Name, ImageUUID: property(have, propUUID), GlanceID: have.ID,
		State: state, Hash: digestOf(have)}
}

// get asks for one image.
func (s *session) get(ctx context.Context, op, id string) (*images.Image, error) {
	var have *images.Image
	err := s.call(ctx, op, func(ctx context.Context) error {
		var err error
		have, err = images.Get(ctx, s.image, id).Extract()
		return err
	})
	return have, err
}

// patch changes settings of one image.
func (s *session) patch(ctx context.Context, op, id string, patches ...images.Patch) error {
	return s.call(ctx, op, func(ctx context.Context) error {
		return images.Update(ctx, s.image, id, images.UpdateOpts(patches)).Err
	})
}

// remove deletes one image; one that is not there is no error.
func (s *session) remove(ctx context.Context, id string) error {
	err := s.call(ctx, "delete", func(ctx context.Context) error {
		return images.Delete(ctx, s.image, id).Err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// refusedDelete: Glance keeps the image because it is protected or in use.
func refusedDelete(err error) bool {
	return hasStatus(err, http.StatusForbidden, http.StatusConflict)
}
