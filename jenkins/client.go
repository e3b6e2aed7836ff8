package jenkins

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bndr/gojenkins"
)

const (
	defaultTimeout = 30 * time.Second
	maxBody        = 16 << 20 // bytes; what we ask for is filtered by "tree" and far smaller
)

// Client is a Jenkins controller as one user sees it. It is safe for concurrent use and may be copied.
type Client struct {
	URL   string // http or https, with the context path if there is one; no credentials
	User  string
	Token string // an API token

	Timeout   time.Duration     // of one request with its answer; 0 means 30 s
	Transport http.RoundTripper // nil means http.DefaultTransport; for an own certificate authority or proxy

	// Slots limits the requests that are under way at once, over all copies of the Client that share it:
	// make(chan struct{}, 4). Nil means no limit.
	Slots chan struct{}
	// OnSession hears the session of every answer that tells it. Another one than before means that Jenkins
	// was restarted, and has forgotten the items that had left its queue. Calls may come at the same time.
	OnSession func(session string)
}

// request is one call of the remote API.
type request struct {
	op      string // what it is for, as errors say it
	method  string
	path    string // escaped, below the URL
	query   map[string]string
	form    url.Values
	xml     string // a body instead of a form
	missing string // what to do when Jenkins knows no such thing; empty where that cannot be
	clip    *clip
}

// reading asks for the JSON of a path with a slash at its end. tree names the fields wanted.
func reading(op, path, tree string) request {
	r := request{op: op, method: http.MethodGet, path: path + "api/json"}
	if tree != "" {
		r.query = map[string]string{"tree": tree}
	}
	return r
}

// answer is what came back, whatever its status.
type answer struct {
	status int
	header http.Header
	body   string
}

// read decodes a good answer into a struct of the caller's, which is to be a new one: absent fields keep what
// they hold. Fields of another type than expected are left out, as plugins may add whatever they like.
func (c Client) read(ctx context.Context, r request, into any) (http.Header, error) {
	got, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK || got.header.Get("X-Jenkins") == "" {
		return nil, c.refusal(ctx, r, got)
	}
	if err := decode(got.body, into); err != nil {
		return nil, c.unreadable(r.op, got, err)
	}
	return got.header, nil
}

// decode tolerates fields of a wrong type, which stay as they are; the caller checks what it cannot do without.
func decode(body string, into any) error {
	err := json.Unmarshal([]byte(body), into)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil
	}
	return err
}

// send asks once, never again by itself. The error is only for no answer at all.
func (c Client) send(ctx context.Context, r request) (answer, error) {
	if err := c.valid(r.op); err != nil {
		return answer{}, err
	}
	if c.Slots != nil {
		select {
		case c.Slots <- struct{}{}:
			defer func() { <-c.Slots }()
		case <-ctx.Done():
			return answer{}, c.failure(r.op, ctx.Err())
		}
	}
	var payload io.Reader
	switch {
	case r.form != nil:
		payload = strings.NewReader(r.form.Encode())
	case r.xml != "":
		payload = strings.NewReader(r.xml)
	}
	// gojenkins puts a slash behind the path of a GET, but not behind the suffix.
	last := strings.LastIndex(r.path, "/") + 1
	call := gojenkins.NewAPIRequest(r.method, r.path[:last], payload)
	call.Suffix = r.path[last:]
	if r.form != nil {
		call.SetHeader("Content-Type", "application/x-www-form-urlencoded")
	} else if r.xml != "" {
		call.SetHeader("Content-Type", "application/xml; charset=utf-8")
	}
	// With *string, and only then, gojenkins leaves status and body alone.
	var body string
	response, err := c.requester(r.clip).Do(quiet{ctx}, call, &body, r.query)
	if err != nil {
		return answer{}, c.failure(r.op, err)
	}
	if session := response.Header.Get(sessionHeader); session != "" && c.OnSession != nil {
		c.OnSession(session)
	}
	return answer{response.StatusCode, response.Header, body}, nil
}

func (c Client) requester(limit *clip) *gojenkins.Requester {
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
		Transport: guard{transport, limit},
		// A redirect is an answer: following it loses the queue id of a build, and can carry the
		// token to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	var login []any
	if c.User != "" {
		login = []any{c.User, c.Token}
	}
	// CreateJenkins puts nothing else into this field.
	return gojenkins.CreateJenkins(client, c.base(), login...).Requester.(*gojenkins.Requester)
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

// base is the URL without a slash at its end.
func (c Client) base() string { return strings.TrimRight(c.URL, "/") }
