package gitlabtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// member adds a user with a role in the project, and gives the secret of a token with those scopes.
func member(t *testing.T, s *gitlabtest.Server, name string, scopes ...string) string {
	t.Helper()
	token, err := s.CreateToken(gitlabtest.Token{User: name, Scopes: scopes})
	if err != nil {
		t.Fatal(err)
	}
	return token.Secret
}

// cast is a project with a member of each role, and somebody who is none.
func cast(t *testing.T, p gitlabtest.Project) (*gitlabtest.Server, *work) {
	t.Helper()
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{Path: "group/empty"})
	p.Members = map[string]gitlabtest.Role{}
	for name, role := range map[string]gitlabtest.Role{
		"guest": gitlabtest.Guest, "reporter": gitlabtest.Reporter, "developer": gitlabtest.Developer, "maintainer": gitlabtest.Maintainer, "stranger": gitlabtest.NoRole,
	} {
		if _, err := s.CreateUser(gitlabtest.User{Username: name}); err != nil {
			t.Fatal(err)
		}
		if role != gitlabtest.NoRole {
			p.Members[name] = role
		}
	}
	p.Path = projectPath
	if _, err := s.CreateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	w := clone(t, s, s.RootToken())
	w.commit("first\n", "README", "hello\n", "images/a/x", "1\n")
	w.push("main", "main:refs/heads/dev")
	return s, w
}

const (
	unauthorized = `{"message":"401 Unauthorized"}`
	forbidden    = `{"message":"403 Forbidden"}`
	noProject    = `{"message":"404 Project Not Found"}`
	lowScope     = `{"error":"insufficient_scope","error_description":"The request requires higher privileges than provided by the access token.","scope":"api read_api"}`
)

func TestWhoMayDoWhat(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{})
	sha := w.git("rev-parse", "HEAD")
	revoked := member(t, s, "maintainer")
	if err := s.RevokeToken(revoked); err != nil {
		t.Fatal(err)
	}
	const (
		project = "projects/group%2Fimages"
		files   = project + "/repository/files/README/raw"
		hooks   = project + "/hooks"
	)
	status := project + "/statuses/" + sha + "?state=success&ref="
	tests := []struct {
		name, token, method, path string
		status                    int
		body                      string // empty: not compared
	}{
		{"nobody", "", "GET", "version", 401, unauthorized},
		{"nobody, private project", "", "GET", project, 404, noProject},
		{"nobody, posting", "", "POST", status + "dev", 401, unauthorized},
		{"unknown token", "glpat-unknown", "GET", "version", 401, unauthorized},
		{"revoked token", revoked, "GET", "version", 401, `{"error":"invalid_token","error_description":"Token was revoked. You have to re-authorize from the user."}`},
		{"stranger", member(t, s, "stranger"), "GET", project, 404, noProject},
		{"guest", member(t, s, "guest"), "GET", project, 200, ""},
		{"guest, code", member(t, s, "guest"), "GET", files, 403, forbidden},
		{"reporter, code", member(t, s, "reporter"), "GET", files, 200, "hello\n"},
		{"reporter, status", member(t, s, "reporter"), "POST", status + "dev", 403, forbidden},
		{"developer, status", member(t, s, "developer"), "POST", status + "dev", 201, ""},
		{"developer, status on a protected branch", member(t, s, "developer"), "POST", status + "main", 403, forbidden},
		{"developer, hooks", member(t, s, "developer"), "GET", hooks, 403, forbidden},
		{"maintainer, status on a protected branch", member(t, s, "maintainer"), "POST", status + "main", 201, ""},
		{"maintainer, hooks", member(t, s, "maintainer"), "GET", hooks, 200, "[]"},
		{"read_api reads", member(t, s, "maintainer", "read_api"), "GET", hooks, 200, "[]"},
		{"read_api does not write", member(t, s, "maintainer", "read_api"), "POST", status + "main", 403, lowScope},
		{"read_repository reads files", member(t, s, "maintainer", "read_repository"), "GET", files, 200, "hello\n"},
		{"read_repository is not enough", member(t, s, "maintainer", "read_repository"), "GET", project, 403, lowScope},
		{"any token knows itself", member(t, s, "maintainer", "read_repository"), "GET", "personal_access_tokens/self", 200, ""},
		{"read_user", member(t, s, "maintainer", "read_user"), "GET", "user", 200, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, body := apiAs(t, s, test.token, test.method, test.path, "")
			if got != test.status || test.body != "" && body != test.body {
				t.Errorf("%s %s: %d %s; want %d %s", test.method, test.path, got, body, test.status, test.body)
			}
		})
	}
	public, _ := cast(t, gitlabtest.Project{Visibility: gitlabtest.Public})
	if got, body := apiAs(t, public, "", "GET", files, ""); got != 200 || body != "hello\n" {
		t.Errorf("nobody, public project: %d %s", got, body)
	}
}

