package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild"
)

// TestImportPublished: the database is lost, and what images/release tells is recorded again: the same story under the
// same numbers. Who works on does so as before.
func TestImportPublished(t *testing.T) {
	l := servers(t)
	const database = "aibuild_restored"
	make := func() { l.sqlAsAdmin(t, "CREATE DATABASE "+database) }
	drop := func() { l.sqlAsAdmin(t, "DROP DATABASE "+database) }
	make()
	t.Cleanup(drop)
	root := t.TempDir()
	p := newPerson(t, "AIBUILD_DSN="+strings.Replace(l.env["AIBUILD_DSN"], "/aibuild", "/"+database, 1), "AIBUILD_WEB_ROOT="+root, "AIBUILD_WEB_URL=")
	p.must(0, "db", "migrate")
	dir := quick(t, "import", nil)
	first := p.must(0, "run", dir).last()
	p.must(0, "build", dir) // a number that is published by nobody
	third := p.must(0, "run", dir).last()
	p.must(0, "rollback", "import", "--reason", "slow")
	told := map[string]any{"@1": p.show("import@1"), "@3": p.show("import@3")}

	drop()
	make()
	if r := p.must(2, "db", "import-published"); !strings.Contains(r.err, "db migrate") {
		t.Errorf("without tables: %s", r.err)
	}
	p.must(0, "db", "migrate")
	story := filepath.Join(root, "images/release/import", third, "image.json")
	whole, err := os.ReadFile(story)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(filepath.Join(root, "images/release/import", first, "image.json"))
	if err != nil {
		t.Fatal(err)
	}
	for says, text := range map[string]string{"is damaged": string(whole[:len(whole)/2]), "folder of another": string(other), "newer aibuild": `{"schema": 9}`} {
		placed(t, story, text)
		r := p.must(1, "db", "import-published", "-o", "json")
		list := decoded[[]aibuild.Imported](t, r.out)
		if len(list) != 2 || list[0].Error != "" || list[0].UUID != first || !strings.Contains(list[1].Error, says) || !strings.Contains(r.err, "1 of 2 images") {
			t.Errorf("a story that %s: %+v\n%s", says, list, r.err)
		}
	}
	placed(t, story, string(whole))
	list := decoded[[]aibuild.Imported](t, p.must(0, "db", "import-published", "-o", "json").out)
	if len(list) != 2 || !list[0].Known || list[1].Known || list[1].Number != 3 {
		t.Errorf("imported: %+v", list)
	}
	for number, before := range told {
		if diff := cmp.Diff(before, any(p.show("import"+number))); diff != "" {
			t.Errorf("import%s tells another story (-before +after):\n%s", number, diff)
		}
	}
	if r := p.must(0, "db", "import-published"); strings.Count(r.out, "known before") != 2 {
		t.Errorf("once more:\n%s", r.out)
	}
	p.must(0, "release", "import@3", "--reason", "fast again")
	if got := p.states("import@3"); got != "alpha:visible beta:visible" {
		t.Errorf("released again: %s", got)
	}
	p.must(0, "build", dir)
	if img := p.show("import"); img["number"] != 4.0 {
		t.Errorf("the next image is number %v", img["number"])
	}
}
