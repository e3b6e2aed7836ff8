package api

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// pushed makes a ref's head known, as a delivery of GitLab does.
func (l *lab) pushed(of, ref, sha string) {
	l.t.Helper()
	ctx := l.t.Context()
	_, err := l.store.AcceptEvents(ctx, []lineage.HookEvent{{
		Instance: "https://gitlab.example", Key: newID(), Event: "push", Project: of, Ref: ref, Before: strings.Repeat("0", 40), After: sha, Payload: []byte("{}"),
	}})
	if err != nil {
		l.t.Fatal(err)
	}
	events, err := l.store.ClaimEvents(ctx, "test", 1, time.Minute)
	if err != nil || len(events) != 1 {
		l.t.Fatalf("claimed %d events, %v", len(events), err)
	}
	head, err := l.store.Head(ctx, of, ref)
	if err != nil {
		l.t.Fatal(err)
	}
	_, err = l.store.HandleEvent(ctx, lineage.Handled{Event: events[0].ID, Fence: events[0].Fence, State: lineage.EventHandled, MoveHead: true, PrevSeq: head.Seq})
	if err != nil {
		l.t.Fatal(err)
	}
}

func TestStartARun(t *testing.T) {
	l := newLab(t, capped)
	operator, releaser := l.token(RoleOperator), l.token(RoleReleaser)
	start := func(n NewRun) reply { return l.send("POST", "/api/v1/runs", operator, n) }
	for name, tt := range map[string]struct {
		run  NewRun
		code string
		says string
	}{
		"an image that nobody knows":  {NewRun{Image: "tiny"}, CodeInvalid, "project"},
		"no name":                     {NewRun{}, CodeInvalid, "image_name"},
		"a strange name":              {NewRun{Image: "../etc"}, CodeInvalid, "image_name"},
		"a name like a uuid":          {NewRun{Image: newID()}, CodeInvalid, "uuid"},
		"a name that is not allowed":  {NewRun{Image: "huge", Project: project, Ref: "main", Folder: "huge", Commit: "beef"}, CodeRefused, "names"},
		"no ref":                      {NewRun{Image: "tiny", Project: project, Folder: "tiny", Commit: "beef"}, CodeInvalid, "ref"},
		"no folder":                   {NewRun{Image: "tiny", Project: project, Ref: "main", Commit: "beef"}, CodeInvalid, "folder"},
		"a ref that was never pushed": {NewRun{Image: "tiny", Project: project, Ref: "main", Folder: "tiny"}, CodeInvalid, "commit"},
		"an id of another kind":       {NewRun{Image: "tiny", RunID: "74738ff5-5367-4958-9aee-98fffdcd1876"}, CodeInvalid, "UUIDv7"},
		"a Jenkins build":             {NewRun{Image: "tiny", Build: &seven}, CodeForbidden, "recorder"},
		"a release from a branch":     {NewRun{Image: "tiny", Project: project, Ref: "feature", Folder: "tiny", Commit: "beef", From: "release"}, CodeRefused, "release.refs"},
		"a test of no image":          {NewRun{Image: "tiny", Project: project, Ref: "main", Folder: "tiny", Commit: "beef", From: "test"}, CodeNotFound, "tiny"},
		"a build of an image that is": {NewRun{Image: "tiny", Project: project, Ref: "main", Folder: "tiny", Commit: "beef", ImageUUID: newID()}, CodeInvalid, "image_uuid"},
		"a stage that there is not":   {NewRun{Image: "tiny", From: "lunch"}, CodeInvalid, "from"},
	} {
		if got := start(tt.run); got.code(t) != tt.code || !strings.Contains(string(got.body), tt.says) {
			t.Errorf("%s: HTTP %d %s, want %s that says %s", name, got.status, got.body, tt.code, tt.says)
		}
	}
	l.pushed(project, "refs/heads/main", strings.Repeat("c", 40))
	first := into[RunDetail](t, start(NewRun{Image: "tiny", Project: project, Ref: "main", Folder: "images/tiny", Reason: "try it"}))
	if first.Commit != strings.Repeat("c", 40) || first.Ref != "refs/heads/main" || first.State != lineage.RunReceived || first.From != "build" ||
		!first.Managed || first.Channel != lineage.ChannelAPI || first.Actor != RoleOperator || first.Reason != "try it" || first.ImageUUID != first.ID {
		t.Errorf("started = %+v", first.Run)
	}
	// The next one needs the name only; what was opened on a machine says no folder.
	cli := lineage.Run{ID: newID(), Image: "tiny", Project: project, Ref: "main", Folder: "tiny", State: lineage.RunBuilding}
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "ann", Channel: "cli", RunID: cli.ID, Verb: lineage.VerbOpened, Run: &cli})
	id := newID()
	second := start(NewRun{Image: "tiny", RunID: id})
	if run := into[RunDetail](t, second); second.status != 201 || run.ID != id || run.Folder != "images/tiny" || run.Project != project || run.Commit != first.Commit {
		t.Errorf("started again = %+v", run.Run)
	}
	if again := start(NewRun{Image: "tiny", RunID: id}); again.status != 200 || into[RunDetail](t, again).ID != id {
		t.Errorf("repeated: HTTP %d %s", again.status, again.body)
	}
	if got := start(NewRun{Image: "tiny-two", RunID: id, Project: project}); got.code(t) != CodeConflict {
		t.Errorf("the same id for another image: HTTP %d %s", got.status, got.body)
	}
	// A name belongs to a project.
	image := newID()
	l.stored(builtRecord(image, "tiny", project))
	if got := start(NewRun{Image: "tiny", Project: other}); got.code(t) != CodeTaken {
		t.Errorf("another project's name: HTTP %d %s", got.status, got.body)
	}
	// From a later stage it works on an image: for tests the newest, to go out a good one.
	if run := into[RunDetail](t, start(NewRun{Image: "tiny", From: "test"})); run.ImageUUID != image || run.From != "test" {
		t.Errorf("from test = %+v", run.Run)
	}
	if got := start(NewRun{Image: "tiny", From: "publish"}); got.code(t) != CodeNotFound {
		t.Errorf("publish one that is not good: HTTP %d %s", got.status, got.body)
	}
	l.stored(testedRecord(image, lineage.Passed))
	run := into[RunDetail](t, l.send("POST", "/api/v1/runs", releaser, NewRun{Image: "tiny", From: "release"}))
	if run.ImageUUID != image || run.From != "release" {
		t.Errorf("from release = %+v", run.Run)
	}
	stranger := newID()
	l.stored(builtRecord(stranger, "tiny-s", project))
	if got := start(NewRun{Image: "tiny", From: "test", ImageUUID: stranger}); got.code(t) != CodeConflict {
		t.Errorf("an image of another name: HTTP %d %s", got.status, got.body)
	}
}

