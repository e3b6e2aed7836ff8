package hooks

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// brief is a change in words: "IMAGE>STAGE", with "<PARENT" of the same push; "IMAGE!" for a problem, "IMAGE=" unaffected,
// "IMAGE~" skipped and "IMAGE-" removed.
func brief(c Change) string {
	var words []string
	for _, i := range c.Images {
		word := i.Name + ">" + i.From
		if i.Problem != "" {
			word = i.Name + "!"
		}
		if i.After != "" {
			word += "<" + i.After
		}
		words = append(words, word)
	}
	for _, list := range []struct {
		sign   string
		images []Untouched
	}{{"=", c.Unaffected}, {"~", c.Skipped}, {"-", c.Removed}} {
		for _, u := range list.images {
			words = append(words, u.Name+list.sign)
		}
	}
	return strings.Join(words, " ")
}

var (
	libraryA = image("images/a", "a")
	libraryB = image("images/b", "b", "depends_on: [../common]")
	common   = files{"images/common/x": plain("x"), "images/common/deep/y": tool("y")}
	library  = join(libraryA, libraryB, common, files{"README.md": plain("library")})
	other    = strings.Repeat("1", 40) // a commit of another repository
	another  = strings.Repeat("2", 40)
)

// What one push from old to new starts. Every case is told by a mirror and by a checkout.
func TestChangedImages(t *testing.T) {
	tests := []struct {
		name string
		old  files
		new  files // what differs; one without mode is gone
		want string
	}{
		{"nothing of an image", library, files{"README.md": plain("new"), "docs/x": plain("x")}, ""},
		{"a file", library, files{"images/a/t.json": plain("{ }")}, "a>build"},
		{"a new file", library, files{"images/a/files/more": plain("")}, "a>build"},
		{"a file is gone", library.with(files{"images/a/f": plain("f")}), files{"images/a/f": {}}, "a>build"},
		{"mode of a file", library, files{"images/a/t.json": tool("{}")}, "a>build"},
		{"mode of the readme", library, files{"images/a/README.md": tool("about a")}, "a="},
		{"readme", library, files{"images/a/README.md": plain("more")}, "a="},
		{"hidden file", library, files{"images/a/.gitignore": plain("source/")}, "a="},
		{"hidden file further down", library, files{"images/a/files/.profile": plain("x")}, "a>build"},
		{"a case", library, files{"images/a/tests/boots": tool("#!/bin/sh\nexit 1\n")}, "a>test"},
		{"mode of a case", library, files{"images/a/tests/boots": plain("#!/bin/sh\n")}, "a>test"},
		{"test settings", library, files{"images/a/aibuild.yaml": aibuild("a", "test: {user: root, memory: 2GiB}")}, "a>test"},
		{"release settings", library, files{"images/a/aibuild.yaml": aibuild("a", "release: {clusters: [alpha]}")}, "a>release"},
		{"test and release settings", library, files{"images/a/aibuild.yaml": aibuild("a", "release: {clusters: [alpha]}", "test: {user: ann}")}, "a>test"},
		{"release and a file", library, files{"images/a/aibuild.yaml": aibuild("a", "release: {clusters: [alpha]}"), "images/a/f": plain("")}, "a>build"},
		{"settings of no stage", library, files{"images/a/aibuild.yaml": aibuild("a", "rebuild: 7d", "# said")}, "a="},
		{"two images", library, files{"images/a/f": plain(""), "images/b/tests/boots": tool("x")}, "a>build b>test"},
		{"a dependency", library, files{"images/common/deep/y": plain("y")}, "b>build"},
		{"a dependency is gone", library, files{"images/common/x": {}, "images/common/deep/y": {}}, "b!"},
		{"a dependency is added", library, files{"images/a/aibuild.yaml": aibuild("a", "depends_on: [../common]")}, "a>build"},
		{"like the dependency's name", library, files{"images/common-2/x": plain("x"), "images/common.d": plain("x"), "images/common0": plain("")}, ""},
		{"a file moves between images", library.with(files{"images/a/f": plain("f")}), files{"images/a/f": {}, "images/b/f": plain("f")}, "a>build b>build"},
		{"a file moves within the tests", library, files{"images/a/tests/boots": {}, "images/a/tests/starts": tool("#!/bin/sh\n")}, "a>test"},
		{"a file becomes a link to itself elsewhere", library.with(files{"other/t.json": plain("{}")}), files{"images/a/t.json": link("../../other/t.json")}, "a="},
		{"a new definition", library, image("images/c", "c"), "c>build"},
		{"a definition is deleted", join(libraryA, libraryB, common), remove(libraryA), "a-"},
		{"only the definition's file is deleted", library, files{"images/a/aibuild.yaml": {}}, "a-"},
		{"a definition is moved", library, join(remove(libraryA), image("else/a", "a")), "a="},
		{"a definition is moved and changed", library, join(remove(libraryA), image("else/a", "a"), files{"else/a/tests/more": tool("x")}), "a>test"},
		{"a moved definition lost its dependency", library, join(remove(libraryB), image("b", "b", "depends_on: [../common]")), "b!"},
		{"an image is renamed", library, files{"images/a/aibuild.yaml": aibuild("z")}, "z>build a-"},
		{"two images change their names", library, files{"images/a/aibuild.yaml": aibuild("b"), "images/b/aibuild.yaml": aibuild("a", "depends_on: [../common]")}, "b>build a>build"},
		{"broken", library, files{"images/a/aibuild.yaml": plain("name: [")}, "a!"},
		{"broken, but its name can be read", library, files{"images/a/aibuild.yaml": plain("name: q\nnonsense: 1\n")}, "q! a-"},
		{"broken and new, without a name", library, files{"images/New Image/aibuild.yaml": plain("{}")}, "new-image!"},
		{"broken and new, called like another", library, files{"images/x/a/aibuild.yaml": plain("{}")}, "images-x-a!"},
		{"broken before", library.with(files{"images/a/aibuild.yaml": plain("name: [")}), files{"images/a/aibuild.yaml": aibuild("a")}, "a>build"},
		{"broken and untouched", library.with(files{"images/a/aibuild.yaml": plain("name: [")}), files{"images/b/f": plain("")}, "b>build"},
		{"the template is gone", library, files{"images/a/t.json": {}}, "a!"},
		{"one name twice", library, image("images/c", "a"), "a!"},
		{"one name twice, both new", files{}, join(image("x", "a"), image("y", "a")), "a!"},
		{"one name twice was so before", join(library, image("images/c", "a")), files{"images/b/f": plain("")}, "b>build"},
		{"a source in the repository", library.with(local("one")), local("two"), "a>build"},
		{"its checksum", library.with(local("one")), files{"images/a/sums": plain("x")}, "a>build"},
		{"a source that is a link", library.with(local("one")).with(files{"images/a/disk.iso": link("../../big.iso"), "big.iso": plain("1")}), files{"big.iso": plain("2")}, "a>build"},
		{"a file beside the source", library.with(local("one")), files{"images/a/README.md": plain("x")}, "a="},
		{"what a link leads to", library.with(files{"images/a/f": link("../../shared/f"), "shared/f": plain("1")}), files{"shared/f": plain("2")}, "a>build"},
		{"what a link of a dependency leads to", library.with(files{"images/common/f": link("../../shared/f"), "shared/f": plain("1")}), files{"shared/f": plain("2")}, "b>build"},
		{"what a link of the tests leads to", library.with(files{"images/a/tests/f": link("../../../shared/f"), "shared/f": tool("1")}), files{"shared/f": tool("2")}, "a>test"},
		{"beside what a link leads to", library.with(files{"images/a/f": link("../../shared/f"), "shared/f": plain("1")}), files{"shared/g": plain("2")}, ""},
		{"a link out of the repository", library, files{"images/a/f": link("../../../etc/passwd")}, "a!"},
		{"a link to an absolute path", library, files{"images/a/f": link("/etc/passwd")}, "a!"},
		{"a link in a circle", library, files{"images/a/f": link("f")}, "a!"},
		{"a submodule moves", library.with(files{"images/a/vendor": sub(other)}), files{"images/a/vendor": sub(another)}, "a>build"},
		{"a submodule is added", library, files{"images/a/vendor": sub(other)}, "a>build"},
		{"a submodule of a dependency moves", library.with(files{"images/common/v": sub(other)}), files{"images/common/v": sub(another)}, "b>build"},
		{"a dependency that is a submodule moves", join(image("a", "a", "depends_on: [../vendor]"), files{"vendor": sub(other)}), files{"vendor": sub(another)}, "a>build"},
		{"a submodule elsewhere moves", library.with(files{"vendor": sub(other)}), files{"vendor": sub(another), ".gitmodules": plain("[submodule \"v\"]\n path=vendor\n url=ext::sh -c touch% /tmp/x\n ignore=all\n")}, ""},
		{"a submodule with all changes ignored", library.with(files{"images/a/v": sub(other), ".gitmodules": plain("[submodule \"v\"]\n path=images/a/v\n url=x\n ignore=all\n")}), files{"images/a/v": sub(another)}, "a>build"},
		{"a folder becomes a file", library.with(files{"images/a/f/g": plain("")}), files{"images/a/f/g": {}, "images/a/f": plain("")}, "a>build"},
		{"the definition's file is a link", library, files{"images/a/aibuild.yaml": link("../b/aibuild.yaml")}, "a!"},
		{"the definition's file is a submodule", library, files{"images/a/aibuild.yaml": sub(other)}, "a!"},
		{"the definition's file was a submodule", library.with(files{"images/a/aibuild.yaml": sub(other)}), files{"images/a/aibuild.yaml": aibuild("a")}, "a>build"},
		{"the definition's file becomes a folder", library, files{"images/a/aibuild.yaml": {}, "images/a/aibuild.yaml/x": plain("")}, "a-"},
		{"a definition in another's folder", join(image("a", "a"), image("a/inner", "inner")), files{"a/inner/t.json": plain("{ }")}, "a>build inner>build"},
		{"beside a definition in another's folder", join(image("a", "a"), image("a/inner", "inner")), files{"a/t.json": plain("{ }")}, "a>build"},
		{"the whole repository is a definition", image("", "root"), files{"docs/x": plain("x")}, "root>build"},
		{"the whole repository, and a path before the dot", image("", "root"), files{"-x": plain("x")}, "root>build"},
		{"a parent and its children", family, files{"a/f": plain(""), "z/f": plain(""), "m/f": plain("")}, "z>build m>build<z a>build<m"},
		{"a child alone", family, files{"a/f": plain("")}, "a>build"},
		{"a child and its grandparent", family, files{"a/f": plain(""), "z/f": plain("")}, "a>build z>build"},
		{"a parent at a version", family.with(files{"m/aibuild.yaml": aibuild("m", "from: {image: z@3}")}), files{"m/f": plain(""), "z/f": plain("")}, "m>build z>build"},
		{"a parent with a problem", family, files{"m/aibuild.yaml": plain("name: m\n"), "a/f": plain("")}, "m! a>build"},
		{"a parent that is tested again", family, files{"m/tests/boots": tool("x"), "a/f": plain("")}, "m>test a>build<m"},
		{"a parent that is only released", family, files{"m/aibuild.yaml": aibuild("m", "from: {image: z}", "release: {clusters: [alpha]}"), "a/f": plain("")}, "m>release a>build"},
		{"a circle", family.with(files{"z/aibuild.yaml": aibuild("z", "from: {image: a}")}), files{"a/f": plain(""), "m/f": plain(""), "z/f": plain("")}, "z>build m>build<z a>build<m"},
	}
	g, m := newHost(t, "").project(t, "ops/images")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			old := g.push("refs/heads/main", "old", test.old)
			id := g.push("refs/heads/main", "new", test.old.with(test.new), old)
			c, err := m.Changed(t.Context(), Push{"refs/heads/main", old, id}, Rules{})
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(c); got != test.want {
				t.Errorf("mirror: %q, want %q\n%+v", got, test.want, c)
			}
			local, err := Checkout{Dir: g.dir}.Changed(t.Context(), old)
			if err != nil {
				t.Fatal(err)
			}
			c.Ref, c.Reason, local.Reason = "", "", ""
			if diff := cmp.Diff(c, local); diff != "" {
				t.Errorf("the checkout says another thing (-mirror +checkout):\n%s", diff)
			}
			checkChange(t, c)
		})
	}
}

