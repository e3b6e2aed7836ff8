package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Evidence is where the evidence of images lies: in the folder of each on the web
// root, below evidence/. An error that is fs.ErrNotExist says that there is none.
type Evidence interface {
	// Files lists the evidence of an image by the paths in its folder, sorted.
	Files(ctx context.Context, img lineage.Image) ([]string, error)
	// Open opens one of these files; it need not be checked for what it is.
	Open(ctx context.Context, img lineage.Image, file string) (io.ReadCloser, error)
}

// evidenceTop is the folder below which all evidence lies.
const evidenceTop = "evidence/"

// evidenceTimeout is how long one file may take to be read.
const evidenceTimeout = 10 * time.Minute

// Cells is how an image's latest tests went, and the evidence of them.
type Cells struct {
	ImageUUID string   `json:"image_uuid"`
	Cells     []Cell   `json:"cells" nullable:"false" doc:"in the order of their names"`
	Files     []string `json:"files" nullable:"false" doc:"evidence that belongs to no cell of the latest test: of the build, of the test as a whole, of tests before"`
	// Trouble says why files are not listed, though there may be some.
	Trouble string `json:"trouble,omitempty" doc:"why no files are listed"`
}

// Cell is one cell of the latest tests.
type Cell struct {
	Cell  string             `json:"cell"`
	Cases []lineage.TestCase `json:"cases" nullable:"false"`
	Files []string           `json:"files" nullable:"false" doc:"evidence that is there; ask for each by its path"`
}

type cellsOutput struct{ Body Cells }

type evidenceInput struct {
	Ref  string `path:"ref" maxLength:"2048" doc:"NAME (newest), NAME@N, uuid or unique prefix, Glance id or sha256"`
	File string `path:"file" maxLength:"512" doc:"as cells and cases name it, such as evidence/test-1/bios-virtio-nocloud/serial.log; its slashes may be sent as they are, or as %2F"`
}

func (s *Server) registerEvidence() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}/cells", id: "cells", need: mayRead, problems: []int{409},
		summary: "the cells and cases of an image's latest tests, and the files of their evidence",
		text:    "The files are those that are on the web root now; where that is away, `trouble` says so, and the rest is told all the same.",
	}, s.cells)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}/evidence/{file...}", id: "evidence", need: mayRead, problems: []int{409, 502},
		summary: "one file of an image's evidence",
		text:    "Logs and other texts come as text/plain, screenshots as image/png, anything else as application/octet-stream to be saved.",
		content: []string{textType, pngType, "application/octet-stream"},
	}, s.evidence)
}

func (s *Server) cells(ctx context.Context, in *imageInput) (*cellsOutput, error) {
	images, err := s.visible(ctx, lineage.Query{Ref: in.Ref})
	if err != nil {
		return nil, err
	}
	img := images[0]
	out := Cells{ImageUUID: img.UUID, Cells: []Cell{}, Files: []string{}}
	var files []string
	if s.config.Evidence == nil {
		out.Trouble = noWebRoot
	} else if files, err = s.config.Evidence.Files(ctx, img); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.log.Warn("the evidence of an image cannot be listed", "request", requestID(ctx), "image", img.UUID, "error", err)
		out.Trouble = webRootAway
	}
	for _, t := range img.Tests {
		n := slices.IndexFunc(out.Cells, func(c Cell) bool { return c.Cell == t.Cell })
		if n < 0 {
			n = len(out.Cells)
			out.Cells = append(out.Cells, Cell{Cell: t.Cell, Files: []string{}})
		}
		out.Cells[n].Cases = append(out.Cells[n].Cases, t)
	}
	for _, file := range files {
		into := &out.Files
		for n := range out.Cells {
			if slices.ContainsFunc(out.Cells[n].Cases, func(t lineage.TestCase) bool { return isBeside(file, t.Evidence) }) {
				into = &out.Cells[n].Files
			}
		}
		*into = append(*into, file)
	}
	return &cellsOutput{Body: out}, nil
}

const (
	noWebRoot   = "this server knows no web root; set web.root in its configuration, or AIBUILD_WEB_ROOT"
	webRootAway = "the web root cannot be read now; the server's log says why"
)

