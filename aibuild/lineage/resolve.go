package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

var (
	hexPrefix = regexp.MustCompile(`^[0-9a-f][0-9a-f-]{3,35}$`)
	shaForm   = regexp.MustCompile(`^(sha256:)?[0-9a-f]{64}$`)
)

// candidates is how many images an [*Ambiguous] lists.
const candidates = 10

// Resolve finds images. With Query.Ref the result is exactly one image, with
// everything that is known of it; without, those that the other fields select,
// newest first, without their test cases. [ErrNotFound] says that no image fits
// Ref, Name and Good, or At; other selections may be empty. A Ref that fits several
// images is [*Ambiguous].
func (s *Store) Resolve(ctx context.Context, q Query) ([]Image, error) {
	if err := s.ready(ctx, "resolve"); err != nil {
		return nil, err
	}
	images, err := s.resolve(ctx, q)
	if err != nil {
		return nil, s.fault(ctx, "resolve", err)
	}
	return images, nil
}

func (s *Store) resolve(ctx context.Context, q Query) ([]Image, error) {
	if !q.At.IsZero() {
		return s.shownAt(ctx, q)
	}
	if q.Ref == "" {
		return s.selectImages(ctx, q)
	}
	if q.Name != "" || q.Cluster != "" || q.Parent != "" {
		return nil, &Invalid{Field: "query", Problem: "ref excludes the other fields"}
	}
	ref := strings.TrimSpace(q.Ref)
	images, err := s.byRef(ctx, ref)
	if err != nil {
		return nil, err
	}
	if q.Good && len(images) == 1 && !images[0].Good() {
		return nil, fmt.Errorf("image %s: is %s, not good: %w", ref, images[0].State, ErrNotFound)
	}
	switch len(images) {
	case 0:
		return nil, fmt.Errorf("image %s: %w", ref, ErrNotFound)
	case 1:
		return images, nil
	}
	a := &Ambiguous{Ref: ref, Candidates: images[:min(len(images), candidates)], More: len(images) > candidates}
	return nil, a
}

// byRef gives one image, none, or several when ref is ambiguous. A name wins
// over everything that it looks like.
func (s *Store) byRef(ctx context.Context, ref string) ([]Image, error) {
	if strings.Contains(ref, "://") {
		return s.byURL(ctx, ref)
	}
	if name, n, ok := numbered(ref); ok {
		return s.fullImages(ctx, "WHERE i.name = ? AND i.number = ?", name, n)
	}
	images, err := s.newest(ctx, ref)
	if err != nil || len(images) > 0 {
		return images, err
	}
	low := strings.ToLower(ref)
	if _, err := uuid.Parse(low); err == nil && len(low) == 36 {
		return s.byUUID(ctx, low)
	}
	if shaForm.MatchString(low) {
		return s.fullImages(ctx, "WHERE a.sha256 = ? ORDER BY i.built_at DESC, i.id DESC LIMIT 11", strings.TrimPrefix(low, "sha256:"))
	}
	if hexPrefix.MatchString(low) {
		return s.images(ctx, s.reads, full, prefixSQL, low+"%")
	}
	return nil, nil
}

// numbered takes NAME@N apart.
func numbered(ref string) (name string, n int, ok bool) {
	name, digits, found := strings.Cut(ref, "@")
	if !found {
		return "", 0, false
	}
	n, err := strconv.Atoi(digits)
	return name, n, err == nil && n > 0 && name != ""
}

// fullImages: where is a constant of this package.
func (s *Store) fullImages(ctx context.Context, where string, args ...any) ([]Image, error) {
	return s.images(ctx, s.reads, full, "SELECT "+storyColumns+" FROM image i"+imageJoins+" "+where, args...)
}

func (s *Store) newest(ctx context.Context, name string) ([]Image, error) {
	return s.images(ctx, s.reads, full, newestSQL, name)
}

const prefixSQL = "SELECT " + storyColumns + " FROM image i FORCE INDEX (uuid)" + imageJoins + " WHERE i.uuid LIKE ? ORDER BY i.built_at DESC, i.id DESC LIMIT 11"

const newestSQL = "SELECT " + storyColumns + " FROM image i FORCE INDEX (name_built)" + imageJoins + " WHERE i.name = ? ORDER BY i.built_at DESC, i.id DESC LIMIT 1"

// byUUID takes the uuid of an image, of a run that made or used one, or of a
// Glance image. Rows of others are found before they are adopted.
func (s *Store) byUUID(ctx context.Context, id string) ([]Image, error) {
	for _, try := range []func() ([]Image, error){
		func() ([]Image, error) { return s.fullImages(ctx, "WHERE i.uuid = ?", id) },
		func() ([]Image, error) { return s.foreign(ctx, "b.image_uuid = ?", id) },
		func() ([]Image, error) {
			return s.fullImages(ctx, "WHERE i.uuid = (SELECT image_uuid FROM run WHERE id = ?)", id)
		},
		func() ([]Image, error) { return s.byGlance(ctx, id) },
	} {
		images, err := try()
		if err != nil || len(images) > 0 {
			return images, err
		}
	}
	return nil, nil
}

