package hooks

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// Only the time counts in which Jenkins was there and refused.
func TestRefusalsAddUp(t *testing.T) {
	var r refusals
	now := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	refused := func(long time.Duration) (total time.Duration) {
		for end := now.Add(long); now.Before(end); now = now.Add(time.Minute) {
			total = r.again("job", now)
		}
		return total
	}
	if got := refused(2 * time.Hour); got != 119*time.Minute {
		t.Errorf("two hours of refusals: %v", got)
	}
	r.away("job")
	now = now.Add(72 * time.Hour)
	if got := refused(time.Hour); got != 178*time.Minute {
		t.Errorf("and an hour after three days without jenkins: %v", got)
	}
	now = now.Add(72 * time.Hour) // nobody looked: a turn was waited for
	if got := refused(time.Minute); got != 178*time.Minute+refusalGap {
		t.Errorf("and once after three days in which nobody looked: %v", got)
	}
	if got := r.again("another", now); got != 0 {
		t.Errorf("another job: %v", got)
	}
	r.over("job")
	if got := r.again("job", now); got != 0 {
		t.Errorf("after it was mended: %v", got)
	}
}

// A run outlives any outage of Jenkins and any wait for its turn; a job that takes no builds for that long ends it.
func TestWhatARunOutlives(t *testing.T) {
	f := newHasty(t)
	now := time.Now
	f.d.Now = func() time.Time { return now() }
	old := func(t *testing.T, id string) {
		t.Helper()
		f.hurry("there is a run", func() bool { return f.run(id).ID != "" })
		_, err := f.db.Exec("UPDATE run SET opened_at = NOW(6) - INTERVAL 3 DAY WHERE commit_sha = ?", id)
		f.must(err)
	}
	waits := func(t *testing.T, id, reason string) {
		t.Helper()
		for range 3 {
			f.hurry("it waits", func() bool { r := f.run(id); return r.Final() || strings.Contains(r.Reason, reason) })
		}
		if r := f.run(id); r.Final() {
			t.Fatalf("it has ended: %s %s", r.State, r.Reason)
		}
	}
	t.Run("jenkins is away", func(t *testing.T) {
		f.jenkins.GoDown()
		id := f.change()
		old(t, id)
		waits(t, id, "(status 503)")
		f.jenkins.ComeUp(false)
		f.ends(id, lineage.RunSuccess, "SUCCESS")
	})
	t.Run("a token that is refused", func(t *testing.T) {
		f.jenkins.RejectTokens(true)
		id := f.change()
		old(t, id)
		waits(t, id, "(status 401)")
		f.jenkins.RejectTokens(false)
		f.ends(id, lineage.RunSuccess, "SUCCESS")
	})
	t.Run("its turn", func(t *testing.T) {
		f.d.MaxPerJob = -1
		id := f.change()
		old(t, id)
		waits(t, id, "jenkins.max_per_job")
		f.d.MaxPerJob = 8
		f.ends(id, lineage.RunSuccess, "SUCCESS")
	})
	t.Run("a job that is disabled for a while", func(t *testing.T) {
		f.d.jobs.forget(jobPath)
		f.must(f.jenkins.DisableJob(jobPath, true))
		id := f.change()
		old(t, id)
		waits(t, id, "is disabled")
		f.must(f.jenkins.DisableJob(jobPath, false))
		f.ends(id, lineage.RunSuccess, "SUCCESS")
	})
	t.Run("a job that stays disabled", func(t *testing.T) {
		f.d.jobs.forget(jobPath)
		f.must(f.jenkins.DisableJob(jobPath, true))
		id := f.change()
		old(t, id)
		waits(t, id, "is disabled")
		passed, began := time.Duration(0), time.Now()
		now = func() time.Time { passed += 4 * time.Minute; return began.Add(passed) } // with each question for it
		r := f.ends(id, lineage.RunRejected, "in which its job took no builds: the job aibuild/build is disabled")
		if passed < 24*time.Hour {
			t.Errorf("it was given up after %v: %s", passed, r.Reason)
		}
		now = time.Now
		f.must(f.jenkins.DisableJob(jobPath, false))
		f.ends(f.change(), lineage.RunSuccess, "SUCCESS")
	})
}

