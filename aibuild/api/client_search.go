package api

import (
	"context"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Search finds what a text may mean, as [lineage.Store.Search] does. Whose images
// are found is up to the token: Projects is not sent.
func (c *Client) Search(ctx context.Context, q lineage.SearchQuery) (lineage.Found, error) {
	var found lineage.Found
	err := c.do(ctx, call{op: "search", method: http.MethodGet, path: []string{"search"}, query: values(map[string]string{"q": q.Text}, q.Limit)}, &found)
	return found, err
}
