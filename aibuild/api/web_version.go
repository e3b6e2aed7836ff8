package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// versionView is what version.html shows: one image, from where, what was
// tested, and where it is.
type versionView struct {
	Image     lineage.Image
	Facts     []pageRow // provenance
	Ancestors []lineage.Image
	Children  []lineage.Image
	Matrix    matrix
	Failed    []lineage.TestCase // what did not pass, first
	Run       *lineage.Run       // that made it
	Events    []lineage.Event
	Previous  *lineage.Image // of the name, to compare with
	Shown     bool           // by a cluster, now
}

// pageRow is one line of facts. Copy names what a button copies, and Note is
// said beside it.
type pageRow struct{ Name, Text, Link, Copy, Note string }

// generations is how far up the family a page looks.
const generations = 20

func (s *Server) versionPage(r *http.Request, img lineage.Image) (*view, error) {
	ctx := r.Context()
	v := versionView{Image: img, Matrix: newMatrix(img.Tests)}
	for _, t := range img.Tests {
		if t.Result == lineage.FailedTest || t.Result == lineage.TestError {
			v.Failed = append(v.Failed, t)
		}
	}
	var err error
	if v.Ancestors, err = s.ancestors(ctx, img); err != nil {
		return nil, err
	}
	if v.Children, err = s.visible(ctx, lineage.Query{Parent: img.UUID, Limit: 50}); err != nil && !errors.Is(err, lineage.ErrNotFound) {
		return nil, err
	}
	run, err := s.visibleRun(ctx, img.UUID)
	switch {
	case err == nil:
		v.Run = &run
	case !errors.Is(err, lineage.ErrNotFound):
		return nil, err
	}
	if v.Events, _, err = s.config.Store.Events(ctx, lineage.EventFilter{ImageUUID: img.UUID, Limit: 100}); err != nil {
		return nil, err
	}
	if v.Previous, err = s.previous(ctx, img); err != nil {
		return nil, err
	}
	v.Shown = slices.ContainsFunc(img.Targets, func(t lineage.Target) bool { return t.State == lineage.TargetVisible })
	v.Facts = provenance(img, v.Run)
	return &view{name: "version", title: img.Ref(), section: "images", body: v}, nil
}

// ancestors gives the image's parent, its parent, and so on.
func (s *Server) ancestors(ctx context.Context, img lineage.Image) (list []lineage.Image, err error) {
	for a := img.Artifact; a != nil && a.ParentUUID != "" && len(list) < generations; {
		parents, err := s.visible(ctx, lineage.Query{Ref: a.ParentUUID})
		if errors.Is(err, lineage.ErrNotFound) {
			return list, nil // it is another project's
		}
		if err != nil {
			return nil, err
		}
		list = append(list, parents[0])
		a = parents[0].Artifact
	}
	return list, nil
}

// previous is the image of the same name that was built before.
func (s *Server) previous(ctx context.Context, img lineage.Image) (*lineage.Image, error) {
	if img.Number < 2 {
		return nil, nil
	}
	before := img
	before.Number--
	list, err := s.visible(ctx, lineage.Query{Ref: before.Ref()})
	if errors.Is(err, lineage.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &list[0], nil
}

// provenance is where an image came from, in the order that people ask.
func provenance(i lineage.Image, run *lineage.Run) []pageRow {
	rows := []pageRow{{Name: "Project", Text: i.Project}, {Name: "From", Text: i.FromISO}}
	if a := i.Artifact; a != nil {
		dirty := ""
		if a.Dirty {
			dirty = "and uncommitted changes"
		}
		rows = append(rows, []pageRow{
			{Name: "Commit", Text: a.Commit, Copy: "commit", Note: dirty}, {Name: "Branch", Text: branch(a.Ref)},
			{Name: "Source", Text: a.SourceURL, Link: webLink(a.SourceURL)}, {Name: "Source's sha256", Text: a.SourceSHA256},
			{Name: "Parent's sha256", Text: a.ParentSHA256},
			{Name: "Tools", Text: toolsText(a.Tools)}, {Name: "Accelerator", Text: a.Accelerator}, {Name: "Build took", Text: msOrNone(a.BuildMS)},
			{Name: "File", Text: a.Format + ", " + bytesText(a.Size) + "; disk of " + bytesText(a.VirtualSize)},
			{Name: "Logs in as", Text: a.User},
		}...)
	} else {
		rows = append(rows, pageRow{Name: "Commit", Text: i.Commit, Copy: "commit"})
	}
	if run != nil {
		build := run.JenkinsJob
		if run.Build != 0 {
			build += " #" + itoa(run.Build)
		}
		rows = append(rows, pageRow{Name: "Run", Text: run.ID, Link: "/runs/" + run.ID},
			pageRow{Name: "Jenkins build", Text: build, Link: webLink(run.BuildURL)}, pageRow{Name: "Pushed or started by", Text: run.Actor})
	}
	return slices.DeleteFunc(rows, func(r pageRow) bool { return r.Text == "" })
}

func msOrNone(ms int64) string {
	if ms == 0 {
		return ""
	}
	return msText(ms)
}

// matrix is the tests of an image: a row for each case, a column for each cell.
type matrix struct {
	Cells []string
	Rows  []matrixRow
}

type matrixRow struct {
	Case  string
	Cells []*lineage.TestCase // nil: not in this cell
}

func newMatrix(tests []lineage.TestCase) matrix {
	var m matrix
	rows := map[string]int{}
	for i := range tests {
		if !slices.Contains(m.Cells, tests[i].Cell) {
			m.Cells = append(m.Cells, tests[i].Cell)
		}
	}
	for i := range tests {
		t := &tests[i]
		n, ok := rows[t.Case]
		if !ok {
			n = len(m.Rows)
			rows[t.Case] = n
			m.Rows = append(m.Rows, matrixRow{t.Case, make([]*lineage.TestCase, len(m.Cells))})
		}
		m.Rows[n].Cells[slices.Index(m.Cells, t.Cell)] = t // the last attempt counts
	}
	return m
}
