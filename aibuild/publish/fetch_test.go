package publish_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/guestos/aibuild/aibuild/publish"
)

// cutter is a web server over the root whose answers break off after some bytes, as often as cuts says.
type cutter struct {
	files  http.Handler
	cuts   atomic.Int32
	after  int
	ranges atomic.Int32 // requests that went on where another had stopped
	status atomic.Int32 // answer with this instead
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Range") != "" {
		c.ranges.Add(1)
	}
	if status := c.status.Swap(0); status != 0 {
		w.WriteHeader(int(status))
		return
	}
	if c.cuts.Add(-1) >= 0 {
		w = &short{w, c.after}
	}
	c.files.ServeHTTP(w, r)
}

// short gives up on its connection after left bytes.
type short struct {
	http.ResponseWriter
	left int
}

func (s *short) Write(p []byte) (int, error) {
	if len(p) > s.left {
		_, _ = s.ResponseWriter.Write(p[:s.left]) // the connection is about to be cut anyway
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	s.left -= len(p)
	return s.ResponseWriter.Write(p)
}

type webRoot struct {
	*cutter
	site *publish.Site // knows the URL only
	file publish.File
	sums publish.Sums
	data []byte
	dst  string
}

func newWebRoot(t *testing.T) *webRoot {
	root, id, image := t.TempDir(), newID(t), imageFile(t, 3)
	w := &webRoot{
		cutter: &cutter{files: http.FileServer(http.Dir(root)), after: 700_000},
		file:   publish.File{Area: publish.Build, Name: name, UUID: id, File: name + ".qcow2"},
		sums:   put(t, open(t, publish.Config{Root: root}), id, image),
		dst:    filepath.Join(t.TempDir(), "got"),
	}
	server := httptest.NewServer(w.cutter)
	t.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	w.site = open(t, publish.Config{URL: server.URL, HTTP: client})
	var err error
	if w.data, err = os.ReadFile(image); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *webRoot) fetch(t *testing.T) error {
	t.Helper()
	got, err := w.site.Fetch(t.Context(), w.file, w.sums.SHA256, w.dst)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(got)
	if err != nil || got != w.dst || !bytes.Equal(data, w.data) {
		t.Errorf("Fetch gave %s with other bytes: %v", got, err)
	}
	return nil
}

// A download that breaks off goes on where it was, and what is zero takes no room.
func TestFetchResumes(t *testing.T) {
	w := newWebRoot(t)
	w.cuts.Store(3)
	if err := w.fetch(t); err != nil {
		t.Fatal(err)
	}
	if n := w.ranges.Load(); n != 3 {
		t.Errorf("%d requests went on; want 3", n)
	}
	info, err := os.Stat(w.dst)
	if err != nil || info.Sys().(*syscall.Stat_t).Blocks*512 > 3<<20 {
		t.Errorf("the hole was filled: %v", err)
	}
}

// What one call could not finish, the next one does; bytes of another image from before do no harm.
func TestFetchGoesOnInAnotherCall(t *testing.T) {
	w := newWebRoot(t)
	for _, before := range []struct {
		name   string
		data   []byte
		ranges int32
	}{
		{"half of it", w.data[:1<<21], 1},
		{"all of it", w.data, 1},
		{"other bytes", bytes.Repeat([]byte("?"), 5000), 1},
		{"more than it", append(bytes.Clone(w.data), 'x'), 1},
	} {
		save(t, w.dst+".part", string(before.data))
		w.ranges.Store(0)
		if err := w.fetch(t); err != nil || w.ranges.Load() != before.ranges {
			t.Errorf("%s: %v, %d ranges", before.name, err, w.ranges.Load())
		}
	}
}

func TestFetchFailures(t *testing.T) {
	w := newWebRoot(t)
	for status, want := range map[int32]string{404: "not found", 403: "403 Forbidden"} {
		w.status.Store(status)
		if err := w.fetch(t); err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, publish.ErrNotFound) != (status == 404) {
			t.Errorf("status %d: %v", status, err)
		}
	}
	w.status.Store(503)
	if err := w.fetch(t); err != nil {
		t.Errorf("a 503 was not tried again: %v", err)
	}
	var corrupt *publish.Corrupt
	if _, err := w.site.Fetch(t.Context(), w.file, strings.Repeat("0", 64), w.dst); !errors.As(err, &corrupt) || corrupt.Got != w.sums.SHA256 {
		t.Errorf("another digest: %v", err)
	}
	if _, err := w.site.Fetch(t.Context(), w.file, "", w.dst); err == nil {
		t.Error("Fetch took bytes that nothing proves")
	}
	if _, err := w.site.Put(t.Context(), item(newID(t), "x")); err == nil {
		t.Error("Put without a web root")
	}
	loop := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, r.URL.Path, http.StatusFound) }))
	defer loop.Close()
	site := open(t, publish.Config{URL: loop.URL, HTTP: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if got := site.URL(w.file); got != loop.URL+"/images/build/"+name+"/"+w.file.UUID+"/"+name+".qcow2" {
		t.Errorf("URL = %s", got)
	}
	for _, bad := range []string{"ftp://x/y", "images.example.com", "https://x/?q=1"} {
		if _, err := publish.Open(t.Context(), publish.Config{URL: bad}); err == nil {
			t.Errorf("Open took the URL %q", bad)
		}
	}
}

// Over SFTP without a URL, the file comes the same way, and resumes too.
func TestFetchOverSFTP(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id, image := newID(t), imageFile(t, 4)
		sums := put(t, site, id, image)
		f := publish.File{Area: publish.Build, Name: name, UUID: id, File: name + ".qcow2"}
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		dst := filepath.Join(t.TempDir(), "got")
		save(t, dst+".part", string(data[:1<<20]))
		got, err := site.Fetch(t.Context(), f, strings.ToUpper(sums.SHA256), dst)
		if err != nil {
			t.Fatal(err)
		}
		if there, err := os.ReadFile(got); err != nil || !bytes.Equal(there, data) {
			t.Errorf("other bytes: %v", err)
		}
		if local := filepath.Join(root, "images/build", name, id, name+".qcow2"); site.Local() != (got == local) {
			t.Errorf("Fetch gave %s", got)
		}
	})
}
