package hooks

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// pausePoints are those after which something would be done twice, or undone.
var pausePoints = []string{
	"after claim of events", "before event handled", "before step queued", "before step triggering", "before start",
	"after jenkins start", "before sent running", "before step success",
}

// pauseAt lets a daemon stand still until the server has dropped its lock and
// another one has done the work.
func (s *crashSite) pauseAt(t *testing.T, name, point string) {
	v := s.victim(t, name, jobOf(dayPush), true)
	v.spec.DSN += "?wait_timeout=5"
	first := v.spec
	first.Point, first.Signal, first.Looked = point, syscall.SIGSTOP, true
	paused := v.start(first)
	v.push(s.commit)
	v.wait("the first daemon stands still", func() bool { return standsStill(paused.cmd.Process.Pid) })
	// The second one is on another machine, as standbys are: one that stands still may hold the lock of the mirror on its own disk.
	v.spec.Owner, v.spec.Dir = "second", t.TempDir()
	// It may stand still in a transaction: the server ends that after a while.
	v.start(v.spec)
	s.killLock(t, name)
	v.idle()
	before := v.runs()
	if err := paused.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	v.wait("the first daemon knows that it is not the active one", func() bool { return strings.Contains(paused.log.String(), "another daemon may have been active") })
	v.checkEnd(s.commit, lineage.RunSuccess, dayPush)
	if diff := cmp.Diff(before, v.runs()); diff != "" {
		t.Errorf("the one that was overtaken wrote (-before +after):\n%s", diff)
	}
}

// killLock ends the connection by which a daemon is the active one, as the server
// does when nobody looks after it.
func (s *crashSite) killLock(t *testing.T, database string) {
	t.Helper()
	sum := sha256.Sum256([]byte(database + "\x00" + lockName))
	s.in.query(t, fmt.Sprintf("EXECUTE IMMEDIATE CONCAT('KILL ', IS_USED_LOCK('aibuild.name.%s'))", hex.EncodeToString(sum[:16])))
}

// standsStill says whether a process was stopped by a signal.
func standsStill(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") T ")
}
