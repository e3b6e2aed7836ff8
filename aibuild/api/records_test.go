package api

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

var seven = Build{Job: "aibuild/build", Number: 7, Tag: "jenkins-aibuild-build-7", URL: "https://jenkins/job/aibuild/job/build/7/"}

func capped(c *Config) {
	c.Caps = func(of string) (definition.Policy, error) {
		return definition.Policy{Project: of, Names: []string{"tiny*"}, ReleaseRefs: []string{"main"}, Clusters: []string{"alpha"}, Visibilities: []string{"private"}}, nil
	}
}

// post sends a batch as the build.
func (l *lab) post(token Secret, build *Build, records ...lineage.Record) reply {
	l.t.Helper()
	return l.send("POST", "/api/v1/records", token, recordBatch{Build: build, Records: records})
}

// The whole way of a run, as a Jenkins build tells it.
func TestRecorderTellsARun(t *testing.T) {
	l := newLab(t, capped)
	run := l.run(func(r *lineage.Run) { r.State = lineage.RunJenkinsQueue })
	token := l.token(RoleRecorder, "group/first", project)
	id := run.ID
	steps := []lineage.Record{
		movedRecord(id, lineage.RunBuilding), builtRecord(id, "tiny", project), testedRecord(id, lineage.Passed), listedRecord(id, "3.0.17"), publishedRecord(id),
		releasedRecord(id, "alpha", lineage.TargetUploading, ""), releasedRecord(id, "alpha", lineage.TargetVisible, newID()),
	}
	end := movedRecord(id, lineage.RunSuccess)
	end.Verb, end.Run.ExitCode = lineage.VerbEnded, new(int)
	steps = append(steps, end)
	for _, step := range steps {
		for range 2 { // delivered twice
			if got := l.post(token, &seven, step); got.status != http.StatusOK {
				t.Fatalf("%s: HTTP %d %s", step.Verb, got.status, got.body)
			}
		}
	}
	stored, err := l.store.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if stored.State != lineage.RunBuilding || stored.Build != 7 || stored.JenkinsJob != seven.Job || stored.BuildTag != seven.Tag || stored.ExitCode == nil {
		t.Errorf("run = %+v; the build's number is bound, and its end is the daemon's to tell", stored)
	}
	images, err := l.store.Resolve(t.Context(), lineage.Query{Ref: id})
	if err != nil || images[0].State != lineage.StateReleased {
		t.Errorf("image = %+v, %v", images, err)
	}
	events, _, err := l.store.Events(t.Context(), lineage.EventFilter{ImageUUID: id})
	if err != nil || len(events) != 6 {
		t.Errorf("%d events of the image, %v; want 6, each once", len(events), err)
	}
	for _, e := range events {
		if e.Actor != "jenkins:aibuild/build#7 (recorder)" || e.Channel != channelJenkins {
			t.Errorf("event %s by %q over %q", e.Verb, e.Actor, e.Channel)
		}
	}
	// The answer was lost, the run has ended since: the same again is fine, news is not.
	l.end(id, lineage.RunSuccess)
	if got := l.post(token, &seven, steps...); got.status != http.StatusOK {
		t.Errorf("an exact repetition after the end: HTTP %d %s", got.status, got.body)
	}
	if got := l.post(token, &seven, append(steps, testedRecord(id, lineage.FailedTest))...); got.code(t) != CodeConflict {
		t.Errorf("news after the end: HTTP %d %s", got.status, got.body)
	}
	if images, err = l.store.Resolve(t.Context(), lineage.Query{Ref: id}); err != nil || images[0].Verdict.Result != lineage.Passed {
		t.Errorf("verdict = %+v, %v", images[0].Verdict, err)
	}
}

