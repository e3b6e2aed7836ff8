package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// bodyLimit is how large a request may be.
const bodyLimit = 8 << 20

type contextKey int

const (
	keyRequest contextKey = iota
	keyToken
	keyConnection
)

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(keyRequest).(string)
	return id
}

// connection is a context that ends with the connection, and not after the time
// that one request has.
func connection(ctx context.Context) context.Context {
	if c, ok := ctx.Value(keyConnection).(context.Context); ok {
		return c
	}
	return ctx
}

// bearer is the token that the request came with.
func bearer(ctx context.Context) lineage.Token {
	t, _ := ctx.Value(keyToken).(lineage.Token)
	return t
}

var requestForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// answer remembers how a request was answered.
type answer struct {
	http.ResponseWriter
	status int
}

func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(b []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(b)
}

// Unwrap lets deadlines be set.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// serve is the way of every request.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := r.Header.Get("X-Request-Id")
	if !requestForm.MatchString(id) {
		id = uuid.NewString()
	}
	ctx, cancel := context.WithTimeout(context.WithValue(context.WithValue(r.Context(), keyConnection, r.Context()), keyRequest, id), s.timeout)
	defer cancel()
	r = r.WithContext(ctx)
	a := &answer{ResponseWriter: w}
	setHeaders(w.Header(), id, isAPI(r.URL.Path))
	route := ""
	defer func() {
		s.survive(a, r, recover())
		s.metrics.observe(route, r.Method, a.status, time.Since(start))
		s.log.Debug("request", "request", id, "method", r.Method, "route", route, "status", a.status, "ms", time.Since(start).Milliseconds())
	}()
	if isAPI(r.URL.Path) {
		route = s.serveAPI(a, r)
		return
	}
	route = s.dispatch(s.open, a, r)
}

// isAPI says whether an address is behind tokens, whatever is there.
func isAPI(path string) bool { return path == "/api" || strings.HasPrefix(path, "/api/") }

// isClean says whether the mux would take an address as it is. It reads it
// escaped, so that a name may have slashes in it.
func isClean(u *url.URL) bool {
	p := u.EscapedPath()
	return p == "/" || path.Clean(p) == strings.TrimSuffix(p, "/")
}

func setHeaders(h http.Header, id string, api bool) {
	h.Set("X-Request-Id", id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if api {
		h.Set("Cache-Control", "no-store")
	}
}

// survive ends a request whose handler has panicked, not the daemon.
func (s *Server) survive(a *answer, r *http.Request, cause any) {
	if cause == nil {
		return
	}
	if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(cause)
	}
	s.log.Error("request panicked", "request", requestID(r.Context()), "cause", fmt.Sprint(cause), "stack", string(debug.Stack()))
	if a.status == 0 {
		s.refuse(a, r, &Problem{Code: CodeInternal, Detail: "a fault of the server; its log says more under the id of this request"})
		return
	}
	panic(http.ErrAbortHandler) // the answer is cut: the client must see it
}

// serveAPI asks for the token first, then for the right, and only then looks
// at what was sent.
func (s *Server) serveAPI(a *answer, r *http.Request) (route string) {
	token, err := s.authenticate(r)
	if err != nil {
		s.refuse(a, r, err)
		return ""
	}
	s.tellLevel(a.Header())
	if err := s.rates.allow(token, s.now()); err != nil {
		s.metrics.denied("rate")
		s.refuse(a, r, err)
		return ""
	}
	if err := s.checkLevel(r); err != nil {
		s.refuse(a, r, err)
		return ""
	}
	r = r.WithContext(context.WithValue(r.Context(), keyToken, token))
	_, route = s.guard.Handler(r)
	need, known := s.rights[route]
	if !known {
		return s.dispatch(s.guard, a, r)
	}
	if err := need.allows(token.Role); err != nil {
		s.metrics.denied("role")
		s.refuse(a, r, err)
		return route
	}
	if err := checkBody(r, s.bodies[route]); err != nil {
		s.refuse(a, r, err)
		return route
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return s.dispatch(s.guard, a, r)
	}
	t := &tagged{ResponseWriter: a}
	route = s.dispatch(s.guard, &answer{ResponseWriter: t}, r)
	if err := t.finish(r); err != nil {
		s.log.Debug("the answer was not read", "request", requestID(r.Context()), "error", err)
	}
	return route
}

// checkBody refuses what is not JSON before it is read.
func checkBody(r *http.Request, wanted bool) error {
	if !wanted || r.ContentLength == 0 {
		return nil
	}
	if r.ContentLength > bodyLimit {
		return &Problem{Code: CodeTooLarge, Detail: fmt.Sprintf("the body has %d bytes; at most %d are taken", r.ContentLength, bodyLimit)}
	}
	if e := r.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return &Problem{Code: CodeMediaType, Detail: "a compressed body is not taken; send it as it is"}
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return &Problem{Code: CodeMediaType, Detail: "send the body as Content-Type: application/json"}
	}
	if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
		return &Problem{Code: CodeMediaType, Detail: "JSON is sent as UTF-8"}
	}
	return nil
}

// dispatch serves what the mux knows, and tells the rest as problems.
func (s *Server) dispatch(mux *http.ServeMux, a *answer, r *http.Request) (route string) {
	h, route := mux.Handler(r)
	if route != "" && isClean(r.URL) {
		mux.ServeHTTP(a, r)
		return route
	}
	probe := probe{header: http.Header{}}
	if route == "" { // h is the mux's own, which only says what is wrong
		h.ServeHTTP(&probe, r)
	}
	if probe.status != http.StatusMethodNotAllowed {
		s.refuse(a, r, &Problem{Code: CodeNotFound, Detail: "there is nothing at this address; see /docs"})
		return ""
	}
	allow := probe.header.Get("Allow")
	a.Header().Set("Allow", allow)
	s.refuse(a, r, &Problem{Code: CodeMethod, Detail: "this address takes " + allow})
	return ""
}

// probe takes the answer that the mux has for what it does not know.
type probe struct {
	header http.Header
	status int
}

func (p *probe) Header() http.Header         { return p.header }
func (p *probe) Write(b []byte) (int, error) { return len(b), nil }
func (p *probe) WriteHeader(status int)      { p.status = status }

// refuse answers with a problem.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if !isAPI(r.URL.Path) && r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html") {
		pageHeaders(w.Header())
		s.refusePage(w, r, err) // a browser
		return
	}
	p := s.fail(r.Context(), err)
	h := w.Header()
	if p.retryAfter != "" {
		h.Set("Retry-After", p.retryAfter)
	}
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="aibuild"`)
	}
	if r.ProtoMajor == 1 && r.ContentLength != 0 {
		// Nobody has read the body; else the answer would wait for it to come.
		h.Set("Connection", "close")
	}
	h.Set("Content-Type", problemType)
	w.WriteHeader(p.Status)
	if r.Method == http.MethodHead {
		return
	}
	if err := json.NewEncoder(w).Encode(p); err != nil {
		s.log.Debug("the answer was not read", "request", p.RequestID, "error", err)
	}
}
