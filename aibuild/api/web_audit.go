package api

import (
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerAuditPage() { s.webPage("GET /audit", mayRead, s.auditPage) }

func (s *Server) auditPage(r *http.Request) (*view, error) {
	q := r.URL.Query()
	in := &eventsInput{Image: q.Get("image"), ImageUUID: q.Get("image_uuid"), RunID: q.Get("run_id"), Actor: q.Get("actor"), Cursor: q.Get("cursor")}
	out, err := s.listEvents(r.Context(), in)
	if err != nil {
		return nil, err
	}
	return &view{name: "audit", title: "Audit", section: "audit", body: listView[lineage.Event]{
		Rows: out.Body.Events, Filter: map[string]string{"image": in.Image, "actor": in.Actor}, Next: nextPage(r, out.Body.Next),
	}}, nil
}
