package aibuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// ReleaseOptions say where an image goes.
type ReleaseOptions struct {
	Clusters []string // names in clouds.yaml; empty: those of the definition
	Reason   string   // for the record; may be empty
}

// Release uploads a published image to OpenStack clusters, each by itself: an
// error joins what failed, the targets say how each cluster ended. Repeating it
// does only what is missing.
func (p *Pipeline) Release(ctx context.Context, ref string, o ReleaseOptions) ([]glance.Target, error) {
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail(StageRelease, err, "")
	}
	targets, err := p.release(ctx, img, o)
	if err != nil {
		return targets, fail(StageRelease, err, "aibuild release "+img.UUID)
	}
	return targets, nil
}

// ReleasePlan says what Release would do in each cluster, changing nothing.
func (p *Pipeline) ReleasePlan(ctx context.Context, ref string, o ReleaseOptions) ([]glance.Step, error) {
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail(StageRelease, err, "")
	}
	clusters, err := p.mayRelease(img, o)
	if err != nil {
		return nil, fail(StageRelease, err, "")
	}
	steps, err := p.releaser(img).Plan(ctx, p.glanceImage(img), clusters)
	if err != nil {
		return steps, fail(StageRelease, err, "aibuild doctor")
	}
	return steps, nil
}

func (p *Pipeline) release(ctx context.Context, img *Image, o ReleaseOptions) ([]glance.Target, error) {
	unlock, err := p.lockImage(ctx, img)
	if err != nil {
		return nil, err
	}
	defer unlock()
	clusters, err := p.mayRelease(img, o)
	if err != nil {
		return nil, err
	}
	// The image counts as partly released until every wanted cluster has it.
	if err := p.announce(ctx, img, clusters); err != nil {
		return nil, err
	}
	k := &keeper{p: p, img: img, ctx: ctx, verb: lineage.VerbReleased, reason: short(o.Reason)}
	releaser := p.releaser(img)
	releaser.OnState = k.state
	targets, err := releaser.Release(ctx, p.glanceImage(img), clusters)
	err = errors.Join(err, k.finish())
	if err == nil {
		err = p.retain(ctx, img, clusters)
	}
	return targets, errors.Join(err, p.updateStory(ctx, img))
}

// mayRelease is the gate before the clouds, and says which clusters are meant.
func (p *Pipeline) mayRelease(img *Image, o ReleaseOptions) ([]string, error) {
	clusters := o.Clusters
	if len(clusters) == 0 {
		clusters = img.Definition.Release.Clusters
	}
	if err := p.mayGoTo(img, clusters); err != nil {
		return nil, err
	}
	if !img.Published() {
		return nil, &Refused{Image: img.Ref(), Rule: "an image is released after it was published", Found: "this one is not in images/release", Next: "aibuild publish " + img.UUID}
	}
	return clusters, nil
}

// mayGoTo says whether an image may be shown in clusters at all, by release or
// by rollback.
func (p *Pipeline) mayGoTo(img *Image, clusters []string) error {
	if err := img.passed("released"); err != nil {
		return err
	}
	switch {
	case img.Artifact().Dirty:
		return &Refused{Image: img.Ref(), Rule: "an image is released from a committed state", Found: "this one was built from uncommitted files, which nobody can find again", Next: "git commit, then aibuild run"}
	case len(clusters) == 0:
		return &Refused{Image: img.Ref(), Rule: "a release names its clusters", Found: "neither release.clusters nor --cluster does", Next: "add release.clusters to aibuild.yaml, or give --cluster"}
	case p.CloudsFile == "":
		return &lineage.Invalid{Field: "clouds", Problem: "no clouds.yaml is configured; set OS_CLIENT_CONFIG_FILE"}
	}
	known, err := glance.Clouds(p.CloudsFile)
	if err != nil {
		return err
	}
	for _, c := range clusters {
		if !slices.Contains(known, c) {
			return fmt.Errorf("%s: %w; %s has: %s", c, glance.ErrUnknownCluster, p.CloudsFile, strings.Join(known, ", "))
		}
	}
	wanted := img.Definition
	wanted.Release.Clusters = clusters
	policy, err := p.policy(img.project())
	if err != nil {
		return err
	}
	return policy.Check(&wanted, img.Artifact().Ref)
}

