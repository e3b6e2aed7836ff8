package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// openedRecord opens a run as a build does.
func openedRecord(image, of, ref string) lineage.Record {
	r := movedRecord(newID(), lineage.RunBuilding)
	r.Verb, r.Run.Image, r.Run.Project, r.Run.Ref = lineage.VerbOpened, image, of, ref
	return r
}

// refused sends what must not be written, and looks that it was not.
func (l *lab) refused(what string, send func() reply, code, says string) {
	l.t.Helper()
	before := l.audit()
	if got := send(); got.code(l.t) != code || !strings.Contains(string(got.body), says) {
		l.t.Errorf("%s: HTTP %d %s, want %s that says %q", what, got.status, got.body, code, says)
	}
	if after := l.audit(); after != before {
		l.t.Errorf("%s: %d events were written", what, after-before)
	}
}

// What the daemon reads and stops with its own account is the project's.
func TestBuildOfTheProjectsJob(t *testing.T) {
	l := newLab(t, func(c *Config) {
		capped(c)
		c.Job = func(of string) string { return map[string]string{project: "aibuild/build", other: "other/build"}[of] }
	})
	token, jobless := l.token(RoleRecorder, project), l.token(RoleRecorder, "group/jobless")
	secret := Build{Job: "other/secret", Number: 42}
	waiting := l.run(nil) // nobody has said its job
	for what, b := range map[string]Build{
		"any job": secret, "the job of another project": {Job: "other/build", Number: 42}, "a folder of the same name": {Job: "aibuild/build/x", Number: 42},
	} {
		l.refused(what+" opens a run", func() reply {
			return l.send("POST", "/api/v1/runs", token, NewRun{Image: "tiny", Build: &b})
		}, CodeRefused, ruleJob)
		l.refused(what+" records one", func() reply { return l.post(token, &b, openedRecord("tiny", project, "main")) }, CodeRefused, ruleJob)
		l.refused(what+" takes one up", func() reply {
			return l.send("POST", "/api/v1/runs", token, NewRun{Image: "tiny", RunID: waiting.ID, Build: &b})
		}, CodeRefused, ruleJob)
		l.refused(what+" moves one", func() reply { return l.post(token, &b, movedRecord(waiting.ID, lineage.RunBuilding)) }, CodeRefused, ruleJob)
	}
	l.refused("a project without a job", func() reply { return l.post(jobless, &seven, openedRecord("tiny-j", "group/jobless", "main")) }, CodeRefused, "no job is configured")
	// However it is spelled, the run has the job as it is configured.
	spelled := seven
	spelled.Job = "/job/aibuild/job/build/"
	opened := openedRecord("tiny", project, "main")
	for _, r := range []lineage.Record{opened, movedRecord(waiting.ID, lineage.RunBuilding)} {
		if got := l.post(token, &spelled, r); got.status != http.StatusOK {
			t.Fatalf("HTTP %d %s", got.status, got.body)
		}
		if run, err := l.store.Run(t.Context(), r.RunID); err != nil || run.JenkinsJob != seven.Job || run.Build != seven.Number {
			t.Errorf("run is of %s #%d, %v", run.JenkinsJob, run.Build, err)
		}
	}
	// One that was started before the configuration changed goes its way.
	former := l.run(func(r *lineage.Run) { r.JenkinsJob = "former/build" })
	if got := l.post(token, &Build{Job: "former/build", Number: 3}, movedRecord(former.ID, lineage.RunBuilding)); got.status != http.StatusOK {
		t.Errorf("of the job that it was started in: HTTP %d %s", got.status, got.body)
	}
}

