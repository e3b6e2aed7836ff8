package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
)

// belongs writes a record as a process that is dead now would have left it.
func belongs(t *testing.T, dir, name, vm string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Our pid with another start time is another process, long gone.
	b := `{"owner":{"pid":` + strconv.Itoa(os.Getpid()) + `,"start":"1"}` + vm + `}`
	if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSweep(t *testing.T) {
	work, outside := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(work, name) }
	orphan, err := process.Cmd{Path: "sleep", Args: []string{"600"}}.Start(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	id, err := identify(orphan.Pid())
	if err != nil {
		t.Fatal(err)
	}
	belongs(t, in("dead/run"), ownerFile, "")
	belongs(t, in("dead/run/cell"), vmFile, `,"vm":{"pid":`+strconv.Itoa(id.Pid)+`,"start":"`+id.Start+`"}`)
	belongs(t, in("vm"), vmFile, `,"vm":{"pid":`+strconv.Itoa(os.Getpid())+`,"start":"1"}`) // a pid given again: us
	for _, dir := range []string{in("ours/cell"), in("kept"), in("nobody's")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(Claim(in("ours")), Claim(in("kept")), Disown(in("kept")), Disown(in("kept"))); err != nil {
		t.Fatal(err)
	}
	belongs(t, in("ours/cell"), vmFile, "")
	if err := os.Symlink(outside, in("dead/run/link")); err != nil {
		t.Fatal(err)
	}

	removed, err := Sweep(work)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(removed)
	if diff := cmp.Diff([]string{in("dead/run"), in("vm")}, removed); diff != "" {
		t.Error(diff)
	}
	if _, err := orphan.Wait(); err == nil {
		t.Error("the orphan ended by itself")
	}
	for _, dir := range []string{in("dead"), in("ours/cell"), in("kept"), in("nobody's"), outside} {
		if _, err := os.Stat(dir); err != nil {
			t.Errorf("gone: %v", err)
		}
	}
	if removed, err := Sweep(work); err != nil || len(removed) != 0 {
		t.Errorf("Sweep again = %v, %v", removed, err)
	}
	if removed, err := Sweep(in("nothing")); err != nil || len(removed) != 0 {
		t.Errorf("Sweep of nothing = %v, %v", removed, err)
	}
}

// TestSweepGoesOn: a record that cannot be read is told, and stops nothing else.
func TestSweepGoesOn(t *testing.T) {
	work := t.TempDir()
	belongs(t, filepath.Join(work, "b"), ownerFile, "")
	if err := os.MkdirAll(filepath.Join(work, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "a", ownerFile), []byte("?"), 0o600); err != nil {
		t.Fatal(err)
	}
	removed, err := Sweep(work)
	if err == nil || len(removed) != 1 || removed[0] != filepath.Join(work, "b") {
		t.Errorf("Sweep = %v, %v", removed, err)
	}
}
