package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// storySchema is the form of image.json; newer ones are not read.
const storySchema = 1

// Imported is one image of images/release, and what became of its story.
type Imported struct {
	Name   string `json:"image_name"`
	Number int    `json:"number,omitempty"`
	UUID   string `json:"image_uuid"`
	Known  bool   `json:"known"` // it was recorded before; what was missing of it was added
	Error  string `json:"error,omitempty"`
}

// ImportPublished reads the image.json of every published image, oldest first, and
// what its manifest has beyond it, and has these records taken under the number that the image had. An image whose
// story cannot be read or is not taken keeps nobody from the others: the list
// says why, and the error how many there are. take says whether it knew the
// image; it must pass over records that it has.
func ImportPublished(ctx context.Context, site *publish.Site, take func(number int, records []lineage.Record) (known bool, err error)) ([]Imported, error) {
	entries, err := site.List(ctx, publish.Release)
	if err != nil {
		return nil, fail("import", err, "")
	}
	list, failed := make([]Imported, 0, len(entries)), 0
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return list, fail("import", err, "aibuild db import-published")
		}
		one := Imported{Name: e.Name, UUID: e.UUID}
		s, err := readStory(ctx, site, e)
		if err == nil {
			one.Number = s.Number
			one.Known, err = take(s.Number, s.Records)
		}
		if err == nil {
			err = takeLater(ctx, site, s, take)
		}
		if _, away := errors.AsType[*lineage.Unavailable](err); away {
			return list, fail("import", err, "aibuild db import-published")
		}
		if err != nil {
			one.Error = err.Error()
			failed++
		}
		list = append(list, one)
	}
	if failed > 0 {
		return list, fail("import", fmt.Errorf("%d of %d images were not imported; the list says why", failed, len(list)), "aibuild db import-published")
	}
	return list, nil
}

// takeLater takes what happened since image.json was written, such as a rollback
// to another image, from the manifest in images/build, where that is left.
func takeLater(ctx context.Context, site *publish.Site, s *story, take func(int, []lineage.Record) (bool, error)) error {
	img, err := (&Pipeline{Site: site}).load(ctx, s.Name, s.Build.ImageUUID)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s is recorded, and what came later is not: %w", imageFile, err)
	}
	later := slices.DeleteFunc(img.Records, func(r lineage.Record) bool {
		return r.Run != nil || slices.ContainsFunc(s.Records, func(has lineage.Record) bool { return has.ID == r.ID })
	})
	if len(later) > 0 {
		_, err = take(s.Number, later)
	}
	return err
}

// readStory reads the image.json of an image, which must be the image's own.
func readStory(ctx context.Context, site *publish.Site, e publish.Entry) (*story, error) {
	b, err := site.ReadFile(ctx, publish.File{Area: publish.Release, Name: e.Name, UUID: e.UUID, File: imageFile})
	if err != nil {
		return nil, err
	}
	const backup = "take it from a backup of the web root"
	var s story
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; %s", imageFile, err, backup)
	}
	if s.Schema > storySchema {
		return nil, fmt.Errorf("%s has form %d, this aibuild reads up to %d; use a newer aibuild", imageFile, s.Schema, storySchema)
	}
	// Runs are not published: of what a run went through only the image's part is known.
	s.Records = slices.DeleteFunc(s.Records, func(r lineage.Record) bool { return r.Run != nil })
	if s.Name != e.Name || s.Build.ImageUUID != e.UUID || len(s.Records) == 0 || s.Records[0].Built == nil || s.Records[0].Built.Name != e.Name {
		return nil, fmt.Errorf("%s tells of image %q %q, and lies in the folder of another one, or does not begin with its build; %s", imageFile, s.Name, s.Build.ImageUUID, backup)
	}
	for _, r := range s.Records {
		if r.ID == "" || r.ImageUUID != e.UUID {
			return nil, fmt.Errorf("%s has a record %q of image %q in it, which is not its own; %s", imageFile, r.ID, r.ImageUUID, backup)
		}
	}
	return &s, nil
}
