package lineage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// deb are packages of dpkg: NAME:ARCH=VERSION.
func deb(words ...string) []Package {
	list := []Package{}
	for _, w := range words {
		name, version, _ := strings.Cut(w, "=")
		name, arch, _ := strings.Cut(name, ":")
		list = append(list, Package{ManagerDpkg, name, arch, version})
	}
	return list
}

func listedRecord(image string, at time.Time, list ...Package) Record {
	return Record{ID: id(), At: at, Actor: "ann", Channel: "cli", ImageUUID: image, Verb: VerbListed, Inventory: &Inventory{Packages: list, Complete: true}}
}

func packagesOf(t *testing.T, s *Store, uuid string) string {
	t.Helper()
	list, err := s.Packages(t.Context(), uuid)
	if err != nil {
		t.Fatal(err)
	}
	var words []string
	for _, p := range list {
		words = append(words, p.title()+"="+p.Version)
	}
	return strings.Join(words, " ")
}

// A list is kept, replaced by a later one, and by no earlier or lesser one.
func TestInventoryIsReplaced(t *testing.T) {
	s := newStore(t)
	uuid := id()
	record(t, s, builtRecord(uuid, "tiny", day))
	first := journalled(t, listedRecord(uuid, day.Add(time.Hour), deb("b:amd64=1", "a:all=2")...))
	partial := listedRecord(uuid, day.Add(3*time.Hour), deb("x:all=1")...)
	partial.Inventory.Complete = false
	for _, step := range []struct {
		record Record
		want   string
	}{
		{first, "a:all=2 b:amd64=1"},
		{first, "a:all=2 b:amd64=1"}, // delivered twice
		{listedRecord(uuid, day.Add(2*time.Hour), deb("a:all=3")...), "a:all=3"},
		{listedRecord(uuid, day.Add(30*time.Minute), deb("old:all=1")...), "a:all=3"}, // delivered late
		{partial, "a:all=3"},
		{listedRecord(uuid, day.Add(4*time.Hour)), ""},
		{partial, ""},
	} {
		record(t, s, step.record)
		if got := packagesOf(t, s, uuid); got != step.want {
			t.Errorf("packages %q, want %q", got, step.want)
		}
	}
	if got := resolve(t, s, uuid); got.UpdateContents != "first" || got.State != StateBuilt {
		t.Errorf("a list without one before changes the image: %+v", got)
	}
}

func TestInventoryIsRefused(t *testing.T) {
	s := newStore(t)
	uuid := id()
	record(t, s, builtRecord(uuid, "tiny", day))
	many := make([]Package, MaxPackages+1)
	for i := range many {
		many[i] = Package{ManagerDpkg, fmt.Sprintf("p%d", i), "all", "1"}
	}
	for field, list := range map[string][]Package{
		"inventory.packages":            many,
		"inventory.packages[0].name":    {{ManagerDpkg, strings.Repeat("n", 191), "all", "1"}},
		"inventory.packages[0].version": {{ManagerDpkg, "n", "all", strings.Repeat("é", 129)}},
		"inventory.packages[0].arch":    {{ManagerDpkg, "n", "all ", "1"}},
		"inventory.packages[1].manager": {{ManagerDpkg, "n", "all", "1"}, {"pacman", "n", "all", "1"}},
	} {
		err := s.Record(t.Context(), listedRecord(uuid, day, list...))
		if bad, ok := errors.AsType[*Invalid](err); !ok || bad.Field != field {
			t.Errorf("%v, want one about %s", err, field)
		}
	}
	err := s.Record(t.Context(), listedRecord(uuid, day, deb("a:all=1", "b:all=1", "a:all=1")...))
	if bad, ok := errors.AsType[*Invalid](err); !ok || !strings.Contains(bad.Problem, "twice") {
		t.Errorf("the same package twice: %v", err)
	}
	if err := s.Record(t.Context(), listedRecord(id(), day)); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
	// As many as are allowed, with the longest fields, are taken at once.
	for i := range many {
		many[i] = Package{ManagerRPM, fmt.Sprintf("%0190d", i), strings.Repeat("é", 32), strings.Repeat("é", 128)}
	}
	record(t, s, listedRecord(uuid, day, many[:MaxPackages]...))
	if n := count(t, s, "image_package", "image_uuid = ?", uuid); n != MaxPackages {
		t.Errorf("%d packages are kept", n)
	}
}

