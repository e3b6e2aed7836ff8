package hooks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// look is Changed for tests in which nothing fails.
func look(t *testing.T, m Mirror, push Push, rules Rules) Change {
	t.Helper()
	c, err := m.Changed(t.Context(), push, rules)
	if err != nil {
		t.Fatal(err)
	}
	checkChange(t, c)
	return c
}

const (
	head    = "refs/heads/main"
	feature = "refs/heads/feature/x"
)

func want(t *testing.T, c Change, images, reason string) {
	t.Helper()
	if got := brief(c); got != images || !strings.Contains(c.Reason, reason) {
		t.Errorf("got %q because of %q\nwant %q because of %q", got, c.Reason, images, reason)
	}
}

// The shapes that pushes have: what is compared with what.
func TestPushes(t *testing.T) {
	g, m := newHost(t, "t0ken-canary").project(t, "ops/images")
	touch := func(folder, text string) files { return files{folder + "/f": plain(text)} }
	one := g.push(head, "one", library)
	want(t, look(t, m, Push{head, "", one}, Rules{}), "a>build b>build", "first push of the default branch")
	want(t, look(t, m, Push{head, strings.Repeat("0", 40), one}, Rules{NewBranch: ScopeNone}), "a>build b>build", "first push of the default branch")
	want(t, look(t, m, Push{head, one, one}, Rules{}), "", "was handled last")

	last := one
	for i := range 30 { // more commits than a push tells of; the first one alone touches a
		folder := "images/b"
		if i == 0 {
			folder = "images/a"
		}
		last = g.push(head, "more", library.with(touch("images/a", "")).with(touch(folder, fmt.Sprint(i))), last)
	}
	many := last
	want(t, look(t, m, Push{head, one, many}, Rules{}), "a>build b>build", "compared with "+one[:10])

	g.git("", "update-ref", head, one)
	want(t, look(t, m, Push{head, many, one}, Rules{}), "a>build b>build", "compared with "+many[:10]) // back: no commit is new
	g.git("", "update-ref", head, many)
	want(t, look(t, m, Push{head, one, many}, Rules{}), "a>build b>build", "") // and forth again

	forced := g.push(head, "forced", library.with(touch("images/b", "else")), one)
	want(t, look(t, m, Push{head, many, forced}, Rules{}), "a>build b>build", "compared with "+many[:10])

	side := g.push(feature, "side", library.with(touch("images/a", "side")), one)
	merge := g.push(head, "Merge branch", library.with(touch("images/a", "side")).with(touch("images/b", "else")), forced, side)
	want(t, look(t, m, Push{head, forced, merge}, Rules{}), "a>build", "")
	evil := g.push(head, "Merge branch with changes of its own", library.with(touch("images/a", "evil")).with(touch("images/b", "evil")), merge, side)
	want(t, look(t, m, Push{head, merge, evil}, Rules{}), "a>build b>build", "")

	want(t, look(t, m, Push{head, evil, strings.Repeat("0", 40)}, Rules{}), "", "branch deleted")
}

func TestNewBranches(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	g.push(head, "two", library.with(files{"images/b/f": plain("main")}), one) // main has gone on
	new := g.push(feature, "new", library.with(files{"images/a/f": plain("new")}), one)
	want(t, look(t, m, Push{feature, "", new}, Rules{}), "a>build", "where it left main")
	want(t, look(t, m, Push{feature, "", new}, Rules{NewBranch: ScopeAll}), "a>build b>build", "new branches build all")
	want(t, look(t, m, Push{feature, "", new}, Rules{NewBranch: ScopeNone}), "", "new branches start nothing")
	want(t, look(t, m, Push{feature, one, new}, Rules{NewBranch: ScopeNone}), "a>build", "compared with")
	g.git("", "update-ref", feature, one)
	want(t, look(t, m, Push{feature, "", one}, Rules{}), "", "where it left main")

	orphan := g.push("refs/heads/orphan", "orphan", libraryA)
	c := look(t, m, Push{"refs/heads/orphan", "", orphan}, Rules{})
	want(t, c, "a>build", "it cannot be told what has changed")
	if !strings.Contains(c.Undetermined, "shares no commit with main") {
		t.Errorf("Undetermined = %q", c.Undetermined)
	}
	refs := Rules{Refs: []string{"main", "release/*"}}
	want(t, look(t, m, Push{feature, "", new}, refs), "", "branch feature/x starts nothing in this project, only main, release/*")
	g.push("refs/heads/release/1/x", "new", library, one)
	want(t, look(t, m, Push{"refs/heads/release/1/x", "", one}, refs), "", "where it left main")

	g.git("", "symbolic-ref", "HEAD", "refs/heads/nowhere")
	c = look(t, m, Push{feature, "", new}, Rules{})
	want(t, c, "a>build b>build", "no default branch")
}

