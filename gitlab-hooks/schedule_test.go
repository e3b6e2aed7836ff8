package hooks

import (
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// plant is a factory whose builds make images, as far as the record goes: before
// a build is let go, its image is recorded as built and passed.
type plant struct {
	*factory
	db      *sql.DB
	age     time.Duration // that images have when they are made
	parents map[string]string
	empty   map[string]bool // images whose builds make none
	made    map[string]bool // runs
}

// waiter is the job: it ends when its image is recorded.
const waiter = `#!/bin/sh
while [ ! -e "$OUT/go-$AIBUILD_RUN_ID" ]; do sleep 0.05; done
exit "$(cat "$OUT/exit-$(basename "$AIBUILD_IMAGE")" 2>/dev/null || echo 0)"
`

func newPlant(t *testing.T) *plant {
	t.Helper()
	p := &plant{factory: newFactory(t, ""), parents: map[string]string{}, empty: map[string]bool{}, made: map[string]bool{}}
	var declared []jenkinstest.Parameter
	for _, name := range parameters {
		declared = append(declared, jenkinstest.Parameter{Name: name})
	}
	job := jenkinstest.Job{Path: "aibuild/wait", Kind: jenkinstest.Pipeline, Concurrent: true, Command: waiter, Parameters: declared, UnstableReturn: 3}
	if err := p.jenkins.AddJob(job); err != nil {
		t.Fatal(err)
	}
	p.d = p.restarted("one")
	p.open()
	return p
}

// restarted is a daemon of the plant.
func (p *plant) restarted(owner string) *Dispatcher {
	d := p.daemon(owner)
	d.Job = "aibuild/wait"
	return d
}

// open gives the test a way to the database besides the store.
func (p *plant) open() {
	p.t.Helper()
	db, err := privatedb.Open(p.t.Context(), privatedb.Config{Dir: p.in.dir, Linger: time.Second})
	if err != nil {
		p.t.Fatal(err)
	}
	if p.db, err = sql.Open("mysql", db.DSN()); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := errors.Join(p.db.Close(), db.Close()); err != nil {
			p.t.Error(err)
		}
	})
}

// later makes it so much later: all that has happened was so much earlier.
func (p *plant) later(by time.Duration) {
	p.t.Helper()
	for _, move := range []string{
		"UPDATE image SET built_at = built_at - INTERVAL ? SECOND",
		"UPDATE build_log SET build_at = build_at - INTERVAL ? SECOND",
		"UPDATE run SET opened_at = opened_at - INTERVAL ? SECOND WHERE finished = 1",
		"UPDATE run SET finished_at = finished_at - INTERVAL ? SECOND WHERE finished = 1",
	} {
		if _, err := p.db.Exec(move, int64(by/time.Second)); err != nil {
			p.t.Fatal(err)
		}
	}
}

// fails makes the builds of an image end with a status, or well again.
func (p *plant) fails(image, status string) {
	p.t.Helper()
	writeFile(p.t, filepath.Join(p.dir, "exit-"+image), status)
}

// record makes an image outside of all runs, or for one.
func (p *plant) record(id, name string) string {
	p.t.Helper()
	if id == "" {
		id = uuid.Must(uuid.NewV7()).String()
	}
	at := time.Now().Add(-p.age)
	sum := strings.Repeat(strings.ReplaceAll(id, "-", ""), 2)
	built := &lineage.Built{Name: name, Project: "ops/images", Arch: "x86_64", BuiltAt: at, Artifact: lineage.Artifact{Format: "qcow2", Size: 1, SHA256: sum, Ref: "main"}}
	if parent := p.parents[name]; parent != "" {
		if good, err := p.d.newestGood(p.t.Context(), parent); err != nil {
			p.t.Fatal(err)
		} else if good != nil {
			built.Artifact.ParentUUID = good.UUID
		}
	}
	records := []lineage.Record{
		{ImageUUID: id, Verb: lineage.VerbBuilt, Built: built},
		{ImageUUID: id, Verb: lineage.VerbTested, Tested: &lineage.Tested{Verdict: lineage.Passed, TestCase: "all (1 cases)", TestedAt: at}},
	}
	p.write(records...)
	return id
}

func (p *plant) revoke(id string) {
	p.t.Helper()
	yes := true
	p.write(lineage.Record{ImageUUID: id, Verb: lineage.VerbRevoked, Reason: "a hole", Marked: &lineage.Mark{Revoked: &yes}})
}

