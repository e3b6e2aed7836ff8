package hooks

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// standin is a GitLab with the project ops/images and a bot that may push to it and set statuses.
type standin struct {
	*gitlabtest.Server
	t      *testing.T
	work   *gitRepo // what is pushed from
	client Client
	mirror Mirror
}

func newStandin(t *testing.T, opts gitlabtest.Options, project gitlabtest.Project) *standin {
	t.Helper()
	s, err := gitlabtest.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	if _, err := s.CreateUser(gitlabtest.User{Username: "bot", Bot: true}); err != nil {
		t.Fatal(err)
	}
	token, err := s.CreateToken(gitlabtest.Token{User: "bot"})
	if err != nil {
		t.Fatal(err)
	}
	project.Path, project.Members = "ops/images", map[string]gitlabtest.Role{"bot": gitlabtest.Maintainer}
	if _, err := s.CreateProject(t.Context(), project); err != nil {
		t.Fatal(err)
	}
	var format []string
	if project.ObjectFormat != "" {
		format = []string{"--object-format=" + project.ObjectFormat}
	}
	return &standin{
		Server: s, t: t, work: newRepo(t, t.TempDir(), format...),
		client: Client{URL: s.URL(), Token: token.Secret},
		mirror: Mirror{Dir: filepath.Join(t.TempDir(), "mirrors"), URL: s.URL(), Project: project.Path, Token: token.Secret},
	}
}

// push sends a commit to a ref, forced if need be.
func (s *standin) push(id, ref string) {
	s.t.Helper()
	s.work.git("", "push", "--quiet", "--force", s.CloneURL("ops/images", s.client.Token), id+":"+ref)
}

// The mirror on the stand-in: real pushes over HTTP with a real token, in both object formats.
func TestMirrorOnStandin(t *testing.T) {
	for _, format := range []string{"", "sha256"} {
		t.Run(format, func(t *testing.T) {
			s := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{ObjectFormat: format, Protected: []gitlabtest.Protected{}})
			one := s.work.commit("one", library)
			s.push(one, head)
			want(t, look(t, s.mirror, Push{head, "", one}, Rules{}), "a>build b>build", "first push")
			two := s.work.commit("two", library.with(files{"images/a/f": plain("two")}), one)
			s.push(two, head)
			want(t, look(t, s.mirror, Push{head, one, two}, Rules{}), "a>build", "")
			three := s.work.commit("three", library.with(files{"images/b/tests/boots": tool("x")}), one)
			s.push(three, head)
			want(t, look(t, s.mirror, Push{head, two, three}, Rules{}), "a>build b>test", "")
			side := s.work.commit("side", library.with(files{"images/b/tests/boots": tool("y")}), three)
			s.push(side, feature)
			want(t, look(t, s.mirror, Push{feature, "", side}, Rules{}), "b>test", "where it left main")

			s.mirror.Dir = filepath.Join(t.TempDir(), "new")
			want(t, look(t, s.mirror, Push{head, two, three}, Rules{}), "a>build b>test", "compared with "+two[:10])
			s.mirror.Dir = filepath.Join(t.TempDir(), "newer")
			if err := s.CollectGarbage(t.Context(), "ops/images"); err != nil {
				t.Fatal(err)
			}
			want(t, look(t, s.mirror, Push{head, two, three}, Rules{}), "a>build b>build", "does not have it any more")
			if _, err := s.mirror.Changed(t.Context(), Push{head, one, two}, Rules{}); !errors.Is(err, ErrGone) {
				t.Errorf("a head that is gone: %v", err)
			}
			refs, err := s.mirror.Heads(t.Context())
			if err != nil || len(refs) != 2 || refs[1] != (RemoteRef{head, three}) {
				t.Errorf("Heads = %v, %v", refs, err)
			}
		})
	}
}

