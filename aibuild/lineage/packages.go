package lineage

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// PackageQuery asks which images have a package. Name is needed.
type PackageQuery struct {
	Name     string
	Version  string // exactly this one
	Released bool   // only images that a cluster shows now
	Cursor   string // as the page before gave it
	Limit    int    // 1 to 1000; 0 = 50
}

// Installed is a package in an image, and where that image is.
type Installed struct {
	Package
	ImageUUID string    `json:"image_uuid"`
	Image     string    `json:"image_name"`
	Number    int       `json:"number,omitempty"`
	Project   string    `json:"project,omitempty"`
	State     string    `json:"state"` // of the image
	BuiltAt   time.Time `json:"build_at,omitzero"`
	Targets   []Target  `json:"releases"` // one per cluster
}

// Ref gives the image's name for people, NAME@N.
func (i Installed) Ref() string { return Image{Name: i.Image, Number: i.Number}.Ref() }

// holding is one row of image_package.
type holding struct {
	image string
	Package
}

// compareHoldings is the order of the table's key.
func compareHoldings(a, b holding) int {
	if c := strings.Compare(a.image, b.image); c != 0 {
		return c
	}
	return comparePackages(a.Package, b.Package)
}

// Packages gives what is installed in an image, by its uuid, ordered by manager,
// name, architecture and version; empty where nothing was recorded.
func (s *Store) Packages(ctx context.Context, uuid string) ([]Package, error) {
	if err := s.ready(ctx, "packages"); err != nil {
		return nil, err
	}
	list, err := readPackages(ctx, s.reads, uuid)
	return list, s.fault(ctx, "packages", err)
}

func readPackages(ctx context.Context, q querier, uuid string) ([]Package, error) {
	list := []Package{}
	err := collect(ctx, q, func(rows *sql.Rows) error {
		var p Package
		err := rows.Scan(&p.Manager, &p.Name, &p.Arch, &p.Version)
		list = append(list, p)
		return err
	}, packagesSQL, uuid)
	return list, err
}

// WithPackage lists the images that have a package: by version, then the newest
// image first; with Released only the newest image first. next is empty on the
// last page.
func (s *Store) WithPackage(ctx context.Context, q PackageQuery) (list []Installed, next string, err error) {
	if err := s.ready(ctx, "images with a package"); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(q.Limit)
	if err != nil {
		return nil, "", err
	}
	if q.Name == "" {
		return nil, "", &Invalid{Field: "name", Problem: "is missing: say which package"}
	}
	after, err := readHolding(q.Cursor)
	if err != nil {
		return nil, "", err
	}
	find := s.holders
	if q.Released {
		find = s.shownHolders
	}
	found, err := find(ctx, q, after, limit+1)
	if err != nil {
		return nil, "", s.fault(ctx, "images with a package", err)
	}
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].cursor()
	}
	list, err = s.installed(ctx, found)
	return list, next, s.fault(ctx, "images with a package", err)
}

func (h holding) cursor() string {
	b, err := json.Marshal([]string{h.Version, h.image, h.Manager, h.Arch})
	if err != nil { // texts can always be written
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// readHolding reads a cursor; nil without one.
func readHolding(cursor string) (*holding, error) {
	if cursor == "" {
		return nil, nil
	}
	var f []string
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err == nil {
		err = json.Unmarshal(b, &f)
	}
	if err != nil || len(f) != 4 {
		return nil, &Invalid{Field: "cursor", Problem: "is not one that a page gave"}
	}
	return &holding{f[1], Package{Version: f[0], Manager: f[2], Arch: f[3]}}, nil
}

const (
	holdersSQL    = "SELECT image_uuid, manager, name, arch, version FROM image_package FORCE INDEX (name_version) WHERE name = ?"
	holdersOrder  = " ORDER BY version DESC, image_uuid DESC, manager DESC, arch DESC LIMIT ?"
	sameVersion   = " AND version = ?"
	olderVersions = " AND version < ?"
	// restOfVersion goes on after a row among those of its version.
	restOfVersion = " AND image_uuid <= ? AND (image_uuid < ? OR manager < ? OR manager = ? AND arch < ?)"
)

// holders reads the index in its order. After a row come the rest of its version,
// then the others: as two questions, so that no page reads what was given before.
func (s *Store) holders(ctx context.Context, q PackageQuery, after *holding, limit int) ([]holding, error) {
	switch {
	case after == nil && q.Version == "":
		return s.holdings(ctx, holdersSQL+holdersOrder, q.Name, limit)
	case after == nil:
		return s.holdings(ctx, holdersSQL+sameVersion+holdersOrder, q.Name, q.Version, limit)
	}
	found, err := s.holdings(ctx, holdersSQL+sameVersion+restOfVersion+holdersOrder, q.Name, after.Version, after.image, after.image, after.Manager, after.Manager, after.Arch, limit)
	if err != nil || len(found) == limit || q.Version != "" {
		return found, err
	}
	more, err := s.holdings(ctx, holdersSQL+olderVersions+holdersOrder, q.Name, after.Version, limit-len(found))
	return append(found, more...), err
}

func (s *Store) holdings(ctx context.Context, query string, args ...any) ([]holding, error) {
	var found []holding
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var h holding
		err := rows.Scan(&h.image, &h.Manager, &h.Name, &h.Arch, &h.Version)
		found = append(found, h)
		return err
	}, query, args...)
	return found, err
}

