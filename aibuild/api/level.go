package api

import (
	"fmt"
	"net/http"
	"strconv"
)

// Level is the form of the API that this release speaks. It grows when programs
// of an older release can no longer be served as they expect; additions do not
// change it. Agents and the daemon are updated one after the other: each says
// its level, and who cannot serve the other says so instead of misreading it.
const Level = 1

// oldestLevel is the oldest that a server serves.
const oldestLevel = 1

const (
	levelHeader   = "Aibuild-Api"     // the level, of both sides
	versionHeader = "Aibuild-Version" // the release of the server
)

// tellLevel says in an answer who answers. Only who has a token learns it.
func (s *Server) tellLevel(h http.Header) {
	h.Set(levelHeader, strconv.Itoa(Level))
	if s.config.Version != "" {
		h.Set(versionHeader, s.config.Version)
	}
}

// checkLevel refuses a program of another level; programs that are not ours say
// none, and are served.
func (s *Server) checkLevel(r *http.Request) error {
	said := r.Header.Get(levelHeader)
	if said == "" {
		return nil
	}
	level, err := strconv.Atoi(said)
	todo := ""
	switch {
	case err != nil:
		todo = "it is no number; leave the header out"
	case level > Level:
		todo = "update the server, or use the aibuild of its release"
	case level < oldestLevel:
		todo = "update the program to the server's release"
	default:
		return nil
	}
	return &Problem{Code: CodeVersion, Detail: fmt.Sprintf("this server, aibuild %s, speaks api level %d, and %s asks for %q: %s",
		orUnknown(s.config.Version), Level, orUnknown(r.UserAgent()), said, todo)}
}

func orUnknown(text string) string {
	if text == "" {
		return "of unknown version"
	}
	return text
}

// heard keeps who answers.
func (c *Client) heard(h http.Header) {
	level, err := strconv.Atoi(h.Get(levelHeader))
	if err != nil {
		level = 0 // older than levels
	}
	c.met.Store(&met{level, h.Get(versionHeader)})
}

// met is the server as its last answer has told of it.
type met struct {
	level   int
	version string
}

// ServerVersion is the release of the server that answered last; empty: it has
// not said it.
func (c *Client) ServerVersion() string {
	if m := c.met.Load(); m != nil {
		return m.version
	}
	return ""
}

// tooOld explains what an older server does not know: it is no mistake of the
// caller.
func (c *Client) tooOld(p *Problem) error {
	m := c.met.Load()
	if m == nil || m.level >= Level || p.Code != CodeMethod && p.Code != CodeInvalid && p.Code != CodeNotFound {
		return nil
	}
	return &Denied{Code: CodeVersion, Detail: fmt.Sprintf("%s is older than this aibuild (its api level is %d, not %d) and answers: %s; update the server, or use the aibuild of its release",
		c.server(), m.level, Level, p.Detail)}
}
