package gitlabtest

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// oauthError is how GitLab refuses a token that it knows.
type oauthError struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description"`
	Scope       string `json:"scope,omitempty"`
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

// authorize logs the caller in, finds the project and checks the role.
func (c *call) authorize(to route) error {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := c.logIn(to); err != nil {
		return err
	}
	if c.user == nil && !to.open {
		return message(http.StatusUnauthorized, "401 Unauthorized")
	}
	id, ofProject := c.path["id"]
	if !ofProject {
		return nil
	}
	c.project = c.s.projectByID(id)
	switch {
	case c.project == nil || !c.project.readable(c.user):
		return notFound("Project")
	case to.code && !c.project.readableCode(c.user):
		return forbidden()
	case c.project.role(c.user) < to.role:
		return forbidden()
	}
	return nil
}

// logIn finds the user whose token was sent, if one was.
func (c *call) logIn(to route) error {
	secret := sentToken(c.r)
	if secret == "" {
		return nil
	}
	t := c.s.tokenBySecret(secret)
	now := c.s.opts.Now()
	switch {
	case t == nil:
		return message(http.StatusUnauthorized, "401 Unauthorized")
	case t.Revoked:
		return &oauthError{http.StatusUnauthorized, "invalid_token", "Token was revoked. You have to re-authorize from the user.", ""}
	case t.expired(now):
		return &oauthError{http.StatusUnauthorized, "invalid_token", "Token is expired. You can either do re-authorization or token refresh.", ""}
	}
	scopes := slices.Concat([]string{"api"}, to.scopes)
	if to.method == http.MethodGet {
		scopes = append(scopes, "read_api")
	}
	if !t.hasScope(scopes...) {
		return &oauthError{http.StatusForbidden, "insufficient_scope",
			"The request requires higher privileges than provided by the access token.", "api read_api"}
	}
	t.used = now
	c.token, c.user = t, c.s.userByName(t.User)
	return nil
}

func sentToken(r *http.Request) string {
	if token := r.Header.Get("PRIVATE-TOKEN"); token != "" {
		return token
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return token
	}
	if token := r.URL.Query().Get("private_token"); token != "" {
		return token
	}
	return r.URL.Query().Get("access_token")
}

func (c *call) version() (any, error) {
	return map[string]string{"version": c.s.opts.Profile.version(), "revision": "a1b2c3d4e5f"}, nil
}

// apiTime is how the API writes times that it made itself.
func apiTime(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	text := t.UTC().Format("2006-01-02T15:04:05.000Z")
	return &text
}

// userBasic is a user as everybody sees it.
type userBasic struct {
	ID        int    `json:"id"`
	Username  string `json:"username"`
	Name      string `json:"name"`
	State     string `json:"state"`
	Locked    bool   `json:"locked"`
	AvatarURL string `json:"avatar_url"`
	WebURL    string `json:"web_url"`
}

func (s *Server) basic(u *user) userBasic {
	return userBasic{u.ID, u.Username, u.Name, "active", false, u.avatar(), s.url + "/" + u.Username}
}

// currentUser is a user as it sees itself.
type currentUser struct {
	userBasic
	Bot         bool   `json:"bot"`
	Email       string `json:"email"`
	PublicEmail string `json:"public_email"`
	CommitEmail string `json:"commit_email"`
	IsAdmin     *bool  `json:"is_admin,omitempty"` // told to administrators only
	External    bool   `json:"external"`
	TwoFactor   bool   `json:"two_factor_enabled"`
}

func (c *call) currentUser() (any, error) {
	u := c.user
	told := currentUser{userBasic: c.s.basic(u), Bot: u.Bot, Email: u.Email, PublicEmail: u.PublicEmail, CommitEmail: u.Email}
	if u.Admin {
		told.IsAdmin = &u.Admin
	}
	return told, nil
}

type tokenInfo struct {
	ID        int      `json:"id"`
	Name      string   `json:"name"`
	Revoked   bool     `json:"revoked"`
	CreatedAt *string  `json:"created_at"`
	Scopes    []string `json:"scopes"`
	UserID    int      `json:"user_id"`
	LastUsed  *string  `json:"last_used_at"`
	Active    bool     `json:"active"`
	ExpiresAt *string  `json:"expires_at"`
}

func (c *call) tokenSelf() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	t := c.token
	told := tokenInfo{
		ID: t.ID, Name: t.Name, Revoked: t.Revoked, CreatedAt: apiTime(t.created), Scopes: t.Scopes, UserID: c.user.ID,
		LastUsed: apiTime(t.used), Active: true,
	}
	if !t.Expires.IsZero() {
		day := t.Expires.UTC().Format(time.DateOnly)
		told.ExpiresAt = &day
	}
	return told, nil
}
