package hooks

import (
	"fmt"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// heads counts the refs that were handled, by where they are.
func (f *factory) heads() map[string]int {
	f.t.Helper()
	heads, err := f.in.Heads(f.t.Context(), "ops/images")
	if err != nil {
		f.t.Fatal(err)
	}
	at := map[string]int{}
	for _, h := range heads {
		at[h.SHA]++
	}
	return at
}

// A first look that is broken off in its middle builds nothing of what was there
// before, and what comes after it is news.
func TestFirstLookIsBrokenOff(t *testing.T) {
	t.Parallel()
	f := newFactoryOn(t, "", newInbox(t))
	one := f.work.commit("one", library)
	f.commits = []string{one}
	for _, ref := range []string{"refs/heads/a", "refs/heads/b", head, "refs/heads/z"} {
		f.push(one, ref)
	}
	f.in.query(t, "CREATE TRIGGER aibuild.away BEFORE INSERT ON aibuild.hook_event FOR EACH ROW BEGIN IF NEW.ref = '"+head+"' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'away'; END IF; END")
	if _, err := f.d.Pass(t.Context()); err == nil {
		t.Fatal("the look was not broken off")
	}
	if n := f.heads()[one]; n != 2 {
		t.Fatalf("%d refs were handled before it was, want 2", n)
	}
	f.in.query(t, "DROP TRIGGER aibuild.away")
	f.d = f.daemon("two")
	f.until("all refs are known", func() bool { return f.heads()[one] == 4 })
	if runs := f.ended(); len(runs) != 0 {
		t.Fatalf("what was there before is built: %s", states(runs))
	}
	f.send("two", library.with(files{"images/a/f": plain("two")}), "refs/heads/new")
	f.d.soon(choreHeads + "ops/images")
	f.until("a new branch is news", func() bool { return len(f.runs()) > 0 })
	f.ended()
}

// A hook that comes before the first look tells of its own ref only.
func TestHookBeforeTheFirstLook(t *testing.T) {
	t.Parallel()
	f := newFactoryOn(t, "", newInbox(t))
	one := f.work.commit("one", library)
	other := f.work.commit("other", library.with(files{"images/a/f": plain("other"), "images/b/f": plain("other")}))
	f.push(other, "refs/heads/a")
	f.push(one, head)
	if _, err := f.in.AcceptEvents(t.Context(), []lineage.HookEvent{{
		Instance: f.URL(), Key: "hook", Event: "push", Project: "ops/images", Ref: head, Before: fmt.Sprintf("%040d", 0), After: one, State: lineage.EventPending,
	}}); err != nil {
		t.Fatal(err)
	}
	f.d.init()
	if n, err := f.d.passEvents(t.Context()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	f.until("both refs are known", func() bool { return f.heads()[one] == 1 && f.heads()[other] == 1 })
	runs := f.ended()
	if got := states(runs); got != "a:success b:success" || runs[0].Ref != head {
		t.Errorf("runs %s; want those of the hook", got)
	}
}

// A project that is taken out of the configuration and comes back goes on where
// it was.
func TestProjectComesBack(t *testing.T) {
	t.Parallel()
	f := newFactoryOn(t, "", newInbox(t))
	one := f.work.commit("one", library)
	f.commits = []string{one}
	f.push(one, head)
	all := f.d.Projects
	out := func() []Watched { return nil }
	f.d.init()
	look := func() {
		t.Helper()
		f.d.Projects = all
		f.d.soon(choreHeads + "ops/images")
		if _, err := f.d.passHeads(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone := func() {
		t.Helper()
		f.d.Projects = out
		if n, err := f.d.passEvents(t.Context()); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	look() // the first
	gone()
	look()
	if n := f.heads()[one]; n != 1 || len(f.ended()) != 0 {
		t.Fatalf("%d heads, runs %s; want what was there before, unbuilt", n, states(f.runs()))
	}
	f.Disturb(gitlabtest.Trouble{Drop: true})
	two := f.send("two", library.with(files{"images/a/f": plain("two")}), head)
	for range 2 {
		look()
		gone()
	}
	look()
	if got := states(f.ended()); got != "a:success" || f.heads()[two] != 1 {
		t.Errorf("runs %s; want that of the push", got)
	}
	look()
	if n, err := f.d.passEvents(t.Context()); n != 0 || err != nil {
		t.Errorf("%d events of a ref that is where it was handled, %v", n, err)
	}
}
