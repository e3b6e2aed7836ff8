package lineage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Diff is what sets two images apart. Packages is nil unless what is installed
// was recorded of both.
type Diff struct {
	From     Image        `json:"from"`
	To       Image        `json:"to"`
	Packages *PackageDiff `json:"packages,omitempty"`
	// FromCount and ToCount are how many packages are recorded of each.
	FromCount int      `json:"from_packages"`
	ToCount   int      `json:"to_packages"`
	Facts     []Change `json:"facts"` // size, source, commit, settings and properties that differ
	Tests     []Change `json:"tests"` // cases of their latest tests that went otherwise
}

// Change is one thing that is not the same in two images; empty where one of them
// does not have it.
type Change struct {
	What string `json:"what"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Diff compares two images, named as in [Query].Ref.
func (s *Store) Diff(ctx context.Context, from, to string) (Diff, error) {
	var images [2]Image
	var lists [2][]Package
	for n, ref := range []string{from, to} {
		found, err := s.Resolve(ctx, Query{Ref: ref})
		if err != nil {
			return Diff{}, err
		}
		images[n] = found[0]
		if lists[n], err = s.Packages(ctx, found[0].UUID); err != nil {
			return Diff{}, err
		}
	}
	return CompareImages(images[0], images[1], lists[0], lists[1]), nil
}

// CompareImages compares two images with all that is known of them, and what is
// installed in them.
func CompareImages(from, to Image, has, gets []Package) Diff {
	d := Diff{From: from, To: to, FromCount: len(has), ToCount: len(gets), Facts: factChanges(from.facts(), to.facts()), Tests: factChanges(from.results(), to.results())}
	if len(has) > 0 && len(gets) > 0 {
		p := DiffPackages(has, gets)
		d.Packages = &p
	}
	return d
}

// fact is a value under its name.
type fact struct{ what, value string }

// facts are what of an image is compared. What Glance is told follows from them,
// and from the release settings, of which the digest is recorded.
func (i Image) facts() []fact {
	list := []fact{{"state", i.State}, {"os", strings.TrimSpace(i.OSType + " " + i.OSVer)}, {"arch", i.Arch}, {"from", i.FromISO}, {"commit", i.commitText()}}
	if v := i.Verdict; v != nil {
		list = append(list, fact{"tests", v.Result + ": " + v.TestCase})
	}
	a := i.Artifact
	if a == nil {
		return list
	}
	list = append(list, fact{"ref", a.Ref}, fact{"format", strings.TrimSpace(a.Format + " " + a.Compress)},
		fact{"size", bytesText(a.Size)}, fact{"virtual size", bytesText(a.VirtualSize)}, fact{"memory", bytesText(a.Memory)},
		fact{"login user", a.User}, fact{"source", a.SourceURL}, fact{"source sha256", a.SourceSHA256}, fact{"parent", a.ParentUUID},
		fact{"build settings", a.BuildDigest}, fact{"test settings", a.TestDigest}, fact{"release settings and properties", a.ReleaseDigest},
		fact{"accelerator", a.Accelerator}, fact{"build time", msText(a.BuildMS)})
	for _, tool := range slices.Sorted(maps.Keys(a.Tools)) {
		list = append(list, fact{"tool " + tool, a.Tools[tool]})
	}
	return list
}

func (i Image) commitText() string {
	if i.Dirty {
		return i.Commit + "-dirty"
	}
	return i.Commit
}

func bytesText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%d bytes", n)
}

func msText(ms int64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}

// results are how the cases of the latest test went.
func (i Image) results() []fact {
	list := make([]fact, len(i.Tests))
	for n, t := range i.Tests {
		list[n] = fact{strings.TrimPrefix(t.Cell+"/"+t.Case, "/"), t.Result}
	}
	return list
}

// factChanges are the facts that differ, in the order of the second list; what only
// the first has comes last.
func factChanges(from, to []fact) []Change {
	old := map[string]string{}
	for _, f := range from {
		old[f.what] = f.value
	}
	list := []Change{}
	for _, f := range to {
		if old[f.what] != f.value {
			list = append(list, Change{f.what, old[f.what], f.value})
		}
		delete(old, f.what)
	}
	for _, f := range from {
		if v, left := old[f.what]; left && v != "" {
			list = append(list, Change{f.what, v, ""})
			delete(old, f.what)
		}
	}
	return list
}
