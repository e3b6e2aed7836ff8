package aibuild_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/guestos/aibuild"

// layers says which rooms of ours a room may import; imports go downward only.
// "*" allows all. A room that is not listed may not exist.
var layers = map[string][]string{
	"":                        {},
	"aibuild/process":         {},
	"aibuild/definition":      {},
	"aibuild/qemu":            {"aibuild/process"},
	"aibuild/packer":          {"aibuild/process", "aibuild/qemu"},
	"aibuild/harness":         {"aibuild/qemu"},
	"aibuild/publish":         {},
	"aibuild/glance":          {},
	"aibuild/lineage":         {""},
	"aibuild/privatedb":       {"aibuild/process"},
	"aibuild":                 {"aibuild/definition", "aibuild/packer", "aibuild/qemu", "aibuild/harness", "aibuild/publish", "aibuild/glance", "aibuild/lineage", "aibuild/process"},
	"aibuild/api":             {"aibuild/lineage", "aibuild/definition"},
	"jenkins":                 {},
	"jenkins/jenkinstest":     {"aibuild/process"},
	"gitlab-hooks":            {"aibuild/lineage", "aibuild/definition", "aibuild/process", "jenkins"},
	"cmd/aibuild":             {"*"},
	"cmd/aibuild-standins":    {"jenkins/jenkinstest", "gitlab-hooks/gitlabtest"},
	"gitlab-hooks/gitlabtest": {"aibuild/process"},
}

// owners are the rooms that alone may import a third-party module.
var owners = map[string]string{
	"github.com/go-sql-driver/mysql":      "aibuild/lineage",
	"github.com/bndr/gojenkins":           "jenkins",
	"github.com/xanzy/go-gitlab":          "gitlab-hooks",
	"github.com/gophercloud/gophercloud":  "aibuild/glance",
	"github.com/pkg/sftp":                 "aibuild/publish",
	"github.com/kdomanski/iso9660":        "aibuild/qemu",
	"github.com/jstemmer/go-junit-report": "aibuild/harness",
	"github.com/hashicorp/hcl":            "aibuild/packer",
	"github.com/urfave/cli":               "cmd/aibuild",
	"github.com/schollz/progressbar":      "cmd/aibuild",
	"github.com/danielgtaylor/huma":       "aibuild/api",
	"github.com/prometheus":               "aibuild/api",
	"github.com/coreos/go-systemd":        "cmd/aibuild",
	"os/exec":                             "aibuild/process",
	"database/sql":                        "aibuild/lineage",
}

func TestImportsGoDownward(t *testing.T) {
	for room, imports := range roomImports(t) {
		if strings.HasPrefix(room, ".ci") {
			continue // no part of the product: it tests and measures every room
		}
		if strings.HasPrefix(room, "examples") {
			for _, imp := range imports {
				if ours, ok := cutModule(imp); ok && ours != "" && !strings.HasPrefix(ours, "aibuild") {
					t.Errorf("%s imports %s: examples use the library alone", room, ours)
				}
			}
			continue
		}
		allowed, known := layers[room]
		if !known {
			t.Errorf("%s is no room of the design", room)
			continue
		}
		for _, imp := range imports {
			ours, ok := cutModule(imp)
			if ok && !slices.Contains(allowed, "*") && !slices.Contains(allowed, ours) {
				t.Errorf("%s must not import %s", room, ours)
			}
			for owned, owner := range owners {
				if (imp == owned || strings.HasPrefix(imp, owned+"/")) && room != owner {
					t.Errorf("%s must not import %s: that is %s's", room, imp, owner)
				}
			}
		}
	}
}

func cutModule(imp string) (string, bool) {
	if imp == module {
		return "", true
	}
	return strings.CutPrefix(imp, module+"/")
}

// roomImports lists the imports of each folder's non-test files.
func roomImports(t *testing.T) map[string][]string {
	t.Helper()
	rooms := map[string][]string{}
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "testdata" || d.Name() == ".stack") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		room := strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(filepath.Dir(file)), ".."), "/")
		for _, spec := range parsed.Imports {
			imp, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			rooms[room] = append(rooms[room], imp)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(rooms) < 10 {
		t.Fatalf("found only %d rooms: this test looks in the wrong place", len(rooms))
	}
	return rooms
}

// No statement is made of text: what comes from outside goes to the database as an argument.
func TestNoSQLOfText(t *testing.T) {
	made := regexp.MustCompile("(?:Sprint|Fprint|Append)f\\([^\"`\\n]*(\"[^\"\\n]*\"|`[^`]*`)")
	statement := regexp.MustCompile(`(?s)\b(?:SELECT|INSERT|UPDATE|DELETE|REPLACE)\b.*%[-+#0-9.\[\]]*[svqx]`)
	found := func(source string) (list []string) {
		for _, m := range made.FindAllStringSubmatch(source, -1) {
			if statement.MatchString(m[1]) {
				list = append(list, m[0])
			}
		}
		return list
	}
	for source, want := range map[string]int{
		"fmt.Sprintf(\"SELECT id FROM run WHERE id = '%s'\", id)": 1, "fmt.Fprintf(&b, `UPDATE run\nSET state = %q`, s)": 1, "fmt.Sprintf(\"%s is no run\", id)": 0,
	} {
		if got := found(source); len(got) != want {
			t.Fatalf("the check is blind: it finds %q in %s", got, source)
		}
	}
	files, err := filepath.Glob("lineage/*.go")
	if err != nil || len(files) < 10 {
		t.Fatalf("this test looks in the wrong place: %q, %v", files, err)
	}
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bad := found(string(source)); len(bad) > 0 && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s makes a statement of text: %q; give the values as arguments", file, bad)
		}
	}
}

// The top level is part of the design: nobody adds folders to it.
func TestTopLevelIsFixed(t *testing.T) {
	allowed := []string{
		"aibuild", "jenkins", "gitlab-hooks", "cmd", "examples", "schema.sql", "schema.go", "Makefile", "go.mod", "go.sum",
		"README.md", "LICENSE", "CHANGELOG.md", ".gitignore", ".gitattributes", ".golangci.yml", ".ci", ".git", ".stack", "bin", "dist",
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(allowed, path.Base(e.Name())) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
}
