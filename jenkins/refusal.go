package jenkins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const urlHint = "check that the url is that of jenkins itself, with its context path, not of a page or a login proxy"

// refusal makes an Error of an answer that is not the one hoped for.
func (c Client) refusal(ctx context.Context, r request, got answer) error {
	failed := &Error{Op: r.op, URL: c.base(), Status: got.status, Detail: c.said(got)}
	isJenkins := got.header.Get("X-Jenkins") != ""
	switch {
	case got.status == http.StatusUnauthorized:
		failed.Reason, failed.Hint = ErrAuth, c.tokenHint()
	case got.status == http.StatusForbidden:
		failed.Reason = ErrForbidden
		c.forbidden(failed, got)
	case got.status == http.StatusNotFound && r.missing != "":
		failed.Reason, failed.Hint = ErrNotFound, r.missing
		return c.confirmed(ctx, failed)
	case got.status == http.StatusTooManyRequests, got.status >= 500:
		failed.Reason, failed.RetryAfter = ErrUnavailable, retryAfter(got.header.Get("Retry-After"), time.Now())
		failed.Hint = "jenkins is starting, or what stands in front of it cannot reach it; try again"
	case got.status >= 300 && got.status < 400:
		failed.Reason = ErrProtocol
		failed.Detail = "redirects to " + place(got.header.Get("Location"))
		failed.Hint = "give the url that it redirects to; a login page means that a proxy wants its own login"
	case isJenkins:
		failed.Reason, failed.Hint = ErrProtocol, urlHint
	default:
		failed.Reason, failed.Detail, failed.Hint = ErrProtocol, "no header X-Jenkins", urlHint
	}
	return failed
}

// confirmed is for a 404, which is also what a load balancer says while Jenkins is away: the thing is missing
// only if Jenkins itself is there.
func (c Client) confirmed(ctx context.Context, failed *Error) error {
	if _, err := c.Session(ctx); err != nil {
		return err
	}
	return failed
}

// forbidden says who lacks what, as Jenkins says it in headers.
func (c Client) forbidden(failed *Error, got answer) {
	who, permission := got.header.Get("X-You-Are-Authenticated-As"), got.header.Get("X-Required-Permission")
	switch {
	case permission != "":
		failed.Detail = c.redact(fmt.Sprintf("%s lacks %s", who, permission))
		failed.Hint = "ask an administrator of jenkins for the permission " + permissionName(permission)
	case strings.Contains(got.body, "No valid crumb"):
		failed.Hint = "give an api token, not the password: only tokens need no crumb"
	default:
		failed.Hint = "ask an administrator of jenkins for the permission, and see that no proxy refuses the request"
	}
}

// permissionName is a permission as Jenkins' pages call it: their ids, as hudson.model.Item.Build, say Item for Job and
// Hudson for Overall.
func permissionName(id string) string {
	parts := strings.Split(id, ".")
	if len(parts) < 2 {
		return id
	}
	group, name := parts[len(parts)-2], parts[len(parts)-1]
	if word := map[string]string{"Item": "Job", "Hudson": "Overall", "Jenkins": "Overall"}[group]; word != "" {
		group = word
	}
	return group + "/" + name
}

func (c Client) tokenHint() string {
	if c.User == "" {
		return "give a user and an api token"
	}
	return fmt.Sprintf("check the user; make an api token at %s/me/security (older versions: /me/configure)", c.base())
}

// unreadable makes the Error of a good status with a body that is of no use.
func (c Client) unreadable(op string, got answer, err error) error {
	failed := &Error{Op: op, URL: c.base(), Status: got.status, Reason: ErrProtocol,
		Detail: "the answer is not json", Hint: urlHint, Err: err}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && syntax.Offset >= int64(len(got.body)) {
		failed.Reason, failed.Detail, failed.Hint = ErrUnavailable, "the answer is cut short", "try again"
	}
	return failed
}

// unexpected makes the Error of JSON that lacks what it must have.
func (c Client) unexpected(op, lacks string) error {
	return &Error{Op: op, URL: c.base(), Status: http.StatusOK, Reason: ErrProtocol,
		Detail: "the answer has no " + lacks, Hint: urlHint}
}

// failure makes the Error of an answer that never came.
func (c Client) failure(op string, err error) error {
	failed := &Error{Op: op, URL: c.base(), Reason: ErrUnavailable, Detail: err.Error(), Err: err}
	if transport, ok := errors.AsType[*url.Error](err); ok {
		failed.Detail = transport.Err.Error() // without method and URL, which are said already
	}
	failed.Hint = "check the url, the name, the certificate and the network, then try again"
	if hint := TLSHint(err, "jenkins.ca_file"); hint != "" {
		failed.Hint = hint
	}
	switch {
	case errors.Is(err, context.Canceled):
		failed.Hint = "it was cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		failed.Detail = "no whole answer in time"
	case errors.Is(err, errTooLarge):
		failed.Reason, failed.Hint = ErrProtocol, urlHint
	}
	return failed
}

var (
	titlePattern   = regexp.MustCompile(`(?is)<title>(.*?)</title>`)
	loggingPattern = regexp.MustCompile(`Logging ID=[0-9a-fA-F-]+`)
	statusPattern  = regexp.MustCompile(`^Error \d+ `)
)

// said is what a refusal gives as its reason: in a header, in the title of its page, or by its status alone. The page
// of an internal error names the id under which Jenkins' log holds the exception.
func (c Client) said(got answer) string {
	text := got.header.Get(errorHeader)
	if text == "" {
		text = loggingPattern.FindString(got.body)
	}
	if title := titlePattern.FindStringSubmatch(got.body); text == "" && title != nil {
		text = statusPattern.ReplaceAllString(html.UnescapeString(strings.Join(strings.Fields(title[1]), " ")), "")
	}
	if text == "" {
		text = strings.ToLower(http.StatusText(got.status))
	}
	return shortened(c.redact(text))
}

func shortened(text string) string {
	if runes := []rune(text); len(runes) > 200 {
		return string(runes[:200]) + "..."
	}
	return text
}

// retryAfter reads the header of that name, in seconds or as a date; 0 when there is none or it is over.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(value); err == nil {
		return time.Duration(min(max(seconds, 0), 24*3600)) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), 24*time.Hour)
	}
	return 0
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
