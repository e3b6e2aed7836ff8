package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// The files that every image's folder has besides the image itself.
const (
	manifestFile   = "manifest.json"
	definitionFile = "definition.tar"
	evidenceDir    = "evidence"
)

// manifestSchema is the form of manifest.json; readers refuse newer ones.
const manifestSchema = 1

// Image is what the stages know of one image: manifest.json beside its file.
type Image struct {
	UUID   string `json:"image_uuid"`
	Name   string `json:"image_name"`
	Number int    `json:"number,omitempty"` // NAME@N; 0 while no database has counted it
	File   string `json:"file"`             // name of the image's file in its folder

	// Definition is the image's definition as built; the files around it are in
	// definition.tar.
	Definition definition.Definition `json:"definition"`

	// BuildKeys are the public keys that the build used; tests look for them.
	BuildKeys []string `json:"build_keys,omitempty"`

	// Records are the whole story, oldest first; Pending are the ids of those
	// that no Recorder has taken yet.
	Records []lineage.Record `json:"records"`
	Pending []string         `json:"pending,omitempty"`

	Schema int `json:"schema"`
}

// Built is how the image was made.
func (i *Image) Built() lineage.Built {
	for _, r := range i.Records {
		if r.Built != nil {
			return *r.Built
		}
	}
	return lineage.Built{}
}

// project owns the image's name: the one that built it, until it was given away.
func (i *Image) project() string {
	for _, r := range slices.Backward(i.Records) {
		if r.Marked != nil && r.Marked.Project != "" {
			return r.Marked.Project
		}
	}
	return i.Built().Project
}

// Artifact is what is known of the image's file.
func (i *Image) Artifact() lineage.Artifact { return i.Built().Artifact }

// Tested is the latest verdict; nil before the first test.
func (i *Image) Tested() *lineage.Tested {
	var last *lineage.Tested
	for _, r := range i.Records {
		if r.Tested != nil {
			last = r.Tested
		}
	}
	return last
}

// Published says whether the image's bytes are in images/release.
func (i *Image) Published() bool {
	published := false
	for _, r := range i.Records {
		switch {
		case r.Published != nil:
			published = true
		case r.Marked != nil && slices.Contains(r.Marked.Pruned, publish.Release):
			published = false
		case r.Marked != nil && r.Marked.Revoked != nil && *r.Marked.Revoked:
			published = false
		}
	}
	return published
}

// Revoked says whether somebody withdrew the image.
func (i *Image) Revoked() bool {
	return i.mark(func(m *lineage.Mark) *bool { return m.Revoked })
}

// Held says whether the image is kept from every deletion.
func (i *Image) Held() bool {
	return i.mark(func(m *lineage.Mark) *bool { return m.Held })
}

func (i *Image) mark(of func(*lineage.Mark) *bool) bool {
	marked := false
	for _, r := range i.Records {
		if r.Marked != nil && of(r.Marked) != nil {
			marked = *of(r.Marked)
		}
	}
	return marked
}

// Ref is the image's name for people: NAME@N, or NAME and its uuid.
func (i *Image) Ref() string {
	if i.Number > 0 {
		return fmt.Sprintf("%s@%d", i.Name, i.Number)
	}
	return i.Name + " " + i.UUID
}

func (i *Image) at(area, file string) publish.File {
	return publish.File{Area: area, Name: i.Name, UUID: i.UUID, File: file}
}

// load reads the manifest of an image whose name and uuid are known.
func (p *Pipeline) load(ctx context.Context, name, uuid string) (*Image, error) {
	where := publish.File{Area: publish.Build, Name: name, UUID: uuid, File: manifestFile}
	b, err := p.Site.ReadFile(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("manifest of %s %s: %w", name, uuid, err)
	}
	var img Image
	if err := json.Unmarshal(b, &img); err != nil {
		return nil, fmt.Errorf("%s of %s %s is damaged: %w; restore it from a backup of the web root", manifestFile, name, uuid, err)
	}
	if img.Schema > manifestSchema {
		return nil, fmt.Errorf("%s of %s %s has form %d, this aibuild reads up to %d; use a newer aibuild", manifestFile, name, uuid, img.Schema, manifestSchema)
	}
	if img.Name != name || img.UUID != uuid || img.Artifact().SHA256 == "" {
		return nil, fmt.Errorf("%s of %s %s is damaged: it tells of image %q %q with sha256 %q; restore it from a backup of the web root",
			manifestFile, name, uuid, img.Name, img.UUID, img.Artifact().SHA256)
	}
	return &img, nil
}

