package packer

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
)

// Names of the files in Job.Evidence.
const (
	streamFile = "packer-stream.log" // what Packer said, machine-readable
	logFile    = "packer.log"        // PACKER_LOG
	serialFile = "serial.log"        // the guest's first serial line
	biosFile   = "firmware.log"      // the BIOS's debug port
	argvFile   = "qemu-argv.txt"     // QEMU as it was started, one argument a line
	screenFile = "screen.png"        // the guest's screen before the end
)

// Of a log its beginning and its end are kept.
const (
	keepHead = 2 << 20
	keepTail = 2 << 20
)

// masks are the forms in which a secret, or a line of it, may appear in what
// Packer writes: as it is, escaped for the stream, quoted by Go and by JSON. The
// longest come first, so that masking a part never hides the whole.
func masks(secrets []string) []string {
	var out []string
	for _, s := range secrets {
		for _, part := range append(strings.Split(s, "\n"), s) {
			if part = strings.TrimSpace(part); part == "" {
				continue
			}
			quoted := strconv.Quote(part)
			out = append(out, part, quoted[1:len(quoted)-1])
			if b, err := json.Marshal(part); err == nil {
				out = append(out, string(b[1:len(b)-1]))
			}
		}
	}
	for _, form := range slices.Clone(out) {
		out = append(out, escaper.Replace(form))
	}
	slices.SortFunc(out, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), strings.Compare(a, b))
	})
	return slices.Compact(out)
}

// cappedFile keeps the beginning and the end of what is written to it.
type cappedFile struct {
	file *os.File
	head int64
	tail []byte
	left int64 // bytes that are neither
	err  error
}

func newCappedFile(path string) (*cappedFile, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &cappedFile{file: f}, nil
}

// Write never fails: a full disk must not end the build, and close reports it.
func (c *cappedFile) Write(p []byte) (int, error) {
	n := len(p)
	if room := keepHead - c.head; room > 0 {
		part := p[:min(int64(len(p)), room)]
		if c.err == nil {
			_, c.err = c.file.Write(part)
		}
		c.head += int64(len(part))
		p = p[len(part):]
	}
	c.tail = append(c.tail, p...)
	if over := len(c.tail) - keepTail; over > keepTail/2 {
		c.left += int64(over)
		c.tail = append(c.tail[:0], c.tail[over:]...)
	}
	return n, nil
}

func (c *cappedFile) close() error {
	if c.left > 0 && c.err == nil {
		_, c.err = fmt.Fprintf(c.file, "\n[%d bytes are left out here]\n", c.left)
	}
	if c.err == nil {
		_, c.err = c.file.Write(c.tail)
	}
	return errors.Join(c.err, c.file.Close())
}

// keep copies a log into the evidence, masked and cut. A log that is not there
// is left out.
func keep(from, to string, secrets []string) (kept bool, err error) {
	text, err := ends(from)
	if errors.Is(err, os.ErrNotExist) || err == nil && len(text) == 0 {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, os.WriteFile(to, process.Redact(text, secrets), 0o600)
}

// ends reads the beginning and the end of a file, cut at lines so that no half
// secret escapes its mask.
func ends(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, os.ErrNotExist
	}
	if info.Size() <= keepHead+keepTail {
		return io.ReadAll(io.LimitReader(f, keepHead+keepTail))
	}
	head := make([]byte, keepHead)
	tail := make([]byte, keepTail)
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, err
	}
	if _, err := f.ReadAt(tail, info.Size()-keepTail); err != nil && err != io.EOF {
		return nil, err
	}
	head = head[:bytes.LastIndexByte(head, '\n')+1]
	tail = tail[bytes.IndexByte(tail, '\n')+1:]
	return bytes.Join([][]byte{head, fmt.Appendf(nil, "[%d bytes are left out here]\n", info.Size()-int64(len(head)+len(tail))), tail}, nil), nil
}

// lastLines returns the last lines of a file that hold text, without what stands
// before it, masked.
func lastLines(path, text string, n int, secrets []string) []string {
	log, err := ends(path)
	if err != nil {
		return nil
	}
	var out []string
	for one := range bytes.SplitSeq(process.Redact(log, secrets), []byte{'\n'}) {
		if at := bytes.Index(one, []byte(text)); at >= 0 {
			if s := strings.TrimSpace(clean(string(one[at+len(text):]))); s != "" {
				out = append(out, shorten(s, recentText))
			}
		}
	}
	return out[max(0, len(out)-n):]
}

// gather copies everything that explains the run into dir and returns the paths.
func (r *run) gather(screen bool) ([]string, error) {
	if r.job.Evidence == "" {
		return nil, nil
	}
	var files []string
	var errs []error
	for _, one := range []struct{ from, name string }{
		{r.logPath(), logFile}, {r.guest.serialPath(), serialFile}, {r.dirs.debugcon(), biosFile},
		{filepath.Join(r.dirs.console, "argv"), argvFile},
	} {
		to := filepath.Join(r.job.Evidence, one.name)
		kept, err := keep(one.from, to, r.secrets)
		if kept {
			files = append(files, to)
		}
		errs = append(errs, err)
	}
	if r.stream != nil {
		errs = append(errs, r.stream.close())
		files = append([]string{r.stream.file.Name()}, files...)
	}
	if screen {
		to := filepath.Join(r.job.Evidence, screenFile)
		err := copyFile(r.screenPath(), to, 0o600)
		if err == nil {
			files = append(files, to)
		}
		errs = append(errs, ignoreMissing(err))
	}
	if err := errors.Join(errs...); err != nil {
		return files, fmt.Errorf("keep the evidence: %w", err)
	}
	return files, nil
}
