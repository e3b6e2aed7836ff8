package api

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerOverview() { s.webPage("GET /{$}", mayRead, s.overviewPage) }

// overviewView is what overview.html shows: what runs, what failed and why, the
// newest good images, and whether the clusters are in step.
type overviewView struct {
	Running  []lineage.Run
	Failing  []lineage.Run
	Failed   int // names, in all
	Images   []lineage.Image
	Shown    []lineage.Image // of them: a short page is there at once
	More     bool            // there are more names
	Clusters clustersView
}

const (
	overviewRuns  = 12
	overviewNames = 200
	overviewShown = 40
)

func (s *Server) overviewPage(r *http.Request) (*view, error) {
	ctx := r.Context()
	running, err := s.listRuns(ctx, &runsInput{Unfinished: true, Limit: overviewRuns})
	if err != nil {
		return nil, err
	}
	v, err := s.memos.overview.get(ctx, sees(bearer(ctx)), s.overview)
	if err != nil {
		return nil, err
	}
	v.Running, v.Shown = running.Body.Runs, v.Images
	if r.URL.Query().Get("all") == "" {
		v.Shown = v.Images[:min(len(v.Images), overviewShown)]
	}
	if v.Clusters, err = s.clusterTable(ctx); err != nil {
		return nil, err
	}
	return &view{name: "overview", title: "Overview", section: "overview", body: v}, nil
}

// sees is the same for all who may see the same.
func sees(who lineage.Token) string {
	return who.Role + " " + strings.Join(who.Projects, " ")
}

// memos are what pages keep.
type memos struct {
	overview memo[overviewView]
	clusters memo[clustersView]
}

func (m *memos) clear() { m.overview.clear(); m.clusters.clear() }
func (m *memos) wait()  { m.overview.wait(); m.clusters.wait() }

// overview reads what takes longer the more is recorded: how each name is.
func (s *Server) overview(ctx context.Context) (v overviewView, err error) {
	who := bearer(ctx)
	if v.Failing, v.Failed, err = s.config.Store.Failing(ctx, 1000); err != nil {
		return v, err
	}
	if len(who.Projects) > 0 {
		v.Failing = slices.DeleteFunc(v.Failing, func(r lineage.Run) bool { return !speaksFor(who, r.Project) })
		v.Failed = len(v.Failing)
	}
	v.Failing = v.Failing[:min(len(v.Failing), overviewRuns)]
	if v.Images, err = s.config.Store.NewestGood(ctx, overviewNames+1); err != nil {
		return v, err
	}
	if v.More = len(v.Images) > overviewNames; v.More {
		v.Images = v.Images[:overviewNames]
	}
	v.Images = slices.DeleteFunc(v.Images, func(i lineage.Image) bool { return !seesImagesOf(who, i.Project) })
	return v, nil
}
