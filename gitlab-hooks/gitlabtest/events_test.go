package gitlabtest_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

type eventRow struct {
	ID              int
	URL             string
	Trigger         string
	RequestHeaders  map[string]string `json:"request_headers"`
	RequestData     payload           `json:"request_data"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseBody    string            `json:"response_body"`
	Status          string            `json:"response_status"`
}

func (sc scene) events(query string) []eventRow {
	sc.t.Helper()
	status, body := sc.api("GET", fmt.Sprintf("projects/1/hooks/%d/events?%s", sc.hook.ID, query), "")
	if status != 200 {
		sc.t.Fatalf("events: %d %s", status, body)
	}
	var rows []eventRow
	if err := json.Unmarshal([]byte(body), &rows); err != nil {
		sc.t.Fatal(err)
	}
	return rows
}

func (sc scene) update(form string) {
	sc.t.Helper()
	if status, body := sc.api("PUT", fmt.Sprintf("projects/1/hooks/%d", sc.hook.ID), form); status != 200 {
		sc.t.Fatalf("update the hook: %d %s", status, body)
	}
}

func TestHookEvents(t *testing.T) {
	c := newClock()
	sc := stage(t, gitlabtest.Options{Now: c.Now}, gitlabtest.Project{})
	sc.update("token=canary-secret")
	for _, status := range []int{200, 500, 404} {
		sc.receiver.status(status)
		sc.commit("next\n")
		sc.push("main")
		idle(t, sc.Server)
	}
	sc.update("url=http://127.0.0.1:1/")
	sc.commit("next\n")
	sc.push("main")
	idle(t, sc.Server)
	rows := sc.events("")
	var statuses []string
	for _, row := range rows {
		statuses = append(statuses, row.Status)
	}
	check(t, "newest first", statuses, []string{"internal error", "404", "500", "200"})
	row := rows[3]
	check(t, "entry", []string{row.URL, row.Trigger, row.RequestHeaders["X-Gitlab-Event"], row.RequestHeaders["X-Gitlab-Token"], row.RequestData.Ref, row.ResponseHeaders["Content-Length"]},
		[]string{sc.receiver.URL, "push_hooks", "Push Hook", "[REDACTED]", "refs/heads/main", "0"})
	check(t, "the log names headers as GitLab spells them", row.RequestHeaders["X-Gitlab-Event-UUID"] != "", true)
	for query, want := range map[string]int{"status=server_failure": 2, "status=client_failure": 1, "status=successful": 1, "status=404,200": 2, "per_page=3": 3} {
		check(t, query, len(sc.events(query)), want)
	}
	for _, query := range []string{"status=999", "status=bad", "per_page=21", "per_page=0"} {
		if status, _ := sc.api("GET", "projects/1/hooks/1/events?"+query, ""); status != 400 {
			t.Errorf("events?%s: %d; want 400", query, status)
		}
	}
	c.pass(7*24*time.Hour + time.Second)
	check(t, "kept for seven days", len(sc.events("")), 0)
	if all, err := json.Marshal(rows); err != nil || strings.Contains(string(all), "canary-secret") {
		t.Errorf("the log shows the token: %v", err)
	}
}

func TestResend(t *testing.T) {
	c := newClock()
	sc := stage(t, gitlabtest.Options{Now: c.Now, AutoDisable: true}, gitlabtest.Project{})
	sc.commit("next\n")
	sc.push("main")
	idle(t, sc.Server)
	first := sc.take()[0]
	id := sc.events("")[0].ID
	resend := func() (int, string) {
		t.Helper()
		return sc.api("POST", fmt.Sprintf("projects/1/hooks/1/events/%d/resend", id), "")
	}
	status, body := resend()
	check(t, "answer", []any{status, body}, []any{201, `{"response_status":200}`})
	again := sc.take()[0]
	check(t, "the key and the body stay", []string{again.Header.Get("Idempotency-Key"), again.Header.Get("Webhook-Id"), string(again.Body)},
		[]string{first.Header.Get("Idempotency-Key"), first.Header.Get("Webhook-Id"), string(first.Body)})
	if again.Header.Get("X-Gitlab-Webhook-UUID") == first.Header.Get("X-Gitlab-Webhook-UUID") {
		t.Error("the webhook UUID is the old one")
	}
	check(t, "both are in the log", len(sc.events("")), 2)
	sc.receiver.status(500)
	for range 4 {
		status, body = resend()
		check(t, "a failure is no error of the API", []any{status, body}, []any{201, `{"response_status":500}`})
	}
	status, body = resend()
	check(t, "the sixth in a minute", []any{status, body}, []any{429, `{"message":{"error":"This endpoint has been requested too many times. Try again later."}}`})
	c.pass(time.Minute)
	status, body = resend()
	check(t, "disabled", []any{status, body}, []any{422, `{"message":"Hook disabled"}`})
	c.pass(time.Hour)
	sc.update("url=" + sc.receiver.URL + "/new")
	status, body = resend()
	check(t, "another url", []any{status, body}, []any{422, `{"message":"The hook URL has changed, and this log entry cannot be retried"}`})
	status, body = sc.api("POST", "projects/1/hooks/1/events/99/resend", "")
	check(t, "unknown", []any{status, body}, []any{404, `{"message":"404 Not found"}`})
}

func TestTestButton(t *testing.T) {
	for _, profile := range []gitlabtest.Profile{gitlabtest.Current, gitlabtest.V17} {
		t.Run(fmt.Sprint(profile), func(t *testing.T) {
			sc := stage(t, gitlabtest.Options{Profile: profile}, gitlabtest.Project{})
			var ids []string
			for range 4 {
				ids = append(ids, sc.commit("next\n"))
			}
			sc.push("main")
			sc.git("tag", "v9")
			sc.push("v9")
			idle(t, sc.Server)
			sc.take()
			test := func(trigger string) got {
				t.Helper()
				if status, body := sc.api("POST", "projects/1/hooks/1/test/"+trigger, ""); status != 201 || body != `{"message":"201 Created"}` {
					t.Fatalf("test: %d %s", status, body)
				}
				return sc.take()[0]
			}
			g := test("push_events")
			p := g.payload(t)
			want := slices.Clone(ids[1:])
			if profile != gitlabtest.Current {
				slices.Reverse(want) // newest first
			}
			check(t, "commits", p.ids(), want)
			check(t, "move", []string{p.Before, p.After, p.Ref, *p.CheckoutSHA}, []string{ids[1], ids[3], "refs/heads/main", ids[3]})
			check(t, "event", g.Header.Get("X-Gitlab-Event"), "Push Hook")
			g = test("tag_push_events")
			check(t, "event", g.Header.Get("X-Gitlab-Event"), "Tag Push Hook")
			check(t, "ref", g.payload(t).Ref, map[gitlabtest.Profile]string{gitlabtest.Current: "refs/tags/v9", gitlabtest.V17: "refs/heads/main"}[profile])

			sc.receiver.status(503)
			status, body := sc.api("POST", "projects/1/hooks/1/test/push_events", "")
			check(t, "a failure", []any{status, body}, []any{422, `{"message":""}`})
			status, body = sc.api("POST", "projects/1/hooks/1/test/nothing", "")
			check(t, "unknown", []any{status, body}, []any{400, `{"error":"trigger does not have a valid value"}`})
			status, body = sc.api("POST", "projects/1/hooks/1/test/pipeline_events", "")
			check(t, "not here", []any{status, body}, []any{422, `{"message":"Testing not available for this hook"}`})
		})
	}
}

func TestTestButtonOfAnEmptyProject(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	r := receive(t)
	addHook(t, s, r.URL)
	if status, body := apiAs(t, s, s.RootToken(), "POST", "projects/1/hooks/1/test/push_events", ""); status != 201 {
		t.Fatalf("test: %d %s", status, body)
	}
	p := r.one(t)
	check(t, "it is about another project", []string{p.Project.Path, p.After}, []string{"gitlab/gitlab", "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"})
}

func TestOldVersionsLackEndpoints(t *testing.T) {
	s := start(t, gitlabtest.Options{Profile: gitlabtest.V15}, gitlabtest.Project{})
	addHook(t, s, "http://127.0.0.1:1/")
	for _, path := range []string{"GET projects/1/hooks/1/events", "POST projects/1/hooks/1/test/push_events", "POST projects/1/hooks/1/events/1/resend"} {
		method, path, _ := strings.Cut(path, " ")
		if status, body := apiAs(t, s, s.RootToken(), method, path, ""); status != 404 || body != `{"error":"404 Not Found"}` {
			t.Errorf("%s %s: %d %s; want 404", method, path, status, body)
		}
	}
	if status, body := apiAs(t, s, s.RootToken(), "PUT", "projects/1/hooks/1", "signing_token="+signingToken); status != 200 || strings.Contains(body, "signing_token") || strings.Contains(body, `"name"`) {
		t.Errorf("the hook has fields of later versions: %s", body)
	}
}

// A webhook that is made to lead elsewhere does not take its secrets along, unless they are set anew.
func TestSecretsStayWithTheirURL(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	hook, err := s.AddHook("group/images", gitlabtest.Hook{URL: "http://127.0.0.1:1/", Token: "s3cret", Headers: map[string]string{"X-Own": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	edit := func(change, present string) {
		t.Helper()
		status, body := apiAs(t, s, s.RootToken(), "PUT", fmt.Sprintf("projects/1/hooks/%d", hook.ID), change)
		if status != 200 || !strings.Contains(body, `"token_present":`+present) {
			t.Errorf("%s: %d %s", change, status, body)
		}
	}
	edit("url=http://127.0.0.1:1/&push_events=false", "true")
	edit("url=http://127.0.0.1:1/other", "false")
	edit("url=http://127.0.0.1:1/&token=new", "true")
}
