package api

import (
	"context"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// ChangeImage has something done with an image: what is release, rollback,
// revoke, restore or hold. done is false where it takes longer than an answer
// may: then it goes on, and the image tells how it ends.
func (c *Client) ChangeImage(ctx context.Context, ref, what string, change ImageChange) (img lineage.Image, done bool, err error) {
	var out changed
	err = c.do(ctx, call{op: what, method: http.MethodPost, path: []string{"images", ref, what}, body: change}, &out)
	return out.Image, out.Status == "done", err
}
