package harness

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// What is kept of a case's output: its beginning and its end. The end is short
// because busybox's tail moves all of it for every 8 KiB that it reads.
const (
	keepHead = 256 << 10
	keepTail = 16 << 10
)

// capture keeps the beginning and the end of what is written to it, in constant
// memory, whatever comes.
type capture struct {
	mu   sync.Mutex
	head []byte
	tail []byte // a ring once it is full
	next int    // where the ring goes on
	cut  int64  // bytes that fell out of the ring
}

func (c *capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	take := min(keepHead-len(c.head), n)
	c.head = append(c.head, p[:take]...)
	p = p[take:]
	if over := len(p) - keepTail; over > 0 {
		c.cut += int64(over)
		p = p[over:]
	}
	for len(p) > 0 {
		if len(c.tail) < keepTail {
			take = min(keepTail-len(c.tail), len(p))
			c.tail = append(c.tail, p[:take]...)
		} else {
			take = copy(c.tail[c.next:], p)
			c.next = (c.next + take) % keepTail
			c.cut += int64(take)
		}
		p = p[take:]
	}
	return n, nil
}

// Bytes is what was kept. Guests cut too (see case.sh), so that a full head
// means that something may be missing even if nothing was cut here.
func (c *capture) Bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tail) == 0 {
		return bytes.Clone(c.head)
	}
	mark := fmt.Sprintf("\n[aibuild: output cut here: only the first %d KiB and the last %d KiB are kept]\n", keepHead>>10, keepTail>>10)
	out := append(bytes.Clone(c.head), mark...)
	out = append(out, c.tail[c.next:]...)
	return append(out, c.tail[:c.next]...)
}

// printable makes any bytes safe to show: terminal sequences go, a lone carriage
// return becomes a new line, and what is no text becomes \xNN.
func printable(b []byte) string {
	var out strings.Builder
	out.Grow(len(b))
	for len(b) > 0 {
		if n := escapeLen(b); n > 0 {
			b = b[n:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		switch {
		case r == '\r':
			if len(b) < 2 || b[1] != '\n' {
				out.WriteByte('\n')
			}
		case r == '\n' || r == '\t':
			out.WriteRune(r)
		case r == utf8.RuneError && n <= 1, r < 0x20, r == 0x7f:
			fmt.Fprintf(&out, `\x%02x`, b[0])
		case !unicode.IsPrint(r) && !unicode.IsSpace(r):
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
		b = b[n:]
	}
	return out.String()
}

// escapeLen is the length of the terminal sequence that b starts with, or 0.
func escapeLen(b []byte) int {
	if len(b) < 2 || b[0] != 0x1b {
		return 0
	}
	switch b[1] {
	case '[': // CSI: parameters, then one final byte
		for i := 2; i < len(b); i++ {
			if b[i] >= 0x40 && b[i] <= 0x7e {
				return i + 1
			}
			if b[i] < 0x20 || b[i] > 0x7e {
				return i
			}
		}
		return len(b)
	case ']': // OSC: ends with BEL or ESC \
		for i := 2; i < len(b); i++ {
			if b[i] == 0x07 {
				return i + 1
			}
			if b[i] == '\n' {
				return i
			}
			if b[i] == 0x1b {
				return min(i+2, len(b))
			}
		}
		return len(b)
	}
	return 2
}

// lastLine is the last line with something on it, shortened to fit a sentence.
func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	const most = 200
	if utf8.RuneCountInString(line) > most {
		line = string([]rune(line)[:most]) + "…"
	}
	return line
}