func (s *Store) foreign(ctx context.Context, where string, args ...any) ([]Image, error) {
	return s.images(ctx, s.reads, withCases, foreignSQL+where, args...)
}

// byGlance knows ids that are gone too: servers still run from them. It looks
// into release_log last: it has no index for it, and needs none but for rows of
// others that were not adopted yet.
func (s *Store) byGlance(ctx context.Context, id string) ([]Image, error) {
	for _, where := range []string{glanceSQL, glanceOnceSQL, "WHERE r.glance_id = ? LIMIT 11"} {
		images, err := s.fullImages(ctx, where, id)
		if err != nil || len(images) > 0 {
			return images, err
		}
	}
	return s.foreign(ctx, "r.glance_id = ? LIMIT 11", id)
}

const (
	glanceSQL     = "WHERE i.uuid IN (SELECT image_uuid FROM release_target WHERE glance_id = ?) ORDER BY i.built_at DESC, i.id DESC LIMIT 11"
	glanceOnceSQL = "WHERE i.uuid IN (SELECT image_uuid FROM event FORCE INDEX (glance) WHERE glance_id = ?) ORDER BY i.built_at DESC, i.id DESC LIMIT 11"
)

// byURL reads the address of a file of images/build or images/release
// (…/NAME/UUID/FILE, …/NAME/latest/FILE) or of a Glance image (…/images/ID).
func (s *Store) byURL(ctx context.Context, ref string) ([]Image, error) {
	u, err := url.Parse(ref)
	if err != nil {
		return nil, &Invalid{Field: "ref", Problem: "is not a URL that can be read"}
	}
	parts := strings.Split(strings.Trim(path.Clean(u.Path), "/"), "/")
	for i := len(parts) - 1; i >= 0; i-- {
		part := strings.ToLower(parts[i])
		if _, err := uuid.Parse(part); err == nil && len(part) == 36 {
			return s.byUUID(ctx, part)
		}
		if part == "latest" && i > 0 {
			return s.fullImages(ctx, "WHERE i.name = ? AND i.published_at IS NOT NULL ORDER BY i.built_at DESC, i.id DESC LIMIT 1", parts[i-1])
		}
	}
	return nil, nil
}

// selectImages answers a Query without Ref.
func (s *Store) selectImages(ctx context.Context, q Query) ([]Image, error) {
	query, args, err := q.sql()
	if err != nil {
		return nil, err
	}
	images, err := s.images(ctx, s.reads, withArtifact, query, args...)
	if err != nil {
		return nil, err
	}
	if len(images) == 0 && q.newestGood() {
		return nil, fmt.Errorf("good image of %s: %w", q.Name, ErrNotFound)
	}
	return images, nil
}

// newestGood is the question for a parent.
func (q Query) newestGood() bool {
	return q.Name != "" && q.Good && q.Cluster == "" && q.Parent == ""
}

// sql: every text is a constant of this package.
func (q Query) sql() (string, []any, error) {
	limit := q.Limit
	switch {
	case limit < 0 || limit > maxSelect:
		return "", nil, &Invalid{Field: "query.limit", Problem: fmt.Sprintf("must be 1 to %d", maxSelect)}
	case limit == 0 && q.newestGood():
		limit = 1
	case limit == 0:
		limit = maxSelect
	}
	from, where, args := " FROM image i"+imageJoins, "", []any{}
	switch {
	case q.Parent != "":
		where, args = "a.parent_uuid = ?", []any{q.Parent}
	case q.Cluster != "" && q.Name != "":
		from, where, args = presentJoin, "g.cluster = ? AND g.image_name = ?"+present, []any{q.Cluster, q.Name}
	case q.Cluster != "":
		from, where, args = presentJoin, "g.cluster = ?"+present, []any{q.Cluster}
	case q.newestGood():
		from, where, args = " FROM image i FORCE INDEX (name_good)"+imageJoins, "i.name = ?", []any{q.Name}
	case q.Name != "":
		from, where, args = " FROM image i FORCE INDEX (name_built)"+imageJoins, "i.name = ?", []any{q.Name}
	default:
		where = "i.uuid IN (SELECT image_uuid FROM release_target)"
	}
	if q.Good {
		where += " AND i.good = 1"
	}
	return "SELECT " + storyColumns + from + " WHERE " + where + " ORDER BY i.built_at DESC, i.id DESC LIMIT ?", append(args, limit), nil
}

const maxSelect = 10_000

const (
	presentJoin = " FROM release_target g JOIN image i ON i.uuid = g.image_uuid" + imageJoins
	present     = " AND g.state IN ('uploading', 'visible', 'hidden', 'changed', 'missing')"
)

// Owner gives the project that an image name belongs to; empty when nobody
// built it, or only builds without a project.
func (s *Store) Owner(ctx context.Context, name string) (string, error) {
	if err := s.ready(ctx, "owner"); err != nil {
		return "", err
	}
	var project string
	err := s.db.QueryRowContext(ctx, ownerSQL, name).Scan(&project)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return project, s.fault(ctx, "owner", err)
}
