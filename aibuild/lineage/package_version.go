package lineage

import (
	"cmp"
	"slices"
	"strings"
)

// CompareVersions orders two versions as their package manager does: -1, 0 or 1.
// Versions that it takes for equal though they are written differently are
// ordered by their text.
func CompareVersions(manager, a, b string) int {
	order := compareDpkg
	switch manager {
	case ManagerRPM:
		order = compareRPM
	case ManagerAPK:
		order = compareAPK
	}
	return cmp.Or(order(a, b), strings.Compare(a, b))
}

func isDigit(c byte) bool  { return c >= '0' && c <= '9' }
func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }

// lead is how many bytes s begins with that are of a kind.
func lead(s string, of func(byte) bool) int {
	n := 0
	for n < len(s) && of(s[n]) {
		n++
	}
	return n
}

// compareNumbers compares digits of any length.
func compareNumbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// epoch takes EPOCH:REST apart.
func epoch(v string) (number, rest string) {
	if number, rest, ok := strings.Cut(v, ":"); ok && lead(number, isDigit) == len(number) {
		return number, rest
	}
	return "", v
}

// revision takes VERSION-REVISION apart, at the last hyphen.
func revision(v string) (version, rev string) {
	if i := strings.LastIndexByte(v, '-'); i >= 0 {
		return v[:i], v[i+1:]
	}
	return v, ""
}

// compareDpkg is the order of deb-version(7).
func compareDpkg(a, b string) int {
	aEpoch, a := epoch(a)
	bEpoch, b := epoch(b)
	aVersion, aRev := revision(a)
	bVersion, bRev := revision(b)
	return cmp.Or(compareNumbers(aEpoch, bEpoch), compareDpkgPart(aVersion, bVersion), compareDpkgPart(aRev, bRev))
}

// compareDpkgPart compares what is no number byte by byte, then the number that
// follows, and so on.
func compareDpkgPart(a, b string) int {
	for a != "" || b != "" {
		for a != "" && !isDigit(a[0]) || b != "" && !isDigit(b[0]) {
			if c := cmp.Compare(dpkgWeight(a), dpkgWeight(b)); c != 0 {
				return c
			}
			a, b = a[1:], b[1:] // equal weights: the same byte
		}
		n, m := lead(a, isDigit), lead(b, isDigit)
		if c := compareNumbers(a[:n], b[:m]); c != 0 {
			return c
		}
		a, b = a[n:], b[m:]
	}
	return 0
}

// dpkgWeight: a tilde comes before the end, letters before everything else.
func dpkgWeight(s string) int {
	switch {
	case s == "" || isDigit(s[0]):
		return 0
	case s[0] == '~':
		return -1
	case isLetter(s[0]):
		return int(s[0])
	}
	return int(s[0]) + 256
}

// compareRPM is the order of rpm: epoch, version, release.
func compareRPM(a, b string) int {
	aEpoch, a := epoch(a)
	bEpoch, b := epoch(b)
	aVersion, aRelease := revision(a)
	bVersion, bRelease := revision(b)
	return cmp.Or(compareNumbers(aEpoch, bEpoch), compareRPMPart(aVersion, bVersion), compareRPMPart(aRelease, bRelease))
}

func separates(c byte) bool { return !isDigit(c) && !isLetter(c) && c != '~' && c != '^' }

// compareRPMPart is rpmvercmp: runs of digits and of letters, whatever is between
// them. A tilde comes before the end, a caret after it.
func compareRPMPart(a, b string) int {
	for {
		a, b = a[lead(a, separates):], b[lead(b, separates):]
		if a == "" && b == "" {
			return 0
		}
		if c, marked := rpmMark(a, b); marked {
			if c != 0 {
				return c
			}
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b)) // what goes on is newer
		}
		kind, compare := isLetter, strings.Compare
		if isDigit(a[0]) {
			kind, compare = isDigit, compareNumbers
		}
		n, m := lead(a, kind), lead(b, kind)
		if m == 0 { // a number is newer than letters
			if isDigit(a[0]) {
				return 1
			}
			return -1
		}
		if c := compare(a[:n], b[:m]); c != 0 {
			return c
		}
		a, b = a[n:], b[m:]
	}
}

// rpmMark compares where one of them has a tilde or a caret.
func rpmMark(a, b string) (order int, marked bool) {
	for _, mark := range []string{"~", "^"} {
		inA, inB := strings.HasPrefix(a, mark), strings.HasPrefix(b, mark)
		switch {
		case inA && inB:
			return 0, true
		case !inA && !inB:
			continue
		}
		// A tilde is older than all else; a caret is older than all but the end.
		order = -1
		if mark == "^" && (inA && b == "" || inB && a == "") {
			order = 1
		}
		if inB {
			order = -order
		}
		return order, true
	}
	return 0, false
}

// compareAPK is the order of apk: numbers, a letter, suffixes, revision.
func compareAPK(a, b string) int {
	aBase, aRev := apkRevision(a)
	bBase, bRev := apkRevision(b)
	aBase, _, _ = strings.Cut(aBase, "~") // a commit says nothing of the order
	bBase, _, _ = strings.Cut(bBase, "~")
	aNumber, aSuffixes, _ := strings.Cut(aBase, "_")
	bNumber, bSuffixes, _ := strings.Cut(bBase, "_")
	return cmp.Or(compareAPKNumbers(aNumber, bNumber), compareAPKSuffixes(aSuffixes, bSuffixes), compareNumbers(aRev, bRev))
}

// apkRevision takes VERSION-rN apart.
func apkRevision(v string) (version, number string) {
	if i := strings.LastIndex(v, "-r"); i >= 0 && lead(v[i+2:], isDigit) == len(v[i+2:]) {
		return v[:i], v[i+2:]
	}
	return v, ""
}

func compareAPKNumbers(a, b string) int {
	for first := true; a != "" || b != ""; first = false {
		n, m := lead(a, isDigit), lead(b, isDigit)
		order := compareNumbers(a[:n], b[:m])
		switch {
		case n == 0 || m == 0:
			order = cmp.Compare(min(n, 1), min(m, 1)) // one has no more numbers
		case !first && (a[0] == '0' || b[0] == '0'):
			order = strings.Compare(a[:n], b[:m]) // as after a decimal point
		}
		if order != 0 {
			return order
		}
		a, b = a[n:], b[m:]
		n, m = lead(a, isLetter), lead(b, isLetter)
		switch {
		case n == 0 && m > 0 && a != "":
			return 1 // more numbers are newer than a letter
		case m == 0 && n > 0 && b != "":
			return -1
		}
		if c := strings.Compare(a[:n], b[:m]); c != 0 {
			return c
		}
		a, b = a[n:], b[m:]
		if (a == "") != (b == "") {
			return cmp.Compare(len(a), len(b)) // more numbers are newer
		}
		if a != "" {
			a, b = a[1:], b[1:] // the points
		}
	}
	return 0
}

// apkSuffixes come before a version without one up to the empty one, then after it.
var apkSuffixes = []string{"alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p"}

func compareAPKSuffixes(a, b string) int {
	for a != "" || b != "" {
		var one, other string
		one, a, _ = strings.Cut(a, "_")
		other, b, _ = strings.Cut(b, "_")
		n, m := lead(one, isLetter), lead(other, isLetter)
		rank := func(s string) int { return slices.Index(apkSuffixes, s) }
		if c := cmp.Or(cmp.Compare(rank(one[:n]), rank(other[:m])), compareNumbers(one[n:], other[m:])); c != 0 {
			return c
		}
	}
	return 0
}
