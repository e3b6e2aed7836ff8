package aibuild

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/publish"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// partAge is how old a hidden folder of another machine must be to be taken for
// left behind: longer than any build.
const partAge = 48 * time.Hour

// BuildOptions say what to build.
type BuildOptions struct {
	Dir string // folder of the definition
	// RunID is the id of the run, which becomes the image's uuid. Empty: a new
	// one. An image that has been built under it is returned as it is.
	RunID   string
	RetryOf string // run that this one repeats

	opened bool // the run was opened before, and somebody else ends it
}

// Build makes an image from a definition and puts it into images/build.
func (p *Pipeline) Build(ctx context.Context, o BuildOptions) (*Image, error) {
	r, err := p.begin(ctx, o)
	if err != nil {
		return nil, fail(StageBuild, err, "aibuild validate "+o.Dir)
	}
	img, err := p.build(ctx, r)
	return img, r.end(ctx, img, StageBuild, err)
}

// build is Build inside a run.
func (p *Pipeline) build(ctx context.Context, r *run) (*Image, error) {
	if r.made != nil {
		return r.made, nil
	}
	if _, err := p.Sweep(ctx); err != nil {
		p.log().Warn("what earlier runs left could not all be cleared", "error", err)
	}
	img := &Image{UUID: r.id, Name: r.def.Name, File: r.def.Name + "." + r.def.Output.Format, Definition: *r.def.Definition}
	work, done, err := p.work(r.id, StageBuild)
	if err != nil {
		return nil, err
	}
	defer done()
	b := &building{p: p, run: r, img: img, work: work}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	if err := b.packer(ctx); err != nil {
		return nil, err
	}
	if err := b.store(ctx); err != nil {
		return nil, err
	}
	p.say(StageBuild, img, fmt.Sprintf("built %s, sha256 %s", img.Ref(), img.Artifact().SHA256))
	return img, nil
}

// building is one build under way.
type building struct {
	p    *Pipeline
	run  *run
	img  *Image
	work string

	src      source
	keys     keyPair
	accel    qemu.Accel
	artifact *packer.Artifact
	header   qemu.Header
	tarball  string // the definition as it was when the build began
	changed  string // update_contents
	final    string // the image's file as it will be published
}

func (b *building) prepare(ctx context.Context) error {
	p := b.p
	b.tarball = filepath.Join(b.work, definitionFile)
	err := packDefinition(ctx, b.run.def, b.tarball)
	if err != nil {
		return err
	}
	if b.changed, err = b.changes(ctx); err != nil {
		return err
	}
	if b.src, err = p.source(ctx, b.run.def, b.work); err != nil {
		return err
	}
	if b.keys, err = newKeyPair(b.work); err != nil {
		return err
	}
	b.img.BuildKeys = []string{b.keys.Public}
	if b.accel, err = p.qemuTool().Probe(ctx); err != nil {
		return fmt.Errorf("accelerator: %w", err)
	}
	p.say(StageBuild, b.img, "accelerator "+b.accel.Name+reason(b.accel.Reason))
	return p.Site.Require(ctx, b.spaceNeeded())
}

func reason(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}

// spaceNeeded is a lower bound: nobody knows an image's size before it is
// built, but less than its source, or 64 MiB, it will hardly be.
func (b *building) spaceNeeded() int64 {
	const least = 64 << 20
	if info, err := os.Stat(b.src.URL); err == nil {
		return max(least, info.Size())
	}
	return least
}

// evidence is where a build's logs are kept; they move to the web root when the
// image does.
func (b *building) evidence() string {
	return filepath.Join(b.p.DataDir, "runs", b.run.id, evidenceDir)
}

func (b *building) packer(ctx context.Context) error {
	def := b.run.def
	vars := maps.Clone(def.Build.Vars)
	if vars == nil {
		vars = map[string]string{}
	}
	// Ours win: the source is what from: says, whatever build.vars says.
	maps.Copy(vars, map[string]string{
		"iso_url": b.src.URL, "iso_checksum": "sha256:" + b.src.SHA256,
		"image_name": def.Name, "vm_name": b.img.File,
		"ssh_private_key_file": b.keys.PrivateFile, "ssh_public_key": b.keys.Public,
	})
	var err error
	b.artifact, err = b.p.packerTool().Build(ctx, packer.Job{
		Template: filepath.Join(def.dir, filepath.FromSlash(def.Build.Template)), Builder: def.Build.Builder, Dir: def.dir,
		WorkDir: filepath.Join(b.work, "packer"), Evidence: b.evidence(),
		Vars: vars, Secrets: []string{b.keys.private}, Accel: b.accel, Timeout: def.Build.Timeout,
		WatchConsole: true,
		Progress: func(e packer.Event) {
			b.p.say(StageBuild, b.img, strings.TrimRight(e.Text, "\n"))
		},
	})
	return err
}

