package jenkins_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// These tests let the client talk to a whole Jenkins, which knows of none of the answers that the other tests
// expect, in an old version and a current one.

const standInJob = "aibuild/build"

// gated is a job whose builds say who they are, and end when the file is there.
func gated(gate string, kind jenkinstest.Kind) jenkinstest.Job {
	return jenkinstest.Job{Path: standInJob, Kind: kind,
		Command: fmt.Sprintf("echo run $AIBUILD_RUN_ID\nuntil test -e '%s'; do sleep 0.02; done\necho done", gate),
		Parameters: []jenkinstest.Parameter{{Name: "AIBUILD_RUN_ID"}, {Name: "AIBUILD_REF"},
			{Name: "AIBUILD_FROM", Type: "choice", Choices: []string{"build", "test"}}}}
}

// inBothVersions gives each version a server under a path, which believes that it has another address, and a client.
func inBothVersions(t *testing.T, o jenkinstest.Options, job jenkinstest.Job, test func(*testing.T, *jenkinstest.Server, jenkins.Client)) {
	for _, profile := range []string{jenkinstest.Profile2300, jenkinstest.ProfileCurrent} {
		t.Run(profile, func(t *testing.T) {
			o.Profile, o.Context, o.RootURL, o.QuietPeriod = profile, "/ci", "https://ci.example.org/jenkins/", -1
			server, err := jenkinstest.Start(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := server.Close(); err != nil {
					t.Error(err)
				}
			})
			if err := server.AddJob(job); err != nil {
				t.Fatal(err)
			}
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			test(t, server, jenkins.Client{URL: server.URL(), User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Transport: transport})
		})
	}
}

// until asks again and again, and fails the test after a while.
func until[T any](t *testing.T, what string, ask func() (T, error), good func(T) bool) T {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		got, err := ask()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if good(got) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %+v", what, got)
		}
	}
}

func startRun(t *testing.T, client jenkins.Client, run string) jenkins.Started {
	t.Helper()
	started, err := client.Start(t.Context(), standInJob, map[string]string{"AIBUILD_RUN_ID": run, "AIBUILD_REF": "refs/heads/ü&b=1\n$(x)", "AIBUILD_FROM": "test"})
	if err != nil {
		t.Fatal(err)
	}
	return started
}

func becomesBuild(t *testing.T, client jenkins.Client, id int64) jenkins.Item {
	t.Helper()
	return until(t, "a build", func() (jenkins.Item, error) { return client.Queued(t.Context(), id) }, func(i jenkins.Item) bool { return i.Build > 0 })
}

func ends(t *testing.T, client jenkins.Client, number int64) jenkins.Build {
	t.Helper()
	return until(t, "the end", func() (jenkins.Build, error) { return client.Build(t.Context(), standInJob, number) },
		func(b jenkins.Build) bool { return !b.Building })
}

