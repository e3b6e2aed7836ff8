package lineage

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// journalled is a record that was a line of a journal.
func journalled(t *testing.T, r Record) Record {
	t.Helper()
	line, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Record
	if err := json.Unmarshal(line, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, back); diff != "" {
		t.Errorf("record does not survive its journal (-want +got):\n%s", diff)
	}
	return back
}

// The whole story of one image: three tables, companions, states.
func TestStory(t *testing.T) {
	s := newStore(t)
	uuid := id()
	steps := []struct {
		record Record
		state  string
	}{
		{builtRecord(uuid, "tiny", day), StateBuilt},
		{testedRecord(uuid, TestError, day.Add(time.Minute)), StateTestError},
		{testedRecord(uuid, FailedTest, day.Add(2*time.Minute)), StateTestFailed},
		{testedRecord(uuid, Passed, day.Add(3*time.Minute)), StatePassed},
		{publishedRecord(uuid, day.Add(4*time.Minute)), StatePublished},
		{targetRecord(uuid, "alpha", TargetUploading, "", day.Add(5*time.Minute)), StatePublished},
		{targetRecord(uuid, "beta", TargetUploading, "", day.Add(5*time.Minute)), StatePublished},
		{targetRecord(uuid, "alpha", TargetVisible, id(), day.Add(6*time.Minute)), StatePartlyReleased},
		{targetRecord(uuid, "beta", TargetFailed, "", day.Add(6*time.Minute)), StatePartlyReleased},
		{targetRecord(uuid, "beta", TargetVisible, "11111111-2222-4333-8444-555555555555", day.Add(7*time.Minute)), StateReleased},
		{targetRecord(uuid, "alpha", TargetMissing, "", day.Add(8*time.Minute)), StatePartlyReleased},
		{targetRecord(uuid, "alpha", TargetHidden, "", day.Add(9*time.Minute)), StateReleased},
		{Record{ID: id(), At: day.Add(10 * time.Minute), Verb: VerbRevoked, Reason: "hole", ImageUUID: uuid, Marked: &Mark{Revoked: new(true)}}, StateRevoked},
		{Record{ID: id(), At: day.Add(11 * time.Minute), Verb: VerbRestored, ImageUUID: uuid, Marked: &Mark{Revoked: new(false), Held: new(true)}}, StateReleased},
		{testedRecord(uuid, TestError, day.Add(12*time.Minute)), StateReleased},
		{testedRecord(uuid, FailedTest, day.Add(13*time.Minute)), StateTestFailed},
	}
	for i, step := range steps {
		record(t, s, step.record)
		record(t, s, journalled(t, step.record)) // delivered twice: nothing changes
		image := resolve(t, s, uuid)
		if image.State != step.state {
			t.Errorf("step %d (%s): state = %s, want %s", i, step.record.Verb, image.State, step.state)
		}
		var stored string
		if err := s.db.QueryRow("SELECT state FROM image WHERE uuid = ?", uuid).Scan(&stored); err != nil || stored != step.state {
			t.Errorf("step %d: stored state = %s, %v; want %s", i, stored, err, step.state)
		}
	}
	if n := count(t, s, "event", "image_uuid = ?", uuid); n != len(steps) {
		t.Errorf("%d events, want %d", n, len(steps))
	}
	image := resolve(t, s, "tiny@1")
	if !image.Held || image.Artifact == nil || image.Artifact.Tools["packer"] != "1.6.6" || len(image.Tests) != 2 || len(image.Targets) != 2 {
		t.Errorf("image = %+v", image)
	}
	if want := "http://web/images/release/x/" + uuid + "/x.qcow2"; image.Artifact.ReleaseURL != want {
		t.Errorf("release url = %s, want %s", image.Artifact.ReleaseURL, want)
	}
	var cluster, glance string
	var at time.Time
	if err := s.db.QueryRow("SELECT openstack_cluster, glance_id, release_at FROM release_log WHERE image_uuid = ?", uuid).Scan(&cluster, &glance, &at); err != nil {
		t.Fatal(err)
	}
	if cluster != "beta" || glance != "11111111-2222-4333-8444-555555555555" || !at.Equal(day.Add(7*time.Minute).Truncate(time.Second)) {
		t.Errorf("release_log = %s %s %s, want the latest release", cluster, glance, at)
	}
	if n := count(t, s, "test_log", "image_uuid = ? AND test_result = 'failed'", uuid); n != 1 {
		t.Errorf("test_log does not hold the latest verdict")
	}
}