func (p *Pipeline) save(ctx context.Context, img *Image) error {
	b, err := img.encode()
	if err != nil {
		return err
	}
	return p.Site.WriteFile(ctx, img.at(publish.Build, manifestFile), b)
}

func (i *Image) encode() ([]byte, error) {
	i.Schema = manifestSchema
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%s of %s: %w", manifestFile, i.UUID, err)
	}
	return append(b, '\n'), nil
}

// Find gives the image that ref names: NAME (newest), NAME@N, uuid or unique
// prefix, Glance id, sha256 or URL. Without a Recorder, or while its database
// is away, NAME, uuid, prefix and sha256 are looked up in images/build.
func (p *Pipeline) Find(ctx context.Context, ref string) (*Image, error) {
	if ref == "" { // to the records, this asks for any
		return nil, &NotFound{What: "image", Ref: ref, Hint: "name one: aibuild image list"}
	}
	if p.Recorder != nil {
		found, err := p.Recorder.Resolve(ctx, lineage.Query{Ref: ref})
		var down *lineage.Unavailable
		switch {
		case err == nil && len(found) > 0:
			return p.loadRecorded(ctx, found[0])
		case errors.Is(err, lineage.ErrNotFound):
			// Perhaps its record has not been delivered yet.
		case errors.As(err, &down):
			p.away(err, "looking in images/build", "ref", ref)
		case err != nil:
			return nil, err
		}
	}
	return p.findOnSite(ctx, ref)
}

func (p *Pipeline) loadRecorded(ctx context.Context, rec lineage.Image) (*Image, error) {
	img, err := p.load(ctx, rec.Name, rec.UUID)
	if errors.Is(err, publish.ErrNotFound) {
		return nil, &NotFound{What: "image", Ref: rec.Ref(), Hint: "its record is there, its bytes are not in images/build (pruned, or another web root): check AIBUILD_WEB_ROOT"}
	}
	if err != nil {
		return nil, err
	}
	// Who may write into the web root is not who may write into the records.
	if got := img.Artifact().SHA256; rec.SHA256 != "" && got != rec.SHA256 {
		return nil, &publish.Corrupt{File: fmt.Sprintf("%s of %s %s, by its manifest,", img.File, img.Name, img.UUID), Want: rec.SHA256, Got: got}
	}
	img.Number = rec.Number
	return img, nil
}

func (p *Pipeline) findOnSite(ctx context.Context, ref string) (*Image, error) {
	entries, err := p.Site.List(ctx, publish.Build)
	if err != nil {
		return nil, err
	}
	var hits []publish.Entry
	for _, e := range entries {
		if e.Name == ref || (len(ref) >= 4 && strings.HasPrefix(e.UUID, ref)) {
			hits = append(hits, e)
		}
	}
	if len(hits) == 0 && len(ref) == 64 {
		return p.findBySum(ctx, entries, ref)
	}
	if len(hits) == 0 {
		return nil, &NotFound{What: "image", Ref: ref, Hint: "aibuild image list"}
	}
	newest := slices.MaxFunc(hits, func(a, b publish.Entry) int { return strings.Compare(a.UUID, b.UUID) })
	if newest.Name != ref && len(hits) > 1 {
		return nil, &lineage.Ambiguous{Ref: ref, Candidates: candidates(hits)}
	}
	return p.load(ctx, newest.Name, newest.UUID)
}

func candidates(entries []publish.Entry) []lineage.Image {
	var images []lineage.Image
	for _, e := range entries {
		images = append(images, lineage.Image{UUID: e.UUID, Name: e.Name})
	}
	return images[:min(len(images), 10)]
}

func (p *Pipeline) findBySum(ctx context.Context, entries []publish.Entry, sum string) (*Image, error) {
	for _, e := range entries {
		img, err := p.load(ctx, e.Name, e.UUID)
		if err == nil && img.Artifact().SHA256 == sum {
			return img, nil
		}
	}
	return nil, &NotFound{What: "image", Ref: sum, Hint: "aibuild image list"}
}
