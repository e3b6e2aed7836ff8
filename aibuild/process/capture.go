package process

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"
)

// mask stands for every secret.
const mask = "***"

// shortestSecret: replacing anything shorter would blot out ordinary text.
const shortestSecret = 4

// Redact returns b with every secret replaced by ***. Secrets shorter than four
// bytes are left alone; of a secret of several lines (a private key) each line
// of at least eight bytes counts too. b itself is not changed.
func Redact(b []byte, secrets []string) []byte {
	for _, s := range secretStrings(secrets) {
		b = bytes.ReplaceAll(b, []byte(s), []byte(mask))
	}
	return b
}

func secretStrings(secrets []string) []string {
	var out []string
	for _, s := range secrets {
		if len(s) >= shortestSecret {
			out = append(out, s)
		}
		if strings.Contains(s, "\n") {
			for line := range strings.SplitSeq(s, "\n") {
				if line = strings.TrimSpace(line); len(line) >= 8 {
					out = append(out, line)
				}
			}
		}
	}
	return out
}

// capture redacts a stream, keeps its end and passes it on.
type capture struct {
	mu      sync.Mutex
	secrets []string
	held    []byte // may be the beginning of a secret
	tail    []byte
	max     int
	sink    io.Writer
}

func newCapture(c Cmd, sink io.Writer) *capture {
	limit := c.MaxCapture
	if limit <= 0 {
		limit = defaultCapture
	}
	return &capture{secrets: secretStrings(c.Secrets), max: limit, sink: sink}
}

// Write never fails: a broken sink must not break the program.
func (c *capture) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(b)
	if len(c.secrets) == 0 {
		c.emit(b)
		return n, nil
	}
	data := slices.Concat(c.held, b)
	for _, s := range c.secrets {
		data = bytes.ReplaceAll(data, []byte(s), []byte(mask))
	}
	keep := c.open(data)
	c.emit(data[:len(data)-keep])
	c.held = append([]byte(nil), data[len(data)-keep:]...)
	return n, nil
}

// open is how many bytes at data's end could begin a secret.
func (c *capture) open(data []byte) int {
	longest := 0
	for _, s := range c.secrets {
		for n := min(len(s)-1, len(data)); n > longest; n-- {
			if string(data[len(data)-n:]) == s[:n] {
				longest = n
			}
		}
	}
	return longest
}

func (c *capture) emit(b []byte) {
	if len(b) == 0 {
		return
	}
	if c.sink != nil {
		if _, err := c.sink.Write(b); err != nil {
			c.sink = nil
		}
	}
	if len(b) >= c.max {
		c.tail = append(c.tail[:0], b[len(b)-c.max:]...)
		return
	}
	// Trim at twice the limit, so that moving the tail is rare.
	c.tail = append(c.tail, b...)
	if len(c.tail) > 2*c.max {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-c.max:]...)
	}
}

func (c *capture) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(c.held)
	c.held = nil
}

func (c *capture) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tail[max(0, len(c.tail)-c.max):]
}
