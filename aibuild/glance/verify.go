package glance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Verify compares one cluster with the record and changes nothing. For each
// expected image it returns one target, in their order:
//
//   - Visible, Hidden or Revoked: there, with the recorded bytes and settings;
//     Detail says so where that is not the expected state, or where the name
//     has more than one visible image;
//   - Changed: there, but bytes, settings or status differ, see Detail;
//   - Missing: not there, or never completed.
//
// What the record of an expected image does not know (zero fields) is not
// compared; its uuid and name are needed.
//
// Then come the Alien ones: images that have one of the expected names or our
// mark in our project, but are not expected. Alien images are never changed by
// this package.
func (r Releaser) Verify(ctx context.Context, cluster string, want []Expect) ([]Target, error) {
	for _, w := range want {
		if err := w.check(); err != nil {
			return nil, err
		}
	}
	j := r.job()
	var targets []Target
	errs := j.everywhere(ctx, []string{cluster}, func(_ int, cluster string) error {
		s, err := j.login(ctx, cluster)
		if err != nil {
			return err
		}
		defer s.close()
		targets, err = s.verify(ctx, want)
		return err
	})
	return targets, errs[0]
}

func (w Expect) check() error {
	if !slices.Contains([]string{Visible, Hidden, Revoked}, w.State) {
		return input("state %q of %s cannot be expected", w.State, w.Image.UUID)
	}
	if _, err := uuid.Parse(w.Image.UUID); err != nil || w.Image.Name == "" {
		return input("an expected image needs its uuid (%q) and its name (%q)", w.Image.UUID, w.Image.Name)
	}
	return nil
}

// whereRecorded fills what the record does not know (that of a pruned image is
// not complete) with what the cluster says, so that it is not a difference.
func whereRecorded(want Image, have images.Image) Image {
	if want.Size == 0 {
		want.Size = have.SizeBytes
	}
	if want.Format == "" {
		want.Format = have.DiskFormat
	}
	if want.VirtualSize == 0 {
		want.VirtualSize = max(have.VirtualSize, int64(have.MinDiskGigabytes)*gib)
	}
	if want.MinRAM == 0 {
		want.MinRAM = int64(have.MinRAMMegabytes) * mib
	}
	if want.Visibility == "" {
		want.Visibility = string(have.Visibility)
	}
	if date, err := time.Parse(dateLayout, property(have, propDate)); err == nil && want.BuiltAt.IsZero() {
		want.BuiltAt = date
	}
	return want
}

func (s *session) verify(ctx context.Context, want []Expect) ([]Target, error) {
	mine, err := s.list(ctx, map[string]string{"owner": s.project.ID})
	if err != nil {
		return nil, err
	}
	var targets []Target
	known := map[string]bool{} // Glance ids
	names := map[string]bool{}
	for _, w := range want {
		names[w.Image.Name] = true
		var copies []images.Image
		for _, have := range mine {
			if s.ours(have) && property(have, propUUID) == w.Image.UUID && !gone(have) {
				copies = append(copies, have)
				known[have.ID] = true
			}
		}
		targets = append(targets, s.compare(copies, mine, w))
	}
	aliens, err := s.aliens(ctx, mine, known, names)
	return append(targets, aliens...), err
}

// compare judges the copies of one expected image.
func (s *session) compare(copies, mine []images.Image, w Expect) Target {
	whole := slices.DeleteFunc(slices.Clone(copies), unfinished)
	if len(whole) == 0 {
		t := s.target(w.Image, "", Missing)
		if len(copies) > 0 {
			t.GlanceID, t.Detail = copies[0].ID, fmt.Sprintf("an upload of it is %s", copies[0].Status)
		}
		return s.stamp(t)
	}
	slices.SortFunc(whole, preferred)
	have := whole[0]
	w.Image = whereRecorded(w.Image, have)
	t := s.targetOf(have, stateOf(have))
	var details []string
	if have.Status != images.ImageStatusActive {
		t.State = Changed
		details = append(details, "its status is "+string(have.Status))
	} else if w.Image.SHA512+w.Image.SHA256+w.Image.MD5 == "" {
		details = append(details, "the record has no digest, so the bytes were not compared")
	} else if err := sameBytes(have, w.Image); err != nil {
		t.State = Changed
		details = append(details, err.Error())
	}
	if wrong := differences(have, w.Image); len(wrong) > 0 {
		t.State = Changed
		details = append(details, texts(wrong))
	}
	if state := stateOf(have); state != w.State {
		details = append(details, fmt.Sprintf("it is %s, recorded is %s", state, w.State))
	}
	if len(whole) > 1 {
		details = append(details, fmt.Sprintf("there are %d copies", len(whole)))
	}
	if n := s.visible(mine, have.Name); n > 1 {
		details = append(details, fmt.Sprintf("%d images of the name are visible", n))
	}
	t.Detail = strings.Join(details, "; ")
	return s.stamp(t)
}

// stamp sets the time of a target that is an observation, not a change.
func (j *job) stamp(t Target) Target {
	t.At = j.Now().UTC()
	return t
}

// stateOf is what the cluster shows of an image.
func stateOf(have images.Image) string {
	switch {
	case !have.Hidden:
		return Visible
	case property(have, propState) == Revoked:
		return Revoked
	}
	return Hidden
}

// visible counts our visible images of a name.
func (s *session) visible(mine []images.Image, name string) int {
	n := 0
	for _, have := range mine {
		if s.ours(have) && have.Name == name && !have.Hidden && !gone(have) && !unfinished(have) {
			n++
		}
	}
	return n
}

// aliens finds images that look like ours but are not on record.
func (s *session) aliens(ctx context.Context, mine []images.Image, known, names map[string]bool) ([]Target, error) {
	candidates := slices.Clone(mine)
	for name := range names {
		named, err := s.list(ctx, map[string]string{"name": name})
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, named...)
	}
	var found []Target
	for _, have := range candidates {
		if known[have.ID] || gone(have) || !names[have.Name] && !s.ours(have) {
			continue
		}
		known[have.ID] = true
		t := s.targetOf(have, Alien)
		switch {
		case have.Owner != s.project.ID:
			t.Detail = fmt.Sprintf("%s, of another project (%s)", stateOf(have), have.Owner)
		case !s.ours(have):
			t.Detail = stateOf(have) + ", made by others: it has no aibuild_uuid"
		default:
			t.Detail = stateOf(have) + ", has our mark but is not on record"
		}
		found = append(found, s.stamp(t))
	}
	slices.SortFunc(found, func(a, b Target) int { return strings.Compare(a.Name+a.GlanceID, b.Name+b.GlanceID) })
	return found, nil
}
