package packer

import (
	"bytes"
	"strings"
)

// maxLine is how much of one line of the stream is kept. Real lines are short;
// a guest that prints 64 MiB without a newline must cost neither memory nor the
// build.
const maxLine = 64 << 10

// line is one line of the machine-readable stream:
// unixtime,target,kind,data… The data is valid only during the call that gets
// it.
type line struct {
	target string
	kind   string
	data   []byte // fields after the kind, still escaped; cut at maxLine
}

// arg returns the unescaped i-th field after the kind, or "".
func (l line) arg(i int) string {
	rest := l.data
	for ; i > 0; i-- {
		n := bytes.IndexByte(rest, ',')
		if n < 0 {
			return ""
		}
		rest = rest[n+1:]
	}
	if n := bytes.IndexByte(rest, ','); n >= 0 {
		rest = rest[:n]
	}
	return unescape(rest)
}

// unescape undoes what Packer does to a field.
func unescape(b []byte) string {
	if bytes.IndexByte(b, '%') < 0 && bytes.IndexByte(b, '\\') < 0 {
		return string(b)
	}
	return unescaper.Replace(string(b))
}

var unescaper = strings.NewReplacer("%!(PACKER_COMMA)", ",", `\n`, "\n", `\r`, "\r")

// escaper does to a field what Packer does. Secrets are masked in that form too.
var escaper = strings.NewReplacer(",", "%!(PACKER_COMMA)", "\r", `\r`, "\n", `\n`)

// scanner cuts the stream into lines. It is an io.Writer that never fails and
// holds at most maxLine bytes.
type scanner struct {
	each func(line)
	buf  []byte
}

func newScanner(each func(line)) *scanner { return &scanner{each: each} }

// Write takes the next piece of the stream.
func (s *scanner) Write(p []byte) (int, error) {
	n := len(p)
	for {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			s.hold(p)
			return n, nil
		}
		if len(s.buf) == 0 && end <= maxLine {
			s.parse(p[:end])
		} else {
			s.hold(p[:end])
			s.parse(s.buf)
			s.buf = s.buf[:0]
		}
		p = p[end+1:]
	}
}

// flush parses what stands after the last newline.
func (s *scanner) flush() {
	if len(s.buf) > 0 {
		s.parse(s.buf)
		s.buf = s.buf[:0]
	}
}

func (s *scanner) hold(p []byte) {
	if room := maxLine - len(s.buf); len(p) > room {
		p = p[:room]
	}
	s.buf = append(s.buf, p...)
}

// parse hands a line on. What is not of Packer's form (a plugin that prints to
// stdout by itself) is dropped here; it is in the evidence.
func (s *scanner) parse(b []byte) {
	b = bytes.TrimSuffix(b, []byte{'\r'})
	stamp := bytes.IndexByte(b, ',')
	if stamp < 0 || !digits(b[:stamp]) {
		return
	}
	rest := b[stamp+1:]
	target := bytes.IndexByte(rest, ',')
	if target < 0 {
		return
	}
	l := line{target: string(rest[:target])}
	rest = rest[target+1:]
	if kind := bytes.IndexByte(rest, ','); kind >= 0 {
		l.kind, l.data = string(rest[:kind]), rest[kind+1:]
	} else {
		l.kind = string(rest)
	}
	s.each(l)
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0
}

// clean makes text fit for people: no colours, no control characters, no
// overwritten progress bars.
func clean(s string) string {
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == 0x1b:
			i = skipEscape(s, i)
			continue
		case c == '\r':
			// CR LF is a line end; a lone CR begins the line anew.
			if b.Len() > 0 && (i+1 == len(s) || s[i+1] != '\n') {
				b.WriteByte('\n')
			}
		case c < 0x20 && c != '\n' && c != '\t', c == 0x7f:
		default:
			b.WriteByte(c)
		}
		i++
	}
	return strings.ToValidUTF8(b.String(), "?")
}

func control(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r == 0x7f || r == '�'
}

// skipEscape returns the index after the escape sequence at s[i].
func skipEscape(s string, i int) int {
	i++
	if i >= len(s) || s[i] != '[' {
		return min(i+1, len(s))
	}
	for i++; i < len(s); i++ {
		if s[i] >= 0x40 && s[i] <= 0x7e {
			return i + 1
		}
	}
	return i
}