// update_contents tells what changed since the image before, once, within its
// column, and leaves alone what others have written there.
func TestUpdateContentsTellsOfPackages(t *testing.T) {
	s := newStore(t)
	one, two, three := id(), id(), id()
	record(t, s, builtRecord(one, "tiny", day), builtRecord(two, "tiny", day.Add(time.Hour)), builtRecord(three, "tiny", day.Add(2*time.Hour)))
	contents := func(uuid string) string { return resolve(t, s, uuid).UpdateContents }
	record(t, s, listedRecord(one, day, deb("gone:all=1", "libc6:amd64=2.36-9+deb12u9", "kept:all=1", "back:all=2")...))
	// The second has no list: the third is compared with the first.
	list := deb("new:all=1", "libc6:amd64=2.36-9+deb12u10", "kept:all=1", "back:all=1~rc1")
	want := "first\npackages since tiny@1: 1 added, 1 removed, 1 upgraded, 1 downgraded\n  back:all 2 -> 1~rc1\n  libc6:amd64 2.36-9+deb12u9 -> 2.36-9+deb12u10\n  + new:all 1\n  - gone:all 1"
	for i := range 2 { // a test again
		record(t, s, listedRecord(three, day.Add(time.Duration(3+i)*time.Hour), list...))
		if got := contents(three); got != want {
			t.Errorf("contents:\n%s\nwant:\n%s", got, want)
		}
	}
	query(t, "UPDATE "+s.cfg.DBName+".build_log SET update_contents = CONCAT(update_contents, '\\nby hand: packages since then: 3 added') WHERE image_uuid = ?", three)
	record(t, s, listedRecord(three, day.Add(6*time.Hour), deb("gone:all=1", "libc6:amd64=2.36-9+deb12u9", "kept:all=1", "back:all=2")...))
	if got, want := contents(three), "first\nby hand: packages since then: 3 added\npackages since tiny@1: none changed"; got != want {
		t.Errorf("contents %q, want %q", got, want)
	}
	var many []Package
	for i := range 300 {
		many = append(many, deb(fmt.Sprintf("p%03d:all=1", i))...)
	}
	record(t, s, listedRecord(two, day.Add(time.Hour), many...))
	got := strings.Split(contents(two), "\n")
	if len(got) != 2+maxChanges+1 || got[1] != "packages since tiny@1: 300 added, 4 removed" || got[len(got)-1] != "  and 204 more: aibuild image diff tiny@1 tiny@2" {
		t.Errorf("many changes: %d lines, %q … %q", len(got), got[1], got[len(got)-1])
	}
}

func TestPackagesFitIntoTheColumn(t *testing.T) {
	lines := []string{"packages since a@1: 2 added", "  + " + strings.Repeat("x", 100), "  + " + strings.Repeat("y", 100)}
	for _, room := range []int{0, 10, 30, 100, 130, 190, 240, 300} {
		text := strings.Repeat("t", textMax-room)
		got := withPackages(text, lines)
		if len(got) > textMax || !strings.HasPrefix(got, text) {
			t.Errorf("room %d: %d bytes", room, len(got))
		}
		if told := got[len(text):]; told != "" && !strings.Contains(told, lines[2]) && !strings.HasSuffix(told, "  and more than fits here: aibuild image diff") {
			t.Errorf("room %d: what is left out is not said: %q", room, told)
		}
		if again := withPackages(got, lines); again != got {
			t.Errorf("room %d: a second time it is another text", room)
		}
	}
	if got := withPackages("", lines[:1]); got != lines[0] {
		t.Errorf("no text before: %q", got)
	}
	own := "packages since last week: all new\n  + openssl"
	if withoutPackages(own) != own {
		t.Error("what the definition says is taken for ours")
	}
}