// What a recorder's token must not do, and how it is told.
func TestRecorderAbuse(t *testing.T) {
	eight := Build{Job: seven.Job, Number: 8}
	elsewhere := Build{Job: "other/job", Number: 7}
	marked := func(id string, m lineage.Mark) lineage.Record {
		return lineage.Record{ID: newID(), At: day, Verb: lineage.VerbRevoked, ImageUUID: id, Marked: &m}
	}
	tests := []struct {
		name  string
		state string // of the run; empty = building
		of    string // its project; empty = the token's
		ref   string
		build *Build
		send  func(id string) []lineage.Record
		code  string
		says  string
	}{
		{name: "another project's run", of: other, send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunBuilding)} }, code: CodeOtherProject, says: other},
		{name: "another project's image", of: other, send: func(id string) []lineage.Record { return []lineage.Record{builtRecord(id, "tiny", other)} }, code: CodeOtherProject},
		{name: "another project's image under our name", of: other, send: func(id string) []lineage.Record { return []lineage.Record{builtRecord(id, "tiny", project)} }, code: CodeOtherProject},
		{name: "a finished run", state: lineage.RunFailure, send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunBuilding)} }, code: CodeConflict, says: "has ended as failure"},
		{name: "a finished run's image", state: lineage.RunSuccess, send: func(id string) []lineage.Record { return []lineage.Record{builtRecord(id, "tiny", project)} }, code: CodeConflict, says: "has ended as success"},
		{name: "a run that was only received", state: lineage.RunReceived, send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunBuilding)} }, code: CodeConflict, says: "is received"},
		{name: "a run that is queued here", state: lineage.RunQueued, send: func(id string) []lineage.Record { return []lineage.Record{builtRecord(id, "tiny", project)} }, code: CodeConflict, says: "is queued"},
		{name: "two build numbers", build: &eight, send: func(id string) []lineage.Record { return []lineage.Record{testedRecord(id, lineage.Passed)} }, code: CodeConflict, says: "belongs to build 7"},
		{name: "the same number of another job", build: &elsewhere, send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunBuilding)} }, code: CodeConflict, says: "belongs to build 7 of aibuild/build"},
		{name: "another number in the record", send: func(id string) []lineage.Record {
			r := movedRecord(id, lineage.RunBuilding)
			r.Run.Build = 9
			return []lineage.Record{r}
		}, code: CodeConflict, says: "build 9"},
		{name: "no build", build: &Build{}, send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunBuilding)} }, code: CodeInvalid},
		{name: "backward", send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunQueued)} }, code: CodeConflict, says: "cannot make it queued"},
		{name: "the daemon's word", send: func(id string) []lineage.Record { return []lineage.Record{movedRecord(id, lineage.RunLost)} }, code: CodeConflict, says: "cannot make it lost"},
		{name: "another image's name", send: func(id string) []lineage.Record { return []lineage.Record{builtRecord(id, "tiny-two", project)} }, code: CodeConflict, says: "is a run for tiny"},
		{name: "an image of another id", send: func(id string) []lineage.Record {
			r := builtRecord(newID(), "tiny", project)
			r.RunID = id
			return []lineage.Record{r}
		}, code: CodeConflict, says: "is not the image of run"},
		{name: "an image of another ref", send: func(id string) []lineage.Record {
			r := builtRecord(id, "tiny", project)
			r.Built.Artifact.Ref = "release/9"
			return []lineage.Record{r}
		}, code: CodeConflict, says: "is a run of refs/heads/main"},
		{name: "revoke", send: func(id string) []lineage.Record {
			return []lineage.Record{marked(id, lineage.Mark{Revoked: new(bool)})}
		}, code: CodeForbidden},
		{name: "transfer", send: func(id string) []lineage.Record { return []lineage.Record{marked(id, lineage.Mark{Project: project})} }, code: CodeForbidden},
		{name: "an event that says what was not done", send: func(id string) []lineage.Record {
			return []lineage.Record{{ID: newID(), At: day, RunID: id, Verb: lineage.VerbRevoked}}
		}, code: CodeInvalid, says: "verb"},
		{name: "a cancellation that nobody asked for", send: func(id string) []lineage.Record {
			return []lineage.Record{{ID: newID(), At: day, RunID: id, Verb: lineage.VerbCancel}}
		}, code: CodeInvalid, says: "verb"},
		{name: "a token that nobody made", send: func(id string) []lineage.Record {
			return []lineage.Record{{ID: newID(), At: day, RunID: id, Verb: lineage.VerbToken}}
		}, code: CodeInvalid, says: "verb"},
		{name: "a token that nobody revoked", send: func(id string) []lineage.Record {
			return []lineage.Record{{ID: newID(), At: day, RunID: id, Verb: lineage.VerbTokenRevoked}}
		}, code: CodeInvalid, says: "verb"},
		{name: "any word", send: func(id string) []lineage.Record {
			return []lineage.Record{{ID: newID(), At: day, RunID: id, Verb: "promoted"}}
		}, code: CodeInvalid, says: "verb"},
		{name: "a record id of the server's own kind", send: func(id string) []lineage.Record {
			r := movedRecord(id, lineage.RunBuilding)
			r.ID = "74738ff5-5367-5958-9aee-98fffdcd1876"
			return []lineage.Record{r}
		}, code: CodeInvalid, says: "version 5"},
		{name: "a cluster that is not the project's", send: func(id string) []lineage.Record {
			return []lineage.Record{releasedRecord(id, "beta", lineage.TargetUploading, "")}
		}, code: CodeRefused, says: "release.clusters"},
		{name: "a release from a branch that may not", ref: "refs/heads/feature", send: func(id string) []lineage.Record {
			return []lineage.Record{releasedRecord(id, "alpha", lineage.TargetVisible, newID())}
		}, code: CodeRefused, says: "release.refs"},
		{name: "a publication from a branch that may not", ref: "refs/heads/feature", send: func(id string) []lineage.Record { return []lineage.Record{publishedRecord(id)} }, code: CodeRefused, says: "release.refs"},
		{name: "a run of another project's name", send: func(string) []lineage.Record {
			r := movedRecord(newID(), lineage.RunBuilding)
			r.Verb, r.Run.Image, r.Run.Project = lineage.VerbOpened, "tiny-9", other
			return []lineage.Record{r}
		}, code: CodeOtherProject},
		{name: "a run of a name that is not the project's", send: func(string) []lineage.Record {
			r := movedRecord(newID(), lineage.RunBuilding)
			r.Verb, r.Run.Image, r.Run.Project = lineage.VerbOpened, "huge", project
			return []lineage.Record{r}
		}, code: CodeRefused, says: "names"},
		{name: "an image that looks like another's uuid", send: func(id string) []lineage.Record {
			r := movedRecord(newID(), lineage.RunBuilding)
			r.Verb, r.Run.Image, r.Run.Project = lineage.VerbOpened, id, project
			return []lineage.Record{r}
		}, code: CodeInvalid, says: "looks like a uuid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, capped)
			token := l.token(RoleRecorder, project)
			run := l.run(func(r *lineage.Run) {
				if tt.of != "" {
					r.Project = tt.of
				}
				if tt.ref != "" {
					r.Ref = tt.ref
				}
			})
			// Its own image is there, and it is build 7's.
			image := builtRecord(run.ID, "tiny", run.Project)
			image.Built.Artifact.Ref = strings.TrimPrefix(run.Ref, "refs/heads/")
			bind := movedRecord(run.ID, lineage.RunBuilding)
			seven.mark(bind.Run)
			l.stored(bind, image)
			id := run.ID
			switch tt.state {
			case "":
			case lineage.RunReceived, lineage.RunQueued: // a second one that no build was started for
				id = l.run(func(r *lineage.Run) { r.State = tt.state }).ID
			default:
				l.end(run.ID, tt.state)
			}
			before := l.audit()
			build := &seven
			if tt.build != nil {
				if build = tt.build; build.Number == 0 {
					build = nil
				}
			}
			// What comes with it is not written either.
			records := append([]lineage.Record{}, tt.send(id)...)
			got := l.post(token, build, records...)
			if got.code(t) != tt.code || !strings.Contains(string(got.body), tt.says) {
				t.Errorf("HTTP %d %s, want %s that says %q", got.status, got.body, tt.code, tt.says)
			}
			if after := l.audit(); after != before {
				t.Errorf("%d events were written", after-before)
			}
		})
	}
}