// family is z, m made from z, and a made from m.
var family = join(image("z", "z"), image("m", "m", "from: {image: z}"), image("a", "a", "from: {image: m}"))

// local is a definition whose source lies in its folder.
func local(iso string) files {
	return files{"images/a/aibuild.yaml": aibuild("a", "from: {iso: disk.iso, checksum: \"file:sums\"}"), "images/a/disk.iso": plain(iso),
		"images/a/sums": plain(checksum + "  disk.iso\n")}
}

func remove(f files) files {
	gone := files{}
	for name := range f {
		gone[name] = file{}
	}
	return gone
}

// checkChange holds for every change.
func checkChange(t *testing.T, c Change) {
	t.Helper()
	var names []string
	for _, i := range c.Images {
		if (i.Problem == "") != (i.Definition != nil) || i.Reason == "" || !goodName.MatchString(i.Name) {
			t.Errorf("image %+v", i)
		}
		if len(i.Reason) > 10_000 || len(i.Problem) > 31_000 || utf8.RuneCountInString(i.Folder) > 1024 || !utf8.ValidString(i.Folder+i.Reason+i.Problem) {
			t.Errorf("cannot be recorded: %+v", i)
		}
		if i.After != "" && !slices.Contains(names, i.After) {
			t.Errorf("%s comes before its parent %s", i.Name, i.After)
		}
		if slices.Contains(names, i.Name) {
			t.Errorf("%s is there twice", i.Name)
		}
		names = append(names, i.Name)
	}
	if s := c.Summary(); len(s) > 65535 || !utf8.ValidString(s) {
		t.Errorf("the summary cannot be recorded: %d bytes", len(s))
	}
	for _, u := range slices.Concat(c.Unaffected, c.Skipped, c.Removed) {
		if u.Name == "" || u.Reason == "" {
			t.Errorf("no name or reason: %+v", u)
		}
	}
}
