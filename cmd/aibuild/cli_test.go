package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/definition"
)

// call runs the program in this process, without servers.
func call(t *testing.T, env map[string]string, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	data := t.TempDir()
	w := &world{stdin: strings.NewReader(""), stdout: &out, stderr: &errs, getenv: func(k string) string {
		if v, ok := env[k]; ok {
			return v
		}
		if k == "AIBUILD_DATA" {
			return data
		}
		return ""
	}}
	code := w.main(append([]string{"aibuild"}, args...))
	return result{out.String(), errs.String(), code}
}

// commands lists every command with its path.
func commands(list []*cli.Command, path []string) map[string]*cli.Command {
	all := map[string]*cli.Command{}
	for _, c := range list {
		here := append(slices.Clone(path), c.Name)
		all[strings.Join(here, " ")] = c
		for name, sub := range commands(c.Subcommands, here) {
			all[name] = sub
		}
	}
	return all
}

// Every command: --help works, an unknown flag is exit 2, so is an unknown
// subcommand, a missing argument and one too many.
func TestEveryCommandIsStrict(t *testing.T) {
	all := commands((&world{}).app().Commands, nil)
	if len(all) < 25 {
		t.Fatalf("only %d commands", len(all))
	}
	for name, c := range all {
		words := strings.Fields(name)
		t.Run(name, func(t *testing.T) {
			if r := call(t, nil, append(words, "--help")...); r.code != 0 || !strings.Contains(r.out, c.Usage) {
				t.Errorf("--help = %d\n%s%s", r.code, r.out, r.err)
			}
			strict(t, append(slices.Clone(words), "--no-such-flag"), "no-such-flag")
			switch {
			case len(c.Subcommands) > 0:
				strict(t, append(slices.Clone(words), "nonsense"), "nonsense")
				strict(t, words, "needs one of")
			default:
				strict(t, append(slices.Clone(words), "a", "b", "c", "d"), "unexpected argument")
				if c.ArgsUsage != "" {
					strict(t, append(slices.Clone(words), ""), "is empty")
				}
				if c.ArgsUsage != "" && !strings.HasPrefix(c.ArgsUsage, "[") {
					strict(t, words, "is missing")
				}
			}
		})
	}
	strict(t, []string{"nonsense"}, "nonsense")
	strict(t, []string{"--nonsense"}, "nonsense")
}

func strict(t *testing.T, args []string, says string) {
	t.Helper()
	r := call(t, nil, args...)
	if r.code != 2 || !strings.Contains(r.err, says) || r.out != "" {
		t.Errorf("aibuild %s = %d, want 2 and %q\nstdout: %s\nstderr: %s", strings.Join(args, " "), r.code, says, r.out, r.err)
	}
	if strings.Count(strings.TrimSpace(r.err), "\n") > 0 {
		t.Errorf("aibuild %s says more than one line:\n%s", strings.Join(args, " "), r.err)
	}
}

// No image may be called like a word of the command line: the list that
// definition keeps knows every one.
func TestReservedWords(t *testing.T) {
	for name := range commands((&world{}).app().Commands, nil) {
		for word := range strings.FieldsSeq(name) {
			if !slices.Contains(definition.Reserved, word) {
				t.Errorf("definition.Reserved lacks %q", word)
			}
		}
	}
}

func TestFlagsStandAnywhere(t *testing.T) {
	app := (&world{}).app()
	tests := []struct{ in, want string }{
		{"image list debian-12 -o json --limit 3", "image list -o json --limit 3 debian-12"},
		{"image list -o=json debian-12", "image list -o=json debian-12"},
		{"release abc --dry-run --cluster alpha --config /x", "--config /x release --dry-run --cluster alpha abc"},
		{"--log-level debug build . --run-id 1", "--log-level debug build --run-id 1 ."},
		{"rollback name -- --odd", "rollback name -- --odd"},
		{"run list", "run list"}, // a folder called list is an argument, not a command
	}
	for _, tt := range tests {
		got := reorder(app, append([]string{"aibuild"}, strings.Fields(tt.in)...))
		if strings.Join(got[1:], " ") != tt.want {
			t.Errorf("reorder(%s) = %s; want %s", tt.in, strings.Join(got[1:], " "), tt.want)
		}
	}
}

func TestAloneItGreets(t *testing.T) {
	r := call(t, nil)
	if r.code != 0 || !strings.Contains(r.out, "aibuild doctor") || strings.Index(r.out, "doctor") > strings.Index(r.out, "init") {
		t.Errorf("aibuild = %d\n%s", r.code, r.out)
	}
}

