package api

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// A session is the proof that somebody has shown a token here: the token's
// sha256, when the session ends, and a code over both that only this server can
// make. The token itself is not in the browser. It is looked up at every
// request, so that a session ends with it.

const (
	sessionCookie = "aibuild_session"
	sessionFor    = 12 * time.Hour
)

// sessionKey is Config.SessionKey, or one that ends with the process.
func sessionKey(given []byte) []byte {
	if len(given) > 0 {
		return given
	}
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: crypto/rand ends the program rather
	return key
}

func (s *Server) sealSession(tokenHash string, until time.Time) string {
	text := tokenHash + "." + strconv.FormatInt(until.Unix(), 10)
	return text + "." + hex.EncodeToString(s.sessionCode(text))
}

func (s *Server) sessionCode(text string) []byte {
	mac := hmac.New(sha256.New, s.session)
	mac.Write([]byte("page session " + text)) // never fails
	return mac.Sum(nil)
}

// openSession gives the sha256 of the session's token.
func (s *Server) openSession(value string) (tokenHash string, ok bool) {
	cut := strings.LastIndexByte(value, '.')
	if cut < 0 {
		return "", false
	}
	code, err := hex.DecodeString(value[cut+1:])
	if err != nil || !hmac.Equal(code, s.sessionCode(value[:cut])) {
		return "", false
	}
	hash, until, _ := strings.Cut(value[:cut], ".")
	end, err := strconv.ParseInt(until, 10, 64)
	return hash, err == nil && s.now().Before(time.Unix(end, 0))
}

// visitor is who looks at a page: a session, a token as for the API, or a guest
// where pages are open.
func (s *Server) visitor(r *http.Request) (lineage.Token, error) {
	if r.Header.Get("Authorization") != "" {
		return s.authenticate(r)
	}
	if cookie, err := r.Cookie(sessionCookie); err == nil {
		if hash, ok := s.openSession(cookie.Value); ok {
			t, err := s.tokenByHash(r, hash)
			if !isUnauthorized(err) {
				return t, err
			}
		}
	}
	if s.config.PublicPages || s.config.OpenPages && isLocal(r) {
		return lineage.Token{Role: RoleViewer}, nil
	}
	s.metrics.denied("no_token")
	return lineage.Token{}, &Problem{Code: CodeUnauthorized, Detail: "sign in with a token"}
}

func isUnauthorized(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return ok && p.Code == CodeUnauthorized
}

func (s *Server) registerSession() {
	s.open.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		pageHeaders(w.Header())
		s.signInPage(w, r, "", http.StatusOK)
	})
	s.open.HandleFunc("POST /login", s.signIn)
	s.open.HandleFunc("POST /logout", s.signOut)
}

// signInView is what login.html shows.
type signInView struct {
	Next    string
	Problem string
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request, problem string, status int) {
	next := r.URL.RequestURI()
	if r.URL.Path == "/login" || r.URL.Path == "/logout" || r.Method != http.MethodGet {
		next = r.FormValue("next")
	}
	s.showView(w, r, &view{name: "login", title: "Sign in", status: status, body: signInView{ownAddress(next), problem}})
}

// ownAddress is an address of this server, or the overview.
func ownAddress(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return next
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	pageHeaders(w.Header())
	if err := sameOrigin.Check(r); err != nil {
		s.metrics.denied("cross_origin")
		s.signInPage(w, r, "This was sent from a page of another site; send it from here.", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, formLimit)
	value := strings.TrimSpace(r.PostFormValue("token"))
	if !tokenForm.MatchString(value) {
		s.metrics.denied("bad_token")
		s.signInPage(w, r, "That is not a token: one begins with aib_.", http.StatusUnauthorized)
		return
	}
	hash := HashToken(Secret(value))
	_, err := s.tokenByHash(r, hash)
	if isUnauthorized(err) {
		s.signInPage(w, r, "This token is unknown, expired or revoked.", http.StatusUnauthorized)
		return
	}
	if err != nil {
		s.refusePage(w, r, err)
		return
	}
	until := s.now().Add(sessionFor)
	http.SetCookie(w, s.cookie(r, s.sealSession(hash, until), until))
	http.Redirect(w, r, ownAddress(r.PostFormValue("next")), http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	pageHeaders(w.Header())
	if err := sameOrigin.Check(r); err == nil {
		http.SetCookie(w, s.cookie(r, "", time.Unix(1, 0)))
	}
	http.Redirect(w, r, "/login", http.StatusSeeOther)
}

func (s *Server) cookie(r *http.Request, value string, until time.Time) *http.Cookie {
	return &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", Expires: until.UTC(),
		HttpOnly: true, Secure: r.TLS != nil || s.config.Secure, SameSite: http.SameSiteLaxMode,
	}
}
