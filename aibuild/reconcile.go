package aibuild

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// quietFor is how long nobody must have changed an image's folder before others
// deliver what waits there: whoever works on it does so himself.
const quietFor = time.Minute

// SiteJournals remembers between calls of DeliverSite which images have nothing
// that waits, so that not every manifest is read again. The zero value remembers
// nothing. One call at a time.
type SiteJournals struct {
	settled map[string]time.Time // uuid -> time of the folder
}

// DeliverSite sends what builds on any machine could not record: it waits in
// the manifests of the web root. It returns how many images were delivered. An
// image that somebody works on is left to them.
func (p *Pipeline) DeliverSite(ctx context.Context, seen *SiteJournals) (int, error) {
	if p.Recorder == nil {
		return 0, nil
	}
	entries, err := p.Site.List(ctx, publish.Build)
	if err != nil {
		return 0, fail("journal", err, "")
	}
	count := 0
	settled := map[string]time.Time{}
	var errs []error
	for _, e := range entries {
		if ctx.Err() != nil {
			return count, errors.Join(append(errs, ctx.Err())...)
		}
		if at, known := seen.settled[e.UUID]; known && at.Equal(e.Modified) {
			settled[e.UUID] = at
			continue
		}
		if age := p.now().Sub(e.Modified); age >= 0 && age < quietFor {
			continue
		}
		switch sent, err := p.deliverEntry(ctx, e); {
		case errors.Is(err, errBusy):
		case err != nil:
			errs = append(errs, fmt.Errorf("deliver %s %s: %w", e.Name, e.UUID, err))
		case sent:
			count++ // its folder has just changed
		default:
			settled[e.UUID] = e.Modified
		}
	}
	seen.settled = settled
	return count, errors.Join(errs...)
}

// errBusy: somebody works on images of the name.
var errBusy = errors.New("somebody works on it")

// deliverEntry says whether anything was sent; where not, nothing waits.
func (p *Pipeline) deliverEntry(ctx context.Context, e publish.Entry) (sent bool, err error) {
	img, err := p.load(ctx, e.Name, e.UUID)
	if errors.Is(err, publish.ErrNotFound) {
		return false, nil // pruned meanwhile, or put there by hand
	}
	if err != nil || len(img.Pending) == 0 {
		return false, err
	}
	unlock, err := p.lockImage(ctx, img)
	if _, busy := errors.AsType[*lineage.Locked](err); busy {
		return false, errBusy
	}
	if err != nil {
		return false, err
	}
	defer unlock()
	if len(img.Pending) == 0 {
		return false, nil
	}
	if err := p.deliver(ctx, img, nil); err != nil {
		return false, err
	}
	if len(img.Pending) > 0 {
		return false, errors.New("the database is away")
	}
	return true, nil
}

// SweepUploads clears away uploads whose process died: what is unfinished in a
// cloud is deleted, and the record says that the release failed. Names that
// somebody works on are left alone. It returns what was cleared away.
func (p *Pipeline) SweepUploads(ctx context.Context) ([]glance.Target, error) {
	if p.Recorder == nil || p.CloudsFile == "" {
		return nil, nil
	}
	images, err := p.Recorder.Resolve(ctx, lineage.Query{})
	if err != nil && !errors.Is(err, lineage.ErrNotFound) {
		return nil, fail("sweep", err, "aibuild db status")
	}
	var names []string
	for _, img := range images {
		if uploading(img) && !slices.Contains(names, img.Name) {
			names = append(names, img.Name)
		}
	}
	var done []glance.Target
	var errs []error
	for _, name := range names {
		some, err := p.sweepName(ctx, name)
		done, errs = append(done, some...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return done, fail("sweep", err, "aibuild doctor")
	}
	return done, nil
}

func uploading(img lineage.Image) bool {
	return slices.ContainsFunc(img.Targets, func(t lineage.Target) bool { return t.State == lineage.TargetUploading })
}

// sweepName clears away the dead uploads of a name. With its lock held, whatever
// is on record as being uploaded is dead.
func (p *Pipeline) sweepName(ctx context.Context, name string) ([]glance.Target, error) {
	unlock, err := p.lock(ctx, name)
	if _, busy := errors.AsType[*lineage.Locked](err); busy {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer unlock()
	images, err := p.Recorder.Resolve(ctx, lineage.Query{Name: name}) // as it is now that nobody changes it
	if err != nil {
		return nil, err
	}
	var done []glance.Target
	var errs []error
	for _, img := range images {
		for _, t := range img.Targets {
			if t.State != lineage.TargetUploading {
				continue
			}
			target, err := p.sweepUpload(ctx, img, t.Cluster, visibleIn(images, t.Cluster))
			if err != nil {
				errs = append(errs, err)
				continue
			}
			done = append(done, target)
		}
	}
	return done, errors.Join(errs...)
}

// visibleIn is the uuid of the image that is on record as visible in a cluster.
func visibleIn(images []lineage.Image, cluster string) string {
	for _, img := range images {
		if recorded(img, cluster) == lineage.TargetVisible {
			return img.UUID
		}
	}
	return ""
}

func (p *Pipeline) sweepUpload(ctx context.Context, img lineage.Image, cluster, current string) (glance.Target, error) {
	const why = "its upload was cut off, as the process that made it died; release it again"
	r := glance.Releaser{CloudsFile: p.CloudsFile, Log: p.log().Named("glance"), Now: p.Now}
	swept, err := r.Sweep(ctx, cluster, img.Name, current)
	if err != nil {
		return glance.Target{}, err
	}
	out := glance.Target{Cluster: cluster, Name: img.Name, ImageUUID: img.UUID, State: glance.Failed, Error: why, At: p.now()}
	for _, t := range swept {
		if t.ImageUUID == img.UUID {
			out.GlanceID = t.GlanceID
		}
	}
	record := lineage.Record{Verb: lineage.VerbChecked, Reason: short(why), Released: &lineage.Target{
		Cluster: cluster, State: lineage.TargetFailed, Error: why, CheckedAt: p.now(),
	}}
	return out, p.recordOther(ctx, img.Name, img.UUID, record)
}
