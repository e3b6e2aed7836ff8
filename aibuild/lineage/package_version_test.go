package lineage

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The order of each manager, as its own documentation and tests have it.
func TestVersionOrder(t *testing.T) {
	for manager, chains := range map[string]string{
		ManagerDpkg: "1.0~~ 1.0~~a 1.0~ 1.0 1.0a 1.0+ 1.0.1; 2.9 2.10; 1.0-1 1.0-1+deb12u1 1.0-1+deb12u2 1.0-1+deb12u10; 9 1:0; 1:1.0-1~bpo12+1 1:1.0-1; 0.9 00001.0 1.1; 99999999999999999999999 100000000000000000000000; 6.1.99-1 6.1.106-3",
		ManagerRPM: "1.0~rc1 1.0~rc2 1.0 1.0^git1 1.0^git2 1.0.1; 1.0^git1~pre 1.0^git1; 1.0^git1 1.01; 2.9 2.10; 5.5p1 5.5p2 5.5p10; xyz10 xyz10.1; 6.0 6.0.rc1; 10b2 10a1x; " +
			"1.0-1 1.0-1.el9 1.0-2; 9-1 1:1-1; 5.14.0-503.9.1.el9_5 5.14.0-503.11.1.el9_5",
		ManagerAPK: "1.0_alpha 1.0_alpha1 1.0_alpha2 1.0_beta 1.0_pre2 1.0_rc1 1.0_rc10 1.0 1.0_cvs 1.0_git20200101 1.0_p1 1.0_p2 1.0a 1.0b 1.0.1; 1.2.5-r0 1.2.5-r1 1.2.5-r10; 0.01 0.1; 2.9 2.10; 1.0_rc1_p1 1.0_rc2",
	} {
		for chain := range strings.SplitSeq(chains, "; ") {
			v := strings.Fields(chain)
			if chain == "10b2 10a1x" { // rpm's own test: letters are compared as letters
				v = []string{"10a1x", "10b2"}
			}
			for i := range v {
				for j := range v {
					got := CompareVersions(manager, v[i], v[j])
					if want := sign(i - j); got != want {
						t.Errorf("%s: %s against %s = %d, want %d", manager, v[i], v[j], got, want)
					}
				}
			}
		}
	}
	for _, same := range [][3]string{{ManagerDpkg, "0:1.0-0", "1.0"}, {ManagerRPM, "0:1.0-1", "1.00-1"}, {ManagerRPM, "1.0-1", "1_0-1"}, {ManagerAPK, "1.0-r0", "1.0"}} {
		order := map[string]func(a, b string) int{ManagerDpkg: compareDpkg, ManagerRPM: compareRPM, ManagerAPK: compareAPK}[same[0]]
		if order(same[1], same[2]) != 0 {
			t.Errorf("%s: %s and %s are the same", same[0], same[1], same[2])
		}
	}
}

func sign(n int) int {
	switch {
	case n < 0:
		return -1
	case n > 0:
		return 1
	}
	return 0
}

// dpkg itself is asked about odd versions.
func TestVersionOrderOfDpkg(t *testing.T) {
	version := rapid.StringMatching(`([0-2]:)?[0-9][0-9a-bA~+.]{0,6}(-[0-9a~+.]{1,4})?`)
	rapid.Check(t, func(r *rapid.T) {
		a, b := version.Draw(r, "a"), version.Draw(r, "b")
		want := 0
		for op, result := range map[string]int{"lt": -1, "gt": 1} {
			err := exec.Command("dpkg", "--compare-versions", a, op, b).Run()
			if err == nil {
				want = result
			} else if _, answered := errors.AsType[*exec.ExitError](err); !answered {
				t.Fatal(err)
			}
		}
		if got := compareDpkg(a, b); got != want {
			r.Fatalf("%s against %s = %d, dpkg says %d", a, b, got, want)
		}
	})
}

// Whatever the texts are: it ends, and it is an order.
func TestVersionsAreOrdered(t *testing.T) {
	text := rapid.StringMatching(`[0-9a-cr.~^:_+ é-]{0,8}`)
	rapid.Check(t, func(r *rapid.T) {
		a, b, c := text.Draw(r, "a"), text.Draw(r, "b"), text.Draw(r, "c")
		for _, m := range managers {
			if CompareVersions(m, a, b) != -CompareVersions(m, b, a) || CompareVersions(m, a, a) != 0 {
				r.Fatalf("%s: %q against %q is not the reverse of the reverse", m, a, b)
			}
			if m == ManagerDpkg && CompareVersions(m, a, b) < 0 && CompareVersions(m, b, c) < 0 && CompareVersions(m, a, c) >= 0 {
				r.Fatalf("%s: %q < %q < %q", m, a, b, c)
			}
		}
	})
}