func TestDiffPackages(t *testing.T) {
	k := func(v string) Package { return Package{ManagerRPM, "kernel-core", "x86_64", v} }
	from := append(deb("same:all=1", "libc6:amd64=1", "libc6:i386=1", "arch:all=1"), k("5-1"), k("5-2"))
	to := append(deb("arch:amd64=1", "libc6:i386=0.9", "libc6:amd64=1.1", "same:all=1"), k("5-2"), k("5-10"))
	want := PackageDiff{
		Added: deb("arch:amd64=1"), Removed: deb("arch:all=1"),
		Changed: []PackageChange{
			{ManagerDpkg, "libc6", "amd64", "1", "1.1", Upgraded}, {ManagerDpkg, "libc6", "i386", "1", "0.9", Downgraded}, {ManagerRPM, "kernel-core", "x86_64", "5-1", "5-10", Upgraded},
		},
	}
	got := DiffPackages(from, to)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got.Counts() != "1 added, 1 removed, 2 upgraded, 1 downgraded" || DiffPackages(from, from).Counts() != "none changed" {
		t.Errorf("counts: %s", got.Counts())
	}
}

func TestDiff(t *testing.T) {
	s := newStore(t)
	one, two := id(), id()
	second := builtRecord(two, "tiny", day.Add(time.Hour))
	second.Built.Artifact.Size, second.Built.Artifact.Commit, second.Built.Artifact.Tools = 2<<20, "beef", map[string]string{"packer": "1.9"}
	failing := testedRecord(two, Passed, day.Add(2*time.Hour))
	failing.Tested.Cases = []TestCase{{Case: "boots", Cell: "bios-virtio-nocloud", Result: FlakyTest}, {Case: "more", Cell: "bios-virtio-nocloud", Result: Passed}}
	record(t, s, builtRecord(one, "tiny", day), testedRecord(one, Passed, day), second, failing)
	d, err := s.Diff(t.Context(), "tiny@1", two)
	if err != nil {
		t.Fatal(err)
	}
	has := slices.Contains[[]Change]
	if !has(d.Facts, Change{"size", "1048576 bytes", "2097152 bytes"}) || !has(d.Facts, Change{"commit", "c0ffee", "beef"}) || !has(d.Facts, Change{"tool packer", "1.6.6", "1.9"}) || len(d.Facts) != 3 {
		t.Errorf("facts: %+v", d.Facts)
	}
	if len(d.Tests) != 3 || !has(d.Tests, Change{"bios-virtio-nocloud/boots", Passed, FlakyTest}) || !has(d.Tests, Change{"uefi-scsi-configdrive/boots", Passed, ""}) || !has(d.Tests, Change{"bios-virtio-nocloud/more", "", Passed}) {
		t.Errorf("tests: %+v", d.Tests)
	}
	if d.Packages != nil {
		t.Error("packages that nobody recorded are compared")
	}
	record(t, s, listedRecord(one, day, deb("a:all=1")...), listedRecord(two, day, deb("a:all=2")...))
	if d, err = s.Diff(t.Context(), "tiny@1", "tiny"); err != nil || d.Packages == nil || d.Packages.Counts() != "1 upgraded" || d.FromCount != 1 || d.ToCount != 1 {
		t.Errorf("%+v %v", d, err)
	}
	if _, err := s.Diff(t.Context(), "tiny@1", "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("an image that is not there: %v", err)
	}
}

