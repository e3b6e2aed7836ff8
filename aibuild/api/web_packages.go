package api

import (
	"net/http"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerPackagePages() {
	s.webPage("GET /packages", mayRead, s.packagesPage)
	s.webPage("GET /diff", mayRead, s.diffPage)
}

// packagesPage shows which images have a package; without a name it asks for one.
func (s *Server) packagesPage(r *http.Request) (*view, error) {
	q := r.URL.Query()
	in := &withPackageInput{Name: strings.TrimSpace(q.Get("name")), Version: strings.TrimSpace(q.Get("version")), Released: q.Get("released") != "", Cursor: q.Get("cursor")}
	v := listView[lineage.Installed]{Filter: map[string]string{"name": in.Name, "version": in.Version, "released": q.Get("released")}}
	if in.Name != "" {
		out, err := s.withPackage(r.Context(), in)
		if err != nil {
			return nil, err
		}
		v.Rows, v.Next = out.Body.Images, nextPage(r, out.Body.Next)
	}
	return &view{name: "packages", title: strings.TrimSpace("Packages " + in.Name), section: "packages", body: v}, nil
}

// diffPage shows what sets two images apart.
func (s *Server) diffPage(r *http.Request) (*view, error) {
	q := r.URL.Query()
	in := &diffInput{From: q.Get("a"), To: q.Get("b")}
	if in.From == "" || in.To == "" {
		return nil, &lineage.Invalid{Field: "a, b", Problem: "name the two images to compare: /diff?a=debian-12@16&b=debian-12@17"}
	}
	out, err := s.diff(r.Context(), in)
	if err != nil {
		return nil, err
	}
	return &view{name: "diff", title: out.Body.From.Ref() + " and " + out.Body.To.Ref(), section: "images", body: out.Body}, nil
}