func TestRetryARun(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleOperator)
	retry := func(id string, o any) reply { return l.send("POST", "/api/v1/runs/"+id+"/retry", token, o) }
	ended := func(stage, image string, change func(*lineage.Run)) lineage.Run {
		run := l.run(change)
		l.stored(lineage.Record{ID: newID(), At: time.Now(), Channel: lineage.ChannelDaemon, Actor: "daemon", RunID: run.ID, Verb: lineage.VerbEnded,
			Run: &lineage.Run{ID: run.ID, ImageUUID: image, Stage: stage, State: lineage.RunFailure}})
		return run
	}
	image := newID()
	l.stored(builtRecord(image, "tiny", project))
	built := ended("build", "", nil)
	if run := into[RunDetail](t, retry(built.ID, nil)); run.From != "build" || run.RetryOf != built.ID || run.Attempt != 2 || run.Folder != built.Folder || run.Commit != built.Commit {
		t.Errorf("after the build = %+v", run.Run)
	}
	if got := retry(built.ID, RetryOptions{From: "test"}); got.code(t) != CodeConflict || !strings.Contains(string(got.body), "made no image") {
		t.Errorf("test of no image: HTTP %d %s", got.status, got.body)
	}
	tested := ended("test", image, nil)
	if run := into[RunDetail](t, retry(tested.ID, RetryOptions{Reason: "flaky"})); run.From != "test" || run.ImageUUID != image || run.Reason != "flaky" {
		t.Errorf("after the test = %+v", run.Run)
	}
	if run := into[RunDetail](t, retry(tested.ID, RetryOptions{From: "build"})); run.From != "build" || run.ImageUUID != run.ID {
		t.Errorf("from the build = %+v", run.Run)
	}
	branch := ended("test", image, func(r *lineage.Run) { r.Ref = "refs/heads/feature" })
	if got := retry(branch.ID, RetryOptions{From: "release"}); got.code(t) != CodeRefused {
		t.Errorf("release from a branch: HTTP %d %s", got.status, got.body)
	}
	if run := into[RunDetail](t, retry(ended("publish", image, func(r *lineage.Run) { r.Ref = "refs/heads/feature" }).ID, nil)); run.From != "test" || run.ImageUUID != image {
		t.Errorf("of a branch, whose runs stop before they publish = %+v", run.Run)
	}
	released := ended("release", image, nil)
	next := into[RunDetail](t, retry(released.ID, nil))
	if next.From != "release" || next.ImageUUID != image {
		t.Errorf("after the release = %+v", next.Run)
	}
	l.end(next.ID, lineage.RunLost) // before Jenkins has begun it
	if run := into[RunDetail](t, retry(next.ID, nil)); run.From != "release" || run.ImageUUID != image {
		t.Errorf("after a retry that never began = %+v", run.Run)
	}
	if _, err := PlanRetry(t.Context(), l.store, func(string) (definition.Policy, error) { return definition.Policy{}, nil }, lineage.Run{
		ID: newID(), Image: "tiny", Project: project, Commit: "c0ffee", State: lineage.RunFailure, ImageUUID: image,
	}, RetryOptions{From: "deploy"}); !isA[*lineage.Invalid](err) {
		t.Errorf("from no stage = %v", err)
	}
	running := l.run(nil)
	if got := retry(running.ID, nil); got.code(t) != CodeConflict {
		t.Errorf("one that runs: HTTP %d %s", got.status, got.body)
	}
	if got := retry(newID(), nil); got.code(t) != CodeNotFound {
		t.Errorf("one that there is not: HTTP %d %s", got.status, got.body)
	}
	local := lineage.Run{ID: newID(), Image: "tiny", Project: project, Ref: "main", Commit: "c0ffee", Folder: "tiny", State: lineage.RunFailure}
	nowhere := lineage.Run{ID: newID(), Image: "tiny-n", State: lineage.RunFailure}
	alone := lineage.Run{ID: newID(), Image: "tiny-a", Project: project, Ref: "main", Commit: "c0ffee", Folder: "tiny-a", State: lineage.RunFailure}
	for _, run := range []*lineage.Run{&local, &nowhere, &alone} {
		l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "ann", Channel: "cli", RunID: run.ID, Verb: lineage.VerbOpened, Run: run})
	}
	if run := into[RunDetail](t, retry(local.ID, nil)); run.Folder != "images/tiny" || run.Ref != "refs/heads/main" {
		t.Errorf("of one that was started by hand = %+v", run.Run)
	}
	for _, run := range []lineage.Run{nowhere, alone} {
		if got := retry(run.ID, nil); got.code(t) != CodeConflict {
			t.Errorf("%s, of which nobody knows where it is: HTTP %d %s", run.Image, got.status, got.body)
		}
	}
}