func TestErrorBodies(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{})
	w.git("tag", "tree", "HEAD^{tree}")
	w.push("tree")
	loose := w.git("commit-tree", "-m", "on no branch", "HEAD^{tree}")
	w.git("push", "--quiet", "origin", loose+":refs/other/x")
	tests := []struct {
		method, path, form string
		status             int
		body               string
	}{
		{"GET", "nothing/here", "", 404, `{"error":"404 Not Found"}`},
		{"PATCH", "projects/2", "", 405, `{"error":"405 Not Allowed"}`},
		{"GET", "projects/99", "", 404, noProject},
		{"GET", "projects/0", "", 404, noProject},
		{"GET", "projects/group%2Fnothing", "", 404, noProject},
		{"GET", "projects/2/repository/branches/nothing", "", 404, `{"message":"404 Branch Not Found"}`},
		{"GET", "projects/2/repository/branches?per_page=x", "", 400, `{"error":"per_page is invalid"}`},
		{"GET", "projects/2/repository/branches?per_page=0", "", 400, `{"error":"per_page does not have a valid value"}`},
		{"GET", "projects/2/repository/tree?ref=nothing", "", 404, `{"message":"404 Tree Not Found"}`},
		{"GET", "projects/1/repository/tree", "", 404, `{"message":"404 Tree Not Found"}`},
		{"GET", "projects/2/repository/tree?path=nothing", "", 404, `{"message":"404 invalid revision or path Not Found"}`},
		{"GET", "projects/2/repository/tree?path=README", "", 404, `{"message":"404 invalid revision or path Not Found"}`},
		{"GET", "projects/2/repository/tree?path=..%2F..%2Fetc", "", 404, `{"message":"404 Path cannot include traversal syntax Not Found"}`},
		{"GET", "projects/2/repository/tree?path=%2Fetc", "", 404, `{"message":"404 Only relative path is accepted Not Found"}`},
		{"GET", "projects/2/repository/tree?recursive=maybe", "", 400, `{"error":"recursive is invalid"}`},
		{"GET", "projects/2/repository/compare", "", 400, `{"error":"from is missing, to is missing"}`},
		{"GET", "projects/2/repository/compare?from=main&to=nothing", "", 404, `{"message":"404 Ref Not Found"}`},
		{"GET", "projects/2/repository/compare?from=tree&to=main", "", 404, `{"message":"404 Ref Not Found"}`},
		{"GET", "projects/2/repository/files/nothing/raw", "", 404, `{"message":"404 File Not Found"}`},
		{"GET", "projects/2/repository/files/images/raw", "", 404, `{"message":"404 File Not Found"}`},
		{"GET", "projects/2/repository/files/README/raw?ref=nothing", "", 404, `{"message":"404 Commit Not Found"}`},
		{"GET", "projects/2/repository/files/README/raw?ref=", "", 400, `{"error":"ref is empty"}`},
		{"GET", "projects/2/repository/files/..%2Fconfig/raw", "", 400, `{"error":"file_path should be a valid file path"}`},
		{"GET", "projects/2/repository/commits/--all", "", 404, `{"message":"404 Commit Not Found"}`},
		{"GET", "projects/2/repository/commits/%00", "", 404, `{"message":"404 Commit Not Found"}`},
		{"GET", "projects/2/repository/commits/nothing/statuses", "", 404, `{"message":"404 Commit Not Found"}`},
		{"POST", "projects/2/statuses/nothing", "state=success", 404, `{"message":"404 Commit Not Found"}`},
		{"POST", "projects/2/statuses/main", "", 400, `{"error":"state is missing, state does not have a valid value"}`},
		{"POST", "projects/2/statuses/main", "state=done", 400, `{"error":"state does not have a valid value"}`},
		{"POST", "projects/2/statuses/" + loose, "state=success", 404, `{"message":"404 References for commit Not Found"}`},
		{"POST", "projects/2/statuses/main", "state=success&pipeline_id=99", 404, `{"message":"404 Pipeline for pipeline_id, sha and ref Not Found"}`},
		{"POST", "projects/2/statuses/main", "state=success&ref=dev&target_url=ftp://x", 400, `{"message":{"target_url":["is blocked: Only allowed schemes are http, https"]}}`},
		{"POST", "projects/2/statuses/main", "state=success&ref=dev&description=" + strings.Repeat("x", 256), 400, `{"message":{"description":["is too long (maximum is 255 characters)"]}}`},
		{"POST", "projects/2/statuses/main", "state=success&ref=dev&coverage=all", 400, `{"error":"coverage is invalid"}`},
		{"GET", "projects/2/hooks/99", "", 404, `{"message":"404 Not found"}`},
		{"GET", "projects/2/hooks/x", "", 400, `{"error":"hook_id is invalid"}`},
		{"POST", "projects/2/hooks", "push_events=true", 400, `{"error":"url is missing"}`},
		{"POST", "projects/2/hooks", "url=ftp://x", 422, `{"error":"Invalid url given"}`},
		{"POST", "projects/2/hooks", "url=http://x&branch_filter_strategy=regex&push_events_branch_filter=(", 422, `{"error":"Invalid branch filter given"}`},
		{"POST", "projects/2/hooks", "url=http://x&branch_filter_strategy=some", 400, `{"error":"branch_filter_strategy does not have a valid value"}`},
		{"POST", "projects/2/hooks", "url=http://x&push_events=maybe", 400, `{"error":"push_events is invalid"}`},
		{"POST", "projects/2/hooks", "url=http://x&signing_token=secret", 422, `{"error":"Signing token must be in the whsec_<base64> format, encoding a 32-byte key"}`},
		{"DELETE", "projects/2/hooks/99", "", 404, `{"message":"404 Not found"}`},
		{"PUT", "projects/2/hooks/99", "url=http://x", 404, `{"message":"404 Not found"}`},
		{"GET", "projects/2/protected_branches/nothing", "", 404, `{"message":"404 Not found"}`},
	}
	for _, test := range tests {
		got, body := apiAs(t, s, s.RootToken(), test.method, test.path, test.form)
		if got != test.status || body != test.body {
			t.Errorf("%s %s: %d %s; want %d %s", test.method, test.path, got, body, test.status, test.body)
		}
	}
	response, err := http.Get(s.URL() + "/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	check(t, "a page for everything else", []any{response.StatusCode, response.Header.Get("Content-Type")}, []any{404, "text/html; charset=utf-8"})
}

