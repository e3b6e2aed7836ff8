package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type searchInput struct {
	Text  string `query:"q" required:"true" minLength:"1" maxLength:"2048" doc:"part of an image's name; NAME@N, uuid or its beginning, Glance id, sha256, URL or commit of an image; id of a run, or its beginning"`
	Limit int    `query:"limit" doc:"of each kind, 1 to 100; 0 = 20"`
}

type searchOutput struct{ Body lineage.Found }

func (s *Server) registerSearch() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/search", id: "search", need: mayRead,
		summary: "what a text may mean: image names, images and runs",
		text: "Names that begin with the text come first, then those that have it in them, whatever its case. Nothing found is an answer too. " +
			"A token of some projects finds what is theirs only, but a recorder finds all images.",
	}, s.search)
}

func (s *Server) search(ctx context.Context, in *searchInput) (*searchOutput, error) {
	who := bearer(ctx)
	q := lineage.SearchQuery{Text: in.Text, Limit: in.Limit}
	if who.Role != RoleRecorder {
		q.Projects = who.Projects
	}
	found, err := s.config.Store.Search(ctx, q)
	if err != nil {
		return nil, err
	}
	hide := func(i lineage.Image) bool { return !seesImagesOf(who, i.Project) }
	found.Names, found.Images = slices.DeleteFunc(found.Names, hide), slices.DeleteFunc(found.Images, hide)
	found.Runs = slices.DeleteFunc(found.Runs, func(r lineage.Run) bool { return !speaksFor(who, r.Project) })
	return &searchOutput{Body: found}, nil
}
