package harness

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/qemu"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "aibuild-harness-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	baseDisk.dir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// software is the accelerator of all tests: it works everywhere, and its scale of
// 1 makes deadlines what the tests say.
var software = qemu.Accel{Name: "tcg", Reason: "test", Scale: 1}

func TestSpike(t *testing.T) {
	if d := os.Getenv("KEEPIMG"); d != "" {
		if err := copySparse(image(t, variant{}), d); err != nil {
			t.Log(err)
		}
		return
	}
	b := time.Now()
	disk := image(t, variant{})
	t.Log("image", time.Since(b))
	h := Harness{Accel: software, WorkDir: t.TempDir(), Progress: func(e Event) { t.Logf("%s %+v", time.Since(b), e) }}
	ev := "/tmp/harness-ev"
	os.RemoveAll(ev)
	r, err := h.Test(t.Context(), Plan{Image: disk, Format: "raw", Evidence: ev, Builtin: true, BootTimeout: 90 * time.Second, Memory: 256 << 20, Cells: []Cell{{BIOS, Virtio, NoCloud}},
		Cases: []Case{{Name: "one", Script: []byte("#!/bin/sh\necho hi; id\n")}, {Name: "iso", Isolated: true, Script: []byte("#!/bin/sh\necho hi; id; date; env\n")}, {Name: "iso2", Isolated: true, Script: []byte("#!/bin/sh\necho hi; id; date; env\n")}}})
	t.Logf("%+v %v", r, err)
}
