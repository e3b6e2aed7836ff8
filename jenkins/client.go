package jenkins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bndr/gojenkins"
)

const (
	defaultTimeout = 30 * time.Second
	maxBody        = 16 << 20 // bytes; what we ask for is filtered by "tree" and far smaller
	errorHeader    = "X-Aibuild-Error"
)

// gojenkins logs through these, which are nil before its Init and print to stdout after it: the one panics,
// the other breaks what a program prints there.
func init() {
	silent := log.New(io.Discard, "", 0)
	gojenkins.Info, gojenkins.Warning, gojenkins.Error = silent, silent, silent
}

// Client is a Jenkins controller as one user sees it. It is safe for concurrent use and may be copied.
type Client struct {
	URL   string // http or https, with the context path if there is one; no credentials
	User  string
	Token string // an API token

	Timeout   time.Duration     // of one request with its answer; 0 means 30 s
	Transport http.RoundTripper // nil means http.DefaultTransport; for an own certificate authority or proxy
}

// answer is what came back, whatever its status.
type answer struct {
	status int
	header http.Header
	body   string
}

// get asks for the JSON of a path below the URL; tree names the fields wanted, empty means all. The error is
// only for no answer at all.
func (c Client) get(ctx context.Context, path, tree string) (answer, error) {
	request := gojenkins.NewAPIRequest(http.MethodGet, path, nil)
	request.Suffix = "api/json"
	query := map[string]string{}
	if tree != "" {
		query["tree"] = tree
	}
	// With *string, and only then, gojenkins leaves status and body alone.
	var body string
	response, err := c.requester().Do(quiet{ctx}, request, &body, query)
	if err != nil {
		return answer{}, err
	}
	return answer{response.StatusCode, response.Header, body}, nil
}

func (c Client) requester() *gojenkins.Requester {
	timeout := c.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport
	}
	client := &http.Client{
		Timeout:   timeout,
		Transport: guard{transport},
		// A redirect is an answer: following it loses the queue id of a build, and can carry the
		// token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var login []any
	if c.User != "" {
		login = []any{c.User, c.Token}
	}
	// CreateJenkins puts nothing else into this field.
	return gojenkins.CreateJenkins(client, c.URL, login...).Requester.(*gojenkins.Requester)
}

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
	case (c.User == "") != (c.Token == ""):
		problem = "a user without a token, or a token without a user"
	default:
		return nil
	}
	return &Error{Op: op, Detail: problem, Reason: ErrConfig,
		Hint: "give the url as in https://ci.example.org/jenkins, and user and api token by themselves"}
}

// failure makes the Error of an answer that never came.
func (c Client) failure(op string, err error) error {
	failed := &Error{Op: op, URL: c.URL, Reason: ErrUnavailable, Detail: err.Error(), Err: err}
	var transport *url.Error
	if errors.As(err, &transport) {
		failed.Detail = transport.Err.Error() // without method and URL, which are said already
	}
	failed.Hint = "check the url, the name, the certificate and the network, then try again"
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

// guard keeps gojenkins from two of its defects: it leaks the connection of an answer with the header X-Error,
// and reads bodies of any size into memory.
type guard struct{ next http.RoundTripper }

func (g guard) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("User-Agent", "aibuild")
	response, err := g.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if text := response.Header.Get("X-Error"); text != "" {
		response.Header.Del("X-Error")
		response.Header.Set(errorHeader, text)
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

// quiet hides the context value with which gojenkins prints whole answers, and exits when it cannot.
type quiet struct{ context.Context }

func (q quiet) Value(key any) any {
	if key == "debug" {
		return nil
	}
	return q.Context.Value(key)
}

// base is the URL without a slash at its end.
func (c Client) base() string { return strings.TrimRight(c.URL, "/") }
