package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const canaryToken = "glpat-canary0token"

// said is one answer.
type said struct {
	status int
	header string // "Name: value", or empty
	body   string
}

// talk is a GitLab that answers from a list, by method, and remembers what it was asked.
type talk struct {
	*httptest.Server
	posts []said // in turn; the last one for ever
	gets  []said
	asked []string // method, path and body
}

func newTalk(t *testing.T, posts, gets []said) *talk {
	t.Helper()
	k := &talk{posts: posts, gets: gets}
	turn := func(list *[]said) said {
		if len(*list) == 0 {
			return said{status: 500, body: `{"message":"unexpected"}`}
		}
		first := (*list)[0]
		if len(*list) > 1 {
			*list = (*list)[1:]
		}
		return first
	}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		k.asked = append(k.asked, r.Method+" "+r.URL.EscapedPath()+"?"+r.URL.RawQuery+" "+string(body))
		if r.Header.Get("X-Gitlab-Event-UUID") != "" || r.Header.Get("PRIVATE-TOKEN") != canaryToken {
			t.Errorf("headers %v", r.Header)
		}
		answer := turn(&k.gets)
		if r.Method == http.MethodPost {
			answer = turn(&k.posts)
		}
		w.Header().Set("Content-Type", "application/json")
		if name, value, found := strings.Cut(answer.header, ": "); found {
			w.Header().Set(name, value)
		}
		w.WriteHeader(answer.status)
		if _, err := io.WriteString(w, answer.body); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(func() {
		k.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return k
}

func (k *talk) client() Client {
	return Client{URL: k.URL, Token: canaryToken, Timeout: 10 * time.Second}
}

// Answers in the shapes of a real GitLab.
const (
	statusRow = `{"id":93,"sha":"18f3e63d05582537db6d183d9d557be09e1f90c8","ref":"feature/x","status":"STATE","name":"aibuild/debian-12",` +
		`"target_url":"https://aibuild.example.org/runs/1","description":"x","created_at":"2026-01-19T09:05:50.355Z","started_at":null,"finished_at":null,` +
		`"allow_failure":false,"coverage":null,"pipeline_id":7,"author":{"id":42,"username":"bot","name":"aibuild","state":"active","web_url":"https://x","avatar_url":null}}`
	cannotEnqueue = `{"message":"Cannot transition status via :enqueue from :running (Reason(s): Status cannot transition via \"enqueue\")"}`
	cannotRun     = `{"message":"Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}`
	locked        = `{"message":"Another update to this commit status is in progress"}`
	noCommit      = `{"message":"404 Commit Not Found"}`
	noState       = `{"error":"state is missing, state does not have a valid value"}`
	tooLong       = `{"message":{"name":["is too long (maximum is 255 characters)"]}}`
)

func row(state string) string { return strings.ReplaceAll(statusRow, "STATE", state) }

func someStatus(state string) Status {
	return Status{Project: "ops/sub/images.d", Commit: "18f3e63d05582537db6d183d9d557be09e1f90c8", Ref: "refs/heads/feature/x", Name: "aibuild/debian-12",
		State: state, TargetURL: "https://aibuild.example.org/runs/1", Description: "waiting"}
}

func TestSetStatusSends(t *testing.T) {
	k := newTalk(t, []said{{201, "", row("pending")}}, nil)
	if err := k.client().SetStatus(t.Context(), someStatus("pending")); err != nil {
		t.Fatal(err)
	}
	if len(k.asked) != 1 {
		t.Fatalf("asked %q", k.asked)
	}
	head, body, _ := strings.Cut(k.asked[0], "? ")
	if want := "POST /api/v4/projects/ops%2Fsub%2Fimages%2Ed/statuses/18f3e63d05582537db6d183d9d557be09e1f90c8"; head != want {
		t.Errorf("asked %s\nwant  %s", head, want)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"state": "pending", "ref": "feature/x", "name": "aibuild/debian-12", "target_url": "https://aibuild.example.org/runs/1", "description": "waiting"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What GitLab may answer to a status, and what that means for the outbox.
func TestSetStatusAnswers(t *testing.T) {
	list := func(rows ...string) []said { return []said{{200, "", "[" + strings.Join(rows, ",") + "]"}} }
	other := strings.Replace(row("success"), "aibuild/debian-12", "aibuild/else", 1)
	elsewhere := strings.Replace(row("success"), "feature/x", "main", 1)
	older := strings.Replace(row("failed"), `"id":93`, `"id":92`, 1)
	tests := []struct {
		name   string
		state  string
		post   said
		gets   []said
		reason error // nil: it counts as told
		wait   time.Duration
		says   string
	}{
		{"created", "running", said{201, "", row("running")}, nil, nil, 0, ""},
		{"pending again", "pending", said{400, "", cannotEnqueue}, list(row("pending")), nil, 0, ""},
		{"pending after running", "pending", said{400, "", cannotEnqueue}, list(row("running")), nil, 0, ""},
		{"pending after the end", "pending", said{400, "", cannotEnqueue}, list(row("failed")), nil, 0, ""},
		{"running again", "running", said{400, "", cannotRun}, list(row("running")), nil, 0, ""},
		{"success again", "success", said{400, "", cannotRun}, list(row("success")), nil, 0, ""},
		{"behind", "running", said{400, "", cannotRun}, list(row("pending")), ErrRefused, 0, "its state is pending"},
		{"another end", "success", said{400, "", cannotRun}, list(row("canceled")), ErrRefused, 0, "its state is canceled"},
		{"only others' states", "pending", said{400, "", cannotEnqueue}, list(other, elsewhere), ErrRefused, 0, "its state is not known"},
		{"the newest counts", "success", said{400, "", cannotRun}, list(row("success"), older), nil, 0, ""},
		{"and cannot be read", "pending", said{400, "", cannotEnqueue}, []said{{503, "", "<html>"}}, ErrUnavailable, 0, "read a commit status"},
		{"locked", "pending", said{409, "", locked}, nil, ErrUnavailable, 0, "Another update"},
		{"too many", "pending", said{429, "Retry-After: 17", "Retry later\n"}, nil, ErrUnavailable, 17 * time.Second, "after 17 s"},
		{"too many, for long", "pending", said{429, "Retry-After: 999999", "Retry later\n"}, nil, ErrUnavailable, time.Hour, ""},
		{"too many, by the application", "pending", said{429, "", `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`}, nil, ErrUnavailable, 0, "429"},
		{"starting", "pending", said{502, "", "<html>GitLab is not responding</html>"}, nil, ErrUnavailable, 0, "bad gateway"},
		{"maintenance", "pending", said{503, "Retry-After: 120", "<html>down</html>"}, nil, ErrUnavailable, 2 * time.Minute, ""},
		{"own trouble", "pending", said{500, "", `{"message":"500 Internal Server Error"}`}, nil, ErrUnavailable, 0, ""},
		{"no commit", "pending", said{404, "", noCommit}, nil, ErrNotFound, 0, "404 Commit Not Found"},
		{"no project", "pending", said{404, "", `{"message":"404 Project Not Found"}`}, nil, ErrNotFound, 0, "404 Project Not Found"},
		{"no page", "pending", said{404, "", "<html>no</html>"}, nil, ErrNotFound, 0, ""},
		{"wrong token", "pending", said{401, "", `{"message":"401 Unauthorized"}`}, nil, ErrAuth, 0, "401"},
		{"no permission", "pending", said{403, "", `{"message":"403 Forbidden"}`}, nil, ErrForbidden, 0, "403"},
		{"echoed token", "pending", said{403, "", `{"message":"no such token: ` + canaryToken + `"}`}, nil, ErrForbidden, 0, "no such token: ***"},
		{"echoed token in a 404", "pending", said{404, "", `{"message":"no such token: ` + canaryToken + `"}`}, nil, ErrNotFound, 0, "no such token: ***"},
		{"unreadable", "pending", said{400, "", noState}, nil, ErrRefused, 0, "state is missing"},
		{"too long", "pending", said{400, "", tooLong}, nil, ErrRefused, 0, "too long"},
		{"too many jobs", "pending", said{422, "", `{"message":"too many jobs"}`}, nil, ErrRefused, 0, "too many jobs"},
		{"redirect", "pending", said{302, "Location: https://login.example.org/?x=" + canaryToken, ""}, nil, ErrProtocol, 0, "redirects"},
		{"a page", "pending", said{200, "", "<html>Sign in</html>"}, nil, ErrProtocol, 0, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			k := newTalk(t, []said{test.post}, test.gets)
			err := k.client().SetStatus(t.Context(), someStatus(test.state))
			if test.reason == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			failed, ok := errors.AsType[*Error](err)
			if !ok || !errors.Is(err, test.reason) || failed.RetryAfter != test.wait || !strings.Contains(err.Error(), test.says) || failed.Hint == "" {
				t.Errorf("got %v (wait %v); want %v that says %q and waits %v", err, failed.RetryAfter, test.reason, test.says, test.wait)
			}
			if strings.Contains(err.Error(), canaryToken) {
				t.Errorf("%v holds the token", err)
			}
		})
	}
}

func TestSetStatusWithoutAnswer(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // else nobody notices that the caller is gone
			t.Error(err)
		}
		<-r.Context().Done()
	}))
	defer server.Close()
	c := Client{URL: server.URL, Token: canaryToken, Timeout: 50 * time.Millisecond}
	if err := c.SetStatus(t.Context(), someStatus("pending")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("with a time limit: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	c.Timeout = time.Minute
	if err := c.SetStatus(ctx, someStatus("pending")); !errors.Is(err, ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: %v", err)
	}
}

// Nothing is sent that GitLab cannot take.
func TestSetStatusRefusesMistakes(t *testing.T) {
	k := newTalk(t, nil, nil)
	for name, change := range map[string]func(*Status){
		"no project":    func(s *Status) { s.Project = "" },
		"short commit":  func(s *Status) { s.Commit = "18f3e63" },
		"dirty commit":  func(s *Status) { s.Commit += "-dirty" },
		"no commit":     func(s *Status) { s.Commit = strings.Repeat("0", 40) },
		"no name":       func(s *Status) { s.Name = "" },
		"no state":      func(s *Status) { s.State = "" },
		"unknown state": func(s *Status) { s.State = "done" },
		"long url":      func(s *Status) { s.TargetURL = "https://x/" + strings.Repeat("y", 300) },
	} {
		s := someStatus("pending")
		change(&s)
		if err := k.client().SetStatus(t.Context(), s); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(k.asked) > 0 {
		t.Errorf("GitLab was asked: %q", k.asked)
	}
}

func TestStatusLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"a\nb\t c\x00d\x1b[31m":   "a b c d [31m",
		"\xff\xfe":                "\uFFFD",
		strings.Repeat("ä", 255):  strings.Repeat("ä", 255),
		strings.Repeat("ä", 256):  strings.Repeat("ä", 254) + "…",
		strings.Repeat("🦆", 5000): strings.Repeat("🦆", 254) + "…",
	} {
		if got := statusLine(in); got != want || !utf8.ValidString(got) || utf8.RuneCountInString(got) > 255 {
			t.Errorf("statusLine(%.20q…) = %q", in, got)
		}
	}
}

