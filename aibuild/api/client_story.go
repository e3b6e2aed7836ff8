package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Record writes steps of the story: all of them or none, as
// [lineage.Store.Record] does. It may be repeated.
func (c *Client) Record(ctx context.Context, records ...lineage.Record) error {
	if len(records) == 0 {
		return nil
	}
	batch := recordBatch{RunID: c.RunID, Records: records}
	if c.Build != (Build{}) {
		batch.Build = &c.Build
	}
	return c.do(ctx, call{op: "record", method: http.MethodPost, path: []string{"records"}, body: batch}, &recorded{})
}

// Resolve finds images, as [lineage.Store.Resolve] does.
func (c *Client) Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error) {
	v := url.Values{}
	for name, value := range map[string]string{"ref": q.Ref, "name": q.Name, "cluster": q.Cluster, "parent": q.Parent} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.Good {
		v.Set("good", "true")
	}
	if q.Limit != 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	var list imageList
	err := c.do(ctx, call{op: "resolve", method: http.MethodGet, path: []string{"resolve"}, query: v}, &list)
	return list.Images, err
}

// Run gives one run, with what its build may do.
func (c *Client) Run(ctx context.Context, id string) (RunDetail, error) {
	var r RunDetail
	err := c.do(ctx, call{op: "run", method: http.MethodGet, path: []string{"runs", id}}, &r)
	return r, err
}

// Runs lists runs, last opened first; next is empty on the last page. A page
// may have fewer runs than its limit and still name a next one.
func (c *Client) Runs(ctx context.Context, f lineage.RunFilter) (runs []lineage.Run, next string, err error) {
	v := url.Values{}
	for name, value := range map[string]string{"image": f.Image, "project": f.Project, "state": f.State, "cursor": f.Cursor} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if f.Unfinished {
		v.Set("unfinished", "true")
	}
	if f.Limit != 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	var page runsPage
	err = c.do(ctx, call{op: "list runs", method: http.MethodGet, path: []string{"runs"}, query: v}, &page)
	return page.Runs, page.Next, err
}

// OpenRun opens a run. Without a RunID it is given one, so that it is opened
// once, however often the request had to be sent.
func (c *Client) OpenRun(ctx context.Context, n NewRun) (RunDetail, error) {
	if n.Build == nil && c.Build != (Build{}) {
		n.Build = &c.Build
	}
	if n.RunID == "" {
		n.RunID = c.RunID
	}
	if n.RunID == "" && n.Build == nil {
		n.RunID = newID()
	}
	var r RunDetail
	err := c.do(ctx, call{op: "open run", method: http.MethodPost, path: []string{"runs"}, body: n}, &r)
	return r, err
}

// Cancel asks for the end of a run. [*lineage.Conflict] when it has ended.
func (c *Client) Cancel(ctx context.Context, id, reason string) (RunDetail, error) {
	var r RunDetail
	err := c.do(ctx, call{op: "cancel run", method: http.MethodPost, path: []string{"runs", id, "cancel"}, body: cancelRequest{Reason: reason}}, &r)
	return r, err
}

// Retry opens the next attempt of a run that has ended. [*lineage.Conflict]
// when it has not. Without a RunID the attempt is given one, so that it is
// opened once, however often the request had to be sent.
func (c *Client) Retry(ctx context.Context, id string, o RetryOptions) (RunDetail, error) {
	if o.RunID == "" {
		o.RunID = newID()
	}
	var r RunDetail
	err := c.do(ctx, call{op: "retry run", method: http.MethodPost, path: []string{"runs", id, "retry"}, body: o}, &r)
	return r, err
}

// RunLog copies the log of a run to w.
func (c *Client) RunLog(ctx context.Context, id string, w io.Writer) error {
	if err := c.setup(); err != nil {
		return err
	}
	k := call{op: "log of run", method: http.MethodGet, path: []string{"runs", id, "log"}}
	within, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	resp, err := c.send(within, k, nil)
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
		return fmt.Errorf("log of run %s: %w", id, err)
	}
	return nil
}
