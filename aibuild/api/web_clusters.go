package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerClusterPage() { s.webPage("GET /clusters", mayRead, s.clustersPage) }

// clustersView is what clusters.html shows: images x clusters.
type clustersView struct {
	Clusters []clusterHead
	Rows     []clusterRow
	Behind   int // cells that are not in step
	Only     string
}

type clusterHead struct {
	Name    string
	Checked time.Time // the comparison that is longest ago
	Images  int
	Trouble int
}

// clusterRow is one image name: what every cluster shows of it.
type clusterRow struct {
	Name  string
	Cells []clusterCell // as Clusters
	Step  bool          // all show the same, and nothing is wrong
}

// clusterCell is one name in one cluster.
type clusterCell struct {
	Visible *lineage.Placed  // nil: none
	Wrong   []lineage.Placed // missing, changed, failed, or being uploaded
	Behind  bool             // another cluster shows a newer one
}

func (s *Server) clustersPage(r *http.Request) (*view, error) {
	v, err := s.clusterTable(r.Context())
	if err != nil {
		return nil, err
	}
	v.Only = r.URL.Query().Get("only")
	if v.Only == "trouble" {
		v.Rows = slices.DeleteFunc(slices.Clone(v.Rows), func(r clusterRow) bool { return r.Step })
	}
	return &view{name: "clusters", title: "Clusters", section: "clusters", body: v}, nil
}

// clusterTable is what the clusters have, arranged. The rows are everybody's: who
// leaves some out makes a list of his own.
func (s *Server) clusterTable(ctx context.Context) (clustersView, error) {
	return s.memos.clusters.get(ctx, sees(bearer(ctx)), s.readClusters)
}

func (s *Server) readClusters(ctx context.Context) (clustersView, error) {
	all, err := s.config.Store.Clusters(ctx)
	if err != nil {
		return clustersView{}, err
	}
	who := bearer(ctx)
	var v clustersView
	rows := map[string][]clusterCell{}
	names := slices.Sorted(maps.Keys(all))
	for n, name := range names {
		head := clusterHead{Name: name}
		for _, p := range all[name] {
			if !seesImagesOf(who, p.Project) {
				continue
			}
			if rows[p.Image] == nil {
				rows[p.Image] = make([]clusterCell, len(names))
			}
			rows[p.Image][n].place(p)
			head.add(p)
		}
		v.Clusters = append(v.Clusters, head)
	}
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		row := clusterRow{Name: name, Cells: rows[name]}
		row.compare()
		if !row.Step {
			v.Behind++
		}
		v.Rows = append(v.Rows, row)
	}
	return v, nil
}

func (h *clusterHead) add(p lineage.Placed) {
	if p.State == lineage.TargetVisible {
		h.Images++
	} else {
		h.Trouble++
	}
	if !p.CheckedAt.IsZero() && (h.Checked.IsZero() || p.CheckedAt.Before(h.Checked)) {
		h.Checked = p.CheckedAt
	}
}

func (c *clusterCell) place(p lineage.Placed) {
	if p.State != lineage.TargetVisible {
		c.Wrong = append(c.Wrong, p)
	} else if c.Visible == nil || p.Number > c.Visible.Number {
		c.Visible = &p
	}
}

// compare finds the clusters that show an older image than another one does.
// That an image is meant for some clusters only is no trouble.
func (r *clusterRow) compare() {
	newest := 0
	for _, c := range r.Cells {
		if c.Visible != nil {
			newest = max(newest, c.Visible.Number)
		}
	}
	r.Step = true
	for n := range r.Cells {
		c := &r.Cells[n]
		c.Behind = c.Visible != nil && c.Visible.Number < newest
		r.Step = r.Step && !c.Behind && len(c.Wrong) == 0
	}
}
