package harness

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What real guests print: Debian 12 with i386 added, AlmaLinux 9, Alpine 3.20.
const (
	dpkgLines = `@dpkg
Package: adduser
Status: install ok installed
Architecture: all
Version: 3.134

Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9+deb12u10

Package: libc6
Status: hold ok installed
Architecture: i386
Version: 2.36-9+deb12u10

Package: linux-image-6.1.0-30-cloud-amd64
Status: deinstall ok config-files
Architecture: amd64
Version: 6.1.124-1

Package: vim-common
Status: install ok half-configured
Architecture: all
Version: 2:9.0.1378-2
`
	rpmLines = "@rpm\nkernel-core\t5.14.0-503.11.1.el9_5\tx86_64\nkernel-core\t5.14.0-503.14.1.el9_5\tx86_64\nopenssl-libs\t1:3.2.2-6.el9_5\tx86_64\ngpg-pubkey\tb86b3716-61e69f29\t(none)\n"
	apkLines = "@apk\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:alpine-baselayout-data\nV:3.6.5-r0\nA:x86_64\n\nP:.my virtual\nV:20240101.120000\nA:noarch\n"
)

func texts(l *Inventory) []string {
	list := []string{}
	for _, p := range l.Packages {
		list = append(list, strings.Join([]string{p.Manager, p.Name, p.Arch, p.Version}, " "))
	}
	return list
}

func TestReadPackages(t *testing.T) {
	huge := strings.Repeat("n", 300)
	for _, c := range []struct {
		name, out string
		complete  bool
		want      []string
		notes     string // all of them
	}{
		{"dpkg", packagesMarker + "\n" + dpkgLines + "@end\n", true,
			[]string{"dpkg adduser all 3.134", "dpkg libc6 amd64 2.36-9+deb12u10", "dpkg libc6 i386 2.36-9+deb12u10", "dpkg vim-common all 2:9.0.1378-2"},
			"not installed to the end: vim-common (half-configured)"},
		{"rpm", packagesMarker + "\n" + rpmLines + "@end\n", true,
			[]string{"rpm kernel-core x86_64 5.14.0-503.11.1.el9_5", "rpm kernel-core x86_64 5.14.0-503.14.1.el9_5", "rpm openssl-libs x86_64 1:3.2.2-6.el9_5"}, ""},
		{"apk", packagesMarker + "\n" + apkLines + "@end\n", true,
			[]string{"apk .my virtual noarch 20240101.120000", "apk alpine-baselayout-data x86_64 3.6.5-r0", "apk musl x86_64 1.2.5-r0"}, ""},
		{"two managers after a greeting", "Welcome!\r\n@dpkg\nPackage: no\n" + packagesMarker + "\r\n@dpkg\r\nPackage: a\r\nVersion: 1\r\nArchitecture: all\r\n\r\n" + apkLines + "@end\n", true,
			[]string{"apk .my virtual noarch 20240101.120000", "apk alpine-baselayout-data x86_64 3.6.5-r0", "apk musl x86_64 1.2.5-r0", "dpkg a all 1"}, ""},
		{"none", packagesMarker + "\n@end\n", true, []string{}, "the guest has no database of dpkg, rpm or apk"},
		{"empty", packagesMarker + "\n@rpm\n@end\n", true, []string{}, "the database of rpm names no package"},
		{"broken", packagesMarker + "\n@rpm\n@failed rpm rpm -qa ended with 1: error: cannot open Packages database in /var/lib/rpm\n@end\n", false, []string{},
			"the database of rpm cannot be read: rpm -qa ended with 1: error: cannot open Packages database in /var/lib/rpm"},
		{"cut", packagesMarker + "\n@dpkg\nPackage: a\nVersion: 1\n\nPackage: b\nVer", false, []string{"dpkg a  1"}, `the guest stopped in the middle of listing them; it said "Ver"; 2 entries cannot be read, such as "Ver"`},
		{"no shell", "This account is not available.\n", false, []string{}, `the guest stopped in the middle of listing them; it said "This account is not available."`},
		{"same twice, no empty line between", packagesMarker + "\n@dpkg\nPackage: a\nVersion: 1\nPackage: a\nVersion: 1\nPackage: b\nVersion: 2\n@end\n", true, []string{"dpkg a  1", "dpkg b  2"}, ""},
		{"odd", packagesMarker + "\n@dpkg\nPackage: \nVersion: 7\n\nPackage: " + huge + "\nVersion: \x1b[31m1\xff\n\n@rpm\nno tabs\na\tb\tc\td\n@end\n", false,
			[]string{"dpkg " + huge + `  1\xff`}, `3 entries cannot be read, such as "7"`},
	} {
		l := readPackages([]byte(c.out))
		if diff := cmp.Diff(c.want, texts(l)); diff != "" || l.Complete != c.complete || l.Count != len(c.want) {
			t.Errorf("%s: complete %v, count %d (-want +got)\n%s", c.name, l.Complete, l.Count, diff)
		}
		if got := strings.Join(l.Notes, "; "); got != c.notes {
			t.Errorf("%s: notes %q, want %q", c.name, got, c.notes)
		}
	}
}

