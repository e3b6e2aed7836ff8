package hooks

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/definition"
)

func TestSkipMarkers(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "[ci skip] of an older commit does not count", library)
	both := library.with(files{"images/a/f": plain(""), "images/b/tests/boots": tool("x"), "images/c/aibuild.yaml": plain("name: c\n")})
	for message, images := range map[string]string{
		"subject\n\nbody":                        "a>build b>test c!",
		"[ci skip] subject":                      "a~ b~ c~",
		"subject\n\nbody [skip ci]\n":            "a~ b~ c~",
		"[CI-SKIP]":                              "a~ b~ c~",
		"[skip_ci]":                              "a~ b~ c~",
		"[aibuild skip]":                         "a~ b~ c~",
		"[aibuild skip a]":                       "b>test c! a~",
		"[aibuild skip b] and [aibuild skip a]":  "c! b~ a~",
		"[aibuild skip a, b,c]":                  "a~ b~ c~",
		"[Aibuild Skip A]":                       "b>test c! a~",
		"[aibuild skip a a]":                     "b>test c! a~",
		"[aibuild skip none]":                    "a>build b>test c! none=",
		"skip ci, [ci  skip], [skip], aibuild x": "a>build b>test c!",
		"\xff\xfe [ci skip]":                     "a~ b~ c~",
		strings.Repeat("long\n", 1<<19):          "a>build b>test c!",
	} {
		c := look(t, m, Push{head, one, g.push(head, message, both, one)}, Rules{})
		want(t, c, images, "compared with")
		for _, u := range c.Skipped {
			if !strings.Contains(u.Reason, "the commit says [") || !strings.Contains(u.Reason, "it would start at ") {
				t.Errorf("reason %q", u.Reason)
			}
		}
	}
	// Who skips the parent does not hold back the child.
	old := g.push(head, "old", family)
	id := g.push(head, "[aibuild skip z]", family.with(files{"z/f": plain(""), "m/f": plain("")}), old)
	want(t, look(t, m, Push{head, old, id}, Rules{}), "m>build z~", "")
}

