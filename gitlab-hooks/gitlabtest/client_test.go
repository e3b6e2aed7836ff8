package gitlabtest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xanzy/go-gitlab"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// unretried is a client that gives up at once.
//
//lint:ignore SA1019 the design fixes this library
func unretried(t *testing.T, s *gitlabtest.Server, token string) *gitlab.Client {
	t.Helper()
	//lint:ignore SA1019 the design fixes this library
	client, err := gitlab.NewClient(token, gitlab.WithBaseURL(s.URL()), gitlab.WithCustomRetryMax(0))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func must[T any](t *testing.T) func(T, *gitlab.Response, error) T {
	return func(value T, _ *gitlab.Response, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestGoGitLabReadsTheRepository(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{Path: projectPath, Name: "Images", Description: "what we build"})
	client := unretried(t, sc.Server, sc.RootToken())
	first := sc.git("rev-parse", "HEAD")
	second := sc.commit("second\n", "images/a.b/x.hcl", "x\n", "images/c/y.hcl", "y\n", "README", "changed\n")
	sc.push("main", "main:refs/heads/feature/x")

	version := must[*gitlab.Version](t)(client.Version.GetVersion())
	check(t, "version", version.Version, "19.2.0")
	user := must[*gitlab.User](t)(client.Users.CurrentUser())
	check(t, "user", []any{user.ID, user.Username, user.IsAdmin}, []any{1, "root", true})
	self := must[*gitlab.PersonalAccessToken](t)(client.PersonalAccessTokens.GetSinglePersonalAccessToken())
	if !slices.Contains(self.Scopes, "api") || !self.Active {
		t.Errorf("token: %+v", self)
	}
	for _, id := range []any{1, "1", projectPath} {
		project := must[*gitlab.Project](t)(client.Projects.GetProject(id, nil))
		check(t, "project", []any{project.ID, project.PathWithNamespace, project.Name, project.DefaultBranch, project.Visibility, project.HTTPURLToRepo},
			[]any{1, projectPath, "Images", "main", gitlab.PrivateVisibility, sc.CloneURL(projectPath, "")})
	}
	branch := must[*gitlab.Branch](t)(client.Branches.GetBranch(projectPath, "feature/x"))
	check(t, "branch", []any{branch.Name, branch.Commit.ID, branch.Merged, branch.Default, branch.Protected}, []any{"feature/x", second, true, false, false})
	commit := must[*gitlab.Commit](t)(client.Commits.GetCommit(projectPath, second, nil))
	check(t, "commit", []any{commit.ID, commit.ParentIDs, commit.Title, commit.Message, commit.Stats.Additions, commit.Stats.Deletions, commit.AuthorName, commit.CommitterEmail},
		[]any{second, []string{first}, "second", "second\n", 3, 1, "Ann Author", "carl@example.org"})
	content := must[[]byte](t)(client.RepositoryFiles.GetRawFile(projectPath, "images/a.b/x.hcl", &gitlab.GetRawFileOptions{Ref: gitlab.Ptr("feature/x")}))
	check(t, "file", string(content), "x\n")
	entries := must[[]*gitlab.TreeNode](t)(client.Repositories.ListTree(projectPath, &gitlab.ListTreeOptions{Path: gitlab.Ptr("images"), Ref: &second}))
	check(t, "tree", []any{len(entries), *entries[0]},
		[]any{2, gitlab.TreeNode{ID: sc.git("rev-parse", "HEAD:images/a.b"), Name: "a.b", Type: "tree", Path: "images/a.b", Mode: "040000"}})
	all := must[[]*gitlab.TreeNode](t)(client.Repositories.ListTree(projectPath, &gitlab.ListTreeOptions{Recursive: gitlab.Ptr(true)}))
	var paths []string
	for _, entry := range all {
		paths = append(paths, entry.Path)
	}
	check(t, "whole tree, folders first", paths, []string{"images", "images/a.b", "images/c", "README", "images/a.b/x.hcl", "images/c/y.hcl"})
}

func TestGoGitLabCompares(t *testing.T) {
	sc := stage(t, gitlabtest.Options{DiffMaxFiles: 4}, gitlabtest.Project{})
	client := unretried(t, sc.Server, sc.RootToken())
	base := sc.git("rev-parse", "HEAD")
	text := strings.Join(seq(1, 40), "\n") + "\n"
	left := sc.commit("left\n", "old", text, "lost", "1\n")
	sc.git("checkout", "--quiet", "-b", "right", base)
	right := sc.commit("right\n", "README", "hello\nworld\n", "new", text)
	sc.git("push", "--quiet", "origin", "main", "right")
	compare := func(from, to string, straight bool) *gitlab.Compare {
		t.Helper()
		return must[*gitlab.Compare](t)(client.Repositories.Compare(projectPath, &gitlab.CompareOptions{From: &from, To: &to, Straight: &straight}))
	}
	paths := func(c *gitlab.Compare) (found []string) {
		for _, d := range c.Diffs {
			found = append(found, d.OldPath+">"+d.NewPath)
		}
		return found
	}
	c := compare(left, "right", true)
	check(t, "straight: everything that differs", paths(c), []string{"README>README", "lost>lost", "old>new"})
	check(t, "commits", []any{len(c.Commits), c.Commit.ID, c.CompareTimeout, c.CompareSameRef}, []any{1, right, false, false})
	check(t, "diff", []any{c.Diffs[0].Diff, c.Diffs[1].DeletedFile, c.Diffs[2].RenamedFile, c.Diffs[2].Diff, c.Diffs[1].BMode},
		[]any{"@@ -1 +1,2 @@\n hello\n+world\n", true, true, "", "0"})
	c = compare(left, "right", false)
	check(t, "merge base: what right did", paths(c), []string{"README>README", "new>new"})
	if !strings.HasSuffix(c.WebURL, "/-/compare/"+base+"..."+right) {
		t.Errorf("web url %s", c.WebURL)
	}
	same := compare("main", left, false)
	check(t, "same", []any{same.CompareSameRef, len(same.Commits), same.Commit, len(same.Diffs)}, []any{true, 0, (*gitlab.Commit)(nil), 0})

	sc.commit("many\n", "f1", "", "f2", "1\n", "f3", "1\n", "f4", "\x00\x01\n")
	sc.push("right")
	c = compare(right, "right", true)
	check(t, "as many files as are allowed", []any{len(c.Diffs), c.CompareTimeout}, []any{4, false})
	check(t, "a binary file", c.Diffs[3].Diff, "Binary files /dev/null and b/f4 differ\n")
	sc.commit("one more\n", "f5", "1\n")
	sc.push("right")
	c = compare(right, "right", true)
	check(t, "more are left out", []any{len(c.Diffs), c.CompareTimeout}, []any{4, true})

	_, response, err := client.Repositories.Compare(projectPath, &gitlab.CompareOptions{From: gitlab.Ptr("nowhere"), To: &right})
	if !errors.Is(err, gitlab.ErrNotFound) || response.StatusCode != 404 {
		t.Errorf("unknown ref: %v", err)
	}
}

func TestCompareLeavesPatchesOut(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	base := sc.git("rev-parse", "HEAD")
	line := strings.Repeat("x", 99) + "\n"
	sc.commit("large\n", "collapsed", strings.Repeat(line, 250), "small", "1\n", "too-large", strings.Repeat(line, 2500))
	sc.push("main")
	_, body := sc.api("GET", "projects/1/repository/compare?straight=true&from="+base+"&to=main", "")
	var c struct {
		Diffs []struct {
			Diff      string
			Path      string `json:"new_path"`
			Collapsed bool
			TooLarge  bool `json:"too_large"`
		}
		Overflow bool `json:"compare_timeout"`
	}
	if err := json.Unmarshal([]byte(body), &c); err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		path                string
		collapsed, tooLarge bool
		diff                string
	}{{"collapsed", true, false, ""}, {"small", false, false, "@@ -0,0 +1 @@\n+1\n"}, {"too-large", false, true, ""}} {
		d := c.Diffs[i]
		check(t, want.path, []any{d.Path, d.Collapsed, d.TooLarge, d.Diff}, []any{want.path, want.collapsed, want.tooLarge, want.diff})
	}
	check(t, "the list is whole", c.Overflow, false)
}

func TestGoGitLabManagesHooks(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	client := unretried(t, sc.Server, sc.RootToken())
	made := must[*gitlab.ProjectHook](t)(client.Projects.AddProjectHook(projectPath, &gitlab.AddProjectHookOptions{
		URL: gitlab.Ptr(sc.receiver.URL + "/second"), Token: gitlab.Ptr("secret"), PushEvents: gitlab.Ptr(true), TagPushEvents: gitlab.Ptr(true),
		PushEventsBranchFilter: gitlab.Ptr("main"), EnableSSLVerification: gitlab.Ptr(false), Name: gitlab.Ptr("aibuild"),
		CustomHeaders: &[]*gitlab.HookCustomHeader{{Key: "X-One", Value: "1"}},
	}))
	check(t, "made", []any{made.ID, made.ProjectID, made.PushEvents, made.TagPushEvents, made.JobEvents, made.EnableSSLVerification, made.AlertStatus, made.PushEventsBranchFilter, made.Name, made.CustomHeaders[0].Key},
		[]any{2, 1, true, true, false, false, "executable", "main", "aibuild", "X-One"})
	edited := must[*gitlab.ProjectHook](t)(client.Projects.EditProjectHook(projectPath, made.ID, &gitlab.EditProjectHookOptions{
		URL: gitlab.Ptr(sc.receiver.URL + "/second"), TagPushEvents: gitlab.Ptr(false),
	}))
	check(t, "edited", []any{edited.URL, edited.PushEvents, edited.TagPushEvents, edited.PushEventsBranchFilter}, []any{sc.receiver.URL + "/second", true, false, "main"})
	if response, err := client.Projects.TriggerTestProjectHook(projectPath, made.ID, gitlab.ProjectHookEventPush); err != nil || response.StatusCode != 201 {
		t.Errorf("test: %v", err)
	}
	tested := sc.take()[0]
	check(t, "token", []string{tested.Header.Get("X-Gitlab-Token"), tested.Header.Get("X-One")}, []string{"secret", "1"})
	hooks := must[[]*gitlab.ProjectHook](t)(client.Projects.ListProjectHooks(projectPath, nil))
	check(t, "list", []any{len(hooks), hooks[1].ID}, []any{2, made.ID})
	if _, err := client.Projects.DeleteProjectHook(projectPath, made.ID); err != nil {
		t.Error(err)
	}
	if _, _, err := client.Projects.GetProjectHook(projectPath, made.ID); !errors.Is(err, gitlab.ErrNotFound) {
		t.Errorf("the deleted hook: %v", err)
	}
}

func TestGoGitLabSetsStatuses(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	client := unretried(t, sc.Server, sc.RootToken())
	sha := sc.git("rev-parse", "HEAD")
	set := func(state gitlab.BuildStateValue) (*gitlab.CommitStatus, error) {
		t.Helper()
		st, _, err := client.Commits.SetCommitStatus(projectPath, sha, &gitlab.SetCommitStatusOptions{
			State: state, Ref: gitlab.Ptr("main"), Name: gitlab.Ptr("aibuild/debian-12"), TargetURL: gitlab.Ptr("http://127.0.0.1:9753/runs/1"), Description: gitlab.Ptr("is " + string(state)),
		})
		return st, err
	}
	for _, state := range []gitlab.BuildStateValue{gitlab.Pending, gitlab.Running, gitlab.Failed} {
		st, err := set(state)
		if err != nil {
			t.Fatal(err)
		}
		check(t, "status", []any{st.ID, st.Status, st.Name, st.Description, st.Ref, st.Author.Username, st.StartedAt != nil, st.FinishedAt != nil},
			[]any{1, string(state), "aibuild/debian-12", "is " + string(state), "main", "root", state != gitlab.Pending, state == gitlab.Failed})
	}
	if _, err := set(gitlab.Pending); err != nil { // a new row: it is tried again
		t.Fatal(err)
	}
	_, err := set(gitlab.Pending)
	var refused *gitlab.ErrorResponse
	if !errors.As(err, &refused) || refused.Response.StatusCode != 400 ||
		refused.Message != `{message: Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via "enqueue")}` {
		t.Errorf("pending twice: %v", err)
	}
	latest := must[[]*gitlab.CommitStatus](t)(client.Commits.GetCommitStatuses(projectPath, sha, &gitlab.GetCommitStatusesOptions{Ref: gitlab.Ptr("main")}))
	check(t, "latest", []any{len(latest), latest[0].ID, latest[0].Status}, []any{1, 2, "pending"})
	all := must[[]*gitlab.CommitStatus](t)(client.Commits.GetCommitStatuses(projectPath, sha, &gitlab.GetCommitStatusesOptions{All: gitlab.Ptr(true)}))
	check(t, "all", []any{len(all), all[0].Status, all[0].FinishedAt.IsZero()}, []any{2, "failed", false})
}

// TestGoGitLabKnowsEveryField: what the API answers is decoded with unknown fields refused, but for those that the
// library is known to lack.
func TestGoGitLabKnowsEveryField(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	base := sc.git("rev-parse", "HEAD")
	sha := sc.commit("next\n", "a", "1\n")
	sc.push("main")
	if status, body := sc.api("POST", "projects/1/statuses/"+sha, "state=success&ref=main&coverage=12.5"); status != 201 {
		t.Fatalf("status: %d %s", status, body)
	}
	for path, test := range map[string]struct {
		into    any
		unknown []string
	}{
		"version":                             {&gitlab.Version{}, nil},
		"personal_access_tokens/self":         {&gitlab.PersonalAccessToken{}, nil},
		"projects/1":                          {&gitlab.Project{}, []string{"repository_object_format"}},
		"projects/1/repository/branches":      {&[]*gitlab.Branch{}, []string{"extended_trailers"}},
		"projects/1/repository/branches/main": {&gitlab.Branch{}, []string{"extended_trailers"}},
		"projects/1/repository/tree":          {&[]*gitlab.TreeNode{}, nil},
		"projects/1/repository/compare?from=" + base + "&to=main": {&gitlab.Compare{}, []string{"extended_trailers", "collapsed", "too_large", "generated_file"}},
		"projects/1/repository/commits/main":                      {&gitlab.Commit{}, []string{"project_id", "extended_trailers", "iid"}},
		"projects/1/repository/commits/" + sha + "/statuses":      {&[]*gitlab.CommitStatus{}, []string{"locked", "avatar_url", "web_url"}},
		"projects/1/hooks/1":                                      {&gitlab.ProjectHook{}, nil},
		"projects/1/protected_branches":                           {&[]*gitlab.ProtectedBranch{}, nil},
	} {
		status, body := sc.api("GET", path, "")
		if status != 200 {
			t.Errorf("%s: %d %s", path, status, body)
			continue
		}
		decoder := json.NewDecoder(bytes.NewReader(without(t, body, test.unknown)))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(test.into)
		if path == "projects/1/hooks/1" { // the library knows but a part of a hook
			err = json.Unmarshal([]byte(body), test.into)
		}
		if err != nil {
			t.Errorf("%s: %v in %s", path, err, body)
		}
		if reflect.ValueOf(test.into).Elem().IsZero() {
			t.Errorf("%s: nothing in %s", path, body)
		}
	}
}

// without removes fields, however deep they are.
func without(t *testing.T, document string, fields []string) []byte {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(document), &value); err != nil {
		t.Fatal(err)
	}
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case map[string]any:
			for key, field := range value {
				if slices.Contains(fields, key) {
					delete(value, key)
				}
				walk(field)
			}
		case []any:
			for _, element := range value {
				walk(element)
			}
		}
	}
	walk(value)
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestRawFileHeaders(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	first := sc.git("rev-parse", "HEAD")
	second := sc.commit("next\n", "a", "1\n")
	sc.push("main")
	for _, method := range []string{"GET", "HEAD"} {
		response := request(t, sc.Server, sc.RootToken(), method, "projects/group%2Fimages/repository/files/README/raw?ref=main", "")
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		check(t, method, []any{response.StatusCode, string(body)}, []any{200, map[string]string{"GET": "hello\n"}[method]})
		h := response.Header
		check(t, "headers", []string{h.Get("X-Gitlab-Commit-Id"), h.Get("X-Gitlab-Last-Commit-Id"), h.Get("X-Gitlab-Size"), h.Get("X-Gitlab-Blob-Id"), h.Get("Content-Type")},
			[]string{second, first, "6", sc.git("rev-parse", "HEAD:README"), "text/plain; charset=utf-8"})
	}
}

func TestTokenExpires(t *testing.T) {
	c := newClock()
	s := start(t, gitlabtest.Options{Now: c.Now}, gitlabtest.Project{})
	token, err := s.CreateToken(gitlabtest.Token{User: "root", Expires: c.Now().Add(24 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	self := must[*gitlab.PersonalAccessToken](t)(unretried(t, s, token.Secret).PersonalAccessTokens.GetSinglePersonalAccessToken())
	check(t, "expires", time.Time(*self.ExpiresAt).Format(time.DateOnly), "2026-03-02")
	c.pass(24 * time.Hour)
	response := request(t, s, token.Secret, http.MethodGet, "version", "")
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	check(t, "expired", []any{response.StatusCode, string(body)}, []any{401,
		`{"error":"invalid_token","error_description":"Token is expired. You can either do re-authorization or token refresh."}`})
	if !strings.HasPrefix(response.Header.Get("WWW-Authenticate"), `Bearer realm="The API", error="invalid_token"`) {
		t.Errorf("WWW-Authenticate: %s", response.Header.Get("WWW-Authenticate"))
	}
}
