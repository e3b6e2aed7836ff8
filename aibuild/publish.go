package aibuild

import (
	"context"
	"encoding/json"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// imageFile is what anybody can read beside a published image.
const imageFile = "image.json"

// Publish puts an image that has passed its tests into images/release.
func (p *Pipeline) Publish(ctx context.Context, ref string) (*Image, error) {
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail(StagePublish, err, "")
	}
	if err := p.publish(ctx, img); err != nil {
		return img, fail(StagePublish, err, "aibuild retry "+img.UUID+" --from publish")
	}
	return img, nil
}

func (p *Pipeline) publish(ctx context.Context, img *Image) error {
	unlock, err := p.lockImage(ctx, img)
	if err != nil {
		return err
	}
	defer unlock()
	if err := img.passed("published"); err != nil {
		return err
	}
	if err := p.mayLeave(img); err != nil {
		return err
	}
	if !img.Published() {
		record := lineage.Record{
			Verb: lineage.VerbPublished, ImageUUID: img.UUID,
			Published: &lineage.Published{ReleaseURL: p.Site.URL(img.at(publish.Release, img.File))},
		}
		records := []lineage.Record{record}
		if err := p.stamp(records); err != nil {
			return err
		}
		story, err := img.publicJSON(p.recorded(ctx, img), records...)
		if err != nil {
			return err
		}
		if err := p.Site.Promote(ctx, img.Name, img.UUID, map[string][]byte{imageFile: story}); err != nil {
			return err
		}
		if err := p.record(ctx, img, records...); err != nil {
			return err
		}
	}
	p.say(StagePublish, img, "published "+where(p.Site.URL(img.at(publish.Release, img.File)), img))
	return nil
}

func where(address string, img *Image) string {
	if address != "" {
		return address
	}
	return "in images/release/" + img.Name + "/" + img.UUID
}

// mayLeave is the gate of the refs: images of others stop after their tests.
func (p *Pipeline) mayLeave(img *Image) error {
	policy, err := p.policy(img.project())
	if err != nil {
		return err
	}
	if ref := img.Artifact().Ref; !policy.MayRelease(ref) {
		return &Refused{Image: img.Ref(), Rule: "release.refs of project " + img.project() + " says which branches may go out", Found: "this one was built from " + ref, Next: "merge it, then aibuild run"}
	}
	return nil
}

// passed is the gate before an image may go out.
func (i *Image) passed(what string) error {
	t := i.Tested()
	if t != nil && t.Verdict == harness.Passed && !i.Revoked() {
		return nil
	}
	next := "aibuild test " + i.UUID
	if i.Revoked() {
		next = "aibuild image restore " + i.UUID
	}
	return &Refused{Image: i.Ref(), Rule: "an image is " + what + " after it has passed its tests", Found: "this one " + i.standing(), Next: next}
}

// lockImage locks the image's name, as releases of one name follow each other,
// and the image.
func (p *Pipeline) lockImage(ctx context.Context, img *Image) (func(), error) {
	unlockName, err := p.lock(ctx, img.Name)
	if err != nil {
		return nil, err
	}
	unlockImage, err := p.lockOne(ctx, img)
	if err != nil {
		unlockName()
		return nil, err
	}
	return func() { unlockImage(); unlockName() }, nil
}

// lockOne locks the image and reads its manifest again: another process may have
// written it while we waited.
func (p *Pipeline) lockOne(ctx context.Context, img *Image) (func(), error) {
	unlock, err := p.lock(ctx, img.UUID)
	if err != nil {
		return nil, err
	}
	fresh, err := p.load(ctx, img.Name, img.UUID)
	if err != nil {
		unlock()
		return nil, err
	}
	number := img.Number
	*img = *fresh
	img.Number = number
	return unlock, nil
}

