package jenkins

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/bndr/gojenkins"
)

const errorHeader = "X-Aibuild-Error"

// gojenkins logs through these, which are nil before its Init and print to stdout after it: the one panics,
// the other breaks what a program prints there.
func init() {
	silent := log.New(io.Discard, "", 0)
	gojenkins.Info, gojenkins.Warning, gojenkins.Error = silent, silent, silent
}

// guard keeps gojenkins from two of its defects: it leaks the connection of an answer with the header X-Error,
// and reads bodies of any size into memory.
type guard struct {
	next http.RoundTripper
	clip *clip // nil: a body beyond maxBody is an error
}

// clip is a body's limit beyond which the rest is left unread.
type clip struct {
	left int  // bytes
	cut  bool // there was more
}

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
	if g.clip != nil {
		response.Body = &clipped{response.Body, g.clip}
	} else {
		response.Body = &limited{response.Body, maxBody}
	}
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

// clipped ends at the limit, and says so: for a log, whose first part is of use.
type clipped struct {
	io.ReadCloser
	clip *clip
}

func (c *clipped) Read(p []byte) (int, error) {
	if c.clip.left == 0 {
		var more [1]byte
		n, err := c.ReadCloser.Read(more[:])
		if n == 0 {
			return 0, err
		}
		c.clip.cut = true
		return 0, io.EOF
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.clip.left)])
	c.clip.left -= n
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
