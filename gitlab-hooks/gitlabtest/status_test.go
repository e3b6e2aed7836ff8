package gitlabtest_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

func TestStatusTransitions(t *testing.T) {
	refused := func(event, from string) string {
		return fmt.Sprintf(`{"message":"Cannot transition status via :%s from :%s (Reason(s): Status cannot transition via \"%[1]s\")"}`, event, from)
	}
	tests := []struct {
		from, to string
		same     bool // the row is changed; else a new one begins
		refusal  string
	}{
		{"pending", "pending", false, refused("enqueue", "pending")},
		{"pending", "running", true, ""},
		{"pending", "success", true, ""},
		{"pending", "failed", true, ""},
		{"pending", "canceled", true, ""},
		{"pending", "skipped", true, ""},
		{"running", "pending", false, refused("enqueue", "running")},
		{"running", "running", false, refused("run", "running")},
		{"running", "success", true, ""},
		{"running", "failed", true, ""},
		{"running", "canceled", true, ""},
		{"running", "skipped", false, refused("skip", "running")},
		{"success", "pending", false, ""},
		{"success", "success", false, ""},
		{"failed", "running", false, ""},
		{"canceled", "success", false, ""},
		{"skipped", "failed", false, ""},
	}
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	for i, test := range tests {
		t.Run(test.from+" to "+test.to, func(t *testing.T) {
			set := func(state string) (int, string, statusRow) {
				status, body := sc.api("POST", "projects/1/statuses/main", fmt.Sprintf("ref=main&name=n%d&state=%s", i, state))
				var row statusRow
				if err := json.Unmarshal([]byte(body), &row); err != nil && status == 201 {
					t.Fatal(err)
				}
				return status, body, row
			}
			_, _, before := set(test.from)
			status, body, after := set(test.to)
			if test.refusal != "" {
				check(t, "refusal", []any{status, body}, []any{400, test.refusal})
				return
			}
			check(t, "answer", []any{status, after.Status, after.ID == before.ID}, []any{201, test.to, test.same})
		})
	}
}

type statusRow struct {
	ID          int
	SHA         string `json:"sha"`
	Ref         string
	Status      string
	Name        string
	Description *string
	TargetURL   *string `json:"target_url"`
	Pipeline    int     `json:"pipeline_id"`
	Author      struct{ Username string }
}

// row posts a status and gives it.
func (sc scene) row(token, form string) statusRow {
	sc.t.Helper()
	status, body := apiAs(sc.t, sc.Server, token, "POST", "projects/1/statuses/main", form)
	if status != 201 {
		sc.t.Fatalf("status: %d %s", status, body)
	}
	var row statusRow
	if err := json.Unmarshal([]byte(body), &row); err != nil {
		sc.t.Fatal(err)
	}
	return row
}

// rows lists the commit's statuses.
func (sc scene) rows(query string) []statusRow {
	sc.t.Helper()
	status, body := sc.api("GET", "projects/1/repository/commits/"+sc.git("rev-parse", "main")+"/statuses?"+query, "")
	if status != 200 {
		sc.t.Fatalf("statuses: %d %s", status, body)
	}
	var rows []statusRow
	if err := json.Unmarshal([]byte(body), &rows); err != nil {
		sc.t.Fatal(err)
	}
	return rows
}

func TestStatusRowsAreOfOneNameRefAndUser(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	root := sc.RootToken()
	if _, err := sc.CreateUser(gitlabtest.User{Username: "other", Admin: true}); err != nil {
		t.Fatal(err)
	}
	other := member(t, sc.Server, "other")
	first := sc.row(root, "state=pending&name=a&ref=main&description=one&target_url=http://x/1")
	check(t, "another name", sc.row(root, "state=pending&name=b&ref=main").ID != first.ID, true)
	elsewhere := sc.row(root, "state=pending&name=a&ref=other")
	check(t, "another ref has another pipeline", []bool{elsewhere.ID != first.ID, elsewhere.Pipeline != first.Pipeline}, []bool{true, true})
	theirs := sc.row(other, "state=running&name=a&ref=main")
	check(t, "another user has another row of the same pipeline", []bool{theirs.ID != first.ID, theirs.Pipeline == first.Pipeline}, []bool{true, true})
	updated := sc.row(root, "state=running&name=a&ref=main")
	check(t, "what is not sent stays", []any{updated.ID, *updated.Description, *updated.TargetURL}, []any{first.ID, "one", "http://x/1"})
	check(t, "context is a name, and the name is default without any", []string{sc.row(root, "state=success&context=c&ref=main").Name, sc.row(root, "state=success&ref=main").Name}, []string{"c", "default"})
	check(t, "a refused change changes nothing", func() any {
		status, _ := sc.api("POST", "projects/1/statuses/main", "state=running&name=a&ref=main&description=two")
		return []any{status, *sc.rows("name=a&ref=main&all=true")[0].Description}
	}(), []any{400, "one"})
	// Both have been outdone by the other, and GitLab never takes that back.
	check(t, "two users of one name hide each other's rows", len(sc.rows("name=a&ref=main")), 0)
	check(t, "all of them", len(sc.rows("name=a&ref=main&all=true")), 2)
	check(t, "by pipeline", len(sc.rows(fmt.Sprintf("pipeline_id=%d", elsewhere.Pipeline))), 1)
	check(t, "newest first", sc.rows("sort=desc&all=true")[0].Name, "default")
	status, body := sc.api("GET", "projects/1/repository/commits/main/statuses", "")
	check(t, "a branch name finds the commit, but no status", []any{status, body}, []any{200, "[]"})
}

func TestStatusRef(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.push("main:refs/heads/a-branch")
	check(t, "the first branch that has the commit", sc.row(sc.RootToken(), "state=success").Ref, "a-branch")
	sc.row(sc.RootToken(), "state=success&ref=main")
	check(t, "then that of the newest pipeline", sc.row(sc.RootToken(), "state=success").Ref, "main")
	status, body := sc.api("GET", "projects/1/repository/commits/main", "")
	if status != 200 || !strings.Contains(body, `"status":"success"`) || !strings.Contains(body, `"source":"external"`) {
		t.Errorf("commit: %d %s; want its status and pipeline", status, body)
	}
}

func TestStatusLock(t *testing.T) {
	sc := stage(t, gitlabtest.Options{StatusWait: 200 * time.Millisecond}, gitlabtest.Project{})
	release, err := sc.HoldStatuses(t.Context(), projectPath, "main")
	if err != nil {
		t.Fatal(err)
	}
	status, body := sc.api("POST", "projects/1/statuses/main", "state=success&ref=main")
	check(t, "locked", []any{status, body}, []any{409, `{"message":"Another update to this commit status is in progress"}`})
	time.AfterFunc(50*time.Millisecond, release)
	if status, body := sc.api("POST", "projects/1/statuses/main", "state=success&ref=main"); status != 201 {
		t.Errorf("after a wait: %d %s", status, body)
	}
}
