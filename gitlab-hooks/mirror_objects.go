package hooks

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	maxSmall = 1 << 20  // bytes of what is read into memory: messages, links, aibuild.yaml
	maxFound = 32 << 20 // of a single folder's list
)

// objects reads a repository's objects through one git that stays, one object after the other. It belongs to one
// goroutine, and to the context that it was opened with: an fs.FS cannot be given one.
type objects struct {
	ctx  context.Context
	repo *repository

	proc *process.Process
	in   *os.File
	out  *bufio.Reader
	pipe *io.PipeReader
	left int64 // bytes of the last object that nobody has read, and the newline behind them
	turn int   // counts the objects: whoever reads an older one is told so

	sizes  map[string]int64 // of files, by id
	trees  map[string][]entry
	listed int   // folders
	err    error // the first failure that is git's, not the content's
}

func (r *repository) objects(ctx context.Context) *objects {
	return &objects{ctx: ctx, repo: r, sizes: map[string]int64{}, trees: map[string][]entry{}}
}

func (o *objects) start() error {
	stdin, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer stdin.Close() // git has its own
	pipe, out := io.Pipe()
	cmd := o.repo.command("cat-file", "--batch")
	cmd.Stdin, cmd.Stdout = stdin, out
	cmd.Timeout = time.Hour // it waits while other objects are fetched, which has its own limit
	proc, err := cmd.Start(o.ctx)
	if err != nil {
		return errors.Join(o.repo.failed(o.ctx, "cat-file", err), in.Close())
	}
	go func() {
		<-proc.Done()
		_ = out.Close() // a pipe in memory
	}()
	o.proc, o.in, o.pipe, o.out = proc, in, pipe, bufio.NewReaderSize(pipe, 64<<10)
	return nil
}

// close ends the git. All that was asked of it has been answered, so that how it ends does not matter.
func (o *objects) close() {
	if o.proc == nil {
		return
	}
	_ = o.in.Close()
	_ = o.pipe.Close()
	_, _ = o.proc.Wait()
	o.proc = nil
}

// fail remembers the first failure: fs.FS and what reads it may hide it.
func (o *objects) fail(err error) error {
	if o.err == nil {
		o.err = err
	}
	return o.err
}

var errMissing = errors.New("object is missing")

// ask starts to read an object, which the next call ends.
func (o *objects) ask(id string) (kind string, content *io.LimitedReader, err error) {
	if o.err != nil {
		return "", nil, o.err
	}
	kind, size, err := o.request(id)
	if errors.Is(err, errMissing) && o.repo.bring != nil {
		if err := o.repo.bring(o.ctx, []string{id}); err != nil {
			return "", nil, o.fail(err)
		}
		kind, size, err = o.request(id)
	}
	if errors.Is(err, errMissing) {
		err = o.repo.broken("cat-file", fmt.Errorf("%s: %w", id, err))
	}
	if err != nil {
		return "", nil, o.fail(err)
	}
	o.left, o.turn = size+1, o.turn+1
	return kind, &io.LimitedReader{R: turnReader{o, o.turn}, N: size}, nil
}

func (o *objects) request(id string) (kind string, size int64, err error) {
	if o.proc == nil {
		if err := o.start(); err != nil {
			return "", 0, err
		}
	}
	if _, err := io.CopyN(io.Discard, o.out, o.left); err != nil {
		return "", 0, o.ended(err)
	}
	o.left = 0
	if _, err := io.WriteString(o.in, id+"\n"); err != nil {
		return "", 0, o.ended(err)
	}
	line, err := o.out.ReadString('\n')
	if err != nil {
		return "", 0, o.ended(err)
	}
	return parseHeader(strings.TrimSuffix(line, "\n"))
}

