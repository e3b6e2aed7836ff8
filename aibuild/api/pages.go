package api

import (
	"embed"
	"encoding/json"
	"html/template"
	"net"
	"net/http"
	"net/url"
)

//go:embed docs.html
var pageFiles embed.FS

var pages = template.Must(template.ParseFS(pageFiles, "*.html"))

// registerOpen registers what needs no token. It comes last, as it describes
// the rest.
func (s *Server) registerOpen() error {
	s.openAnswers()
	var err error
	if s.spec, err = json.MarshalIndent(s.api.OpenAPI(), "", "  "); err != nil {
		return err
	}
	if s.docs, err = s.renderDocs(); err != nil {
		return err
	}
	static, err := serveStatic()
	if err != nil {
		return err
	}
	s.open.HandleFunc("GET /healthz", s.healthz)
	s.open.HandleFunc("GET /readyz", s.readyz)
	s.open.Handle("GET /metrics", s.metrics.handler())
	s.open.HandleFunc("GET /openapi.json", s.serveBytes("application/openapi+json", &s.spec))
	s.open.HandleFunc("GET /docs", s.serveBytes(htmlType, &s.docs))
	s.registerSession()
	s.registerOverview()
	s.registerClusterPage()
	s.registerImagePages()
	s.registerRunPages()
	s.registerAuditPage()
	s.registerPackagePages()
	s.registerEvidencePages()
	s.registerActionPages()
	s.open.Handle("GET /static/", http.StripPrefix("/static/", static))
	return nil
}

const htmlType = "text/html; charset=utf-8"

func (s *Server) serveBytes(kind string, b *[]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", kind)
		if _, err := w.Write(*b); err != nil {
			s.log.Debug("the answer was not read", "request", requestID(r.Context()), "error", err)
		}
	}
}

// isLocal says whether a request comes from this machine.
func isLocal(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && isLoopback(host)
}

// webLink is a link only if it leads to the web: it may come from a build.
func webLink(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return address
}