// A branch may be called like the folder of an older one.
func TestBranchesLikeFolders(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	for _, ref := range []string{"refs/heads/x", "refs/heads/x/y", "refs/heads/x/y/z", "refs/heads/x"} {
		for _, old := range []string{"refs/heads/x", "refs/heads/x/y", "refs/heads/x/y/z"} {
			if _, err := g.try("", "update-ref", "-d", old); err != nil {
				continue // there is none
			}
		}
		id := g.push(ref, ref, library.with(files{"images/a/f": plain(ref)}), one)
		want(t, look(t, m, Push{ref, "", id}, Rules{}), "a>build", "")
	}
}

func TestTags(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	two := g.push("refs/heads/side", "two", library.with(files{"images/a/f": plain("")}), one)
	g.git("", "tag", "-a", "-m", "[ci skip] belongs to the tag", "v1", two)
	tag := g.git("", "rev-parse", "refs/tags/v1")
	ref := "refs/tags/v1"
	want(t, look(t, m, Push{ref, "", tag}, Rules{}), "", "tags start nothing")
	c := look(t, m, Push{ref, "", tag}, Rules{Tags: ScopeAll})
	want(t, c, "a>build b>build", "tags build all")
	if c.Commit != two || c.New != tag {
		t.Errorf("commit %s of tag %s; want %s of %s", c.Commit, c.New, two, tag)
	}
	want(t, look(t, m, Push{ref, "", tag}, Rules{Tags: ScopeChanged}), "a>build", "where it left main")
	want(t, look(t, m, Push{ref, one, tag}, Rules{Tags: ScopeChanged}), "a>build", "compared with "+one[:10])
	want(t, look(t, m, Push{ref, tag, two}, Rules{Tags: ScopeChanged}), "", "the head is the one")
	want(t, look(t, m, Push{ref, tag, ""}, Rules{Tags: ScopeAll}), "", "tag deleted")
	blob := g.git("x", "hash-object", "-w", "--stdin")
	g.git("", "tag", "-a", "-m", "no commit", "key", blob)
	key := g.git("", "rev-parse", "refs/tags/key")
	want(t, look(t, m, Push{"refs/tags/key", "", key}, Rules{Tags: ScopeAll}), "", "names no commit")
	want(t, look(t, m, Push{"refs/tags/key", key, two}, Rules{Tags: ScopeChanged}), "a>build b>build", "it cannot be told")
	want(t, look(t, m, Push{"refs/merge-requests/1/head", "", two}, Rules{}), "", "neither a branch nor a tag")
}

// A head that was forced away is still compared with; one that GitLab has thrown away leaves all images undetermined.
func TestUnreachableBefore(t *testing.T) {
	h := newHost(t, "")
	g, m := h.project(t, "ops/images")
	one := g.push(head, "one", library)
	lost := g.commit("lost", library.with(files{"images/a/f": plain("lost")}), one)
	two := g.push(head, "two", library, one)
	want(t, look(t, m, Push{head, lost, two}, Rules{}), "a>build", "compared with "+lost[:10])

	m.Dir = filepath.Join(t.TempDir(), "new") // one that has not seen it
	g.git("", "prune", "--expire=now")
	c := look(t, m, Push{head, lost, two}, Rules{})
	want(t, c, "a>build b>build", "it cannot be told what has changed: the former head "+lost[:10]+": gitlab does not have it any more")
	if c.Undetermined == "" || !strings.Contains(c.Images[0].Reason, lost[:10]) {
		t.Errorf("undetermined %q, reason %q", c.Undetermined, c.Images[0].Reason)
	}
	// The new head itself is gone: it cannot be built, and another push has followed.
	_, err := m.Changed(t.Context(), Push{head, one, lost}, Rules{})
	if !errors.Is(err, ErrGone) {
		t.Errorf("a head that is gone: %v", err)
	}
	if _, err := m.Definitions(t.Context(), lost); !errors.Is(err, ErrGone) {
		t.Errorf("definitions of a commit that is gone: %v", err)
	}
}

