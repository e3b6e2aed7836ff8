package aibuild

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Clusters lists what is on record for the images of a name (empty: all names)
// in each cluster. With verify the clouds are asked, what they say is recorded,
// and images that are there without being on record are listed as alien. A
// cluster that cannot be asked is in the error; the others are listed.
func (p *Pipeline) Clusters(ctx context.Context, name string, verify bool) ([]glance.Target, error) {
	if p.Recorder == nil {
		return nil, fail("clusters", &lineage.Invalid{Field: "recorder", Problem: "clusters are compared with the database; configure one"}, "")
	}
	images, err := p.Recorder.Resolve(ctx, lineage.Query{Name: name})
	if err != nil && !errors.Is(err, lineage.ErrNotFound) {
		return nil, fail("clusters", err, "aibuild db status")
	}
	if !verify {
		return onRecord(images), nil
	}
	targets, err := p.verify(ctx, images)
	if name != "" { // aliens of other names may well be on record there
		targets = slices.DeleteFunc(targets, func(t glance.Target) bool { return t.Name != name })
	}
	if err != nil {
		return targets, fail("clusters", err, "aibuild doctor")
	}
	return targets, nil
}

func onRecord(images []lineage.Image) []glance.Target {
	var targets []glance.Target
	for _, img := range images {
		for _, t := range img.Targets {
			targets = append(targets, glance.Target{
				Cluster: t.Cluster, Name: img.Name, ImageUUID: img.UUID, GlanceID: t.GlanceID,
				State: t.State, Hash: t.Hash, Error: t.Error, At: t.CheckedAt,
			})
		}
	}
	return targets
}

func (p *Pipeline) verify(ctx context.Context, images []lineage.Image) ([]glance.Target, error) {
	if p.CloudsFile == "" {
		return nil, &lineage.Invalid{Field: "clouds", Problem: "no clouds.yaml is configured; set OS_CLIENT_CONFIG_FILE"}
	}
	want := map[string][]glance.Expect{}
	var clusters []string
	for _, img := range images {
		for _, t := range img.Targets {
			if !slices.Contains(clusters, t.Cluster) {
				clusters = append(clusters, t.Cluster)
			}
			if state := expected(t); state != "" {
				want[t.Cluster] = append(want[t.Cluster], glance.Expect{Image: p.describe(ctx, img), State: state})
			}
		}
	}
	slices.Sort(clusters)
	var found []glance.Target
	var errs []error
	for _, cluster := range clusters {
		r := glance.Releaser{CloudsFile: p.CloudsFile, Log: p.log().Named("glance"), Now: p.Now}
		targets, err := r.Verify(ctx, cluster, want[cluster])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, targets...)
		errs = append(errs, p.recordChecked(ctx, images, targets))
	}
	return found, errors.Join(errs...)
}

// deletedByUs begins the error of a target that retention deleted, as opposed to
// one that somebody else did.
const deletedByUs = "deleted: "

// expected is what a cluster should say of a target; nothing, where it is known
// not to be there.
func expected(t lineage.Target) string {
	switch t.State {
	case lineage.TargetHidden:
		return glance.Hidden
	case lineage.TargetRevoked:
		return glance.Revoked
	case lineage.TargetFailed, lineage.TargetUploading:
		return ""
	}
	if t.State == lineage.TargetMissing && strings.HasPrefix(t.Error, deletedByUs) {
		return ""
	}
	return glance.Visible
}

// describe is glanceImage for an image of which perhaps only the record is left.
func (p *Pipeline) describe(ctx context.Context, rec lineage.Image) glance.Image {
	if img, err := p.load(ctx, rec.Name, rec.UUID); err == nil {
		return p.glanceImage(img)
	}
	g := glance.Image{UUID: rec.UUID, Name: rec.Name, Arch: rec.Arch, Distro: rec.OSType, Version: rec.OSVer, Commit: rec.Commit, BuiltAt: rec.BuiltAt}
	if a := rec.Artifact; a != nil {
		g.Format, g.Size, g.SHA256, g.SHA512, g.MD5 = a.Format, a.Size, a.SHA256, a.SHA512, a.MD5
		g.VirtualSize, g.MinRAM, g.User = a.VirtualSize, a.Memory, a.User
	}
	return g
}

// recordChecked writes down what a cloud said: a changed state becomes part of
// the image's story, an unchanged one only moves checked_at.
func (p *Pipeline) recordChecked(ctx context.Context, images []lineage.Image, targets []glance.Target) error {
	var same []lineage.Record
	var errs []error
	for _, t := range targets {
		i := slices.IndexFunc(images, func(img lineage.Image) bool { return img.UUID == t.ImageUUID })
		if i < 0 || t.State == glance.Alien {
			continue
		}
		checked := lineageTarget(t)
		checked.ReleaseAt, checked.CheckedAt = time.Time{}, t.At // seen, not released
		if t.Detail != "" && checked.Error == "" {
			checked.Error = t.Detail
		}
		record := lineage.Record{Verb: lineage.VerbChecked, ImageUUID: t.ImageUUID, Reason: short(t.Detail), Released: checked}
		if recorded(images[i], t.Cluster) == t.State {
			same = append(same, record)
		} else {
			errs = append(errs, p.recordOther(ctx, images[i].Name, t.ImageUUID, record))
		}
	}
	if len(same) > 0 {
		errs = append(errs, p.stamp(same), p.Recorder.Record(ctx, same...))
	}
	return errors.Join(errs...)
}

func recorded(img lineage.Image, cluster string) string {
	for _, t := range img.Targets {
		if t.Cluster == cluster {
			return t.State
		}
	}
	return ""
}
