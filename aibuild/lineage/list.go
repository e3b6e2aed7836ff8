package lineage

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// pageSize checks a limit.
func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return 50, nil
	case limit < 0 || limit > 1000:
		return 0, &Invalid{Field: "limit", Problem: "must be 1 to 1000"}
	}
	return limit, nil
}

// Cursors are opaque to callers: the key of the last row that was given.
func cursor(parts ...int64) string {
	words := make([]string, len(parts))
	for i, p := range parts {
		words[i] = strconv.FormatInt(p, 36)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(strings.Join(words, ".")))
}

func readCursor(c string, n int) ([]int64, error) {
	bad := &Invalid{Field: "cursor", Problem: "is not one that a page gave"}
	b, err := base64.RawURLEncoding.DecodeString(c)
	if err != nil {
		return nil, bad
	}
	words := strings.Split(string(b), ".")
	if len(words) != n {
		return nil, bad
	}
	parts := make([]int64, n)
	for i, w := range words {
		if parts[i], err = strconv.ParseInt(w, 36, 64); err != nil {
			return nil, bad
		}
	}
	return parts, nil
}

// Images lists images, newest built first, with their clusters but without
// artifact and test cases. next is empty on the last page.
func (s *Store) Images(ctx context.Context, f Filter) (images []Image, next string, err error) {
	if err := s.ready(ctx, "list images"); err != nil {
		return nil, "", err
	}
	query, args, limit, err := f.sql()
	if err != nil {
		return nil, "", err
	}
	var ids []int64
	var list []*row
	err = collect(ctx, s.reads, func(rows *sql.Rows) error {
		var id int64
		r, err := scanBetween(rows, []any{&id}, nil)
		ids, list = append(ids, id), append(list, &r)
		return err
	}, query, args...)
	if err != nil {
		return nil, "", s.fault(ctx, "list images", err)
	}
	more := len(list) > limit
	if more {
		list = list[:limit]
		next = cursor(list[limit-1].sortAt.UnixMicro(), ids[limit-1])
	}
	if err := s.complete(ctx, s.reads, brief, list); err != nil {
		return nil, "", s.fault(ctx, "list images", err)
	}
	images = make([]Image, len(list))
	for i, r := range list {
		images[i] = r.Image
	}
	return images, next, nil
}

// sql chooses the index by the filters: left alone, the server takes the one
// that reads all rows of a name.
func (f Filter) sql() (string, []any, int, error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return "", nil, 0, err
	}
	if f.State != "" && !slices.Contains(imageStates, f.State) {
		return "", nil, 0, &Invalid{Field: "state", Problem: fmt.Sprintf("%q is not a state of an image: %s", f.State, strings.Join(imageStates, ", "))}
	}
	var where []string
	var args []any
	index := "built"
	switch {
	case f.Name != "" && f.State != "":
		index = "name_state"
	case f.Name != "":
		index = "name_built"
	case f.Project != "" && f.State != "":
		index = "project_state"
	case f.Project != "":
		index = "project_built"
	case f.State != "":
		index = "state_built"
	}
	for _, c := range []struct{ column, value string }{{"name", f.Name}, {"project", f.Project}, {"state", f.State}} {
		if c.value != "" {
			where, args = append(where, "i."+c.column+" = ?"), append(args, c.value)
		}
	}
	if !f.Since.IsZero() {
		where, args = append(where, "i.built_at >= ?"), append(args, utc(f.Since))
	}
	if f.Cursor != "" {
		key, err := readCursor(f.Cursor, 2)
		if err != nil {
			return "", nil, 0, err
		}
		at := time.UnixMicro(key[0]).UTC()
		where, args = append(where, "i.built_at <= ? AND (i.built_at < ? OR i.id < ?)"), append(args, at, at, key[1])
	}
	clause := ""
	if len(where) > 0 {
		clause = " WHERE " + strings.Join(where, " AND ")
	}
	query := "SELECT i.id, " + imageColumns + " FROM image i FORCE INDEX (" + index + ")" + imageJoins + clause + " ORDER BY i.built_at DESC, i.id DESC LIMIT ?"
	return query, append(args, limit+1), limit, nil
}

// Run gives one run by its id.
func (s *Store) Run(ctx context.Context, id string) (Run, error) {
	if err := s.ready(ctx, "run"); err != nil {
		return Run{}, err
	}
	runs, _, err := s.runs(ctx, "SELECT "+runColumns+" FROM run WHERE id = ?", strings.ToLower(strings.TrimSpace(id)))
	if err != nil {
		return Run{}, s.fault(ctx, "run", err)
	}
	if len(runs) == 0 {
		return Run{}, fmt.Errorf("run %s: %w", id, ErrNotFound)
	}
	return runs[0], nil
}

