package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// call is one request that may be repeated.
type call struct {
	op     string // for messages, as the store says it: record, resolve, …
	method string
	path   []string // segments below /api/v1
	query  url.Values
	header http.Header // beyond what all requests have
	body   any
}

// do sends a request until it is answered, and reads the answer into out. A
// server that is away is [*lineage.Unavailable].
func (c *Client) do(ctx context.Context, k call, out any) error {
	if err := c.setup(); err != nil {
		return err
	}
	var body []byte
	if k.body != nil {
		var err error
		if body, err = json.Marshal(k.body); err != nil {
			return fmt.Errorf("%s: %w", k.op, err)
		}
		if len(body) > bodyLimit {
			return &lineage.Invalid{Field: k.op, Problem: fmt.Sprintf("has %d bytes, a server takes %d at once", len(body), bodyLimit)}
		}
	}
	for try := 1; ; try++ {
		err := c.attempt(ctx, k, body, out)
		if _, down := errors.AsType[*lineage.Unavailable](err); !down || try == tries {
			return err
		}
		c.log().Debug("request is sent again", "op", k.op, "error", err)
		if err := sleep(ctx, time.Duration(try)*time.Duration(100+rand.IntN(200))*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", k.op, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// attempt sends a request once.
func (c *Client) attempt(ctx context.Context, k call, body []byte, out any) error {
	within, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.send(within, k, body)
	if err != nil {
		return c.away(ctx, k, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	if err != nil {
		return c.away(ctx, k, err)
	}
	if len(b) > answerLimit {
		return &NotAServer{c.server(), resp.StatusCode, fmt.Sprintf("its answer is larger than %d bytes", answerLimit)}
	}
	if resp.StatusCode >= 300 {
		return c.refusal(k, resp, b)
	}
	if resp.StatusCode == http.StatusNoContent || out == nil {
		return nil
	}
	if kind := mediaType(resp); kind != "application/json" {
		return &NotAServer{c.server(), resp.StatusCode, "it sends " + strconv.Quote(kind)}
	}
	if err := json.Unmarshal(b, out); err != nil {
		return &NotAServer{c.server(), resp.StatusCode, "its answer cannot be read: " + err.Error()}
	}
	return nil
}

func (c *Client) send(ctx context.Context, k call, body []byte) (*http.Response, error) {
	u := c.base.JoinPath("api", "v1")
	for _, segment := range k.path {
		u = u.JoinPath(url.PathEscape(segment))
	}
	u.RawQuery = k.query.Encode()
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), reader)
	if err != nil {
		return nil, err
	}
	for name, values := range k.header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Authorization", "Bearer "+string(c.Token))
	req.Header.Set("User-Agent", strings.TrimSuffix("aibuild/"+c.Version, "/"))
	req.Header.Set(levelHeader, strconv.Itoa(Level))
	resp, err := c.http.Do(req)
	if err == nil {
		c.heard(resp.Header)
	}
	return resp, err
}

// away is the error of a server that cannot be reached. The caller's own end
// is told as such.
func (c *Client) away(ctx context.Context, k call, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", k.op, context.Cause(ctx))
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err // it says the address again
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return &NotAServer{c.server(), 0, "its certificate is not trusted: " + bad.Err.Error()}
	}
	return &lineage.Unavailable{Op: k.op, Err: fmt.Errorf("server %s: %w", c.server(), err)}
}

func mediaType(resp *http.Response) string {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return resp.Header.Get("Content-Type")
	}
	return kind
}

// refusal turns an answer that is no success into the error that the store
// would have given.
func (c *Client) refusal(k call, resp *http.Response, b []byte) error {
	var p Problem
	if mediaType(resp) == problemType && json.Unmarshal(b, &p) == nil && p.Code != "" {
		if err := c.tooOld(&p); err != nil {
			return err
		}
		return p.err(k, c.server())
	}
	switch s := resp.StatusCode; {
	case s >= 500, s == http.StatusTooManyRequests, s == http.StatusRequestTimeout:
		return &lineage.Unavailable{Op: k.op, Err: fmt.Errorf("server %s answers HTTP %d", c.server(), s)}
	case s < 400:
		where := resp.Header.Get("Location")
		if u, err := url.Parse(where); err == nil {
			where = u.Redacted()
		}
		return &NotAServer{c.server(), s, "it redirects to " + strconv.Quote(where) + ", where the token does not go"}
	}
	return &NotAServer{c.server(), resp.StatusCode, "it sends " + strconv.Quote(strings.ToValidUTF8(mediaType(resp), "?"))}
}
