package lineage

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
)

// Placed is one image in one cluster, as it was recorded last.
type Placed struct {
	Target
	ImageUUID string `json:"image_uuid"`
	Image     string `json:"image_name"`
	Number    int    `json:"number,omitempty"`
	Project   string `json:"project,omitempty"`
}

// Ref gives the image's name for people, NAME@N.
func (p Placed) Ref() string { return Image{Name: p.Image, Number: p.Number}.Ref() }

const (
	// clustersSQL jumps from one cluster to the next.
	clustersSQL = "SELECT cluster FROM release_target FORCE INDEX (cluster_state) GROUP BY cluster"
	placedSQL   = `SELECT g.cluster, g.image_uuid, g.image_name, i.number, i.project, g.state, g.glance_id, g.released_at, g.checked_at, g.hash, g.error
		FROM release_target g FORCE INDEX (cluster_state) JOIN image i ON i.uuid = g.image_uuid
		WHERE g.cluster = ? AND g.state IN ('uploading', 'visible', 'changed', 'missing', 'failed') LIMIT ?`
)

// maxPlaced is how many images of one cluster are read.
const maxPlaced = 10_000

// Clusters gives what is, or should be, seen in each cluster: the visible images
// and those that somebody has to look at, by name, the newest first. Hidden and
// revoked ones are left out.
func (s *Store) Clusters(ctx context.Context) (map[string][]Placed, error) {
	if err := s.ready(ctx, "clusters"); err != nil {
		return nil, err
	}
	all := map[string][]Placed{}
	var names []string
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, clustersSQL)
	if err != nil {
		return nil, s.fault(ctx, "clusters", err)
	}
	for _, name := range names {
		all[name] = []Placed{}
		err := collect(ctx, s.reads, func(rows *sql.Rows) error {
			p, err := scanPlaced(rows)
			all[name] = append(all[name], p)
			return err
		}, placedSQL, name, maxPlaced)
		if err != nil {
			return nil, s.fault(ctx, fmt.Sprintf("images of cluster %s", name), err)
		}
		slices.SortFunc(all[name], func(a, b Placed) int {
			return cmp.Or(cmp.Compare(a.Image, b.Image), cmp.Compare(b.Number, a.Number), cmp.Compare(b.ImageUUID, a.ImageUUID))
		})
	}
	return all, nil
}

func scanPlaced(rows *sql.Rows) (Placed, error) {
	var p Placed
	var glance sql.NullString
	var released, checked sql.NullTime
	err := rows.Scan(&p.Cluster, &p.ImageUUID, &p.Image, &p.Number, &p.Project, &p.State, &glance, &released, &checked, &p.Hash, &p.Error)
	p.GlanceID, p.ReleaseAt, p.CheckedAt = glance.String, released.Time, checked.Time
	return p, err
}
