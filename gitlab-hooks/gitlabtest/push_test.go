package gitlabtest_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// pushed pushes and gives the only payload that came of it.
func (sc scene) pushed(args ...string) payload {
	sc.t.Helper()
	sc.push(args...)
	idle(sc.t, sc.Server)
	return sc.one(sc.t)
}

func check(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestFirstPushOfTheDefaultBranch(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{})
	r := receive(t)
	addHook(t, s, r.URL)
	w := clone(t, s, s.RootToken())
	first := w.commit("first", "a", "1\n")
	second := w.commit("second\n\nwith a body\n", "b", "2\n")
	w.push("main")
	idle(t, s)
	p := r.one(t)
	check(t, "kinds", []string{p.ObjectKind, p.EventName}, []string{"push", "push"})
	check(t, "move", []string{p.Before, p.After, p.Ref, *p.CheckoutSHA}, []string{zero, second, "refs/heads/main", second})
	check(t, "commits", p.ids(), []string{first, second})
	check(t, "first commit's files", p.Commits[0].Added, []string{"a"})
	check(t, "message", p.Commits[1].Message, "second\n\nwith a body\n")
	check(t, "title", p.Commits[1].Title, "second")
	check(t, "timestamp is the committer's, in its zone", p.Commits[1].Timestamp, "2023-11-14T19:14:20-03:00")
	check(t, "total", p.Total, 2)
	check(t, "user", p.UserUsername, "root")
	check(t, "email, which is not public", p.UserEmail, (*string)(nil))
	check(t, "message of the push", p.Message, (*string)(nil))
	check(t, "namespace is a name, not a path", p.Project.Namespace, "Group")
	check(t, "default branch", p.Project.DefaultBranch, "main")
	check(t, "protected", *p.RefProtected, true)
}

func TestFieldsAreInGitLabsOrder(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{Description: "<Images> & more"})
	sc.commit("next\n", "a", "1\n")
	sc.push("main")
	idle(t, sc.Server)
	body := string(sc.take()[0].Body)
	if !strings.Contains(body, `"description":"<Images> & more"`) {
		t.Errorf("the body escapes what GitLab does not: %s", body)
	}
	want := []string{"object_kind", "event_name", "before", "after", "ref", "ref_protected", "checkout_sha", "message", "user_id", "user_name",
		"user_username", "user_email", "user_avatar", "project_id", "project", "id", "name", "description", "web_url", "avatar_url", "git_ssh_url",
		"git_http_url", "namespace", "visibility_level", "path_with_namespace", "default_branch", "ci_config_path", "homepage", "url", "ssh_url",
		"http_url", "commits", "id", "message", "title", "timestamp", "url", "author", "name", "email", "added", "modified", "removed",
		"total_commits_count", "push_options", "repository", "name", "url", "description", "homepage", "git_http_url", "git_ssh_url", "visibility_level"}
	check(t, "keys", jsonKeys(t, []byte(body)), want)
}

func TestMoreCommitsThanThePayloadShows(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	for _, n := range []int{25, 130} { // beyond what the payload shows, and beyond what GitLab looks at
		var ids []string
		for _, i := range seq(1, n) {
			ids = append(ids, sc.commit("commit "+i+"\n", "file-"+i, i+"\n"))
		}
		p := sc.pushed("main")
		check(t, "the newest 20, oldest first", p.ids(), ids[n-20:])
		check(t, "total", p.Total, n)
		sc.git("reset", "--quiet", "--hard", "HEAD~"+seq(n, n)[0])
		sc.pushed("--force", "main")
	}
}

