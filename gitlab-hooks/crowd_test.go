package hooks

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// openMany opens runs of as many images, by SQL.
func (f *factory) openMany(t *testing.T, name string, n int) {
	t.Helper()
	f.in.query(t, fmt.Sprintf(`INSERT INTO aibuild.run (id, first_run, attempt, image, project, ref, commit_sha, folder, from_stage, stage, state, state_at, finished, reason, actor, channel, managed, worker,
			jenkins, jenkins_job, jenkins_url, build_tag, cancel_reason, fence, tries, next_at, opened_at, status_due, status_sent, status_tries, status_error)
		SELECT CONCAT(LPAD(LOWER(HEX(seq)), 8, '0'), '-%s-7000-8000-000000000000'), CONCAT('%s', seq), 1, CONCAT('%s', seq), 'ops/images', '%s', REPEAT('a', 40), 'images/a', 'build', '', 'queued', NOW(6), 0,
			'waits for its turn', 'ann', 'hook', 1, '', '', '%s', '', '', '', 0, 0, NOW(6), NOW(6), 0, '', 0, '' FROM seq_1_to_%d`, name, name, name, head, jobPath, n))
}

// A pass asks Jenkins little, however many runs are with it, and is not slowed
// down by all those that wait.
func TestCrowd(t *testing.T) {
	f := newFactoryOn(t, "", newInbox(t))
	if err := f.jenkins.Close(); err != nil {
		t.Fatal(err)
	}
	f.startJenkins(t, jenkinstest.Options{QuietPeriod: -1, Executors: 10}, "#!/bin/sh\nread line <\"$OUT/open\"\n")
	if out, err := exec.Command("mkfifo", filepath.Join(f.dir, "open")).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	f.d = f.daemon("one")
	f.d.GitLab, f.d.MaxRuns, f.d.MaxPerJob, f.d.HeadsEvery = nil, 1000, 1000, time.Hour
	f.first()
	f.openMany(t, "1000", 1000)
	f.until("1,000 builds have begun, though few have an agent", func() bool {
		st, err := f.in.Stats(t.Context())
		return err == nil && st.RunsOpen[lineage.RunBuilding] == 1000
	})
	took, allocated, asked := f.measured(t)
	t.Logf("1,000 runs: %v, %d KiB allocated, %d requests", took, allocated>>10, asked)
	if asked > 3+1 {
		t.Errorf("a pass over 1,000 runs asks Jenkins %d times, want at most 3 and once for each job", asked)
	}
	f.openMany(t, "2000", 10_000)
	took, allocated, asked = f.measured(t)
	t.Logf("11,000 runs: %v, %d KiB allocated, %d requests", took, allocated>>10, asked)
	if asked > 3+1 || allocated > 128<<20 || took > 30*time.Second {
		t.Errorf("a pass over 11,000 runs took %v, %d MiB and %d requests", took, allocated>>20, asked)
	}
	if err := f.openFifo(); err != nil {
		t.Fatal(err)
	}
}

// measured is a pass in which every run is due.
func (f *factory) measured(t *testing.T) (took time.Duration, allocated uint64, asked int) {
	t.Helper()
	f.in.query(t, "UPDATE aibuild.run SET next_at = NOW(6) WHERE finished = 0")
	var before, after runtime.MemStats
	requests := len(f.jenkins.Requests())
	runtime.ReadMemStats(&before)
	began := time.Now()
	if _, err := f.d.Pass(t.Context()); err != nil {
		t.Fatal(err)
	}
	took = time.Since(began)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc, len(f.jenkins.Requests()) - requests
}

// openFifo lets all builds end.
func (f *factory) openFifo() error {
	file, err := os.OpenFile(filepath.Join(f.dir, "open"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.WriteString(strings.Repeat("\n", 4000))
	return err
}