func openGate(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStandInFollow(t *testing.T) {
	for _, kind := range []jenkinstest.Kind{jenkinstest.Freestyle, jenkinstest.Pipeline} {
		t.Run(string(kind), func(t *testing.T) {
			gate := filepath.Join(t.TempDir(), "gate")
			inBothVersions(t, jenkinstest.Options{}, gated(gate, kind), func(t *testing.T, _ *jenkinstest.Server, client jenkins.Client) {
				follow(t, client, gate)
				if err := os.Remove(gate); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func follow(t *testing.T, client jenkins.Client, gate string) {
	started := startRun(t, client, "r1")
	item := becomesBuild(t, client, started.QueueID)
	if item.Job != standInJob || !item.Left || item.Cancelled || item.BuildURL != client.URL+"/job/aibuild/job/build/1/" {
		t.Errorf("item %+v", item)
	}
	build, err := client.Build(t.Context(), standInJob, item.Build)
	if err != nil || !build.Building || build.Result != "" || build.QueueID != started.QueueID || build.URL != item.BuildURL || time.Since(build.StartedAt) > time.Minute {
		t.Errorf("Build = %+v, %v", build, err)
	}
	params := map[string]string{"AIBUILD_RUN_ID": "r1", "AIBUILD_REF": "refs/heads/ü&b=1\n$(x)", "AIBUILD_FROM": "test"}
	if fmt.Sprint(build.Params) != fmt.Sprint(params) || len(build.Causes) != 1 || !strings.Contains(build.Causes[0], jenkinstest.DefaultUser) {
		t.Errorf("build %+v", build)
	}
	text, next := readLog(t, client, item.Build, 0, "run r1\n")
	openGate(t, gate)
	if build := ends(t, client, item.Build); build.Result != "SUCCESS" || build.AbortedBy != "" || build.Duration <= 0 {
		t.Errorf("at the end %+v", build)
	}
	rest, end := readLog(t, client, item.Build, next, "Finished: SUCCESS\n")
	whole, _, more, err := client.Log(t.Context(), standInJob, item.Build, 0)
	if err != nil || more || string(whole) != text+rest || strings.Contains(text+rest, "\r") {
		t.Errorf("log in pieces %q, at once %q, %v, %v", text+rest, whole, more, err)
	}
	if again, next, _, err := client.Log(t.Context(), standInJob, item.Build, end+1000); err != nil || next >= end+1000 || string(again) != string(whole) {
		t.Errorf("beyond the end: %q, %d, %v", again, next, err)
	}
	builds, err := client.Builds(t.Context(), standInJob, 10)
	if err != nil || len(builds) != 1 || fmt.Sprint(builds[0]) != fmt.Sprint(ends(t, client, 1)) {
		t.Errorf("Builds = %+v, %v", builds, err)
	}
	if found, err := client.FindByRunID(t.Context(), standInJob, "r1"); err != nil || found.Build == nil || found.Build.Number != 1 {
		t.Errorf("FindByRunID = %+v, %v", found, err)
	}
	if _, err := client.FindByRunID(t.Context(), standInJob, "r2"); !errors.Is(err, jenkins.ErrNotFound) {
		t.Errorf("FindByRunID of another: %v", err)
	}
}

// readLog reads on until the text has a line.
func readLog(t *testing.T, client jenkins.Client, number, start int64, line string) (string, int64) {
	t.Helper()
	var text strings.Builder
	until(t, "the log", func() (string, error) {
		part, next, _, err := client.Log(t.Context(), standInJob, number, start)
		text.Write(part)
		start = next
		return text.String(), err
	}, func(text string) bool { return strings.Contains(text, line) })
	return text.String(), start
}

func TestStandInFoldStopCancel(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "never")
	inBothVersions(t, jenkinstest.Options{Grace: time.Second}, gated(gate, jenkinstest.Freestyle), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		first := becomesBuild(t, client, startRun(t, client, "r1").QueueID)
		second := startRun(t, client, "r2")
		again := startRun(t, client, "r2")
		if again.QueueID != second.QueueID || again.Folded == strings.HasSuffix(t.Name(), "2.300") {
			t.Errorf("started %+v, then %+v", second, again)
		}
		third := startRun(t, client, "r3")
		if third.QueueID == second.QueueID || third.Folded {
			t.Errorf("another run was folded: %+v", third)
		}
		items := until(t, "two blocked items", func() ([]jenkins.Item, error) { return client.Queue(t.Context()) }, func(items []jenkins.Item) bool {
			return len(items) == 2 && !slices.ContainsFunc(items, func(i jenkins.Item) bool { return !i.Blocked })
		})
		if !strings.Contains(items[0].Why, "already in progress") || items[0].Job != standInJob {
			t.Errorf("queue %+v", items)
		}
		if found, err := client.FindByRunID(t.Context(), standInJob, "r2"); err != nil || found.Item == nil || found.Item.ID != second.QueueID {
			t.Errorf("FindByRunID = %+v, %v", found, err)
		}
		if job, err := client.Job(t.Context(), standInJob); err != nil || !job.InQueue || !job.Buildable {
			t.Errorf("Job = %+v, %v", job, err)
		}
		for range 2 { // the second time it has left already
			if err := client.Cancel(t.Context(), second.QueueID); err != nil {
				t.Error(err)
			}
		}
		if item, err := client.Queued(t.Context(), second.QueueID); err != nil || !item.Cancelled || !item.Left || item.Build != 0 {
			t.Errorf("cancelled: %+v, %v", item, err)
		}
		for _, id := range []int64{first.ID, 99999} {
			if err := client.Cancel(t.Context(), id); !errors.Is(err, jenkins.ErrNotFound) {
				t.Errorf("Cancel of %d: %v", id, err)
			}
		}
		if err := client.Cancel(t.Context(), third.QueueID); err != nil {
			t.Error(err)
		}
		if err := client.Stop(t.Context(), standInJob, first.Build); err != nil {
			t.Error(err)
		}
		if build := ends(t, client, first.Build); build.Result != "ABORTED" || !strings.Contains(build.AbortedBy, jenkinstest.DefaultUser) {
			t.Errorf("stopped: %+v", build)
		}
		if err := client.Stop(t.Context(), standInJob, first.Build); err != nil {
			t.Errorf("stop of what has ended: %v", err)
		}
		if err := client.Stop(t.Context(), standInJob, 99); !errors.Is(err, jenkins.ErrNotFound) {
			t.Errorf("stop of nothing: %v", err)
		}
		if server.Posts(standInJob) != 4 {
			t.Errorf("%d posts, want 4", server.Posts(standInJob))
		}
	})
}

// TestStandInRestart: left items are forgotten, builds are not; what waits may be lost too.
func TestStandInRestart(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "never")
	inBothVersions(t, jenkinstest.Options{Grace: time.Second}, gated(gate, jenkinstest.Pipeline), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		var sessions []string
		client.OnSession = func(session string) {
			if !slices.Contains(sessions, session) {
				sessions = append(sessions, session)
			}
		}
		first := becomesBuild(t, client, startRun(t, client, "r1").QueueID)
		second := startRun(t, client, "r2")
		server.Restart(false)
		_, err := client.Queued(t.Context(), first.ID)
		if len(sessions) != 2 || !errors.Is(err, jenkins.ErrNotFound) {
			t.Errorf("after a restart: sessions %q, %v", sessions, err)
		}
		if found, err := client.FindByRunID(t.Context(), standInJob, "r1"); err != nil || found.Build == nil || found.Build.Number != first.Build {
			t.Errorf("the build: %+v, %v", found, err)
		}
		if found, err := client.FindByRunID(t.Context(), standInJob, "r2"); err != nil || found.Item == nil || found.Item.ID != second.QueueID {
			t.Errorf("the item: %+v, %v", found, err)
		}
		server.Restart(true)
		_, err = client.FindByRunID(t.Context(), standInJob, "r2")
		if failed, ok := errors.AsType[*jenkins.Error](err); !ok || !errors.Is(err, jenkins.ErrNotFound) || failed.Status != 200 {
			t.Errorf("an item that was lost: %v", err)
		}
		if again := startRun(t, client, "r2"); again.Folded {
			t.Errorf("started again: %+v", again)
		}
		if err := server.DeleteBuild(standInJob, int(first.Build)); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Build(t.Context(), standInJob, first.Build); !errors.Is(err, jenkins.ErrNotFound) {
			t.Errorf("a deleted build: %v", err)
		}
	})
}

// TestStandInDown: while Jenkins is away, nothing is an answer, and all goes on afterwards.
func TestStandInDown(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "never")
	inBothVersions(t, jenkinstest.Options{Grace: time.Second}, gated(gate, jenkinstest.Pipeline), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		item := becomesBuild(t, client, startRun(t, client, "r1").QueueID)
		server.GoDown()
		for name, err := range everyCall(t, client, item) {
			checkError(t, err, jenkins.ErrUnavailable, 503, "try again")
			if failed := err.(*jenkins.Error); failed.RetryAfter < 0 {
				t.Errorf("%s: %+v", name, failed)
			}
		}
		server.ComeUp(false)
		if found, err := client.FindByRunID(t.Context(), standInJob, "r1"); err != nil || found.Build == nil || !found.Build.Building {
			t.Errorf("FindByRunID = %+v, %v", found, err)
		}
		for kind, reason := range map[jenkinstest.FaultKind]error{
			jenkinstest.BadGateway: jenkins.ErrUnavailable, jenkinstest.Unavailable: jenkins.ErrUnavailable, jenkinstest.Reset: jenkins.ErrUnavailable,
			jenkinstest.LoginPage: jenkins.ErrProtocol, jenkinstest.Redirect: jenkins.ErrProtocol, jenkinstest.Hang: jenkins.ErrUnavailable,
			jenkinstest.Lost: jenkins.ErrUnavailable,
		} {
			if err := server.Fail(jenkinstest.Fault{Kind: kind, N: -1}); err != nil {
				t.Fatal(err)
			}
			hurried := client
			hurried.Timeout = 200 * time.Millisecond
			for name, err := range everyCall(t, hurried, item) {
				if !errors.Is(err, reason) {
					t.Errorf("%s with %s: %v, want %v", name, kind, err, reason)
				}
			}
			server.Heal()
		}
	})
}

func everyCall(t *testing.T, client jenkins.Client, item jenkins.Item) map[string]error {
	ctx, calls := t.Context(), map[string]error{}
	_, calls["Check"] = client.Check(ctx)
	_, calls["Session"] = client.Session(ctx)
	_, calls["Job"] = client.Job(ctx, standInJob)
	_, calls["MayStart"] = client.MayStart(ctx, standInJob)
	_, calls["Label"] = client.Label(ctx, "kvm")
	_, calls["Start"] = client.Start(ctx, standInJob, map[string]string{"AIBUILD_RUN_ID": "r9"})
	_, calls["Queued"] = client.Queued(ctx, item.ID)
	_, calls["Queue"] = client.Queue(ctx)
	_, calls["Build"] = client.Build(ctx, standInJob, item.Build)
	_, calls["Builds"] = client.Builds(ctx, standInJob, 10)
	_, _, _, calls["Log"] = client.Log(ctx, standInJob, item.Build, 0)
	_, calls["FindByRunID"] = client.FindByRunID(ctx, standInJob, "r1")
	calls["Stop"] = client.Stop(ctx, standInJob, 99)
	calls["Cancel"] = client.Cancel(ctx, 99999)
	return calls
}

// TestStandInLostAnswer: the start whose answer never came is found.
func TestStandInLostAnswer(t *testing.T) {
	gate := filepath.Join(t.TempDir(), "never")
	inBothVersions(t, jenkinstest.Options{Grace: time.Second}, gated(gate, jenkinstest.Pipeline), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		if err := server.Fail(jenkinstest.Fault{Kind: jenkinstest.Lost, Method: "POST"}); err != nil {
			t.Fatal(err)
		}
		_, err := client.Start(t.Context(), standInJob, map[string]string{"AIBUILD_RUN_ID": "r1"})
		checkError(t, err, jenkins.ErrUnavailable, 0, "EOF")
		found, err := client.FindByRunID(t.Context(), standInJob, "r1")
		if err != nil || (found.Item == nil) == (found.Build == nil) || server.Posts(standInJob) != 1 {
			t.Errorf("FindByRunID = %+v, %v, after %d posts", found, err, server.Posts(standInJob))
		}
	})
}

