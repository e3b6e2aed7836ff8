package api

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// searchView is what search.html shows.
type searchView struct {
	Query string
	lineage.Found
}

// searchPage goes to what the words name, and lists what they may mean where they
// name nothing, or several.
func (s *Server) searchPage(r *http.Request) (*view, error) {
	q := strings.TrimSpace(r.URL.Query().Get("q"))
	if q == "" {
		return nil, elsewhere{"/images"}
	}
	if len(q) > 2048 {
		return nil, &lineage.Invalid{Field: "q", Problem: "has more than 2048 bytes"}
	}
	images, err := s.visible(r.Context(), lineage.Query{Ref: q})
	_, several := errors.AsType[*lineage.Ambiguous](err)
	_, unreadable := errors.AsType[*lineage.Invalid](err)
	switch {
	case err == nil && images[0].Name == q:
		return nil, elsewhere{"/images/" + url.PathEscape(q)}
	case err == nil:
		return nil, elsewhere{"/images/" + url.PathEscape(images[0].UUID)}
	case !several && !unreadable && !errors.Is(err, lineage.ErrNotFound):
		return nil, err
	}
	out, err := s.search(r.Context(), &searchInput{Text: q})
	if err != nil {
		return nil, err
	}
	v := searchView{Query: q, Found: out.Body}
	switch n := len(v.Names) + len(v.Images); {
	case n == 0 && len(v.Runs) == 1:
		return nil, elsewhere{"/runs/" + url.PathEscape(v.Runs[0].ID)}
	case n == 1 && len(v.Names) == 1 && len(v.Runs) == 0:
		return nil, elsewhere{"/images/" + url.PathEscape(v.Names[0].Name)}
	case n+len(v.Runs) == 0:
		return &view{name: "search", title: "Search", section: "images", status: http.StatusNotFound, query: q, body: v}, nil
	}
	return &view{name: "search", title: "Search", section: "images", query: q, body: v}, nil
}
