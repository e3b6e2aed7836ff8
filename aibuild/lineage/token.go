package lineage

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Token is what is known of an API token; the token itself is kept nowhere,
// only its sha256.
type Token struct {
	ID         int64     `json:"id"`
	Name       string    `json:"name"` // at most 64 characters; several may have the same
	Role       string    `json:"role"`
	Projects   []string  `json:"projects"` // empty: all
	CreatedBy  string    `json:"created_by"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"` // zero: never
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

// CreateToken stores a token by its sha256 in lower-case hex.
func (s *Store) CreateToken(ctx context.Context, t Token, sha256hex string) (Token, error) {
	if err := t.check(sha256hex); err != nil {
		return Token{}, err
	}
	if err := s.ready(ctx, "create token"); err != nil {
		return Token{}, err
	}
	projects, err := json.Marshal(append([]string{}, t.Projects...))
	if err != nil {
		return Token{}, err
	}
	err = s.write(ctx, "create token", nil, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		err := w.exec(`INSERT INTO api_token (name, token_sha256, role, projects, created_by, created_at, expires_at) VALUES (?, ?, ?, ?, ?, NOW(6), ?)`,
			t.Name, sha256hex, t.Role, string(projects), t.CreatedBy, nullTime(utc(t.ExpiresAt)))
		if number(err) == erDupEntry {
			return w.sameToken(t, sha256hex)
		}
		if err != nil {
			return err
		}
		return w.tokenEvent(stepID("token ", sha256hex), t.CreatedBy, VerbToken, fmt.Sprintf("%s: %s", t.Name, t.Role))
	})
	if err != nil {
		return Token{}, err
	}
	tokens, err := s.tokens(ctx, "WHERE token_sha256 = ?", sha256hex)
	if err != nil || len(tokens) == 0 {
		return Token{}, s.fault(ctx, "create token", fmt.Errorf("token is gone: %w", err))
	}
	return tokens[0], nil
}

func (t Token) check(sha256hex string) error {
	var c checker
	c.need("name", t.Name)
	c.text("name", t.Name, 64)
	c.need("role", t.Role)
	c.text("role", t.Role, 16)
	c.text("created_by", t.CreatedBy, 255)
	c.long("projects", strings.Join(t.Projects, `","`))
	c.time("expires_at", t.ExpiresAt)
	c.need("token_sha256", sha256hex)
	c.hex("token_sha256", sha256hex, 64)
	return c.err
}

// sameToken: a token is made once; when the answer to that was lost, it is
// found.
func (w writer) sameToken(t Token, sha256hex string) error {
	var name, role string
	_, err := w.get("SELECT name, role FROM api_token WHERE token_sha256 = ?", []any{sha256hex}, &name, &role)
	if err == nil && (name != t.Name || role != t.Role) {
		err = &Conflict{ID: t.Name, Problem: "the same token exists as " + name}
	}
	return err
}

func (w writer) tokenEvent(id, actor, verb, reason string) error {
	return w.exec(`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, reason) VALUES (?, NOW(6), NOW(6), ?, '', ?, ?) ON DUPLICATE KEY UPDATE id = id`,
		id, actor, verb, reason)
}

const tokenColumns = "id, name, role, projects, created_by, created_at, expires_at, last_used_at, revoked_at"

func (s *Store) tokens(ctx context.Context, where string, args ...any) ([]Token, error) {
	list := []Token{}
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var t Token
		var projects string
		var expires, used, revoked sql.NullTime
		err := rows.Scan(&t.ID, &t.Name, &t.Role, &projects, &t.CreatedBy, &t.CreatedAt, &expires, &used, &revoked)
		if err != nil {
			return err
		}
		t.ExpiresAt, t.LastUsedAt, t.RevokedAt = expires.Time, used.Time, revoked.Time
		list = append(list, t)
		return json.Unmarshal([]byte(projects), &list[len(list)-1].Projects)
	}, "SELECT "+tokenColumns+" FROM api_token "+where, args...)
	return list, err
}

// Tokens lists all tokens, also expired and revoked ones, newest first.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	if err := s.ready(ctx, "tokens"); err != nil {
		return nil, err
	}
	list, err := s.tokens(ctx, "ORDER BY id DESC")
	return list, s.fault(ctx, "tokens", err)
}

// RevokeToken revokes all tokens of a name, from now on. It gives how many were
// not revoked before; [ErrNotFound] when none has the name.
func (s *Store) RevokeToken(ctx context.Context, name, by string) (int, error) {
	if err := s.ready(ctx, "revoke token"); err != nil {
		return 0, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return 0, err
	}
	var n int64
	err = s.write(ctx, "revoke token", nil, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx}
		if ok, err := w.get("SELECT id FROM api_token WHERE name = ? LIMIT 1", []any{name}, new(int64)); err != nil || !ok {
			if err == nil {
				err = fmt.Errorf("token %s: %w", name, ErrNotFound)
			}
			return err
		}
		result, err := tx.ExecContext(ctx, "UPDATE api_token SET revoked_at = NOW(6) WHERE name = ? AND revoked_at IS NULL", name)
		if err != nil {
			return err
		}
		if n, err = result.RowsAffected(); err != nil || n == 0 {
			return err
		}
		return w.tokenEvent(id.String(), by, VerbTokenRevoked, name)
	})
	return int(n), err
}

const tokenByHashSQL = "WHERE token_sha256 = ? AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > NOW(6))"

// TokenByHash gives the token with this sha256; [ErrNotFound] also when it has
// expired or was revoked. Its last use is noted once a minute.
func (s *Store) TokenByHash(ctx context.Context, sha256hex string) (Token, error) {
	if err := s.ready(ctx, "token"); err != nil {
		return Token{}, err
	}
	list, err := s.tokens(ctx, tokenByHashSQL, sha256hex)
	if err != nil {
		return Token{}, s.fault(ctx, "token", err)
	}
	if len(list) == 0 {
		return Token{}, fmt.Errorf("token: %w", ErrNotFound)
	}
	// Who may come in does not hang on whether that can be noted: a read-only
	// server still answers readers.
	_, err = s.db.ExecContext(ctx, "UPDATE api_token SET last_used_at = NOW(6) WHERE id = ? AND (last_used_at IS NULL OR last_used_at <= NOW(6) - INTERVAL 1 MINUTE)", list[0].ID)
	if err != nil {
		s.log.Warn("last use of a token is not noted", "token", list[0].Name, "error", err)
	}
	return list[0], nil
}
