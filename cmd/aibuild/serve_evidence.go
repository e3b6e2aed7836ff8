package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// siteEvidence is the evidence of images, on the web root: beside the image as it
// was built, which later tests add to, else beside the published one.
type siteEvidence struct{ s *service }

var evidenceAreas = []string{publish.Build, publish.Release}

// Files is what api.Evidence wants.
func (e siteEvidence) Files(ctx context.Context, img lineage.Image) (files []string, err error) {
	err = e.each(ctx, func(site *publish.Site, area string) error {
		files, err = site.Files(ctx, area, img.Name, img.UUID, "evidence")
		return err
	})
	return files, err
}

// Open is what api.Evidence wants.
func (e siteEvidence) Open(ctx context.Context, img lineage.Image, file string) (f io.ReadCloser, err error) {
	err = e.each(ctx, func(site *publish.Site, area string) error {
		f, err = site.Open(ctx, publish.File{Area: area, Name: img.Name, UUID: img.UUID, File: file})
		return err
	})
	if err != nil {
		return nil, err // not a file that is nil
	}
	return f, nil
}

// each tries the areas in turn; fs.ErrNotExist when none has it. What has a name
// that the web root does not take cannot be there.
func (e siteEvidence) each(ctx context.Context, try func(site *publish.Site, area string) error) error {
	site, err := e.s.site.open(ctx, e.s)
	if err != nil {
		return err
	}
	for _, area := range evidenceAreas {
		err = try(site, area)
		_, named := errors.AsType[*publish.BadName](err)
		if !named && !errors.Is(err, publish.ErrNotFound) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", fs.ErrNotExist, err)
}