func (p *Pipeline) announce(ctx context.Context, img *Image, clusters []string) error {
	var records []lineage.Record
	for _, cluster := range clusters {
		if img.target(cluster) == nil {
			records = append(records, lineage.Record{
				Verb: lineage.VerbReleased, Released: &lineage.Target{Cluster: cluster, State: lineage.TargetUploading},
			})
		}
	}
	if len(records) == 0 {
		return nil
	}
	return p.record(ctx, img, records...)
}

// target is the latest state of the image in a cluster, nil where it never was.
func (i *Image) target(cluster string) *lineage.Target {
	for _, r := range slices.Backward(i.Records) {
		if r.Released != nil && r.Released.Cluster == cluster {
			return r.Released
		}
	}
	return nil
}

// clusters lists where the image is or was.
func (i *Image) clusters() []string {
	var names []string
	for _, r := range i.Records {
		if r.Released != nil && !slices.Contains(names, r.Released.Cluster) {
			names = append(names, r.Released.Cluster)
		}
	}
	slices.Sort(names)
	return names
}

func (p *Pipeline) releaser(img *Image) glance.Releaser {
	return glance.Releaser{
		CloudsFile: p.CloudsFile, Log: p.log().Named("glance"), Now: p.Now,
		OnProgress: func(u glance.Progress) {
			p.emit(Event{Stage: StageRelease, Text: "uploading to " + u.Cluster, Done: u.Sent, Total: u.Total}, img)
		},
	}
}

// glanceImage describes the published file; its bytes are read from the web
// root for each upload and compared with the record on their way.
func (p *Pipeline) glanceImage(img *Image) glance.Image {
	b, def := img.Built(), img.Definition
	a := b.Artifact
	return glance.Image{
		UUID: img.UUID, Name: img.Name, Arch: b.Arch, Distro: b.OSType, Version: b.OSVer, Format: a.Format,
		Open: func(ctx context.Context) (io.ReadCloser, error) {
			return p.Site.Open(ctx, img.at(publish.Release, img.File))
		},
		Size: a.Size, SHA256: a.SHA256, SHA512: a.SHA512, MD5: a.MD5, VirtualSize: a.VirtualSize,
		MinRAM: a.Memory, User: a.User, BuiltAt: b.BuiltAt, Commit: a.Commit,
		Visibility: def.Release.Visibility, Properties: def.Release.Properties,
	}
}

// keeper records the states that glance reports, of the image at hand and of
// the older ones that it hides.
type keeper struct {
	p      *Pipeline
	img    *Image
	ctx    context.Context //nolint:containedctx // lives for one call of glance
	verb   string
	reason string
	err    error
	others []glance.Target // older images that changed; recorded afterwards
}

func (k *keeper) state(t glance.Target) {
	if t.State == glance.Alien {
		return
	}
	record := lineage.Record{Verb: k.verb, Reason: k.why(t), Released: lineageTarget(t)}
	last := k.img.target(t.Cluster)
	switch {
	case last == nil || t.ImageUUID != "" && t.ImageUUID != k.img.UUID:
	case last.State == t.State && last.GlanceID == t.GlanceID && t.State == glance.Visible:
		// Nothing was released: it was there, and still is.
		record.Verb, record.Released.ReleaseAt = lineage.VerbChecked, time.Time{}
	case t.State == glance.Failed && t.GlanceID == "" && k.img.in(t.Cluster):
		// Nobody could ask the cluster: what it had, it has as far as we know.
		record.Released.State, record.Released.GlanceID, record.Released.Hash = last.State, last.GlanceID, last.Hash
	}
	text := fmt.Sprintf("%s: %s %s", t.Cluster, t.State, t.GlanceID)
	if t.Error != "" {
		text = fmt.Sprintf("%s: %s: %s", t.Cluster, t.State, t.Error)
	}
	if t.ImageUUID == k.img.UUID || t.ImageUUID == "" {
		k.p.say(StageRelease, k.img, text)
		k.err = errors.Join(k.err, k.p.record(k.ctx, k.img, record))
		return
	}
	k.others = append(k.others, t) // their locks may have to be waited for: not in here
}

