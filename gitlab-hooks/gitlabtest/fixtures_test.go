package gitlabtest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xanzy/go-gitlab"

	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// goGitLab is the folder of the library in the module cache: nobody here wrote its samples.
func goGitLab(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/xanzy/go-gitlab").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// shape maps each field of a document to its type; a list is what its elements are together.
func shape(t *testing.T, document []byte) map[string]string {
	t.Helper()
	var value any
	if err := json.Unmarshal(document, &value); err != nil {
		t.Fatalf("%v in %s", err, document)
	}
	found := map[string]string{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		kind := "null"
		switch value := value.(type) {
		case map[string]any:
			kind = "object"
			for key, field := range value {
				walk(path+"."+key, field)
			}
		case []any:
			kind = "list"
			for _, element := range value {
				walk(path+"[]", element)
			}
		case string:
			kind = "string"
		case float64:
			kind = "number"
		case bool:
			kind = "boolean"
		}
		if old := found[path]; old != "" && old != kind && old != "null" && kind != "null" {
			t.Errorf("%s is a %s and a %s", path, old, kind)
		}
		if found[path] == "" || found[path] == "null" {
			found[path] = kind
		}
	}
	walk("", value)
	return found
}

// events are a push and a tag push, of a user with a public address, by a project hook and a system hook.
func events(t *testing.T, profile gitlabtest.Profile) map[string][]byte {
	t.Helper()
	s := start(t, gitlabtest.Options{Profile: profile}, gitlabtest.Project{Protected: []gitlabtest.Protected{}})
	r := receive(t)
	addHook(t, s, r.URL)
	if _, err := s.AddSystemHook(gitlabtest.Hook{URL: r.URL, Events: []string{"push_events", "tag_push_events"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateUser(gitlabtest.User{Username: "ann", Name: "Ann", PublicEmail: "ann@example.org", Admin: true}); err != nil {
		t.Fatal(err)
	}
	token, err := s.CreateToken(gitlabtest.Token{User: "ann"})
	if err != nil {
		t.Fatal(err)
	}
	w := clone(t, s, token.Secret)
	w.commit("first\n", "a", "1\n", "b", "1\n", "c", "1\n")
	w.push("main")
	idle(t, s)
	r.take()
	w.git("rm", "--quiet", "b")
	w.commit("second\n", "a", "2\n", "d", "something else\n")
	w.push("main")
	w.git("tag", "--annotate", "v1", "--message", "one")
	w.push("v1")
	idle(t, s)
	found := map[string][]byte{}
	for _, g := range r.take() {
		found[g.Header.Get("X-Gitlab-Event")+" "+g.payload(t).EventName] = g.Body
	}
	return found
}

func TestPayloadsHaveTheFieldsOfGoGitLabsSamples(t *testing.T) {
	dir := goGitLab(t)
	// What GitLab has added since those samples were taken.
	added := []string{".message", ".project.ci_config_path", ".push_options", ".ref_protected"}
	for _, test := range []struct {
		event, sample string
		missing       []string // in the sample, beside the above
	}{
		{"Push Hook push", "webhooks/push.json", nil},
		{"Tag Push Hook tag_push", "webhooks/tag_push.json", []string{".user_email"}},
		{"System Hook push", "systemhooks/push.json", []string{".object_kind", ".user_username", ".project.id",
			".commits[].added", ".commits[].added[]", ".commits[].modified", ".commits[].modified[]", ".commits[].removed", ".commits[].removed[]", ".commits[].title"}},
		{"System Hook tag_push", "systemhooks/tag_push.json", []string{".object_kind", ".user_username", ".user_email", ".project.id"}},
	} {
		for _, profile := range []gitlabtest.Profile{gitlabtest.Current, gitlabtest.V15} {
			t.Run(fmt.Sprintf("%s %d", test.event, profile), func(t *testing.T) {
				sample, err := os.ReadFile(filepath.Join(dir, "testdata", test.sample))
				if err != nil {
					t.Fatal(err)
				}
				body := events(t, profile)[test.event]
				ours, theirs := shape(t, body), shape(t, sample)
				for path, kind := range theirs {
					if ours[path] != kind && !(strings.HasSuffix(path, "[]") && ours[path] == "") {
						t.Errorf("%s is a %s; it is %q here", path, kind, ours[path])
					}
				}
				var extra []string
				for path := range ours {
					if _, ok := theirs[path]; !ok && !strings.HasPrefix(path, ".commits[]") || !ok && slices.Contains(test.missing, path) {
						extra = append(extra, path)
					}
				}
				want := slices.Concat(added, test.missing)
				if profile == gitlabtest.V15 {
					want = slices.DeleteFunc(want, func(path string) bool { return path == ".ref_protected" })
				}
				slices.Sort(extra)
				slices.Sort(want)
				check(t, "fields that the sample does not have", extra, slices.DeleteFunc(want, func(path string) bool { return ours[path] == "" }))
			})
		}
	}
}

// TestPayloadsAreParsedByGoGitLab: nothing is in them that the library does not know, but for what it is known to lack.
func TestPayloadsAreParsedByGoGitLab(t *testing.T) {
	all := events(t, gitlabtest.Current)
	for event, into := range map[string]any{"Push Hook push": &gitlab.PushEvent{}, "Tag Push Hook tag_push": &gitlab.TagEvent{}} {
		var fields map[string]any
		if err := json.Unmarshal(all[event], &fields); err != nil {
			t.Fatal(err)
		}
		for _, unknown := range []string{"push_options", "ref_protected"} {
			delete(fields, unknown)
		}
		if event == "Push Hook push" {
			delete(fields, "message")
		}
		for _, unknown := range []string{"visibility_level", "ci_config_path"} {
			delete(fields["project"].(map[string]any), unknown)
		}
		delete(fields["repository"].(map[string]any), "visibility_level")
		text, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(into); err != nil {
			t.Errorf("%s: %v", event, err)
		}
	}
	push, err := gitlab.ParseHook(gitlab.EventTypePush, all["Push Hook push"])
	if err != nil {
		t.Fatal(err)
	}
	p := push.(*gitlab.PushEvent)
	check(t, "push", []any{p.ProjectID, p.Project.PathWithNamespace, p.UserUsername, p.UserEmail, p.TotalCommitsCount, p.Commits[0].Removed, p.Commits[0].Modified},
		[]any{1, projectPath, "ann", "ann@example.org", 1, []string{"b"}, []string{"a"}})
	check(t, "time", p.Commits[0].Timestamp.Unix(), int64(1700000060))
	for event, kind := range map[string]any{"System Hook push": &gitlab.PushSystemEvent{}, "System Hook tag_push": &gitlab.TagPushSystemEvent{}} {
		parsed, err := gitlab.ParseHook(gitlab.EventTypeSystemHook, all[event])
		if err != nil || fmt.Sprintf("%T", parsed) != fmt.Sprintf("%T", kind) {
			t.Errorf("%s: %T, %v; want %T", event, parsed, err, kind)
		}
	}
}
