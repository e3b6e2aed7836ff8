package hooks

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/xanzy/go-gitlab"
)

// gitlabClient is go-gitlab's.
//
//lint:ignore SA1019 the design fixes this library; its successor is a change of this room alone
type gitlabClient = gitlab.Client

// catcher keeps what GitLab says with a 404, which go-gitlab throws away: it tells a commit that is gone from a project.
// It serves one call.
type catcher struct {
	next http.RoundTripper
	said string
}

func (c *catcher) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := c.next.RoundTrip(request)
	if err != nil || response.StatusCode != http.StatusNotFound {
		return response, err
	}
	const most = 4 << 10
	begin, err := io.ReadAll(io.LimitReader(response.Body, most))
	var answer struct {
		Message any    `json:"message"`
		Error   string `json:"error"`
	}
	if json.Unmarshal(begin, &answer) == nil {
		c.said = answer.Error
		if text, ok := answer.Message.(string); ok {
			c.said = text
		}
	}
	rest := io.MultiReader(bytes.NewReader(begin), brokenOff{err}, response.Body)
	response.Body = struct {
		io.Reader
		io.Closer
	}{rest, response.Body}
	return response, nil
}

// brokenOff gives an error where there is one, else nothing.
type brokenOff struct{ err error }

func (b brokenOff) Read([]byte) (int, error) {
	if b.err == nil {
		return 0, io.EOF
	}
	return 0, b.err
}

// caught is api for one call that needs to know what a 404 says.
func (c Client) caught(op string) (*gitlabClient, *catcher, error) {
	caught := &catcher{next: c.Transport}
	if caught.next == nil {
		caught.next = http.DefaultTransport
	}
	c.Transport = caught
	api, err := c.api(op)
	return api, caught, err
}

// refusal is failure for calls about something in GitLab, which may not be there or not as it has to be.
func (c Client) refusal(op string, response *gitlab.Response, caught *catcher, err error) *Error {
	failed, ok := errors.AsType[*Error](c.failure(op, response, err))
	if !ok || response == nil || failed.Status == 0 {
		return failed
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		failed.Reason, failed.Detail, failed.Hint = ErrUnavailable, "the answer was cut off", "try again"
		return failed
	}
	failed.RetryAfter = retryAfter(response.Header, time.Now())
	switch failed.Status {
	case http.StatusNotFound:
		failed.Reason, failed.Detail = ErrNotFound, c.redact(clip(caught.said))
		failed.Hint = "check the project's path and the commit, and that the token's owner is a member of the project"
	case http.StatusConflict:
		failed.Reason, failed.Hint = ErrUnavailable, "somebody changes the same; try again"
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		failed.Reason, failed.Hint = ErrRefused, "see what gitlab says"
	}
	return failed
}

// longestWait bounds what a server may ask for.
const longestWait = time.Hour

// retryAfter is how long GitLab asks to wait, by one of the two headers that it uses; 0 when it does not say.
func retryAfter(header http.Header, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil {
		wait = time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	} else if at, err := http.ParseTime(header.Get("Retry-After")); err == nil {
		wait = at.Sub(now)
	} else if header.Get("RateLimit-Remaining") == "0" {
		if reset, err := strconv.ParseInt(header.Get("RateLimit-Reset"), 10, 64); err == nil {
			wait = time.Unix(reset, 0).Sub(now)
		}
	}
	return min(max(wait, 0), longestWait)
}
