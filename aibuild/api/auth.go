package api

import (
	"errors"
	"net/http"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// authenticate finds the token that a request came with. Nothing is looked up
// for what cannot be a token.
func (s *Server) authenticate(r *http.Request) (lineage.Token, error) {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	value = strings.TrimSpace(value)
	if value == "" {
		s.metrics.denied("no_token")
		return lineage.Token{}, &Problem{Code: CodeUnauthorized, Detail: "send a token: Authorization: Bearer aib_…; an administrator makes one with: aibuild token create"}
	}
	if !strings.EqualFold(scheme, "Bearer") || !tokenForm.MatchString(value) {
		s.metrics.denied("bad_token")
		return lineage.Token{}, badToken()
	}
	return s.tokenByHash(r, HashToken(Secret(value)))
}

// tokenByHash looks a token up by its sha256.
func (s *Server) tokenByHash(r *http.Request, hash string) (lineage.Token, error) {
	bad := badToken()
	t, err := s.config.Store.TokenByHash(r.Context(), hash)
	if errors.Is(err, lineage.ErrNotFound) {
		s.metrics.denied("bad_token")
		return lineage.Token{}, bad
	}
	if err == nil && (!isRole(t.Role) || t.Role == RoleRecorder && len(t.Projects) == 0) {
		// Written by another program: no right follows from what is not understood.
		s.log.Warn("a token has a role or projects that this server does not know", "token", t.Name, "role", t.Role)
		return lineage.Token{}, bad
	}
	return t, err
}

func badToken() error {
	return &Problem{Code: CodeUnauthorized, Detail: "this token is unknown, expired or revoked; an administrator makes one with: aibuild token create"}
}