// The script and the reader agree with dpkg itself about this machine, in each
// shell that a guest may have.
func TestPackagesOfThisMachine(t *testing.T) {
	own, err := exec.Command("dpkg-query", "-W", "-f", "${db:Status-Abbrev}\t${Package}\t${Architecture}\t${Version}\n").Output()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for line := range strings.Lines(string(own)) {
		if f := strings.Split(strings.TrimSuffix(line, "\n"), "\t"); f[0][1] != 'n' && f[0][1] != 'c' {
			want[strings.Join(append([]string{"dpkg"}, f[1:]...), " ")] = true
		}
	}
	for _, shell := range [][]string{{"dash", "-s"}, {"bash", "-s"}, {"busybox", "sh", "-s"}} {
		cmd := exec.Command(shell[0], shell[1:]...)
		cmd.Stdin = strings.NewReader(packagesScript)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %v", shell, err)
		}
		l := readPackages(out)
		got := map[string]bool{}
		for _, text := range texts(l) {
			if strings.HasPrefix(text, "dpkg ") {
				got[text] = true
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v: -dpkg +ours\n%s", shell, diff)
		}
	}
}

// A guest with a database of dpkg and a broken one of apk: what is installed is
// listed once, before the cases, and is nobody's fault.
func TestInventoryOfAGuest(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{add: map[string]string{
		"var/lib/dpkg/status": strings.TrimPrefix(dpkgLines, "@dpkg\n"), "lib/apk/db/installed": "garbage\x00\xff\n",
	}})
	plan.Cells = []Cell{{BIOS, Virtio, NoCloud}, {UEFI, SCSI, ConfigDrive}}
	plan.Inventory, plan.User = true, "tester"
	plan.Cases = []Case{{Name: "installs", Sudo: true, Script: []byte("#!/bin/sh\nprintf 'Package: late\\nVersion: 1\\n\\n' >>/var/lib/dpkg/status\n")}}
	report, err := h.Test(t.Context(), plan)
	if err != nil || report.Verdict != Passed {
		t.Fatalf("%v: %+v", err, report)
	}
	l := report.Packages
	if l == nil || l.Count != 4 || l.Cell == "" || l.Evidence != packagesFile {
		t.Fatalf("inventory: %+v", l)
	}
	if want := "[dpkg adduser all 3.134 dpkg libc6 amd64 2.36-9+deb12u10 dpkg libc6 i386 2.36-9+deb12u10 dpkg vim-common all 2:9.0.1378-2]"; fmt.Sprint(texts(l)) != want {
		t.Errorf("packages: %v", texts(l))
	}
	if l.Complete || !strings.Contains(fmt.Sprint(l.Notes), "/lib/apk/db/installed names no package") {
		t.Errorf("a broken database is not told of: %+v", l)
	}
	kept := readFile(t, filepath.Join(plan.Evidence, packagesFile))
	if !strings.Contains(kept, "\ndpkg\tlibc6\ti386\t2.36-9+deb12u10\n") || !strings.Contains(kept, "\n# the database of apk cannot be read") {
		t.Errorf("evidence:\n%s", kept)
	}
	if text := readFile(t, filepath.Join(plan.Evidence, "report.json")); !strings.Contains(text, `"packages": {`) || strings.Contains(text, "adduser") {
		t.Errorf("report.json: the summary belongs into it, the list does not")
	}
}

// A guest without any database has nothing to list: no fault, and no failure.
func TestInventoryOfAGuestWithoutAny(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{})
	plan.Inventory = true
	report, err := h.Test(t.Context(), plan)
	if err != nil || report.Verdict != Passed {
		t.Fatalf("%v: %+v", err, report)
	}
	l := report.Packages
	if l == nil || !l.Complete || l.Count != 0 || fmt.Sprint(l.Notes) != "[the guest has no database of dpkg, rpm or apk]" {
		t.Errorf("inventory: %+v", l)
	}
}
