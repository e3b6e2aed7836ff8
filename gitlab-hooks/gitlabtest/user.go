package gitlabtest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Role is what a member may do in a project.
type Role int

// The roles of GitLab, with its numbers.
const (
	NoRole     Role = 0
	Guest      Role = 10
	Reporter   Role = 20
	Developer  Role = 30
	Maintainer Role = 40
	Owner      Role = 50
)

// User is somebody who pushes or calls the API.
type User struct {
	ID          int    // given by CreateUser
	Username    string // needed
	Name        string // empty means Username
	Email       string // private; empty means USERNAME@example.org
	PublicEmail string // what payloads show; null there if empty
	Admin       bool
	Bot         bool
}

// Token is an access token of a user.
type Token struct {
	ID      int    // given by CreateToken
	Secret  string // empty means that one is made
	User    string // user name
	Name    string
	Scopes  []string  // empty means api
	Expires time.Time // the first moment when it is not valid any more; zero means never
	Revoked bool

	created, used time.Time
}

type user struct{ User }

// CreateUser adds a user. Start has added the administrator root, who is user 1.
func (s *Server) CreateUser(u User) (User, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !validName(u.Username) {
		return User{}, fmt.Errorf("create user: %q cannot be a user name", u.Username)
	}
	if s.userByName(u.Username) != nil {
		return User{}, fmt.Errorf("create user: %s exists", u.Username)
	}
	u.ID = len(s.users) + 1
	u.Name = orElse(u.Name, u.Username)
	u.Email = orElse(u.Email, u.Username+"@example.org")
	s.users = append(s.users, &user{u})
	return u, nil
}

// CreateToken adds an access token; what it returns holds the secret.
func (s *Server) CreateToken(t Token) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.userByName(t.User) == nil {
		return Token{}, fmt.Errorf("create token: no user %q; create it first", t.User)
	}
	if t.Secret == "" {
		t.Secret = newSecret()
	}
	if len(t.Scopes) == 0 {
		t.Scopes = []string{"api"}
	}
	t.ID, t.created = len(s.tokens)+1, s.opts.Now()
	t.Name = orElse(t.Name, "token")
	s.tokens = append(s.tokens, &t)
	return t, nil
}

// RevokeToken makes the token with this secret answer as GitLab's revoked ones do.
func (s *Server) RevokeToken(secret string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tokenBySecret(secret)
	if t == nil {
		return errors.New("revoke token: there is no such token")
	}
	t.Revoked = true
	return nil
}

func newSecret() string {
	b := make([]byte, 15)
	rand.Read(b) // never fails
	return "glpat-" + base64.RawURLEncoding.EncodeToString(b)
}

func (s *Server) userByName(name string) *user {
	for _, u := range s.users {
		if strings.EqualFold(u.Username, name) {
			return u
		}
	}
	return nil
}

func (s *Server) tokenBySecret(secret string) *Token {
	for _, t := range s.tokens {
		if subtle.ConstantTimeCompare([]byte(t.Secret), []byte(secret)) == 1 {
			return t
		}
	}
	return nil
}

func (t *Token) expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

func (t *Token) hasScope(wanted ...string) bool {
	return slices.ContainsFunc(wanted, func(s string) bool { return slices.Contains(t.Scopes, s) })
}

// avatar is the URL of the user's picture; nobody here fetches it.
func (u *user) avatar() string {
	sum := sha256.Sum256([]byte(strings.ToLower(u.Email)))
	return "https://www.gravatar.com/avatar/" + hex.EncodeToString(sum[:]) + "?s=80&d=identicon"
}
