package gitlabtest_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

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
