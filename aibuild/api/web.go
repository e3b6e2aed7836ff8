package api

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// The pages show what the API tells, to people with a browser. They are made
// here, work without JavaScript and load nothing from elsewhere: vendored htmx
// only renews what moves.

//go:embed web
var webFiles embed.FS

// views are the pages, each with the layout around it, by name.
var views = parseViews()

// parseViews reads web/layout.html and web/parts.html, which all pages share,
// and one file for each page.
func parseViews() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(webFuncs).ParseFS(webFiles, "web/layout.html", "web/parts.html"))
	all := map[string]*template.Template{}
	files, err := fs.Glob(webFiles, "web/*.html")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	for _, file := range files {
		if name := strings.TrimSuffix(path.Base(file), ".html"); name != "layout" && name != "parts" {
			all[name] = template.Must(template.Must(shared.Clone()).ParseFS(webFiles, file))
		}
	}
	return all
}

// frame is what the layout of every page needs.
type frame struct {
	Title   string
	Section string // of the navigation
	Who     lineage.Token
	Guest   bool // nobody has signed in
	Path    string
	Query   string // that was searched for
	Said    string // what was done just before
	Again   int    // seconds until the browser asks again by itself; 0 = never
	Can     map[string]bool
	Body    any
}

// view is what a page shows: the name of its file, and what is in it.
type view struct {
	name    string
	title   string
	section string
	status  int // 0 = 200
	query   string
	body    any
}

// elsewhere is a page that is at another address.
type elsewhere struct{ address string }

func (e elsewhere) Error() string { return "see " + e.address }

// renewed lets htmx load the whole page again.
type renewed struct{}

func (renewed) Error() string { return "load the page again" }

// webPage registers a page.
func (s *Server) webPage(pattern string, need right, show func(*http.Request) (*view, error)) {
	s.registerPart(pattern, need, func(w http.ResponseWriter, r *http.Request) error {
		v, err := show(r)
		var at elsewhere
		switch {
		case errors.Is(err, renewed{}):
			w.Header().Set("HX-Refresh", "true")
			w.WriteHeader(http.StatusNoContent)
		case errors.As(err, &at):
			http.Redirect(w, r, at.address, http.StatusSeeOther)
		case err != nil:
			return err
		default:
			s.showView(w, r, v)
		}
		return nil
	})
}

// registerPart registers what a browser asks for. Who may not read it is told so before anything is looked up.
func (s *Server) registerPart(pattern string, need right, serve func(http.ResponseWriter, *http.Request) error) {
	s.pages[pattern] = need
	s.open.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		pageHeaders(w.Header())
		r, err := s.admit(w, r, need)
		if err == nil {
			err = serve(w, r)
		}
		if err != nil {
			s.refusePage(w, r, err)
		}
	})
}

// admit finds out who asks, and whether they may.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, need right) (*http.Request, error) {
	if r.Method == http.MethodPost {
		if err := sameOrigin.Check(r); err != nil {
			s.metrics.denied("cross_origin")
			return r, &Problem{Code: CodeForbidden, Detail: "this was sent from a page of another site; open the page here and send it again"}
		}
		r.Body = http.MaxBytesReader(w, r.Body, formLimit)
	}
	token, err := s.visitor(r)
	if err != nil {
		return r, err
	}
	r = r.WithContext(context.WithValue(r.Context(), keyToken, token))
	if err := need.allows(token.Role); err != nil {
		s.metrics.denied("role")
		return r, err
	}
	return r, nil
}

// formLimit is how much a form may send.
const formLimit = 64 << 10

// sameOrigin refuses forms that other sites send in somebody's name. The
// session's cookie is not sent with those either (SameSite).
var sameOrigin = http.NewCrossOriginProtection()

// pageHeaders let a page be what it is: its own scripts, styles, images and forms.
func pageHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Frame-Options", "DENY")
	h.Add("Vary", "Cookie")
}

// showView writes a page, or only the part of it that htmx renews.
func (s *Server) showView(w http.ResponseWriter, r *http.Request, v *view) {
	t := views[v.name]
	who := bearer(r.Context())
	f := frame{
		Title: v.title, Section: v.section, Who: who, Guest: who.ID == 0, Path: r.URL.RequestURI(), Query: v.query,
		Said: saidTexts[r.URL.Query().Get("said")], Can: abilities(who.Role), Body: v.body,
	}
	if v.status == http.StatusServiceUnavailable {
		f.Again = askAgain
	}
	name := "layout"
	if part := r.URL.Query().Get("part"); part != "" && v.status == 0 && r.Header.Get("HX-Request") != "" {
		if name = "part-" + part; t.Lookup(name) == nil {
			http.Error(w, "this page has no such part", http.StatusNotFound)
			return
		}
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, f); err != nil {
		s.log.Error("a page could not be made", "request", requestID(r.Context()), "page", v.name, "error", err)
		http.Error(w, "a fault of the server; its log says more under the id of request "+requestID(r.Context()), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", htmlType)
	if v.status != 0 {
		w.WriteHeader(v.status)
	}
	s.write(w, r, b.String())
}

// askAgain is after how many seconds a page is asked for again that could not be made.
const askAgain = 5

// abilities are what a role may do on pages: buttons for it are there.
func abilities(role string) map[string]bool {
	can := map[string]bool{}
	for name, need := range map[string]right{"steer": maySteer, "release": mayRelease} {
		can[name] = need.allows(role) == nil
	}
	return can
}

// saidTexts are what a page can say that follows an action. The text does not
// come from the address: anybody can send somebody there.
var saidTexts = map[string]string{
	"cancelled": "The end of the run is asked for.", "retried": "This is the new attempt.", "started": "The run is opened.",
	"released": "The image is released.", "rolled-back": "Rolled back.", "revoked": "The image is revoked.", "restored": "The image is restored.",
	"under-way": "It is under way, and goes on without this page: load it again to see how it ends.",
	"held":      "The image is held: nothing deletes it.", "let-go": "The image is no longer held.",
}

// refusePage tells on a page why there is nothing to see.
func (s *Server) refusePage(w http.ResponseWriter, r *http.Request, err error) {
	p := s.fail(r.Context(), err)
	if p.retryAfter != "" {
		w.Header().Set("Retry-After", p.retryAfter)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="aibuild"`)
		if r.Header.Get("HX-Request") != "" {
			w.Header().Set("HX-Refresh", "true") // the whole page asks to sign in
		}
		s.signInPage(w, r, "", http.StatusUnauthorized)
		return
	}
	s.showView(w, r, &view{name: "problem", title: p.Title, status: p.Status, body: p})
}
