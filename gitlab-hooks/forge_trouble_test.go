package hooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// hasty is a factory whose runs and statuses are due whenever a pass is made: nobody waits for what is tried again.
type hasty struct {
	*factory
	db   *sql.DB
	last string // commit
	n    int
}

func newHasty(t *testing.T) *hasty {
	t.Helper()
	h := &hasty{factory: newFactory(t, "")}
	server, err := privatedb.Open(t.Context(), privatedb.Config{Dir: h.in.dir, Linger: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if h.db, err = sql.Open("mysql", server.DSN()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(h.db.Close(), server.Close()); err != nil {
			t.Error(err)
		}
	})
	h.last = h.send("one", library, head)
	h.hurry("the first runs have ended", func() bool { return states(h.runs()) == "a:success b:success" })
	return h
}

// change pushes another version of image a.
func (h *hasty) change() (commit string) {
	h.t.Helper()
	h.n++
	h.commits = []string{h.last}
	h.last = h.send(fmt.Sprint("change ", h.n), library.with(files{"images/a/f": plain(fmt.Sprint(h.n))}), head)
	return h.last
}

// run is that of a commit; empty as long as there is none.
func (h *hasty) run(commit string) lineage.Run {
	h.t.Helper()
	runs := h.runs()
	if i := slices.IndexFunc(runs, func(r lineage.Run) bool { return r.Commit == commit }); i >= 0 {
		return runs[i]
	}
	return lineage.Run{}
}

// hurry is until with everything due.
func (h *hasty) hurry(what string, so func() bool) {
	h.t.Helper()
	h.until(what, func() bool {
		if _, err := h.db.Exec("UPDATE run SET next_at = NOW(6) WHERE finished = 0"); err != nil {
			h.t.Fatal(err)
		}
		return so()
	})
}

func (h *hasty) ends(commit, state, reason string) lineage.Run {
	h.t.Helper()
	h.hurry("the run has ended", func() bool { return h.run(commit).Final() })
	r := h.run(commit)
	if r.State != state || !strings.Contains(r.Reason, reason) {
		h.t.Errorf("the run is %s because of %q, want %s and %q", r.State, r.Reason, state, reason)
	}
	return r
}

func (h *hasty) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// addJob makes the factory's job as it was, but for a change.
func (h *hasty) addJob(server *jenkinstest.Server, change func(*jenkinstest.Job)) {
	h.t.Helper()
	job := jenkinstest.Job{Path: jobPath, Kind: jenkinstest.Pipeline, Concurrent: true, Command: recorder, UnstableReturn: 3}
	for _, name := range parameters {
		job.Parameters = append(job.Parameters, jenkinstest.Parameter{Name: name})
	}
	if change != nil {
		change(&job)
	}
	h.must(server.AddJob(job))
}

// While Jenkins cannot take a build, for whatever reason, the run says that reason and what to do about it; once that is
// mended, it is built, once.
func TestJenkinsTroubleInWords(t *testing.T) {
	f := newHasty(t)
	f.d.Jenkins.Timeout = 2 * time.Second
	fails := func(kind jenkinstest.FaultKind) func() {
		return func() { f.must(f.jenkins.Fail(jenkinstest.Fault{Kind: kind, N: -1})) }
	}
	other, err := jenkinstest.Start(jenkinstest.Options{QuietPeriod: -1, Extra: []string{"OUT=" + f.dir}, Users: []jenkinstest.User{
		{Name: "reader", Token: "r-t0ken", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead}}},
		{Name: "blind", Token: "b-t0ken", Grants: []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}}},
	}})
	f.must(err)
	t.Cleanup(func() {
		if err := other.Close(); err != nil {
			t.Error(err)
		}
	})
	f.addJob(other, nil)
	usual := f.d.Jenkins
	as := func(name string) func() {
		return func() {
			f.d.jobs.forget(jobPath)
			f.d.Jenkins = &jenkins.Client{URL: other.URL(), User: name, Token: name[:1] + "-t0ken", Timeout: 5 * time.Second}
		}
	}
	back := func() { f.d.Jenkins = usual }
	tests := []struct {
		name       string
		begin, end func()
		says       []string
	}{
		{"502", fails(jenkinstest.BadGateway), f.jenkins.Heal, []string{"not available (status 502)", "try again"}},
		{"503", fails(jenkinstest.Unavailable), f.jenkins.Heal, []string{"not available (status 503)", "jenkins is starting"}},
		{"login page", fails(jenkinstest.LoginPage), f.jenkins.Heal, []string{"not an answer of jenkins (status 200)", "not of a page or a login proxy"}},
		{"redirect", fails(jenkinstest.Redirect), f.jenkins.Heal, []string{"redirects to https://sso.example.org/login", "a proxy wants its own login"}},
		{"hang", fails(jenkinstest.Hang), f.jenkins.Heal, []string{"no whole answer in time", "then try again"}},
		{"cut", fails(jenkinstest.Cut), f.jenkins.Heal, []string{"EOF"}},
		{"reset", fails(jenkinstest.Reset), f.jenkins.Heal, []string{"EOF", "the network"}},
		{"lost", fails(jenkinstest.Lost), f.jenkins.Heal, []string{"EOF", "the network"}},
		{"wrong token", func() { f.jenkins.RejectTokens(true) }, func() { f.jenkins.RejectTokens(false) }, []string{"not logged in (status 401)", "make an api token"}},
		{"disabled", func() { f.must(f.jenkins.DisableJob(jobPath, true)) }, func() { f.must(f.jenkins.DisableJob(jobPath, false)) }, []string{"enable"}},
		{"disabled before", func() { f.d.jobs.forget(jobPath); f.must(f.jenkins.DisableJob(jobPath, true)) }, func() { f.must(f.jenkins.DisableJob(jobPath, false)) },
			[]string{"the job aibuild/build is disabled: enable it in jenkins"}},
		{"undeclared", func() {
			f.d.jobs.forget(jobPath)
			f.must(f.jenkins.DropParameters(jobPath, "AIBUILD_COMMIT", "AIBUILD_FROM"))
		}, func() { f.addJob(f.jenkins, nil) },
			[]string{"does not declare AIBUILD_COMMIT, AIBUILD_FROM: add them as string parameters"}},
		{"no job", func() { f.d.Job = "aibuild/none" }, func() { f.d.Job = jobPath }, []string{"jenkins has no job aibuild/none", "Job/Read"}},
		{"no permission to build", as("reader"), back, []string{"reader lacks hudson.model.Item.Build", "the permission Job/Build"}},
		{"no permission to see it", as("blind"), back, []string{"or the user may not see it", "grant Job/Read"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := built(f.factory)
			test.begin()
			id := f.change()
			f.hurry("the run says "+test.says[0], func() bool {
				r := f.run(id)
				if r.Final() {
					t.Fatalf("the run has ended: %s %s", r.State, r.Reason)
				}
				return !slices.ContainsFunc(test.says, func(says string) bool { return !strings.Contains(r.Reason, says) })
			})
			test.end()
			f.ends(id, lineage.RunSuccess, "SUCCESS")
			if n := built(f.factory) - before; n != 1 {
				t.Errorf("%d builds ran", n)
			}
		})
	}
}