// why is what the audit says: what the person said, and what went wrong.
func (k *keeper) why(t glance.Target) string {
	switch {
	case t.Error == "":
		return k.reason
	case k.reason == "":
		return short(t.Error)
	}
	return short(k.reason + "; " + t.Error)
}

// finish records what happened to the older images, and gives every error that
// recording met.
func (k *keeper) finish() error {
	for _, t := range k.others {
		record := lineage.Record{Verb: k.verb, Reason: k.why(t), Released: lineageTarget(t)}
		k.err = errors.Join(k.err, k.p.recordOther(k.ctx, t.Name, t.ImageUUID, record))
	}
	k.others = nil
	return k.err
}

// lineageTarget is t as the record keeps it. A release_at of its own is set when the
// image has become the visible one.
func lineageTarget(t glance.Target) *lineage.Target {
	out := &lineage.Target{
		Cluster: t.Cluster, GlanceID: t.GlanceID, State: t.State, Hash: t.Hash, Error: t.Error, CheckedAt: t.At,
	}
	if t.State == glance.Visible {
		out.ReleaseAt = t.At
	}
	return out
}

// recordOther adds to the story of an image that is not the one at hand; its
// bytes may be gone, its record is not.
func (p *Pipeline) recordOther(ctx context.Context, name, uuid string, record lineage.Record) error {
	ctx = context.WithoutCancel(ctx)
	unlock, err := p.lock(ctx, uuid)
	if err != nil {
		return err
	}
	defer unlock()
	other, err := p.load(ctx, name, uuid)
	if err == nil {
		return p.record(ctx, other, record)
	}
	if !errors.Is(err, publish.ErrNotFound) {
		return err
	}
	record.ImageUUID = uuid
	records := []lineage.Record{record}
	if err := p.stamp(records); err != nil || p.Recorder == nil {
		return err
	}
	file := p.runJournal(record.ImageUUID + "-later")
	earlier, err := p.readJournal(file)
	if err != nil {
		return err
	}
	due := slices.Concat(earlier.Records, records)
	sent, err := p.send(ctx, uuid, due)
	if err != nil {
		return err
	}
	if !sent {
		return p.journal(file, waiting{Records: due})
	}
	return p.delivered(file)
}

// updateStory writes image.json again, as its last lines say where it went.
func (p *Pipeline) updateStory(ctx context.Context, img *Image) error {
	if !img.Published() {
		return nil
	}
	b, err := img.publicJSON(p.recorded(ctx, img))
	if err != nil {
		return err
	}
	return p.Site.WriteFile(context.WithoutCancel(ctx), img.at(publish.Release, imageFile), b)
}

// retain deletes what the definition no longer keeps in the clusters.
func (p *Pipeline) retain(ctx context.Context, img *Image, clusters []string) error {
	if img.Definition.Release.Keep == nil {
		return nil
	}
	held, err := p.heldImages(ctx, img.Name)
	if err != nil {
		return err
	}
	deleted, err := p.releaser(img).Keep(ctx, glance.Retention{Name: img.Name, Keep: *img.Definition.Release.Keep, Held: held}, clusters)
	for _, d := range deleted {
		p.say(StageRelease, img, fmt.Sprintf("%s: %s %s: %s", d.Cluster, d.ImageUUID, d.GlanceID, d.Reason))
		if !d.Deleted {
			continue
		}
		record := lineage.Record{Verb: lineage.VerbPruned, Reason: d.Reason, Released: &lineage.Target{
			Cluster: d.Cluster, GlanceID: d.GlanceID, State: lineage.TargetMissing, Error: deletedByUs + d.Reason, CheckedAt: p.now(),
		}}
		err = errors.Join(err, p.recordOther(ctx, img.Name, d.ImageUUID, record))
	}
	return err
}

func (p *Pipeline) heldImages(ctx context.Context, name string) ([]string, error) {
	entries, err := p.Site.List(ctx, publish.Build)
	if err != nil {
		return nil, err
	}
	var held []string
	for _, e := range entries {
		if e.Name != name {
			continue
		}
		other, err := p.load(ctx, e.Name, e.UUID)
		if err != nil {
			return nil, err
		}
		if other.Held() {
			held = append(held, other.UUID)
		}
	}
	return held, nil
}