// A build of a branch does not become one of a branch that may release.
func TestRunsOfOneBuildAreOfOneRef(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleRecorder, project, other)
	run := l.run(func(r *lineage.Run) { r.Ref = "refs/heads/feature" })
	if got := l.post(token, &seven, movedRecord(run.ID, lineage.RunBuilding)); got.status != http.StatusOK {
		t.Fatalf("HTTP %d %s", got.status, got.body)
	}
	eight, nine := Build{Job: seven.Job, Number: 8}, Build{Job: seven.Job, Number: 9}
	retag := seven
	retag.Tag = "another"
	retry := func(ref string) lineage.Record {
		r := openedRecord("tiny", project, ref)
		r.Run.RetryOf = run.ID
		return r
	}
	mains := l.run(func(r *lineage.Run) { r.State = lineage.RunTriggering })
	l.refused("another run", func() reply { return l.post(token, &seven, openedRecord("tiny-two", project, "main")) }, CodeConflict, "refs/heads/feature")
	l.refused("another run of another tag", func() reply { return l.post(token, &retag, openedRecord("tiny-two", project, "main")) }, CodeConflict, "refs/heads/feature")
	l.refused("another run, opened", func() reply {
		return l.send("POST", "/api/v1/runs", token, NewRun{Image: "tiny-two", Project: project, Ref: "main", Build: &seven})
	}, CodeConflict, "refs/heads/feature")
	l.refused("a tag of the branch's name", func() reply { return l.post(token, &seven, openedRecord("tiny-two", project, "refs/tags/feature")) }, CodeConflict, "refs/heads/feature")
	l.refused("a run that the daemon started", func() reply { return l.post(token, &seven, movedRecord(mains.ID, lineage.RunBuilding)) }, CodeConflict, "refs/heads/feature")
	l.refused("another project", func() reply { return l.post(token, &seven, openedRecord("tiny-o", other, "feature")) }, CodeConflict, project)
	l.refused("its own retry", func() reply { return l.post(token, &seven, retry("main")) }, CodeConflict, "refs/heads/feature")
	l.refused("a retry by another build", func() reply { return l.post(token, &eight, retry("main")) }, CodeConflict, "a retry is of the same ref")
	l.refused("two in one batch", func() reply {
		return l.post(token, &nine, openedRecord("tiny-b", project, "feature"), openedRecord("tiny-c", project, "main"))
	}, CodeConflict, "is a run of main")
	// Another image of the same checkout, or the same again.
	for _, r := range []lineage.Record{openedRecord("tiny-two", project, "feature"), openedRecord("tiny-three", project, "refs/heads/feature"), openedRecord("tiny-four", project, "")} {
		if got := l.post(token, &seven, r); got.status != http.StatusOK {
			t.Fatalf("%s: HTTP %d %s", r.Run.Image, got.status, got.body)
		}
		if made, err := l.store.Run(t.Context(), r.RunID); err != nil || fullRef(made.Ref) != "refs/heads/feature" {
			t.Errorf("run of %s is of %q, %v", made.Image, made.Ref, err)
		}
	}
	for _, ref := range []string{"feature", ""} {
		if got := l.post(token, &eight, retry(ref)); got.status != http.StatusOK {
			t.Errorf("retried of %q: HTTP %d %s", ref, got.status, got.body)
		}
	}
}

// An image of a branch does not go out by a run of another one.
func TestImageGoesOutByItsOwnRef(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleRecorder, project)
	feature, same := builtRecord(newID(), "tiny", project), builtRecord(newID(), "tiny", project)
	feature.Built.Artifact.Ref = "feature"
	l.stored(feature, same)
	run := l.run(nil)
	of := func(r lineage.Record) lineage.Record {
		r.RunID = run.ID
		return r
	}
	if got := l.post(token, &seven, movedRecord(run.ID, lineage.RunBuilding)); got.status != http.StatusOK {
		t.Fatalf("HTTP %d %s", got.status, got.body)
	}
	for what, r := range map[string]lineage.Record{
		"published": publishedRecord(feature.ImageUUID),
		"uploaded":  releasedRecord(feature.ImageUUID, "alpha", lineage.TargetUploading, ""),
		"released":  releasedRecord(feature.ImageUUID, "alpha", lineage.TargetVisible, newID()),
	} {
		l.refused(what, func() reply { return l.post(token, &seven, of(r)) }, CodeRefused, "release.refs")
	}
	for _, r := range []lineage.Record{
		releasedRecord(feature.ImageUUID, "alpha", lineage.TargetHidden, newID()), publishedRecord(same.ImageUUID),
		releasedRecord(same.ImageUUID, "alpha", lineage.TargetVisible, newID()),
	} {
		if got := l.post(token, &seven, of(r)); got.status != http.StatusOK {
			t.Errorf("%s of %s: HTTP %d %s", r.Verb, r.ImageUUID, got.status, got.body)
		}
	}
}
