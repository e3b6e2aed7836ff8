package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// shelf keeps evidence in memory; err takes it away.
type shelf struct {
	fstest.MapFS
	err error
}

func (s shelf) Files(_ context.Context, img lineage.Image) (files []string, err error) {
	for name := range s.MapFS {
		if rest, ok := strings.CutPrefix(name, img.UUID+"/"); ok {
			files = append(files, rest)
		}
	}
	slices.Sort(files)
	return files, s.err
}

func (s shelf) Open(_ context.Context, img lineage.Image, file string) (io.ReadCloser, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.MapFS.Open(path.Join(img.UUID, file))
}

// newTested has an image whose tests left evidence.
func newTested(t *testing.T) (l *lab, s *shelf, image string) {
	s = &shelf{MapFS: fstest.MapFS{}}
	l = newLab(t, func(c *Config) { c.Evidence = s })
	image = newID()
	tested := testedRecord(image, lineage.FailedTest)
	tested.Tested.Cases = []lineage.TestCase{
		{Case: "boots", Cell: "bios-virtio-nocloud", Result: lineage.Passed, Evidence: "evidence/test-1/bios-virtio-nocloud/facts.txt"},
		{Case: "grows", Cell: "bios-virtio-nocloud", Result: lineage.FailedTest, Evidence: "evidence/test-1/bios-virtio-nocloud/01-grows.log"},
		{Case: "boots", Cell: "uefi-scsi-configdrive", Result: lineage.Passed, Evidence: "evidence/test-1/uefi-scsi-configdrive/facts.txt"},
		{Case: "old", Cell: "zz", Result: lineage.Passed},
	}
	l.stored(builtRecord(image, "tiny", project), tested)
	for name, data := range map[string]string{
		"build/packer.log": "built\n", "test-1/junit.xml": "<a/>", "test-1/bios-virtio-nocloud/facts.txt": "facts", "test-1/bios-virtio-nocloud/01-grows.log": "no\x1b[31m space\n<script>",
		"test-1/bios-virtio-nocloud/screenshot.png": "\x89PNG\r\n", "test-1/bios-virtio-nocloud/more/page.html": "<script>alert(1)</script>", "test-1/uefi-scsi-configdrive/facts.txt": "other facts",
		"test-1/big.log": strings.Repeat("0123456789abcde\n", 1<<20), "test-1/name with #?%.log": "odd",
	} {
		s.MapFS[image+"/evidence/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	return l, s, image
}

func TestCells(t *testing.T) {
	l, s, image := newTested(t)
	c := l.client(l.token(RoleViewer))
	got, err := c.Cells(t.Context(), "tiny")
	if err != nil {
		t.Fatal(err)
	}
	const bios = "evidence/test-1/bios-virtio-nocloud/"
	want := map[string][]string{
		"bios-virtio-nocloud":   {bios + "01-grows.log", bios + "facts.txt", bios + "more/page.html", bios + "screenshot.png"},
		"uefi-scsi-configdrive": {"evidence/test-1/uefi-scsi-configdrive/facts.txt"}, "zz": {},
	}
	files := map[string][]string{}
	for _, cell := range got.Cells {
		files[cell.Cell] = cell.Files
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Errorf("files of the cells (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"evidence/build/packer.log", "evidence/test-1/big.log", "evidence/test-1/junit.xml", "evidence/test-1/name with #?%.log"}, got.Files); diff != "" {
		t.Errorf("other files (-want +got):\n%s", diff)
	}
	if got.ImageUUID != image || got.Trouble != "" || len(got.Cells[0].Cases) != 2 || got.Cells[0].Cases[1].Case != "grows" {
		t.Errorf("cells = %+v", got)
	}
	s.err = errors.New("c4nary: connection refused")
	if got, err = c.Cells(t.Context(), image); err != nil || len(got.Cells) != 3 || got.Trouble != webRootAway {
		t.Errorf("with the web root away: %+v, %v", got, err)
	}
	s.err = fs.ErrNotExist
	if got, err = c.Cells(t.Context(), image); err != nil || got.Trouble != "" {
		t.Errorf("without evidence: %+v, %v", got, err)
	}
}

func TestEvidenceIsRead(t *testing.T) {
	l, s, image := newTested(t)
	token := l.token(RoleViewer)
	for file, kind := range map[string]string{
		"build/packer.log": textType, "test-1/junit.xml": textType, "test-1/bios-virtio-nocloud/screenshot.png": pngType,
		"test-1/bios-virtio-nocloud/more/page.html": "application/octet-stream", "test-1/bios-virtio-nocloud/01-grows.log": textType,
	} {
		want := s.MapFS[image+"/evidence/"+file].Data
		for _, address := range []string{"evidence/" + file, strings.ReplaceAll("evidence/"+file, "/", "%2F")} {
			got := l.send("GET", "/api/v1/images/tiny/evidence/"+address, token, nil)
			if got.status != http.StatusOK || !bytes.Equal(got.body, want) || got.header.Get("Content-Type") != kind || got.header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: HTTP %d %v %.80s", address, got.status, got.header, got.body)
			}
			if saved := got.header.Get("Content-Disposition") == "attachment"; saved != (kind == "application/octet-stream") || !strings.Contains(got.header.Get("Content-Security-Policy"), "sandbox") {
				t.Errorf("%s may do something in a browser: %v", address, got.header)
			}
		}
	}
	if got := l.send("HEAD", "/api/v1/images/tiny/evidence/evidence/test-1/big.log", token, nil); got.status != http.StatusOK || len(got.body) != 0 {
		t.Errorf("HEAD: HTTP %d, %d bytes", got.status, len(got.body))
	}
	c := l.client(token)
	for _, file := range []string{"evidence/test-1/big.log", "evidence/test-1/name with #?%.log"} {
		var b bytes.Buffer
		if err := c.Evidence(t.Context(), image, file, &b); err != nil || !bytes.Equal(b.Bytes(), s.MapFS[image+"/"+file].Data) {
			t.Errorf("%s: %d bytes, %v", file, b.Len(), err)
		}
	}
	var b bytes.Buffer
	if err := c.Evidence(t.Context(), "tiny", "evidence/none.log", &b); !errors.Is(err, lineage.ErrNotFound) || !strings.Contains(err.Error(), "images/build/tiny/"+image) || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := c.Evidence(t.Context(), "tiny", "../secret", &b); !isA[*lineage.Invalid](err) {
		t.Errorf("outside: %v", err)
	}
	s.err = errors.New("c4nary: connection refused")
	if got := l.send("GET", "/api/v1/images/tiny/evidence/evidence/build/packer.log", token, nil); got.code(t) != CodeCluster || strings.Contains(string(got.body), "c4nary") || !strings.Contains(l.log.String(), "c4nary") {
		t.Errorf("the web root is away: HTTP %d %s", got.status, got.body)
	}
	s.err = nil
	l.stored(lineage.Record{ID: newID(), At: day, Actor: "x", Channel: "cli", ImageUUID: image, Verb: lineage.VerbPruned, Marked: &lineage.Mark{Pruned: []string{"build"}}})
	if got := l.send("GET", "/api/v1/images/tiny/evidence/evidence/gone.log", token, nil); got.code(t) != CodeNotFound || !strings.Contains(string(got.body), "pruned") {
		t.Errorf("pruned: HTTP %d %s", got.status, got.body)
	}
	none := newLab(t, nil)
	none.stored(builtRecord(newID(), "tiny", project))
	if got := none.send("GET", "/api/v1/images/tiny/evidence/evidence/a.log", none.token(RoleViewer), nil); got.code(t) != CodeNotFound || !strings.Contains(string(got.body), "web.root") {
		t.Errorf("without a web root: HTTP %d %s", got.status, got.body)
	}
}

// Only what is below evidence/ is read, whatever is asked for, and only by who
// may see the image.
func TestEvidenceIsFenced(t *testing.T) {
	l, s, image := newTested(t)
	token := l.token(RoleViewer)
	theirs := newID()
	s.MapFS[image+"/tiny.qcow2"] = &fstest.MapFile{Data: []byte("not evidence")}
	l.stored(builtRecord(theirs, "elsewhere", other))
	s.MapFS[theirs+"/evidence/a.log"] = &fstest.MapFile{Data: []byte("c4nary")}
	s.MapFS["secret"] = &fstest.MapFile{Data: []byte("c4nary")}
	for _, file := range []string{
		"tiny.qcow2", "evidence", "evidence%2F", "evidence/../tiny.qcow2", "evidence/../../secret", "evidence%2F..%2Ftiny.qcow2", "..%2Fsecret", "%2e%2e%2Fsecret", "evidence%2F%2e%2e%2Ftiny.qcow2",
		"evidence%2F.part", "evidence%2F.%2Fa", "evidence%2F%2Fa", "%2Fetc%2Fpasswd", "evidence%5C..%5Ctiny.qcow2", "evidence%2Fa%00b", "evidence%2Fa%0Ab", "evidence%2F" + strings.Repeat("a", 600), "evidence%2F%FF",
	} {
		got := l.send("GET", "/api/v1/images/tiny/evidence/"+file, token, nil)
		if got.status < 400 || got.status > 499 || strings.Contains(string(got.body), "c4nary") || strings.Contains(string(got.body), "not evidence") {
			t.Errorf("%s: HTTP %d %.200s", file, got.status, got.body)
		}
	}
	mine := l.token(RoleViewer, project)
	for _, path := range []string{"/api/v1/images/elsewhere/evidence/evidence/a.log", "/api/v1/images/elsewhere/cells"} {
		if got := l.send("GET", path, mine, nil); got.code(t) != CodeNotFound || strings.Contains(string(got.body), "c4nary") {
			t.Errorf("%s of another project: HTTP %d %s", path, got.status, got.body)
		}
	}
	if got := l.send("GET", "/api/v1/images/elsewhere/evidence/evidence/a.log", token, nil); string(got.body) != "c4nary" {
		t.Errorf("of all projects: HTTP %d %s", got.status, got.body)
	}
}
