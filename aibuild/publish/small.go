package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
)

// Open opens a file of an image for reading; ctx covers the opening only. The bytes are not checked: Fetch and Verify do that.
func (s *Site) Open(ctx context.Context, f File) (io.ReadSeekCloser, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := t.plain(path.Dir(f.path())); err != nil {
		return nil, notFound("open", f.path(), err)
	}
	file, err := t.open(f.path())
	return file, notFound("open", f.path(), err)
}

const maxSmall = 64 << 20 // bytes that ReadFile takes into memory

// ReadFile reads a small file (at most 64 MiB) of an image, such as manifest.json.
func (s *Site) ReadFile(ctx context.Context, f File) ([]byte, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := t.plain(path.Dir(f.path())); err != nil {
		return nil, notFound("read", f.path(), err)
	}
	data, err := t.read(f.path(), maxSmall)
	return data, notFound("read", f.path(), err)
}

// WriteFile writes or replaces a small file of an image that is there, atomically and durably. It is for manifest.json in
// images/build and image.json in images/release, which SHA256SUMS leaves out; a file that SHA256SUMS lists is refused.
func (s *Site) WriteFile(ctx context.Context, f File, data []byte) error {
	if err := f.check(); err != nil {
		return err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	folder := path.Join(top, f.Area, f.Name, f.UUID)
	if err := t.attachable(folder, f.File); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	// No look at the free space: the reserve is for these files, which say what is there, and what prune has removed.
	if err := t.replace(path.Dir(folder), f.path(), data); err != nil {
		return fmt.Errorf("write: %w", s.explain(ctx, err, int64(len(data))))
	}
	return nil
}

// Attach adds files to an image in images/build, such as the evidence of its tests: name in the image's folder to local path,
// where a local folder gives all in it. Each appears whole; one that is there is replaced, unless SHA256SUMS lists it.
func (s *Site) Attach(ctx context.Context, name, uuid string, files map[string]string) error {
	if err := checkImage(Build, name, uuid); err != nil {
		return err
	}
	files, err := expandFiles(files)
	if err != nil {
		return err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	folder := path.Join(top, Build, name, uuid)
	var need int64
	for file, source := range files {
		if err := t.attachable(folder, file); err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		info, err := os.Stat(source)
		if err != nil {
			return fmt.Errorf("attach: %w", err)
		}
		need += allocated(info)
	}
	if err := s.enough(t, need); err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if err := s.attach(ctx, t, folder, file, files[file]); err != nil {
			return fmt.Errorf("attach %s: %w", file, s.explain(ctx, err, need))
		}
	}
	return nil
}

func (s *Site) attach(ctx context.Context, t *tree, folder, file, source string) error {
	if err := t.folders(path.Join(folder, path.Dir(file))); err != nil {
		return err
	}
	part := path.Join(path.Dir(folder), partName(path.Base(folder)))
	_, err := copyIn(ctx, t, source, part, nil)
	if err == nil {
		err = t.rename(part, path.Join(folder, file))
	}
	if err != nil {
		return errors.Join(err, s.cleanup(ctx, func(t *tree) error { return t.removeAll(part) }))
	}
	return t.sync(path.Dir(path.Join(folder, file)))
}

// attachable says that a file may be written into an image's folder: the folder is there, and has no digest for the file.
func (t *tree) attachable(folder, file string) error {
	if err := t.plain(folder); err != nil {
		return notFound("use", folder, err)
	}
	sums, err := t.readSums(folder)
	if err != nil && !missing(err) {
		return err
	}
	if _, listed := sums[file]; listed || file == sumsFile {
		return fmt.Errorf("%s/%s is final: %s has its digest", folder, file, sumsFile)
	}
	return nil
}

// replace writes a small file under a hidden name in folder, then renames it to its place.
func (t *tree) replace(folder, place string, data []byte) error {
	if err := t.folders(path.Dir(place)); err != nil {
		return err
	}
	part := path.Join(folder, partName("file"))
	err := t.write(part, data)
	if err == nil {
		err = t.rename(part, place)
	}
	if err != nil {
		return errors.Join(err, t.removeAll(part))
	}
	return t.sync(path.Dir(place))
}

// notFound makes ErrNotFound of what the file system does not have.
func notFound(action, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s %s: %w", action, name, ErrNotFound)
	}
	return fmt.Errorf("%s: %w", action, err)
}