func TestLateDelivery(t *testing.T) {
	s := newStore(t)
	uuid := id()
	record(t, s, builtRecord(uuid, "tiny", day),
		testedRecord(uuid, Passed, day.Add(2*time.Hour)),
		targetRecord(uuid, "alpha", TargetVisible, "new", day.Add(3*time.Hour)))
	record(t, s, testedRecord(uuid, FailedTest, day.Add(time.Hour)),
		targetRecord(uuid, "alpha", TargetFailed, "old", day.Add(time.Hour)),
		targetRecord(uuid, "beta", TargetVisible, "older", day.Add(time.Minute)))
	image := resolve(t, s, uuid)
	if image.State != StateReleased || image.Verdict.Result != Passed || image.Tests[0].Result != Passed {
		t.Errorf("an earlier verdict or state replaced a later one: %+v", image)
	}
	if image.Targets[0].GlanceID != "new" {
		t.Errorf("glance id = %s, want new", image.Targets[0].GlanceID)
	}
	if n := count(t, s, "release_log", "image_uuid = ? AND openstack_cluster = 'alpha'", uuid); n != 1 {
		t.Error("release_log does not show the latest release")
	}
	if n := count(t, s, "test_case", "image_uuid = ?", uuid); n != 4 {
		t.Errorf("%d cases kept, want those of both tests (4)", n)
	}
}

func TestRefusedRecords(t *testing.T) {
	s := newStore(t)
	known := id()
	record(t, s, builtRecord(known, "tiny", day))
	change := func(f func(*Record)) Record {
		r := builtRecord(id(), "tiny", day)
		f(&r)
		return r
	}
	run := func(f func(*Run)) Record {
		r := &Run{ID: id(), Image: "tiny", State: RunBuilding}
		f(r)
		return Record{ID: id(), Verb: VerbOpened, Run: r}
	}
	for _, c := range []struct {
		name   string
		record Record
		field  string
	}{
		{"record id", change(func(r *Record) { r.ID = "1" }), "id"},
		{"no verb", change(func(r *Record) { r.Verb = "" }), "verb"},
		{"image id", change(func(r *Record) { r.ImageUUID = strings.ToUpper(id()) }), "image_uuid"},
		{"os_ver", change(func(r *Record) { r.Built.OSVer = "12.11-bookworm" }), "built.os_ver"},
		{"os_type", change(func(r *Record) { r.Built.OSType = strings.Repeat("é", 21) }), "built.os_type"},
		{"from_iso", change(func(r *Record) { r.Built.FromISO = strings.Repeat("a", 256) }), "built.from_iso"},
		{"contents", change(func(r *Record) { r.Built.UpdateContents = strings.Repeat("a", 65536) }), "built.update_contents"},
		{"name", change(func(r *Record) { r.Built.Name = strings.Repeat("a", 256) }), "built.image_name"},
		{"utf-8", change(func(r *Record) { r.Built.UpdateContents = "\xff" }), "built.update_contents"},
		{"sha256", change(func(r *Record) { r.Built.Artifact.SHA256 = "XYZ" }), "built.artifact.sha256"},
		{"time", change(func(r *Record) { r.Built.BuiltAt = time.Date(1066, 1, 1, 0, 0, 0, 0, time.UTC) }), "built.build_at"},
		{"two payloads", change(func(r *Record) { r.Published = &Published{} }), "record"},
		{"verdict", testedRecord(known, "great", day), "tested.verdict"},
		{"cluster", targetRecord(known, strings.Repeat("c", 61), TargetHidden, "", day), "released.openstack_cluster"},
		{"cluster state", targetRecord(known, "c", "fine", "", day), "released.state"},
		{"no image", testedRecord("", Passed, day), "image_uuid"},
		{"run name", run(func(r *Run) { r.Image = "../x" }), "run.image_name"},
		{"run without name", run(func(r *Run) { r.Image = "" }), "run.image_name"},
		{"run state", run(func(r *Run) { r.State = "fine" }), "run.state"},
		{"run ref", run(func(r *Run) { r.Ref = strings.Repeat("r", 256) }), "run.ref"},
	} {
		err := s.Record(t.Context(), c.record)
		var invalid *Invalid
		if !errors.As(err, &invalid) || invalid.Field != c.field {
			t.Errorf("%s: error = %v, want one of field %s", c.name, err, c.field)
		}
	}
	if err := s.Record(t.Context(), testedRecord(id(), Passed, day)); !errors.Is(err, ErrNotFound) {
		t.Errorf("test of an unknown image: %v, want ErrNotFound", err)
	}
	// What fits exactly is stored.
	record(t, s, change(func(r *Record) {
		r.Built.OSVer, r.Built.OSType, r.Built.FromISO = strings.Repeat("é", 10), strings.Repeat("é", 20), strings.Repeat("é", 255)
		r.Built.UpdateContents = strings.Repeat("a", 65535)
	}))
	if n := count(t, s, "event", "1 = 1"); n != 2 {
		t.Errorf("%d events, want 2: a refused record leaves nothing", n)
	}
}

