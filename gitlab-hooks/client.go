package hooks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/xanzy/go-gitlab"
	"golang.org/x/time/rate"

	"github.com/guestos/aibuild/jenkins"
)

const (
	defaultTimeout = 15 * time.Second
	maxBody        = 8 << 20 // bytes
)

// Client is a GitLab instance as the owner of one token sees it. It is safe for concurrent use and may be copied.
type Client struct {
	URL   string // http or https, with the path if GitLab has one; without /api/v4 and credentials
	Token string // a personal, group or project access token with the scope "api"

	Timeout   time.Duration     // of one request with its answer; 0 means 15 s
	Transport http.RoundTripper // nil means http.DefaultTransport; for an own certificate authority or proxy
}

// api is go-gitlab set up so that none of its defaults can hurt; see the package's comment.
//
//lint:ignore SA1019 the design fixes this library; its successor is a change of this room alone
func (c Client) api(op string) (*gitlab.Client, error) {
	if err := c.valid(op); err != nil {
		return nil, err
	}
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	//lint:ignore SA1019 as above
	client, err := gitlab.NewClient(c.Token,
		gitlab.WithBaseURL(c.URL),
		gitlab.WithHTTPClient(&http.Client{
			Timeout:       timeout,
			Transport:     limit{transport},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
		gitlab.WithoutRetries(),
		gitlab.WithCustomLimiter(rate.NewLimiter(rate.Inf, 0)),
	)
	if err != nil {
		return nil, &Error{Op: op, Reason: ErrConfig, Detail: "the url cannot be used", Hint: configHint}
	}
	client.UserAgent = "aibuild"
	return client, nil
}

const configHint = "give the url as in https://gitlab.example.org, and an access token by itself"

// valid refuses settings that no request can be made with, and those that would put a secret into messages.
func (c Client) valid(op string) error {
	parsed, err := url.Parse(c.URL)
	problem := ""
	switch {
	case c.URL == "":
		problem = "no url"
	case err != nil: // its text repeats the URL, which may hold a password
		problem = "the url cannot be read"
	case parsed.Scheme != "http" && parsed.Scheme != "https", parsed.Host == "":
		problem = "the url does not start with http:// or https:// and a host"
	case parsed.User != nil:
		problem = "the url holds credentials, which would show in messages"
	case parsed.RawQuery != "" || parsed.Fragment != "":
		problem = "the url has a query or a fragment"
	case c.Token == "":
		problem = "no token"
	default:
		return nil
	}
	return &Error{Op: op, Detail: problem, Reason: ErrConfig, Hint: configHint}
}

// failure makes the Error of a call of go-gitlab's that returned err, and response if one came.
func (c Client) failure(op string, response *gitlab.Response, err error) error {
	failed := &Error{Op: op, URL: strings.TrimRight(c.URL, "/")}
	var broken net.Error // Timeout in the middle of an answer, too
	if response == nil || errors.Is(err, context.Canceled) || errors.As(err, &broken) {
		return unanswered(failed, err)
	}
	failed.Status, failed.Detail = response.StatusCode, c.redact(clip(err.Error()))
	var refused *gitlab.ErrorResponse
	if errors.As(err, &refused) {
		failed.Detail = c.redact(clip(unbraced(refused.Message)))
	}
	switch {
	case failed.Status < 500 && isPage(failed.Detail):
		failed.Reason, failed.Detail, failed.Hint = ErrProtocol, "the answer is a page", urlHint
	case failed.Status == http.StatusUnauthorized:
		failed.Reason, failed.Hint = ErrAuth, "make a new access token with the scope api; it may have expired"
	case failed.Status == http.StatusForbidden:
		failed.Reason, failed.Hint = ErrForbidden, "use a token with the scope api, of a member with the role developer or higher"
	case failed.Status == http.StatusTooManyRequests:
		failed.Reason, failed.Hint = ErrUnavailable, waitHint(response.Header.Get("Retry-After"))
	case failed.Status >= 500:
		failed.Reason, failed.Detail = ErrUnavailable, strings.ToLower(http.StatusText(failed.Status)) // the body is a page of nginx
		failed.Hint = "gitlab is starting or overloaded; try again"
	case failed.Status >= 300 && failed.Status < 400:
		failed.Reason, failed.Detail = ErrProtocol, "redirects to "+place(response.Header.Get("Location"))
		failed.Hint = "give the url that it redirects to; a login page means that a proxy wants its own login"
	default:
		failed.Reason, failed.Hint = ErrProtocol, urlHint
	}
	return failed
}

const urlHint = "check that the url is that of gitlab itself, with its path, and without /api/v4"

// isPage says whether what go-gitlab makes of a refusal is a page for people: of another server, or of a proxy.
func isPage(detail string) bool {
	text, unknown := strings.CutPrefix(detail, "failed to parse unknown error format: ")
	text = strings.ToLower(text)
	return unknown && (strings.HasPrefix(text, "<html") || strings.HasPrefix(text, "<!doctype"))
}

// unbraced is what GitLab says, without go-gitlab's braces around it where there is just one message.
func unbraced(message string) string {
	text, ok := strings.CutPrefix(message, "{message: ")
	if text, closed := strings.CutSuffix(text, "}"); ok && closed && !strings.ContainsAny(text, "{}") {
		return text
	}
	return message
}

func unanswered(failed *Error, err error) error {
	failed.Reason, failed.Detail, failed.Err = ErrUnavailable, err.Error(), err
	var transport *url.Error
	if errors.As(err, &transport) {
		failed.Detail = transport.Err.Error() // without method and URL, which are said already
	}
	failed.Hint = "check the url, the name, the certificate and the network, then try again"
	if hint := jenkins.TLSHint(err, "gitlab.ca_file"); hint != "" {
		failed.Hint = hint
	}
	switch {
	case errors.Is(err, context.Canceled):
		failed.Hint = "it was cancelled"
	case errors.Is(err, context.DeadlineExceeded):
		failed.Detail = "no whole answer in time"
	}
	return failed
}

func waitHint(after string) string {
	if after == "" {
		return "too many requests; try again later"
	}
	return "too many requests; try again after " + clip(after) + " s"
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

// clip keeps a message to one line of a bearable length.
func clip(text string) string {
	const most = 300
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

func (c Client) redact(text string) string { return strings.ReplaceAll(text, c.Token, "***") }

// limit keeps bodies of any size out of memory, as go-gitlab reads them whole.
type limit struct{ next http.RoundTripper }

func (l limit) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	response.Body = &limited{response.Body, maxBody}
	return response, nil
}

var errTooLarge = fmt.Errorf("the answer is larger than %d MiB", maxBody>>20)

// limited fails, instead of ending, when more than left bytes are read: half a document must not look whole.
type limited struct {
	io.ReadCloser
	left int
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p)
	if l.left -= n; l.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}
