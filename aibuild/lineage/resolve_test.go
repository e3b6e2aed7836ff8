package lineage

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	s := newStore(t)
	a, b, c := "aaaa0000-0000-7000-8000-000000000001", "aaaa0000-0000-7000-8000-000000000002", "bbbb0000-0000-7000-8000-000000000003"
	late := "cccc0000-0000-7000-8000-000000000004"
	glance := "99999999-0000-4000-8000-000000000009"
	record(t, s, builtRecord(a, "tiny", day), builtRecord(b, "tiny", day.Add(2*time.Hour)), builtRecord(c, "bbbb", day),
		testedRecord(a, Passed, day), publishedRecord(a, day), targetRecord(a, "alpha", TargetVisible, glance, day))
	record(t, s, builtRecord(late, "tiny", day.Add(time.Hour))) // journalled, delivered last
	shaOf := func(uuid string) string { return strings.Repeat(strings.ReplaceAll(uuid, "-", ""), 2) }
	for ref, want := range map[string]string{
		"tiny": b, "tiny@1": a, "tiny@2": b, "tiny@3": late,
		a: a, strings.ToUpper(a): a, " " + a + "\n": a,
		"cccc": late, "aaaa0000-0000-7000-8000-000000000002": b,
		"bbbb":               c, // the name wins over the prefix
		"bbbb0000":           c,
		glance:               a,
		shaOf(b):             b,
		"sha256:" + shaOf(c): c,
		"https://web/images/build/tiny/" + a + "/tiny.qcow2":         a,
		"https://web/images/release/tiny/latest/tiny.qcow2":          a,
		"https://user@glance:9292/v2/images/" + glance + "/file?x=y": a,
	} {
		if got := resolve(t, s, ref); got.UUID != want {
			t.Errorf("resolve %q = %s, want %s", ref, got.UUID, want)
		}
	}
	for _, ref := range []string{"none", "tiny@4", "tiny@0", "dddd", "aaa", id(), strings.Repeat("0", 64), "https://web/images/", "%", "aaa%", "____"} {
		if _, err := s.Resolve(t.Context(), Query{Ref: ref}); !errors.Is(err, ErrNotFound) {
			t.Errorf("resolve %q: %v, want ErrNotFound", ref, err)
		}
	}
	_, err := s.Resolve(t.Context(), Query{Ref: "aaaa"})
	ambiguous, ok := errors.AsType[*Ambiguous](err)
	if !ok || len(ambiguous.Candidates) != 2 || !strings.Contains(err.Error(), b+" (tiny@2)") {
		t.Errorf("prefix of two: %v, want *Ambiguous with both", err)
	}
	for _, q := range []Query{{Ref: "tiny", Name: "tiny"}, {Name: "tiny", Limit: -1}} {
		if _, err := s.Resolve(t.Context(), q); !is[*Invalid](err) {
			t.Errorf("%+v: %v, want *Invalid", q, err)
		}
	}
}