// audit counts what is written down.
func (l *lab) audit() int {
	l.t.Helper()
	events, _, err := l.store.Events(l.t.Context(), lineage.EventFilter{Limit: 1000})
	if err != nil {
		l.t.Fatal(err)
	}
	return len(events)
}

// A batch is written whole or not at all.
func TestBatchIsWhole(t *testing.T) {
	l := newLab(t, capped)
	run := l.run(nil)
	token := l.token(RoleRecorder, project)
	before := l.audit()
	got := l.post(token, &seven, builtRecord(run.ID, "tiny", project), testedRecord(run.ID, lineage.Passed), releasedRecord(run.ID, "beta", lineage.TargetUploading, ""))
	if got.code(t) != CodeRefused || l.audit() != before {
		t.Errorf("HTTP %d, %d events were written", got.status, l.audit()-before)
	}
	// What is written later in a batch may build on what is before.
	got = l.post(token, &seven, builtRecord(run.ID, "tiny", project), testedRecord(run.ID, lineage.Passed), releasedRecord(run.ID, "alpha", lineage.TargetUploading, ""))
	if got.status != http.StatusOK {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	// An end ends it within the batch too.
	got = l.post(token, &seven, movedRecord(run.ID, lineage.RunFailure), testedRecord(run.ID, lineage.FailedTest))
	if got.code(t) != CodeConflict {
		t.Errorf("after its end: HTTP %d %s", got.status, got.body)
	}
}

// A build that nobody started from here opens its run by recording it, and the
// daemon follows it from then on.
func TestRecorderOpensARun(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleRecorder, project)
	id := newID()
	opened := lineage.Record{ID: newID(), At: day, Actor: "jenkins", Channel: "cli", RunID: id, Verb: lineage.VerbOpened, Run: &lineage.Run{
		ID: id, Image: "tiny", Project: project, Ref: "main", Commit: "c0ffee", Folder: "tiny", State: lineage.RunBuilding,
		Channel: "hook", HeadSeq: 5, Managed: true, Actor: "somebody else", CancelBy: "nobody",
	}}
	// No image records without a run, no run without a build.
	if got := l.post(token, &seven, builtRecord(id, "tiny", project)); got.code(t) != CodeNotFound {
		t.Errorf("an image without a run: HTTP %d %s", got.status, got.body)
	}
	if got := l.post(token, nil, opened); got.code(t) != CodeInvalid {
		t.Errorf("a run without a build: HTTP %d %s", got.status, got.body)
	}
	for range 2 {
		if got := l.post(token, &seven, opened, builtRecord(id, "tiny", project)); got.status != http.StatusOK && got.code(t) != CodeConflict {
			t.Fatalf("HTTP %d %s", got.status, got.body)
		}
	}
	run, err := l.store.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if run.State != lineage.RunBuilding || run.Build != 7 || !run.Managed || run.HeadSeq != 0 || run.Channel != lineage.ChannelAPI || run.CancelBy != "" || !strings.HasPrefix(run.Actor, "jenkins:aibuild/build#7") {
		t.Errorf("run = %+v", run)
	}
	eight := Build{Job: seven.Job, Number: 8}
	again := opened
	again.ID = newID()
	if got := l.post(token, &eight, again); got.code(t) != CodeConflict {
		t.Errorf("another build opens the same run: HTTP %d %s", got.status, got.body)
	}
	l.end(id, lineage.RunSuccess)
	if got := l.post(token, &seven, opened); got.status != http.StatusOK {
		t.Errorf("repeated after the end: HTTP %d %s", got.status, got.body)
	}
	if got := l.post(token, &eight, again); got.code(t) != CodeConflict {
		t.Errorf("another build opens the ended run: HTTP %d %s", got.status, got.body)
	}
}