// allWith follows the cursors to the end.
func allWith(t *testing.T, s *Store, q PackageQuery) (all []string) {
	t.Helper()
	for page := 0; page < 100; page++ {
		list, next, err := s.WithPackage(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range list {
			all = append(all, i.Ref()+" "+i.title()+"="+i.Version)
		}
		if next == "" {
			return all
		}
		q.Cursor = next
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestWithPackage(t *testing.T) {
	s := newStore(t)
	var ids []string
	for i := range 5 {
		uuid := id()
		ids = append(ids, uuid)
		version := []string{"1", "2", "2", "2", "3"}[i]
		record(t, s, builtRecord(uuid, "tiny", day.Add(time.Duration(i)*time.Hour)),
			listedRecord(uuid, day, deb("openssl:amd64="+version, "openssl:i386="+version, "openssl-dev:all=9")...))
	}
	glance := id()
	record(t, s, targetRecord(ids[1], "alpha", TargetVisible, glance, day), targetRecord(ids[3], "alpha", TargetHidden, id(), day), targetRecord(ids[4], "beta", TargetVisible, id(), day))
	want := []string{
		"tiny@5 openssl:i386=3", "tiny@5 openssl:amd64=3", "tiny@4 openssl:i386=2", "tiny@4 openssl:amd64=2", "tiny@3 openssl:i386=2",
		"tiny@3 openssl:amd64=2", "tiny@2 openssl:i386=2", "tiny@2 openssl:amd64=2", "tiny@1 openssl:i386=1", "tiny@1 openssl:amd64=1",
	}
	shown := slices.Concat(want[:2], want[6:8])
	for _, limit := range []int{1, 2, 3, 7, 50} {
		for _, c := range []struct {
			query PackageQuery
			want  []string
		}{
			{PackageQuery{Name: "openssl"}, want}, {PackageQuery{Name: "openssl", Version: "2"}, want[2:8]},
			{PackageQuery{Name: "openssl", Released: true}, shown}, {PackageQuery{Name: "openssl", Version: "2", Released: true}, shown[2:]},
			{PackageQuery{Name: "none"}, nil}, {PackageQuery{Name: "OPENSSL"}, nil},
		} {
			c.query.Limit = limit
			if got := allWith(t, s, c.query); !slices.Equal(got, c.want) {
				t.Errorf("%+v: %v, want %v", c.query, got, c.want)
			}
		}
	}
	list, _, err := s.WithPackage(t.Context(), PackageQuery{Name: "openssl", Version: "2", Released: true})
	if err != nil || len(list) != 2 || list[0].ImageUUID != ids[1] || len(list[0].Targets) != 1 || list[0].Targets[0].GlanceID != glance {
		t.Errorf("%+v, %v", list, err)
	}
	for field, q := range map[string]PackageQuery{"name": {}, "cursor": {Name: "x", Cursor: "?"}, "limit": {Name: "x", Limit: 1001}} {
		_, _, err := s.WithPackage(t.Context(), q)
		if bad, ok := errors.AsType[*Invalid](err); !ok || bad.Field != field {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Every statement about packages reads one index in its order, and few more rows
// than it gives, from any page.
func TestPackagesReadAnIndex(t *testing.T) {
	s := newStore(t)
	fill(t, s, 20_000, 1, 1)
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.image_package SELECT i.uuid, 'dpkg', CONCAT('p', n.seq), 'amd64', IF(i.number %% 100 = 0, '2', '1') FROM %s.image i JOIN seq_1_to_5 n`, db, db))
	query(t, fmt.Sprintf(`INSERT INTO %s.release_target (image_uuid, cluster, image_name, state, hash, error, changed_at)
		SELECT uuid, 'alpha', name, IF(number > 19990, 'visible', 'hidden'), '', '', NOW(6) FROM %s.image`, db, db))
	query(t, "ANALYZE TABLE "+db+".image_package, "+db+".release_target")
	middle := fmt.Sprintf("%08X-0000-7000-8000-000000000000", 9_001)
	in := []any{middle, fmt.Sprintf("%08X-0000-7000-8000-000000000000", 19_999), ManagerAPK, ManagerDpkg, ManagerRPM, "p3"}
	for _, st := range []struct {
		key, query string
		args       []any
	}{
		{"name_version", holdersSQL + holdersOrder, []any{"p3", 50}},
		{"name_version", holdersSQL + sameVersion + holdersOrder, []any{"p3", "2", 50}},
		{"name_version", holdersSQL + sameVersion + restOfVersion + holdersOrder, []any{"p3", "1", middle, middle, "dpkg", "dpkg", "amd64", 50}},
		{"name_version", holdersSQL + olderVersions + holdersOrder, []any{"p3", "2", 50}},
		{"PRIMARY", packagesSQL, []any{middle}},
		{"PRIMARY", shownHoldersSQL(2, ""), in},
		{"PRIMARY", shownHoldersSQL(2, "1"), append(slices.Clone(in), "1")},
		{"cluster_state", shownSQL, []any{"alpha", 1000}},
		{"image_id", laterListSQL, []any{middle, VerbListed, day}},
	} {
		explain(t, s, st.key, st.query, st.args)
		readsFew(t, s, st.query, st.args)
	}
	readsFew(t, s, previousListSQL, []any{"hot", 20_000, 20_000 - lookBack})
	if all := allWith(t, s, PackageQuery{Name: "p3", Released: true}); len(all) != 10 {
		t.Errorf("%d images that are shown have p3, want 10", len(all))
	}
}