// parseHeader reads "ID KIND SIZE" or "ID missing".
func parseHeader(line string) (kind string, size int64, err error) {
	fields := strings.Split(line, " ")
	if len(fields) == 2 && fields[1] == "missing" {
		return "", 0, errMissing
	}
	if len(fields) != 3 {
		return "", 0, fmt.Errorf("git cat-file said %q", clip(line))
	}
	size, err = strconv.ParseInt(fields[2], 10, 64)
	return fields[1], size, err
}

// ended is why the git does not answer any more.
func (o *objects) ended(err error) error {
	_ = o.in.Close()   // it ends now, if it has not,
	_ = o.pipe.Close() // even if it has more to say
	if _, waitErr := o.proc.Wait(); waitErr != nil {
		return o.repo.failed(o.ctx, "cat-file", waitErr)
	}
	return o.repo.broken("cat-file", err)
}

// turnReader reads the object of its turn.
type turnReader struct {
	o    *objects
	turn int
}

func (t turnReader) Read(p []byte) (int, error) {
	if t.turn != t.o.turn || t.o.left == 0 {
		return 0, errors.New("another object was read in between")
	}
	n, err := t.o.out.Read(p)
	t.o.left -= int64(n)
	if err != nil {
		err = t.o.fail(t.o.ended(err))
	}
	return n, err
}

// small reads a whole object that is meant to be small.
func (o *objects) small(id string, limit int64) (kind string, content []byte, err error) {
	kind, reader, err := o.ask(id)
	if err != nil {
		return "", nil, err
	}
	if reader.N > limit {
		return kind, nil, fmt.Errorf("%s %s has %d bytes, more than %d", kind, id, reader.N, limit)
	}
	content, err = io.ReadAll(reader)
	return kind, content, err
}

// prepare learns the sizes of files, and fetches those that are not here, all at once.
func (o *objects) prepare(ids []string) error {
	missing, err := o.measure(ids)
	if err != nil || len(missing) == 0 {
		return err
	}
	if o.repo.bring != nil {
		if err := o.repo.bring(o.ctx, missing); err != nil {
			return o.fail(err)
		}
		if missing, err = o.measure(missing); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		return o.fail(o.repo.broken("cat-file", fmt.Errorf("%s: %w", missing[0], errMissing)))
	}
	return nil
}

func (o *objects) measure(ids []string) (missing []string, err error) {
	var list bytes.Buffer
	seen := map[string]bool{}
	for _, id := range ids {
		if _, known := o.sizes[id]; !known && !seen[id] {
			seen[id] = true
			list.WriteString(id + "\n")
		}
	}
	if list.Len() == 0 {
		return nil, nil
	}
	out, err := o.repo.output(o.ctx, &list, "cat-file", "--batch-check")
	if err != nil {
		return nil, o.fail(err)
	}
	for line := range strings.Lines(string(out)) {
		id, _, _ := strings.Cut(line, " ")
		_, size, err := parseHeader(strings.TrimSuffix(line, "\n"))
		switch {
		case errors.Is(err, errMissing):
			missing = append(missing, id)
		case err != nil:
			return nil, o.fail(err)
		default:
			o.sizes[id] = size
		}
	}
	return missing, nil
}

// commit is what is looked at of a commit.
type commit struct{ id, tree, message string }

// commit reads a commit, or the commit that a tag names; ok is false for a tag of something else.
func (o *objects) commit(id string) (c commit, ok bool, err error) {
	for range 10 { // tags may name tags
		kind, reader, err := o.ask(id)
		if err != nil {
			return commit{}, false, err
		}
		// A message may have any length; its beginning has to do.
		content, err := io.ReadAll(io.LimitReader(reader, maxSmall))
		if err != nil {
			return commit{}, false, err
		}
		head, message, _ := strings.Cut(string(content), "\n\n")
		switch kind {
		case "commit":
			return commit{id, header(head, "tree"), message}, true, nil
		case "tag":
			id = header(head, "object")
		default:
			return commit{}, false, nil
		}
	}
	return commit{}, false, nil
}

func header(head, name string) string {
	for line := range strings.Lines(head) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSuffix(value, "\n")
		}
	}
	return ""
}
