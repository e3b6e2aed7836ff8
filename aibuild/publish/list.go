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
	"strings"
	"time"
)

// Entry is one image in an area.
type Entry struct {
	Area, Name, UUID string
	Size             int64     // bytes of all files
	Allocated        int64     // bytes on disk; Size over SFTP
	Reclaim          int64     // bytes that Remove frees: not those that the other area shares
	Modified         time.Time // of the folder
	Latest           bool      // images/release/NAME/latest leads here
}

// List gives the images of an area, sorted by name, then uuid: for UUIDv7 the oldest first. Hidden folders are none.
func (s *Site) List(ctx context.Context, area string) ([]Entry, error) {
	if area != Build && area != Release {
		return nil, &BadName{"area", area, Build + " or " + Release}
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	names, err := t.list(path.Join(top, area))
	if err != nil {
		return nil, err
	}
	var found []Entry
	for _, name := range names {
		if !name.IsDir() || !namePattern.MatchString(name.Name()) {
			continue
		}
		entries, err := listName(ctx, t, area, name.Name())
		if err != nil {
			return nil, err
		}
		found = append(found, entries...)
	}
	return found, nil
}

func listName(ctx context.Context, t *tree, area, name string) ([]Entry, error) {
	folder := path.Join(top, area, name)
	infos, err := t.list(folder)
	if err != nil {
		return nil, err
	}
	newest, err := t.readlink(path.Join(folder, latest))
	if err != nil {
		newest = "" // no link, or none that can be read: nothing is latest
	}
	var entries []Entry
	for _, info := range infos {
		if !info.IsDir() || !isUUID(info.Name()) {
			continue
		}
		e := Entry{Area: area, Name: name, UUID: info.Name(), Modified: info.ModTime(), Latest: info.Name() == newest}
		if err := e.measure(ctx, t, path.Join(folder, e.UUID)); missing(err) {
			continue // removed meanwhile
		} else if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// measure adds up the files below a folder.
func (e *Entry) measure(ctx context.Context, t *tree, folder string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	infos, err := t.readDir(folder)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.IsDir() {
			if err := e.measure(ctx, t, path.Join(folder, info.Name())); err != nil {
				return err
			}
			continue
		}
		disk, shared := info.Size(), false
		if stat, ok := unixStat(info); ok {
			disk, shared = stat.Blocks*512, stat.Nlink > 1
		} else {
			other := map[string]string{Build: Release, Release: Build}[e.Area]
			shared = t.exists(strings.Replace(path.Join(folder, info.Name()), top+"/"+e.Area+"/", top+"/"+other+"/", 1))
		}
		e.Size += info.Size()
		e.Allocated += disk
		if !shared {
			e.Reclaim += disk
		}
	}
	return nil
}

// Remove removes an image from an area; the other area keeps its own. It disappears by one rename, and readers that have a
// file open read it to its end. In images/release, latest goes to the newest that remains first. The error is ErrNotFound
// when the image is not there.
func (s *Site) Remove(ctx context.Context, area, name, uuid string) error {
	if err := checkImage(area, name, uuid); err != nil {
		return err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	folder := path.Join(top, area, name)
	from := path.Join(folder, uuid)
	if err := t.plain(from); missing(err) {
		return fmt.Errorf("remove %s: %w", from, ErrNotFound)
	} else if err != nil {
		return err
	}
	gone := path.Join(folder, partName(uuid))
	err = s.locked(ctx, t, folder, func() error {
		if area == Release {
			if err := settle(t, folder, uuid); err != nil {
				return err
			}
		}
		if err := t.rename(from, gone); missing(err) {
			return ErrNotFound // another one was first
		} else if err != nil {
			return err
		}
		return t.sync(folder)
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", from, err)
	}
	return t.removeAll(gone)
}

// Verify reads every file that SHA256SUMS of an image lists and gives their SHA-256 by name, for comparison with the record.
// Each that changed or is missing is a *Corrupt; the error is ErrNotFound without the image or its SHA256SUMS.
func (s *Site) Verify(ctx context.Context, area, name, uuid string) (map[string]string, error) {
	if err := checkImage(area, name, uuid); err != nil {
		return nil, err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	folder := path.Join(top, area, name, uuid)
	if err := t.plain(folder); err != nil {
		return nil, notFound("verify", folder, err)
	}
	want, err := t.readSums(folder)
	if err != nil {
		return nil, notFound("verify", folder, err)
	}
	got := map[string]string{}
	var failed []error
	for _, file := range slices.Sorted(maps.Keys(want)) {
		digest, err := t.sha256(ctx, path.Join(folder, file))
		switch {
		case missing(err):
			failed = append(failed, &Corrupt{File: t.full(path.Join(folder, file)), Want: want[file]})
		case err != nil:
			return got, fmt.Errorf("verify: %w", err)
		case digest != want[file]:
			failed = append(failed, &Corrupt{t.full(path.Join(folder, file)), want[file], digest})
		}
		if digest != "" {
			got[file] = digest
		}
	}
	return got, errors.Join(failed...)
}

// Open opens a file of an image for reading. Its bytes are not checked: Fetch and Verify do that.
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

// WriteFile writes or replaces a small file of an image that is there, atomically and durably. It is for manifest.json, which
// SHA256SUMS leaves out; a file that SHA256SUMS lists is refused.
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
	if err := s.enough(t, int64(len(data))); err != nil {
		return err
	}
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
