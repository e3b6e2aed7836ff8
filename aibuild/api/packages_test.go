package api

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// listedRecord is what is installed in an image: openssl of a version.
func listedRecord(image, version string) lineage.Record {
	return lineage.Record{ID: newID(), At: day.Add(90 * time.Second), Actor: "jenkins", Channel: "jenkins", ImageUUID: image, Verb: lineage.VerbListed, Inventory: &lineage.Inventory{
		Complete: true, Packages: []lineage.Package{{Manager: lineage.ManagerDpkg, Name: "openssl", Arch: "amd64", Version: version}, {Manager: lineage.ManagerDpkg, Name: "libstdc++6", Arch: "amd64", Version: "12.2.0-14"}},
	}}
}

// What the client gives of packages is what the store gives.
func TestClientReadsPackages(t *testing.T) {
	s := newTold(t)
	c := s.client(s.token(RoleViewer))
	newest, _, err := s.store.Images(t.Context(), lineage.Filter{Name: "tiny", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	second := newest[0].UUID
	s.stored(listedRecord(s.image, "1:3.0.15-1~deb12u1"), listedRecord(second, "1:3.0.17-1~deb12u2"), listedRecord(s.theirs, "1:3.0.17-1~deb12u2"), releasedRecord(second, "alpha", lineage.TargetVisible, newID()))
	for _, q := range []lineage.PackageQuery{
		{Name: "openssl"}, {Name: "openssl", Limit: 1}, {Name: "openssl", Version: "1:3.0.17-1~deb12u2"}, {Name: "openssl", Released: true}, {Name: "libstdc++6"}, {Name: "a b/c?d"}, {Name: "none"}, {},
		{Name: "openssl", Cursor: "x"}, {Name: "openssl", Limit: -1},
	} {
		list, next, err := s.store.WithPackage(t.Context(), q)
		got, gotNext, gotErr := c.WithPackage(t.Context(), q)
		same(t, q, page[lineage.Installed]{list, next}, page[lineage.Installed]{got, gotNext}, err, gotErr)
	}
	for _, pair := range [][2]string{{"tiny@1", "tiny"}, {s.image, second}, {"tiny", "none"}} {
		want, err := s.store.Diff(t.Context(), pair[0], pair[1])
		got, gotErr := c.Diff(t.Context(), pair[0], pair[1])
		if a, b := hear("", nil, err), hear("", nil, gotErr); a.Kind != b.Kind || a.Error != b.Error {
			t.Errorf("%v: the client gives %v, the store %v", pair, gotErr, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: -store +client\n%s", pair, diff)
		}
		if err == nil && (got.Packages == nil || got.Packages.Counts() != "1 upgraded") {
			t.Errorf("%v: %+v", pair, got.Packages)
		}
	}
	want, err := s.store.Packages(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Packages(t.Context(), "tiny"); err != nil || len(got) != 2 || cmp.Diff(want, got) != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// A token of one project sees the packages of its images only.
func TestPackagesOfAProject(t *testing.T) {
	s := newTold(t)
	s.stored(listedRecord(s.image, "1"), listedRecord(s.theirs, "1"))
	for _, c := range []struct {
		role string
		want string
	}{{RoleViewer, "[tiny@1]"}, {RoleRecorder, "[elsewhere@1 tiny@1]"}} {
		token := s.token(c.role, project)
		var names []string
		for _, i := range into[installedPage](t, s.send("GET", "/api/v1/packages/openssl", token, nil)).Images {
			names = append(names, i.Ref())
		}
		slices.Sort(names)
		if got := fmt.Sprint(names); got != c.want {
			t.Errorf("%s sees %s, want %s", c.role, got, c.want)
		}
	}
	viewer := s.token(RoleViewer, project)
	for _, path := range []string{"/api/v1/images/elsewhere/packages", "/api/v1/diff?from=tiny&to=elsewhere", "/api/v1/diff?from=" + url.QueryEscape(s.theirs) + "&to=tiny"} {
		if got := s.send("GET", path, viewer, nil); got.code(t) != CodeNotFound {
			t.Errorf("%s: HTTP %d %s", path, got.status, got.body)
		}
	}
	for _, path := range []string{"/api/v1/diff?from=tiny", "/api/v1/diff?from=tiny&to=", "/api/v1/packages/openssl?released=perhaps", "/api/v1/packages/openssl?limit=1001", "/api/v1/packages/openssl?cursor=WyJ4Il0"} {
		if got := s.send("GET", path, viewer, nil); got.code(t) != CodeInvalid {
			t.Errorf("%s: HTTP %d %s", path, got.status, got.body)
		}
	}
}