func TestNamesAreCompared(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{})
	odd := `odd "name' $(x) %2F` + "\t"
	w.commit("odd\n", "images/"+odd, "odd\n")
	w.push("main:refs/heads/feature/a.b%")
	for path, want := range map[string]string{
		"projects/group%2Fimages/repository/branches/feature%2Fa%2Eb%25":                                            `"name":"feature/a.b%"`,
		"projects/group%2Fimages/repository/files/" + url.PathEscape("images/"+odd) + "/raw?ref=feature%2Fa%2Eb%25": "odd\n",
		"projects/GROUP%2fimages":                                      `"path_with_namespace":"group/images"`,
		"projects/2/repository/tree?path=images/&ref=feature%2Fa.b%25": `"path":"images/odd \"name' $(x) %2F\t"`,
	} {
		if got, body := apiAs(t, s, s.RootToken(), "GET", path, ""); got != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s; want %s", path, got, body, want)
		}
	}
}

func TestPages(t *testing.T) {
	s, w := cast(t, gitlabtest.Project{})
	for _, i := range seq(1, 3) {
		w.push("main:refs/heads/b" + i) // with main and dev, five
		w.write("images/"+i+"/x", "1\n")
	}
	w.commit("images\n")
	w.push("main")
	get := func(path string) (names []string, header map[string]string) {
		t.Helper()
		response := request(t, s, s.RootToken(), "GET", path, "")
		defer response.Body.Close()
		var entries []struct{ Name, Path string }
		if err := json.NewDecoder(response.Body).Decode(&entries); err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			names = append(names, entry.Name)
		}
		header = map[string]string{}
		for _, name := range []string{"X-Page", "X-Per-Page", "X-Next-Page", "X-Prev-Page", "X-Total", "X-Total-Pages", "Link"} {
			header[name] = response.Header.Get(name)
		}
		return names, header
	}
	link := func(path, query, relation string) string {
		return fmt.Sprintf(`<%s/api/v4/%s?%s>; rel="%s"`, s.URL(), path, query, relation)
	}
	const branches = "projects/2/repository/branches"
	names, header := get(branches + "?per_page=2")
	check(t, "first page", names, []string{"b1", "b2"})
	check(t, "its headers", header, map[string]string{"X-Page": "1", "X-Per-Page": "2", "X-Next-Page": "2", "X-Prev-Page": "", "X-Total": "5", "X-Total-Pages": "3",
		"Link": strings.Join([]string{link(branches, "id=2&page=2&per_page=2", "next"), link(branches, "id=2&page=1&per_page=2", "first"), link(branches, "id=2&page=3&per_page=2", "last")}, ", ")})
	names, header = get(branches + "?per_page=2&page=3")
	check(t, "last page", names, []string{"main"})
	check(t, "its neighbours", []string{header["X-Next-Page"], header["X-Prev-Page"]}, []string{"", "2"})
	_, header = get(branches)
	check(t, "a first page always has a next one", []string{header["X-Next-Page"], header["X-Total-Pages"], header["X-Per-Page"]}, []string{"2", "1", "20"})
	names, header = get(branches + "?page=2")
	check(t, "which is empty", []any{len(names), header["X-Next-Page"]}, []any{0, ""})
	names, _ = get(branches + "?search=%5Eb")
	check(t, "search", names, []string{"b1", "b2", "b3"})

	const tree = "projects/2/repository/tree"
	names, header = get(tree + "?path=images&pagination=keyset&per_page=3")
	check(t, "keyset", names, []string{"1", "2", "3"})
	next, _, _ := strings.Cut(strings.TrimPrefix(header["Link"], "<"+s.URL()+"/api/v4/"), ">")
	names, header = get(next)
	check(t, "next keyset", names, []string{"a"})
	check(t, "end of the keyset", header["Link"], "")

	_, header = get("projects/2/hooks")
	check(t, "a list without an entry", []string{header["X-Next-Page"], header["X-Total"], header["X-Total-Pages"]}, []string{"", "0", "1"})
}

