package qemu

import (
	"bytes"
	"strings"
)

const (
	// longestLine: what a guest prints without a line end is cut here.
	longestLine = 4 << 10
	// overlap is repeated at the start of the next piece of a cut line, so that
	// no sign is missed at the cut.
	overlap = 256
)

// lines turns what a serial line carries (binary garbage, escape sequences,
// progress bars) into lines of text. Its memory is bounded by longestLine.
type lines struct {
	escape  escape
	line    []byte
	carried int // bytes at the start of line that an earlier piece held already
	dirty   bool

	// full gets each complete line, partial the unfinished one after a Write:
	// prompts have no line end. Both must copy what they keep.
	full, partial func(line []byte, carried int)
}

func (l *lines) Write(p []byte) {
	for _, b := range p {
		if b, ok := l.escape.next(b); ok {
			l.add(b)
		}
	}
	if l.dirty && len(l.line) > 0 {
		l.partial(l.line, l.carried)
	}
	l.dirty = false
}

func (l *lines) add(b byte) {
	if b == '\n' || b == '\r' {
		l.flush()
		return
	}
	l.line = append(l.line, b)
	l.dirty = true
	if len(l.line) < longestLine {
		return
	}
	keep := bytes.Clone(l.line[len(l.line)-overlap:])
	l.flush()
	l.line, l.carried = append(l.line, keep...), len(keep)
}

func (l *lines) flush() {
	if len(l.line) > l.carried {
		l.full(l.line, l.carried)
	}
	l.line, l.carried, l.dirty = l.line[:0], 0, false
}

// escape drops terminal escape sequences and control characters, byte by byte.
type escape struct {
	state  byte
	length int
}

const (
	plain   byte = iota
	escaped      // after ESC
	control      // in ESC [ …
	text         // in ESC ] …, until BEL or ESC \
	charset      // after ESC ( and its like: one more byte
)

// longestEscape: garbage may look like the start of a sequence that never ends.
const longestEscape = 64

// next returns the byte to print, if there is one.
func (e *escape) next(b byte) (byte, bool) {
	if e.state != plain {
		e.length++
		if b == '\n' || e.length > longestEscape {
			e.state = plain
		}
	}
	switch e.state {
	case escaped:
		e.state = afterEscape(b)
	case control:
		if b >= 0x40 && b <= 0x7e {
			e.state = plain
		}
	case text:
		if b == 0x07 {
			e.state = plain
		} else if b == 0x1b {
			e.state = charset // the \ of ESC \
		}
	case charset:
		e.state = plain
	default:
		return e.plain(b)
	}
	return 0, false
}

func (e *escape) plain(b byte) (byte, bool) {
	if b == 0x1b {
		e.state, e.length = escaped, 0
		return 0, false
	}
	printable := b >= 0x20 && b != 0x7f || b == '\n' || b == '\r' || b == '\t'
	return b, printable
}

func afterEscape(b byte) byte {
	switch b {
	case '[':
		return control
	case ']', 'P', 'X', '^', '_':
		return text
	case '(', ')', '*', '+', '#', '%', ' ':
		return charset
	}
	return plain
}

// clean makes a line fit for reports: valid UTF-8 without outer space.
func clean(line []byte) string {
	return strings.TrimSpace(strings.ToValidUTF8(string(line), "?"))
}