// Every state of a run, in GitLab's words and ours.
func TestStatusOf(t *testing.T) {
	tests := map[string]struct {
		run  lineage.Run
		want string
	}{
		"received":   {lineage.Run{State: lineage.RunReceived}, "pending: waiting"},
		"queued":     {lineage.Run{State: lineage.RunQueued, Reason: "an older run of the image is under way"}, "pending: waiting: an older run of the image is under way"},
		"triggering": {lineage.Run{State: lineage.RunTriggering}, "pending: starting in jenkins"},
		"in queue":   {lineage.Run{State: lineage.RunJenkinsQueue, Reason: "Waiting for next available executor"}, "pending: in jenkins' queue: Waiting for next available executor"},
		"building":   {lineage.Run{State: lineage.RunBuilding}, "running: building"},
		"testing":    {lineage.Run{State: lineage.RunBuilding, Stage: "test"}, "running: testing"},
		"publishing": {lineage.Run{State: lineage.RunBuilding, Stage: "publish"}, "running: publishing"},
		"releasing":  {lineage.Run{State: lineage.RunBuilding, Stage: "release"}, "running: releasing"},
		"released":   {lineage.Run{State: lineage.RunSuccess, Stage: "release"}, "success: released"},
		"tested":     {lineage.Run{State: lineage.RunSuccess, Stage: "test", Reason: "feature/x may not release"}, "success: tested: feature/x may not release"},
		"done":       {lineage.Run{State: lineage.RunSuccess}, "success: done"},
		"unstable": {lineage.Run{State: lineage.RunUnstable, Reason: "UNSTABLE", Failure: &lineage.Failure{Stage: "test", Sentence: "tests failed: bios-virtio-nocloud/disk-grows: expected 2 GiB"}},
			"failed: tests failed: bios-virtio-nocloud/disk-grows: expected 2 GiB"},
		"unstable, nothing recorded": {lineage.Run{State: lineage.RunUnstable}, "failed: tests failed"},
		"unstable, jenkins' word":    {lineage.Run{State: lineage.RunUnstable, Reason: "UNSTABLE"}, "failed: tests failed: UNSTABLE"},
		"build failed":               {lineage.Run{State: lineage.RunFailure, Failure: &lineage.Failure{Stage: "build", Sentence: "provisioner shell\nexit 1"}}, "failed: build failed: provisioner shell exit 1"},
		"failed, nothing recorded":   {lineage.Run{State: lineage.RunFailure, Reason: "FAILURE"}, "failed: failed: FAILURE"},
		"failed":                     {lineage.Run{State: lineage.RunFailure}, "failed: failed"},
		"aborted":                    {lineage.Run{State: lineage.RunAborted, Reason: "by ann"}, "canceled: aborted in jenkins: by ann"},
		"not built":                  {lineage.Run{State: lineage.RunNotBuilt}, "canceled: not built by jenkins"},
		"cancelled":                  {lineage.Run{State: lineage.RunCancelled, Reason: "by ann: wrong branch"}, "canceled: cancelled: by ann: wrong branch"},
		"superseded":                 {lineage.Run{State: lineage.RunSuperseded, Reason: "by run 0190"}, "canceled: superseded: by run 0190"},
		"lost":                       {lineage.Run{State: lineage.RunLost, Reason: "jenkins has no such build"}, "failed: lost: jenkins has no such build"},
		"rejected":                   {lineage.Run{State: lineage.RunRejected, Reason: "no job configured"}, "failed: rejected: no job configured"},
		"unknown":                    {lineage.Run{State: "hibernating"}, ": "},
	}
	for name, test := range tests {
		test.run.Project, test.run.Commit, test.run.Ref, test.run.Image = "ops/images", "c0ffee", "refs/heads/main", "debian-12"
		got := StatusOf(test.run, "https://x/runs/1")
		if got.State+": "+got.Description != test.want {
			t.Errorf("%s: %s: %s; want %s", name, got.State, got.Description, test.want)
		}
		got.State, got.Description = "", ""
		if want := (Status{Project: "ops/images", Commit: "c0ffee", Ref: "refs/heads/main", Name: "aibuild/debian-12", TargetURL: "https://x/runs/1"}); got != want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 29, 1, 59, 0, 0, time.UTC)
	for _, test := range []struct {
		header map[string]string
		want   time.Duration
	}{
		{nil, 0},
		{map[string]string{"Retry-After": "5"}, 5 * time.Second},
		{map[string]string{"Retry-After": "-5"}, 0},
		{map[string]string{"Retry-After": "99999999999999999999"}, 0},
		{map[string]string{"Retry-After": "99999999999"}, time.Hour},
		{map[string]string{"Retry-After": "soon"}, 0},
		{map[string]string{"Retry-After": "Sun, 29 Mar 2026 02:01:00 GMT"}, 2 * time.Minute},
		{map[string]string{"Retry-After": "Sun, 29 Mar 2025 02:01:00 GMT"}, 0},
		{map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "1774749600"}, time.Minute},
		{map[string]string{"RateLimit-Remaining": "7", "RateLimit-Reset": "1774749600"}, 0},
		{map[string]string{"RateLimit-Remaining": "0", "RateLimit-Reset": "x"}, 0},
	} {
		header := http.Header{}
		for name, value := range test.header {
			header.Set(name, value)
		}
		if got := retryAfter(header, now); got != test.want {
			t.Errorf("retryAfter(%v) = %v, want %v", test.header, got, test.want)
		}
	}
}

