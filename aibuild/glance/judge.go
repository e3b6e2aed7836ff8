package glance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"syscall"

	"github.com/gophercloud/gophercloud/v2"
)

// maxText keeps an error page from filling a log.
const maxText = 300

// verdict is what an error means for whoever reads it.
type verdict struct {
	err       error // without secrets
	retryable bool
	hint      string
}

// judge turns an error of gophercloud, the network or this package into one
// that can be acted on. The original is dropped where it could hold a secret
// (headers and bodies of answers).
func judge(op string, err error, redact func(string) string) verdict {
	var status gophercloud.ErrUnexpectedResponseCode
	var missingService gophercloud.ErrServiceNotFound
	var missingEndpoint *gophercloud.ErrEndpointNotFound
	var malformed *json.SyntaxError
	switch {
	case errors.As(err, &status):
		return judgeStatus(op, &StatusError{Code: status.Actual, Text: redact(plainText(status.Body))})
	case errors.Is(err, ErrStalled):
		return verdict{err, true, "look at Glance's log and at the load of its store"}
	case errors.Is(err, ErrInput), errors.Is(err, ErrRefused):
		return verdict{err: err}
	case errors.Is(err, context.Canceled):
		return verdict{err: &safeError{text: redact(err.Error()), err: err}}
	case errors.Is(err, errSource):
		return verdict{err, transient(err), "look at the image's file, or the server that it comes from"}
	case errors.As(err, &missingService), errors.As(err, &missingEndpoint):
		return verdict{err: errors.New("the catalog of Keystone has no image service"),
			hint: "check region_name and interface in clouds.yaml, or ask for the service"}
	case errors.As(err, &malformed):
		return verdict{err: errors.New("the answer is not OpenStack's"), hint: "check auth_url in clouds.yaml"}
	}
	return judgeNetwork(err, redact)
}

// judgeStatus knows what the services mean by their status codes.
func judgeStatus(op string, err *StatusError) verdict {
	switch {
	case err.Code == http.StatusUnauthorized && op == "login":
		return verdict{err, false, "the user, password or application credential in clouds.yaml is wrong or has expired"}
	case err.Code == http.StatusNotFound && op == "login":
		// Not ErrNotFound: no image is missing.
		return verdict{errors.New(err.Error()), false, "auth_url in clouds.yaml does not lead to Keystone"}
	case err.Code == http.StatusUnauthorized:
		return verdict{err, true, "Glance refused a new token; if it stays so, Glance cannot reach Keystone"}
	case err.Code == http.StatusForbidden && op == "create":
		return verdict{err, false, "the account may not do this: visibility public needs the role admin, and each image needs a project that may create images"}
	case err.Code == http.StatusForbidden:
		return verdict{err, false, "the account may not do this, or the image is protected"}
	case err.Code == http.StatusRequestEntityTooLarge:
		return verdict{err, false, "over the cloud's size or property limit or the project's quota, or the store is full: delete images or ask for more"}
	case err.Code == http.StatusConflict && op == "delete":
		return verdict{err, false, "the image is in use"}
	case err.Code == http.StatusConflict, err.Code == http.StatusGone, err.Code == http.StatusTooManyRequests,
		err.Code == http.StatusRequestTimeout:
		return verdict{err, true, ""}
	case err.Code >= http.StatusMultipleChoices && err.Code < http.StatusBadRequest:
		return verdict{err, false, "the service redirects elsewhere, where no secret is sent: use its real address in clouds.yaml and the catalog"}
	case err.Code >= http.StatusInternalServerError:
		return verdict{err, true, "the service has a problem of its own: look at its log"}
	}
	return verdict{err: err}
}

// judgeNetwork explains why no answer came.
func judgeNetwork(err error, redact func(string) string) verdict {
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	safe := &safeError{text: redact(err.Error()), err: err}
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case isTLS(err):
		return verdict{safe, false, "TLS failed: check that auth_url begins with https where it must, and give the authority's certificate as cacert in clouds.yaml"}
	case errors.As(err, &dns):
		return verdict{safe, !dns.IsNotFound, "the host name does not resolve: check auth_url in clouds.yaml, the catalog, and DNS"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return verdict{safe, true, "nothing listens there: is the service running, is the address right?"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return verdict{safe, true, "no answer in time: the service hangs, or a firewall drops the packets"}
	case inURL != nil:
		return verdict{safe, true, "the connection broke: look whether the service runs"}
	}
	// Anything else (an incomplete entry of clouds.yaml, say) was not caused by
	// the network, and its original might print values.
	return verdict{err: errors.New(redact(err.Error())), hint: "check the cluster's entry in clouds.yaml"}
}

// errSource: it was not the cluster, the image's own bytes could not be read.
var errSource = errors.New("read the image")

// transient: a source on the network may be there again in a moment.
func transient(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}

func isTLS(err error) bool {
	var record tls.RecordHeaderError
	var verification *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var alert tls.AlertError
	return errors.As(err, &record) || errors.As(err, &verification) || errors.As(err, &authority) ||
		errors.As(err, &alert) || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// safeError prints text, and is what err is for errors.Is and errors.As.
type safeError struct {
	text string
	err  error
}

func (e *safeError) Error() string { return e.text }
func (e *safeError) Unwrap() error { return e.err }

var (
	head   = regexp.MustCompile(`(?is)<head>.*?</head>`)
	markup = regexp.MustCompile(`(?s)<[^>]*>`)
)

// plainText gets the sentence out of an error answer: Keystone's is JSON,
// Glance's a page of HTML.
func plainText(body []byte) string {
	var keystone struct {
		Error struct{ Message string }
	}
	text := string(body)
	if json.Unmarshal(body, &keystone) == nil && keystone.Error.Message != "" {
		text = keystone.Error.Message
	}
	text = markup.ReplaceAllString(head.ReplaceAllString(text, " "), " ")
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// clusterError wraps err for cluster; an error that already is one stays as it is.
func clusterError(cluster, op string, err error, redact func(string) string) error {
	var already *ClusterError
	if err == nil || errors.As(err, &already) {
		return err
	}
	v := judge(op, err, redact)
	return &ClusterError{Cluster: cluster, Op: op, Retryable: v.retryable, Hint: v.hint, Err: v.err}
}

// retryable: may the same succeed later?
func retryable(err error) bool {
	var cluster *ClusterError
	return errors.As(err, &cluster) && cluster.Retryable
}

// hasStatus: did the service answer with one of these codes?
func hasStatus(err error, codes ...int) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return false
	}
	for _, code := range codes {
		if status.Code == code {
			return true
		}
	}
	return false
}

// input makes an ErrInput.
func input(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInput, fmt.Sprintf(format, args...))
}
