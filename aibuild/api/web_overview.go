package api

import (
	"net/http"
	"slices"

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
	who := bearer(ctx)
	running, err := s.listRuns(ctx, &runsInput{Unfinished: true, Limit: overviewRuns})
	if err != nil {
		return nil, err
	}
	v := overviewView{Running: running.Body.Runs}
	if v.Failing, v.Failed, err = s.config.Store.Failing(ctx, 1000); err != nil {
		return nil, err
	}
	if len(who.Projects) > 0 {
		v.Failing = slices.DeleteFunc(v.Failing, func(r lineage.Run) bool { return !speaksFor(who, r.Project) })
		v.Failed = len(v.Failing)
	}
	v.Failing = v.Failing[:min(len(v.Failing), overviewRuns)]
	if v.Images, err = s.config.Store.NewestGood(ctx, overviewNames+1); err != nil {
		return nil, err
	}
	if v.More = len(v.Images) > overviewNames; v.More {
		v.Images = v.Images[:overviewNames]
	}
	v.Images = slices.DeleteFunc(v.Images, func(i lineage.Image) bool { return !seesImagesOf(who, i.Project) })
	v.Shown = v.Images
	if r.URL.Query().Get("all") == "" {
		v.Shown = v.Images[:min(len(v.Images), overviewShown)]
	}
	if v.Clusters, err = s.clusterTable(ctx); err != nil {
		return nil, err
	}
	return &view{name: "overview", title: "Overview", section: "overview", body: v}, nil
}
