package api

import (
	"net/http"
)

func (s *Server) searchNames(r *http.Request, q string) (*view, error) {
	return &view{name: "search", title: "Search", section: "images", status: http.StatusNotFound, query: q, body: searchView{Query: q}}, nil
}
