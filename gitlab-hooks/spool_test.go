package hooks

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// obeys gives up, for this thread, what makes the administrator read any file.
// The thread ends with the goroutine.
func obeys() error {
	runtime.LockOSThread()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective &^= 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH
	return unix.Capset(&header, &data[0])
}

// A delivery that cannot be read now stays in the spool, and holds up no other.
func TestSpoolIsNotReadable(t *testing.T) {
	t.Parallel()
	dir, in := t.TempDir(), newInbox(t)
	spool, err := OpenSpool(dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"one", "two"} {
		if err := spool.Add(lineage.HookEvent{Instance: "https://gitlab.example.org", Key: key, Event: "push", Project: "ops/images", Ref: head, Before: commitA, After: commitB, State: lineage.EventPending}); err != nil {
			t.Fatal(err)
		}
	}
	names, err := spool.list()
	if err != nil {
		t.Fatal(err)
	}
	drain := func() (n int, err error) {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			if err = obeys(); err == nil {
				n, err = spool.Drain(t.Context(), in)
			}
		}()
		<-ended
		return n, err
	}
	if err := os.Chmod(filepath.Join(dir, names[0]), 0); err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{1, 0} {
		if n, err := drain(); n != want || err == nil || spool.Stats().Events != 1 {
			t.Errorf("look %d: %d drained, %v, left %+v; want %d, and one left", i, n, err, spool.Stats(), want)
		}
	}
	if err := os.Chmod(filepath.Join(dir, names[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := drain(); n != 1 || err != nil || spool.Stats() != (SpoolStats{Quota: 1 << 20}) || len(in.all(t)) != 2 {
		t.Errorf("at last: %d drained, %v, left %+v, %d stored", n, err, spool.Stats(), len(in.all(t)))
	}
}
