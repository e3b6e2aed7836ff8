package api

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Client speaks to a [Server]. It is an aibuild.Recorder, and gives the errors
// that *lineage.Store gives. URL and Token are needed. A Client is safe for
// concurrent use and must not be copied after its first use.
type Client struct {
	URL    string // https://aibuild.example.org:9753, with the path below which the server is, if any
	Token  Secret
	CAFile string // PEM certificates that are trusted beside the system's
	RunID  string // of the run that records without one belong to (AIBUILD_RUN_ID)
	Build  Build  // the Jenkins build that we are, if we are one
	Log    hclog.Logger
	// Version is the release of the program, which the server is told.
	Version string

	once sync.Once
	base *url.URL
	http *http.Client
	err  error

	holds sync.Map // *hold -> batchLock
	met   atomic.Pointer[met]
}

// answerLimit is how large an answer may be: ten thousand images fit.
const answerLimit = 64 << 20

// callTimeout bounds one request, tries excluded.
const callTimeout = 60 * time.Second

// tries is how often a request is sent that may be repeated.
const tries = 3

// Denied says that the server does not let the token do what was asked.
type Denied struct {
	Code   string // one of the codes of problems, such as CodeForbidden
	Detail string
}

func (e *Denied) Error() string { return "the server refuses: " + e.Detail }

// NotAServer says that what answers at the address is not an aibuild server,
// or one that is much older or newer than this client.
type NotAServer struct {
	Server string // its address
	Status int    // of HTTP; 0 = it did not come to that
	Why    string
}

func (e *NotAServer) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("%s is not a server to trust: %s", e.Server, e.Why)
	}
	return fmt.Sprintf("%s does not answer as an aibuild server (HTTP %d): %s; look at AIBUILD_SERVER", e.Server, e.Status, e.Why)
}

// Plaintext says that the token goes over the network for everybody on the way
// to read.
type Plaintext struct{ Server string }

func (n *Plaintext) Error() string {
	return n.Server + " is not https: the token goes over the network unprotected; set up TLS on the server"
}

// Check says whether the client is set up well: [*lineage.Invalid] when it
// cannot be used. A [*Plaintext] is a warning; the client works.
func (c *Client) Check() error {
	if err := c.setup(); err != nil {
		return err
	}
	if c.base.Scheme != "https" && !isLoopback(c.base.Hostname()) {
		return &Plaintext{Server: c.server()}
	}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Close ends idle connections. Locks that are held stay until they are given
// back.
func (c *Client) Close() error {
	if c.setup() == nil {
		c.http.CloseIdleConnections()
	}
	return nil
}

func (c *Client) log() hclog.Logger {
	if c.Log == nil {
		return hclog.NewNullLogger()
	}
	return c.Log
}

// setup reads the settings, once.
func (c *Client) setup() error {
	c.once.Do(func() {
		if c.base, c.err = readAddress(c.URL); c.err != nil {
			return
		}
		if !tokenForm.MatchString(string(c.Token)) {
			c.err = &lineage.Invalid{Field: "token", Problem: "is not one that aibuild token create has made; set AIBUILD_TOKEN"}
			return
		}
		var roots *x509.CertPool
		if roots, c.err = readRoots(c.CAFile); c.err != nil {
			return
		}
		c.http = &http.Client{
			Transport: &http.Transport{
				Proxy:                  http.ProxyFromEnvironment,
				DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				TLSHandshakeTimeout:    10 * time.Second,
				ResponseHeaderTimeout:  callTimeout,
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConnsPerHost:    4,
				IdleConnTimeout:        30 * time.Second,
				ForceAttemptHTTP2:      true,
			},
			// A redirect would take the token elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	})
	return c.err
}

func readAddress(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &lineage.Invalid{Field: "server", Problem: "is not an address of the form https://HOST:PORT, without user and query; set AIBUILD_SERVER"}
	}
	return u, nil
}

func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // the system's
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, &lineage.Invalid{Field: "ca file", Problem: err.Error()}
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, &lineage.Invalid{Field: "ca file", Problem: file + " holds no PEM certificate"}
	}
	return roots, nil
}

// server is the address for messages.
func (c *Client) server() string { return c.base.Redacted() }
