package lineage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// foreignScan is how many rows build_log may have so that History(NAME) looks
// through all of them for rows of others: it has no index on the name. Beyond
// that they are seen when they are adopted.
const foreignScan = 5000

// History gives the story of a name, newest first: every image of it and every
// run that made none, at most limit entries (0 = 1000). Any other reference
// gives the one image, or the run, that it names.
func (s *Store) History(ctx context.Context, ref string, limit int) ([]Entry, error) {
	if limit < 0 || limit > 1000 {
		return nil, &Invalid{Field: "limit", Problem: "must be 1 to 1000"}
	}
	if limit == 0 {
		limit = 1000
	}
	if err := s.ready(ctx, "history"); err != nil {
		return nil, err
	}
	entries, err := s.historyOfName(ctx, ref, limit)
	if err != nil {
		return nil, s.fault(ctx, "history", err)
	}
	if len(entries) > 0 {
		return entries, nil
	}
	images, err := s.Resolve(ctx, Query{Ref: ref})
	if err == nil {
		return []Entry{{Image: &images[0]}}, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	if run, rerr := s.Run(ctx, ref); rerr == nil {
		return []Entry{{Run: &run}}, nil
	} else if !errors.Is(rerr, ErrNotFound) {
		return nil, rerr
	}
	return nil, err
}

func (s *Store) historyOfName(ctx context.Context, name string, limit int) ([]Entry, error) {
	images, err := s.images(ctx, s.reads, full,
		"SELECT "+storyColumns+" FROM image i FORCE INDEX (name_built)"+imageJoins+" WHERE i.name = ? ORDER BY i.built_at DESC, i.id DESC LIMIT ?", name, limit)
	if err != nil {
		return nil, err
	}
	small, err := s.scannable(ctx)
	if err != nil {
		return nil, err
	}
	if small {
		more, err := s.foreign(ctx, "b.image_name = ? ORDER BY b.build_at DESC LIMIT ?", name, limit)
		if err != nil {
			return nil, err
		}
		images = append(images, more...)
	}
	runs, _, err := s.runs(ctx, historyRunsSQL, name, limit)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(images)+len(runs))
	for i := range images {
		entries = append(entries, Entry{Image: &images[i]})
	}
	for i := range runs {
		entries = append(entries, Entry{Run: &runs[i]})
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return b.at().Compare(a.at()) })
	return entries[:min(len(entries), limit)], nil
}

// sizeFor is how long the size of build_log is taken for known: it costs as much
// to ask for as a whole page.
const sizeFor = time.Minute

// tableSize is how many rows a table had, about, and when.
type tableSize struct {
	rows int64
	at   time.Time
}

// scannable says whether build_log is small enough to be looked through.
func (s *Store) scannable(ctx context.Context) (bool, error) {
	known := s.logged.Load()
	if known == nil || time.Since(known.at) > sizeFor {
		known = &tableSize{at: time.Now()}
		err := s.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(table_rows), 0) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'build_log'").Scan(&known.rows)
		if err != nil {
			return false, err
		}
		s.logged.Store(known)
	}
	return known.rows <= foreignScan, nil
}

const historyRunsSQL = "SELECT " + runColumns + " FROM run FORCE INDEX (image_made) WHERE image = ? AND image_uuid IS NULL ORDER BY seq DESC LIMIT ?"

func (e Entry) at() time.Time {
	if e.Image != nil {
		return e.Image.BuiltAt
	}
	return e.Run.OpenedAt
}

// runEntry says first that there is no image.
type runEntry struct {
	ImageUUID *string `json:"image_uuid"` // null
	runFields
}

type runFields Run

// MarshalJSON gives an image's own fields, or those of a run with
// "image_uuid": null.
func (e Entry) MarshalJSON() ([]byte, error) {
	switch {
	case e.Image != nil:
		return json.Marshal(e.Image)
	case e.Run != nil:
		r := runFields(*e.Run)
		return json.Marshal(runEntry{runFields: r})
	}
	return nil, errors.New("history entry without image and run")
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Entry) UnmarshalJSON(b []byte) error {
	var probe struct {
		ImageUUID *string `json:"image_uuid"`
	}
	if err := json.Unmarshal(b, &probe); err != nil {
		return err
	}
	*e = Entry{}
	if probe.ImageUUID != nil {
		return json.NewDecoder(bytes.NewReader(b)).Decode(&e.Image)
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&e.Run); err != nil {
		return fmt.Errorf("history entry: %w", err)
	}
	return nil
}