func TestOpenForABuild(t *testing.T) {
	l := newLab(t, capped)
	token := l.token(RoleRecorder, project)
	open := func(n NewRun) reply { return l.send("POST", "/api/v1/runs", token, n) }
	if got := open(NewRun{Image: "tiny"}); got.code(t) != CodeInvalid || !strings.Contains(string(got.body), "build") {
		t.Errorf("a build without a name: HTTP %d %s", got.status, got.body)
	}
	if got := open(NewRun{Image: "tiny", Project: other, Build: &seven}); got.code(t) != CodeOtherProject {
		t.Errorf("another project: HTTP %d %s", got.status, got.body)
	}
	if got := open(NewRun{Image: "huge", Build: &seven}); got.code(t) != CodeRefused {
		t.Errorf("a name that is not the project's: HTTP %d %s", got.status, got.body)
	}
	// The build names itself; resuming it opens nothing new.
	first := open(NewRun{Image: "tiny", Ref: "main", Commit: "c0ffee", Folder: "tiny", Build: &seven})
	run := into[RunDetail](t, first)
	if first.status != 201 || run.State != lineage.RunBuilding || run.Build != 7 || run.JenkinsJob != seven.Job || run.Project != project || !run.Managed || run.StartedAt.IsZero() {
		t.Errorf("opened = %+v", run.Run)
	}
	if again := open(NewRun{Image: "tiny", Build: &seven}); again.status != 200 || into[RunDetail](t, again).ID != run.ID {
		t.Errorf("resumed: HTTP %d %s", again.status, again.body)
	}
	events, _, err := l.store.Events(t.Context(), lineage.EventFilter{RunID: run.ID})
	if err != nil || len(events) != 1 || events[0].Verb != lineage.VerbOpened {
		t.Errorf("events = %+v, %v", events, err)
	}
	eight := seven
	eight.Number, eight.Tag = 8, "jenkins-aibuild-build-8"
	if next := into[RunDetail](t, open(NewRun{Image: "tiny", Build: &eight})); next.ID == run.ID || next.RetryOf != "" {
		t.Errorf("the next build = %+v", next.Run)
	}
	// One that the daemon started takes up its run; rebuilt, it gets another attempt.
	started := l.run(func(r *lineage.Run) { r.State = lineage.RunTriggering })
	if up := open(NewRun{Image: "tiny", RunID: started.ID, Build: &seven}); up.status != 200 || into[RunDetail](t, up).Build != 7 {
		t.Errorf("taken up: HTTP %d %s", up.status, up.body)
	}
	l.end(started.ID, lineage.RunFailure)
	if up := open(NewRun{Image: "tiny", RunID: started.ID, Build: &seven}); up.status != 200 || into[RunDetail](t, up).State != lineage.RunFailure {
		t.Errorf("resumed after its end: HTTP %d %s", up.status, up.body)
	}
	nine := Build{Job: seven.Job, Number: 9, Tag: "nine"}
	rebuilt := open(NewRun{Image: "tiny", RunID: started.ID, Build: &nine})
	attempt := into[RunDetail](t, rebuilt)
	if rebuilt.status != 201 || attempt.ID == started.ID || attempt.RetryOf != started.ID || attempt.Attempt != 2 || attempt.Build != 9 || attempt.Folder != started.Folder {
		t.Errorf("rebuilt = %+v", attempt.Run)
	}
	if again := open(NewRun{Image: "tiny", RunID: started.ID, Build: &nine}); again.status != 200 || into[RunDetail](t, again).ID != attempt.ID {
		t.Errorf("the rebuild resumed: HTTP %d %s", again.status, again.body)
	}
	waiting := l.run(func(r *lineage.Run) { r.State = lineage.RunQueued })
	if got := open(NewRun{Image: "tiny", RunID: waiting.ID, Build: &nine}); got.code(t) != CodeConflict {
		t.Errorf("one that was not started: HTTP %d %s", got.status, got.body)
	}
	theirs := l.run(func(r *lineage.Run) { r.Project, r.Image = other, "elsewhere" })
	if got := open(NewRun{Image: "elsewhere", RunID: theirs.ID, Build: &nine}); got.code(t) != CodeOtherProject {
		t.Errorf("another project's: HTTP %d %s", got.status, got.body)
	}
	if got := open(NewRun{Image: "tiny-x", RunID: attempt.ID, Build: &nine}); got.code(t) != CodeConflict {
		t.Errorf("another image: HTTP %d %s", got.status, got.body)
	}
	fresh := newID()
	if run := into[RunDetail](t, open(NewRun{Image: "tiny-f", RunID: fresh, Build: &nine})); run.ID != fresh {
		t.Errorf("of its own id = %+v", run.Run)
	}
}

