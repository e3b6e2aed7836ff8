package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// What a cluster showed under a name at a time is read from the audit, which
// never changes, in the order in which things happened: what was delivered late
// counts at its own time.

const (
	lastShownSQL = "SELECT image_uuid, at, state, COALESCE(glance_id, '') FROM event FORCE INDEX (shown) WHERE image_name = ? AND cluster = ? AND state = ? AND at <= ? AND image_uuid IS NOT NULL%s ORDER BY at DESC LIMIT 1"
	leftSQL      = "SELECT at FROM event FORCE INDEX (shown) WHERE image_name = ? AND cluster = ? AND state = ? AND at > ? AND at <= ? AND image_uuid = ? ORDER BY at LIMIT 1"
	// foreignShownSQL: of releases that others wrote, the audit knows nothing.
	foreignShownSQL = `SELECT g.image_uuid, g.released_at, '', '' FROM release_target g FORCE INDEX (cluster_name) JOIN image i ON i.uuid = g.image_uuid
		WHERE g.cluster = ? AND g.image_name = ? AND g.released_at <= ? AND i.adopted = 1%s ORDER BY g.released_at DESC LIMIT 1`
)

var (
	shownStates = []string{TargetVisible, TargetChanged}
	goneStates  = []string{TargetHidden, TargetMissing, TargetRevoked, TargetFailed, TargetUploading}
)

// mostShown is how many images are tried: one at a time is visible, but for the
// moment in which a new one takes the place of the old, and for clusters in
// trouble.
const mostShown = 10

// moment is when an image was seen in a cluster, and as what.
type moment struct {
	image         string
	at            time.Time
	state, glance string // empty where others released it
}

// then puts the cluster's place of the moment where today's is: an image that
// was uploaded again since has another id.
func (m moment) then(i *Image, cluster string) {
	for n, t := range i.Targets {
		if t.Cluster == cluster && m.glance != "" && m.glance != t.GlanceID {
			i.Targets[n] = Target{Cluster: cluster, GlanceID: m.glance, State: m.state, CheckedAt: m.at}
		}
	}
}

// shownAt answers Query.At.
func (s *Store) shownAt(ctx context.Context, q Query) ([]Image, error) {
	if q.Name == "" || q.Cluster == "" || q.Ref != "" || q.Good || q.Parent != "" || q.Limit != 0 {
		return nil, &Invalid{Field: "query", Problem: "a time goes with a name and a cluster, and with nothing else"}
	}
	var tried []string
	for len(tried) < mostShown {
		last, err := s.lastShown(ctx, q, tried)
		if err != nil {
			return nil, err
		}
		if last.image == "" {
			break
		}
		left, err := s.leftSince(ctx, q, last)
		if err != nil {
			return nil, err
		}
		if !left {
			images, err := s.fullImages(ctx, "WHERE i.uuid = ?", last.image)
			if err != nil {
				return nil, err
			}
			if len(images) > 0 {
				last.then(&images[0], q.Cluster)
				return images, nil
			}
		}
		tried = append(tried, last.image)
	}
	return nil, fmt.Errorf("image %s in cluster %s at %s: none was visible: %w", q.Name, q.Cluster, q.At.UTC().Format(time.RFC3339), ErrNotFound)
}

// lastShown is the image that was seen last, of those that were not tried yet.
func (s *Store) lastShown(ctx context.Context, q Query, tried []string) (last moment, err error) {
	ask := func(query string, args ...any) error {
		without := ""
		if len(tried) > 0 {
			without = " AND image_uuid NOT IN (" + marks(len(tried)) + ")"
			for _, id := range tried {
				args = append(args, id)
			}
		}
		m, err := s.moment(ctx, fmt.Sprintf(query, without), args...)
		if m.at.After(last.at) {
			last = m
		}
		return err
	}
	for _, state := range shownStates {
		err = errors.Join(err, ask(lastShownSQL, q.Name, q.Cluster, state, utc(q.At)))
	}
	return last, errors.Join(err, ask(foreignShownSQL, q.Cluster, q.Name, utc(q.At)))
}

func (s *Store) moment(ctx context.Context, query string, args ...any) (m moment, err error) {
	err = collect(ctx, s.reads, func(rows *sql.Rows) error { return rows.Scan(&m.image, &m.at, &m.state, &m.glance) }, query, args...)
	return m, err
}

// leftSince says whether the image was no longer seen there, after it was.
func (s *Store) leftSince(ctx context.Context, q Query, last moment) (bool, error) {
	left := false
	for _, state := range goneStates {
		err := collect(ctx, s.reads, func(*sql.Rows) error { left = true; return nil }, leftSQL, q.Name, q.Cluster, state, utc(last.at), utc(q.At), last.image)
		if err != nil || left {
			return left, err
		}
	}
	return false, nil
}
