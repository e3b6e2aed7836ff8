package api

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

//go:embed run.html docs.html
var pageFiles embed.FS

//go:embed static
var staticFiles embed.FS

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
	static, err := fs.Sub(staticFiles, "static")
	if err != nil {
		return err
	}
	s.open.HandleFunc("GET /healthz", s.healthz)
	s.open.HandleFunc("GET /readyz", s.readyz)
	s.open.Handle("GET /metrics", s.metrics.handler())
	s.open.HandleFunc("GET /openapi.json", s.serveBytes("application/openapi+json", &s.spec))
	s.open.HandleFunc("GET /docs", s.serveBytes(htmlType, &s.docs))
	s.open.HandleFunc("GET /runs/{id}", s.runPage)
	s.open.Handle("GET /static/", http.StripPrefix("/static/", onlyFiles(http.FileServerFS(static))))
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

// onlyFiles lists no folders.
func onlyFiles(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// runView is what run.html shows: a run, or a title and a text.
type runView struct {
	Run      *lineage.Run
	Failure  string
	Rows     []pageRow
	Events   []lineage.Event
	Title    string
	Text     string
	Commands []string
}

type pageRow struct{ Name, Text, Link string }

// runPage is where commit statuses lead. Who has no token learns how to look,
// and nothing of the run, not even whether there is one.
func (s *Server) runPage(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	ctx := r.Context()
	if !s.config.OpenPages || !isLocal(r) {
		token, err := s.authenticate(r)
		if err != nil {
			s.refusePage(w, r, err)
			return
		}
		ctx = context.WithValue(ctx, keyToken, token)
	}
	run, err := s.visibleRun(ctx, id)
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	events, _, err := s.config.Store.Events(ctx, lineage.EventFilter{RunID: run.ID, Limit: 200})
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	view := runView{Run: &run, Rows: rowsOf(run), Events: events}
	if run.Failure != nil {
		var b strings.Builder
		if err := run.Failure.Render(&b); err != nil {
			s.refusePage(w, r, err)
			return
		}
		view.Failure = b.String()
	}
	s.page(w, r, http.StatusOK, view)
}

// isLocal says whether a request comes from this machine.
func isLocal(r *http.Request) bool {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	return err == nil && isLoopback(host)
}

func (s *Server) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	p := s.fail(r.Context(), err)
	view := runView{Title: p.Title, Text: p.Detail}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="aibuild"`)
		view.Title = "This page needs a token"
		view.Text = "Look at the run with the command, or with any program that sends a token. An administrator makes tokens with aibuild token create."
		id := url.PathEscape(r.PathValue("id"))
		view.Commands = []string{
			"AIBUILD_SERVER=https://THIS-SERVER AIBUILD_TOKEN=… aibuild runs show " + id,
			"curl -H 'Authorization: Bearer …' https://THIS-SERVER/api/v1/runs/" + id,
		}
	}
	if p.retryAfter != "" {
		w.Header().Set("Retry-After", p.retryAfter)
	}
	s.page(w, r, p.Status, view)
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, status int, view runView) {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, "run.html", view); err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", htmlType)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	s.write(w, r, b.String())
}

func rowsOf(r lineage.Run) []pageRow {
	at := func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format("2006-01-02 15:04:05")
	}
	build := r.JenkinsJob
	if r.Build != 0 {
		build = strings.TrimSpace(build + " #" + strconv.FormatInt(r.Build, 10))
	}
	attempt := strconv.Itoa(r.Attempt)
	if r.RetryOf != "" {
		attempt += ", after run " + r.RetryOf
	}
	all := []pageRow{
		{Name: "Run", Text: r.ID}, {Name: "Attempt", Text: attempt}, {Name: "Project", Text: r.Project}, {Name: "Ref", Text: r.Ref}, {Name: "Commit", Text: r.Commit},
		{Name: "Folder", Text: r.Folder}, {Name: "From stage", Text: r.From}, {Name: "Stage", Text: r.Stage}, {Name: "Image", Text: r.ImageUUID},
		{Name: "Jenkins build", Text: build, Link: webLink(r.BuildURL)}, {Name: "Opened by", Text: r.Actor},
		{Name: "Opened", Text: at(r.OpenedAt)}, {Name: "Started", Text: at(r.StartedAt)}, {Name: "Ended", Text: at(r.FinishedAt)},
	}
	var rows []pageRow
	for _, row := range all {
		if row.Text != "" {
			rows = append(rows, row)
		}
	}
	return rows
}

// webLink is a link only if it leads to the web: it may come from a build.
func webLink(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return ""
	}
	return address
}
