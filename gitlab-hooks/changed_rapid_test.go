package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/guestos/aibuild/aibuild/definition"
)

// A change of any two trees is the same as what comparing all of them by hand gives: the digests of every definition, read
// from another file system, and the ids of every folder.
func TestChangedEqualsBruteForce(t *testing.T) {
	g := newRepo(t, t.TempDir())
	r := &repository{flags: []string{"--git-dir=" + g.dir}, env: gitEnviron(nil)}
	seen := map[string]int{}
	check := func(t *rapid.T) {
		older := drawTree(t, "old", nil)
		newer := drawTree(t, "new", older)
		old, id := g.commit("old", older), g.commit("new", newer)
		o := r.objects(t.Context())
		defer o.close()
		var c Change
		base, _, err := o.commit(old)
		if err != nil {
			t.Fatal(err)
		}
		head, _, err := o.commit(id)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.fill(o, head, basis{commit: base}); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, i := range c.Images {
			got[i.Folder] = i.From
			if i.Problem != "" {
				got[i.Folder] = "problem"
			}
		}
		for _, u := range c.Unaffected {
			got[u.Folder] = "unaffected"
		}
		want := bruteForce(t, model{older, g.ids(old)}, model{newer, g.ids(id)})
		if !maps.Equal(got, want) {
			t.Errorf("got %v\nwant %v\n%+v", got, want, c)
		}
		for _, stage := range want {
			seen[stage]++
		}
	}
	stages := []string{"build", "test", "release", "unaffected", "problem"}
	unseen := func(stage string) bool { return seen[stage] == 0 }
	// Chance draws the trees: once is enough nearly always.
	for tries := 0; slices.ContainsFunc(stages, unseen) && !t.Failed(); tries++ {
		if tries == 10 {
			t.Fatalf("the trees were never such that an image is each of %v: %v", stages, seen)
		}
		rapid.Check(t, check)
	}
}

// ids are those of all files and folders of a commit.
func (g *gitRepo) ids(commit string) map[string]string {
	ids := map[string]string{}
	for line := range strings.SplitSeq(g.git("", "ls-tree", "-r", "-t", "-z", commit), "\x00") {
		if head, name, ok := strings.Cut(line, "\t"); ok {
			ids[name] = head
		}
	}
	return ids
}

// drawTree makes a tree with up to three definitions, or one that differs from another one in a few places.
func drawTree(t *rapid.T, label string, like files) files {
	tree := files{}
	settings := like != nil && rapid.Bool().Draw(t, label+" changes settings alone")
	keep := func(name string) bool {
		if settings {
			return path.Base(name) != definition.File
		}
		return like != nil && rapid.IntRange(0, 9).Draw(t, label+" changes "+name) < 7
	}
	put := func(name string, choices ...file) {
		if keep(name) {
			if f, ok := like[name]; ok {
				tree[name] = f
			}
			return
		}
		if f := rapid.SampledFrom(append(choices, file{})).Draw(t, label+" "+name); f.mode != "" {
			tree[name] = f
		}
	}
	for _, name := range []string{"common/x", "common/sub/y", "shared/f", "README.md", "images/a-file"} {
		put(name, plain("1"), plain("2"), tool("1"))
	}
	put("common/link", link("../shared/f"))
	put("vendor/module", sub(other), sub(another))
	for _, name := range []string{"a", "b", "c"} {
		folder := "images/" + name
		if name == "c" && rapid.Bool().Draw(t, label+" moves c") {
			folder = "else/c"
		}
		put(path.Join(folder, "aibuild.yaml"), drawDefinitions(name)...)
		put(path.Join(folder, "t.json"), plain("{}"), plain("{}"), plain("[]"), plain("{ }"))
		put(path.Join(folder, "tests/boots"), tool("1"), tool("2"), plain("1"), link("../../../shared/f"))
		put(path.Join(folder, "README.md"), plain("1"), plain("2"))
		put(path.Join(folder, ".hidden"), plain("1"), plain("2"))
		put(path.Join(folder, "files/f"), plain("1"), plain("2"), tool("1"), link("../../../shared/f"), link("nowhere"))
		put(path.Join(folder, "source.iso"), plain("1"), plain("2"))
		put(path.Join(folder, "module"), sub(other), sub(another))
	}
	return tree
}

