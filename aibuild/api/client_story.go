package api

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Record writes steps of the story: all of them or none, as
// [lineage.Store.Record] does. It may be repeated.
func (c *Client) Record(ctx context.Context, records ...lineage.Record) error {
	if len(records) == 0 {
		return nil
	}
	batch := recordBatch{RunID: c.RunID, Locks: c.locks(), Records: records}
	if c.Build != (Build{}) {
		batch.Build = &c.Build
	}
	return c.do(ctx, call{op: "record", method: http.MethodPost, path: []string{"records"}, body: batch}, &recorded{})
}

// Resolve finds images, as [lineage.Store.Resolve] does.
func (c *Client) Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error) {
	v := values(map[string]string{"ref": q.Ref, "name": q.Name, "cluster": q.Cluster, "parent": q.Parent}, q.Limit)
	if q.Good {
		v.Set("good", "true")
	}
	if !q.At.IsZero() {
		v.Set("at", q.At.UTC().Format(time.RFC3339Nano))
	}
	var list imageList
	err := c.do(ctx, call{op: "resolve", method: http.MethodGet, path: []string{"resolve"}, query: v}, &list)
	return list.Images, err
}

// Images lists images, as [lineage.Store.Images] does. A page may have fewer
// images than its limit and still name a next one.
func (c *Client) Images(ctx context.Context, f lineage.Filter) (images []lineage.Image, next string, err error) {
	v := values(map[string]string{"name": f.Name, "project": f.Project, "state": f.State, "cursor": f.Cursor}, f.Limit)
	if !f.Since.IsZero() {
		v.Set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	var page imagesPage
	err = c.do(ctx, call{op: "list images", method: http.MethodGet, path: []string{"images"}, query: v}, &page)
	return page.Images, page.Next, err
}

// History gives the story of a name, as [lineage.Store.History] does.
func (c *Client) History(ctx context.Context, ref string, limit int) ([]lineage.Entry, error) {
	var h history
	err := c.do(ctx, call{op: "history", method: http.MethodGet, path: []string{"images", ref, "history"}, query: values(nil, limit)}, &h)
	var entries []lineage.Entry
	for _, e := range h.Entries {
		entries = append(entries, lineage.Entry(e))
	}
	return entries, err
}

// Events lists the audit, as [lineage.Store.Events] does.
func (c *Client) Events(ctx context.Context, f lineage.EventFilter) (events []lineage.Event, next string, err error) {
	v := values(map[string]string{"image": f.Image, "image_uuid": f.ImageUUID, "run_id": f.RunID, "actor": f.Actor, "cursor": f.Cursor}, f.Limit)
	var page eventsPage
	err = c.do(ctx, call{op: "list events", method: http.MethodGet, path: []string{"events"}, query: v}, &page)
	return page.Events, page.Next, err
}

// Caps is what the server's configuration lets a project do. A recorder of a
// project that is not configured gets [*definition.Refused].
func (c *Client) Caps(ctx context.Context, project string) (Caps, error) {
	var caps Caps
	err := c.do(ctx, call{op: "caps", method: http.MethodGet, path: []string{"caps"}, query: values(map[string]string{"project": project}, 0)}, &caps)
	return caps, err
}

// values is a query of what is set.
func values(texts map[string]string, limit int) url.Values {
	v := url.Values{}
	for name, value := range texts {
		if value != "" {
			v.Set(name, value)
		}
	}
	if limit != 0 {
		v.Set("limit", strconv.Itoa(limit))
	}
	return v
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
	v := values(map[string]string{"image": f.Image, "project": f.Project, "state": f.State, "cursor": f.Cursor}, f.Limit)
	if f.Unfinished {
		v.Set("unfinished", "true")
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
	within, cancel := context.WithTimeout(ctx, logTimeout)
	defer cancel()
	return c.copyTo(within, call{op: "log of run", method: http.MethodGet, path: []string{"runs", id, "log"}}, w)
}
