package jenkins

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

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
	const login, read = "log in", "read the controller"
	if err := c.valid(login); err != nil {
		return Health{}, err
	}
	c.URL = c.base()
	var who struct {
		Name        string
		Anonymous   bool
		Authorities []string
	}
	header, err := c.getJSON(ctx, call{login, "/whoAmI/", ""}, &who)
	if err != nil {
		return Health{}, err
	}
	if who.Anonymous || who.Name == "" {
		return Health{}, &Error{Op: login, URL: c.URL, Status: http.StatusOK, Reason: ErrAuth,
			Detail: "jenkins takes us for anonymous", Hint: c.tokenHint()}
	}
	var front struct{ QuietingDown bool }
	if _, err := c.getJSON(ctx, call{read, "/", "quietingDown"}, &front); err != nil {
		return Health{}, err
	}
	return Health{
		Version: header.Get("X-Jenkins"), Session: header.Get("X-Jenkins-Session"),
		User: who.Name, Authorities: who.Authorities, QuietingDown: front.QuietingDown,
	}, nil
}

// call is one read: what it is for, the path with a slash at its end, and the fields wanted.
type call struct{ op, path, tree string }

// getJSON decodes a good answer into a struct of the caller's. Any other answer becomes an Error.
func (c Client) getJSON(ctx context.Context, what call, into any) (http.Header, error) {
	got, err := c.get(ctx, what.path, what.tree)
	if err != nil {
		return nil, c.failure(what.op, err)
	}
	if err := c.judge(what.op, got); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(got.body), into); err != nil {
		return nil, &Error{Op: what.op, URL: c.URL, Status: got.status, Reason: ErrProtocol,
			Detail: "the answer is not json", Hint: urlHint, Err: err}
	}
	return got.header, nil
}

const urlHint = "check that the url is that of jenkins itself, with its context path, not of a page or a login proxy"

// judge makes an Error of every answer that is not a good one of Jenkins.
func (c Client) judge(op string, got answer) error {
	failed := &Error{Op: op, URL: c.URL, Status: got.status}
	isJenkins := got.header.Get("X-Jenkins") != ""
	switch {
	case got.status == http.StatusOK && isJenkins:
		return nil
	case got.status == http.StatusUnauthorized:
		failed.Reason, failed.Hint = ErrAuth, c.tokenHint()
	case got.status == http.StatusForbidden:
		failed.Reason = ErrForbidden
		failed.Detail, failed.Hint = c.forbidden(got.header)
	case got.status == http.StatusTooManyRequests, got.status >= 500:
		failed.Reason = ErrUnavailable
		failed.Detail = strings.ToLower(http.StatusText(got.status))
		failed.Hint = "jenkins is starting, or what stands in front of it cannot reach it; try again"
	case got.status >= 300 && got.status < 400:
		failed.Reason = ErrProtocol
		failed.Detail = "redirects to " + place(got.header.Get("Location"))
		failed.Hint = "give the url that it redirects to; a login page means that a proxy wants its own login"
	default:
		failed.Reason, failed.Detail, failed.Hint = ErrProtocol, "no header X-Jenkins", urlHint
		if isJenkins {
			failed.Detail = strings.ToLower(http.StatusText(got.status))
		}
	}
	if text := got.header.Get(errorHeader); text != "" {
		failed.Detail = c.redact(text)
	}
	return failed
}

// forbidden says who lacks what, as Jenkins says it in headers.
func (c Client) forbidden(header http.Header) (detail, hint string) {
	who, permission := header.Get("X-You-Are-Authenticated-As"), header.Get("X-Required-Permission")
	if permission == "" {
		return "", "ask an administrator of jenkins for the permission, and see that no proxy refuses the request"
	}
	return c.redact(fmt.Sprintf("%s lacks %s", who, permission)),
		"ask an administrator of jenkins for that permission"
}

func (c Client) tokenHint() string {
	if c.User == "" {
		return "give a user and an api token"
	}
	return fmt.Sprintf("check the user; make an api token at %s/me/security (older versions: /me/configure)", c.URL)
}

// place is a redirect's target without what may be secret in it.
func place(location string) string {
	target, err := url.Parse(location)
	if err != nil {
		return "an address that cannot be read"
	}
	target.User, target.RawQuery, target.Fragment = nil, "", ""
	return target.String()
}

func (c Client) redact(text string) string {
	if c.Token == "" {
		return text
	}
	return strings.ReplaceAll(text, c.Token, "***")
}