func drawDefinitions(name string) []file {
	return []file{
		aibuild(name), aibuild(name), aibuild(name, "depends_on: [../../common]"), aibuild(name, "depends_on: [../../common, ../../vendor]"),
		aibuild(name, "release: {clusters: [alpha]}"), aibuild(name, "release: {clusters: [alpha]}", "depends_on: [../../common]"),
		aibuild(name, "test: {user: root, memory: 2GiB}"), aibuild(name, "rebuild: 7d"),
		aibuild(name, "from: {iso: source.iso, checksum: \""+checksum+"\"}"), aibuild(name, "nonsense: 1", "depends_on: [../../common]"),
	}
}

// model is a tree as the test knows it, without any of the code under test.
type model struct {
	files files
	ids   map[string]string
}

func (m model) fs() fstest.MapFS {
	fsys := fstest.MapFS{}
	for name, f := range m.files {
		modes := map[string]fs.FileMode{"100644": 0o644, "100755": 0o755, "120000": fs.ModeSymlink | 0o777, "160000": fs.ModeDir | 0o755}
		fsys[name] = &fstest.MapFile{Mode: modes[f.mode]}
		if f.mode != "160000" {
			fsys[name].Data = []byte(f.text)
		}
	}
	return fsys
}

// parts are the paths that a definition is made of, with the ids of their contents.
func (m model) parts(folder string) string {
	parts := []string{m.ids[folder]}
	if strings.Contains(m.files[folder+"/aibuild.yaml"].text, "../../common") {
		parts = append(parts, m.ids["common"], m.ids["shared/f"]+fmt.Sprint(m.ids["common/link"] != ""))
		if m.ids["common/link"] == "" {
			parts = parts[:2]
		}
	}
	if strings.Contains(m.files[folder+"/aibuild.yaml"].text, "../../vendor") {
		parts = append(parts, m.ids["vendor"])
	}
	for _, name := range []string{"files/f", "tests/boots"} {
		if m.files[folder+"/"+name].text == "../../../shared/f" {
			parts = append(parts, m.ids["shared/f"])
		}
	}
	return strings.Join(parts, "\n")
}

// undigested is what no digest covers.
func (m model) undigested(folder string) string {
	text := m.files[folder+"/aibuild.yaml"].text
	parts := []string{m.ids[folder+"/module"]}
	if strings.Contains(text, "source.iso") {
		parts = append(parts, m.ids[folder+"/source.iso"])
	}
	if strings.Contains(text, "../../vendor") {
		parts = append(parts, m.ids["vendor/module"])
	}
	return strings.Join(parts, "\n")
}

// load gives the digests of a definition; ok is false when it is not valid.
func (m model) load(t rapid.TB, folder string) (definition.Digests, bool) {
	d, err := definition.Load(m.fs(), folder)
	var problems definition.Errors
	if errors.As(err, &problems) {
		return definition.Digests{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	return d.Digests, true
}

// bruteForce says what becomes of every definition that a push touches, by folder.
func bruteForce(t rapid.TB, older, newer model) map[string]string {
	want := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(newer.files)) {
		folder, isDefinition := strings.CutSuffix(name, "/aibuild.yaml")
		if !isDefinition {
			continue
		}
		was := folder
		if _, there := older.files[name]; !there {
			elsewhere := map[string]string{"images/c": "else/c", "else/c": "images/c"}[folder]
			_, thereThen := older.files[elsewhere+"/aibuild.yaml"]
			_, thereNow := newer.files[elsewhere+"/aibuild.yaml"]
			if was = ""; thereThen && !thereNow {
				was = elsewhere
			}
		}
		if was == folder && older.parts(folder) == newer.parts(folder) {
			continue
		}
		is, valid := newer.load(t, folder)
		wasDigests, wasValid := definition.Digests{}, false
		if was != "" {
			wasDigests, wasValid = older.load(t, was)
		}
		switch {
		case !valid:
			want[folder] = "problem"
		case !wasValid || wasDigests.Build != is.Build || older.undigested(was) != newer.undigested(folder):
			want[folder] = "build"
		case wasDigests.Test != is.Test:
			want[folder] = "test"
		case wasDigests.Release != is.Release:
			want[folder] = "release"
		default:
			want[folder] = "unaffected"
		}
	}
	return want
}
