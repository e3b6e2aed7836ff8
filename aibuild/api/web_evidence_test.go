package api

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// The page of evidence shows the serial log around the line that the verdict quotes, and the screenshots; its files come
// with the session, and are never run.
func TestEvidencePage(t *testing.T) {
	l, s, _ := newTested(t)
	image := newID()
	tested := testedRecord(image, lineage.FailedTest)
	const fault = "[    3.169378] Kernel panic - not syncing: VFS: Unable to mount root fs"
	tested.Tested.Cases = []lineage.TestCase{{Case: "builtin/boots", Cell: "bios", Result: lineage.FailedTest, Message: "kernel-panic: " + fault + " (16 s after power-on)", Evidence: "evidence/test-1/bios/facts.txt"}}
	l.stored(builtRecord(image, "tiny", project), tested)
	log := strings.Repeat("a line before\n", 500) + "\x1b[31m" + fault + "\x1b[0m\r\n<script>alert(1)</script>\n" + strings.Repeat("a line after\n", 500)
	for name, data := range map[string]string{"facts.txt": "facts", "serial.log": log, "screenshot.png": "\x89PNG"} {
		s.MapFS[image+"/evidence/test-1/bios/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	b := l.browser()
	b.signIn(l.token(RoleViewer))
	page := string(b.do("GET", "/images/"+image+"/evidence", nil).body)
	for _, want := range []string{`<mark id="fault0">` + fault + `</mark>`, "around the fault", "&lt;script&gt;", `<img class="shot" src="/images/` + image + `/evidence/evidence/test-1/bios/screenshot.png"`, ">evidence/test-1/bios/facts.txt</a>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %s:\n%s", want, page)
		}
	}
	if n := strings.Count(page, "a line before"); n != serialBefore {
		t.Errorf("%d lines before the fault, want %d", n, serialBefore)
	}
	for path, want := range map[string]string{"/evidence/evidence/test-1/bios/serial.log": "text/plain; charset=utf-8", "/evidence/evidence/test-1/bios/screenshot.png": "image/png"} {
		got := b.do("GET", "/images/"+image+path, nil)
		if got.status != 200 || got.header.Get("Content-Type") != want || !strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: HTTP %d %v", path, got.status, got.header)
		}
	}
	for path, want := range map[string]int{"/evidence/evidence/none.log": 404, "/evidence/manifest.json": 422, "/evidence/evidence/..%2f..%2fsecret": 422} {
		if got := b.do("GET", "/images/"+image+path, nil); got.status != want {
			t.Errorf("%s: HTTP %d, want %d", path, got.status, want)
		}
	}
	s.err = errors.New("the server is away")
	if page := string(b.do("GET", "/images/"+image+"/evidence", nil).body); !strings.Contains(page, "the web root cannot be read now") || !strings.Contains(page, "kernel-panic") {
		t.Errorf("without the web root: %s", page)
	}
}
