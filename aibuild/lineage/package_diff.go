package lineage

import (
	"fmt"
	"slices"
	"strings"
)

// How a package changed.
const (
	Upgraded   = "upgraded"
	Downgraded = "downgraded"
)

// PackageChange is a package that both of two images have, in other versions.
type PackageChange struct {
	Manager string `json:"manager"`
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	From    string `json:"from"`
	To      string `json:"to"`
	Change  string `json:"change"` // upgraded or downgraded, by the order of its manager
}

// PackageDiff is what sets the packages of two images apart.
type PackageDiff struct {
	Added   []Package       `json:"added"`
	Removed []Package       `json:"removed"`
	Changed []PackageChange `json:"changed"`
}

// title is a package's name for people.
func (p Package) title() string {
	if p.Arch == "" {
		return p.Name
	}
	return p.Name + ":" + p.Arch
}

func (c PackageChange) title() string { return Package{Name: c.Name, Arch: c.Arch}.title() }

// Counts says how much changed: "2 added, 1 removed, 3 upgraded, 1 downgraded".
func (d PackageDiff) Counts() string {
	up := 0
	for _, c := range d.Changed {
		if c.Change == Upgraded {
			up++
		}
	}
	var parts []string
	for _, n := range []struct {
		count int
		what  string
	}{{len(d.Added), "added"}, {len(d.Removed), "removed"}, {up, Upgraded}, {len(d.Changed) - up, Downgraded}} {
		if n.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n.count, n.what))
		}
	}
	if len(parts) == 0 {
		return "none changed"
	}
	return strings.Join(parts, ", ")
}

// slotOf is what a package has one version of, except where its manager keeps
// several, as rpm does of kernels.
type slotOf struct{ manager, name, arch string }

func (p Package) slot() slotOf { return slotOf{p.Manager, p.Name, p.Arch} }

// DiffPackages compares two lists, in any order. Of several versions those that
// only one side has are paired, oldest with oldest.
func DiffPackages(from, to []Package) PackageDiff {
	d := PackageDiff{Added: []Package{}, Removed: []Package{}, Changed: []PackageChange{}}
	old, now := missing(from, to), missing(to, from)
	for slot, gone := range old {
		come := now[slot]
		delete(now, slot)
		pairs := min(len(gone), len(come))
		for i := range pairs {
			c := PackageChange{Manager: slot.manager, Name: slot.name, Arch: slot.arch, From: gone[i].Version, To: come[i].Version, Change: Upgraded}
			if CompareVersions(slot.manager, c.From, c.To) > 0 {
				c.Change = Downgraded
			}
			d.Changed = append(d.Changed, c)
		}
		d.Removed = append(d.Removed, gone[pairs:]...)
		d.Added = append(d.Added, come[pairs:]...)
	}
	for _, come := range now {
		d.Added = append(d.Added, come...)
	}
	slices.SortFunc(d.Added, comparePackages)
	slices.SortFunc(d.Removed, comparePackages)
	slices.SortFunc(d.Changed, func(a, b PackageChange) int {
		return comparePackages(Package{a.Manager, a.Name, a.Arch, a.From}, Package{b.Manager, b.Name, b.Arch, b.From})
	})
	return d
}

// missing are the packages of one list that the other does not have, by slot, the
// oldest version first.
func missing(list, other []Package) map[slotOf][]Package {
	there := make(map[Package]bool, len(other))
	for _, p := range other {
		there[p] = true
	}
	found := map[slotOf][]Package{}
	for _, p := range list {
		if !there[p] {
			there[p] = true // once
			found[p.slot()] = append(found[p.slot()], p)
		}
	}
	for slot, some := range found {
		slices.SortFunc(some, func(a, b Package) int { return CompareVersions(slot.manager, a.Version, b.Version) })
	}
	return found
}
