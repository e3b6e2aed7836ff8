package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	// tailLines and tailBytes bound what Tail can give.
	tailLines = 1000
	tailBytes = 256 << 10
	// manyFaults is more than there are kinds, ours and the caller's.
	manyFaults = 64
	// promptDelay is how long an unfinished line may still grow before it is
	// taken for a prompt: a fault should come with its whole line.
	promptDelay = 300 * time.Millisecond
	// silence makes an unsure sign sure.
	silence = 3 * time.Second
	// followEvery is how often a growing file is looked at.
	followEvery = 100 * time.Millisecond
)

// Fault is a sign of death.
type Fault struct {
	Kind string        `json:"kind"`
	Line string        `json:"line"` // what was seen: a console line, or a sentence of ours
	At   time.Duration `json:"at"`   // since the start of the guest or console, or since Reset
}

// String gives kind and line.
func (f Fault) String() string { return f.Kind + ": " + f.Line }

// Console reads serial text as it comes and finds signs of death in it. Its
// memory is bounded (about 300 KiB) whatever a guest prints. Make one with
// NewConsole; feed it by Write or Follow, or let Tool.Start do it.
type Console struct {
	signs  []Sign
	faults chan Fault

	mu       sync.Mutex
	start    time.Time
	lines    lines
	tail     []string
	tailSize int
	seen     map[string]bool
	warnings []Fault
	timers   map[*time.Timer]bool // faults that wait to be reported
	unsure   *time.Timer          // the one of them that may be taken back
	prompt   *time.Timer          // the one that the unfinished line made
	written  int64
}

// NewConsole returns a console that knows the signs of every guest, and extra,
// which are tried first.
func NewConsole(extra ...Sign) *Console {
	c := &Console{
		signs: prepare(append(append([]Sign{}, extra...), guestSigns()...)), faults: make(chan Fault, manyFaults),
		start: time.Now(), seen: map[string]bool{}, timers: map[*time.Timer]bool{},
	}
	c.lines = lines{full: c.fullLine, partial: c.partialLine}
	return c
}

// Write takes serial text. It never fails and never blocks for long.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += int64(len(p))
	c.lines.Write(p)
	return len(p), nil
}

// Faults delivers each kind of fault once, at its first sign, at most 64 kinds.
// The channel is never closed.
func (c *Console) Faults() <-chan Fault { return c.faults }

// Warnings are the first sign of each kind that need not be a guest's end: soft
// lockups (on a loaded host often untrue), oopses, processes killed for want of
// memory.
func (c *Console) Warnings() []Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Fault(nil), c.warnings...)
}

// Tail returns the last n lines, the unfinished one included, without escape
// sequences. At most 1000 lines and 256 KiB are there to be had.
func (c *Console) Tail(n int) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := append([]string(nil), c.tail...)
	if last := clean(c.lines.line[c.lines.carried:]); last != "" {
		all = append(all, last)
	}
	return all[max(0, len(all)-max(0, n)):]
}

// Written is how many bytes came so far: a guest that prints is alive.
func (c *Console) Written() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written
}

// Reset forgets faults and warnings, those not yet received too, and counts time
// from now on. The tail stays.
func (c *Console) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines.flush()
	c.unsure, c.prompt = nil, nil
	for t := range c.timers {
		c.stop(t)
	}
	c.seen, c.warnings, c.start = map[string]bool{}, nil, time.Now()
	for {
		select {
		case <-c.faults:
		default:
			return
		}
	}
}

// Follow writes the file at path into the console as it grows, until ctx ends.
// The file need not be there yet; one that shrank is read from its start. Ending
// by ctx is no error; what was written before that has been read.
func (c *Console) Follow(ctx context.Context, path string) error {
	var offset int64
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		ended := ctx.Err() != nil
		var err error
		if offset, err = c.readFrom(path, offset); err != nil {
			return fmt.Errorf("watch the console: %w", err)
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func (c *Console) readFrom(path string, offset int64) (int64, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return offset, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return offset, err
	}
	if info.Size() < offset {
		offset = 0
	}
	n, err := io.Copy(c, io.NewSectionReader(f, offset, info.Size()-offset))
	return offset + n, err
}

func (c *Console) fullLine(line []byte, carried int) {
	c.stop(c.prompt)
	if s := c.match(line); s != nil {
		c.found(s, clean(line))
	}
	c.keep(clean(line[carried:]))
}

func (c *Console) partialLine(line []byte, _ int) {
	c.stop(c.prompt)
	// Only prompts stay unfinished: anything else is worth its whole line.
	if s := c.match(line); s != nil && !s.unsure && !s.Warning {
		c.prompt = c.later(promptDelay, Fault{Kind: s.Kind, Line: clean(line), At: time.Since(c.start)})
	}
}

// keep adds a line to the tail.
func (c *Console) keep(line string) {
	if line == "" {
		return
	}
	c.tail, c.tailSize = append(c.tail, line), c.tailSize+len(line)
	drop := 0
	for len(c.tail)-drop > tailLines || c.tailSize > tailBytes {
		c.tailSize -= len(c.tail[drop])
		drop++
	}
	if drop > 0 {
		c.tail = append(c.tail[:0], c.tail[drop:]...)
	}
}

// match returns the first sign of a new kind that line shows, or nil.
func (c *Console) match(line []byte) *Sign {
	if c.unsure != nil && slices.ContainsFunc(bootGoesOn, func(text []byte) bool { return bytes.Contains(line, text) }) {
		c.stop(c.unsure)
		c.unsure = nil
	}
	for i := range c.signs {
		if s := &c.signs[i]; !c.seen[s.Kind] && s.shows(line) {
			return s
		}
	}
	return nil
}

func (c *Console) found(s *Sign, line string) {
	f := Fault{Kind: s.Kind, Line: line, At: time.Since(c.start)}
	switch {
	case s.Warning:
		c.seen[s.Kind] = true
		c.warnings = append(c.warnings, f)
	case s.unsure:
		c.stop(c.unsure)
		c.unsure = c.later(silence, f)
	default:
		c.send(f)
	}
}

// later reports f after d, unless stop or Reset comes first. Like stop it must
// be called with the lock held.
func (c *Console) later(d time.Duration, f Fault) *time.Timer {
	var t *time.Timer
	t = time.AfterFunc(d, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.timers[t] {
			delete(c.timers, t)
			c.send(f)
		}
	})
	c.timers[t] = true
	return t
}

func (c *Console) stop(t *time.Timer) {
	if t != nil {
		t.Stop()
		delete(c.timers, t)
	}
}

// report takes a fault from elsewhere than the console's text; with a delay the
// text has its chance to say the same better.
func (c *Console) report(kind, line string, delay time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := Fault{Kind: kind, Line: line, At: time.Since(c.start)}
	if delay > 0 {
		c.later(delay, f)
		return
	}
	c.send(f)
}

// send must be called with the lock held. A full channel holds 64 kinds of bad
// news already; one more would change nothing.
func (c *Console) send(f Fault) {
	if c.seen[f.Kind] {
		return
	}
	c.seen[f.Kind] = true
	select {
	case c.faults <- f:
	default:
	}
}