// However a build ends, or goes, the run ends like it.
func TestOddEndsOfBuilds(t *testing.T) {
	f := newHasty(t)
	hold := filepath.Join(f.dir, "hold")
	begin := func(t *testing.T) (string, lineage.Run) {
		t.Helper()
		writeFile(t, hold, "")
		id := f.change()
		f.hurry("it is being built", func() bool { return f.run(id).State == lineage.RunBuilding })
		return id, f.run(id)
	}
	t.Run("deleted", func(t *testing.T) {
		id, r := begin(t)
		f.reportsNothing(id)
		f.must(f.jenkins.DeleteBuild(jobPath, int(r.Build)))
		f.ends(id, lineage.RunLost, fmt.Sprintf("build %d of %s was deleted before its end was seen", r.Build, jobPath))
		f.until("gitlab is told", func() bool { return f.status(id, "a") == statusFailed })
	})
	t.Run("aborted", func(t *testing.T) {
		id, r := begin(t)
		f.must(f.d.Jenkins.Stop(t.Context(), jobPath, r.Build))
		f.ends(id, lineage.RunAborted, jenkinstest.DefaultUser)
		f.until("gitlab is told", func() bool { return f.status(id, "a") == statusCanceled })
	})
	t.Run("restart", func(t *testing.T) {
		id, _ := begin(t)
		f.jenkins.GoDown()
		f.hurry("it says so", func() bool { return strings.Contains(f.run(id).Reason, "(status 503)") })
		f.jenkins.ComeUp(true)
		removeFile(t, hold)
		f.ends(id, lineage.RunSuccess, "SUCCESS")
	})
	t.Run("taken out of the queue", func(t *testing.T) {
		f.jenkins.QuietDown(true)
		id := f.change()
		f.hurry("it waits in jenkins", func() bool { return f.run(id).State == lineage.RunJenkinsQueue })
		f.must(f.d.Jenkins.Cancel(t.Context(), f.run(id).QueueID))
		f.ends(id, lineage.RunCancelled, "somebody took it out of jenkins' queue")
		f.jenkins.QuietDown(false)
	})
	t.Run("success of a build that reported nothing", func(t *testing.T) {
		f.d.reportFor = time.Hour
		id, _ := begin(t)
		f.reportsNothing(id)
		removeFile(t, hold)
		f.hurry("the report is waited for", func() bool { return strings.Contains(f.run(id).Reason, "waits for what aibuild reports") })
		f.d.reportFor = -1
		r := f.ends(id, lineage.RunFailure, silentReason)
		if r.Failure == nil || r.Failure.Sentence != silentReason || !strings.Contains(strings.Join(r.Failure.Lines, "\n"), "building images/a") {
			t.Errorf("failure %+v", r.Failure)
		}
		f.until("gitlab is told", func() bool { return f.status(id, "a") == statusFailed })
	})
	t.Run("success of a build that reported late", func(t *testing.T) {
		f.d.reportFor = time.Hour
		id, _ := begin(t)
		f.reportsNothing(id)
		removeFile(t, hold)
		f.hurry("the report is waited for", func() bool { return strings.Contains(f.run(id).Reason, "waits for what aibuild reports") })
		_, err := f.db.Exec("UPDATE run SET exit_code = 0 WHERE commit_sha = ?", id)
		f.must(err)
		f.ends(id, lineage.RunSuccess, "SUCCESS")
		if len(f.d.silent) != 0 {
			t.Errorf("still waited for: %v", f.d.silent)
		}
	})
	t.Run("not built", func(t *testing.T) {
		f.addJob(f.jenkins, func(j *jenkinstest.Job) { j.NotBuiltReturn = 4 })
		writeFile(t, filepath.Join(f.dir, "exit-a"), "4")
		id := f.change()
		f.ends(id, lineage.RunNotBuilt, "NOT_BUILT")
		f.until("gitlab is told", func() bool { return f.status(id, "a") == statusCanceled })
	})
}