// store checks, compacts and digests the file, and puts it into images/build
// together with all that later stages need, by one rename.
func (b *building) store(ctx context.Context) error {
	p, def := b.p, b.run.def
	stage, err := p.Site.Stage(ctx, b.img.Name, b.img.UUID)
	if err != nil {
		return err
	}
	defer func() {
		if err := p.Site.Unstage(b.img.Name, b.img.UUID); err != nil {
			p.log().Error("a hidden folder was not removed; the next run tries again", "error", err)
		}
	}()
	if stage == "" {
		stage = b.work
	}
	tool := p.qemuTool()
	if _, err := tool.Check(ctx, b.artifact.Path, b.artifact.Format); err != nil {
		return err
	}
	b.final = filepath.Join(stage, b.img.File)
	p.say(StageBuild, b.img, "compacting")
	if err := tool.Compact(ctx, b.artifact.Path, b.artifact.Format, b.final, def.Output.Format, def.Output.Compress); err != nil {
		return err
	}
	if b.header, err = qemu.ReadHeader(b.final, def.Output.Format); err != nil {
		return err
	}
	if err := b.compareDefinition(ctx); err != nil {
		return err
	}
	files := map[string]string{b.img.File: b.final, definitionFile: b.tarball}
	if err := addEvidence(files, b.evidence(), evidenceDir+"/build"); err != nil {
		return err
	}
	if _, err := p.Site.Put(ctx, publish.Item{
		Name: b.img.Name, UUID: b.img.UUID, Image: b.img.File, Files: files,
		Finish:   func(sums publish.Sums) (map[string][]byte, error) { return b.finish(sums) },
		Progress: p.bytes(StageBuild, "storing", b.img),
	}); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Dir(b.evidence())); err != nil {
		p.log().Warn("the local copy of the build's logs stays", "error", err)
	}
	return p.deliver(context.WithoutCancel(ctx), b.img, nil)
}

// compareDefinition looks whether what the build reads was edited while Packer
// read it: then nobody can say which of the two states is in the image, and it
// counts as built from an uncommitted tree.
func (b *building) compareDefinition(ctx context.Context) error {
	def := b.run.def
	now, err := b.p.open(ctx, def.dir)
	var broken definition.Errors
	switch {
	case errors.As(err, &broken):
	case err != nil:
		return err
	case now.Digests.Build == def.Digests.Build:
		return nil
	}
	def.rev.Dirty = true
	b.p.say(StageBuild, b.img, "the definition was edited during the build: the image counts as built from an uncommitted tree and is not released")
	return nil
}

// finish makes the manifest, when the digests are known.
func (b *building) finish(sums publish.Sums) (map[string][]byte, error) {
	record := b.record(sums)
	records := slices.Concat(b.run.records, []lineage.Record{record})
	if err := b.p.stamp(records); err != nil {
		return nil, err
	}
	b.img.Records = records
	b.img.Pending = nil
	for _, r := range records {
		b.img.Pending = append(b.img.Pending, r.ID)
	}
	manifest, err := b.img.encode()
	return map[string][]byte{manifestFile: manifest}, err
}

func (b *building) record(sums publish.Sums) lineage.Record {
	p, c := b.p, b.run.def
	built := lineage.Built{
		Name: b.img.Name, Project: p.project(c), Arch: c.Arch, OSType: c.OS.Distro, OSVer: c.OS.Version,
		BuiltAt: b.run.at, FromISO: b.src.FromISO, UpdateContents: b.changed,
		Artifact: lineage.Artifact{
			Format: c.Output.Format, Compress: c.Output.Compress,
			Size: sums.Size, Allocated: sums.Allocated, VirtualSize: b.header.VirtualSize,
			SHA256: sums.SHA256, SHA512: sums.SHA512,
			Commit: c.rev.name(), Dirty: c.rev.Dirty, Ref: p.ref(c),
			BuildDigest: c.Digests.Build, TestDigest: c.Digests.Test, ReleaseDigest: c.Digests.Release,
			SourceURL: b.src.FromISO, SourceSHA256: b.src.SHA256,
			User: c.Test.User, Memory: c.Test.Memory,
			Tools:       map[string]string{"packer": b.artifact.Version.String(), "qemu": b.accel.QEMUVersion},
			Accelerator: b.accel.Name, ConsoleWatched: b.artifact.ConsoleWatched,
			BuildMS:  b.artifact.Duration.Milliseconds(),
			BuildURL: p.Site.URL(b.img.at(publish.Build, b.img.File)),
		},
	}
	if b.src.Parent != nil {
		built.Artifact.ParentUUID, built.Artifact.ParentSHA256 = b.src.Parent.UUID, b.src.SHA256
		built.Artifact.SourceURL = b.src.Parent.Artifact().BuildURL
	}
	return lineage.Record{RunID: b.run.id, ImageUUID: b.img.UUID, Verb: lineage.VerbBuilt, Built: &built}
}

// changes is update_contents: the definition's own words, else the commits
// since the last image of the name.
func (b *building) changes(ctx context.Context) (string, error) {
	c := b.run.def
	if c.UpdateContents != "" || c.rev.Commit == "" {
		return c.UpdateContents, nil
	}
	since := ""
	last, err := b.p.Find(ctx, c.Name)
	switch {
	case err == nil:
		since = strings.TrimSuffix(last.Artifact().Commit, dirtySuffix)
	case !isMissing(err):
		return "", fmt.Errorf("commit of the last %s: %w", c.Name, err)
	}
	text, err := messages(ctx, c.dir, since)
	if err != nil {
		return "", err
	}
	const column = 65535 // text
	if len(text) > column {
		text = text[:strings.LastIndex(text[:column-16], "\n")+1] + "… and more"
	}
	return text, nil
}

// runTime is when a run was opened, as its id says, and the build_at of the
// image that it makes: so records, links and clouds all agree which of two
// images of a name is newer, whichever build took longer.
func runTime(id uuid.UUID, now time.Time) time.Time {
	if id.Version() != 7 {
		return now
	}
	return time.Unix(id.Time().UnixTime()).UTC()
}

// newRunID makes the id of a run and of the image that it makes. Its order is
// the order of time.
func newRunID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", err
	}
	return id.String(), nil
}
