package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
)

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