// reportsNothing makes the build of a commit one from which nothing was reported.
func (h *hasty) reportsNothing(id string) {
	h.t.Helper()
	_, err := h.db.Exec("UPDATE run SET exit_code = NULL WHERE commit_sha = ?", id)
	h.must(err)
}

// outbox is what is noted of a run's status.
func (h *hasty) outbox(id string) (due bool, problem string) {
	h.t.Helper()
	h.must(h.db.QueryRow("SELECT status_due, status_error FROM run WHERE commit_sha = ?", id).Scan(&due, &problem))
	return due, problem
}

// A status that GitLab does not take now stays, with the reason, and is told once GitLab takes it.
func TestStatusesInTrouble(t *testing.T) {
	f := newHasty(t)
	const posts = "/api/v4/projects/*/statuses/"
	for _, test := range []struct {
		name  string
		fault gitlabtest.Fault
		says  string
	}{
		{"401", gitlabtest.Fault{Answer: gitlabtest.Unauthorized}, "token refused (status 401): 401 Unauthorized; make a new access token"},
		{"403", gitlabtest.Fault{Answer: gitlabtest.Forbidden}, "permission missing (status 403)"},
		{"404", gitlabtest.Fault{Answer: gitlabtest.NotFound}, "not found (status 404): 404 Project Not Found; check the project's path"},
		{"409", gitlabtest.Fault{Answer: gitlabtest.StatusLocked}, "(status 409)"},
		{"429", gitlabtest.Fault{Answer: gitlabtest.Throttled}, "too many requests; try again after 60 s"},
		{"502", gitlabtest.Fault{Answer: gitlabtest.BadGateway}, "(status 502): bad gateway; gitlab is starting"},
		{"503", gitlabtest.Fault{Answer: gitlabtest.Unavailable}, "(status 503)"},
		{"hang", gitlabtest.Fault{Hang: true}, "no whole answer in time"},
		{"cut", gitlabtest.Fault{Cut: true, Perform: true}, "the answer was cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.fault.Method, test.fault.Path = http.MethodPost, posts
			f.Fail(test.fault)
			defer f.ClearFaults()
			// A daemon that has met no trouble yet, and finds all statuses due.
			f.fresh(test.name)
			id := f.change()
			f.ends(id, lineage.RunSuccess, "SUCCESS")
			f.untilTold("a reason is noted", true, func() bool {
				_, problem := f.outbox(id)
				return problem != ""
			})
			if _, problem := f.outbox(id); !strings.Contains(problem, test.says) {
				t.Errorf("noted is %q, want %q", problem, test.says)
			}
			if due, problem := f.outbox(id); !due || strings.Contains(problem, f.client.Token) {
				t.Errorf("it is due: %v; %s", due, problem)
			}
			if test.name != "cut" && f.status(id, "a") == statusSuccess {
				t.Error("gitlab shows it all the same: this test tests nothing")
			}
			f.ClearFaults()
			f.untilTold("gitlab is told", true, func() bool {
				due, problem := f.outbox(id)
				return !due && problem == "" && f.status(id, "a") == statusSuccess
			})
		})
	}
	t.Run("its wait is kept", func(t *testing.T) {
		answer := gitlabtest.Throttled
		answer.RetryAfter = 40 * time.Minute
		f.Fail(gitlabtest.Fault{Method: http.MethodPost, Path: posts, Answer: answer})
		defer f.ClearFaults()
		f.fresh("patient")
		id := f.change()
		f.ends(id, lineage.RunSuccess, "SUCCESS")
		var minutes int
		f.untilTold("it is noted when", false, func() bool {
			return f.db.QueryRow("SELECT TIMESTAMPDIFF(MINUTE, NOW(6), status_next_at) FROM run WHERE commit_sha = ? AND status_error LIKE '%429%'", id).Scan(&minutes) == nil
		})
		if minutes < 30 || minutes > 40 {
			t.Errorf("it is tried again in %d minutes, not in 40", minutes)
		}
		f.ClearFaults()
		f.fresh("another")
		if _, err := f.d.Pass(t.Context()); err != nil || f.status(id, "a") == statusSuccess {
			t.Errorf("it was told before that: %v", err)
		}
	})
}

