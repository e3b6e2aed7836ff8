package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/publish"
)

// archive copies what tells of an image into a folder, for a build system to keep
// with its build: manifest and evidence, never the image.
func archive(ctx context.Context, site *publish.Site, img *aibuild.Image, failed *aibuild.Error, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	var errs []error
	if img != nil {
		errs = append(errs, archiveImage(ctx, site, img, dir))
	}
	if failed != nil { // of a build there is no image, and its evidence is on this machine
		for _, path := range failed.Failure.Evidence {
			if info, err := os.Stat(path); err == nil && filepath.IsAbs(path) {
				errs = append(errs, archiveLocal(path, info.IsDir(), filepath.Join(dir, "evidence")))
			}
		}
	}
	return errors.Join(errs...)
}

func archiveImage(ctx context.Context, site *publish.Site, img *aibuild.Image, dir string) error {
	at := func(file string) publish.File {
		return publish.File{Area: publish.Build, Name: img.Name, UUID: img.UUID, File: file}
	}
	manifest, err := site.ReadFile(ctx, at("manifest.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "manifest.json"), manifest, 0o644)
	}
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	files, err := site.Files(ctx, publish.Build, img.Name, img.UUID, "evidence")
	if err != nil && !errors.Is(err, publish.ErrNotFound) {
		return fmt.Errorf("archive: %w", err)
	}
	for _, name := range files {
		if err := archiveFile(ctx, site, at(name), filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return fmt.Errorf("archive %s: %w", name, err)
		}
	}
	return nil
}

func archiveFile(ctx context.Context, site *publish.Site, from publish.File, to string) (err error) {
	in, err := site.Open(ctx, from)
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	return copyInto(in, to)
}

func copyInto(in io.Reader, to string) (err error) {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// archiveLocal copies files of this machine; links and devices are left out.
func archiveLocal(path string, isDir bool, to string) error {
	root, inside := path, "."
	if !isDir {
		root, inside = filepath.Dir(path), filepath.Base(path)
	}
	files := os.DirFS(root)
	return fs.WalkDir(files, inside, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		in, err := files.Open(name)
		if err != nil {
			return err
		}
		defer in.Close() //nolint:errcheck // it was only read
		return copyInto(in, filepath.Join(to, filepath.FromSlash(name)))
	})
}