// Of several builds that come at once with one run, one gets it.
func TestOneBuildGetsTheRun(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleRecorder, project)
	run := l.run(func(r *lineage.Run) { r.State = lineage.RunTriggering })
	fresh := newID()
	for _, id := range []string{run.ID, fresh} {
		var wg sync.WaitGroup
		codes := make([]string, 8)
		for i := range codes {
			wg.Go(func() {
				r := movedRecord(id, lineage.RunBuilding)
				r.Run.Image, r.Run.Project = "tiny", project
				if id == fresh {
					r.Verb = lineage.VerbOpened
				}
				codes[i] = l.post(token, &Build{Job: "j", Number: int64(i + 1)}, r).code(t)
			})
		}
		wg.Wait()
		won := 0
		for _, code := range codes {
			if code == "" {
				won++
			} else if code != CodeConflict {
				t.Errorf("code = %s", code)
			}
		}
		stored, err := l.store.Run(t.Context(), id)
		if err != nil || won != 1 || codes[stored.Build-1] != "" {
			t.Errorf("%d builds got the run, it is build %d's: %v", won, stored.Build, err)
		}
	}
}

// A release hides older images of the name: that is the run's business too.
func TestReleaseHidesOlderImages(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleRecorder, project)
	older := newID()
	l.stored(builtRecord(older, "tiny", project), testedRecord(older, lineage.Passed))
	run := l.run(nil)
	if got := l.post(token, &seven, releasedRecord(older, "alpha", lineage.TargetHidden, newID())); got.code(t) != CodeConflict {
		t.Errorf("before the run is this build's: HTTP %d %s", got.status, got.body)
	}
	if got := l.post(token, &seven, builtRecord(run.ID, "tiny", project), releasedRecord(older, "alpha", lineage.TargetHidden, newID())); got.status != http.StatusOK {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	stranger := newID()
	l.stored(builtRecord(stranger, "elsewhere", other))
	if got := l.post(token, &seven, releasedRecord(stranger, "alpha", lineage.TargetHidden, newID())); got.status < 400 {
		t.Errorf("another project's image: HTTP %d %s", got.status, got.body)
	}
	hide := releasedRecord(stranger, "alpha", lineage.TargetHidden, newID())
	hide.RunID = run.ID
	if got := l.post(token, &seven, hide); got.code(t) != CodeOtherProject {
		t.Errorf("another project's image under our run: HTTP %d %s", got.status, got.body)
	}
}

