package gitlabtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const signingToken = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

func TestDeliveryHeadersOfEachVersion(t *testing.T) {
	always := []string{"Content-Type", "User-Agent", "X-Gitlab-Event", "X-Gitlab-Event-Uuid", "X-Gitlab-Instance", "X-Gitlab-Token"}
	since17 := []string{"Idempotency-Key", "X-Gitlab-Webhook-Uuid"}
	tests := []struct {
		name    string
		profile gitlabtest.Profile
		signing string
		agent   string
		want    []string
	}{
		{"15", gitlabtest.V15, signingToken, "GitLab/15.11.13", always},
		{"17.4", gitlabtest.V17, signingToken, "GitLab/17.4.6", slices.Concat(always, since17)},
		{"19 with a token alone", gitlabtest.Current, "", "GitLab/19.2.0", slices.Concat(always, since17, []string{"Webhook-Id", "Webhook-Timestamp"})},
		{"19 signed", gitlabtest.Current, signingToken, "GitLab/19.2.0", slices.Concat(always, since17, []string{"Webhook-Id", "Webhook-Signature", "Webhook-Timestamp"})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := start(t, gitlabtest.Options{Profile: test.profile}, gitlabtest.Project{})
			r := receive(t)
			if _, err := s.AddHook(projectPath, gitlabtest.Hook{URL: r.URL, Token: "secret\n", SigningToken: test.signing}); err != nil {
				t.Fatal(err)
			}
			w := clone(t, s, s.RootToken())
			w.commit("first\n", "a", "1\n")
			w.push("main")
			idle(t, s)
			header := r.take()[0].Header
			var names []string
			for name := range header {
				if !slices.Contains([]string{"Content-Length", "Accept-Encoding", "Connection"}, name) {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			slices.Sort(test.want)
			check(t, "headers", names, test.want)
			check(t, "values", []string{header.Get("User-Agent"), header.Get("X-Gitlab-Event"), header.Get("X-Gitlab-Instance"), header.Get("X-Gitlab-Token")},
				[]string{test.agent, "Push Hook", s.URL(), "secret"})
			check(t, "webhook-id is the key", header.Get("Webhook-Id"), map[bool]string{true: header.Get("Idempotency-Key")}[test.profile == gitlabtest.Current])
		})
	}
}

// signed is the signature of a request by the words of the Standard Webhooks specification.
func signed(t *testing.T, g got, token string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(token, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(g.Header.Get("Webhook-Id") + "." + g.Header.Get("Webhook-Timestamp") + "."))
	mac.Write(g.Body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func TestSignatures(t *testing.T) {
	c := newClock()
	sc := stage(t, gitlabtest.Options{Now: c.Now}, gitlabtest.Project{})
	if _, err := sc.AddHook(projectPath, gitlabtest.Hook{URL: sc.receiver.URL + "/signed", Token: "secret", SigningToken: signingToken}); err != nil {
		t.Fatal(err)
	}
	next := func(trouble gitlabtest.Trouble) got {
		t.Helper()
		trouble.Hook = 2
		sc.Disturb(trouble)
		defer sc.Undisturb()
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		taken := sc.take()
		i := slices.IndexFunc(taken, func(g got) bool { return g.Header.Get("Webhook-Signature") != "" })
		return taken[i]
	}
	good := next(gitlabtest.Trouble{})
	check(t, "signature", good.Header.Get("Webhook-Signature"), signed(t, good, signingToken))
	check(t, "timestamp", good.Header.Get("Webhook-Timestamp"), strconv.FormatInt(c.Now().Unix(), 10))

	old := next(gitlabtest.Trouble{Age: 10 * time.Minute})
	check(t, "old timestamp", old.Header.Get("Webhook-Timestamp"), strconv.FormatInt(c.Now().Add(-10*time.Minute).Unix(), 10))
	check(t, "its signature is right", old.Header.Get("Webhook-Signature"), signed(t, old, signingToken))

	if wrong := next(gitlabtest.Trouble{WrongSignature: true}); wrong.Header.Get("Webhook-Signature") == signed(t, wrong, signingToken) {
		t.Error("the wrong signature is right")
	}
	check(t, "wrong token", next(gitlabtest.Trouble{WrongToken: true}).Header.Get("X-Gitlab-Token"), "secret-wrong")
}

func TestNothingIsRetried(t *testing.T) {
	sc := stage(t, gitlabtest.Options{HookTimeout: 200 * time.Millisecond}, gitlabtest.Project{})
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	answers := map[string]http.HandlerFunc{
		"500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"redirect": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"hang": func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-release:
			}
		},
		"slow body": func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Done()
		},
		"reset": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
	want := map[string]struct {
		status int
		ok     bool
	}{"500": {500, false}, "redirect": {302, true}, "hang": {0, false}, "slow body": {0, false}, "reset": {0, false}}
	for name, answer := range answers {
		sc.answers(answer)
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		check(t, name+": requests", len(sc.take()), 1)
		entries := sc.Deliveries(sc.hook.ID)
		last := entries[len(entries)-1]
		check(t, name+": status", last.Status, want[name].status)
		check(t, name+": ok", last.OK(), want[name].ok)
		check(t, name+": a problem is told", last.Problem != "", want[name].status == 0)
	}
}

func TestAutoDisable(t *testing.T) {
	c := newClock()
	sc := stage(t, gitlabtest.Options{AutoDisable: true, Now: c.Now, RootToken: "glpat-root"}, gitlabtest.Project{})
	system := receive(t)
	if _, err := sc.AddSystemHook(gitlabtest.Hook{URL: system.URL}); err != nil {
		t.Fatal(err)
	}
	system.status(500)
	sc.receiver.status(500)
	push := func() int {
		t.Helper()
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		return len(sc.take())
	}
	for range 4 {
		check(t, "sent while it is enabled", push(), 1)
	}
	check(t, "dropped while it is disabled", push(), 0)
	check(t, "state", sc.state(), "temporarily_disabled")
	wait := time.Minute
	for failures := 5; failures <= 40; failures++ {
		c.pass(wait - time.Second)
		check(t, "a second too early", push(), 0)
		c.pass(2 * time.Second)
		check(t, "state when the wait is over", sc.state(), "executable")
		check(t, "sent when the wait is over", push(), 1)
		wait = min(2*wait, 24*time.Hour)
	}
	check(t, "state after 40 failures", sc.state(), "disabled")
	c.pass(365 * 24 * time.Hour)
	check(t, "disabled for good", push(), 0)
	if len(system.take()) < 40 {
		t.Error("the system hook was disabled; it never is")
	}
	// Only a test that works enables it again.
	if status, body := sc.api("POST", "projects/1/hooks/1/test/push_events", ""); status != 422 {
		t.Errorf("a failing test: %d %s; want 422", status, body)
	}
	check(t, "state after a failed test", sc.state(), "disabled")
	sc.receiver.status(204)
	if status, body := sc.api("POST", "projects/1/hooks/1/test/push_events", ""); status != 201 || body != `{"message":"201 Created"}` {
		t.Errorf("a test: %d %s; want 201", status, body)
	}
	check(t, "state after a test", sc.state(), "executable")
	sc.take()
	check(t, "sent again", push(), 1)
}

// state is the alert status of the first hook.
func (sc scene) state() string {
	sc.t.Helper()
	status, body := sc.api("GET", "projects/1/hooks/1", "")
	if status != 200 {
		sc.t.Fatalf("hook: %d %s", status, body)
	}
	_, rest, _ := strings.Cut(body, `"alert_status":"`)
	state, _, _ := strings.Cut(rest, `"`)
	return state
}

func TestOneSuccessForgetsFailures(t *testing.T) {
	sc := stage(t, gitlabtest.Options{AutoDisable: true}, gitlabtest.Project{})
	for range 3 {
		for _, status := range []int{500, 404, 400, 301} {
			sc.receiver.status(status)
			sc.commit("next\n")
			sc.push("main")
			idle(t, sc.Server)
		}
	}
	check(t, "deliveries", len(sc.take()), 12)
}

func TestTroubles(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	push := func(times int) (ids []string) {
		t.Helper()
		for range times {
			ids = append(ids, sc.commit("next\n"))
			sc.push("main")
		}
		return ids
	}
	afters := func(all []got) (ids []string) {
		for _, g := range all {
			ids = append(ids, g.payload(t).After)
		}
		return ids
	}

	sc.Disturb(gitlabtest.Trouble{Drop: true, Times: 1})
	ids := push(2)
	idle(t, sc.Server)
	check(t, "drop: the second alone came", afters(sc.take()), ids[1:])
	check(t, "drop: it is told", sc.Dropped()[len(sc.Dropped())-1].After, ids[0])

	sc.Disturb(gitlabtest.Trouble{Copies: 3, Times: 1})
	push(1)
	idle(t, sc.Server)
	copies := sc.take()
	check(t, "duplicate: requests", len(copies), 3)
	check(t, "duplicate: one key", copies[0].Header.Get("Idempotency-Key"), copies[2].Header.Get("Idempotency-Key"))
	if copies[0].Header.Get("X-Gitlab-Webhook-UUID") == copies[2].Header.Get("X-Gitlab-Webhook-UUID") {
		t.Error("duplicate: the webhook UUID is the same; it is new for each request")
	}

	var arrived sync.WaitGroup
	arrived.Add(2)
	sc.answers(func(http.ResponseWriter, *http.Request) { arrived.Done(); arrived.Wait() }) // each waits for the other
	sc.Disturb(gitlabtest.Trouble{Copies: 2, AtOnce: true, Times: 1})
	push(1)
	idle(t, sc.Server)
	check(t, "at once: requests", len(sc.take()), 2)
	sc.answers(nil)

	sc.Disturb(gitlabtest.Trouble{Reorder: 3, Times: 3})
	ids = push(3)
	idle(t, sc.Server)
	slices.Reverse(ids)
	check(t, "reorder", afters(sc.take()), ids)

	sc.Disturb(gitlabtest.Trouble{Reorder: 3})
	ids = push(2)
	check(t, "reorder: held back", len(sc.take()), 0)
	sc.Undisturb()
	idle(t, sc.Server)
	check(t, "undisturb: in order", afters(sc.take()), ids)

	sc.Disturb(gitlabtest.Trouble{Delay: 300 * time.Millisecond, Times: 1})
	before := time.Now()
	push(1)
	idle(t, sc.Server)
	if waited := sc.take()[0].At.Sub(before); waited < 300*time.Millisecond {
		t.Errorf("delay: it came after %v", waited)
	}
}

func TestSlowAndCutBodies(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.Disturb(gitlabtest.Trouble{Slow: 5 * time.Millisecond, Times: 1})
	sc.Disturb(gitlabtest.Trouble{Cut: true, Times: 1})
	sc.commit("next\n")
	before := time.Now()
	sc.push("main")
	idle(t, sc.Server)
	slow := sc.take()[0]
	check(t, "slow: the body is whole", slow.payload(t).Ref, "refs/heads/main")
	if took := time.Since(before); took < 300*time.Millisecond {
		t.Errorf("slow: it took only %v", took)
	}
	sc.commit("next\n")
	sc.push("main")
	idle(t, sc.Server)
	if cut := sc.take()[0]; cut.Err == nil || len(cut.Body) == 0 {
		t.Errorf("cut: %d bytes came, and then %v; want some, and an error", len(cut.Body), cut.Err)
	}
	entries := sc.Deliveries(sc.hook.ID)
	check(t, "cut: it is a failure", entries[len(entries)-1].OK(), false)
}

func TestSeveralHooksOfOneEvent(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	addHook(t, sc.Server, sc.receiver.URL)
	if _, err := sc.AddSystemHook(gitlabtest.Hook{URL: sc.receiver.URL, Events: []string{"push_events", "tag_push_events"}}); err != nil {
		t.Fatal(err)
	}
	sc.git("tag", "v1")
	sc.push("v1")
	idle(t, sc.Server)
	taken := sc.take()
	keys, events := map[string]bool{}, []string{}
	for _, g := range taken {
		keys[g.Header.Get("Idempotency-Key")] = true
		events = append(events, g.Header.Get("X-Gitlab-Event"))
		check(t, "body", string(g.Body), string(taken[0].Body))
		check(t, "event name", g.payload(t).EventName, "tag_push")
	}
	slices.Sort(events)
	check(t, "events", events, []string{"System Hook", "Tag Push Hook", "Tag Push Hook"})
	check(t, "keys, one a hook", len(keys), 3)
}

func TestSubscriptions(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{Protected: []gitlabtest.Protected{}})
	r := receive(t)
	for _, h := range []gitlabtest.Hook{
		{Name: "pushes"},
		{Name: "tags", Events: []string{"tag_push_events"}},
		{Name: "neither", Events: []string{"pipeline_events"}},
		{Name: "wildcard", BranchFilter: "release-*"},
		{Name: "regex", BranchFilter: `^(main|dev)$`, FilterStrategy: "regex"},
		{Name: "all", BranchFilter: "nonsense", FilterStrategy: "all_branches"},
	} {
		h.URL = r.URL
		h.Headers = map[string]string{"X-Name": h.Name, "X-Gitlab-Event": "overridden"}
		if _, err := s.AddHook(projectPath, h); err != nil {
			t.Fatal(err)
		}
	}
	w := clone(t, s, s.RootToken())
	w.commit("first\n")
	w.git("tag", "v1")
	for push, want := range map[string][]string{
		"main":                        {"all", "pushes", "regex"},
		"main:refs/heads/release-1/x": {"all", "pushes", "wildcard"},
		"v1":                          {"tags"},
	} {
		w.push(push)
		idle(t, s)
		names := []string{}
		for _, g := range r.take() {
			names = append(names, g.Header.Get("X-Name"))
			if g.Header.Get("X-Gitlab-Event") == "overridden" {
				t.Error("a custom header overrides one of GitLab's")
			}
		}
		slices.Sort(names)
		check(t, push, names, want)
	}
}