func TestVersionAndCompletion(t *testing.T) {
	if r := call(t, nil, "version"); r.code != 0 || !strings.HasPrefix(r.out, "aibuild ") {
		t.Errorf("version = %d %q", r.code, r.out)
	}
	if r := call(t, nil, "version", "-o", "json"); !strings.Contains(r.out, `"version"`) {
		t.Errorf("version -o json = %q", r.out)
	}
	if r := call(t, nil, "version", "-o", "xml"); r.code != 2 {
		t.Errorf("version -o xml = %d", r.code)
	}
	if r := call(t, nil, "completion", "bash"); !strings.Contains(r.out, "complete -F _aibuild aibuild") {
		t.Errorf("completion bash = %q", r.out)
	}
	if r := call(t, nil, "completion", "csh"); r.code != 2 {
		t.Errorf("completion csh = %d", r.code)
	}
	// The library looks at the process's own arguments here: a process it is.
	out, err := (&lab{}).command(t.Context(), t.TempDir(), nil, "image", "--generate-bash-completion").Output()
	if err != nil || !strings.Contains(string(out), "history") {
		t.Errorf("completion of image = %q, %v", out, err)
	}
}

// A first image: init writes a definition that validate accepts, and a broken
// one is refused with file and line, all problems at once.
func TestInitAndValidate(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if r := call(t, nil, "init", "my-image"); r.code != 0 || strings.TrimSpace(r.out) != "my-image" {
		t.Fatalf("init = %d %s%s", r.code, r.out, r.err)
	}
	if r := call(t, nil, "validate", "my-image"); r.code != 0 {
		t.Errorf("validate = %d\n%s", r.code, r.err)
	}
	if r := call(t, nil, "init", "my-image"); r.code != 2 || !strings.Contains(r.err, "exists") {
		t.Errorf("init again = %d %s", r.code, r.err)
	}
	file := filepath.Join("my-image", "aibuild.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(b), "arch:", "arhc:", 1) + "\nrelaese: {}\n"
	if err := os.WriteFile(file, []byte(broken), 0o644); err != nil {
		t.Fatal(err)
	}
	r := call(t, nil, "validate", "my-image")
	if r.code != 2 || !strings.Contains(r.err, "my-image/aibuild.yaml:2") || !strings.Contains(r.err, "relaese") || !strings.Contains(r.err, "arhc") {
		t.Errorf("validate of a broken one = %d\n%s", r.code, r.err)
	}
	if r := call(t, nil, "validate", "nowhere"); r.code != 2 || !strings.Contains(r.err, "nowhere") {
		t.Errorf("validate nowhere = %d %s", r.code, r.err)
	}
	if r := call(t, nil, "init", "../evil"); r.code != 2 {
		t.Errorf("init ../evil = %d %s", r.code, r.err)
	}
	if r := call(t, nil, "validate", "--print-schema"); !strings.HasPrefix(r.out, "{") {
		t.Errorf("schema = %.60q", r.out)
	}
}

func TestConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) string {
		path := filepath.Join(dir, "config.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := write("databse: {dsn: x}\nretention: {keep: many}\n")
	r := call(t, nil, "version", "--config", path)
	if r.code != 2 || !strings.Contains(r.err, path+":1") || !strings.Contains(r.err, path+":2") {
		t.Errorf("a broken configuration = %d\n%s", r.code, r.err)
	}
	if r := call(t, nil, "version", "--config", filepath.Join(dir, "none")); r.code != 2 {
		t.Errorf("a missing configuration = %d %s", r.code, r.err)
	}
	if r := call(t, map[string]string{"CI": "1"}, "image", "list"); r.code != 2 || !strings.Contains(r.err, "AIBUILD_DSN") {
		t.Errorf("no database under CI = %d %s", r.code, r.err)
	}
	if r := call(t, map[string]string{"AIBUILD_DSN_FILE": filepath.Join(dir, "none")}, "image", "list"); r.code != 2 || !strings.Contains(r.err, "AIBUILD_DSN_FILE") {
		t.Errorf("an unreadable secret = %d %s", r.code, r.err)
	}
	const password = "c4n4ry-p4ssw0rd"
	r = call(t, map[string]string{"AIBUILD_DSN": "aibuild:" + password + "@tcp(127.0.0.1:1)/aibuild"}, "image", "list", "--log-level", "trace")
	if r.code != 1 || strings.Contains(r.err, password) {
		t.Errorf("a database that is down = %d\n%s", r.code, r.err)
	}
	example, err := filepath.Abs("../../examples/aibuild-config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if r := call(t, nil, "version", "--config", example); r.code != 0 {
		t.Errorf("the example configuration = %d %s", r.code, r.err)
	}
}