// Releasers decide where images are; they do not make them.
func TestReleaserRecords(t *testing.T) {
	l := newLab(t, capped)
	image, feature := newID(), newID()
	branch := builtRecord(feature, "tiny-f", project)
	branch.Built.Artifact.Ref = "feature"
	l.stored(builtRecord(image, "tiny", project), branch)
	releaser, admin, limited := l.token(RoleReleaser), l.token(RoleAdmin), l.token(RoleReleaser, other)
	yes := true
	revoked := lineage.Record{ID: newID(), At: day, Actor: "bob", Channel: "cli", Verb: lineage.VerbRevoked, ImageUUID: image, Marked: &lineage.Mark{Revoked: &yes}}
	transfer := lineage.Record{ID: newID(), At: day, Verb: lineage.VerbMovedTo, ImageUUID: image, Marked: &lineage.Mark{Project: project}}
	gone := releasedRecord(image, "former", lineage.TargetRevoked, newID())
	bare := func(verb string) lineage.Record {
		return lineage.Record{ID: newID(), At: day, Verb: verb, ImageUUID: image}
	}
	tests := []struct {
		name   string
		token  Secret
		record lineage.Record
		code   string
	}{
		{"release", releaser, releasedRecord(image, "alpha", lineage.TargetVisible, newID()), ""},
		{"release into a cluster that is not the project's", releaser, releasedRecord(image, "beta", lineage.TargetUploading, ""), CodeRefused},
		{"the same as an administrator", admin, releasedRecord(image, "beta", lineage.TargetUploading, ""), CodeRefused},
		{"withdraw from a cluster that is not the project's any more", releaser, gone, ""},
		{"release from a branch that may not", releaser, releasedRecord(feature, "alpha", lineage.TargetVisible, newID()), CodeRefused},
		{"revoke", releaser, revoked, ""},
		{"revoke another project's", limited, revoked, CodeOtherProject},
		{"transfer", releaser, transfer, CodeForbidden},
		{"transfer as an administrator", admin, transfer, ""},
		{"a remark", releaser, bare("noted"), ""},
		{"a rollback", releaser, bare(lineage.VerbRolled), ""},
		{"an end of a run that is none", releaser, bare(lineage.VerbEnded), CodeForbidden},
		{"a revocation that is none", releaser, bare(lineage.VerbRevoked), CodeForbidden},
		{"a pruning that is none", releaser, bare(lineage.VerbPruned), CodeForbidden},
		{"any word", releaser, bare("promoted"), CodeForbidden},
		{"a hold that says it is a revocation", releaser, lineage.Record{ID: newID(), At: day, Verb: lineage.VerbRevoked, ImageUUID: image, Marked: &lineage.Mark{Held: &yes}}, CodeForbidden},
		{"a hold", releaser, lineage.Record{ID: newID(), At: day, Verb: lineage.VerbHeld, ImageUUID: image, Marked: &lineage.Mark{Held: &yes}}, ""},
		{"any word of an administrator", admin, bare("promoted"), ""},
		{"a verdict", releaser, testedRecord(image, lineage.Passed), CodeForbidden},
		{"a verdict of an administrator", admin, testedRecord(image, lineage.Passed), ""},
		{"what is installed", releaser, listedRecord(image, "1"), CodeForbidden},
		{"what is installed, as a remark", releaser, func() lineage.Record { r := listedRecord(image, "1"); r.Verb = "noted"; return r }(), CodeForbidden},
		{"what is installed, of an administrator", admin, listedRecord(image, "1"), ""},
		{"a build", releaser, builtRecord(newID(), "tiny", project), CodeForbidden},
		{"a build of an administrator", admin, builtRecord(newID(), "tiny", project), ""},
		{"a build of a name that is not the project's", admin, builtRecord(newID(), "huge", project), CodeRefused},
		{"an image that there is not", releaser, releasedRecord(newID(), "alpha", lineage.TargetVisible, newID()), CodeNotFound},
	}
	for _, tt := range tests {
		if got := l.post(tt.token, nil, tt.record); got.code(t) != tt.code {
			t.Errorf("%s: HTTP %d %s, want %q", tt.name, got.status, got.body, tt.code)
		}
	}
	events, _, err := l.store.Events(t.Context(), lineage.EventFilter{ImageUUID: image, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.RecordID == revoked.ID && e.Actor != "releaser (bob)" {
			t.Errorf("revoked by %q", e.Actor)
		}
	}
}

// Nobody makes himself the daemon, and nothing happens in the future.
func TestStamps(t *testing.T) {
	l := newLab(t, nil)
	run := l.run(nil)
	end := movedRecord(run.ID, lineage.RunSuccess)
	end.Channel, end.Actor, end.Run.Channel, end.At = lineage.ChannelDaemon, "daemon", lineage.ChannelDaemon, time.Now().Add(100*24*time.Hour)
	for token, build := range map[Secret]*Build{l.token(RoleRecorder, project): &seven, l.token(RoleAdmin): nil} {
		end.ID = newID()
		if got := l.post(token, build, end); got.status != http.StatusOK {
			t.Fatalf("HTTP %d %s", got.status, got.body)
		}
	}
	stored, err := l.store.Run(t.Context(), run.ID)
	if err != nil || stored.State != lineage.RunBuilding {
		t.Errorf("run = %s, %v; a client has ended what is the daemon's", stored.State, err)
	}
	events, _, err := l.store.Events(t.Context(), lineage.EventFilter{RunID: run.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if e.Channel == lineage.ChannelDaemon || e.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("event %s over %s at %s", e.Verb, e.Channel, e.At)
		}
	}
}
