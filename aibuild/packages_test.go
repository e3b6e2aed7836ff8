package aibuild

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// taker keeps what is recorded, or refuses it.
type taker struct {
	away
	records []lineage.Record
	refuses bool
}

func (k *taker) Record(_ context.Context, records ...lineage.Record) error {
	if k.refuses {
		return &lineage.Invalid{Field: "body.records[0].inventory", Problem: "unexpected property"}
	}
	k.records = append(k.records, records...)
	return nil
}

// onSite is a web root with the folder of one image.
func onSite(t *testing.T) (*publish.Site, *Image) {
	t.Helper()
	root := t.TempDir()
	img := &Image{Name: "web", UUID: "0190aaaa-0000-7000-8000-00000000000a", File: "web.qcow2"}
	if err := os.MkdirAll(filepath.Join(root, "images", publish.Build, img.Name, img.UUID), 0o755); err != nil {
		t.Fatal(err)
	}
	site, err := publish.Open(t.Context(), publish.Config{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site, img
}

// What a test has found installed is recorded where it can be; what cannot be is
// told, and none of it is a failure.
func TestPackagesAreRecorded(t *testing.T) {
	site, img := onSite(t)
	many := make([]harness.Package, lineage.MaxPackages+2)
	for i := range many {
		many[i] = harness.Package{Manager: "rpm", Name: fmt.Sprintf("p%05d", i), Arch: "noarch", Version: "1-1"}
	}
	good := []harness.Package{{Manager: "dpkg", Name: "a", Arch: "all", Version: "1:2-3"}}
	odd := append([]harness.Package{{Manager: "dpkg", Name: strings.Repeat("n", 191), Arch: "all", Version: "1"}, {Manager: "dpkg", Name: "v", Version: strings.Repeat("v", 129)}}, good...)
	for name, c := range map[string]struct {
		list     *harness.Inventory
		verb     string // empty: nothing is recorded
		packages int
		complete bool
		reason   string
	}{
		"no guest came so far": {nil, "", 0, false, ""},
		"no package manager":   {&harness.Inventory{Complete: true, Notes: []string{"the guest has no database"}}, "", 0, false, ""},
		"packages":             {&harness.Inventory{Complete: true, Packages: good}, lineage.VerbListed, 1, true, ""},
		"broken database":      {&harness.Inventory{Notes: []string{"the database of rpm cannot be read: x"}}, "noted", 0, false, "packages: the database of rpm cannot be read: x"},
		"one of two broken":    {&harness.Inventory{Packages: good, Notes: []string{"the database of rpm cannot be read"}}, lineage.VerbListed, 1, false, "the database of rpm"},
		"too long for the columns": {&harness.Inventory{Complete: true, Packages: odd, Evidence: "packages.txt"}, lineage.VerbListed, 1, false,
			"2 packages cannot be recorded, such as " + strings.Repeat("n", 60) + ": package.name: has 191 characters, the column holds 190; packages.txt in the evidence has them"},
		"too many": {&harness.Inventory{Complete: true, Packages: many, Evidence: "packages.txt"}, lineage.VerbListed, lineage.MaxPackages, false, "20002 packages are more than can be recorded (20000)"},
	} {
		kept := &taker{}
		p := &Pipeline{Site: site, DataDir: t.TempDir(), Recorder: kept}
		img.Records, img.Pending = nil, nil
		if err := p.recordPackages(t.Context(), img, c.list); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if c.verb == "" {
			if len(kept.records) != 0 {
				t.Errorf("%s: %+v is recorded", name, kept.records)
			}
			continue
		}
		if len(kept.records) != 1 || len(img.Records) != 1 {
			t.Errorf("%s: %d records, %d in the manifest", name, len(kept.records), len(img.Records))
			continue
		}
		r := kept.records[0]
		if r.Verb != c.verb || !strings.Contains(r.Reason, c.reason) {
			t.Errorf("%s: %s, %q", name, r.Verb, r.Reason)
		}
		if i := r.Inventory; (i == nil) != (c.verb == "noted") || i != nil && (len(i.Packages) != c.packages || i.Complete != c.complete) {
			t.Errorf("%s: inventory %+v", name, i)
		}
	}
}

// A daemon that does not know of packages yet costs nobody a test.
func TestPackagesThatAreRefused(t *testing.T) {
	site, img := onSite(t)
	p := &Pipeline{Site: site, DataDir: t.TempDir(), Recorder: &taker{refuses: true}}
	list := &harness.Inventory{Complete: true, Packages: []harness.Package{{Manager: "dpkg", Name: "a", Arch: "all", Version: "1"}}}
	if err := p.recordPackages(t.Context(), img, list); err != nil || len(img.Records) != 0 || len(img.Pending) != 0 {
		t.Errorf("%v, %+v", err, img.Records)
	}
}
