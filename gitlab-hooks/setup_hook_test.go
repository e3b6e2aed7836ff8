package hooks

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

const aSecret = "hook-s3cret-canary"

var aSigningKey = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))

// door takes deliveries that can prove where they come from, as the daemon does.
func door(t *testing.T, secret string) (url string, answer *atomic.Value) {
	t.Helper()
	answer = &atomic.Value{}
	answer.Store(`{"status":"accepted"}`)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		value := func() (string, error) { return secret, nil }
		if p, err := prove([]Secret{{Value: value}}, r.Header, body, time.Now()); err != nil || !p.any() {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, answer.Load())
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hooks/gitlab", answer
}

// webhook does all that is planned, and says what that was; a plan after it is empty.
func webhook(t *testing.T, c Client, s HookSpec) (id int, done string) {
	t.Helper()
	p, err := c.PlanHook(t.Context(), "ops/images", s)
	if err != nil {
		t.Fatal(err)
	}
	if id, err = c.ApplyHook(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, change := range p.Changes {
		done += fmt.Sprintf("%s: %s -> %s\n", change.Name, change.Have, change.Want)
	}
	if again, err := c.PlanHook(t.Context(), "ops/images", s); err != nil || again.ID != id || len(again.Changes) > 0 {
		t.Errorf("after that: %+v, %v", again, err)
	}
	return id, done
}

// settings reads a webhook as the API tells it, or changes it.
func (s *standin) settings(method string, hook int, change map[string]any) map[string]any {
	s.t.Helper()
	body, err := json.Marshal(change)
	if err != nil {
		s.t.Fatal(err)
	}
	request, err := http.NewRequest(method, fmt.Sprintf("%s/api/v4/projects/ops%%2Fimages/hooks/%d", s.URL(), hook), bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	request.Header.Set("PRIVATE-TOKEN", s.RootToken())
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	settings := map[string]any{}
	if err := errors.Join(json.NewDecoder(response.Body).Decode(&settings), response.Body.Close()); err != nil || response.StatusCode != http.StatusOK {
		s.t.Fatalf("%d %v %v", response.StatusCode, settings, err)
	}
	return settings
}

// A webhook is made once, mended, and tried out, in every version of GitLab that has what is needed for that.
func TestHookIsSetUp(t *testing.T) {
	for _, tt := range []struct {
		name    string
		profile gitlabtest.Profile
		secret  string
	}{{"19", gitlabtest.Current, aSecret}, {"19, signed", gitlabtest.Current, aSigningKey}, {"17.4", gitlabtest.V17, aSecret}, {"15", gitlabtest.V15, aSecret}} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStandin(t, gitlabtest.Options{Profile: tt.profile}, gitlabtest.Project{})
			s.push(s.work.commit("one", library), head)
			url, answer := door(t, tt.secret)
			spec := HookSpec{URL: url, Secret: tt.secret}
			id, done := webhook(t, s.client, spec)
			if want := "enable_ssl_verification: - -> true\npush_events: - -> true\ntag_push_events: - -> true\nurl: - -> " + url + "\n"; done != want {
				t.Errorf("made with\n%swant\n%s", done, want)
			}
			tryOut := func(problem, ignored string) {
				t.Helper()
				made, known, err := s.client.TestHook(t.Context(), "ops/images", id)
				if err != nil || known != (tt.profile != gitlabtest.V15) || known && (!strings.Contains(made.Problem(), problem) || problem == "" && made.Problem() != "" || made.Ignored() != ignored) {
					t.Errorf("tried out: %+v, %v, %v; want %q", made, known, err, problem)
				}
			}
			tryOut("", "")
			answer.Store(`{"status":"ignored","reason":"the project is \"not\" configured"}`)
			tryOut("", `the project is "not" configured`)

			// Somebody has changed it by hand.
			changed := map[string]any{"url": url + "/", "issues_events": true, "milestone_events": true, "tag_push_events": false,
				"push_events_branch_filter": "main", "enable_ssl_verification": false, "token": "wrong", "custom_webhook_template": `{"a":1}`}
			s.settings(http.MethodPut, id, changed)
			if again, done := webhook(t, s.client, spec); again != id || strings.Count(done, "\n") < 5 || !strings.Contains(done, "milestone_events: true -> false\n") || !strings.Contains(done, "push_events_branch_filter: main -> -\n") {
				t.Errorf("mended %d as %d:\n%s", id, again, done)
			}
			settings := s.settings(http.MethodGet, id, nil)
			if settings["push_events"] != true || settings["tag_push_events"] != true || settings["issues_events"] != false || settings["enable_ssl_verification"] != true {
				t.Errorf("settings %v", settings)
			}
			tryOut("", `the project is "not" configured`)
			for _, more := range []string{url, "http://old.example.org/hooks/gitlab?key=canary", "http://chat.example.org/x"} {
				if _, err := s.AddHook("ops/images", gitlabtest.Hook{URL: more}); err != nil {
					t.Fatal(err)
				}
			}
			if p, err := s.client.PlanHook(t.Context(), "ops/images", spec); err != nil || p.ID != id || fmt.Sprint(p.Twice, p.Astray) != "["+url+"] [http://old.example.org/hooks/gitlab]" {
				t.Errorf("with a second one: %+v, %v", p, err)
			}
		})
	}
}

