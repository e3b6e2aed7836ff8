package glance

import (
	"context"
	"errors"
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Plan says what Release would do now, cluster by cluster in their order, and
// changes nothing. A cluster that cannot be asked, or would refuse, is a
// *ClusterError in the joined error; the steps of the others are given.
func (r Releaser) Plan(ctx context.Context, img Image, clusters []string) ([]Step, error) {
	if err := errors.Join(img.check(), checkClusters(clusters)); err != nil {
		return nil, err
	}
	j := r.job()
	steps := make([][]Step, len(clusters))
	errs := j.everywhere(ctx, clusters, func(i int, cluster string) error {
		s, err := j.login(ctx, cluster)
		if err != nil {
			return err
		}
		defer s.close()
		d, err := s.survey(ctx, img, forward, nil)
		if err == nil {
			steps[i] = s.steps(d, img)
		}
		return err
	})
	var all []Step
	for _, some := range steps {
		all = append(all, some...)
	}
	return all, errors.Join(errs...)
}

// steps puts a decision into words, in the order in which it is carried out.
func (s *session) steps(d decision, img Image) []Step {
	var steps []Step
	add := func(verb, id, format string, args ...any) {
		steps = append(steps, Step{Cluster: s.cluster, Verb: verb, GlanceID: id, Text: fmt.Sprintf(format, args...)})
	}
	if d.done() {
		add("none", d.keep.ID, "nothing to do: %s is visible as %s and as recorded", img.Name, d.keep.ID)
		return steps
	}
	for _, dead := range d.dead {
		add("delete", dead.ID, "delete %s, the unfinished upload of an attempt that died", dead.ID)
	}
	if d.keep == nil {
		add("upload", "", "upload %s (%s, %d bytes) hidden, visibility %s, and compare size and digests with the record",
			img.Name, img.Format, img.Size, img.visibility())
		add("show", "", "make the new image visible")
	} else {
		for _, wrong := range d.repair {
			add("repair", d.keep.ID, "put %s right: %s", d.keep.ID, wrong.text)
		}
		if d.keep.Hidden {
			add("show", d.keep.ID, "make %s, which is there with the recorded bytes, visible", d.keep.ID)
		}
	}
	for _, older := range d.hide {
		add("hide", older.ID, "hide %s", describe(older))
	}
	for _, extra := range d.drop {
		add("delete", extra.ID, "delete %s, a copy that is not needed or has other bytes", extra.ID)
	}
	return steps
}

// describe names an image for people.
func describe(have images.Image) string {
	return fmt.Sprintf("%s (aibuild %s, built %s)", have.ID, property(have, propUUID), property(have, propDate))
}