// shownSQL: a cluster shows few images, however many there are.
const shownSQL = "SELECT image_uuid FROM release_target FORCE INDEX (cluster_state) WHERE cluster = ? AND state IN ('visible', 'changed') LIMIT ?"

func shownHoldersSQL(images int, version string) string {
	query := "SELECT image_uuid, manager, name, arch, version FROM image_package FORCE INDEX (PRIMARY) WHERE image_uuid IN (" + marks(images) + ") AND manager IN (" + marks(len(managers)) + ") AND name = ?"
	if version != "" {
		query += sameVersion
	}
	return query
}

// shownHolders looks the package up in the images that clusters show.
func (s *Store) shownHolders(ctx context.Context, q PackageQuery, after *holding, limit int) ([]holding, error) {
	images, err := s.shown(ctx)
	if err != nil {
		return nil, err
	}
	var found []holding
	for some := range slices.Chunk(images, 200) {
		if after != nil && some[len(some)-1] > after.image {
			continue // given before
		}
		var args []any
		for _, id := range slices.Concat(some, managers, []string{q.Name}) {
			args = append(args, id)
		}
		if q.Version != "" {
			args = append(args, q.Version)
		}
		list, err := s.holdings(ctx, shownHoldersSQL(len(some), q.Version), args...)
		if err != nil {
			return nil, err
		}
		if after != nil {
			last := *after
			last.Name = q.Name
			list = slices.DeleteFunc(list, func(h holding) bool { return compareHoldings(h, last) >= 0 })
		}
		slices.SortFunc(list, func(a, b holding) int { return compareHoldings(b, a) })
		if found = append(found, list...); len(found) >= limit {
			return found[:limit], nil
		}
	}
	return found, nil
}

// shown are the images that clusters show, the newest first.
func (s *Store) shown(ctx context.Context) ([]string, error) {
	var clusters, images []string
	text := func(into *[]string) func(*sql.Rows) error {
		return func(rows *sql.Rows) error {
			var t string
			err := rows.Scan(&t)
			*into = append(*into, t)
			return err
		}
	}
	if err := collect(ctx, s.reads, text(&clusters), clustersSQL); err != nil {
		return nil, err
	}
	for _, cluster := range clusters {
		if err := collect(ctx, s.reads, text(&images), shownSQL, cluster, maxPlaced); err != nil {
			return nil, err
		}
	}
	slices.Sort(images)
	images = slices.Compact(images)
	slices.Reverse(images)
	return images, nil
}

// installed tells of the images too.
func (s *Store) installed(ctx context.Context, found []holding) ([]Installed, error) {
	list := []Installed{}
	known := map[string]Image{}
	for some := range slices.Chunk(found, 200) {
		var args []any
		for _, h := range some {
			args = append(args, h.image)
		}
		images, err := s.images(ctx, s.reads, brief, "SELECT "+imageColumns+" FROM image i"+imageJoins+" WHERE i.uuid IN ("+marks(len(args))+")", args...)
		if err != nil {
			return nil, err
		}
		for _, i := range images {
			known[i.UUID] = i
		}
	}
	for _, h := range found {
		i := known[h.image]
		list = append(list, Installed{
			Package: h.Package, ImageUUID: h.image, Image: i.Name, Number: i.Number, Project: i.Project, State: i.State, BuiltAt: i.BuiltAt, Targets: i.Targets,
		})
	}
	return list, nil
}