// TestStandInPlaceholder: a Pipeline that waits for an agent has an entry of its own in the queue.
func TestStandInPlaceholder(t *testing.T) {
	job := gated(filepath.Join(t.TempDir(), "never"), jenkinstest.Pipeline)
	job.Path, job.Label = "mb/feature%2Fx", "kvm"
	o := jenkinstest.Options{Grace: time.Second, Nodes: []jenkinstest.Node{{Name: "kvm1", Labels: []string{"kvm"}, Offline: true}}}
	inBothVersions(t, o, job, func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		started, err := client.Start(t.Context(), job.Path, map[string]string{"AIBUILD_RUN_ID": "r1"})
		if err != nil {
			t.Fatal(err)
		}
		item := becomesBuild(t, client, started.QueueID)
		if item.Job != job.Path || item.BuildURL != client.URL+"/job/mb/job/feature%252Fx/1/" {
			t.Errorf("item %+v", item)
		}
		until(t, "the step in the queue", func() (error, error) {
			_, err := client.Queued(t.Context(), started.QueueID+1)
			return err, nil
		}, func(err error) bool {
			return errors.Is(err, jenkins.ErrNotFound) && strings.Contains(err.Error(), "step of a pipeline")
		})
		if items, err := client.Queue(t.Context()); err != nil || len(items) != 0 {
			t.Errorf("Queue = %+v, %v", items, err)
		}
		if found, err := client.FindByRunID(t.Context(), job.Path, "r1"); err != nil || found.Build == nil {
			t.Errorf("FindByRunID = %+v, %v", found, err)
		}
		if label, err := client.Label(t.Context(), "kvm"); err != nil || !slices.Equal(label.Agents, []string{"kvm1"}) || label.Executors != 0 || label.Clouds != 0 {
			t.Errorf("Label = %+v, %v", label, err)
		}
		if label, err := client.Label(t.Context(), "gpu"); err != nil || len(label.Agents) != 0 {
			t.Errorf("Label of nobody = %+v, %v", label, err)
		}
		if err := client.Stop(t.Context(), job.Path, 1); err != nil {
			t.Error(err)
		}
	})
}