func TestCustomTemplate(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{Description: `say "hi"`})
	for _, template := range []string{
		`{"text": "{{project.description}} by {{user_username}}", "id": {{project_id}}, "none": {{project.avatar_url}}}`,
		`{"first": {{commits.0}}}`, `{"broken": {{project_id}}`,
	} {
		if _, err := sc.AddHook(projectPath, gitlabtest.Hook{URL: sc.receiver.URL + "/custom", Template: template}); err != nil {
			t.Fatal(err)
		}
	}
	sc.commit("next\n")
	sc.push("main")
	idle(t, sc.Server)
	bodies := []string{}
	for _, g := range sc.take() {
		if !strings.HasPrefix(string(g.Body), `{"object_kind"`) {
			bodies = append(bodies, string(g.Body))
		}
	}
	check(t, "bodies", bodies, []string{`{"text":"say \"hi\" by root","id":1,"none":null}`})
	for _, hook := range []int{3, 4} {
		entries := sc.Deliveries(hook)
		if len(entries) != 1 || entries[0].OK() || !strings.Contains(entries[0].Problem, "custom webhook template") {
			t.Errorf("hook %d: %+v; want a failure that names the template", hook, entries)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.write("message", strings.Repeat("0123456789abcde\n", 26<<16))
	sc.git("commit", "--quiet", "--allow-empty", "--cleanup=verbatim", "--file", "message")
	sc.push("main")
	idle(t, sc.Server)
	check(t, "requests", len(sc.take()), 0)
	entries := sc.Deliveries(sc.hook.ID)
	if len(entries) != 1 || entries[0].Status != 0 || !strings.Contains(entries[0].Problem, "more than 26214400") {
		t.Errorf("the log of a body of 26 MB has %d entries; want one failure", len(entries))
	}
}

func TestTLSOfReceivers(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	for _, skip := range []bool{false, true} {
		h, err := sc.AddHook(projectPath, gitlabtest.Hook{URL: server.URL, SkipTLSCheck: skip})
		if err != nil {
			t.Fatal(err)
		}
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
		check(t, "a certificate of nobody", sc.Deliveries(h.ID)[0].OK(), skip)
	}
}

func TestCloseBreaksDeliveriesOff(t *testing.T) {
	s, err := gitlabtest.Start(gitlabtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: projectPath}); err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil { // a server sees that its client goes only when it has read all
			t.Error(err)
		}
		arrived <- struct{}{}
		<-r.Context().Done()
	}))
	defer server.Close()
	addHook(t, s, server.URL)
	w := clone(t, s, s.RootToken())
	w.commit("first\n")
	w.push("main", "main:two")
	<-arrived
	before := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(before); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if _, err := w.try("ls-remote", "origin"); err == nil {
		t.Error("a closed server answers")
	}
}

