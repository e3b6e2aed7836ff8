package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestOptionsFromTheEnvironment(t *testing.T) {
	nasty := "a b'c\"d$(touch x)`id`\\n\nü; --junit=other"
	for name, c := range map[string]struct {
		options string
		argv    string
		want    []string // after aibuild
	}{
		"none":                    {"", "image list", []string{"image", "list"}},
		"flags and arguments":     {`{"args": ["images/debian 12"], "junit": "j.xml", "keep-on-failure": true, "cell": ["a", "b"], "result": null}`, "test", []string{"test", "--cell=a", "--cell=b", "--junit=j.xml", "--keep-on-failure=true", "--", "images/debian 12"}},
		"one for a list":          {`{"cluster": "alpha"}`, "release x", []string{"release", "x", "--cluster=alpha"}},
		"numbers":                 {`{"limit": 7}`, "image list", []string{"image", "list", "--limit=7"}},
		"a global flag":           {`{"log-level": "debug"}`, "doctor", []string{"doctor", "--log-level=debug"}},
		"the line wins":           {`{"junit": "env.xml", "args": ["env"]}`, "test line --junit line.xml", []string{"test", "line", "--junit", "line.xml"}},
		"by another name":         {`{"output": "yaml"}`, "image list -o json", []string{"image", "list", "-o", "json"}},
		"an argument like a flag": {`{"args": ["--help"]}`, "build", []string{"build", "--", "--help"}},
	} {
		w := &world{getenv: func(k string) string { return map[string]string{optionsEnv: c.options}[k] }}
		got, err := w.withOptions(w.app(), append([]string{"aibuild"}, strings.Fields(c.argv)...))
		if err != nil || !slices.Equal(got[1:], c.want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
	b, err := json.Marshal(map[string]any{"args": []string{nasty}, "junit": nasty})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{getenv: func(k string) string { return map[string]string{optionsEnv: string(b)}[k] }}
	if got, err := w.withOptions(w.app(), []string{"aibuild", "test"}); err != nil || !slices.Equal(got, []string{"aibuild", "test", "--junit=" + nasty, "--", nasty}) {
		t.Errorf("%q, %v", got, err)
	}
	for options, says := range map[string]string{
		`{"jnit": "x"}`: `"jnit"`, `{"junit": ["a"]}`: `"junit"`, `{"keep-on-failure": "yes"}`: `"keep-on-failure"`, `{"args": "x"}`: `"args"`, `{"cell": [true]}`: `"cell"`,
		`["x"]`: "no JSON object", `{"junit": `: "no JSON object", `{} {}`: "more than one", `{"o": "json"}`: `"o"`, "s3cret-text": "no JSON object",
	} {
		_, errs, code := called(map[string]string{optionsEnv: options}, "test", "x")
		if code != 2 || !strings.Contains(errs, says) || strings.Contains(errs, "s3cret") {
			t.Errorf("%s: %d %s, want exit 2 and %s", options, code, errs, says)
		}
	}
}

// However a stage is called, there are result and JUnit.
func TestResultIsAlwaysWritten(t *testing.T) {
	dir := t.TempDir()
	result, junit := filepath.Join(dir, "r.json"), filepath.Join(dir, "j.xml")
	for _, words := range [][]string{
		{"build", filepath.Join(dir, "nothing")}, {"build", "--no-such-flag"}, {"test"}, {"publish", "a", "b"}, {"release", "x", "--run", "nowhere.json"}, {"nonsense"},
	} {
		for _, file := range []string{result, junit} {
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
		}
		env := map[string]string{"AIBUILD_DATA": filepath.Join(dir, "data"), "AIBUILD_SERVER": "http://127.0.0.1:1", "AIBUILD_TOKEN": "aib_x"}
		_, errs, code := called(env, append(words, "--result", result, "--junit", junit)...)
		b, err := os.ReadFile(result)
		if err != nil {
			t.Errorf("%v: exit %d, %v", words, code, err)
			continue
		}
		got := decoded[*outcome](t, string(b))
		if code == 0 || got.Schema != 1 || got.ExitCode != code || got.Status == "success" || got.Error == nil || got.Error.Code == "" || !strings.Contains(errs, got.Error.Message) {
			t.Errorf("%v: exit %d, result %s\n%s", words, code, b, errs)
		}
		x, err := os.ReadFile(junit)
		if err != nil || !strings.Contains(string(x), `errors="1"`) || !strings.HasPrefix(string(x), "<?xml") {
			t.Errorf("%v: junit %s, %v", words, x, err)
		}
	}
}

func TestFactsOfTheBuildSystem(t *testing.T) {
	for _, c := range []struct {
		env          map[string]string
		project, ref string
		who          string
	}{
		{map[string]string{"AIBUILD_PROJECT": "https://gitlab.example/group/images.git", "GIT_URL": "https://x/other.git", "AIBUILD_REF": "refs/heads/main", "BRANCH_NAME": "dev"}, "group/images", "main", ""},
		{map[string]string{"GIT_URL": "git@gitlab.example:group/sub/images.git", "GIT_BRANCH": "origin/release/1.0"}, "group/sub/images", "release/1.0", ""},
		{map[string]string{"GITLAB_URL": "https://host/gitlab", "GIT_URL": "https://host/gitlab/group/images", "BRANCH_NAME": "dev"}, "group/images", "dev", ""},
		{map[string]string{"gitlabSourceRepoHttpUrl": "http://g/a/b.git", "GIT_URL": "http://g/c/d.git", "gitlabSourceBranch": "feature/ü$(x)", "gitlabUserUsername": "ann", "JENKINS_URL": "http://j"}, "a/b", "feature/ü$(x)", "ann"},
		{map[string]string{"BRANCH_NAME": "PR-7", "CHANGE_BRANCH": "fix", "BUILD_USER_ID": "bob", "gitlabUserName": "Ann"}, "", "fix", "bob"},
	} {
		w := &world{getenv: func(k string) string { return c.env[k] }}
		w.config.getenv = w.getenv
		ctx := emptyContext(w)
		if p, r := w.projectOf(ctx), w.refOf(ctx); p != c.project || r != c.ref || w.person() != c.who {
			t.Errorf("%v: %q %q %q, want %q %q %q", c.env, p, r, w.person(), c.project, c.ref, c.who)
		}
	}
}

// emptyContext is that of a command without flags.
func emptyContext(w *world) *cli.Context {
	return cli.NewContext(w.app(), flag.NewFlagSet("x", flag.ContinueOnError), nil)
}
