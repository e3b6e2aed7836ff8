package api

import (
	"context"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// WithPackage lists the images that have a package, as
// [lineage.Store.WithPackage] does. A page may have fewer images than its limit
// and still name a next one.
func (c *Client) WithPackage(ctx context.Context, q lineage.PackageQuery) (list []lineage.Installed, next string, err error) {
	if q.Name == "" {
		return nil, "", &lineage.Invalid{Field: "name", Problem: "is missing: say which package"}
	}
	v := values(map[string]string{"version": q.Version, "cursor": q.Cursor}, q.Limit)
	if q.Released {
		v.Set("released", "true")
	}
	var page installedPage
	err = c.do(ctx, call{op: "images with a package", method: http.MethodGet, path: []string{"packages", q.Name}, query: v}, &page)
	return page.Images, page.Next, err
}

// Packages gives what is installed in an image, as [lineage.Store.Packages] does.
func (c *Client) Packages(ctx context.Context, ref string) ([]lineage.Package, error) {
	var list packageList
	err := c.do(ctx, call{op: "packages", method: http.MethodGet, path: []string{"images", ref, "packages"}}, &list)
	return list.Packages, err
}

// Diff compares two images, as [lineage.Store.Diff] does.
func (c *Client) Diff(ctx context.Context, from, to string) (lineage.Diff, error) {
	var d lineage.Diff
	err := c.do(ctx, call{op: "diff", method: http.MethodGet, path: []string{"diff"}, query: values(map[string]string{"from": from, "to": to}, 0)}, &d)
	return d, err
}
