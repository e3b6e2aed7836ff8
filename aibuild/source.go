package aibuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// source is what an image is built from.
type source struct {
	URL     string // for Packer: https URL or local path
	SHA256  string
	FromISO string // for build_log: URL without credentials and query, or NAME@N
	Parent  *Image
}

// source finds what c is built from, and checks it as far as it is here: what
// Packer has to download it checks itself against the same digest.
func (p *Pipeline) source(ctx context.Context, c *checkout, work string) (source, error) {
	if c.From.Image != "" {
		return p.parent(ctx, c, work)
	}
	address := c.From.ISO + c.From.Disk // one of them is empty
	sum, err := c.SourceSHA256(c.root)
	if err != nil {
		return source{}, err
	}
	if strings.Contains(address, "://") {
		return source{URL: address, SHA256: sum, FromISO: publicURL(address)}, nil
	}
	path := filepath.Join(c.dir, filepath.FromSlash(address))
	got, err := fileSHA256(ctx, path)
	if errors.Is(err, os.ErrNotExist) {
		return source{}, p.sourceProblem(c, address+" is not there", "make it first (source.sh beside the definition, where there is one) or name an https URL")
	}
	if err != nil {
		return source{}, err
	}
	if got != sum {
		return source{}, p.sourceProblem(c, fmt.Sprintf("%s has sha256 %s, the checksum demands %s", address, got, sum), "fetch or make the source again, or correct the checksum if you trust the file")
	}
	return source{URL: path, SHA256: sum, FromISO: address}, nil
}

func (p *Pipeline) sourceProblem(c *checkout, message, fix string) error {
	return definition.Errors{{Path: filepath.Join(c.dir, "aibuild.yaml"), Message: "from: " + message, Fix: fix}}
}

// parent is the newest good image of the name, or the one that is asked for.
func (p *Pipeline) parent(ctx context.Context, c *checkout, work string) (source, error) {
	img, err := p.findParent(ctx, c.From.Image)
	if err != nil {
		return source{}, fmt.Errorf("parent of %s: %w", c.Name, err)
	}
	sum := img.Artifact().SHA256
	path, err := p.Site.Fetch(ctx, img.at(publish.Build, img.File), sum, filepath.Join(work, "parent-"+img.File))
	if err != nil {
		return source{}, fmt.Errorf("parent of %s: %w", c.Name, err)
	}
	return source{URL: path, SHA256: sum, FromISO: img.Ref(), Parent: img}, nil
}

func (p *Pipeline) findParent(ctx context.Context, ref string) (*Image, error) {
	if p.Recorder != nil && !strings.Contains(ref, "@") {
		found, err := p.Recorder.Resolve(ctx, lineage.Query{Name: ref, Good: true})
		var down *lineage.Unavailable
		switch {
		case err == nil && len(found) > 0:
			return p.loadRecorded(ctx, found[0])
		case err == nil, errors.Is(err, lineage.ErrNotFound):
			return nil, &Refused{Image: ref, Rule: "an image is built on a parent that passed its tests and was not revoked", Found: "there is none of that name", Next: "aibuild image list"}
		case !errors.As(err, &down):
			return nil, err
		}
	}
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if t := img.Tested(); t == nil || t.Verdict != harness.Passed || img.Revoked() {
		return nil, &Refused{Image: img.Ref(), Rule: "an image is built on a parent that passed its tests and was not revoked", Found: "this one " + img.standing(), Next: "aibuild image history " + img.Name}
	}
	return img, nil
}

// standing is what an image's tests and marks say, to follow "it".
func (i *Image) standing() string {
	t := i.Tested()
	switch {
	case i.Revoked():
		return "was revoked"
	case t == nil:
		return "was not tested"
	default:
		return "has the verdict " + t.Verdict + " (" + t.TestCase + ")"
	}
}

// publicURL drops what may be secret: credentials, query and fragment.
func publicURL(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func fileSHA256(ctx context.Context, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, readerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Read(b)
	}), make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