// A ref that has moved on since the push: the pushed commit is looked at, not the newest.
func TestRefMovedOn(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	two := g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)
	g.push(head, "three", library.with(files{"images/b/f": plain("")}), one)
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	g.git("", "update-ref", "-d", head)
	side := g.commit("side", library.with(files{"images/b/f": plain("")}), two)
	want(t, look(t, m, Push{"refs/heads/deleted-since", two, side}, Rules{}), "a>build b>build", "")
}

func TestSHA256Repository(t *testing.T) {
	g, m := newHost(t, "s3cret").project(t, "ops/images", "--object-format=sha256")
	one := g.push(head, "one", library)
	two := g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	want(t, look(t, m, Push{head, strings.Repeat("0", 64), two}, Rules{}), "a>build b>build", "first push")
	refs, err := m.Heads(t.Context())
	if err != nil || len(refs) != 1 || refs[0] != (RemoteRef{head, two}) {
		t.Errorf("Heads = %v, %v", refs, err)
	}
}

func TestHeads(t *testing.T) {
	g, m := newHost(t, "s3cret").project(t, "ops/images")
	if refs, err := m.Heads(t.Context()); err != nil || len(refs) != 0 {
		t.Errorf("of an empty repository: %v, %v", refs, err)
	}
	one := g.push(head, "one", library)
	g.git("", "tag", "-a", "-m", "v1", "v1", one)
	g.git("", "update-ref", "refs/merge-requests/1/head", one)
	odd := "refs/heads/-x;$(touch>canary)'\"\xff"
	g.git("", "update-ref", odd, one)
	refs, err := m.Heads(t.Context())
	expected := []RemoteRef{{odd, one}, {head, one}, {"refs/tags/v1", g.git("", "rev-parse", "v1")}}
	if err != nil || !slices.Equal(refs, expected) {
		t.Errorf("Heads = %v, %v; want %v", refs, err, expected)
	}
}

// Only what is looked at is fetched: no contents but the definitions' of this project, and none twice.
func TestMirrorIsPartial(t *testing.T) {
	h := newHost(t, "")
	g, m := h.project(t, "ops/images")
	big := plain(strings.Repeat("large ", 1<<18))
	tree := join(library, files{"docs/big": big, "images/a/disk.iso": big,
		"images/a/aibuild.yaml": aibuild("a", "from: {iso: disk.iso, checksum: \""+checksum+"\"}")})
	one := g.push(head, "one", tree)
	two := g.push(head, "two", tree.with(files{"images/a/f": plain("")}), one)
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	mirror := &gitRepo{t, m.path()}
	for name, here := range map[string]bool{"docs/big": false, "images/a/disk.iso": false, "images/a/f": true, "images/b/aibuild.yaml": true, "images/b/README.md": false} {
		_, err := mirror.try("", "cat-file", "-e", g.git("", "rev-parse", two+":"+name))
		if (err == nil) != here {
			t.Errorf("%s is in the mirror: %v, want %v", name, err == nil, here)
		}
	}
	before := h.requests()
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	if n := h.requests() - before; n != 0 {
		t.Errorf("the same push asked GitLab %d times again", n)
	}
}

