package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Cells gives how an image's latest tests went, cell by cell, with the files of
// their evidence.
func (c *Client) Cells(ctx context.Context, ref string) (Cells, error) {
	var cells Cells
	err := c.do(ctx, call{op: "cells", method: http.MethodGet, path: []string{"images", ref, "cells"}}, &cells)
	return cells, err
}

// Evidence copies one file of an image's evidence to w, named as in [Cells].
func (c *Client) Evidence(ctx context.Context, ref, file string, w io.Writer) error {
	within, cancel := context.WithTimeout(ctx, evidenceTimeout)
	defer cancel()
	err := c.copyTo(within, call{op: "evidence", method: http.MethodGet, path: []string{"images", ref, "evidence", file}}, w)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("evidence: %w", context.Cause(ctx))
	}
	return err
}

// copyTo sends a request once, and copies what comes, whatever it is.
func (c *Client) copyTo(ctx context.Context, k call, w io.Writer) error {
	if err := c.setup(); err != nil {
		return err
	}
	resp, err := c.send(ctx, k, nil)
	if err != nil {
		return c.away(ctx, k, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return c.away(ctx, k, err)
		}
		return c.refusal(k, resp, b)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("%s: %w", k.op, err)
	}
	return nil
}