// fresh goes on with a new daemon, which knows of no trouble.
func (h *hasty) fresh(owner string) {
	h.t.Helper()
	h.must(h.in.ReleaseLeases(context.Background(), h.d.Owner))
	h.d = h.daemon(owner)
	h.d.GitLab.Timeout = time.Second
}

// untilTold is until by daemons that give GitLab no rest, with all statuses due or only those that are.
func (h *hasty) untilTold(what string, due bool, so func() bool) {
	h.t.Helper()
	for end := time.Now().Add(time.Minute); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("not so after a minute: %s; %+v", what, h.runs()[0])
		}
		h.fresh(h.d.Owner + "'")
		if due {
			_, err := h.db.Exec("UPDATE run SET status_next_at = NULL WHERE status_due = 1")
			h.must(err)
		}
		_, _ = h.d.Pass(h.t.Context()) // its error is the trouble that is made
	}
}

// Every call of the client says in its error what kind of trouble it was and what to do, within its time, and shows no
// token.
func TestEveryCallInTrouble(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{})
	one := s.work.commit("one", library)
	s.push(one, head)
	hook, err := s.AddHook("ops/images", gitlabtest.Hook{URL: "http://127.0.0.1:1/hooks/gitlab"})
	if err != nil {
		t.Fatal(err)
	}
	calls := func(c Client) map[string]error {
		ctx, made := t.Context(), map[string]error{}
		_, made["Project"] = c.Project(ctx, "ops/images")
		_, made["Branch"] = c.Branch(ctx, "ops/images", "main")
		_, made["Branches"] = c.Branches(ctx, "ops/images")
		_, made["Hooks"] = c.Hooks(ctx, "ops/images")
		made["SetStatus"] = c.SetStatus(ctx, Status{Project: "ops/images", Commit: one, Ref: head, Name: "aibuild/a", State: statusSuccess})
		_, _, made["LastDelivery"] = c.LastDelivery(ctx, "ops/images", hook.ID)
		spec := HookSpec{URL: hook.URL, Secret: "s3cret"}
		_, made["PlanHook"] = c.PlanHook(ctx, "ops/images", spec)
		_, made["ApplyHook"] = c.ApplyHook(ctx, HookPlan{Project: "ops/images", ID: hook.ID, spec: spec})
		_, _, made["TestHook"] = c.TestHook(ctx, "ops/images", hook.ID)
		return made
	}
	for name, err := range calls(s.client) {
		if err != nil {
			t.Errorf("%s of a gitlab that is well: %v", name, err)
		}
	}
	check := func(kind string, c Client, reason error, wait time.Duration) {
		t.Helper()
		for name, err := range calls(c) {
			if kind == "404" && (name == "LastDelivery" || name == "TestHook") { // gitlab before 17.3
				continue
			}
			failed, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, reason) || failed.Hint == "" || failed.RetryAfter > wait || failed.RetryAfter < wait-2*time.Second {
				t.Errorf("%s with %s: %+v, want %v and a wait of %v", name, kind, err, reason, wait)
			} else if strings.Contains(err.Error(), c.Token) {
				t.Errorf("%s with %s shows the token: %v", name, kind, err)
			}
		}
	}
	for _, test := range []struct {
		name   string
		fault  gitlabtest.Fault
		reason error
		wait   time.Duration
	}{
		{"401", gitlabtest.Fault{Answer: gitlabtest.Unauthorized}, ErrAuth, 0},
		{"revoked", gitlabtest.Fault{Answer: gitlabtest.Revoked}, ErrAuth, 0},
		{"403", gitlabtest.Fault{Answer: gitlabtest.Forbidden}, ErrForbidden, 0},
		{"scope", gitlabtest.Fault{Answer: gitlabtest.InsufficientScope}, ErrForbidden, 0},
		{"404", gitlabtest.Fault{Answer: gitlabtest.NotFound}, ErrNotFound, 0},
		{"409", gitlabtest.Fault{Answer: gitlabtest.StatusLocked}, ErrUnavailable, 0},
		{"429", gitlabtest.Fault{Answer: gitlabtest.Throttled}, ErrUnavailable, time.Minute},
		{"429 of the application", gitlabtest.Fault{Answer: gitlabtest.Limited}, ErrUnavailable, 0},
		{"500", gitlabtest.Fault{Answer: gitlabtest.InternalError}, ErrUnavailable, 0},
		{"502", gitlabtest.Fault{Answer: gitlabtest.BadGateway}, ErrUnavailable, 0},
		{"503", gitlabtest.Fault{Answer: gitlabtest.Unavailable}, ErrUnavailable, 0},
		{"cut", gitlabtest.Fault{Cut: true}, ErrUnavailable, 0},
		{"hang", gitlabtest.Fault{Hang: true}, ErrUnavailable, 0},
	} {
		s.Fail(test.fault)
		client := s.client
		if test.fault.Hang {
			client.Timeout = 200 * time.Millisecond
		}
		check(test.name, client, test.reason, test.wait)
		s.ClearFaults()
	}
	for name, body := range map[string]string{
		"a page": "<!DOCTYPE html><html><title>Sign in</title></html>", "nothing": "", "half": `{"id":`, "other json": `"ok"`, "endless": `[{"name":"` + strings.Repeat("x", 9<<20) + `"}]`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body)) // who asked may have had enough
		}))
		reason := ErrProtocol
		if name == "nothing" || name == "half" {
			reason = nil // cut off, or no answer: either will do
		}
		for call, err := range calls(Client{URL: server.URL, Token: canaryToken}) {
			if err == nil || reason != nil && !errors.Is(err, reason) || strings.Contains(err.Error(), canaryToken) || len(err.Error()) > 1000 {
				t.Errorf("%s with %s: %.300v", call, name, err)
			}
		}
		server.Close()
	}
}