func (p *plant) write(records ...lineage.Record) {
	p.t.Helper()
	for i := range records {
		records[i].ID, records[i].At, records[i].Actor, records[i].Channel = uuid.Must(uuid.NewV7()).String(), time.Now(), "ann", "jenkins"
	}
	if err := p.in.Record(p.t.Context(), records...); err != nil {
		p.t.Fatal(err)
	}
}

// settle lets everything happen that is due: until nothing is under way, and a
// look at the schedules opens nothing more. It gives "image:state" of the runs
// that were opened meanwhile, oldest first.
func (p *plant) settle() string {
	p.t.Helper()
	before := len(p.runs())
	for quiet := 0; quiet < 2; {
		p.d.soon(choreSchedule)
		n := len(p.runs())
		p.until("nothing is under way", func() bool {
			p.let()
			due, err := p.in.StatusesDue(p.t.Context(), 10)
			events, _, err2 := p.in.HookEvents(p.t.Context(), lineage.HookFilter{State: lineage.EventPending})
			return err == nil && err2 == nil && len(due)+len(events) == 0 && !slices.ContainsFunc(p.runs(), func(r lineage.Run) bool { return !r.Final() })
		})
		if _, err := p.d.Pass(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
		if quiet++; len(p.runs()) > n {
			quiet = 0
		}
	}
	return states(p.runs()[:len(p.runs())-before])
}

// let records the images of the builds that run, and lets them go.
func (p *plant) let() {
	p.t.Helper()
	for _, r := range p.runs() {
		if r.State != lineage.RunBuilding || p.made[r.ID] {
			continue
		}
		p.made[r.ID] = true
		_, err := os.Stat(filepath.Join(p.dir, "exit-"+r.Image))
		if errors.Is(err, os.ErrNotExist) && !p.empty[r.Image] {
			p.record(r.ID, r.Image)
		}
		writeFile(p.t, filepath.Join(p.dir, "go-"+r.ID), "")
	}
}

// opened is why a run was opened, as the audit says.
func (p *plant) opened(run string) string {
	p.t.Helper()
	events, _, err := p.in.Events(p.t.Context(), lineage.EventFilter{RunID: run, Limit: 100})
	if err != nil || len(events) == 0 || events[len(events)-1].Verb != lineage.VerbOpened {
		p.t.Fatalf("the audit of %s: %+v, %v", run, events, err)
	}
	return events[len(events)-1].Reason
}

// looks makes passes in each of which the schedules are due.
func (p *plant) looks(n int) {
	p.t.Helper()
	for range n {
		p.d.soon(choreSchedule)
		if _, err := p.d.Pass(p.t.Context()); err != nil {
			p.t.Fatal(err)
		}
	}
}

var weekly = files{"images/a/aibuild.yaml": aibuild("a", "rebuild: 7d")}

func TestScheduledRebuild(t *testing.T) {
	p := newPlant(t)
	p.send("one", library.with(weekly), head)
	if got := p.settle(); got != "a:success b:success" {
		t.Fatalf("the push: %s", got)
	}
	p.later(7*24*time.Hour - time.Hour)
	if got := p.settle(); got != "" {
		t.Fatalf("before it is time: %s", got)
	}

	// Nothing that the images are made of; the run is of the newest commit.
	two := p.send("two", library.with(weekly).with(files{"README.md": plain("more")}), head)
	p.settle()
	p.later(2 * time.Hour)
	p.looks(3)
	runs := p.runs()
	if len(runs) != 3 {
		t.Fatalf("while one is open: %+v", runs)
	}
	r := runs[0]
	if r.Image != "a" || r.Commit != two || r.Ref != head || r.Folder != "images/a" || r.From != fromBuild || r.Channel != lineage.ChannelSchedule || r.HeadSeq != 0 || !r.Managed {
		t.Errorf("the run is %+v", r)
	}
	if why := p.opened(r.ID); why != "a@1 is older than 7d (rebuild)" {
		t.Errorf("it was opened because %q", why)
	}
	if got := p.settle(); got != "" || states(p.runs()) != "a:success b:success a:success" {
		t.Errorf("rebuilt: %q, %s", got, states(p.runs()))
	}

	// Another branch defines the image as well: it is no business of the schedule.
	p.send("three", library.with(weekly).with(files{"images/a/f": plain("x")}), feature)
	p.settle()
	n := len(p.runs())
	p.later(8 * 24 * time.Hour)
	for _, policy := range []definition.Policy{{ReleaseRefs: []string{"main"}}, {}} {
		watched := []Watched{{Mirror: p.mirror, Policy: policy}}
		p.d.Projects = func() []Watched { return watched }
		p.settle()
		runs := p.runs()
		if len(runs) != n+1 || runs[0].Ref != head || runs[0].State != lineage.RunSuccess {
			t.Errorf("with %v as refs that may release: %s, the last on %s", policy.ReleaseRefs, states(runs), runs[0].Ref)
		}
		n = len(runs)
		p.later(8 * 24 * time.Hour)
	}

	// What the rules do not allow any more is refused, not built.
	watched := []Watched{{Mirror: p.mirror, Policy: definition.Policy{Names: []string{"b"}}}}
	p.d.Projects = func() []Watched { return watched }
	if got := p.settle(); got != "a:rejected" || !strings.Contains(p.runs()[0].Reason, "names") {
		t.Errorf("against the rules: %q, %q", got, p.runs()[0].Reason)
	}
	watched = []Watched{{Mirror: p.mirror, Rules: Rules{Refs: []string{"other"}}}}
	p.later(8 * 24 * time.Hour)
	if got := p.settle(); got != "" {
		t.Errorf("a branch that is not built: %q", got)
	}
}

func TestScheduleIsPaused(t *testing.T) {
	p := newPlant(t)
	p.age = 8 * 24 * time.Hour // so say the clocks of the machines that build
	commit := p.send("one", library.with(weekly), head)
	if got := p.settle(); got != "a:success b:success" {
		t.Fatalf("the push, by machines whose clocks are a week behind: %s", got)
	}
	p.revoke(p.runs()[1].ID)
	p.record("", "a")
	p.fails("a", "1")

	// Its rebuild fails: at once, after an hour, after two more.
	if got := p.settle(); got != "a:failure" {
		t.Fatalf("the first time: %s", got)
	}
	p.later(50 * time.Minute)
	if got := p.settle(); got != "" {
		t.Fatalf("too soon: %s", got)
	}
	p.later(15 * time.Minute)
	p.empty["a"] = true
	removeFile(t, filepath.Join(p.dir, "exit-a"))
	if got := p.settle(); got != "a:success" { // so says Jenkins, but there is no image
		t.Fatalf("the second time: %s", got)
	}
	p.fails("a", "3")
	p.later(100 * time.Minute)
	if got := p.settle(); got != "" {
		t.Fatalf("too soon again: %s", got)
	}
	p.later(30 * time.Minute)
	if got := p.settle(); got != "a:unstable a:rejected" {
		t.Fatalf("the third time: %s", got)
	}
	p.later(100 * time.Hour)
	p.d = p.restarted("two") // as after a restart
	if got := p.settle(); got != "" {
		t.Fatalf("paused, and yet: %s", got)
	}
	// Everybody can see it: in the runs, in the audit, at the commit, in the metrics.
	paused := p.runs()[0]
	for _, want := range []string{"paused after 3 failures in a row", p.runs()[1].ID, "unstable", "aibuild runs start a"} {
		if !strings.Contains(paused.Reason, want) {
			t.Errorf("the reason lacks %q: %s", want, paused.Reason)
		}
	}
	if p.status(commit, "a") != statusFailed || !slices.Equal(p.d.Stats().Paused, []string{"a"}) {
		t.Errorf("the commit shows %s, the metrics %v", p.status(commit, "a"), p.d.Stats().Paused)
	}
	if why := p.opened(paused.ID); why != paused.Reason {
		t.Errorf("the audit says %q", why)
	}

	// A push takes it up again, even one that fails; a good image ends it.
	p.send("two", library.with(weekly).with(files{"images/a/f": plain("2")}), head)
	if got := p.settle(); got != "a:unstable" {
		t.Fatalf("a push that fails: %s", got)
	}
	if left := p.d.Stats().Paused; len(left) != 0 {
		t.Errorf("paused after a push: %v", left)
	}
	p.later(2 * time.Hour)
	removeFile(t, filepath.Join(p.dir, "exit-a"))
	p.age, p.empty["a"] = 0, false
	if got := p.settle(); got != "a:success" {
		t.Fatalf("after it was mended: %s", got)
	}
	p.later(8 * 24 * time.Hour)
	if got := p.settle(); got != "a:success" {
		t.Fatalf("a week later: %s", got)
	}
}

// chained is a chain of three that follow their parents, and one that does not.
var chained = join(
	image("images/base", "base"),
	image("images/middle", "middle", "from: {image: base}", "follow_parent: true"),
	image("images/top", "top", "from: {image: middle}", "follow_parent: true"),
	image("images/still", "still", "from: {image: base}"),
	image("images/pinned", "pinned", "from: {image: base@1}", "follow_parent: true"),
)

func TestChildrenFollow(t *testing.T) {
	p := newPlant(t)
	p.parents = map[string]string{"middle": "base", "top": "middle", "still": "base"}
	tree := chained
	p.send("one", tree, head)
	if got := sorted(p.settle()); got != "base:success middle:success pinned:success still:success top:success" {
		t.Fatalf("the push: %s", got)
	}
	t.Run("a parent that fails", func(t *testing.T) {
		p.fails("base", "1")
		tree = tree.with(files{"images/base/f": plain("bad")})
		p.send("bad", tree, head)
		if got := p.settle(); got != "base:failure" {
			t.Errorf("runs: %s", got)
		}
		removeFile(t, filepath.Join(p.dir, "exit-base"))
	})
	t.Run("chain", func(t *testing.T) {
		tree = tree.with(files{"images/base/f": plain("good")})
		commit := p.send("good", tree, head)
		if got := p.settle(); got != "base:success middle:success top:success" {
			t.Fatalf("runs: %s", got)
		}
		for _, r := range p.runs()[:2] {
			if why := p.opened(r.ID); r.Commit != commit || r.Channel != lineage.ChannelSchedule || !strings.Contains(why, "its parent "+p.parents[r.Image]+"@2 is newer") {
				t.Errorf("%s was built because %s: %+v", r.Image, why, r)
			}
		}
	})
	t.Run("a child that fails", func(t *testing.T) {
		p.fails("middle", "1")
		p.record("", "base")
		if got := p.settle(); got != "middle:failure" {
			t.Errorf("runs: %s", got)
		}
		removeFile(t, filepath.Join(p.dir, "exit-middle"))
		p.later(2 * time.Hour)
		if got := p.settle(); got != "middle:success top:success" {
			t.Errorf("an hour later: %s", got)
		}
	})
	t.Run("a parent that was withdrawn", func(t *testing.T) {
		newest := p.record("", "base")
		p.revoke(newest)
		if got := p.settle(); got != "" {
			t.Errorf("after the new one was revoked: %s", got)
		}
		was, err := p.d.newestGood(t.Context(), "base")
		if err != nil {
			t.Fatal(err)
		}
		p.revoke(was.UUID) // middle was made from it; there is no newer one
		if got := p.settle(); got != "" {
			t.Errorf("after its own was revoked: %s", got)
		}
	})
	t.Run("a parent whose clock is behind", func(t *testing.T) {
		p.age = 30 * time.Minute
		p.record("", "base")
		p.age = 0
		if got := p.settle(); got != "middle:success top:success" {
			t.Errorf("runs: %s", got)
		}
	})
	t.Run("the child's head has moved", func(t *testing.T) {
		p.record("", "base")
		tree = tree.with(files{"images/middle/f": plain("pushed")})
		commit := p.send("child", tree, head)
		if got := p.settle(); got != "middle:success top:success" {
			t.Fatalf("runs: %s", got)
		}
		if r := p.runs()[1]; r.Commit != commit || r.Channel != lineage.ChannelHook {
			t.Errorf("middle was built by %+v", r)
		}
	})
	t.Run("a parent that is being built", func(t *testing.T) {
		tree = tree.with(files{
			"images/base/aibuild.yaml":   aibuild("base", "rebuild: 1d"),
			"images/middle/aibuild.yaml": aibuild("middle", "from: {image: base}", "follow_parent: true", "rebuild: 1d"),
		})
		p.send("daily", tree, head)
		p.settle()
		p.later(25 * time.Hour)
		if got := p.settle(); got != "base:success middle:success top:success" {
			t.Errorf("both were due: %s", got)
		}
	})
}

func sorted(words string) string {
	list := strings.Fields(words)
	slices.Sort(list)
	return strings.Join(list, " ")
}