func TestProject(t *testing.T) {
	k := newTalk(t, nil, []said{{200, "", `{"id":7,"path_with_namespace":"ops/images","default_branch":"main","empty_repo":false,"archived":true,"permissions":{"project_access":{"access_level":20},"group_access":{"access_level":40}}}`}})
	got, err := k.client().Project(t.Context(), "ops/images")
	if want := (Project{ID: 7, Path: "ops/images", DefaultBranch: "main", Archived: true, Role: 40}); err != nil || got != want {
		t.Errorf("Project = %+v, %v", got, err)
	}
	k = newTalk(t, nil, []said{{404, "", `{"message":"404 Project Not Found"}`}})
	if _, err := k.client().Project(t.Context(), "ops/none"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "404 Project Not Found") {
		t.Errorf("of none: %v", err)
	}
}

func TestBranchesPages(t *testing.T) {
	branch := func(name string) string {
		return `{"name":"` + name + `","default":` + map[bool]string{true: "true", false: "false"}[name == "main"] + `,"protected":false,"commit":{"id":"` + strings.Repeat("a", 40) + `"}}`
	}
	k := newTalk(t, nil, []said{{200, "X-Next-Page: 2", "[" + branch("a") + "," + branch("main") + "]"}, {200, "X-Next-Page: ", "[" + branch("z") + "]"}})
	got, err := k.client().Branches(t.Context(), "ops/images")
	id := strings.Repeat("a", 40)
	if diff := cmp.Diff([]Branch{{Name: "a", Commit: id}, {Name: "main", Commit: id, Default: true}, {Name: "z", Commit: id}}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if len(k.asked) != 2 || !strings.Contains(k.asked[0], "page=1&per_page=100") || !strings.Contains(k.asked[1], "page=2&per_page=100") {
		t.Errorf("asked %q", k.asked)
	}
	for _, next := range []string{"1", "99999"} { // for ever
		k := newTalk(t, nil, []said{{200, "X-Next-Page: " + next, "[]"}})
		if _, err := k.client().Branches(t.Context(), "ops/images"); !errors.Is(err, ErrProtocol) {
			t.Errorf("next page %s: %v", next, err)
		}
	}
	k = newTalk(t, nil, []said{{200, "X-Next-Page: 2", "[" + branch("a") + "]"}, {503, "Retry-After: 3", "<html>"}})
	if got, err := k.client().Branches(t.Context(), "ops/images"); !errors.Is(err, ErrUnavailable) || got != nil {
		t.Errorf("half a list: %v, %v", got, err)
	}
	k = newTalk(t, nil, []said{{200, "", "[null, {\"name\":\"x\"}]"}})
	if got, err := k.client().Branches(t.Context(), "ops/images"); err != nil || len(got) != 0 {
		t.Errorf("odd branches: %v, %v", got, err)
	}
}

func TestHookHealth(t *testing.T) {
	k := newTalk(t, nil, []said{{200, "", `[
		{"id":1,"url":"https://u:pw@aibuild.example.org/hooks/gitlab?token=hidden","push_events":true,"tag_push_events":false,"push_events_branch_filter":"main","alert_status":"executable","disabled_until":null},
		{"id":2,"url":"https://x/","push_events":true,"tag_push_events":true,"alert_status":"temporarily_disabled","disabled_until":"2026-01-19T10:05:50.355+01:00"},
		{"id":3,"url":"https://x/","push_events":true,"alert_status":"disabled"},
		{"id":4,"url":"https://x/","push_events":false,"alert_status":"executable"},
		{"id":5,"url":"https://x/","push_events":true},
		{"id":6,"url":"https://x/","push_events":true,"alert_status":"unknown_to_us"}]`}})
	got, err := k.client().Hooks(t.Context(), "ops/images")
	if err != nil || len(got) != 6 {
		t.Fatalf("%v, %v", got, err)
	}
	if want := (ProjectHook{ID: 1, URL: "https://aibuild.example.org/hooks/gitlab", Push: true, BranchFilter: "main", AlertStatus: "executable"}); got[0] != want {
		t.Errorf("%+v", got[0])
	}
	for i, says := range []string{"", "until 2026-01-19T09:05:50Z", "press Test", "push events are switched off", "", "unknown_to_us"} {
		if problem := got[i].Problem(); (problem == "") != (says == "") || !strings.Contains(problem, says) {
			t.Errorf("hook %d: %q, want %q", i+1, problem, says)
		}
	}
	k = newTalk(t, nil, []said{{403, "", `{"message":"403 Forbidden"}`}})
	if _, err := k.client().Hooks(t.Context(), "ops/images"); !errors.Is(err, ErrForbidden) {
		t.Errorf("without the right: %v", err)
	}
}