// recordLocked is record for callers that hold no lock of the image.
func (p *Pipeline) recordLocked(ctx context.Context, img *Image, records ...lineage.Record) error {
	ctx = context.WithoutCancel(ctx)
	unlock, err := p.lockOne(ctx, img)
	if err != nil {
		return err
	}
	defer unlock()
	return p.record(ctx, img, records...)
}

// story is image.json: every field of the three tables and of image_artifact,
// and the records, from which the lineage can be written again.
type story struct {
	Schema  int              `json:"schema"`
	Build   buildLog         `json:"build_log"`
	Test    *testLog         `json:"test_log"`
	Release *releaseLog      `json:"release_log"`
	Image   lineage.Artifact `json:"image_artifact"`
	Name    string           `json:"image_name"`
	Number  int              `json:"number,omitempty"`
	Arch    string           `json:"arch"`
	Project string           `json:"project,omitempty"`
	Records []lineage.Record `json:"records"`
}

type buildLog struct {
	ImageUUID      string `json:"image_uuid"`
	ImageName      string `json:"image_name"`
	OSType         string `json:"os_type"`
	OSVer          string `json:"os_ver"`
	BuildAt        string `json:"build_at"`
	FromISO        string `json:"from_iso"`
	UpdateContents string `json:"update_contents"`
}

type testLog struct {
	ImageUUID  string `json:"image_uuid"`
	TestCase   string `json:"test_case"`
	TestResult string `json:"test_result"`
	TestAt     string `json:"test_at"`
}

type releaseLog struct {
	ImageUUID string `json:"image_uuid"`
	Cluster   string `json:"openstack_cluster"`
	GlanceID  string `json:"glance_id"`
	ReleaseAt string `json:"release_at"`
}

// tableTime is how the three tables print their times, in UTC.
const tableTime = "2006-01-02 15:04:05"

// counted is what only the record knows of an image: its number, and what build_log
// says has changed: what the build knew, and the packages that the tests have
// found since.
type counted struct {
	number   int
	contents string
}

func (p *Pipeline) recorded(ctx context.Context, img *Image) counted {
	t := counted{img.Number, img.Built().UpdateContents}
	if p.Recorder == nil {
		return t
	}
	found, err := p.Recorder.Resolve(ctx, lineage.Query{Ref: img.UUID})
	switch {
	case err != nil:
		p.away(err, imageFile+" says what the build knew of changes", "image", img.Ref())
	case len(found) == 1 && found[0].UUID == img.UUID:
		t = counted{found[0].Number, found[0].UpdateContents}
	}
	return t
}

// publicJSON is image.json, with records that are about to be added.
func (i *Image) publicJSON(t counted, more ...lineage.Record) ([]byte, error) {
	b := i.Built()
	s := story{
		Schema: 1, Image: b.Artifact, Name: i.Name, Number: t.number, Arch: b.Arch, Project: b.Project,
		Build: buildLog{
			ImageUUID: i.UUID, ImageName: i.Name, OSType: b.OSType, OSVer: b.OSVer,
			BuildAt: b.BuiltAt.UTC().Format(tableTime), FromISO: b.FromISO, UpdateContents: t.contents,
		},
		Records: append(append([]lineage.Record{}, i.Records...), more...),
	}
	if v := i.Tested(); v != nil {
		s.Test = &testLog{ImageUUID: i.UUID, TestCase: v.TestCase, TestResult: v.Verdict, TestAt: v.TestedAt.UTC().Format(tableTime)}
	}
	for _, r := range s.Records {
		switch {
		case r.Published != nil:
			s.Image.ReleaseURL = r.Published.ReleaseURL
		case r.Released != nil && !r.Released.ReleaseAt.IsZero():
			s.Release = &releaseLog{ImageUUID: i.UUID, Cluster: r.Released.Cluster, GlanceID: r.Released.GlanceID, ReleaseAt: r.Released.ReleaseAt.UTC().Format(tableTime)}
		}
	}
	out, err := json.MarshalIndent(s, "", "  ")
	return append(out, '\n'), err
}
