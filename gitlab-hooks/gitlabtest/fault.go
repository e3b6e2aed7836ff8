package gitlabtest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"
)

// Fault is what happens to requests instead of being answered: those to the API, and git's own.
type Fault struct {
	Method string // empty means any
	// Path is what the path begins with, as it is sent: /api/v4/projects/1/statuses/ or /group/images.git/. A * in it
	// is any text. Empty means any path.
	Path  string
	Times int // how many requests it happens to; 0 means all, until ClearFaults

	Answer  Answer
	Delay   time.Duration // before anything else
	Perform bool          // the request is carried out first: its answer alone is lost
	Hang    bool          // no answer comes; it ends when the caller goes away, or with Close
	Cut     bool          // the answer ends in the middle, and with it the connection
}

type fault struct {
	Fault
	happened int
}

// Answer is what a Fault answers; the zero Answer leaves the request's own.
type Answer struct {
	Status     int
	RetryAfter time.Duration // for Throttled and Unavailable; 0 leaves it out
	kind       answerKind
	body       any
}

type answerKind int

const (
	jsonAnswer answerKind = iota
	throttleAnswer
	pageAnswer
	oauthAnswer
)

// The answers of a GitLab in trouble.
var (
	Unauthorized      = Answer{Status: 401, body: map[string]any{"message": "401 Unauthorized"}}
	Revoked           = Answer{Status: 401, kind: oauthAnswer, body: &oauthError{401, "invalid_token", "Token was revoked. You have to re-authorize from the user.", ""}}
	Forbidden         = Answer{Status: 403, body: map[string]any{"message": "403 Forbidden"}}
	InsufficientScope = Answer{Status: 403, kind: oauthAnswer, body: &oauthError{403, "insufficient_scope", "The request requires higher privileges than provided by the access token.", "api read_api"}}
	NotFound          = Answer{Status: 404, body: map[string]any{"message": "404 Project Not Found"}}
	StatusLocked      = Answer{Status: 409, body: map[string]any{"message": statusLocked}}
	// Throttled comes from Rack::Attack: plain text, with headers.
	Throttled = Answer{Status: 429, kind: throttleAnswer, RetryAfter: time.Minute}
	// Limited comes from the application's own limiter: JSON, without any header.
	Limited       = Answer{Status: 429, body: map[string]any{"message": map[string]any{"error": "This endpoint has been requested too many times. Try again later."}}}
	InternalError = Answer{Status: 500, body: map[string]any{"message": "500 Internal Server Error"}}
	BadGateway    = Answer{Status: 502, kind: pageAnswer, body: "GitLab is not responding"}
	Unavailable   = Answer{Status: 503, kind: pageAnswer, body: "GitLab is currently unavailable"}
)

// failure is the answer as an error of a call.
func (a Answer) failure() error { return &apiError{status: a.Status, body: a.body} }

// Fail makes the next requests fail; of several faults, the first that applies is taken.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &fault{Fault: f})
}

// ClearFaults ends all faults.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// faultFor takes the fault that applies to a request.
func (s *Server) faultFor(method, path string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if f.Method != "" && f.Method != method || !matchWildcard(f.Path+"*", path) || f.Times != 0 && f.happened >= f.Times {
			continue
		}
		f.happened++
		applies := f.Fault
		return &applies
	}
	return nil
}

// troubled answers a request that a fault applies to; it returns false if the request is to be answered as usual.
func (s *Server) troubled(w http.ResponseWriter, r *http.Request, path string) bool {
	f := s.faultFor(r.Method, path)
	if f == nil {
		return false
	}
	s.opts.Log.Info("fault", "method", r.Method, "path", path, "status", f.Answer.Status, "hang", f.Hang, "cut", f.Cut)
	if !sleep(r.Context(), f.Delay) {
		panic(http.ErrAbortHandler)
	}
	if f.Answer.Status == 0 && !f.Hang && !f.Cut && !f.Perform {
		return false // it was only late
	}
	answer := httptest.NewRecorder()
	if f.Perform || f.Cut && f.Answer.Status == 0 {
		s.dispatch(answer, r.WithContext(context.WithoutCancel(r.Context())))
	}
	if f.Hang {
		<-r.Context().Done()
		panic(http.ErrAbortHandler)
	}
	if f.Answer.Status != 0 {
		answer = httptest.NewRecorder()
		s.write(answer, r, f.Answer)
	}
	send(w, answer, f.Cut)
	return true
}

// send passes an answer on, or half of it.
func send(w http.ResponseWriter, answer *httptest.ResponseRecorder, cut bool) {
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	body := answer.Body.Bytes()
	if !cut {
		w.WriteHeader(answer.Code)
		w.Write(body) // the caller may have gone
		return
	}
	w.Header().Set("Content-Length", strconv.Itoa(max(len(body), 1)))
	w.WriteHeader(answer.Code)
	w.Write(body[:len(body)/2])
	http.NewResponseController(w).Flush() // the half has to arrive; a caller that has gone does not mind
	panic(http.ErrAbortHandler)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, a Answer) {
	switch a.kind {
	case throttleAnswer:
		s.writeThrottled(w, a)
	case pageAnswer:
		if a.RetryAfter > 0 {
			w.Header().Set("Retry-After", seconds(a.RetryAfter))
		}
		writePage(w, a.Status, strconv.Itoa(a.Status), fmt.Sprint(a.body))
	case oauthAnswer:
		body, status := apiFailure(w, a.body.(*oauthError))
		writeAnswer(w, r, status, body)
	default:
		writeAnswer(w, r, a.Status, a.body)
	}
}

func (s *Server) writeThrottled(w http.ResponseWriter, a Answer) {
	reset := s.opts.Now().Add(a.RetryAfter)
	for name, value := range map[string]string{
		"RateLimit-Name": "throttle_authenticated_api", "RateLimit-Limit": "7200", "RateLimit-Observed": "7201", "RateLimit-Remaining": "0",
		"RateLimit-Reset": strconv.FormatInt(reset.Unix(), 10), "RateLimit-ResetTime": reset.UTC().Format(http.TimeFormat),
		"Retry-After": seconds(a.RetryAfter), "Content-Type": "text/plain",
	} {
		w.Header().Set(name, value)
	}
	w.WriteHeader(a.Status)
	fmt.Fprint(w, "Retry later\n")
}

func seconds(d time.Duration) string { return strconv.Itoa(int((d + time.Second - 1) / time.Second)) }

// writePage answers with a page, as the web servers before GitLab do.
func writePage(w http.ResponseWriter, status int, title, text string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	var b bytes.Buffer
	fmt.Fprintf(&b, "<!DOCTYPE html>\n<html>\n<head>\n  <title>%s (%s)</title>\n</head>\n<body>\n  <h1>%[2]s</h1>\n  <h3>%[1]s</h3>\n</body>\n</html>\n",
		text, strings.TrimSpace(title))
	w.Write(b.Bytes()) // the caller may have gone
}
