package harness

import (
	"encoding/json"
	"encoding/xml"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jstemmer/go-junit-report/v2/junit"
)

const isolatedScript = `#!/bin/sh
[ ! -e /tmp/dirty ] || { echo "another case was here"; exit 1; }
touch /tmp/dirty
echo "clock $(date +%s) host time"
`

// goodCases all pass, each in its own way.
func goodCases() ([]Case, fstest.MapFS) {
	files := fstest.MapFS{
		"plain": {Data: []byte(`#!/bin/sh -e
. lib/expect.sh
expect "$AIBUILD_CASE" plain
expect "$AIBUILD_CELL" "$AIBUILD_FIRMWARE-$AIBUILD_DISK_BUS-$AIBUILD_DATASOURCE"
expect "$AIBUILD_USER" tester
expect "$(id -un)" tester
`), Mode: 0o644}, // as from a file system that knows no modes
		"lib/expect.sh":  {Data: []byte(`expect() { [ "$1" = "$2" ] || { echo "$1, want $2"; exit 1; }; }` + "\n"), Mode: 0o644},
		"net/as root":    {Data: []byte("#!/bin/sh\n[ \"$(id -u)\" = 0 ]\n"), Mode: 0o755},
		"a/dirty script": {Data: []byte("#!/bin/sh\ntouch /tmp/dirty\n"), Mode: 0o755},
	}
	return []Case{
		{Name: "isolated one", Isolated: true, Script: []byte(isolatedScript)},
		{Name: "plain", Path: "plain"},
		{Name: "net/as root", Path: "net/as root", Sudo: true},
		{Name: "skip", Script: []byte("#!/bin/sh\necho no such hardware\nexit 77\n")},
		{Name: "flaky", Retries: 2, Script: []byte("#!/bin/sh\necho attempt $AIBUILD_ATTEMPT; [ $AIBUILD_ATTEMPT = 2 ]\n")},
		{Name: "garbage", Script: []byte("#!/bin/sh\nprintf '\\033[31mred\\033[0m\\007 \\377\\000 \\033]0;title\\007done\\n'\n")},
		{Name: "lingers", Script: []byte("#!/bin/sh\necho before\nsleep 1000 &\n")},
		{Name: "dirty", Path: "a/dirty script"},
		{Name: "isolated two", Isolated: true, Script: []byte(isolatedScript)},
	}, files
}

// TestPassingImage also has QEMU killed once: that is no fault of the image's.
func TestPassingImage(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{})
	plan.Cells = []Cell{{BIOS, Virtio, NoCloud}, {UEFI, SCSI, ConfigDrive}}
	plan.Cases, plan.Files = goodCases()
	plan.User, plan.Builtin = "tester", true
	killed := make(chan error, 1)
	go func() { killed <- killGuests(t.Context(), h.WorkDir, 1) }()

	report, err := h.Test(t.Context(), plan)
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("Test: %v\n%+v", err, report)
	}
	for _, c := range report.Cases {
		if c.Result == Failed || c.Result == Error {
			t.Errorf("%s/%s: %s: %s", c.Cell, c.Case, c.Result, c.Message)
		}
	}
	// 12 built-in ones without cloud-init, root-grew and units; 9 cases without skip.
	if want := "all (34 cases)"; report.Verdict != Passed || report.Decider != want {
		t.Errorf("verdict %s by %s, want passed by %s", report.Verdict, report.Decider, want)
	}
	if c := report.Cells[0]; c.Attempt != 2 || !strings.Contains(c.Retried, "qemu") {
		t.Errorf("first cell: attempt %d, retried because of %q; want 2 and qemu's death", c.Attempt, c.Retried)
	}
	bootTime.Store(report.Cells[0].ReadyMS * int64(time.Millisecond))
	checkResults(t, report, plan.Evidence)
	checkFiles(t, report, plan)
	checkJUnit(t, filepath.Join(plan.Evidence, "junit.xml"))
	noSecrets(t, plan.Evidence)
}