// GitLab's own refusals and troubles, on git's requests.
func TestMirrorOnStandinInTrouble(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{})
	one := s.work.commit("one", library)
	s.push(one, head)
	m := s.mirror
	for name, test := range map[string]struct {
		answer gitlabtest.Answer
		reason error
	}{
		"too many": {gitlabtest.Throttled, ErrUnavailable}, "bad gateway": {gitlabtest.BadGateway, ErrUnavailable}, "error": {gitlabtest.InternalError, ErrUnavailable},
	} {
		s.Fail(gitlabtest.Fault{Path: "/ops/images.git/", Answer: test.answer})
		if _, err := m.Changed(t.Context(), Push{head, "", one}, Rules{}); !errors.Is(err, test.reason) {
			t.Errorf("%s: %v", name, err)
		}
		s.ClearFaults()
	}
	s.Fail(gitlabtest.Fault{Path: "/ops/images.git/git-upload-pack", Cut: true, Times: 2})
	if c, err := m.Changed(t.Context(), Push{head, "", one}, Rules{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with cut answers: %q, %v", brief(c), err)
	}
	s.ClearFaults()
	if err := s.RevokeToken(m.Token); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Changed(t.Context(), Push{head, "", one}, Rules{}); !errors.Is(err, ErrAuth) {
		t.Errorf("with a revoked token: %v", err)
	}
	m.Token = s.RootToken()
	want(t, look(t, m, Push{head, "", one}, Rules{}), "a>build b>build", "")
	m.Project = "ops/none"
	if _, err := m.Changed(t.Context(), Push{head, "", one}, Rules{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("without a project: %v", err)
	}
}

// shown is the state that GitLab shows for an image.
func (s *standin) shown(status Status) string {
	s.t.Helper()
	state, err := s.client.status(s.t.Context(), status)
	if err != nil {
		s.t.Fatal(err)
	}
	return state
}

// A run's states, one after the other, each told twice and the older ones late, against GitLab's own state machine.
func TestStatusesOnStandin(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{})
	one := s.work.commit("one", library)
	s.push(one, head)
	run := lineage.Run{Project: "ops/images", Commit: one, Ref: head, Image: "debian-12"}
	tell := func(state, shown string) {
		t.Helper()
		run.State = state
		for range 2 {
			if err := s.client.SetStatus(t.Context(), StatusOf(run, "https://aibuild.example.org/runs/1")); err != nil {
				t.Errorf("%s: %v", state, err)
			}
		}
		if got := s.shown(StatusOf(run, "")); got != shown {
			t.Errorf("after %s GitLab shows %s, want %s", state, got, shown)
		}
	}
	tell(lineage.RunReceived, "pending")
	tell(lineage.RunQueued, "pending")
	tell(lineage.RunTriggering, "pending")
	tell(lineage.RunBuilding, "running")
	tell(lineage.RunJenkinsQueue, "running") // late
	tell(lineage.RunUnstable, "failed")
	tell(lineage.RunQueued, "pending") // a retry begins anew
	tell(lineage.RunBuilding, "running")
	tell(lineage.RunSuccess, "success")
	tell(lineage.RunRejected, "failed")
	tell(lineage.RunSuperseded, "canceled")

	run.Image, run.Reason = "other", strings.Repeat("wörter ", 1000)
	tell(lineage.RunLost, "failed")
	run.Commit = strings.Repeat("1", 40)
	if err := s.client.SetStatus(t.Context(), StatusOf(run, "")); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "404 Commit Not Found") {
		t.Errorf("of a commit that is not there: %v", err)
	}
	run.Commit, run.Project = one, "ops/none"
	if err := s.client.SetStatus(t.Context(), StatusOf(run, "")); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "404 Project Not Found") {
		t.Errorf("of a project that is not there: %v", err)
	}
}

