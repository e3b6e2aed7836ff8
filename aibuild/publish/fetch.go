package publish

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sys/unix"
)

const (
	stall    = time.Minute // a download without a byte for this long is tried again
	attempts = 6
)

// Fetch gives the local path of a file whose SHA-256 is want. With a local root that is the file itself, digested where it
// is; else it is downloaded to dst - from Config.URL when there is one, else by SFTP - and digested in the same read. A
// download that breaks goes on where it stopped, also in a later call; dst appears by a rename when the digest is right.
// The error is ErrNotFound without the file and *Corrupt when its bytes are others.
func (s *Site) Fetch(ctx context.Context, from File, want, dst string) (string, error) {
	if err := from.check(); err != nil {
		return "", err
	}
	want = strings.ToLower(want)
	if !isDigest(want) {
		return "", &BadName{"SHA-256", want, "64 hexadecimal digits: without it nothing proves the bytes"}
	}
	if s.local != nil {
		return s.here(ctx, from, want)
	}
	if s.config.URL == "" && s.server == nil {
		return "", fmt.Errorf("fetch %s: neither a web root nor its URL is configured; set AIBUILD_WEB_URL", from.path())
	}
	if err := s.download(ctx, from, want, dst); err != nil {
		return "", fmt.Errorf("fetch %s: %w", from.path(), err)
	}
	return dst, nil
}

func (s *Site) here(ctx context.Context, from File, want string) (string, error) {
	if err := s.local.plain(path.Dir(from.path())); err != nil {
		return "", notFound("fetch", from.path(), err)
	}
	got, err := s.local.sha256(ctx, from.path())
	if err != nil {
		return "", notFound("fetch", from.path(), err)
	}
	if got != want {
		return "", &Corrupt{s.local.full(from.path()), want, got}
	}
	return s.local.full(from.path()), nil
}

// download fills dst.part and renames it. What an earlier call left there is read again first; when the digest is wrong
// then, it is thrown away and everything is fetched once more, as the earlier bytes may have been another image's.
func (s *Site) download(ctx context.Context, from File, want, dst string) error {
	d, err := openDownload(dst + ".part")
	if err != nil {
		return err
	}
	resumed := d.at > 0
	got, err := s.fill(ctx, from, d)
	if err == nil && got != want && resumed {
		if err = d.restart(); err == nil {
			got, err = s.fill(ctx, from, d)
		}
	}
	var tooFull *NoSpace
	switch {
	case full(err):
		err = &NoSpace{Where: filepath.Dir(dst), Need: max(d.total, d.at), Err: err}
		return errors.Join(err, d.file.Close(), os.Remove(dst+".part"))
	case errors.As(err, &tooFull):
		return errors.Join(err, d.file.Close(), os.Remove(dst+".part"))
	case err != nil:
		return errors.Join(err, d.keep())
	}
	if got != want {
		return errors.Join(&Corrupt{s.place(from), want, got}, d.file.Close(), os.Remove(dst+".part"))
	}
	if err := errors.Join(d.file.Truncate(d.at), d.file.Sync(), d.file.Close()); err != nil {
		return err
	}
	return os.Rename(dst+".part", dst)
}

// place is where a file comes from, for messages.
func (s *Site) place(from File) string {
	if s.config.URL != "" {
		return redact(s.URL(from))
	}
	return redact(s.config.Root) + "/" + from.path()
}

// fill fetches from where the download stands to the end, with several tries, and gives the digest of the whole.
func (s *Site) fill(ctx context.Context, from File, d *download) (string, error) {
	try := s.overHTTP
	if s.config.URL == "" {
		try = s.overSFTP
	}
	wait := backoff.NewExponentialBackOff()
	wait.InitialInterval = 200 * time.Millisecond
	for tries := 0; ; {
		before := d.at
		err := try(ctx, from, d)
		if err == nil {
			return hex.EncodeToString(d.sum.Sum(nil)), nil
		}
		if d.at > before {
			tries = 0
			wait.Reset()
		}
		var final *backoff.PermanentError
		tries++
		switch {
		case ctx.Err() != nil:
			return "", ctx.Err()
		case errors.As(err, &final):
			return "", final.Err
		case full(err) || tries >= attempts:
			return "", err
		}
		s.log.Warn("download broke off, trying again", "file", from.path(), "at", d.at, "error", err)
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(wait.NextBackOff()):
		}
	}
}

func (s *Site) overSFTP(ctx context.Context, from File, d *download) error {
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := t.plain(path.Dir(from.path())); missing(err) {
		return backoff.Permanent(ErrNotFound)
	} else if err != nil {
		return err
	}
	file, err := t.open(from.path())
	if missing(err) {
		return backoff.Permanent(ErrNotFound)
	} else if err != nil {
		return err
	}
	defer file.Close() // reading only: nothing can be lost
	if d.total, err = file.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return backoff.Permanent(err)
	}
	if _, err := file.Seek(d.at, io.SeekStart); err != nil {
		return err
	}
	_, err = io.CopyBuffer(d, struct{ io.Reader }{file}, make([]byte, chunkSize))
	return err
}

