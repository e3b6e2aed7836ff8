package jenkinstest

import (
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"slices"
	"strings"
)

// User is somebody who may log in, with the password (then every POST needs a crumb) or the API token (then none does).
type User struct {
	Name     string
	FullName string // empty means Name
	Password string // empty: there is none to log in with
	Token    string // empty: the same
	Groups   []string
	Admin    bool    // may do everything
	Grants   []Grant // what else the user may do
}

// Grant is one permission.
type Grant struct {
	Permission Permission
	Path       string // of a folder or job and what is below it; empty means everywhere
}

// Permission is a permission by its id, as X-Required-Permission names it.
type Permission string

// The permissions that the stand-in knows.
const (
	Administer     Permission = "hudson.model.Hudson.Administer"
	OverallRead    Permission = "hudson.model.Hudson.Read"
	ItemRead       Permission = "hudson.model.Item.Read"
	ItemBuild      Permission = "hudson.model.Item.Build"
	ItemCancel     Permission = "hudson.model.Item.Cancel"
	ItemCreate     Permission = "hudson.model.Item.Create"
	ItemConfigure  Permission = "hudson.model.Item.Configure"
	ItemDelete     Permission = "hudson.model.Item.Delete"
	RunDelete      Permission = "hudson.model.Run.Delete"
	genericPrefix             = "hudson.security.Permission.Generic"
	genericRead    Permission = genericPrefix + "Read"
	genericWrite   Permission = genericPrefix + "Write"
	genericUpdate  Permission = genericPrefix + "Update"
	genericCreate  Permission = genericPrefix + "Create"
	genericDelete  Permission = genericPrefix + "Delete"
	genericConfig  Permission = genericPrefix + "Configure"
	headerDisabled            = "JENKINS-39402: use -Dhudson.security.AccessDeniedException2.REPORT_GROUP_HEADERS=true or use /whoAmI to diagnose"
)

// permissions says how people call each, and by what else it is implied.
var permissions = map[Permission]struct {
	title   string
	implied []Permission
}{
	Administer:    {"Overall/Administer", nil},
	OverallRead:   {"Overall/Read", []Permission{genericRead, Administer}},
	ItemRead:      {"Job/Read", []Permission{genericRead, Administer}},
	ItemBuild:     {"Job/Build", []Permission{genericUpdate, genericWrite, Administer}},
	ItemCancel:    {"Job/Cancel", []Permission{genericUpdate, genericWrite, Administer}},
	ItemCreate:    {"Job/Create", []Permission{genericCreate, genericWrite, Administer}},
	ItemConfigure: {"Job/Configure", []Permission{genericConfig, genericUpdate, genericWrite, Administer}},
	ItemDelete:    {"Job/Delete", []Permission{genericDelete, genericWrite, Administer}},
	RunDelete:     {"Run/Delete", []Permission{genericDelete, genericWrite, Administer}},
}

// caller is who sends a request.
type caller struct {
	User
	anonymous bool
	token     bool // logged in with the API token
}

// may tells whether the caller has a permission for an item; the root stands for Jenkins itself.
func (c caller) may(p Permission, it *item) bool {
	if c.Admin {
		return true
	}
	path := it.fullName()
	return slices.ContainsFunc(c.Grants, func(g Grant) bool {
		return (g.Permission == p || g.Permission == Administer) &&
			(g.Path == "" || path == g.Path || strings.HasPrefix(path, g.Path+"/"))
	})
}

// canRead tells whether the caller may know of an item: it and all folders above must be readable.
func (c caller) canRead(it *item) bool {
	return it.parent == nil || c.may(ItemRead, it) && c.canRead(it.parent)
}

func (c caller) fullName() string {
	if c.FullName != "" {
		return c.FullName
	}
	return c.Name
}

func (c caller) cause() cause {
	if c.anonymous {
		return cause{Name: "anonymous"}
	}
	return cause{User: c.Name, Name: c.fullName()}
}

// logIn finds out who sends a request; ok is false for a login that is wrong.
func (s *Server) logIn(r *http.Request) (c caller, ok bool) {
	name, secret, given := r.BasicAuth()
	if !given {
		if strings.HasPrefix(strings.ToLower(r.Header.Get("Authorization")), "basic ") {
			return caller{}, false
		}
		return caller{User: User{Name: "anonymous", Grants: s.options.Anonymous}, anonymous: true}, true
	}
	for _, u := range s.options.Users {
		if u.Name != name || secret == "" {
			continue
		}
		if secret == u.Token && !s.noTokens {
			return caller{User: u, token: true}, true
		}
		if secret == u.Password {
			return caller{User: u}, true
		}
	}
	return caller{}, false
}

const (
	crumbField    = "Jenkins-Crumb"
	sessionCookie = "JSESSIONID.7c4e0b1f"
)

// crumb is the one that belongs to a caller in a web session, from an address.
func (s *Server) crumb(c caller, session string, r *http.Request) string {
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	if forwarded, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ","); forwarded != "" {
		address = forwarded
	}
	sum := sha256.Sum256([]byte(c.Name + ";" + address + ";" + session + s.home))
	return hex.EncodeToString(sum[:])
}

// webSession is the session that a request belongs to, empty if it belongs to none that lives.
func (s *Server) webSession(r *http.Request) string {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil || !s.cookies[cookie.Value] {
		return ""
	}
	return cookie.Value
}

// crumbed tells whether a POST carries what Jenkins wants against forged requests.
func (s *Server) crumbed(c caller, r *http.Request) bool {
	if c.token {
		return true
	}
	given := r.Header.Get(crumbField)
	if given == "" {
		given = r.URL.Query().Get(crumbField)
	}
	session := s.webSession(r)
	return session != "" && given == s.crumb(c, session, r)
}