// isBeside says whether a file is in the folder of a case's evidence, or below.
func isBeside(file, evidence string) bool {
	dir := path.Dir(evidence)
	return strings.HasPrefix(evidence, evidenceTop) && dir+"/" != evidenceTop && strings.HasPrefix(file, dir+"/")
}

// checkEvidence accepts plain paths below evidence/ only.
func checkEvidence(file string) error {
	bad := !strings.HasPrefix(file, evidenceTop) || path.Clean(file) != file || strings.ContainsRune(file, '\\') || strings.IndexFunc(file, unicode.IsControl) >= 0
	for step := range strings.SplitSeq(file, "/") {
		bad = bad || strings.HasPrefix(step, ".")
	}
	if bad {
		return &lineage.Invalid{Field: "file", Problem: "is not the path of a file below " + evidenceTop + "; ask for the image's cells, which names them"}
	}
	return nil
}

func (s *Server) evidence(ctx context.Context, in *evidenceInput) (*huma.StreamResponse, error) {
	file, err := s.visibleEvidence(ctx, in.Ref, in.File)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		s.sendEvidence(w, r, in.File, file)
	}}, nil
}

// sendEvidence sends a file, and closes it.
func (s *Server) sendEvidence(w http.ResponseWriter, r *http.Request, name string, file io.ReadCloser) {
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(evidenceTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.log.Debug("evidence: no deadline", "request", requestID(r.Context()), "error", err)
	}
	evidenceHeaders(w.Header(), name)
	var err error
	if r.Method != http.MethodHead {
		_, err = io.Copy(w, file)
	}
	if err = errors.Join(err, file.Close()); err != nil {
		s.log.Warn("evidence was cut", "path", r.URL.Path, "request", requestID(r.Context()), "error", err)
		panic(http.ErrAbortHandler) // the reader must see that it is not all
	}
}

// visibleEvidence opens a file of an image that the token may see.
func (s *Server) visibleEvidence(ctx context.Context, ref, file string) (io.ReadCloser, error) {
	if err := checkEvidence(file); err != nil {
		return nil, err
	}
	images, err := s.visible(ctx, lineage.Query{Ref: ref})
	if err != nil {
		return nil, err
	}
	return s.openEvidence(ctx, images[0], file)
}

func (s *Server) openEvidence(ctx context.Context, img lineage.Image, file string) (io.ReadCloser, error) {
	if s.config.Evidence == nil {
		return nil, &Problem{Code: CodeNotFound, Detail: file + " of " + img.Ref() + ": " + noWebRoot}
	}
	f, err := s.config.Evidence.Open(ctx, img, file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(img.Pruned) > 0:
		return nil, &Problem{Code: CodeNotFound, Detail: fmt.Sprintf("%s of %s went with the image's bytes when they were pruned; the record says how its tests ended", file, img.Ref())}
	case errors.Is(err, fs.ErrNotExist):
		return nil, &Problem{Code: CodeNotFound, Detail: fmt.Sprintf(
			"%s is not on the web root, in images/build/%s/%s; the image's cells name what is there; what is lost comes back with a backup of the web root, or with the tests when they run again", file, img.Name, img.UUID)}
	case err != nil:
		s.log.Warn("evidence cannot be read", "request", requestID(ctx), "image", img.UUID, "file", file, "error", err)
		return nil, &Problem{Code: CodeCluster, Detail: file + " of " + img.Ref() + ": " + webRootAway}
	}
	return f, nil
}

const (
	textType = "text/plain; charset=utf-8"
	pngType  = "image/png"
)

// evidenceHeaders says what a file is. It comes from a build, which must not
// decide what a browser makes of it: what is no text and no picture is saved.
func evidenceHeaders(h http.Header, file string) {
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
	switch path.Ext(file) {
	case ".log", ".txt", ".json", ".xml", ".stderr", ".stdout", ".yaml", ".md", ".tap", ".sh", "":
		h.Set("Content-Type", textType)
	case ".png":
		h.Set("Content-Type", pngType)
	default:
		h.Set("Content-Type", "application/octet-stream")
		h.Set("Content-Disposition", "attachment")
	}
}