// Whatever is wrong with a mirror, it is made anew.
func TestDamagedMirror(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	push := Push{head, one, g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)}
	packs := func(t *testing.T) []string {
		found, err := filepath.Glob(filepath.Join(m.path(), "objects", "pack", "*.pack"))
		if err != nil || len(found) == 0 {
			t.Fatalf("packs: %v, %v", found, err)
		}
		return found
	}
	damages := map[string]func(t *testing.T) error{
		"nothing":     func(*testing.T) error { return nil },
		"no config":   func(*testing.T) error { return os.Remove(filepath.Join(m.path(), "config")) },
		"half made":   func(*testing.T) error { return os.RemoveAll(filepath.Join(m.path(), "objects")) },
		"broken HEAD": func(*testing.T) error { return os.WriteFile(filepath.Join(m.path(), "HEAD"), []byte("\x00"), 0o600) },
		"broken ref": func(*testing.T) error {
			return os.WriteFile(filepath.Join(m.path(), seen(head)), []byte("junk\n"), 0o600)
		},
		"a file":     func(*testing.T) error { return errors.Join(os.RemoveAll(m.path()), os.WriteFile(m.path(), nil, 0o600)) },
		"packs gone": func(t *testing.T) error { return os.Remove(packs(t)[0]) },
		"packs of junk": func(t *testing.T) error {
			for _, pack := range packs(t) {
				if err := errors.Join(os.Chmod(pack, 0o600), os.WriteFile(pack, []byte("junk"), 0o600)); err != nil {
					return err
				}
			}
			return nil
		},
		"packs cut": func(t *testing.T) error {
			for _, pack := range packs(t) {
				if err := errors.Join(os.Chmod(pack, 0o600), os.Truncate(pack, 60)); err != nil {
					return err
				}
			}
			return nil
		},
		"stale locks": func(*testing.T) error {
			return errors.Join(os.RemoveAll(filepath.Join(m.path(), "objects", "pack")),
				os.WriteFile(filepath.Join(m.path(), seen(head)+".lock"), nil, 0o600))
		},
	}
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			want(t, look(t, m, push, Rules{}), "a>build", "")
			if err := damage(t); err != nil {
				t.Fatal(err)
			}
			want(t, look(t, m, push, Rules{}), "a>build", "")
		})
	}
}

// After many pushes the packs are joined, and nothing is lost.
func TestMirrorIsTidied(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	look(t, m, Push{head, "", one}, Rules{})
	mirror := &gitRepo{t, m.path()}
	source := filepath.Join(m.path(), "objects", "pack")
	for i := range manyPacks { // packs of their own, each with its mark, as fetches leave them
		id := g.commit("x", files{"x": plain(fmt.Sprint(i))})
		pack := g.git(id+"\n", "pack-objects", "--quiet", filepath.Join(source, "pack"))
		if err := os.WriteFile(filepath.Join(source, "pack-"+pack+".promisor"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(source, "tmp_pack_half"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	two := g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)
	want(t, look(t, m, Push{head, one, two}, Rules{}), "a>build", "")
	names, err := os.ReadDir(source)
	if err != nil || len(names) > 4 {
		t.Errorf("%d files remain of %d packs: %v", len(names), manyPacks, err)
	}
	mirror.git("", "cat-file", "-e", two+"^{tree}")
	three := g.push(head, "three", library, two)
	want(t, look(t, m, Push{head, two, three}, Rules{}), "a>build", "")
}

// Many at once, of two mirrors on one folder as two processes have, get the same answer.
func TestMirrorIsShared(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	two := g.push(head, "two", library.with(files{"images/a/f": plain("")}), one)
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			c, err := m.Changed(t.Context(), Push{head, one, two}, Rules{})
			if err != nil || brief(c) != "a>build" {
				t.Errorf("%q, %v", brief(c), err)
			}
		})
	}
	all.Wait()
}

// Waiting for the lock ends with the context, and a git that outlives its caller keeps the lock.
func TestMirrorLock(t *testing.T) {
	g, m := newHost(t, "").project(t, "ops/images")
	one := g.push(head, "one", library)
	lock, err := m.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := m.Changed(ctx, Push{head, "", one}, Rules{}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another one works on it") {
		t.Errorf("with the lock held: %v", err)
	}
	r := &repository{env: gitEnviron(nil), lock: lock.file}
	cmd := r.command("version")
	cmd.Path, cmd.Args = "sleep", []string{"300"}
	sleeping, err := cmd.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.file.Close(); err != nil { // as the death of the process does
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := m.lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while a git of a dead process runs: %v", err)
	}
	if err := sleeping.Stop(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	want(t, look(t, m, Push{head, "", one}, Rules{}), "a>build b>build", "")
}