func TestStartRefuses(t *testing.T) {
	if _, err := gitlabtest.Start(gitlabtest.Options{Listen: "127.0.0.1:99999"}); err == nil {
		t.Error("a port that is none was accepted")
	}
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	for _, path := range []string{"", "images", "group/../x", "group//x", "/group/x", "group/x.git", "group/a b", projectPath, "GROUP/images"} {
		if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: path}); err == nil {
			t.Errorf("project %q was accepted", path)
		}
	}
	for _, h := range []gitlabtest.Hook{
		{URL: "ftp://x"}, {URL: "http://"}, {URL: "http://x", SigningToken: "whsec_c2hvcnQ="}, {URL: "http://x", Events: []string{"nothing"}},
		{URL: "http://x", FilterStrategy: "regex", BranchFilter: "("},
	} {
		if _, err := s.AddHook(projectPath, h); err == nil {
			t.Errorf("hook %+v was accepted", h)
		}
	}
	if _, err := s.CreateToken(gitlabtest.Token{User: "nobody"}); err == nil {
		t.Error("a token of nobody was accepted")
	}
	if err := s.RevokeToken("nothing"); err == nil {
		t.Error("a token that is not there was revoked")
	}
	if _, err := s.CreateUser(gitlabtest.User{Username: "root"}); err == nil {
		t.Error("a second root was accepted")
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: "group/y", Members: map[string]gitlabtest.Role{"nobody": gitlabtest.Owner}}); err == nil {
		t.Error("a member who is no user was accepted")
	}
}
