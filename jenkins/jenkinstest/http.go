package jenkinstest

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Request is a request that came in, whatever became of it.
type Request struct {
	Method string
	Path   string // as it was sent, below the context path
	Query  string
	Status int // of the answer; 0: the connection was cut without one
}

const (
	maxForm     = 16 << 20 // bytes
	maxRequests = 100_000  // that are remembered
)

// exchange is one request on its way to an answer. Its methods run under the server's lock.
type exchange struct {
	*Server
	r      *http.Request
	caller caller
	form   url.Values // of the query and of the body
	body   []byte     // of what is no form
	cookie string     // a web session that the answer opens
}

// ServeHTTP is one answer of Jenkins, or what a Fault makes of it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	below, inside := strings.CutPrefix(r.URL.EscapedPath(), s.options.Context)
	if s.options.Control && strings.HasPrefix(below, ControlPath) {
		s.serveControl(w, r, strings.TrimPrefix(below, ControlPath))
		return
	}
	x := &exchange{Server: s, r: r}
	if err := x.read(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	names := segments(below)
	fault := s.arrive(r, names)
	if fault.before() {
		s.spoil(w, r, fault, below, answer{})
		return
	}
	s.mu.Lock()
	a := s.notFound(r.URL.EscapedPath())
	if inside {
		a = x.answer(names)
	}
	s.mu.Unlock()
	if fault != nil {
		s.spoil(w, r, fault, below, a)
		return
	}
	s.send(w, r, below, a)
}

// read takes the form or the body in, before any lock.
func (x *exchange) read() error {
	x.form = x.r.URL.Query()
	if x.r.Method != http.MethodPost {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(x.r.Body, maxForm))
	if err != nil {
		return err
	}
	x.body = body
	kind, _, err := mime.ParseMediaType(x.r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" {
		return nil // not a form: some calls have another body, most have none
	}
	posted, err := url.ParseQuery(string(body))
	for name, values := range posted {
		x.form[name] = append(x.form[name], values...)
	}
	return err
}

// segments splits a path as Jenkins does: each name unescaped once, empty ones dropped.
func segments(path string) []string {
	var names []string
	for part := range strings.SplitSeq(path, "/") {
		name, err := url.PathUnescape(part)
		if err != nil {
			name = part
		}
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

func escape(name string) string { return url.PathEscape(name) }

func escapeQuery(text string) string { return url.QueryEscape(text) }

// arrive notes a request and finds the fault that it meets, nil if none.
func (s *Server) arrive(r *http.Request, names []string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPost && len(names) > 1 && strings.HasPrefix(names[len(names)-1], "build") {
		if it, rest := s.walkTo(names); it != nil && !it.isFolder() && len(rest) == 1 {
			it.posts++
		}
	}
	return s.meet(r)
}

// send writes an answer out.
func (s *Server) send(w http.ResponseWriter, r *http.Request, below string, a answer) {
	s.note(r, below, a.status)
	s.writeHead(w, a)
	_, _ = io.WriteString(w, a.body) // who asked may be gone
}

func (s *Server) writeHead(w http.ResponseWriter, a answer) {
	header := w.Header()
	for name, values := range a.header {
		header[name] = values
	}
	header.Set("Server", "Jetty("+s.profile.jetty+")")
	header.Set("X-Content-Type-Options", "nosniff")
	if a.header.Get("Content-Type") == "" {
		header["Content-Type"] = nil // Go would guess one
	}
	w.WriteHeader(a.status)
}

func (s *Server) note(r *http.Request, below string, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.requests) >= maxRequests {
		s.requests = s.requests[maxRequests/2:]
	}
	s.requests = append(s.requests, Request{r.Method, below, r.URL.RawQuery, status})
}

// answer goes through what every request goes through, and on to what it asks for.
func (x *exchange) answer(names []string) answer {
	if x.closed {
		return x.unavailable("restarting")
	}
	if x.down != "" {
		return x.unavailable(x.down)
	}
	uri := x.r.URL.EscapedPath()
	var ok bool
	if x.caller, ok = x.logIn(x.r); !ok {
		return x.container(http.StatusUnauthorized, uri, "Unauthorized").with("WWW-Authenticate", `Basic realm="Jenkins"`)
	}
	if x.r.Method == http.MethodPost && !x.crumbed(x.caller, x.r) {
		return x.container(http.StatusForbidden, uri, "No valid crumb was included in the request")
	}
	if !x.caller.may(OverallRead, x.root) && !open(names) {
		return x.denied(x.caller, OverallRead, uri)
	}
	a := x.route(names)
	if x.cookie != "" {
		a = a.with("Set-Cookie", sessionCookie+"="+x.cookie+";Path=/;HttpOnly")
	}
	return a
}

// open lists what needs no permission to read Jenkins.
func open(names []string) bool {
	return len(names) > 0 && (names[0] == "whoAmI" || names[0] == "login")
}

// redirect is one that the container makes: its URL has a host only in the older version.
func (x *exchange) redirect(path string) answer {
	if !x.profile.relativeRedirect {
		path = x.seenURL() + path
	}
	return answerOf(http.StatusFound, "", "").with("Location", path)
}

// seenURL is scheme and host as the caller, or the proxy in front, says them.
func (x *exchange) seenURL() string {
	scheme, host := "http", x.r.Host
	if proto := x.r.Header.Get("X-Forwarded-Proto"); proto != "" {
		scheme = proto
	}
	if forwarded := x.r.Header.Get("X-Forwarded-Host"); forwarded != "" {
		host = forwarded
	}
	standard := map[string]string{"http": ":80", "https": ":443"}[scheme]
	return scheme + "://" + strings.TrimSuffix(host, standard)
}

// back is the redirect to the page that the caller came from, or to the folder of the request's path.
func (x *exchange) back() answer {
	if from := x.r.Referer(); from != "" {
		return answerOf(http.StatusFound, "", "").with("Location", from)
	}
	path := x.r.URL.EscapedPath()
	return x.redirect(path[:strings.LastIndexByte(path, '/')+1])
}

// json answers with a bean: tree=, depth= and pretty as in Jenkins.
func (x *exchange) json(b *bean) answer {
	p := pruner{from: 1}
	query := x.r.URL.Query()
	switch {
	case query.Has("tree"):
		t, err := parseTree(query.Get("tree"))
		if err != nil {
			return x.oops(http.StatusInternalServerError, "javax.servlet.ServletException: Malformed tree expression: java.lang.IllegalArgumentException: "+err.Error())
		}
		p = pruner{tree: t}
	case query.Has("depth"):
		depth, err := number(query.Get("depth"))
		if err != nil {
			return x.oops(http.StatusInternalServerError, "javax.servlet.ServletException: Depth parameter must be a number")
		}
		p.from -= int(depth)
	}
	return answerOf(http.StatusOK, "application/json;charset=utf-8", export(b, p, query.Has("pretty"))).
		with("X-Jenkins", x.profile.version).with("X-Jenkins-Session", x.session).with("X-Frame-Options", "deny")
}

// wait returns after a time, or sooner when the caller or the server goes.
func (s *Server) wait(r *http.Request, span time.Duration) {
	timer := time.NewTimer(span)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	case <-s.ctx.Done():
	}
}
