package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// clusterImages is what one cluster shows, or should.
type clusterImages struct {
	Cluster   string           `json:"openstack_cluster"`
	CheckedAt time.Time        `json:"checked_at,omitzero" doc:"the comparison with the cluster that is longest ago, of those of these images"`
	Images    []lineage.Placed `json:"images" nullable:"false" doc:"visible ones, and those that are missing, changed, failed or being uploaded; by name, the newest first"`
}

type clusterList struct {
	Clusters []clusterImages `json:"clusters" nullable:"false" doc:"by name"`
}

type clustersOutput struct{ Body clusterList }

// Family is where an image came from, and what came from it.
type Family struct {
	Ancestors []lineage.Image `json:"ancestors" nullable:"false" doc:"its parent, the parent of that, and so on, at most 20"`
	Children  []lineage.Image `json:"children" nullable:"false" doc:"built from it, newest first"`
}

type familyOutput struct{ Body Family }

func (s *Server) registerClusters() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/clusters", id: "clusters", need: mayRead,
		summary: "clusters x images: what each cluster shows, or should show, and when it was compared last",
		text:    "What is hidden behind a newer image, or revoked, is left out. A token of some projects sees their images only, but a recorder sees all.",
	}, s.clusters)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}/family", id: "family", need: mayRead, problems: []int{409},
		summary: "what an image was built from, and what was built from it",
		text:    "Ancestors end where one is not the token's to see.",
	}, s.family)
}

func (s *Server) clusters(ctx context.Context, _ *struct{}) (*clustersOutput, error) {
	all, err := s.config.Store.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	who := bearer(ctx)
	out := clusterList{Clusters: []clusterImages{}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		c := clusterImages{Cluster: name, Images: slices.DeleteFunc(all[name], func(p lineage.Placed) bool { return !seesImagesOf(who, p.Project) })}
		for _, p := range c.Images {
			if !p.CheckedAt.IsZero() && (c.CheckedAt.IsZero() || p.CheckedAt.Before(c.CheckedAt)) {
				c.CheckedAt = p.CheckedAt
			}
		}
		out.Clusters = append(out.Clusters, c)
	}
	return &clustersOutput{Body: out}, nil
}

func (s *Server) family(ctx context.Context, in *imageInput) (*familyOutput, error) {
	images, err := s.visible(ctx, lineage.Query{Ref: in.Ref})
	if err != nil {
		return nil, err
	}
	f := Family{Ancestors: []lineage.Image{}, Children: []lineage.Image{}}
	up, err := s.ancestors(ctx, images[0])
	if err != nil {
		return nil, err
	}
	down, err := s.visible(ctx, lineage.Query{Parent: images[0].UUID})
	if err != nil {
		return nil, err
	}
	f.Ancestors, f.Children = append(f.Ancestors, up...), append(f.Children, down...)
	return &familyOutput{Body: f}, nil
}