// One transaction: a later record that is refused takes the earlier ones back.
func TestAllOrNothing(t *testing.T) {
	s := newStore(t)
	uuid := id()
	err := s.Record(t.Context(), builtRecord(uuid, "tiny", day), testedRecord(id(), Passed, day))
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("error = %v, want ErrNotFound", err)
	}
	for _, table := range []string{"image", "build_log", "image_artifact", "event"} {
		if n := count(t, s, table, "1 = 1"); n != 0 {
			t.Errorf("%s has %d rows, want 0", table, n)
		}
	}
}

func TestConflicts(t *testing.T) {
	s := newStore(t)
	first := builtRecord(id(), "tiny", day)
	record(t, s, first)
	other := testedRecord(first.ImageUUID, Passed, day)
	other.ID = first.ID
	bytes := builtRecord(first.ImageUUID, "tiny", day)
	bytes.Built.Artifact.SHA256 = strings.Repeat("ab", 32)
	for name, r := range map[string]Record{"record id used again": other, "other bytes under the uuid": bytes} {
		if err := s.Record(t.Context(), r); !is[*Conflict](err) {
			t.Errorf("%s: error = %v, want *Conflict", name, err)
		}
	}
	again := first
	again.ID = id()
	record(t, s, again)
	if n := count(t, s, "image", "1 = 1"); n != 1 {
		t.Errorf("%d images, want 1", n)
	}
}

func TestNamesBelongToProjects(t *testing.T) {
	s := newStore(t)
	build := func(project string) error {
		r := builtRecord(id(), "tiny", day)
		r.Built.Project = project
		return s.Record(t.Context(), r)
	}
	open := func(project, state string) error {
		return s.Record(t.Context(), Record{ID: id(), Verb: VerbOpened, Run: &Run{ID: id(), Image: "tiny", Project: project, State: state}})
	}
	if err := errors.Join(build(""), build("ops/images"), build("ops/images"), open("ops/images", RunBuilding)); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"build": build("other"), "build without project": build(""), "run": open("other", RunQueued)} {
		taken, ok := errors.AsType[*Taken](err)
		if !ok || taken.Owner != "ops/images" {
			t.Errorf("%s: error = %v, want *Taken by ops/images", what, err)
		}
	}
	if err := open("other", RunRejected); err != nil {
		t.Errorf("a rejected run is history: %v", err)
	}
	record(t, s, Record{ID: id(), Verb: VerbMovedTo, ImageUUID: resolve(t, s, "tiny").UUID, Marked: &Mark{Project: "other"}})
	if owner, err := s.Owner(t.Context(), "tiny"); err != nil || owner != "other" {
		t.Errorf("owner = %q, %v; want other", owner, err)
	}
	if err := errors.Join(build("other")); err != nil {
		t.Error(err)
	}
	if err := build("ops/images"); !is[*Taken](err) {
		t.Errorf("former owner: %v, want *Taken", err)
	}
}

func TestNumbersOfConcurrentWriters(t *testing.T) {
	s := newStore(t)
	const writers, each = 12, 4
	var wg sync.WaitGroup
	errs := make(chan error, writers*each)
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				uuid := id()
				name := []string{"hot", fmt.Sprintf("cold-%d", w)}[i%2]
				built, tested := builtRecord(uuid, name, day), testedRecord(uuid, Passed, day)
				run := Record{ID: id(), Verb: VerbOpened, Run: &Run{ID: uuid, Image: name, State: RunBuilding}}
				errs <- errors.Join(s.Record(t.Context(), run), s.Record(t.Context(), built, tested))
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	var numbers []int
	if err := collect(t.Context(), s.db, func(rows *sql.Rows) error {
		var n int
		err := rows.Scan(&n)
		numbers = append(numbers, n)
		return err
	}, "SELECT number FROM image WHERE name = 'hot' ORDER BY number"); err != nil {
		t.Fatal(err)
	}
	var want []int
	for i := range writers * each / 2 {
		want = append(want, i+1)
	}
	if diff := cmp.Diff(want, numbers); diff != "" {
		t.Errorf("numbers of hot (-want +got):\n%s", diff)
	}
	if n := count(t, s, "image", "state = 'passed' AND number <= 2"); n != 2+writers*2 {
		t.Errorf("%d images with low numbers, want %d", n, 2+writers*2)
	}
}

// Many deliver the same records at once: one story.
func TestConcurrentRedelivery(t *testing.T) {
	s := newStore(t)
	uuid := id()
	story := []Record{builtRecord(uuid, "tiny", day), testedRecord(uuid, Passed, day.Add(time.Minute)), publishedRecord(uuid, day.Add(2*time.Minute)),
		targetRecord(uuid, "alpha", TargetVisible, id(), day.Add(3*time.Minute))}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := s.Record(t.Context(), story...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for table, want := range map[string]int{"image": 1, "build_log": 1, "test_log": 1, "test_case": 2, "release_log": 1, "release_target": 1, "event": 4} {
		if n := count(t, s, table, "1 = 1"); n != want {
			t.Errorf("%s has %d rows, want %d", table, n, want)
		}
	}
}
