package publish_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/publish"
)

// latest moves forward whatever the order of the promotions, and back only when the newest is taken away.
func TestLatest(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		ids := []string{newID(t), newID(t), newID(t)}
		image := imageFile(t, 1)
		for _, id := range ids {
			put(t, site, id, image)
		}
		step := func(what, want string, err error) {
			t.Helper()
			if got := latest(t, root); got != want || err != nil {
				t.Fatalf("%s: latest = %q, %v; want %q", what, got, err, want)
			}
		}
		promote(t, site, ids[1])
		step("the second", ids[1], nil)
		promote(t, site, ids[0])
		step("an older one", ids[1], nil)
		promote(t, site, ids[2])
		step("a newer one", ids[2], nil)
		step("retract the newest", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("again", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("retract the oldest", ids[1], site.Retract(t.Context(), name, ids[0]))
		promote(t, site, ids[2])
		step("restore the newest", ids[2], nil)
		step("retract", ids[1], site.Retract(t.Context(), name, ids[2]))
		step("retract the last", "", site.Retract(t.Context(), name, ids[1]))
		nothingHidden(t, root)
	})
}

// A lock of a process that is dead does not stop anybody.
func TestLatestAfterADeadOwner(t *testing.T) {
	both(t, func(t *testing.T, site *publish.Site, root string) {
		id := newID(t)
		put(t, site, id, imageFile(t, 1))
		promote(t, site, id)
		folder := filepath.Join(root, "images/release", name)
		// The owner's name as this process writes it, with a start time that no process has.
		dir, err := publish.IdentityForTest("lock")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(dir, filepath.Join(folder, ".lock")); err != nil {
			t.Fatal(err)
		}
		if err := site.Retract(t.Context(), name, id); err != nil {
			t.Error(err)
		}
		nothingHidden(t, root)
		// A living one is waited for, until the caller has enough.
		live, err := publish.Open(t.Context(), publish.Config{Root: root})
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		if err := os.Symlink(publish.LiveIdentityForTest("lock"), filepath.Join(folder, ".lock")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := live.Promote(ctx, name, id, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Promote under another's lock: %v", err)
		}
	})
}
