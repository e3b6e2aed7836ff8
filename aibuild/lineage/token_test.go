package lineage

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func hashOf(token string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(token))) }

func TestTokens(t *testing.T) {
	s := newStore(t)
	want := Token{Name: "jenkins", Role: "recorder", Projects: []string{"ops/images", `o"d,d`}, CreatedBy: "ann", ExpiresAt: time.Now().Add(90 * 24 * time.Hour).UTC().Truncate(time.Microsecond)}
	got, err := s.CreateToken(t.Context(), want, hashOf("one"))
	if err != nil || got.ID == 0 || time.Since(got.CreatedAt).Abs() > time.Minute {
		t.Fatalf("token = %+v, %v", got, err)
	}
	want.ID, want.CreatedAt = got.ID, got.CreatedAt
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("token (-want +got):\n%s", diff)
	}
	if again, err := s.CreateToken(t.Context(), want, hashOf("one")); err != nil || again.ID != got.ID {
		t.Errorf("made again: %+v, %v", again, err)
	}
	if _, err := s.CreateToken(t.Context(), Token{Name: "other", Role: "admin"}, hashOf("one")); !is[*Conflict](err) {
		t.Errorf("the same token under another name: %v", err)
	}
	for range 3 {
		used, err := s.TokenByHash(t.Context(), hashOf("one"))
		if err != nil || used.ID != got.ID {
			t.Errorf("token = %+v, %v", used, err)
		}
	}
	list, err := s.Tokens(t.Context())
	if err != nil || len(list) != 1 || time.Since(list[0].LastUsedAt).Abs() > time.Minute {
		t.Fatalf("tokens = %+v, %v", list, err)
	}
	first := list[0].LastUsedAt
	if _, err := s.TokenByHash(t.Context(), hashOf("one")); err != nil {
		t.Error(err)
	}
	if list, err := s.Tokens(t.Context()); err != nil || !list[0].LastUsedAt.Equal(first) {
		t.Errorf("last use is written more than once a minute: %+v, %v", list, err)
	}
	query(t, "UPDATE "+s.cfg.DBName+".api_token SET last_used_at = NOW(6) - INTERVAL 61 SECOND")
	if _, err := s.TokenByHash(t.Context(), hashOf("one")); err != nil {
		t.Error(err)
	}
	if n := count(t, s, "api_token", "last_used_at > NOW(6) - INTERVAL 60 SECOND"); n != 1 {
		t.Error("last use is not written after a minute")
	}
	if n := count(t, s, "event", "verb = ? AND actor = 'ann'", VerbToken); n != 1 {
		t.Errorf("%d tokens are made in the audit, want 1", n)
	}
}

func TestTokensThatOpenNothing(t *testing.T) {
	s := newStore(t)
	for name, hash := range map[string]string{"expired": hashOf("expired"), "revoked": hashOf("revoked"), "for ever": hashOf("for ever")} {
		if _, err := s.CreateToken(t.Context(), Token{Name: name, Role: "viewer"}, hash); err != nil {
			t.Fatal(err)
		}
		if list, err := s.TokenByHash(t.Context(), hash); err != nil || len(list.Projects) != 0 || !list.ExpiresAt.IsZero() {
			t.Errorf("%s: %+v, %v", name, list, err)
		}
	}
	query(t, "UPDATE "+s.cfg.DBName+".api_token SET expires_at = NOW(6) - INTERVAL 1 SECOND WHERE name = 'expired'") // by the server's clock
	for _, want := range []int{1, 0} {
		if n, err := s.RevokeToken(t.Context(), "revoked", "bob"); err != nil || n != want {
			t.Errorf("revoked = %d, %v; want %d", n, err, want)
		}
	}
	if _, err := s.RevokeToken(t.Context(), "unknown", "bob"); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoke an unknown name: %v", err)
	}
	for name, want := range map[string]error{"expired": ErrNotFound, "revoked": ErrNotFound, "unknown": ErrNotFound, "for ever": nil} {
		if _, err := s.TokenByHash(t.Context(), hashOf(name)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if n := count(t, s, "event", "verb = ? AND actor = 'bob' AND reason = 'revoked'", VerbTokenRevoked); n != 1 {
		t.Errorf("%d tokens are revoked in the audit, want 1", n)
	}
	// Several of one name are revoked together.
	for _, token := range []string{"a", "b"} {
		if _, err := s.CreateToken(t.Context(), Token{Name: "twins", Role: "viewer"}, hashOf(token)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.RevokeToken(t.Context(), "twins", "bob"); err != nil || n != 2 {
		t.Errorf("revoked = %d, %v; want 2", n, err)
	}
	for _, bad := range []struct {
		t    Token
		hash string
	}{{Token{Role: "viewer"}, hashOf("x")}, {Token{Name: "x"}, hashOf("x")}, {Token{Name: "x", Role: "viewer"}, ""}, {Token{Name: "x", Role: "viewer"}, "the token itself"}} {
		if _, err := s.CreateToken(t.Context(), bad.t, bad.hash); !is[*Invalid](err) {
			t.Errorf("%+v: %v, want *Invalid", bad, err)
		}
	}
}

// A server that only reads still knows who may come in.
func TestTokenOnReadOnlyServer(t *testing.T) {
	s := newStore(t)
	if _, err := s.CreateToken(t.Context(), Token{Name: "x", Role: "viewer"}, hashOf("x")); err != nil {
		t.Fatal(err)
	}
	query(t, "CREATE USER onlyreads IDENTIFIED BY 'c4nary'")
	t.Cleanup(func() { query(t, "DROP USER onlyreads") })
	query(t, "GRANT SELECT ON "+s.cfg.DBName+".* TO onlyreads")
	if _, err := openStore(t, withUser(t, s, "onlyreads", "c4nary")).TokenByHash(t.Context(), hashOf("x")); err != nil {
		t.Error(err)
	}
}
