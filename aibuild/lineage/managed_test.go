package lineage

import (
	"strings"
	"testing"
	"time"
)

// fromBuild is what a build records of its run.
func fromBuild(run Run, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "jenkins", Channel: "jenkins", RunID: run.ID, Verb: VerbMoved, Run: &run}
}

// A build reports how far it is and how it went; its run ends when the daemon
// says so.
func TestBuildReportsButDoesNotEnd(t *testing.T) {
	s := newStore(t)
	c := inState(t, s, RunTriggering)
	at := time.Now()
	record(t, s,
		fromBuild(Run{ID: c.ID, Image: "tiny", State: RunBuilding, Stage: "build", BuildTag: "jenkins-7", Build: 7, Worker: "agent/1"}, at.Add(-time.Hour)), // its clock is wrong
		fromBuild(Run{ID: c.ID, State: RunBuilding, Stage: "test"}, at.Add(-time.Hour)))
	if r := getRun(t, s, c.ID); r.State != RunBuilding || r.Stage != "test" || r.BuildTag != "jenkins-7" || r.Build != 7 || r.Worker != "agent/1" {
		t.Errorf("run = %+v", r)
	}
	end := fromBuild(Run{ID: c.ID, State: RunUnstable, Stage: "test", ExitCode: new(3), ImageUUID: c.ID, FinishedAt: at, Reason: "tests failed", Failure: &Failure{Stage: "test", Sentence: "disk/grows failed"}}, at)
	end.Verb = VerbEnded
	record(t, s, end, end)
	r := getRun(t, s, c.ID)
	if r.State != RunBuilding || r.Final() || !r.FinishedAt.IsZero() || *r.ExitCode != 3 || r.Failure.Sentence != "disk/grows failed" || r.ImageUUID != c.ID || r.Reason != "tests failed" {
		t.Errorf("run = %+v", r)
	}
	advance(t, s, c, Run{State: RunJenkinsQueue, QueueID: 5}, 0) // late to know
	advance(t, s, c, Run{State: RunUnstable, ExitCode: new(1), Failure: &Failure{Sentence: "build 7 is unstable"}}, 0)
	if r := getRun(t, s, c.ID); r.State != RunUnstable || *r.ExitCode != 3 || r.Failure.Sentence != "disk/grows failed" || r.QueueID != 5 {
		t.Errorf("what the build said itself stays: %+v", r)
	}
}

// What is refused, and what is not, in every state.
func TestWhatABuildMayRecord(t *testing.T) {
	s := newStore(t)
	for _, state := range []string{RunReceived, RunQueued, RunTriggering, RunJenkinsQueue, RunBuilding, RunSuccess, RunFailure, RunCancelled, RunLost} {
		c := inState(t, s, state)
		before := getRun(t, s, c.ID)
		runs := state == RunTriggering || state == RunJenkinsQueue || state == RunBuilding
		for _, said := range []string{RunBuilding, RunSuccess, RunFailure} {
			err := s.Record(t.Context(), fromBuild(Run{ID: c.ID, State: said, Stage: "test"}, time.Now().Add(time.Second)))
			if runs != (err == nil) || (err != nil && !is[*Conflict](err)) {
				t.Errorf("%s while %s: %v", said, state, err)
			}
		}
		after := getRun(t, s, c.ID)
		if want := map[bool]string{true: RunBuilding, false: state}[runs]; after.State != want {
			t.Errorf("%s became %s, want %s", state, after.State, want)
		}
		if !runs && after.Stage != before.Stage {
			t.Errorf("refused while %s, but written: %+v", state, after)
		}
	}
	// What happened before the end may be delivered after it.
	c := inState(t, s, RunBuilding)
	report := fromBuild(Run{ID: c.ID, State: RunBuilding, Stage: "build"}, time.Now())
	record(t, s, report)
	late := fromBuild(Run{ID: c.ID, State: RunFailure, Stage: "test", ExitCode: new(3), Failure: &Failure{Sentence: "the case"}}, time.Now())
	advance(t, s, c, Run{State: RunFailure, Reason: "build 7 failed"}, 0)
	query(t, "UPDATE "+s.cfg.DBName+".run SET state_at = state_at + INTERVAL 1 SECOND WHERE id = ?", c.ID)
	record(t, s, report, late)
	if r := getRun(t, s, c.ID); r.State != RunFailure || r.Stage != "build" || r.Reason != "build 7 failed" || *r.ExitCode != 3 || r.Failure.Sentence != "the case" {
		t.Errorf("run = %+v", r)
	}
	// The daemon's own records may end a run.
	c = inState(t, s, RunBuilding)
	record(t, s, moved(c.ID, RunLost, "the build was deleted", time.Now()))
	if r := getRun(t, s, c.ID); r.State != RunLost {
		t.Errorf("run = %+v", r)
	}
	// What is known of images is taken whatever the run's state.
	built := builtRecord(id(), "tiny", day)
	built.Built.Project, built.RunID = "ops/images", c.ID
	record(t, s, built)
}

// The first build that names itself has the run; others, and other images, are
// refused whole.
func TestRunIsBoundToItsBuild(t *testing.T) {
	s := newStore(t)
	own := Run{ID: id(), Image: "tiny", State: RunBuilding, BuildTag: "jenkins-7"}
	record(t, s, opened(own, day))
	c := inState(t, s, RunTriggering)
	record(t, s, fromBuild(Run{ID: c.ID, State: RunBuilding, BuildTag: "jenkins-7", Build: 7}, time.Now()))
	for _, runID := range []string{own.ID, c.ID} {
		record(t, s, fromBuild(Run{ID: runID, State: RunBuilding, BuildTag: "jenkins-7", Stage: "test"}, time.Now()))
		other := builtRecord(id(), "tiny", day)
		err := s.Record(t.Context(), other, fromBuild(Run{ID: runID, State: RunBuilding, BuildTag: "jenkins-8"}, time.Now()))
		if !is[*Conflict](err) || !strings.Contains(err.Error(), "jenkins-7") {
			t.Errorf("another build: %v, want *Conflict", err)
		}
		if n := count(t, s, "image", "uuid = ?", other.ImageUUID); n != 0 {
			t.Error("half of the refused records are written")
		}
		if err := s.Record(t.Context(), fromBuild(Run{ID: runID, Image: "base", State: RunBuilding}, time.Now())); !is[*Conflict](err) {
			t.Errorf("another image: %v, want *Conflict", err)
		}
		if r := getRun(t, s, runID); r.BuildTag != "jenkins-7" || r.Stage != "test" {
			t.Errorf("run = %+v", r)
		}
	}
	if err := s.Record(t.Context(), fromBuild(Run{ID: c.ID, State: RunBuilding, Build: 8}, time.Now())); !is[*Conflict](err) {
		t.Errorf("another build number: %v, want *Conflict", err)
	}
}
