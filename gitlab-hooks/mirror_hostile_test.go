package hooks

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

// noCanary fails when something has run a command that a name hides: all of them make a file called canary.
func noCanary(t *testing.T, dirs ...string) {
	t.Helper()
	for _, dir := range append(dirs, ".") {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err == nil && strings.HasPrefix(filepath.Base(path), "canary") {
				t.Errorf("%s was made", path)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}

// Branch names that are fit for git, whatever a shell would make of them, and others that are not.
func TestHostileRefs(t *testing.T) {
	t.Chdir(t.TempDir())
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	two := g.commit("two", library.with(files{"images/a/f": plain("")}), one)
	for _, name := range []string{
		"-x", "--upload-pack=touch>canary", "--output=canary", ";$(touch>canary)", "`touch>canary`", "'\"quotes\"'", "a|touch>canary", "%0atouch",
		"größe", "\xff\xfe", "HEAD", "a+b:", "refs/heads/x", "@", "{}", "$IFS", "#", "!",
	} {
		ref := "refs/heads/" + name
		if strings.HasSuffix(name, ":") {
			want(t, look(t, m, Push{ref, one, two}, Rules{}), "", "git takes no such ref")
			continue
		}
		g.git("", "update-ref", ref, two)
		want(t, look(t, m, Push{ref, one, two}, Rules{}), "a>build", "compared with")
		m.Dir = filepath.Join(t.TempDir(), "new") // so that the next one is fetched, too
		want(t, look(t, m, Push{ref, "", two}, Rules{}), "a>build", "where it left main")
		g.git("", "update-ref", "-d", ref)
	}
	for _, ref := range []string{
		"", "main", "refs/heads/", "refs/heads/a b", "refs/heads/a\nrefs/heads/b", "refs/heads/../../x", "refs/heads/a..b", "refs/heads/*", "refs/heads/a~1",
		"refs/heads/a^", "refs/heads/a.lock", "refs/heads/@{1}", "refs/heads/a\\b", "refs/heads/\x00", "refs/heads/a:refs/heads/b", "--all", "+refs/heads/main:refs/heads/x",
	} {
		want(t, look(t, m, Push{ref, one, two}, Rules{}), "", "so that it starts nothing")
	}
	for _, id := range []string{"HEAD", "--all", "main", "../x", one[:39], strings.ToUpper(one), one + "\n", "0123456789 23456789012345678901234567890"} {
		for _, push := range []Push{{head, id, two}, {head, one, id}} {
			if _, err := m.Changed(t.Context(), push, Rules{}); !errors.Is(err, ErrProtocol) {
				t.Errorf("id %q: %v", id, err)
			}
		}
	}
	noCanary(t, m.Dir, g.dir)
}

// Files and folders of any name: those of no image do not matter, those of images are read, and what could not be handed
// on is refused in words.
func TestHostileNames(t *testing.T) {
	t.Chdir(t.TempDir())
	g, m := newHost(t, "").project(t, "ops/images")
	odd := []string{"new\nline", "tab\t", "quote\"", "quote'", "$(touch canary)", ";touch canary", "`touch canary`", "-rf", "--output=canary", ":(glob)**", "*",
		"back\\slash", " ", "größe", "\xff\xfe", "\x01"}
	harmless, inside := library, library
	for _, name := range odd {
		harmless = harmless.with(files{"docs/" + name: plain("x"), name: plain("x")})
		if utf8.ValidString(name) {
			inside = inside.with(files{"images/a/files/" + name: plain("x"), "images/a/" + name + "/x": plain("x")})
		}
	}
	old := g.push(head, "old", library)
	want(t, look(t, m, Push{head, old, g.push(head, "new", harmless, old)}, Rules{}), "", "compared")
	c := look(t, m, Push{head, old, g.push(head, "new", inside, old)}, Rules{})
	want(t, c, "a>build", "compared")
	if d := c.Images[0].Definition; len(d.Files) != len(libraryA)+2*(len(odd)-1) {
		t.Errorf("%d files: %q", len(d.Files), d.Files)
	}
	for name, says := range map[string]string{
		"images/a/files/\xff":   `"images/a/files/\xff": the name is not UTF-8; rename the file`,
		"images/common/d/\xfe":  `"images/common/d/\xfe": the name is not UTF-8; rename the file`,
		"images/a/tests/\xffx":  `"images/a/tests/\xffx": the name is not UTF-8; rename the file`,
		"images/a/\xff/further": `"images/a/\xff": the name is not UTF-8; rename the file`,
	} {
		c := look(t, m, Push{head, old, g.push(head, "new", library.with(files{name: plain("x")}), old)}, Rules{})
		if len(c.Images) != 1 || c.Images[0].Problem != says {
			t.Errorf("%q: %+v", name, c.Images)
		}
	}
	for folder, problem := range map[string]string{
		"images/new\nline": "control characters", "images/\x7f": "control characters", "images/\xff": "not UTF-8", "-x": "like an option", "--yes/a": "like an option",
		"images/$(touch canary)": "", "images/;touch canary": "", "images/qu\"ote'": "", "images/größe": "", "images/*": "", "images/:(glob)x": "", " ": "",
	} {
		c := look(t, m, Push{head, old, g.push(head, "new", join(library, image(folder, "odd")), old)}, Rules{})
		if len(c.Images) != 1 || !utf8.ValidString(c.Images[0].Folder) || !utf8.ValidString(c.Images[0].Problem) {
			t.Errorf("%q: %+v", folder, c)
		} else if got := c.Images[0].Problem; (got == "") != (problem == "") || !strings.Contains(got, problem) {
			t.Errorf("%q: %q, want %q", folder, got, problem)
		}
		// And away again, as what is said then has to be fit to be stored, too.
		for _, u := range look(t, m, Push{head, c.Commit, old}, Rules{}).Removed {
			if !utf8.ValidString(u.Folder + u.Name + u.Reason) {
				t.Errorf("removed: %q", u)
			}
		}
	}
	noCanary(t, m.Dir, g.dir)
}

// What is large beyond measure is said in words that can be recorded.
func TestHugeNames(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	old := g.push(head, "old", library)
	long, deep := strings.Repeat("ö", 5000), strings.Repeat("d/", 3000)
	var problems strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&problems, "k%d: 1\n", i)
	}
	many := files{}
	for i := range 300 {
		many = many.with(image(fmt.Sprintf("many/%s%03d", long[:400], i), fmt.Sprintf("i%d", i)))
	}
	tests := map[string]struct {
		change files
		want   int // images
	}{
		"a file":             {files{"images/a/" + long: plain("")}, 1},
		"a folder":           {image(long, "long"), 1},
		"deep folders":       {image(deep+"x", "deep"), 1},
		"problems":           {files{"images/a/aibuild.yaml": plain(problems.String())}, 1},
		"a definition":       {files{"images/a/aibuild.yaml": plain(strings.Repeat("# long\n", 1<<20))}, 1},
		"images":             {many, 300},
		"a name":             {files{"images/a/aibuild.yaml": aibuild(long)}, 1},
		"a dependency":       {files{"images/a/aibuild.yaml": aibuild("a", "depends_on: ["+long+"]")}, 1},
		"a link":             {files{"images/a/f": link(long)}, 1},
		"a link to the deep": {files{"images/a/f": link(deep)}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			id := g.push(head, "new", library.with(test.change), old)
			if c := look(t, m, Push{head, old, id}, Rules{}); len(c.Images) != test.want {
				t.Errorf("%d images: %s", len(c.Images), cut(c.Summary(), 1000))
			}
			look(t, m, Push{head, id, old}, Rules{})
		})
	}
	want(t, look(t, m, Push{"refs/heads/" + strings.Repeat("x", 250), "", old}, Rules{}), "", "more than the 255 characters")
}