func TestStandInRefusals(t *testing.T) {
	read := []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead, Path: "aibuild"}}
	o := jenkinstest.Options{Executors: -1, Users: []jenkinstest.User{
		{Name: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Password: "secret", Admin: true},
		{Name: "reader", Token: "t0ken1", Grants: read}, {Name: "blind", Token: "t0ken2", Grants: read[:1]}, {Name: "nobody", Token: "t0ken3"},
	}}
	inBothVersions(t, o, gated("/never", jenkinstest.Freestyle), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		as := func(user, token string) jenkins.Client {
			other := client
			other.User, other.Token = user, token
			return other
		}
		waits, ctx := startRun(t, client, "r1"), t.Context()
		reader, params := as("reader", "t0ken1"), map[string]string{"AIBUILD_RUN_ID": "r2"}
		_, err := reader.Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrForbidden, 403, "reader lacks hudson.model.Item.Build")
		checkError(t, reader.Cancel(ctx, waits.QueueID), jenkins.ErrForbidden, 422, "Job/Cancel")
		if known, err := reader.MayStart(ctx, standInJob); known == strings.HasSuffix(t.Name(), "2.300") || known != errors.Is(err, jenkins.ErrForbidden) {
			t.Errorf("MayStart = %v, %v", known, err)
		}
		if _, err := client.MayStart(ctx, standInJob); err != nil || server.Posts(standInJob) != 2 {
			t.Errorf("MayStart: %v; %d posts, want 2", err, server.Posts(standInJob))
		}
		_, err = as("blind", "t0ken2").Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrNotFound, 404, "Job/Read")
		_, err = as("nobody", "t0ken3").Check(ctx)
		checkError(t, err, jenkins.ErrForbidden, 403, "nobody lacks hudson.model.Hudson.Read")
		_, err = as("reader", "wrong").Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrAuth, 401, "/me/security")
		_, err = as(jenkinstest.DefaultUser, "secret").Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrForbidden, 403, "give an api token")

		params["AIBUILD_FROM"] = "publish"
		_, err = client.Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrParameters, 500, "AIBUILD_FROM=publish is none of the choices: build, test")
		if err := server.DropParameters(standInJob); err != nil {
			t.Fatal(err)
		}
		if job, err := client.Job(ctx, standInJob); err != nil || job.Parameters != nil {
			t.Errorf("Job = %+v, %v", job, err)
		}
		_, err = client.Start(ctx, standInJob, params)
		if failed, ok := errors.AsType[*jenkins.Error](err); !ok || !errors.Is(err, jenkins.ErrParameters) || failed.Status != 400 && failed.Status != 500 {
			t.Errorf("start without declared parameters: %v", err)
		}
		if err := server.DisableJob(standInJob, true); err != nil {
			t.Fatal(err)
		}
		_, err = client.Start(ctx, standInJob, params)
		checkError(t, err, jenkins.ErrNotBuildable, 409, "enable the job")
		if job, err := client.Job(ctx, standInJob); err != nil || job.Buildable || !job.Disabled {
			t.Errorf("Job = %+v, %v", job, err)
		}
	})
}

