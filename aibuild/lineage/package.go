package lineage

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Package managers.
const (
	ManagerDpkg = "dpkg"
	ManagerRPM  = "rpm"
	ManagerAPK  = "apk"
)

// managers in the order in which packages are listed.
var managers = []string{ManagerAPK, ManagerDpkg, ManagerRPM}

// Package is one package that is installed in an image.
type Package struct {
	Manager string `json:"manager"` // dpkg, rpm or apk
	Name    string `json:"name"`    // at most 190 characters
	Arch    string `json:"arch"`    // at most 32 characters; may be empty
	Version string `json:"version"` // at most 128 characters, as its manager writes it: with epoch and release
}

// MaxPackages is how many packages one image may have.
const MaxPackages = 20_000

// Inventory is the payload of what a test found installed. A later one replaces
// it, unless the later one is not complete.
type Inventory struct {
	Packages []Package `json:"packages"`
	// Complete says that nothing is known to be missing. What is, the record's
	// reason tells.
	Complete bool `json:"complete"`
}

// comparePackages orders packages as they are listed.
func comparePackages(a, b Package) int {
	return cmp.Or(strings.Compare(a.Manager, b.Manager), strings.Compare(a.Name, b.Name), strings.Compare(a.Arch, b.Arch), strings.Compare(a.Version, b.Version))
}

// Fits says what keeps a package from being recorded; nil when nothing does.
func (p Package) Fits() error {
	var c checker
	p.check(&c, "package.")
	return c.err
}

func (p Package) check(c *checker, at string) {
	c.oneOf(at+"manager", p.Manager, managers...)
	c.need(at+"name", p.Name)
	c.need(at+"version", p.Version)
	for _, f := range []struct {
		name, value string
		limit       int
	}{{"name", p.Name, 190}, {"arch", p.Arch, 32}, {"version", p.Version, 128}} {
		c.text(at+f.name, f.value, f.limit)
		if strings.TrimSpace(f.value) != f.value { // the server takes "a" and "a " for the same
			c.fail(at+f.name, "begins or ends with a space")
		}
	}
}

func (i *Inventory) check(c *checker) {
	if n := len(i.Packages); n > MaxPackages {
		c.fail("inventory.packages", "has %d packages, at most %d are recorded", n, MaxPackages)
		return
	}
	for n, p := range i.Packages {
		p.check(c, fmt.Sprintf("inventory.packages[%d].", n))
	}
	sorted := slices.Clone(i.Packages)
	slices.SortFunc(sorted, comparePackages)
	for n := 1; n < len(sorted); n++ {
		if sorted[n] == sorted[n-1] {
			c.fail("inventory.packages", "has %s %s twice", sorted[n].Name, sorted[n].Version)
		}
	}
}
