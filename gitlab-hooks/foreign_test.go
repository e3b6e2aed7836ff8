package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Nothing is started for a project that was taken out of the configuration,
// wherever its runs are.
func TestRunsOfAProjectThatIsNotConfigured(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	all := f.d.Projects
	for i, state := range []string{lineage.RunReceived, lineage.RunQueued, lineage.RunTriggering} {
		f.send(state, library.with(files{"images/a/f": plain(state), "images/b/f": plain(state)}), head)
		if _, err := f.d.passEvents(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.in.query(t, fmt.Sprintf("UPDATE aibuild.run SET state = '%s', jenkins_job = '%s' WHERE finished = 0", state, jobPath))
		f.d.Projects = func() []Watched { return nil }
		runs := f.ended()
		if len(runs) != 2*i+2 {
			t.Fatalf("%s: runs %s", state, states(runs))
		}
		for _, r := range runs[:2] {
			if r.State != lineage.RunRejected || r.Reason != notConfigured {
				t.Errorf("%s: %s is %s: %s", state, r.Image, r.State, r.Reason)
			}
		}
		f.d.Projects = all
	}
	if n := f.jenkins.Posts(jobPath); n != 0 {
		t.Errorf("%d builds were started", n)
	}
}

// claims makes a run that names a build, as what records runs may do.
func (f *factory) claims(r lineage.Run, build int64) string {
	f.t.Helper()
	r.Project, r.Folder, r.From = "ops/images", "images/a", fromBuild
	run, err := f.in.OpenRun(f.t.Context(), r, "ann", lineage.ChannelAPI, "a test")
	if err != nil {
		f.t.Fatal(err)
	}
	f.in.query(f.t, fmt.Sprintf("UPDATE aibuild.run SET state = 'building', jenkins_job = '%s', jenkins_build = %d WHERE id = '%s'", jobPath, build, run.ID))
	return run.ID
}

// What a run says is its build is not, where Jenkins says that it is another
// run's: its end and its console are not taken, and it is never stopped.
func TestBuildOfAnotherRun(t *testing.T) {
	t.Parallel()
	f := newFactory(t, "")
	hold := filepath.Join(f.dir, "hold")
	writeFile(t, hold, "")
	commit := f.send("one", library, head)
	f.until("both are being built", func() bool {
		return built(f) == 2 && !slices.ContainsFunc(f.runs(), func(r lineage.Run) bool { return r.State != lineage.RunBuilding })
	})
	b, a := f.runs()[0], f.runs()[1]
	check := func(when, id string) {
		t.Helper()
		f.until("it has ended, "+when, func() bool { r, err := f.in.Run(t.Context(), id); return err == nil && r.Final() })
		r, err := f.in.Run(t.Context(), id)
		if err != nil || r.State != lineage.RunLost || !strings.Contains(r.Reason, "was started for run "+a.ID) {
			t.Errorf("%s: %s: %s, %v", when, r.State, r.Reason, err)
		}
		if _, err := os.Stat(LogFile(f.d.LogDir, id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it has a console, %v", when, err)
		}
	}
	check("while that is built", f.claims(lineage.Run{Image: "x"}, a.Build))
	stopped := f.claims(lineage.Run{Image: "x"}, a.Build)
	if err := f.in.RequestCancel(t.Context(), stopped, "ann", ""); err != nil {
		t.Fatal(err)
	}
	check("cancelled", stopped)
	removeFile(t, hold)
	f.ended()
	check("when that has ended", f.claims(lineage.Run{Image: "x"}, a.Build))
	again := f.claims(lineage.Run{Image: b.Image, RetryOf: b.ID, Ref: head, Commit: commit}, b.Build)
	f.ended()
	for _, id := range []string{a.ID, b.ID, again} {
		if r, err := f.in.Run(t.Context(), id); err != nil || r.BuildURL == "" || r.State == lineage.RunLost || r.State == lineage.RunAborted {
			t.Errorf("run %s of its own build: %s: %s, %v", id, r.State, r.Reason, err)
		}
	}
}