// However often and however parallel a build asks, it gets one run.
func TestOneRunForABuild(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleRecorder, project)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			ids[i] = into[RunDetail](t, l.send("POST", "/api/v1/runs", token, NewRun{Image: "tiny", Build: &seven})).ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("runs = %v, want one", ids)
		}
	}
}

// What a project may do is asked of GitLab, which may be slow: builds of others
// open their runs meanwhile.
func TestBuildsDoNotWaitForOthers(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	l := newLab(t, func(c *Config) {
		c.Caps = func(of string) (definition.Policy, error) {
			if of == other {
				asked <- struct{}{}
				<-answer
			}
			return definition.Policy{Project: of}, nil
		}
	})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	token, slow := l.token(RoleRecorder, project), l.token(RoleRecorder, other)
	statuses := make(chan int, 2)
	for range 2 {
		go func() {
			statuses <- l.send("POST", "/api/v1/runs", slow, NewRun{Image: "slow", Build: &Build{Job: "other/build", Number: 7}}).status
		}()
	}
	<-asked
	eventually(t, "the second request waits for the first", func() bool {
		l.api.opening.mu.Lock()
		defer l.api.opening.mu.Unlock()
		t := l.api.opening.of["other/build#7"]
		return t != nil && t.users == 2
	})
	if got := l.send("POST", "/api/v1/runs", token, NewRun{Image: "tiny", Build: &seven}); got.status != 201 {
		t.Errorf("meanwhile: HTTP %d %s", got.status, got.body)
	}
	if got := l.post(token, &seven, openedRecord("tiny-two", project, "")); got.status != 200 {
		t.Errorf("recorded meanwhile: HTTP %d %s", got.status, got.body)
	}
	release()
	if one, two := <-statuses, <-statuses; one+two != 201+200 {
		t.Errorf("HTTP %d and %d, want one that opens and one that finds", one, two)
	}
	l.api.opening.mu.Lock()
	defer l.api.opening.mu.Unlock()
	if len(l.api.opening.of) != 0 {
		t.Errorf("%d builds are remembered", len(l.api.opening.of))
	}
}

func TestRunsPages(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleViewer, project, "group/third")
	var want []string
	for i := range 7 {
		run := l.run(func(r *lineage.Run) {
			if i%2 == 1 {
				r.Project, r.Image = other, "elsewhere"
			}
		})
		if i%2 == 0 {
			want = append([]string{run.ID}, want...)
		}
	}
	var got []string
	cursor := ""
	for range 10 {
		page := into[runsPage](t, l.send("GET", "/api/v1/runs?limit=2&cursor="+cursor, token, nil))
		for _, r := range page.Runs {
			got = append(got, r.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") || cursor != "" {
		t.Errorf("pages = %v, want %v", got, want)
	}
}
