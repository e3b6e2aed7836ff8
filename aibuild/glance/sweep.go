package glance

import (
	"context"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Sweep puts right what dead processes left under a name in one cluster:
// unfinished uploads are deleted (targets Missing), and of several visible
// images only one stays visible: the image with the uuid current (by the
// record), if it is one of them, else the newest; the others become Hidden.
//
// The caller holds the lock of the name: whatever is being uploaded under it
// counts as dead.
func (r Releaser) Sweep(ctx context.Context, cluster, name, current string) ([]Target, error) {
	if name == "" {
		return nil, input("no name is given")
	}
	j := r.job()
	var targets []Target
	errs := j.everywhere(ctx, []string{cluster}, func(_ int, cluster string) error {
		s, err := j.login(ctx, cluster)
		if err != nil {
			return err
		}
		defer s.close()
		ours, err := s.inventory(ctx, name, "")
		if err != nil {
			return err
		}
		swept, err := s.sweep(ctx, ours, current)
		targets = append(targets, swept...)
		return err
	})
	return targets, errs[0]
}

func (s *session) sweep(ctx context.Context, ours []images.Image, current string) ([]Target, error) {
	var targets []Target
	for _, have := range ours {
		if !unfinished(have) {
			continue
		}
		if err := s.remove(ctx, have.ID); err != nil {
			return targets, err
		}
		targets = append(targets, s.tell(s.targetOf(have, Missing)))
	}
	for _, have := range surplus(ours, current) {
		if err := s.hide(ctx, have); err != nil {
			return targets, err
		}
		targets = append(targets, s.tell(s.targetOf(have, stateWhenHidden(have))))
	}
	return targets, nil
}

// surplus gives the visible images of a name that should not be visible.
func surplus(ours []images.Image, current string) []images.Image {
	visible := slices.DeleteFunc(slices.Clone(ours), func(have images.Image) bool {
		return have.Hidden || unfinished(have) || gone(have)
	})
	if len(visible) < 2 {
		return nil
	}
	best := 0
	for i, have := range visible {
		if better(have, visible[best], current) {
			best = i
		}
	}
	return slices.Delete(visible, best, best+1)
}

// better: should a stay visible rather than b?
func better(a, b images.Image, current string) bool {
	if first, second := property(a, propUUID) == current, property(b, propUUID) == current; first != second {
		return first
	}
	if first, second := property(a, propState) == Revoked, property(b, propState) == Revoked; first != second {
		return second
	}
	return newerThan(property(a, propDate), property(a, propUUID), property(b, propDate), property(b, propUUID))
}
