package glance

import "errors"

var (
	// ErrRefused is in every error that a rule caused: repeating will not help.
	ErrRefused = errors.New("refused")
	// ErrDigest: bytes differ from the record (also ErrRefused, see DigestError).
	ErrDigest = errors.New("digest mismatch")
	// ErrBackwards: a newer image of the name is visible (also ErrRefused).
	ErrBackwards = errors.New("a newer image is visible")
	// ErrRevoked: the image was revoked (also ErrRefused).
	ErrRevoked = errors.New("the image is revoked")
	// ErrUnknownCluster: clouds.yaml has no such entry, or is not usable.
	ErrUnknownCluster = errors.New("no such cluster")
	// ErrNotFound: the cluster has no image of that uuid.
	ErrNotFound = errors.New("image not found")
	// ErrInput: the image description or another argument is not usable.
	ErrInput = errors.New("invalid input")
)

// ClusterError is what went wrong in one cluster.
type ClusterError struct {
	Cluster   string
	Op        string // login, endpoint, list, create, upload, verify, show, hide, delete, ...
	Retryable bool   // the same call may succeed later
	Hint      string // what to do next
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

// DigestError says which bytes are not those of the record.
type DigestError struct {
	What string // "sha256 of the bytes sent", "os_hash_value", "checksum", "size"
	Want string
	Got  string
}

// Error names the digest and both values.
func (e *DigestError) Error() string {
	return e.What + " is " + e.Got + ", recorded is " + e.Want
}

// Is makes a DigestError both ErrDigest and ErrRefused.
func (e *DigestError) Is(target error) bool { return target == ErrDigest || target == ErrRefused }
