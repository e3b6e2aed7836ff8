package glance

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Retention says which images of a name stay.
type Retention struct {
	Name   string
	Keep   int      // so many of the newest stay, the visible one counted
	Held   []string // aibuild uuids that stay whatever their age
	DryRun bool     // only tell
}

// Deletion is one image that Keep deleted, would delete, or had to leave.
type Deletion struct {
	Cluster   string `json:"cluster"`
	Name      string `json:"name"`
	ImageUUID string `json:"image_uuid"`
	GlanceID  string `json:"glance_id"`
	Bytes     int64  `json:"bytes"`
	Deleted   bool   `json:"deleted"` // false in a dry run, and where Glance refused
	Reason    string `json:"reason"`  // why it goes, or why it had to stay
}

// Keep deletes old images of a name in each cluster, the oldest first. It never
// takes the visible image, the one before it (to which a rollback would
// return), a held one, one that is being uploaded, or one that is not ours. An
// image that Glance refuses to delete, because it is protected or in use, stays
// and is reported; that is no error.
func (r Releaser) Keep(ctx context.Context, keep Retention, clusters []string) ([]Deletion, error) {
	if keep.Name == "" || keep.Keep < 0 {
		return nil, input("a name and a number that is not negative are needed")
	}
	if err := checkClusters(clusters); err != nil {
		return nil, err
	}
	j := r.job()
	deletions := make([][]Deletion, len(clusters))
	errs := j.everywhere(ctx, clusters, func(i int, cluster string) error {
		s, err := j.login(ctx, cluster)
		if err != nil {
			return err
		}
		defer s.close()
		ours, err := s.inventory(ctx, keep.Name, "")
		if err != nil {
			return err
		}
		// What an earlier try had to leave is judged anew.
		deletions[i] = slices.DeleteFunc(deletions[i], func(d Deletion) bool { return !d.Deleted })
		for _, old := range expendable(ours, keep) {
			deletion, err := s.expire(ctx, old, keep)
			if err != nil {
				return err
			}
			deletions[i] = append(deletions[i], deletion)
		}
		return nil
	})
	return slices.Concat(deletions...), errors.Join(errs...)
}

// expire deletes one image, unless Glance objects.
func (s *session) expire(ctx context.Context, old images.Image, keep Retention) (Deletion, error) {
	deletion := Deletion{Cluster: s.cluster, Name: old.Name, ImageUUID: property(old, propUUID), GlanceID: old.ID,
		Bytes: old.SizeBytes, Reason: fmt.Sprintf("built %s, beyond the newest %d", property(old, propDate), keep.Keep)}
	if keep.DryRun {
		return deletion, nil
	}
	err := s.remove(ctx, old.ID)
	if refusedDelete(err) {
		deletion.Reason = "kept, as Glance refuses to delete it: " + err.Error()
		return deletion, nil
	}
	deletion.Deleted = err == nil
	return deletion, err
}

// expendable chooses what may go, oldest first.
func expendable(ours []images.Image, keep Retention) []images.Image {
	whole := slices.DeleteFunc(slices.Clone(ours), func(have images.Image) bool { return unfinished(have) || gone(have) })
	slices.SortFunc(whole, func(a, b images.Image) int { // newest first
		if newerThan(property(a, propDate), property(a, propUUID), property(b, propDate), property(b, propUUID)) {
			return -1
		}
		return 1
	})
	stays := map[string]bool{}
	needed := 2 // the visible image, and then the one to which a rollback returns
	seenVisible := !slices.ContainsFunc(whole, func(have images.Image) bool { return !have.Hidden })
	for i, have := range whole {
		good := have.Status == images.ImageStatusActive && property(have, propState) != Revoked
		seenVisible = seenVisible || !have.Hidden
		if !have.Hidden || (seenVisible && good && needed > 0) {
			stays[have.ID] = true
			needed--
		}
		if i < keep.Keep || slices.Contains(keep.Held, property(have, propUUID)) {
			stays[have.ID] = true
		}
	}
	whole = slices.DeleteFunc(whole, func(have images.Image) bool { return stays[have.ID] })
	slices.Reverse(whole)
	return whole
}
