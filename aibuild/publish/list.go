package publish

import (
	"context"
	"path"
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

// Usage is what the images take, in bytes on disk.
type Usage struct {
	Free    int64 // for aibuild on the web root's file system
	Build   int64 // in images/build, with what images/release shares
	Release int64 // in images/release alone: not shared with images/build
	Images  int   // different uuids in both areas
}

// Usage adds up both areas.
func (s *Site) Usage(ctx context.Context) (Usage, error) {
	var u Usage
	var err error
	if u.Free, err = s.Free(ctx); err != nil {
		return u, err
	}
	seen := map[string]bool{}
	for _, area := range []string{Build, Release} {
		entries, err := s.List(ctx, area)
		if err != nil {
			return u, err
		}
		for _, e := range entries {
			seen[e.Name+"/"+e.UUID] = true
			if area == Build {
				u.Build += e.Allocated
			} else {
				u.Release += e.Reclaim
			}
		}
	}
	u.Images = len(seen)
	return u, nil
}