func TestProtectedBranchesAPI(t *testing.T) {
	s, _ := cast(t, gitlabtest.Project{})
	const list = "projects/2/protected_branches"
	for _, test := range []struct {
		method, path, form string
		status             int
		body               string
	}{
		{"GET", list + "/main", "", 200, `{"id":1,"name":"main","push_access_levels":[{"id":1,"access_level":40,"access_level_description":"Maintainers"}],` +
			`"merge_access_levels":[{"id":1,"access_level":40,"access_level_description":"Maintainers"}],"allow_force_push":false}`},
		{"POST", list, "", 400, `{"error":"name is missing"}`},
		{"POST", list, "name=main", 409, `{"message":"Protected branch 'main' already exists"}`},
		{"POST", list, "name=x&push_access_level=7", 400, `{"error":"push_access_level does not have a valid value"}`},
		{"POST", list, "name=release-*&push_access_level=30&allow_force_push=true", 201, `{"id":2,"name":"release-*","push_access_levels":[{"id":2,"access_level":30,"access_level_description":"Developers + Maintainers"}],` +
			`"merge_access_levels":[{"id":2,"access_level":30,"access_level_description":"Developers + Maintainers"}],"allow_force_push":true}`},
		{"DELETE", list + "/main", "", 204, ""},
		{"DELETE", list + "/main", "", 404, `{"message":"404 Not found"}`},
	} {
		if got, body := apiAs(t, s, s.RootToken(), test.method, test.path, test.form); got != test.status || body != test.body {
			t.Errorf("%s %s: %d %s; want %d %s", test.method, test.path, got, body, test.status, test.body)
		}
	}
}