func TestSummary(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	old := g.push(head, "old", library)
	id := g.push(head, "[aibuild skip b]", library.with(remove(libraryB)).with(image("images/d", "d")).with(files{
		"images/a/README.md": plain(""), "images/c/aibuild.yaml": plain("")}), old)
	got := look(t, m, Push{head, old, id}, Rules{}).Summary()
	want := "compared with " + old[:10] + ", the head that was handled last; starts c (rejected), d (build); " +
		"unaffected a (no stage reads what has changed: images/a/README.md), b (the commit says [aibuild skip b], but the push does not start it); removed b (the definition was deleted)"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestDefinitions(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	id := g.push(head, "[ci skip]", family.with(files{"a/aibuild.yaml": aibuild("a", "from: {image: m}", "follow_parent: true"), "b/aibuild.yaml": plain("name: b\n")}))
	images, err := m.Definitions(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := brief(Change{Images: images}); got != "z>build m>build<z a>build<m b!" || !images[2].Definition.FollowParent {
		t.Errorf("%s\n%+v", got, images)
	}
	if _, err := m.Definitions(t.Context(), "main"); !errors.Is(err, ErrProtocol) {
		t.Errorf("of a name: %v", err)
	}
}

func TestFirstStage(t *testing.T) {
	was := definition.Digests{Build: "1", Test: "1", Release: "1"}
	for is, want := range map[definition.Digests]string{
		was: "", {Build: "1", Test: "1", Release: "2"}: "release", {Build: "1", Test: "2", Release: "2"}: "test", {Build: "2", Test: "1", Release: "1"}: "build",
	} {
		if got := FirstStage(was, is); got != want {
			t.Errorf("FirstStage of %v = %q, want %q", is, got, want)
		}
	}
}

// What a checkout is compared with when nothing is said, and what it says when there is nothing.
func TestCheckoutBase(t *testing.T) {
	server := newRepo(t, t.TempDir())
	one := server.push(head, "one", library)
	server.push(head, "two", library.with(files{"images/b/f": plain("")}), one)
	dir := t.TempDir()
	server.git("", "clone", "--quiet", server.dir, dir)
	g := &gitRepo{t, dir}
	say := func(base, images, reason string) {
		t.Helper()
		c, err := Checkout{Dir: filepath.Join(dir, "images")}.Changed(t.Context(), base)
		if err != nil {
			t.Error(err)
			return
		}
		want(t, c, images, reason)
	}
	commit := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
		g.git("", "add", "--all")
		g.git("", "commit", "--quiet", "--message", name)
	}
	say("", "", "where it left its upstream")
	commit("images/a/new")
	say("", "a>build", "where it left its upstream")
	say("HEAD~2", "a>build b>build", "compared with "+one[:10])
	say("HEAD", "", "compared with")
	g.git("", "checkout", "--quiet", "-b", "feature", "HEAD~1")
	commit("images/a/more")
	say("", "a>build", "where it left origin/HEAD")
	g.git("", "remote", "remove", "origin")
	say("", "a>build", "where it left main")
	g.git("", "branch", "--quiet", "-D", "main")
	if _, err := (Checkout{Dir: dir}).Changed(t.Context(), ""); !errors.Is(err, ErrCheckout) || !strings.Contains(err.Error(), "give a base") {
		t.Errorf("without anything to compare with: %v", err)
	}
	for _, base := range []string{"nothing", "--all", "-x", "HEAD:README.md", "", " ", "HEAD\nHEAD"} {
		if _, err := (Checkout{Dir: dir}).Changed(t.Context(), base); !errors.Is(err, ErrCheckout) {
			t.Errorf("base %q: %v", base, err)
		}
	}
	if _, err := (Checkout{Dir: t.TempDir()}).Changed(t.Context(), ""); !errors.Is(err, ErrCheckout) || !strings.Contains(err.Error(), "no git repository") {
		t.Errorf("outside of git: %v", err)
	}
	if _, err := (Checkout{Dir: newRepo(t, t.TempDir()).dir}).Changed(t.Context(), ""); !errors.Is(err, ErrCheckout) || !strings.Contains(err.Error(), "no commit yet") {
		t.Errorf("without a commit: %v", err)
	}
}

// What is not committed does not count, and is said; a shallow checkout cannot tell, so that all images are taken.
func TestCheckoutUncommittedAndShallow(t *testing.T) {
	server := newRepo(t, t.TempDir())
	one := server.push(head, "one", library)
	server.push("refs/heads/feature", "two", library.with(files{"images/a/f": plain("")}), one)
	server.push(head, "three", library.with(files{"images/b/f": plain("")}), one)
	dir := t.TempDir()
	server.git("", "clone", "--quiet", server.dir, dir)
	for _, name := range []string{"new\nname", "images/a/README.md"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("new"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Checkout{Dir: dir}.Changed(t.Context(), "HEAD~1")
	if err != nil || c.Uncommitted != 2 || brief(c) != "b>build" {
		t.Errorf("%q with %d uncommitted, %v", brief(c), c.Uncommitted, err)
	}
	shallow := t.TempDir()
	server.git("", "clone", "--quiet", "--depth=1", "--no-single-branch", "file://"+server.dir, shallow)
	g := &gitRepo{t, shallow}
	g.git("", "checkout", "--quiet", "-b", "x", "origin/feature")
	g.git("", "branch", "--quiet", "--unset-upstream")
	c, err = Checkout{Dir: shallow}.Changed(t.Context(), "")
	if err != nil || brief(c) != "a>build b>build" || !strings.Contains(c.Undetermined, "shares no commit with origin/HEAD") {
		t.Errorf("%q, %q, %v", brief(c), c.Undetermined, err)
	}
}

// What people configure for their own eyes does not change what is compared, and neither does the folder they stand in.
func TestCheckoutIgnoresTaste(t *testing.T) {
	dir := t.TempDir()
	bare := newRepo(t, filepath.Join(dir, "bare"))
	old := bare.commit("old", library.with(files{"images/a/v": sub(other), "images/b/f": plain("f")}))
	id := bare.push(head, "new", library.with(files{"images/a/v": sub(another), "docs/f": plain("f")}), old)
	work := filepath.Join(dir, "work")
	bare.git("", "clone", "--quiet", bare.dir, work)
	g := &gitRepo{t, work}
	for _, setting := range []string{"diff.ignoreSubmodules=all", "diff.relative=true", "diff.renames=copies", "diff.noprefix=true", "diff.external=touch canary",
		"diff.orderFile=/nonexistent", "core.quotePath=true", "status.showUntrackedFiles=no", "log.showSignature=true", "core.abbrev=4", "core.fsmonitor=touch canary"} {
		name, value, _ := strings.Cut(setting, "=")
		g.git("", "config", name, value)
	}
	g.git("", "replace", id, old)
	c, err := Checkout{Dir: filepath.Join(work, "images", "b")}.Changed(t.Context(), old)
	if err != nil {
		t.Fatal(err)
	}
	want(t, c, "a>build b>build", "compared with")
	noCanary(t, dir)
}
