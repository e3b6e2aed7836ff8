package packer

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type parsed struct {
	Target, Kind string
	Args         []string
}

func parse(chunks ...string) []parsed {
	var out []parsed
	s := newScanner(func(l line) {
		p := parsed{Target: l.target, Kind: l.kind}
		for i := range bytes.Count(l.data, []byte{','}) + 1 {
			p.Args = append(p.Args, l.arg(i))
		}
		out = append(out, p)
	})
	for _, c := range chunks {
		if _, err := s.Write([]byte(c)); err != nil {
			panic(err)
		}
	}
	s.flush()
	return out
}

func TestScanner(t *testing.T) {
	stream := "1,,ui,say,one%!(PACKER_COMMA) two\\n  three\\r\n" +
		"a plugin that prints\n\n,\n1,x\n" +
		"2,tiny,artifact,0,file,1,/a%!(PACKER_COMMA)b\r\n" +
		"3,tiny,end"
	want := []parsed{
		{"", "ui", []string{"say", "one, two\n  three\r"}},
		{"tiny", "artifact", []string{"0", "file", "1", "/a,b"}},
		{"tiny", "end", []string{""}},
	}
	if diff := cmp.Diff(want, parse(stream)); diff != "" {
		t.Fatalf("whole (-want +got):\n%s", diff)
	}
	for i := range stream {
		if diff := cmp.Diff(want, parse(stream[:i], stream[i:])); diff != "" {
			t.Fatalf("cut at %d (-want +got):\n%s", i, diff)
		}
	}
}

func TestScannerBoundsALine(t *testing.T) {
	var got []string
	s := newScanner(func(l line) { got = append(got, l.arg(1)) })
	piece := bytes.Repeat([]byte("x"), 1<<20)
	write := func(b []byte) {
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	write([]byte("1,,ui,message,"))
	for range 64 {
		write(piece)
	}
	write([]byte("\n1,,ui,say,after\n"))
	if len(got) != 2 || len(got[0]) > maxLine || got[1] != "after" {
		t.Errorf("%d lines, the first of %d bytes", len(got), len(got[0]))
	}
	if cap(s.buf) > 2*maxLine {
		t.Errorf("the scanner holds %d bytes", cap(s.buf))
	}
}

func TestClean(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"plain", "ümlaut\tand\nline", "ümlaut\tand\nline"},
		{"colours", "\x1b[1;32mok\x1b[0m done", "ok done"},
		{"progress bar", "10%\r20%\r\nend", "10%\n20%\nend"},
		{"controls", "a\x00b\x07c\x7f", "abc"},
		{"cut escape", "a\x1b[3", "a"},
		{"escape at the end", "a\x1b", "a"},
		{"not UTF-8", "a\xff\x01b", "a?b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := clean(tt.in); got != tt.want {
				t.Errorf("clean(%q) = %q; want %q", tt.in, got, tt.want)
			}
		})
	}
}

func TestSpeech(t *testing.T) {
	tests := []struct{ in, text, build string }{
		{"==> tiny: Retrieving ISO", "Retrieving ISO", "tiny"},
		{"    qemu.tiny: one\n    qemu.tiny: two\n    qemu.tiny:", "one\ntwo", "qemu.tiny"},
		{"2026-11-22T11:05:42Z: ==> tiny: Starting", "Starting", "tiny"},
		{"\n==> Builds finished. The artifacts of successful builds are:", "Builds finished. The artifacts of successful builds are:", ""},
		{"Build 'tiny' finished after 1 second.", "Build 'tiny' finished after 1 second.", ""},
		{"", "", ""},
	}
	for _, tt := range tests {
		if text, build := speech(tt.in); text != tt.text || build != tt.build {
			t.Errorf("speech(%q) = %q, %q; want %q, %q", tt.in, text, build, tt.text, tt.build)
		}
	}
}

func TestCappedFileKeepsBothEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	c, err := newCappedFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	if _, err := c.Write([]byte("BEGIN")); err != nil {
		t.Fatal(err)
	}
	for range 32 {
		if _, err := c.Write(block); err != nil {
			t.Fatal(err)
		}
		if len(c.tail) > 2*keepTail+len(block) {
			t.Fatalf("%d bytes are held", len(c.tail))
		}
	}
	if _, err := c.Write([]byte("END")); err != nil {
		t.Fatal(err)
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(b, []byte("BEGIN")) || !bytes.HasSuffix(b, []byte("END")) || !bytes.Contains(b, []byte("bytes are left out here]")) || len(b) > keepHead+2*keepTail {
		t.Errorf("%d bytes: %q … %q", len(b), b[:8], b[len(b)-8:])
	}
}

// The bound of the design is 10 µs of CPU a line.
func BenchmarkLine(b *testing.B) {
	text := []byte("1795348108,,ui,message,    tiny: Setting up libsomething:amd64 (1.2.3-4+deb12u1)%!(PACKER_COMMA) with a comma\n")
	k := newTalk(newProgress(func(Event) {}))
	defer k.progress.close()
	s := newScanner(k.line)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Write(text); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzScanner(f *testing.F) {
	files, err := filepath.Glob("testdata/*.mr")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k := newTalk(newProgress(nil))
		s := newScanner(k.line)
		if _, err := s.Write(b); err != nil {
			t.Fatal(err)
		}
		s.flush()
		for _, one := range k.said().recent {
			if strings.ContainsAny(one, "\n\r\x1b") {
				t.Errorf("an unclean line: %q", one)
			}
		}
	})
}