func TestChangedFilesOfACommit(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	text := strings.Join(seq(1, 40), "\n") + "\n"
	sc.commit("files\n", "images/a/old.hcl", text, "gone", "x\n", "kept", "x\n", "mode", "x\n", "type", "x\n", `odd "name'`+"\n\\;$(x)", "x\n", "latin-\xe9", "x\n")
	p := sc.pushed("main")
	check(t, "odd names", p.Commits[0].Added, []string{"gone", "images/a/old.hcl", "kept", "latin-é", "mode", `odd "name'` + "\n\\;$(x)", "type"})

	sc.git("mv", "images/a/old.hcl", "images/b.hcl")
	sc.git("rm", "--quiet", "gone")
	sc.git("update-index", "--chmod=+x", "mode")
	if err := os.Remove(filepath.Join(sc.dir, "type")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("kept", filepath.Join(sc.dir, "type")); err != nil {
		t.Fatal(err)
	}
	sc.git("config", "core.fileMode", "false")
	sc.commit("changes\n", "kept", "y\n", "images/b.hcl", text+"41\n")
	c := sc.pushed("main").Commits[0]
	check(t, "a rename is an addition; a link in the place of a file too", c.Added, []string{"images/b.hcl", "type"})
	check(t, "modified", c.Modified, []string{"kept", "mode"})
	check(t, "the old name of a rename is nowhere", c.Removed, []string{"gone", "type"})
}

func TestForcedPushAndRollBack(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	base := sc.git("rev-parse", "HEAD")
	lost := sc.commit("lost\n", "lost", "1\n")
	sc.pushed("main")

	sc.git("reset", "--quiet", "--hard", base)
	other := sc.commit("other\n", "other", "1\n")
	p := sc.pushed("--force", "main")
	check(t, "a forced push shows what is new, not what is lost", p.ids(), []string{other})
	check(t, "before", p.Before, lost)

	sc.git("reset", "--quiet", "--hard", base)
	p = sc.pushed("--force", "main")
	check(t, "a roll-back shows nothing", p.ids(), []string{})
	check(t, "total", p.Total, 0)
	check(t, "move", []string{p.Before, p.After}, []string{other, base})
}

func TestBranchesComeAndGo(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	base := sc.git("rev-parse", "HEAD")
	p := sc.pushed("main:refs/heads/empty")
	check(t, "a branch without a commit of its own", p.ids(), []string{})
	check(t, "created", []string{p.Before, p.After, p.Ref}, []string{zero, base, "refs/heads/empty"})

	sc.git("checkout", "--quiet", "-b", "feature/x")
	first := sc.commit("one\n", "f", "1\n")
	second := sc.commit("two\n", "f", "2\n")
	p = sc.pushed("feature/x")
	check(t, "what the default branch does not have", p.ids(), []string{first, second})

	p = sc.pushed("--delete", "feature/x")
	check(t, "deleted", []string{p.Before, p.After, p.Ref}, []string{second, zero, "refs/heads/feature/x"})
	check(t, "checkout", p.CheckoutSHA, (*string)(nil))
	check(t, "commits", p.ids(), []string{})
	check(t, "total", p.Total, 0)
}

func TestTags(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	commit := sc.git("rev-parse", "HEAD")
	sc.git("tag", "--annotate", "v1", "--message", "The first\n\nof many\n")
	object := sc.git("rev-parse", "v1")
	p := sc.pushed("v1")
	check(t, "kinds", []string{p.ObjectKind, p.EventName, p.Ref}, []string{"tag_push", "tag_push", "refs/tags/v1"})
	check(t, "after is the tag, checkout the commit", []string{p.Before, p.After, *p.CheckoutSHA}, []string{zero, object, commit})
	check(t, "message", *p.Message, "The first\n\nof many")
	check(t, "commits", p.ids(), []string{commit})
	check(t, "total", p.Total, 1)

	sc.git("tag", "light")
	p = sc.pushed("light")
	check(t, "lightweight", []string{p.After, *p.CheckoutSHA, *p.Message}, []string{commit, commit, ""})

	sc.git("tag", "tree", "HEAD^{tree}")
	p = sc.pushed("tree")
	check(t, "a tag of a tree has no commit", p.ids(), []string{})
	check(t, "a tag of a tree has no checkout", p.CheckoutSHA, (*string)(nil))

	p = sc.pushed("--delete", "v1")
	check(t, "deleted", []string{p.Before, p.After}, []string{object, zero})
	check(t, "message of a deletion", p.Message, (*string)(nil))
}

func TestMerge(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.git("checkout", "--quiet", "-b", "side")
	side := sc.commit("side\n", "side", "1\n")
	sc.git("checkout", "--quiet", "main")
	onMain := sc.commit("on main\n", "main", "1\n")
	sc.git("merge", "--quiet", "--no-ff", "--message", "merge side\n", "side")
	merge := sc.git("rev-parse", "HEAD")
	p := sc.pushed("main")
	got := p.ids()
	slices.Sort(got)
	want := []string{side, onMain, merge}
	slices.Sort(want)
	check(t, "commits of both sides", got, want)
	last := p.Commits[len(p.Commits)-1]
	check(t, "the merge is last", last.ID, merge)
	check(t, "a merge shows what it brings to its first parent", last.Added, []string{"side"})
}

func TestManyRefsAtOnce(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	branches := []string{"main:refs/heads/b1", "main:refs/heads/b2", "main:refs/heads/b3", "main:refs/heads/b4"}
	sc.push(branches...)
	idle(t, sc.Server)
	check(t, "deliveries of four new branches", len(sc.take()), 0)
	check(t, "dropped", len(sc.Dropped()), 4)
	check(t, "why", sc.Dropped()[0].Reason, "more than 3 refs in one push")

	sc.commit("next\n", "a", "1\n")
	sc.push("main:b1", "main:b2", "main:b3", "main:refs/heads/c1", "main:refs/heads/c2", "main:refs/heads/c3", "main:refs/tags/t1")
	idle(t, sc.Server)
	var refs []string
	for _, g := range sc.take() {
		refs = append(refs, strings.TrimPrefix(g.payload(t).Ref, "refs/"))
	}
	slices.Sort(refs)
	check(t, "three moved, three new and a tag are seven hooks", refs,
		[]string{"heads/b1", "heads/b2", "heads/b3", "heads/c1", "heads/c2", "heads/c3", "tags/t1"})
}

func TestOtherRefsAreNoEvents(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.push("main:refs/notes/x", "main:refs/merge-requests/1/head")
	idle(t, sc.Server)
	check(t, "deliveries", len(sc.take()), 0)
}

func TestWhoPushed(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{Protected: []gitlabtest.Protected{}})
	r := receive(t)
	addHook(t, s, r.URL)
	if _, err := s.CreateUser(gitlabtest.User{Username: "dora", PublicEmail: "dora@example.org"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateProject(t.Context(), gitlabtest.Project{Path: "group/other", Members: map[string]gitlabtest.Role{"dora": gitlabtest.Developer}}); err != nil {
		t.Fatal(err)
	}
	dir, err := s.RepositoryPath(projectPath)
	if err != nil {
		t.Fatal(err)
	}
	w := clone(t, s, "")
	w.commit("by path\n", "a", "1\n")
	w.git("push", "--quiet", dir, "main")
	idle(t, s)
	check(t, "a push by path is root's", r.one(t).UserUsername, "root")

	cmd := gitCommand(t.Context(), w.dir, "push", dir, "main:x")
	cmd.Env = append(cmd.Env, "GL_USERNAME=dora")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "GitLab: You are not allowed to push code to this project.") {
		t.Errorf("dora is no member, and her push was not refused: %v\n%s", err, out)
	}
	token, err := s.CreateToken(gitlabtest.Token{User: "dora"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.AddHook("group/other", gitlabtest.Hook{URL: r.URL}); err != nil {
		t.Fatal(err)
	}
	w.git("push", "--quiet", s.CloneURL("group/other", token.Secret), "main:side")
	idle(t, s)
	p := r.one(t)
	check(t, "a push by http is the token's user's", p.UserUsername, "dora")
	check(t, "email", *p.UserEmail, "dora@example.org")
	check(t, "the only branch is the default one, whatever was planned", p.Project.DefaultBranch, "side")
}

func TestLongTitle(t *testing.T) {
	sc := stage(t, gitlabtest.Options{}, gitlabtest.Project{})
	sc.commit(strings.Repeat("word ", 30) + "\n")
	p := sc.pushed("main")
	check(t, "title", p.Commits[0].Title, strings.TrimSpace(strings.Repeat("word ", 15))+"...")
	sc.git("commit", "--quiet", "--allow-empty", "--allow-empty-message", "--message", "")
	check(t, "title of an empty message", sc.pushed("main").Commits[0].Title, "No commit message")
}

func TestSHA256Repository(t *testing.T) {
	s := start(t, gitlabtest.Options{}, gitlabtest.Project{ObjectFormat: "sha256"})
	r := receive(t)
	addHook(t, s, r.URL)
	w := &work{t: t, dir: t.TempDir()}
	w.git("init", "--quiet", "--object-format=sha256", "--initial-branch=main")
	w.git("remote", "add", "origin", s.CloneURL(projectPath, s.RootToken()))
	id := w.commit("first\n", "a", "1\n")
	w.push("main")
	idle(t, s)
	p := r.one(t)
	check(t, "64 zeros", p.Before, strings.Repeat("0", 64))
	check(t, "after", p.After, id)
	check(t, "files", p.Commits[0].Added, []string{"a"})
}
