package api

import (
	"context"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Clusters gives what each cluster shows, or should, as [lineage.Store.Clusters]
// does.
func (c *Client) Clusters(ctx context.Context) (map[string][]lineage.Placed, error) {
	var list clusterList
	if err := c.do(ctx, call{op: "clusters", method: http.MethodGet, path: []string{"clusters"}}, &list); err != nil {
		return nil, err
	}
	all := map[string][]lineage.Placed{}
	for _, one := range list.Clusters {
		all[one.Cluster] = one.Images
	}
	return all, nil
}

// Family gives what an image was built from, and what was built from it.
func (c *Client) Family(ctx context.Context, ref string) (Family, error) {
	var f Family
	err := c.do(ctx, call{op: "family", method: http.MethodGet, path: []string{"images", ref, "family"}}, &f)
	return f, err
}
