package jenkins

import (
	"context"
	"net/http"
)

const sessionHeader = "X-Jenkins-Session"

// Health is a controller that answers, and whom it takes us for.
type Health struct {
	Version      string   // like 2.541.3
	Session      string   // changes at each restart of Jenkins
	User         string   // who the token belongs to, as Jenkins writes it
	Authorities  []string // groups; "authenticated" is everybody who is logged in
	QuietingDown bool     // builds are queued but not started: somebody is about to restart Jenkins
}

// Check logs in and reads the front page. A nil error means that the URL is that of Jenkins, that user and
// token are right, and that the user has the permission Overall/Read.
func (c Client) Check(ctx context.Context) (Health, error) {
	const login = "log in"
	var who struct {
		Name        string
		Anonymous   bool
		Authorities []string
	}
	header, err := c.read(ctx, reading(login, "/whoAmI/", ""), &who)
	if err != nil {
		return Health{}, err
	}
	if who.Anonymous || who.Name == "" {
		return Health{}, &Error{Op: login, URL: c.base(), Status: http.StatusOK, Reason: ErrAuth,
			Detail: "jenkins takes us for anonymous", Hint: c.tokenHint()}
	}
	_, quietingDown, err := c.front(ctx)
	if err != nil {
		return Health{}, err
	}
	return Health{
		Version: header.Get("X-Jenkins"), Session: header.Get(sessionHeader),
		User: who.Name, Authorities: who.Authorities, QuietingDown: quietingDown,
	}, nil
}

// Session is a word that changes at each restart of Jenkins.
func (c Client) Session(ctx context.Context) (string, error) {
	header, _, err := c.front(ctx)
	if err != nil {
		return "", err
	}
	session := header.Get(sessionHeader)
	if session == "" {
		return "", &Error{Op: "read the session", URL: c.base(), Status: http.StatusOK, Reason: ErrProtocol,
			Detail: "no header " + sessionHeader, Hint: "see that no proxy takes it away"}
	}
	return session, nil
}

func (c Client) front(ctx context.Context) (header http.Header, quietingDown bool, err error) {
	var front struct{ QuietingDown bool }
	header, err = c.read(ctx, reading("read the controller", "/", "quietingDown"), &front)
	return header, front.QuietingDown, err
}
