package api

import (
	"net/http"
	"net/url"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerImagePages() {
	s.webPage("GET /images", mayRead, s.imagesPage)
	s.webPage("GET /images/{ref}", mayRead, s.imagePage)
	s.webPage("GET /search", mayRead, s.searchPage)
}

// listView is a page of a list.
type listView[T any] struct {
	Rows   []T
	Filter map[string]string
	States []string
	Next   string // address of the next page
}

// nextPage is the address of the page after this one.
func nextPage(r *http.Request, cursor string) string {
	if cursor == "" {
		return ""
	}
	q := r.URL.Query()
	q.Set("cursor", cursor)
	return r.URL.Path + "?" + q.Encode()
}

func (s *Server) imagesPage(r *http.Request) (*view, error) {
	q := r.URL.Query()
	in := &imagesInput{Name: q.Get("name"), Project: q.Get("project"), State: q.Get("state"), Cursor: q.Get("cursor")}
	out, err := s.listImages(r.Context(), in)
	if err != nil {
		return nil, err
	}
	return &view{name: "images", title: "Images", section: "images", body: listView[lineage.Image]{
		Rows: out.Body.Images, Filter: map[string]string{"name": in.Name, "project": in.Project, "state": in.State},
		States: lineage.ImageStates(), Next: nextPage(r, out.Body.Next),
	}}, nil
}

// nameView is what name.html shows: all versions of an image, and the runs that
// made none.
type nameView struct {
	Name    string
	Project string
	Newest  *lineage.Image // good one
	Entries []lineage.Entry
	Sizes   *chart
	Times   *chart
	More    bool
}

// nameEntries is how many versions one page shows.
const nameEntries = 60

// imagePage shows all versions of a name, or the one that the reference is of.
func (s *Server) imagePage(r *http.Request) (*view, error) {
	ref := r.PathValue("ref")
	out, err := s.history(r.Context(), &historyInput{Ref: ref, Limit: nameEntries})
	if err != nil {
		return nil, err
	}
	var entries []lineage.Entry
	for _, e := range out.Body.Entries {
		entries = append(entries, lineage.Entry(e))
	}
	if e := entries[0]; len(entries) == 1 && entryName(e) != ref { // the reference is not a name
		if e.Run != nil {
			return nil, elsewhere{"/runs/" + url.PathEscape(e.Run.ID)}
		}
		return s.versionPage(r, *e.Image)
	}
	v := nameView{Name: ref, Project: entryProject(entries[0]), Entries: entries, More: len(entries) == nameEntries}
	for _, e := range entries {
		if e.Image != nil && e.Image.Good() && v.Newest == nil {
			v.Newest = e.Image
		}
	}
	v.Sizes, v.Times = sizeChart(entries), timeChart(entries)
	return &view{name: "name", title: ref, section: "images", body: v}, nil
}

func entryName(e lineage.Entry) string {
	if e.Image != nil {
		return e.Image.Name
	}
	return e.Run.Image
}

func entryProject(e lineage.Entry) string {
	if e.Image != nil {
		return e.Image.Project
	}
	return e.Run.Project
}
