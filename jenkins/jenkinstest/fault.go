package jenkinstest

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// FaultKind is what becomes of an answer.
type FaultKind string

// Faults. The first group answers instead of Jenkins, which never sees the request; the second lets Jenkins do
// what it is asked for and spoils the answer.
const (
	BadGateway  FaultKind = "502"      // an empty 502, as of a proxy whose Jenkins is gone
	Unavailable FaultKind = "503"      // Jenkins' own page while it starts
	LoginPage   FaultKind = "login"    // 200 with the HTML of a login form
	Redirect    FaultKind = "redirect" // 302 to a login form elsewhere
	Hang        FaultKind = "hang"     // nothing, until the caller goes
	Reset       FaultKind = "reset"    // the connection is cut before Jenkins sees the request

	Slow FaultKind = "slow" // the answer comes in pieces, the last after Delay
	Cut  FaultKind = "cut"  // the connection is cut in the middle of the body; without a body, before the answer
	Lost FaultKind = "lost" // the connection is cut before the answer
)

// Fault spoils the next N requests that match.
type Fault struct {
	Kind   FaultKind
	N      int           // how many; 0 means 1, negative means until Heal
	Method string        // empty means every method
	Path   string        // part of the path as sent, like "/queue/"; empty means every path
	Delay  time.Duration // of Slow; 0 means 1 s
}

var faultKinds = map[FaultKind]bool{ // true: Jenkins never sees the request
	BadGateway: true, Unavailable: true, LoginPage: true, Redirect: true, Hang: true, Reset: true, Slow: false, Cut: false, Lost: false,
}

func (f *Fault) before() bool { return f != nil && faultKinds[f.Kind] }

// Fail adds a fault; the only error is an unknown kind. Of several that match, the one that was added first
// takes a request.
func (s *Server) Fail(f Fault) error {
	if _, known := faultKinds[f.Kind]; !known {
		return fmt.Errorf("jenkins stand-in: no fault %q; there are %v", f.Kind, slices.Sorted(maps.Keys(faultKinds)))
	}
	if f.N == 0 {
		f.N = 1
	}
	if f.Delay <= 0 {
		f.Delay = time.Second
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
	return nil
}

// Heal takes all faults away.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// meet finds the fault for a request and uses it up by one.
func (s *Server) meet(r *http.Request) *Fault {
	for _, f := range s.faults {
		if f.N == 0 || f.Method != "" && f.Method != r.Method || !strings.Contains(r.URL.EscapedPath(), f.Path) {
			continue
		}
		if f.N > 0 {
			f.N--
		}
		return f
	}
	return nil
}

const elsewhere = "https://sso.example.org/login?next=%2F"

// spoil answers as a fault wants it; a is Jenkins' answer where there is one.
func (s *Server) spoil(w http.ResponseWriter, r *http.Request, f *Fault, below string, a answer) {
	page := "<html><head><title>Sign in</title></head><body><form method=\"post\" action=\"/login\"><input name=\"user\"/></form></body></html>"
	switch f.Kind {
	case BadGateway:
		s.note(r, below, http.StatusBadGateway)
		w.WriteHeader(http.StatusBadGateway)
	case Unavailable:
		s.mu.Lock()
		a = s.unavailable("starting")
		s.mu.Unlock()
		s.send(w, r, below, a)
	case LoginPage:
		s.note(r, below, http.StatusOK)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = io.WriteString(w, page) // who asked may be gone
	case Redirect:
		s.note(r, below, http.StatusFound)
		w.Header().Set("Location", elsewhere)
		w.WriteHeader(http.StatusFound)
	case Slow:
		s.trickle(w, r, f, below, a)
	case Cut:
		s.cut(w, r, below, a)
	case Hang:
		s.note(r, below, 0)
		s.wait(r, 24*time.Hour)
		panic(http.ErrAbortHandler)
	default: // Reset and Lost
		s.note(r, below, 0)
		panic(http.ErrAbortHandler)
	}
}

// trickle sends an answer's head at once, half of its body after half of the time, and the rest at the end.
func (s *Server) trickle(w http.ResponseWriter, r *http.Request, f *Fault, below string, a answer) {
	if a.body == "" {
		s.wait(r, f.Delay)
		s.send(w, r, below, a)
		return
	}
	s.note(r, below, a.status)
	s.writeHead(w, a)
	half := len(a.body) / 2
	for _, piece := range []string{a.body[:half], a.body[half:]} {
		_ = http.NewResponseController(w).Flush() // who asked may be gone
		s.wait(r, f.Delay/2)
		_, _ = io.WriteString(w, piece)
	}
}

// cut sends half of a body that was promised whole.
func (s *Server) cut(w http.ResponseWriter, r *http.Request, below string, a answer) {
	if a.body == "" {
		s.note(r, below, 0)
		panic(http.ErrAbortHandler)
	}
	s.note(r, below, a.status)
	w.Header().Set("Content-Length", length(a.body))
	s.writeHead(w, a)
	_, _ = io.WriteString(w, a.body[:len(a.body)/2])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}