// What is wrong with a webhook shows in the test delivery.
func TestHookThatDoesNotArrive(t *testing.T) {
	s := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{})
	s.push(s.work.commit("one", library), head)
	url, _ := door(t, aSecret)
	for _, tt := range []struct{ url, secret, says string }{
		{url, "another", "the webhook's secret is none that the daemon has"},
		{"http://127.0.0.1:1/hooks/gitlab", aSecret, "gitlab got no answer"},
		{s.URL() + "/hooks/gitlab", aSecret, "the webhook leads to something else"},
	} {
		id, _ := webhook(t, s.client, HookSpec{URL: tt.url, Secret: tt.secret})
		made, known, err := s.client.TestHook(t.Context(), "ops/images", id)
		if err != nil || !known || !strings.Contains(made.Problem(), tt.says) {
			t.Errorf("%s: %+v (%s), %v, %v", tt.url, made, made.Problem(), known, err)
		}
	}
}

// What GitLab does not take is said with the remedy and without the secret.
func TestHookThatIsRefused(t *testing.T) {
	old := newStandin(t, gitlabtest.Options{Profile: gitlabtest.V17}, gitlabtest.Project{})
	now := newStandin(t, gitlabtest.Options{}, gitlabtest.Project{})
	if _, err := now.CreateUser(gitlabtest.User{Username: "dev"}); err != nil {
		t.Fatal(err)
	}
	dev, err := now.CreateToken(gitlabtest.Token{User: "dev", Scopes: []string{"api"}})
	if err != nil {
		t.Fatal(err)
	}
	stranger := now.client
	stranger.Token = dev.Secret
	const url = "http://127.0.0.1:1/hooks/gitlab"
	for _, tt := range []struct {
		name   string
		client Client
		spec   HookSpec
		reason error
		says   string
	}{
		{"a signing token for an old one", old.client, HookSpec{url, aSigningKey}, ErrRefused, "did not take the signing token"},
		{"a signing token of the wrong length", now.client, HookSpec{url, "whsec_" + base64.StdEncoding.EncodeToString([]byte("canary"))}, ErrRefused, "32 random bytes"},
		{"no url", now.client, HookSpec{"ftp://x/", aSecret}, ErrRefused, "Outbound requests"},
		{"no secret", now.client, HookSpec{url, ""}, ErrConfig, "write one line"},
		{"a secret of two lines", now.client, HookSpec{url, aSecret + "\nx"}, ErrConfig, "write one line"},
		{"a stranger", stranger, HookSpec{url, aSecret}, ErrNotFound, "member of the project"},
	} {
		p, err := tt.client.PlanHook(t.Context(), "ops/images", tt.spec)
		if err == nil {
			_, err = tt.client.ApplyHook(t.Context(), p)
		}
		if !errors.Is(err, tt.reason) || !strings.Contains(err.Error(), tt.says) || strings.Contains(fmt.Sprintf("%+v", err), tt.spec.Secret) && tt.spec.Secret != "" {
			t.Errorf("%s: %v, want %v and %q", tt.name, err, tt.reason, tt.says)
		}
		if strings.Contains(fmt.Sprintf("%+v", p.Changes), "canary") {
			t.Errorf("%s: the plan shows the secret: %+v", tt.name, p.Changes)
		}
	}
	now.Fail(gitlabtest.Fault{Answer: gitlabtest.Forbidden})
	if _, err := now.client.PlanHook(t.Context(), "ops/images", HookSpec{url, aSecret}); !errors.Is(err, ErrForbidden) || !strings.Contains(err.Error(), "role Maintainer (GITLAB_SETUP_TOKEN_FILE)") {
		t.Errorf("a developer: %v", err)
	}
}
