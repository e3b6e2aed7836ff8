package glance

import (
	"errors"
	"fmt"
	"net/http"
)

var (
	// ErrRefused is in every error that a rule caused: repeating will not help.
	ErrRefused = errors.New("refused")
	// ErrDigest: bytes differ from the record. Always a *DigestError, and ErrRefused.
	ErrDigest = errors.New("digest mismatch")
	// ErrBackwards: a newer image of the name is visible. Also ErrRefused.
	ErrBackwards = fmt.Errorf("%w: the name would go backwards", ErrRefused)
	// ErrRevoked: the image is revoked. Also ErrRefused.
	ErrRevoked = fmt.Errorf("%w: the image is revoked", ErrRefused)
	// ErrDeactivated: an administrator of the cloud locked the image. Also ErrRefused.
	ErrDeactivated = fmt.Errorf("%w: the image is deactivated", ErrRefused)
	// ErrUnknownCluster: clouds.yaml cannot be read, or has no usable entry of that name.
	ErrUnknownCluster = errors.New("no usable cluster")
	// ErrNotFound: an image went away while it was being worked on (a *StatusError of 404).
	ErrNotFound = errors.New("not found")
	// ErrInput: the image's description or another argument is not usable.
	ErrInput = errors.New("invalid input")
	// ErrStalled: an upload made no progress for StallTimeout.
	ErrStalled = errors.New("no progress")
)

// ClusterError is what went wrong in one cluster. Errors of several clusters
// come joined: errors.As gives the first, Unwrap() []error all of them.
type ClusterError struct {
	Cluster   string
	Op        string // login, endpoint, list, create, upload, verify, show, hide, repair, revoke, restore, delete or check
	Retryable bool   // the same call may succeed later
	Hint      string // what to do next; may be empty
	Err       error
}

// Error gives cluster, operation, cause and hint on one line.
func (e *ClusterError) Error() string {
	text := e.Cluster + ": " + e.Op + ": " + e.Err.Error()
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap gives the cause.
func (e *ClusterError) Unwrap() error { return e.Err }

// StatusError is an answer of Keystone or Glance that is not a success.
type StatusError struct {
	Code int    // of HTTP
	Text string // what the service said, without markup and secrets, at most 300 bytes
}

// Error gives the code and the service's own words.
func (e *StatusError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("answer %d", e.Code)
	}
	return fmt.Sprintf("answer %d: %s", e.Code, e.Text)
}

// Is makes an answer of 404 ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == ErrNotFound && e.Code == http.StatusNotFound
}

// DigestError says what of an image differs from the record.
type DigestError struct {
	What string // sha256 (or sha512) of the bytes sent, size of the source, os_hash_value, checksum, size, ...
	Want string // recorded
	Got  string
}

// Error names the digest and both values.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s is %s, but the record says %s", e.What, e.Got, e.Want)
}

// Is makes a DigestError both ErrDigest and ErrRefused.
func (e *DigestError) Is(target error) bool { return target == ErrDigest || target == ErrRefused }