// TestStandInUndeclared: a run id that the job does not declare is dropped without a word, and two runs become one
// item that belongs to neither. Before a start only Job tells.
func TestStandInUndeclared(t *testing.T) {
	inBothVersions(t, jenkinstest.Options{Executors: -1}, gated("/never", jenkinstest.Freestyle), func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		for _, declared := range [][]string{{"AIBUILD_RUN_ID", "AIBUILD_REF", "AIBUILD_FROM"}, {"AIBUILD_REF", "AIBUILD_FROM"}} {
			if job, err := client.Job(t.Context(), standInJob); err != nil || !slices.Equal(job.Parameters, declared) {
				t.Errorf("Job = %+v, %v; want parameters %q", job, err, declared)
			}
			if err := server.DropParameters(standInJob, "AIBUILD_RUN_ID"); err != nil {
				t.Fatal(err)
			}
		}
		first, second := startRun(t, client, "r1"), startRun(t, client, "r2")
		item, err := client.Queued(t.Context(), first.QueueID)
		if _, kept := item.Params["AIBUILD_RUN_ID"]; err != nil || kept || item.Params["AIBUILD_FROM"] != "test" {
			t.Errorf("item %+v, %v", item, err)
		}
		if second.QueueID != first.QueueID || second.Folded == strings.HasSuffix(t.Name(), "2.300") {
			t.Errorf("started %+v, then %+v", first, second)
		}
		_, err = client.FindByRunID(t.Context(), standInJob, "r1")
		checkError(t, err, jenkins.ErrNotFound, 200, "does not declare AIBUILD_RUN_ID")
	})
}