func TestSelect(t *testing.T) {
	s := newStore(t)
	var uuids []string
	for i := range 4 {
		uuids = append(uuids, id())
		record(t, s, builtRecord(uuids[i], "base", day.Add(time.Duration(i)*time.Hour)))
	}
	child := builtRecord(id(), "app", day.Add(time.Minute))
	child.Built.Artifact.ParentUUID = uuids[0]
	glance := id()
	record(t, s, child,
		testedRecord(uuids[0], Passed, day), testedRecord(uuids[1], Passed, day), testedRecord(uuids[2], Passed, day), testedRecord(uuids[3], FailedTest, day),
		Record{ID: id(), At: day, Verb: VerbRevoked, ImageUUID: uuids[2], Marked: &Mark{Revoked: new(true)}},
		targetRecord(uuids[0], "alpha", TargetHidden, glance, day), targetRecord(uuids[1], "alpha", TargetVisible, id(), day),
		targetRecord(uuids[1], "beta", TargetVisible, id(), day), targetRecord(uuids[2], "alpha", TargetRevoked, id(), day), targetRecord(child.ImageUUID, "alpha", TargetVisible, id(), day))
	for _, c := range []struct {
		name  string
		query Query
		want  []string
	}{
		{"newest good", Query{Name: "base", Good: true}, []string{uuids[1]}},
		{"two newest good", Query{Name: "base", Good: true, Limit: 2}, []string{uuids[1], uuids[0]}},
		{"all of a name", Query{Name: "base"}, []string{uuids[3], uuids[2], uuids[1], uuids[0]}},
		{"of a name in a cluster", Query{Name: "base", Cluster: "alpha"}, []string{uuids[1], uuids[0]}},
		{"in a cluster", Query{Cluster: "beta"}, []string{uuids[1]}},
		{"children", Query{Parent: uuids[0]}, []string{child.ImageUUID}},
		{"in any cluster", Query{}, []string{uuids[2], uuids[1], child.ImageUUID, uuids[0]}},
		{"no children", Query{Parent: uuids[1]}, nil},
		{"good ref", Query{Ref: "base@1", Good: true}, []string{uuids[0]}},
	} {
		images, err := s.Resolve(t.Context(), c.query)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		var got []string
		for _, i := range images {
			got = append(got, i.UUID)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
	for _, q := range []Query{{Name: "none", Good: true}, {Name: "app", Good: true}, {Ref: "base@3", Good: true}} {
		images, err := s.Resolve(t.Context(), q)
		if q.Name == "app" && err == nil { // released without a test: good by its release
			continue
		}
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%+v: %v, %v; want ErrNotFound", q, images, err)
		}
	}
}

// The fields that `image history -o json` promises.
func TestHistory(t *testing.T) {
	s := newStore(t)
	uuid, failed := id(), id()
	record(t, s, opened(Run{ID: uuid, Image: "tiny", State: RunBuilding}, day), builtRecord(uuid, "tiny", day), testedRecord(uuid, Passed, day), publishedRecord(uuid, day),
		targetRecord(uuid, "alpha", TargetVisible, "11111111-2222-4333-8444-555555555555", day),
		opened(Run{ID: failed, Image: "tiny", State: RunFailure, Reason: "provisioner failed"}, day.Add(time.Hour)))
	query(t, "INSERT INTO "+s.cfg.DBName+".build_log VALUES ('by-hand', 'tiny', 'rocky', '9', '2026-11-22 07:00:00', 'x.iso', NULL)")
	query(t, "INSERT INTO "+s.cfg.DBName+".test_log VALUES ('by-hand', 'smoke', 'passed', '2026-11-22 07:01:00')")
	query(t, "INSERT INTO "+s.cfg.DBName+".release_log VALUES ('by-hand', 'gamma', 'gid', '2026-11-22 07:02:00')")

	entries, err := s.History(t.Context(), "tiny", 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(entries)
	if err != nil {
		t.Fatal(err)
	}
	var got []map[string]any
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 {
		t.Fatalf("%d entries, want run, image, row of others: %s", len(got), b)
	}
	if v, ok := got[0]["image_uuid"]; !ok || v != nil || got[0]["run_id"] != failed || got[0]["state"] != RunFailure || got[0]["reason"] != "provisioner failed" {
		t.Errorf("run without image = %v", got[0])
	}
	for _, field := range []string{"image_uuid", "image_name", "number", "os_type", "os_ver", "build_at", "from_iso", "update_contents", "state", "commit", "sha256"} {
		if v, ok := got[1][field]; !ok || v == "" {
			t.Errorf("field %s is missing or empty: %v", field, got[1][field])
		}
	}
	test := got[1]["tests"].([]any)[0].(map[string]any)
	for _, field := range []string{"case", "cell", "result", "at"} {
		if _, ok := test[field]; !ok {
			t.Errorf("tests[].%s is missing", field)
		}
	}
	release := got[1]["releases"].([]any)[0].(map[string]any)
	if diff := cmp.Diff(map[string]any{"openstack_cluster": "alpha", "glance_id": "11111111-2222-4333-8444-555555555555", "state": "visible", "release_at": "2026-11-22T08:00:00.123456Z"}, release); diff != "" {
		t.Errorf("release (-want +got):\n%s", diff)
	}
	if got[2]["image_uuid"] != "by-hand" || got[2]["state"] != StateReleased || got[2]["os_type"] != "rocky" || got[2]["foreign"] != true {
		t.Errorf("row of others = %v", got[2])
	}

	var back []Entry
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(entries, back); diff != "" {
		t.Errorf("entries do not survive JSON (-want +got):\n%s", diff)
	}
	for ref, want := range map[string]int{uuid: 1, failed: 1, "tiny@1": 1} {
		if e, err := s.History(t.Context(), ref, 0); err != nil || len(e) != want {
			t.Errorf("history of %s: %d entries, %v; want %d", ref, len(e), err, want)
		}
	}
	if e, err := s.History(t.Context(), "tiny", 2); err != nil || len(e) != 2 {
		t.Errorf("limit: %d entries, %v; want 2", len(e), err)
	}
	if _, err := s.History(t.Context(), "none", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("history of nothing: %v, want ErrNotFound", err)
	}
}

// Each image tells the cases of its own latest test, however often the others of
// its page were tested.
func TestHistoryOfImagesTestedAgain(t *testing.T) {
	s := newStore(t)
	once, twice, never := id(), id(), id()
	record(t, s, builtRecord(once, "tiny", day), testedRecord(once, Passed, day.Add(time.Minute)),
		builtRecord(twice, "tiny", day.Add(time.Hour)), testedRecord(twice, FailedTest, day.Add(2*time.Hour)), testedRecord(twice, Passed, day.Add(3*time.Hour)),
		builtRecord(never, "tiny", day.Add(4*time.Hour)))
	entries, err := s.History(t.Context(), "tiny", 0)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%+v, %v", entries, err)
	}
	for i, want := range []int{0, 2, 2} {
		image := entries[i].Image
		if len(image.Tests) != want || image.Artifact == nil {
			t.Errorf("%s: %+v; want %d cases and the artifact", image.Ref(), image, want)
		}
		for _, c := range image.Tests {
			if c.Result != Passed {
				t.Errorf("%s: %+v, want the latest test's", image.Ref(), c)
			}
		}
	}
}

func TestAdoptForeign(t *testing.T) {
	s := newStore(t)
	ours := id()
	built := builtRecord(ours, "tiny", day)
	built.Built.Project = "ops/images"
	record(t, s, built)
	db := s.cfg.DBName
	foreign := "0f000000-0000-4000-8000-00000000000f"
	query(t, "INSERT INTO "+db+".build_log VALUES (?, 'tiny', 'rocky', '9', '2026-11-22 07:00:00', 'x.iso', NULL), ('nameless', NULL, NULL, NULL, NULL, NULL, NULL)", foreign)
	query(t, "INSERT INTO "+db+".release_log VALUES (?, 'gamma', '77777777-0000-4000-8000-000000000007', '2026-11-22 07:02:00')", foreign)
	if got := resolve(t, s, foreign); got.OSType != "rocky" || got.Number != 0 || got.State != StateReleased {
		t.Errorf("before adoption: %+v", got)
	}
	if got := resolve(t, s, "77777777-0000-4000-8000-000000000007"); got.UUID != foreign {
		t.Errorf("glance id of a row of others = %s", got.UUID)
	}
	for i, want := range []int{2, 0} {
		if n, err := s.AdoptForeign(t.Context()); err != nil || n != want {
			t.Errorf("adoption %d: %d, %v; want %d", i, n, err, want)
		}
	}
	got := resolve(t, s, "tiny@2")
	if got.UUID != foreign || !got.Foreign || got.Project != "ops/images" || got.Targets[0].Cluster != "gamma" {
		t.Errorf("adopted = %+v", got)
	}
	if present, err := s.Resolve(t.Context(), Query{Cluster: "gamma", Name: "tiny"}); err != nil || len(present) != 1 {
		t.Errorf("in gamma: %v, %v", present, err)
	}
	if n := count(t, s, "event", "verb = 'adopted'"); n != 2 {
		t.Errorf("%d adoptions in the audit, want 2", n)
	}

	// Others say something about an image that is known.
	query(t, "INSERT INTO "+db+".test_log VALUES (?, 'smoke', 'FAIL', '2026-11-22 09:00:00')", ours)
	if got := resolve(t, s, ours); got.State != StateTestFailed || got.Tests[0].Case != "smoke" {
		t.Errorf("verdict of others is not seen live: %+v", got)
	}
	if _, err := s.AdoptForeign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, s, "image", "uuid = ? AND state = 'test_failed' AND good = 0", ours); n != 1 {
		t.Error("verdict of others did not reach the image")
	}
	// An adopted image whose build is delivered later is ours.
	late := builtRecord(foreign, "tiny", day)
	late.Built.Project = "ops/images"
	record(t, s, late)
	if got := resolve(t, s, foreign); got.Foreign || got.Artifact == nil || got.Number != 2 {
		t.Errorf("after the build record: %+v", got)
	}
}