// A console that cannot be read now holds up its run for a few passes, and no longer.
func TestConsoleIsReadLater(t *testing.T) {
	f := newHasty(t)
	const console = "/logText/progressiveText"
	reads := func() int {
		n := 0
		for _, r := range f.jenkins.Requests() {
			if strings.Contains(fmt.Sprint(r), console) {
				n++
			}
		}
		return n
	}
	t.Run("for a while", func(t *testing.T) {
		f.must(f.jenkins.Fail(jenkinstest.Fault{Kind: jenkinstest.BadGateway, N: 3, Path: console}))
		id, before := f.change(), reads()
		r := f.ends(id, lineage.RunSuccess, "SUCCESS")
		if log := unpackLog(t, LogFile(f.d.LogDir, r.ID)); !strings.Contains(log, "building images/a at "+id) || reads() != before+4 {
			t.Errorf("read %d times: %q", reads()-before, log)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		f.must(f.jenkins.Fail(jenkinstest.Fault{Kind: jenkinstest.BadGateway, N: -1, Path: console}))
		defer f.jenkins.Heal()
		id, before, waited := f.change(), reads(), false
		f.hurry("the run has ended", func() bool {
			r := f.run(id)
			waited = waited || strings.Contains(r.Reason, "its console is to be read: jenkins: read a build's log")
			return r.Final()
		})
		r := f.ends(id, lineage.RunSuccess, "SUCCESS")
		if logs, _ := filepath.Glob(LogFile(f.d.LogDir, r.ID)); len(logs) != 0 || reads() != before+1+logTries || !waited {
			t.Errorf("read %d times, kept %v, said so: %v", reads()-before, logs, waited)
		}
		if len(f.d.unread) != 0 {
			t.Errorf("still counted: %v", f.d.unread)
		}
	})
}

// A project that is not found is told again once an hour, for three days: the token's user may have been put out of it.
func TestStatusOfAMissingProject(t *testing.T) {
	f := newHasty(t)
	f.Fail(gitlabtest.Fault{Method: http.MethodPost, Path: "/api/v4/projects/*/statuses/", Answer: gitlabtest.NotFound})
	defer f.ClearFaults()
	f.fresh("one")
	id := f.change()
	f.ends(id, lineage.RunSuccess, "SUCCESS")
	tries := func() (due bool, n, minutes int) {
		f.must(f.db.QueryRow("SELECT status_due, status_tries, COALESCE(TIMESTAMPDIFF(MINUTE, NOW(6), status_next_at), 0) FROM run WHERE commit_sha = ?", id).Scan(&due, &n, &minutes))
		return due, n, minutes
	}
	f.untilTold("it is noted", false, func() bool { _, n, _ := tries(); return n > 0 })
	if due, _, minutes := tries(); !due || minutes < 45 || minutes > 60 {
		t.Errorf("due %v, in %d minutes", due, minutes)
	}
	for _, now := range []struct {
		tries int
		age   string
		due   bool
	}{{71, "1 HOUR", true}, {500, "1 HOUR", true}, {1, "4 DAY", true}, {72, "4 DAY", false}} {
		_, err := f.db.Exec("UPDATE run SET status_due = 1, status_tries = ?, status_next_at = NULL, finished_at = NOW(6) - INTERVAL "+now.age+" WHERE commit_sha = ?", now.tries, id)
		f.must(err)
		f.untilTold("it was tried", false, func() bool { _, n, _ := tries(); return n > now.tries })
		if due, _, _ := tries(); due != now.due {
			t.Errorf("after %d tries and %s: due %v", now.tries, now.age, due)
		}
	}
	if slices.ContainsFunc(f.runs(), func(r lineage.Run) bool { return !r.Final() }) {
		t.Errorf("runs %+v", f.runs())
	}
}
