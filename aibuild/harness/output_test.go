package harness

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPrintable(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "a b\tc\nd\n", "a b\tc\nd\n"},
		{"colours", "\x1b[1;31mred\x1b[0m", "red"},
		{"title, ended by bell", "\x1b]0;t\x07x", "x"},
		{"title, ended by escape", "\x1b]0;t\x1b\\x", "x"},
		{"unfinished sequences", "a\x1b[12", "a"},
		{"progress", "10%\r20%\r\n", "10%\n20%\n"},
		{"binary", "\x00\xff\x7f", `\x00\xff\x7f`},
		{"no-break and direction marks", "a\u202eb", `a\u202eb`},
		{"unicode", "Größe 大", "Größe 大"},
		{"lone escape", "\x1b", `\x1b`},
	}
	for _, tt := range tests {
		if got := printable([]byte(tt.in)); got != tt.want {
			t.Errorf("%s: printable(%q) = %q, want %q", tt.name, tt.in, got, tt.want)
		}
	}
}

// TestCapture: whatever the sizes of the writes, the beginning and the end stay.
func TestCapture(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var c capture
		var all []byte
		for range rapid.IntRange(0, 12).Draw(t, "writes") {
			n := rapid.IntRange(0, keepHead/2).Draw(t, "size")
			p := bytes.Repeat([]byte{byte(len(all)), byte(n), byte(n >> 8)}, n/3+1)
			all = append(all, p...)
			if written, err := c.Write(p); written != len(p) || err != nil {
				t.Fatalf("Write = %d, %v", written, err)
			}
		}
		got := c.Bytes()
		if len(all) <= keepHead {
			if !bytes.Equal(got, all) {
				t.Fatal("a short output changed")
			}
			return
		}
		end := all[max(keepHead, len(all)-keepTail):]
		if !bytes.HasPrefix(got, all[:keepHead]) || !bytes.HasSuffix(got, end) || !bytes.Contains(got, []byte("output cut here")) {
			t.Fatalf("of %d bytes head, mark or tail are missing", len(all))
		}
		if most := keepHead + keepTail + 200; len(got) > most {
			t.Fatalf("%d bytes are kept, want at most %d", len(got), most)
		}
	})
}

func TestStatusLine(t *testing.T) {
	tests := []struct {
		name, text string
		code       int
	}{
		{"plain", "rc 0\n", 0},
		{"after a remark", "clock not set\nrc 77\n", 77},
		{"not yet whole", "rc 1", -1},
		{"something else", "no sudo\n", -1},
	}
	for _, tt := range tests {
		ended := 0
		s := &statusLine{ended: func() { ended++ }}
		for _, b := range []byte(tt.text + strings.Repeat("x", 10000)) {
			if _, err := s.Write([]byte{b}); err != nil {
				t.Fatal(err)
			}
		}
		code, said := s.result()
		if code != tt.code || (ended == 1) != (tt.code >= 0) || len(said) > 5000 {
			t.Errorf("%s: status %d, ended %d times, %d bytes kept; want %d", tt.name, code, ended, len(said), tt.code)
		}
	}
}