func (s *Site) overHTTP(ctx context.Context, from File, d *download) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no byte came for %s", stall)) })
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL(from), nil)
	if err != nil {
		return backoff.Permanent(err)
	}
	// What is digested is the file, not a form that a server packed for the way.
	request.Header.Set("Accept-Encoding", "identity")
	if d.at > 0 {
		request.Header.Set("Range", "bytes="+strconv.FormatInt(d.at, 10)+"-")
	}
	response, err := s.http.Do(request)
	if err != nil {
		return because(ctx, err)
	}
	defer response.Body.Close() // read to its end or given up
	if done, err := d.accept(response); done || err != nil {
		return err
	}
	if err := d.room(); err != nil {
		return backoff.Permanent(err)
	}
	body := &beating{response.Body, silence}
	n, err := io.CopyBuffer(struct{ io.Writer }{d}, body, make([]byte, chunkSize))
	if err == nil && response.ContentLength >= 0 && n < response.ContentLength {
		err = io.ErrUnexpectedEOF
	}
	return because(ctx, err)
}

// accept looks at the answer to a request from where the download stands. done: nothing is missing.
func (d *download) accept(r *http.Response) (done bool, err error) {
	switch r.StatusCode {
	case http.StatusOK:
		d.total = r.ContentLength
		if d.at > 0 {
			return false, d.restart() // the server knows no ranges
		}
		return false, nil
	case http.StatusPartialContent:
		if !strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", d.at)) {
			return false, fmt.Errorf("the server sent the range %q, not from %d", r.Header.Get("Content-Range"), d.at)
		}
		d.total = d.at + r.ContentLength
		return false, nil
	case http.StatusRequestedRangeNotSatisfiable:
		// At or behind the end: the digest says whether these bytes are all.
		return true, nil
	case http.StatusNotFound, http.StatusGone:
		return false, backoff.Permanent(ErrNotFound)
	}
	err = fmt.Errorf("the server answers %s", r.Status)
	if r.StatusCode < 500 && r.StatusCode != http.StatusTooManyRequests && r.StatusCode != http.StatusRequestTimeout {
		err = backoff.Permanent(err)
	}
	return false, err
}

// because prefers the reason why a request was given up.
func because(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// beating puts the end of patience off with every byte.
type beating struct {
	io.Reader
	silence *time.Timer
}

func (b *beating) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if n > 0 {
		b.silence.Reset(stall)
	}
	return n, err
}

// download is a file being filled, with the digest of what is there.
type download struct {
	file  *os.File
	sum   hash.Hash
	at    int64
	total int64 // not above 0 while unknown
}

// openDownload opens or makes the file, and digests what an earlier call left in it.
func openDownload(name string) (*download, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	// Two processes that fetch the same file to one place would mix it up.
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is being downloaded by another process: %w", name, err), file.Close())
	}
	d := &download{file: file, sum: sha256.New()}
	if d.at, err = io.Copy(d.sum, file); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return d, nil
}

// room asks for the space of what is still to come; an unknown length asks for the reserve only.
func (d *download) room() error {
	dir := filepath.Dir(d.file.Name())
	free, err := freeOf(dir)
	if err != nil {
		return err
	}
	if need := max(d.total-d.at, 0) + reserve; free < need {
		return &NoSpace{Where: dir, Need: need, Free: free}
	}
	return nil
}

func (d *download) restart() error {
	d.at, d.sum = 0, sha256.New()
	return d.file.Truncate(0)
}

// keep leaves what came so far for a later call: with its whole length, also where it ends in zeros.
func (d *download) keep() error {
	return errors.Join(d.file.Truncate(d.at), d.file.Close())
}

// Write digests and stores the next bytes, leaving out blocks of zeros: a sparse image stays one.
func (d *download) Write(p []byte) (int, error) {
	const block = 64 << 10
	for start := 0; start < len(p); start += block {
		part := p[start:min(start+block, len(p))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := d.file.WriteAt(part, d.at+int64(start)); err != nil {
			return 0, err
		}
	}
	d.sum.Write(p)
	d.at += int64(len(p))
	return len(p), nil
}

// newHTTP is a client that gives up on servers that do not answer, and does not leave https once it is there.
func newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
			TLSHandshakeTimeout:   15 * time.Second,
			ResponseHeaderTimeout: 30 * time.Second,
			IdleConnTimeout:       time.Minute,
			ForceAttemptHTTP2:     true,
		},
		CheckRedirect: func(next *http.Request, before []*http.Request) error {
			if len(before) >= 5 {
				return errors.New("more than 5 redirects")
			}
			if before[0].URL.Scheme == "https" && next.URL.Scheme != "https" {
				return errors.New("the server redirects from https to http")
			}
			return nil
		},
	}
}
