package publish_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

// child is this program started once more, to be killed. PUBLISH_TEST_CHILD says what it does with the root, the image and
// the uuid that follow it.
func child() {
	args := strings.Split(os.Getenv("PUBLISH_TEST_CHILD"), "|")
	if err := act(args[0], args[1], args[2], args[3]); err != nil {
		fmt.Println("error", err)
	}
}

func act(what, root, image, id string) error {
	ctx := context.Background()
	site, err := publish.Open(ctx, publish.Config{Root: root})
	if err != nil {
		return err
	}
	if what == "half" {
		it := item(id, image)
		it.Progress = func(done, total int64) {
			if done > total/2 {
				fmt.Println("half")
				select {} // until it is killed
			}
		}
		_, err := site.Put(ctx, it)
		return err
	}
	for { // until it is killed
		next, err := uuid.NewV7()
		if err != nil {
			return err
		}
		if _, err := site.Put(ctx, item(next.String(), image)); err != nil {
			return err
		}
		if err := site.Promote(ctx, name, next.String(), map[string][]byte{"image.json": []byte("{}")}); err != nil {
			return err
		}
		fmt.Println("one")
	}
}

// startChild starts the child and gives its lines.
func startChild(t *testing.T, what ...string) (*process.Process, *bufio.Scanner) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	p, err := process.Cmd{Path: self, Env: process.Environ("PUBLISH_TEST_CHILD=" + strings.Join(what, "|")), Stdout: w}.Start(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-p.Done()
		w.Close()
	}()
	t.Cleanup(func() {
		r.Close()
		if err := p.Stop(0); errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
	return p, bufio.NewScanner(r)
}

func kill(t *testing.T, p *process.Process) {
	t.Helper()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}

// kill -9 in the middle of Put: nothing is visible, Sweep takes what is hidden, and the same Put then works.
func TestKillInPut(t *testing.T) {
	root, image, id := t.TempDir(), imageFile(t, 1), newID(t)
	p, lines := startChild(t, "half", root, image, id)
	if !lines.Scan() || lines.Text() != "half" {
		t.Fatalf("child says %q", lines.Text())
	}
	site := open(t, publish.Config{Root: root})
	if removed, err := site.Sweep(t.Context(), 0); len(removed) > 0 || err != nil {
		t.Errorf("Sweep took from a living process: %v, %v", removed, err)
	}
	kill(t, p)
	if found, err := site.List(t.Context(), publish.Build); len(found) > 0 || err != nil {
		t.Errorf("half an image is visible: %v, %v", found, err)
	}
	if removed, err := site.Sweep(t.Context(), time.Hour); len(removed) != 1 || err != nil {
		t.Errorf("Sweep = %v, %v", removed, err)
	}
	nothingHidden(t, root)
	put(t, site, id, image)
}

// kill -9 at any moment: whatever can be seen is whole, and the next one can work at once.
func TestKillAnywhere(t *testing.T) {
	root, image := t.TempDir(), filepath.Join(t.TempDir(), "small")
	save(t, image, strings.Repeat("small image ", 5000))
	site := open(t, publish.Config{Root: root})
	for range 6 {
		p, lines := startChild(t, "loop", root, image, "-")
		if !lines.Scan() || lines.Text() != "one" {
			t.Fatalf("child says %q", lines.Text())
		}
		go func() {
			for lines.Scan() { // its pipe must not fill
			}
		}()
		// Any moment will do: this is no waiting for something.
		<-time.After(time.Duration(rand.IntN(40_000)) * time.Microsecond)
		kill(t, p)
		whole(t, site, root)
		id := newID(t)
		put(t, site, id, image)
		promote(t, site, id)
		if got := latest(t, root); got != id {
			t.Errorf("latest = %s after %s", got, id)
		}
	}
	if _, err := site.Sweep(t.Context(), time.Hour); err != nil {
		t.Error(err)
	}
	nothingHidden(t, root)
}

// whole checks every image that can be seen.
func whole(t *testing.T, site *publish.Site, root string) {
	t.Helper()
	for _, area := range []string{publish.Build, publish.Release} {
		found, err := site.List(t.Context(), area)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range found {
			if sums, err := site.Verify(t.Context(), area, name, e.UUID); err != nil || sums[name+".qcow2"] == "" {
				t.Errorf("%s %s: %v, %v", area, e.UUID, sums, err)
			}
		}
	}
	if target := latest(t, root); target != "" {
		if _, err := os.Stat(filepath.Join(root, "images/release", name, target, "image.json")); err != nil {
			t.Errorf("latest leads nowhere: %v", err)
		}
	}
}