func checkResults(t *testing.T, report *Report, evidence string) {
	t.Helper()
	all := results(report)
	for _, cell := range report.Cells {
		flaky, skip := all[cell.Cell+"/flaky"], all[cell.Cell+"/skip"]
		if flaky.Result != Flaky || flaky.Attempt != 2 {
			t.Errorf("%s/flaky: %s at attempt %d, want flaky at 2", cell.Cell, flaky.Result, flaky.Attempt)
		}
		if skip.Result != Skipped || skip.Message != "no such hardware" {
			t.Errorf("%s/skip: %s (%s), want skipped (no such hardware)", cell.Cell, skip.Result, skip.Message)
		}
		if got, want := readFile(t, filepath.Join(evidence, all[cell.Cell+"/garbage"].Evidence)), `red\x07 \xff\x00 done`+"\n"; got != want {
			t.Errorf("%s/garbage: output %q, want %q", cell.Cell, got, want)
		}
		if got := readFile(t, filepath.Join(evidence, all[cell.Cell+"/lingers"].Evidence)); !strings.Contains(got, "holds its output") {
			t.Errorf("%s/lingers: output %q does not tell that something was left behind", cell.Cell, got)
		}
		second := all[cell.Cell+"/isolated two"]
		if ms := second.MS; ms > 0 {
			t.Logf("%s: ready after %d ms, a further isolated case took %d ms", cell.Cell, cell.ReadyMS, ms)
		}
		checkClock(t, filepath.Join(evidence, second.Evidence), time.Duration(second.MS)*time.Millisecond)
	}
}

// checkClock: a restored guest believes in the time of its snapshot until told.
// took is how long the case took, from before the clock was set.
func checkClock(t *testing.T, log string, took time.Duration) {
	t.Helper()
	info, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`clock (\d+) host time`).FindStringSubmatch(readFile(t, log))
	if m == nil {
		t.Fatalf("%s: no clock in it", log)
	}
	guest, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	// The log was written when the case had ended.
	if lag := info.ModTime().Sub(time.Unix(guest, 0)); lag < -2*time.Second || lag > took+2*time.Second {
		t.Errorf("the guest's clock is %s behind", lag)
	}
}

func checkFiles(t *testing.T, report *Report, plan Plan) {
	t.Helper()
	var read Report
	if err := json.Unmarshal([]byte(readFile(t, filepath.Join(plan.Evidence, "report.json"))), &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*report, read); diff != "" {
		t.Errorf("report.json differs from the report (-want +got):\n%s", diff)
	}
	for _, cell := range report.Cells {
		dir := filepath.Join(plan.Evidence, cell.Evidence)
		if png := readFile(t, filepath.Join(dir, "screenshot.png")); !strings.HasPrefix(png, "\x89PNG") {
			t.Errorf("%s: the screenshot is no PNG", cell.Cell)
		}
		if serial := readFile(t, filepath.Join(dir, "serial.log")); !strings.Contains(serial, "test guest ready") {
			t.Errorf("%s: the serial log is not complete:\n%s", cell.Cell, serial)
		}
		if argv := readFile(t, filepath.Join(dir, "argv.txt")); !strings.HasPrefix(argv, "qemu-system-x86_64\n") {
			t.Errorf("%s: argv.txt begins %.40q", cell.Cell, argv)
		}
		readFile(t, filepath.Join(dir, "qemu.stderr"))
	}
}

func checkJUnit(t *testing.T, path string) {
	t.Helper()
	var suites junit.Testsuites
	if err := xml.Unmarshal([]byte(readFile(t, path)), &suites); err != nil {
		t.Fatal(err)
	}
	type count struct{ Tests, Failures, Errors, Skipped int }
	if diff := cmp.Diff(count{42, 0, 0, 8}, count{suites.Tests, suites.Failures, suites.Errors, suites.Skipped}); diff != "" {
		t.Errorf("junit.xml (-want +got):\n%s", diff)
	}
	flaky := 0
	for _, s := range suites.Suites {
		for _, c := range s.Testcases {
			if c.Classname != s.Name {
				t.Errorf("case %s of suite %s has class %s", c.Name, s.Name, c.Classname)
			}
			if c.Status == Flaky {
				flaky++
			}
		}
	}
	if flaky != 2 {
		t.Errorf("%d flaky cases in junit.xml, want 2", flaky)
	}
}