// rawTree writes a tree that git itself would refuse.
func (g *gitRepo) rawTree(entries ...entry) string {
	g.t.Helper()
	var content bytes.Buffer
	for _, e := range entries {
		var id []byte
		if _, err := fmt.Sscanf(e.id, "%x", &id); err != nil {
			g.t.Fatal(err)
		}
		fmt.Fprintf(&content, "%o %s\x00%s", e.mode, e.name, id)
	}
	return g.git(content.String(), "hash-object", "-w", "--literally", "-t", "tree", "--stdin")
}

// Trees that no checkout can have lead nowhere outside, and hold nothing up.
func TestHostileTrees(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	old := g.push(head, "old", library)
	blob := func(text string) string { return g.git(text, "hash-object", "-w", "--stdin") }
	yaml, template := blob(aibuild("evil").text), blob("{}")
	evil := g.rawTree(entry{"aibuild.yaml", yaml, modeFile | 0o644}, entry{"t.json", template, modeFile | 0o644})
	tests := map[string][]entry{
		"parent folder":    {{"..", evil, modeFolder}},
		"this folder":      {{".", evil, modeFolder}},
		"slash in a name":  {{"x/../../y", evil, modeFolder}},
		"absolute":         {{"/etc", evil, modeFolder}},
		"empty name":       {{"", evil, modeFolder}},
		"git's folder":     {{".git", evil, modeFolder}},
		"twice":            {{"x", evil, modeFolder}, {"x", evil, modeFolder}},
		"no such mode":     {{"x", evil, 0o050000}},
		"a file as folder": {{"x", template, modeFolder}},
		"a folder as file": {{"aibuild.yaml", evil, modeFile}},
	}
	for name, entries := range tests {
		t.Run(name, func(t *testing.T) {
			root := g.rawTree(entries...)
			id := g.git("", "commit-tree", "-m", "evil", "-p", old, root)
			g.git("", "update-ref", head, id)
			c, err := m.Changed(t.Context(), Push{head, old, id}, Rules{})
			t.Logf("%q %v", brief(c), err)
			for _, i := range c.Images {
				if i.Problem == "" {
					t.Errorf("would be built: %+v", i)
				}
			}
		})
	}
}

