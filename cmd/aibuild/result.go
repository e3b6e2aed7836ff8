package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/harness"
)

// outcome is how a stage ended, for the program that has called it (--result).
// Fields are only ever added.
type outcome struct {
	Schema    int              `json:"schema"`
	RunID     string           `json:"run_id,omitempty"`
	ImageUUID string           `json:"image_uuid,omitempty"`
	Image     string           `json:"image,omitempty"` // NAME@N, or NAME
	Stage     string           `json:"stage,omitempty"`
	Status    string           `json:"status"` // success, failure, unstable, error, refused, cancelled
	ExitCode  int              `json:"exit_code"`
	Artifact  *made            `json:"artifact"`
	Timings   map[string]int64 `json:"timings_ms"`
	Error     *problem         `json:"error"`

	file, junit string // where it is to be written; empty: nowhere
	began       time.Time
	stageBegan  time.Time
	mu          sync.Mutex // of Stage and Timings: stages tell from where they are
}

// made is the file of an image.
type made struct {
	Path   string `json:"path,omitempty"` // on this machine, where the web root is
	URL    string `json:"url,omitempty"`
	Format string `json:"format"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	SHA512 string `json:"sha512,omitempty"`
}

// problem is why a stage did not go well: message is the block that the console
// shows.
type problem struct {
	Code    string `json:"code"` // infrastructure, usage, image, not_found, refused, cancelled
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// expect looks for --result and --junit before anything is known of the command:
// the files are written even where it was called wrongly.
func (w *world) expect(argv []string) {
	w.outcome.Schema, w.outcome.began, w.outcome.Timings = 1, time.Now(), map[string]int64{}
	w.outcome.file, w.outcome.junit = valueOf(argv, "result"), valueOf(argv, "junit")
}

// valueOf is the last value of a flag on a command line.
func valueOf(argv []string, name string) (value string) {
	for i, word := range argv {
		if word == "--" {
			break
		}
		if rest, ok := strings.CutPrefix(word, "--"+name+"="); ok {
			value = rest
		} else if word == "--"+name && i+1 < len(argv) {
			value = argv[i+1]
		}
	}
	return value
}

// stage notes which stage is under way, and how long the one before took.
func (o *outcome) stage(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.Stage != "" && o.Stage != name {
		o.Timings[o.Stage] += now.Sub(o.stageBegan).Milliseconds()
	}
	if o.Stage != name {
		o.Stage, o.stageBegan = name, now
	}
}

// about notes the image; root is the web root.
func (o *outcome) about(p *aibuild.Pipeline, root string, img *aibuild.Image) {
	if img == nil {
		return
	}
	o.ImageUUID, o.Image = img.UUID, img.Ref()
	a := img.Artifact()
	o.Artifact = &made{URL: a.BuildURL, Format: a.Format, Size: a.Size, SHA256: a.SHA256, SHA512: a.SHA512}
	if img.Published() && a.ReleaseURL != "" {
		o.Artifact.URL = a.ReleaseURL
	}
	if p.Site != nil && p.Site.Local() {
		o.Artifact.Path = filepath.Join(root, "images", "build", img.Name, img.UUID, img.File)
	}
}

// end writes what was asked for. block is what the console shows of a failure.
func (o *outcome) end(code int, failed *aibuild.Error, block string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ExitCode, o.Status = code, statusOf(code, o.Stage)
	if o.Stage != "" {
		o.Timings[o.Stage] += time.Since(o.stageBegan).Milliseconds()
	}
	o.Timings["total"] = time.Since(o.began).Milliseconds()
	if failed != nil {
		if o.Stage == "" {
			o.Stage = failed.Stage
		}
		o.Error = &problem{Code: nameOf(code), Message: strings.TrimSpace(block), Hint: failed.Hint}
	}
	return errors.Join(o.writeResult(), o.writeJUnit())
}

func (o *outcome) writeResult() error {
	if o.file == "" {
		return nil
	}
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(o.file, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	return nil
}

// writeJUnit writes a report of the stage alone, where the tests have not written
// theirs: so there is always one, and it says why there are no tests in it.
func (o *outcome) writeJUnit() error {
	if o.junit == "" {
		return nil
	}
	if info, err := os.Stat(o.junit); err == nil && info.Size() > 0 && !info.ModTime().Before(o.began.Truncate(time.Second)) {
		return nil // the tests have written it
	}
	var b bytes.Buffer
	message := ""
	if o.Error != nil {
		message = o.Error.Message
	}
	if err := harness.StageJUnit(&b, orWord(o.Stage, "aibuild"), time.Since(o.began), message); err != nil {
		return err
	}
	if err := os.WriteFile(o.junit, b.Bytes(), 0o644); err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	return nil
}

func orWord(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func statusOf(code int, stage string) string {
	switch {
	case code == 0:
		return "success"
	case code == aibuild.CodeImage && stage == aibuild.StageTest:
		return "unstable"
	case code == aibuild.CodeImage:
		return "failure"
	case code == aibuild.CodeRefused:
		return "refused"
	case code >= 128:
		return "cancelled"
	}
	return "error"
}

func nameOf(code int) string {
	switch code {
	case aibuild.CodeUsage:
		return "usage"
	case aibuild.CodeImage:
		return "image"
	case aibuild.CodeNotFound:
		return "not_found"
	case aibuild.CodeRefused:
		return "refused"
	case 130, 143:
		return "cancelled"
	}
	return "infrastructure"
}