// Runs lists runs, last opened first. next is empty on the last page.
func (s *Store) Runs(ctx context.Context, f RunFilter) (runs []Run, next string, err error) {
	if err := s.ready(ctx, "list runs"); err != nil {
		return nil, "", err
	}
	query, args, limit, err := f.sql()
	if err != nil {
		return nil, "", err
	}
	runs, seqs, err := s.runs(ctx, query, args...)
	if err != nil {
		return nil, "", s.fault(ctx, "list runs", err)
	}
	if len(runs) > limit {
		runs, next = runs[:limit], cursor(seqs[limit-1])
	}
	return runs, next, nil
}

func (f RunFilter) sql() (string, []any, int, error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return "", nil, 0, err
	}
	if _, ok := runRank[f.State]; !ok && f.State != "" {
		return "", nil, 0, &Invalid{Field: "state", Problem: fmt.Sprintf("%q is not a state of a run", f.State)}
	}
	var where []string
	var args []any
	index := "PRIMARY"
	switch {
	case f.Image != "" && f.State != "":
		index = "image_state"
	case f.Image != "":
		index = "image_seq"
	case f.State != "":
		index = "state_seq"
	case f.Unfinished:
		index = "unfinished"
	case f.Project != "":
		index = "project_seq"
	}
	for _, c := range []struct{ column, value string }{{"image", f.Image}, {"project", f.Project}, {"state", f.State}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	if f.Unfinished {
		where = append(where, "finished = 0")
	}
	return keyset("SELECT "+runColumns+" FROM run FORCE INDEX ("+index+")", "seq", where, args, f.Cursor, limit)
}

// keyset completes a query that is ordered by one number, newest first.
func keyset(query, key string, where []string, args []any, after string, limit int) (string, []any, int, error) {
	if after != "" {
		k, err := readCursor(after, 1)
		if err != nil {
			return "", nil, 0, err
		}
		where, args = append(where, key+" < ?"), append(args, k[0])
	}
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	return query + " ORDER BY " + key + " DESC LIMIT ?", append(args, limit+1), limit, nil
}

func (s *Store) runs(ctx context.Context, query string, args ...any) (runs []Run, seqs []int64, err error) {
	runs = []Run{}
	err = collect(ctx, s.reads, func(rows *sql.Rows) error {
		seq, r, err := scanRun(rows)
		runs, seqs = append(runs, r), append(seqs, seq)
		return err
	}, query, args...)
	return runs, seqs, err
}

// Events lists the audit, last recorded first. next is empty on the last page.
func (s *Store) Events(ctx context.Context, f EventFilter) (events []Event, next string, err error) {
	if err := s.ready(ctx, "list events"); err != nil {
		return nil, "", err
	}
	query, args, limit, err := f.sql()
	if err != nil {
		return nil, "", err
	}
	events = []Event{}
	var ids []int64
	err = collect(ctx, s.reads, func(rows *sql.Rows) error {
		var id int64
		var e Event
		var name, image, run, cluster, glance, state sql.NullString
		err := rows.Scan(&id, &e.RecordID, &e.At, &e.Recorded, &e.Actor, &e.Channel, &e.Verb, &name, &image, &run, &cluster, &glance, &state, &e.Reason)
		e.Image, e.ImageUUID, e.RunID, e.Cluster, e.GlanceID, e.State = name.String, image.String, run.String, cluster.String, glance.String, state.String
		events, ids = append(events, e), append(ids, id)
		return err
	}, query, args...)
	if err != nil {
		return nil, "", s.fault(ctx, "list events", err)
	}
	if len(events) > limit {
		events, next = events[:limit], cursor(ids[limit-1])
	}
	return events, next, nil
}

func (f EventFilter) sql() (string, []any, int, error) {
	limit, err := pageSize(f.Limit)
	if err != nil {
		return "", nil, 0, err
	}
	index := "PRIMARY"
	var where []string
	var args []any
	for _, c := range []struct{ column, index, value string }{
		{"image_name", "name_id", f.Image}, {"image_uuid", "image_id", f.ImageUUID}, {"run_id", "run_id_id", f.RunID}, {"actor", "actor_id", f.Actor},
	} {
		if c.value != "" {
			index, where, args = c.index, []string{c.column + " = ?"}, []any{c.value}
			break
		}
	}
	return keyset("SELECT id, record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, run_id, cluster, glance_id, state, reason FROM event FORCE INDEX ("+index+")",
		"id", where, args, f.Cursor, limit)
}