// A few kilobytes that stand for ten million files are refused, soon.
func TestTreeBomb(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	old := g.push(head, "old", library)
	id, mode := g.git("x", "hash-object", "-w", "--stdin"), int64(modeFile|0o644)
	for range 7 {
		var entries []entry
		for i := range 10 {
			entries = append(entries, entry{fmt.Sprint("d", i), id, mode})
		}
		id, mode = g.rawTree(entries...), modeFolder
	}
	bomb := g.git("", "commit-tree", "-m", "bomb", "-p", old, id)
	g.git("", "update-ref", head, bomb)
	c, err := m.Changed(t.Context(), Push{head, old, bomb}, Rules{})
	if err == nil || !strings.Contains(err.Error(), "more than") || len(c.Images) > 0 {
		t.Errorf("%q, %v", brief(c), err)
	}
}

// The token is in no argument, which everybody on the machine can read, and in no file of the mirror.
func TestTokenStaysHidden(t *testing.T) {
	const token = "glpat-canary0token"
	h := newHost(t, token)
	g, m := h.project(t, "ops/images")
	one := g.push(head, "one", library)
	two := g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)
	gits := 0
	h.set(func(*http.Request) {
		lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
		if err != nil {
			t.Error(err)
		}
		for _, name := range lists {
			args, err := os.ReadFile(name)
			if err != nil {
				continue // it has ended
			}
			if bytes.Contains(args, []byte(m.address())) {
				gits++
			}
			if bytes.Contains(args, []byte(token)) || bytes.Contains(args, []byte(m.basic())) {
				t.Errorf("%s: %q", name, args)
			}
		}
	}, nil)
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	if _, err := m.Heads(t.Context()); err != nil {
		t.Fatal(err)
	}
	if gits == 0 {
		t.Error("no git was seen: this test looks in the wrong place")
	}
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(token)) || bytes.Contains(content, []byte(m.basic())) {
			t.Errorf("%s holds the token", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