// An answer that is lost, a lock that another one holds, a GitLab that is throttled.
func TestStatusesOnStandinInTrouble(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{StatusWait: 50 * time.Millisecond}, gitlabtest.Project{})
	one := s.work.commit("one", library)
	s.push(one, head)
	run := lineage.Run{Project: "ops/images", Commit: one, Ref: head, Image: "debian-12", State: lineage.RunBuilding}
	status := StatusOf(run, "")

	s.Fail(gitlabtest.Fault{Method: "POST", Path: "/api/v4/projects/*/statuses/", Perform: true, Cut: true, Times: 1})
	if err := s.client.SetStatus(t.Context(), status); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with an answer that was cut: %v", err)
	}
	if got := s.shown(status); got != "running" {
		t.Fatalf("GitLab shows %q: the fault did not carry the call out", got)
	}
	if err := s.client.SetStatus(t.Context(), status); err != nil {
		t.Errorf("told again: %v", err)
	}
	release, err := s.HoldStatuses(t.Context(), "ops/images", one)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.SetStatus(t.Context(), status); !errors.Is(err, ErrUnavailable) {
		t.Errorf("while another one holds the lock: %v", err)
	}
	release()
	s.Fail(gitlabtest.Fault{Method: "POST", Answer: gitlabtest.Throttled})
	var failed *Error
	if err := s.client.SetStatus(t.Context(), status); !errors.As(err, &failed) || !errors.Is(err, ErrUnavailable) || failed.RetryAfter != time.Minute {
		t.Errorf("throttled: %v, %+v", err, failed)
	}
	for answer, reason := range map[string]error{"unauthorized": ErrAuth, "revoked": ErrAuth, "forbidden": ErrForbidden, "scope": ErrForbidden, "limited": ErrUnavailable, "error": ErrUnavailable, "down": ErrUnavailable} {
		s.ClearFaults()
		s.Fail(gitlabtest.Fault{Method: "POST", Answer: map[string]gitlabtest.Answer{"unauthorized": gitlabtest.Unauthorized, "revoked": gitlabtest.Revoked,
			"forbidden": gitlabtest.Forbidden, "scope": gitlabtest.InsufficientScope, "limited": gitlabtest.Limited, "error": gitlabtest.InternalError, "down": gitlabtest.Unavailable}[answer]})
		if err := s.client.SetStatus(t.Context(), status); !errors.Is(err, reason) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	s.ClearFaults()
}

func TestProjectOnStandin(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{AutoDisable: true}, gitlabtest.Project{})
	if p, err := s.client.Project(t.Context(), "ops/images"); err != nil || !p.Empty || p.Path != "ops/images" || p.ID != 1 {
		t.Errorf("empty: %+v, %v", p, err)
	}
	if b, err := s.client.Branches(t.Context(), "ops/images"); err != nil || len(b) != 0 {
		t.Errorf("branches of an empty project: %v, %v", b, err)
	}
	one := s.work.commit("one", library)
	s.push(one, head)
	for i := range 120 { // more than a page
		s.work.git("", "update-ref", fmt.Sprintf("refs/heads/b/%03d", i), one)
	}
	s.work.git("", "push", "--quiet", s.CloneURL("ops/images", s.client.Token), "refs/heads/b/*:refs/heads/b/*")
	branches, err := s.client.Branches(t.Context(), "ops/images")
	if err != nil || len(branches) != 121 || branches[0] != (Branch{"b/000", one, false, false, true}) || branches[120] != (Branch{"main", one, true, true, true}) {
		t.Errorf("%d branches, %v", len(branches), err)
	}
	if p, err := s.client.Project(t.Context(), "ops/images"); err != nil || p.Empty || p.DefaultBranch != "main" || p.Role != int(gitlabtest.Maintainer) {
		t.Errorf("%+v, %v", p, err)
	}

	if _, err := s.AddHook("ops/images", gitlabtest.Hook{URL: "http://127.0.0.1:1/hooks/gitlab?token=hidden"}); err != nil {
		t.Fatal(err)
	}
	hooks, err := s.client.Hooks(t.Context(), "ops/images")
	if err != nil || len(hooks) != 1 || hooks[0].Problem() != "" || hooks[0].URL != "http://127.0.0.1:1/hooks/gitlab" {
		t.Errorf("a hook that was not used: %+v, %v", hooks, err)
	}
	for i := range 5 {
		s.push(s.work.commit(fmt.Sprint(i), library, one), "refs/heads/x")
		if err := s.Idle(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	hooks, err = s.client.Hooks(t.Context(), "ops/images")
	if err != nil || len(hooks) != 1 || hooks[0].DisabledUntil.IsZero() || !strings.Contains(hooks[0].Problem(), "disabled the hook until") {
		t.Errorf("a hook that nobody answers: %+v, %v", hooks, err)
	}
}
