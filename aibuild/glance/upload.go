package glance

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// upload puts the bytes into a new hidden image and compares. An image that is
// not as it should be is deleted again.
func (s *session) upload(ctx context.Context, img Image) (*images.Image, error) {
	// A random id for each attempt: Glance never gives an id free again.
	id := uuid.NewString()
	s.tell(s.target(img, id, Uploading))
	s.log.Info("uploading", "image", img.Name, "uuid", img.UUID, "glance", id, "bytes", img.Size, "as", s.describe())
	err := s.create(ctx, id, img)
	if err == nil {
		err = s.fail("upload", s.send(ctx, id, img))
	}
	var have *images.Image
	if err == nil {
		have, err = s.examine(ctx, id, img)
	}
	if err != nil {
		return nil, s.undo(ctx, id, err)
	}
	s.tell(s.target(img, id, Hidden))
	return have, nil
}

// create makes the image without bytes, hidden from its first moment.
func (s *session) create(ctx context.Context, id string, img Image) error {
	hidden := true
	visibility := images.ImageVisibility(img.visibility())
	return s.call(ctx, "create", func(ctx context.Context) error {
		return images.Create(ctx, s.image, images.CreateOpts{
			ID: id, Name: img.Name, Hidden: &hidden, Visibility: &visibility,
			DiskFormat: img.Format, ContainerFormat: "bare",
			MinDisk: img.minDisk(), MinRAM: img.minRAM(), Properties: img.properties(),
		}).Err
	})
}

// send moves the bytes. It is not gophercloud's Upload: the length is told, so
// that quotas are checked first and a cut is noticed, and Glance may answer
// before the first byte (Expect), so that a refusal costs none.
func (s *session) send(ctx context.Context, id string, img Image) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	source, err := img.open(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errSource, err)
	}
	body := newBody(source, img)
	stalled := fmt.Errorf("%w for %s", ErrStalled, s.StallTimeout)
	watchdog := time.AfterFunc(s.StallTimeout, func() { stop(stalled) })
	defer watchdog.Stop()
	var told int64
	body.moved = func(sent int64) {
		watchdog.Reset(s.StallTimeout)
		if sent-told < mib && sent < img.Size {
			return
		}
		told = sent
		s.progress(Progress{Cluster: s.cluster, ImageUUID: img.UUID, Sent: sent, Total: img.Size})
	}
	err = s.put(ctx, id, body)
	// The body's own error tells more than what HTTP makes of it, and the
	// transport may still be reading.
	if cause := body.close(); cause != nil {
		return cause
	}
	if err != nil && context.Cause(ctx) != nil {
		return context.Cause(ctx)
	}
	return err
}

// put makes the one request that carries the bytes.
func (s *session) put(ctx context.Context, id string, body *body) error {
	address := s.image.ServiceURL("images", id, "file")
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, address, body)
	if err != nil {
		return err
	}
	request.ContentLength = body.size
	request.Header.Set("Content-Type", "application/octet-stream")
	request.Header.Set("Expect", "100-continue")
	request.Header.Set("X-Auth-Token", s.image.Token())
	request.Header.Set("User-Agent", s.image.UserAgent.Join())
	response, err := s.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNoContent {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<10))
	if err != nil && len(text) == 0 {
		text = []byte(response.Status)
	}
	return gophercloud.ErrUnexpectedResponseCode{
		URL: address, Method: request.Method, Expected: []int{http.StatusNoContent}, Actual: response.StatusCode, Body: text,
	}
}

// examine compares what Glance now has with the record.
func (s *session) examine(ctx context.Context, id string, img Image) (*images.Image, error) {
	have, err := s.get(ctx, "verify", id)
	if err != nil {
		return nil, err
	}
	if have.Status != images.ImageStatusActive {
		return nil, &ClusterError{Cluster: s.cluster, Op: "verify", Retryable: true,
			Err: fmt.Errorf("image %s is %s after its upload", id, have.Status)}
	}
	if err := sameBytes(*have, img); err != nil {
		return nil, s.fail("verify", err)
	}
	return have, nil
}

// undo deletes what an attempt began, whatever became of ctx, and returns err;
// where that fails, too, err says so.
func (s *session) undo(ctx context.Context, id string, err error) error {
	s.log.Warn("the upload failed, deleting its image", "glance", id, "error", err)
	ctx, cancel := s.detached(ctx)
	defer cancel()
	failed := s.remove(ctx, id)
	if failed == nil {
		return err
	}
	s.log.Warn("the unfinished image stays behind", "glance", id, "error", failed)
	var cluster *ClusterError
	if errors.As(err, &cluster) {
		hint := fmt.Sprintf("hidden image %s could not be deleted (%v): the next release deletes it", id, failed)
		cluster.Hint = strings.TrimPrefix(cluster.Hint+"; "+hint, "; ")
	}
	return err
}

// body is an upload's bytes. It digests them on their way and keeps the last
// of them back until the digest is known to be right: bytes that are not those
// of the record never make a whole image.
type body struct {
	mu     sync.Mutex
	source io.ReadCloser
	size   int64
	sent   int64
	what   string
	want   string
	digest hash.Hash
	moved  func(sent int64)
	err    error // the reason to stop
	closed bool
}

// newBody prefers SHA-256, for which processors have instructions.
func newBody(source io.ReadCloser, img Image) *body {
	b := &body{source: source, size: img.Size, moved: func(int64) {}}
	if img.SHA256 != "" {
		b.what, b.want, b.digest = "sha256 of the bytes sent", strings.ToLower(img.SHA256), sha256.New()
	} else {
		b.what, b.want, b.digest = "sha512 of the bytes sent", strings.ToLower(img.SHA512), sha512.New()
	}
	return b
}

var errBodyClosed = errors.New("the upload is over")

// Read is called by the HTTP transport, perhaps even after the request ended.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	if b.err != nil {
		return 0, b.err
	}
	if b.sent == b.size {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.size-b.sent)]
	n, err := b.source.Read(p)
	b.digest.Write(p[:n])
	b.sent += int64(n)
	switch {
	case b.sent == b.size:
		err = b.finish()
	case errors.Is(err, io.EOF):
		err = &DigestError{What: "size of the source", Want: fmt.Sprint(b.size), Got: fmt.Sprint(b.sent)}
	case err != nil:
		err = fmt.Errorf("%w: %w", errSource, err)
	}
	if err != nil {
		b.err = err
		return 0, err
	}
	b.moved(b.sent)
	return n, nil
}

// finish decides, before the last bytes leave, whether they are the right ones.
func (b *body) finish() error {
	// Only a further byte matters here, not how the source ends.
	if extra, _ := io.ReadFull(b.source, make([]byte, 1)); extra != 0 {
		return &DigestError{What: "size of the source", Want: fmt.Sprint(b.size), Got: "more than " + fmt.Sprint(b.size)}
	}
	if got := hex.EncodeToString(b.digest.Sum(nil)); got != b.want {
		return &DigestError{What: b.what, Want: b.want, Got: got}
	}
	return nil
}

// close ends all reading and gives the reason why the bytes stopped, if it was
// the source.
func (b *body) close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	_ = b.source.Close() // it was only read, and what was read is verified
	return b.err
}
