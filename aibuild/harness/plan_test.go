package harness

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPlansThatCannotBe(t *testing.T) {
	good := func() Plan { return Plan{Image: os.Args[0], Evidence: t.TempDir()} }
	tests := []struct {
		name string
		edit func(*Plan)
		want string
	}{
		{"no image", func(p *Plan) { p.Image = "" }, "image: no image is named"},
		{"image is not there", func(p *Plan) { p.Image = "/nope.qcow2" }, "/nope.qcow2: no such file"},
		{"image is a folder", func(p *Plan) { p.Image = "/" }, "is not a file"},
		{"no evidence", func(p *Plan) { p.Evidence = "" }, "evidence: no folder"},
		{"metadata", func(p *Plan) { p.Cells = []Cell{{BIOS, Virtio, "metadata"}} }, "metadata: not yet"},
		{"firmware", func(p *Plan) { p.Cells = []Cell{{"coreboot", Virtio, NoCloud}} }, `"coreboot" is unknown; use bios or uefi`},
		{"disk bus", func(p *Plan) { p.Cells = []Cell{{BIOS, "ide", NoCloud}} }, `"ide" is unknown`},
		{"cell twice", func(p *Plan) { p.Cells = []Cell{{BIOS, SCSI, NoCloud}, {BIOS, SCSI, NoCloud}} }, "bios-scsi-nocloud is there twice"},
		{"case twice", func(p *Plan) { p.Cases = []Case{{Name: "a", Path: "x"}, {Name: "a", Path: "x"}} }, "a is there twice"},
		{"case without a name", func(p *Plan) { p.Cases = []Case{{Path: "x"}} }, "cannot be the name of a case"},
		{"case in our name", func(p *Plan) { p.Cases = []Case{{Name: "builtin/x", Path: "x"}} }, "cannot be the name of a case"},
		{"empty case", func(p *Plan) { p.Cases = []Case{{Name: "a"}} }, "neither a script nor a path"},
		{"case outside", func(p *Plan) { p.Files = fstest.MapFS{}; p.Cases = []Case{{Name: "a", Path: "../../etc/passwd"}} }, "leads out of the folder"},
		{"negative timeout", func(p *Plan) { p.Cases = []Case{{Name: "a", Path: "x", Timeout: -1}} }, "cannot be negative"},
		{"little memory", func(p *Plan) { p.Memory = 1 }, "boot no guest"},
		{"user", func(p *Plan) { p.User = "-oProxyCommand=id" }, "is not a login name"},
		{"key", func(p *Plan) { p.BuildKeys = []string{"no key"} }, "is not a public key"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good()
			tt.edit(&p)
			report, err := harness(t).Test(t.Context(), p)
			var wrong *PlanError
			if report != nil || !errors.As(err, &wrong) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Test = %v, %v; want a *PlanError with %q", report, err, tt.want)
			}
		})
	}
}

func TestParseCell(t *testing.T) {
	want := Cell{UEFI, SCSI, ConfigDrive}
	if got, err := ParseCell(want.String()); got != want || err != nil {
		t.Errorf("ParseCell(%q) = %v, %v", want, got, err)
	}
	for _, s := range []string{"", "bios", "bios-virtio-metadata", "bios-virtio-nocloud-x"} {
		if got, err := ParseCell(s); err == nil {
			t.Errorf("ParseCell(%q) = %v, want an error", s, got)
		}
	}
}

// TestImageThatMustNotBeTouched: no guest starts on such a file, and it is the
// image's fault.
func TestImageThatMustNotBeTouched(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, "evil.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd", evil, "1M")
	short := filepath.Join(dir, "short.qcow2")
	run(t, "qemu-img", "create", "-q", "-f", "qcow2", short, "1G")
	if err := os.Truncate(short, 70000); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{evil, short} {
		evidence := filepath.Join(dir, filepath.Base(path)+".evidence")
		report, err := harness(t).Test(t.Context(), Plan{Image: path, Evidence: evidence})
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if report.Verdict != Failed || report.Decider != "bios-virtio-nocloud/builtin/image" || report.Message == "" {
			t.Errorf("%s: verdict %s by %s (%s), want failed by bios-virtio-nocloud/builtin/image", path, report.Verdict, report.Decider, report.Message)
		}
		if junit := readFile(t, filepath.Join(evidence, "junit.xml")); !strings.Contains(junit, "<failure") {
			t.Errorf("%s: junit.xml tells no failure:\n%s", path, junit)
		}
	}
}
