package gitlabtest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// call is a request to the API.
type call struct {
	s       *Server
	ctx     context.Context
	r       *http.Request
	w       http.ResponseWriter
	path    map[string]string // of the placeholders in the route
	params  params
	user    *user // nil: nobody has logged in
	token   *Token
	project *project // of :id
	status  int      // of a successful answer
}

// route is an endpoint. The checks before it are GitLab's, and in its order: login, scope, project, role.
type route struct {
	method  string
	pattern string   // segments; one that starts with : matches any
	since   Profile  // Current, the zero value: every version has it
	scopes  []string // beside api, and read_api for reading
	open    bool     // nobody needs to log in, where the project may be read by everybody
	code    bool     // reads the repository
	role    Role     // needed in the project
	handle  func(*call) (any, error)
}

// raw is an answer that is not JSON.
type raw []byte

func routes() []route {
	read := []string{"read_user"}
	return slices.Concat([]route{
		{method: "GET", pattern: "version", scopes: read, handle: (*call).version},
		{method: "GET", pattern: "metadata", scopes: read, handle: (*call).version},
		{method: "GET", pattern: "user", scopes: read, handle: (*call).currentUser},
		{method: "GET", pattern: "personal_access_tokens/self", scopes: everyScope, handle: (*call).tokenSelf},
		{method: "GET", pattern: "projects/:id", open: true, handle: (*call).getProject},
	}, repositoryRoutes(), statusRoutes(), hookRoutes(), protectedRoutes())
}

// serveAPI answers what is asked below /api/v4/.
func (s *Server) serveAPI(w http.ResponseWriter, r *http.Request, path string) {
	w.Header().Set("X-Frame-Options", "SAMEORIGIN")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Request-Id", rand.Text())
	answer, status, err := s.call(w, r, path)
	if err != nil {
		answer, status = apiFailure(w, err)
		s.opts.Log.Debug("api", "method", r.Method, "path", path, "status", status, "error", err)
	}
	writeAnswer(w, r, status, answer)
}

func writeAnswer(w http.ResponseWriter, r *http.Request, status int, answer any) {
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	body, isRaw := answer.(raw)
	if !isRaw {
		encoded, err := encode(answer)
		if err != nil { // a mistake here, not of the caller
			status, encoded = http.StatusInternalServerError, []byte(`{"message":"500 Internal Server Error"}`)
		}
		body = encoded
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		w.Write(body) // the caller may have gone
	}
}

func (s *Server) call(w http.ResponseWriter, r *http.Request, path string) (any, int, error) {
	found, values, err := s.route(r.Method, path)
	if err != nil {
		return nil, 0, err
	}
	c := &call{s: s, ctx: r.Context(), r: r, w: w, path: values, status: http.StatusOK}
	if r.Method == http.MethodPost {
		c.status = http.StatusCreated
	}
	if err := c.authorize(found); err != nil {
		return nil, 0, err
	}
	if c.params, err = readParams(w, r); err != nil {
		return nil, 0, err
	}
	answer, err := found.handle(c)
	return answer, c.status, err
}

// route finds the endpoint. Segments are compared as they were sent: a slash in a name is %2F.
func (s *Server) route(method, path string) (route, map[string]string, error) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	sent := strings.Split(strings.TrimSuffix(path, "/"), "/")
	other := false
	for _, candidate := range routes() {
		values, ok := match(strings.Split(candidate.pattern, "/"), sent)
		if !ok || candidate.since != Current && !s.opts.Profile.atLeast(candidate.since) {
			continue
		}
		if candidate.method == method {
			return candidate, values, nil
		}
		other = true
	}
	if other {
		return route{}, nil, &apiError{status: http.StatusMethodNotAllowed, body: map[string]string{"error": "405 Not Allowed"}}
	}
	return route{}, nil, &apiError{status: http.StatusNotFound, body: map[string]string{"error": "404 Not Found"}}
}

func match(pattern, sent []string) (map[string]string, bool) {
	if len(pattern) != len(sent) {
		return nil, false
	}
	values := map[string]string{}
	for i, segment := range sent {
		text, err := url.PathUnescape(segment)
		name, placeholder := strings.CutPrefix(pattern[i], ":")
		switch {
		case err != nil, text == "":
			return nil, false
		case placeholder:
			values[name] = text
		case text != pattern[i]:
			return nil, false
		}
	}
	return values, true
}

// apiError is an answer that is no success.
type apiError struct {
	status int
	body   any
}

func (e *apiError) Error() string {
	text, err := json.Marshal(e.body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", e.status, text)
}

// message is an error of GitLab's own; text is a string or a list of problems by field.
func message(status int, text any) error {
	return &apiError{status: status, body: map[string]any{"message": text}}
}

func notFound(what string) error {
	return message(http.StatusNotFound, strings.Join(strings.Fields("404 "+what+" Not Found"), " "))
}

// noRecord is what GitLab says of a row that is not there; the small f is its own.
func noRecord() error { return message(http.StatusNotFound, "404 Not found") }

func forbidden() error { return message(http.StatusForbidden, "403 Forbidden") }

// invalid is a problem that the API's framework finds in the parameters.
func invalid(problems ...string) error {
	return &apiError{status: http.StatusBadRequest, body: map[string]string{"error": strings.Join(problems, ", ")}}
}

func apiFailure(w http.ResponseWriter, err error) (any, int) {
	if failed, ok := errors.AsType[*oauthError](err); ok {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Bearer realm=\"The API\", error=%q, error_description=%q", failed.Code, failed.Description))
		return failed, failed.status
	}
	if failed, ok := errors.AsType[*apiError](err); ok {
		return failed.body, failed.status
	}
	return map[string]string{"message": "500 Internal Server Error"}, http.StatusInternalServerError
}
