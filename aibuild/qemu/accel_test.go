package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// fakeQEMU stands for QEMUs that cannot be had here: a script of /bin/sh that
// knows its accelerator as $accel.
func fakeQEMU(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "qemu")
	head := `#!/bin/sh
[ "$1" = --version ] && { echo "QEMU emulator version 9.1.2"; exit; }
case "$*" in *"-accel kvm"*) accel=kvm;; *) accel=tcg;; esac
echo "$accel" >>"$0.log"
`
	if err := os.WriteFile(path, []byte(head+script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestProbe runs the real one, which must say what every machine says: a guest
// ran, and with what.
func TestProbe(t *testing.T) {
	tool := Tool{CacheDir: filepath.Join(t.TempDir(), "cache")}
	a, err := tool.Probe(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if a.Name != "kvm" && a.Name != "tcg" || a.Scale < 1 || a.BootMS <= 0 || a.QEMUVersion == "" || !strings.Contains(a.Reason, "a test guest ran under") {
		t.Errorf("Probe = %+v", a)
	}
	again, err := tool.Probe(testContext(t))
	if err != nil || again != a {
		t.Errorf("Probe again = %+v, %v; want the kept %+v", again, err, a)
	}
	vm := start(t, Spec{Disk: sectorDisk(t, "up\n", standStill), Accel: a})
	waitText(t, vm, "up")
}

// TestProbeJudges: the device file, or QEMU starting, proves nothing.
func TestProbeJudges(t *testing.T) {
	for _, test := range []struct{ name, script, accel, reason string }{
		{"kvm works", "printf '<>'; exit 33", "kvm", "ran under KVM"},
		{"kvm crawls", "printf '<'; [ $accel = kvm ] && exec sleep 60; printf '>'; exit 33", "tcg", "kernel code far too slowly"},
		{"kvm stands still", "[ $accel = kvm ] && exec sleep 60; printf '<>'; exit 33", "tcg", "firmware was not done"},
		{"no kvm", "[ $accel = kvm ] && { echo 'Could not access KVM kernel module' >&2; exit 1; }; printf '<>'; exit 33", "tcg", "Could not access KVM"},
		{"kvm lies", "[ $accel = kvm ] && exit 33; printf '<>'; exit 33", "tcg", "KVM does not work"},
		{"kvm ends", "[ $accel = kvm ] && exit 0; printf '<>'; exit 33", "tcg", "ended too early"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a, err := Tool{Binary: fakeQEMU(t, test.script)}.Probe(testContext(t))
			if err != nil || a.Name != test.accel || !strings.Contains(a.Reason, test.reason) || a.QEMUVersion != "9.1.2" {
				t.Errorf("Probe = %+v, %v; want %s, %q", a, err, test.accel, test.reason)
			}
		})
	}
}

func TestProbeErrors(t *testing.T) {
	if _, err := (Tool{Binary: "qemu-none"}).Probe(testContext(t)); !errors.Is(err, process.ErrNotFound) || !strings.Contains(err.Error(), "install") {
		t.Errorf("without qemu: %v", err)
	}
	broken := fakeQEMU(t, "echo 'broken here' >&2; exit 1")
	if _, err := (Tool{Binary: broken}).Probe(testContext(t)); err == nil || !strings.Contains(err.Error(), "broken here") {
		t.Errorf("broken qemu: %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := (Tool{}).Probe(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestProbeCache: kept for this boot and this QEMU only; what is damaged is
// probed again, what is old is dropped.
func TestProbeCache(t *testing.T) {
	dir, ctx := t.TempDir(), testContext(t)
	tool := Tool{Binary: fakeQEMU(t, "printf '<>'; exit 33"), CacheDir: dir}
	boots := func() int {
		b, err := os.ReadFile(tool.Binary + ".log")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(b), "\n")
	}
	old := filepath.Join(dir, "accel-0000-ff.json")
	if err := os.WriteFile(old, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := tool.Probe(ctx); err != nil || boots() != 1 {
			t.Fatalf("%d boots, %v; want 1", boots(), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 || files[0] == old {
		t.Fatalf("cache holds %v, %v", files, err)
	}
	for n, damage := range []string{"", "{", `{"name":"xen","scale":1}`, `{"name":"kvm","scale":0}`} {
		if err := os.WriteFile(files[0], []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tool.Probe(ctx); err != nil || boots() != n+2 {
			t.Errorf("after %q: %d boots, %v; want %d", damage, boots(), err, n+2)
		}
	}
	var kept Accel
	if b, err := os.ReadFile(files[0]); err != nil || json.Unmarshal(b, &kept) != nil || kept.Name != "kvm" {
		t.Errorf("kept %s, %v", b, err)
	}
}

func TestScale(t *testing.T) {
	for _, test := range []struct {
		factor float64
		took   time.Duration
		want   float64
	}{
		{1, 100 * time.Millisecond, 1}, {1, 400 * time.Millisecond, 2}, {tcgFactor, 10 * time.Millisecond, 4},
		{tcgFactor, 500 * time.Millisecond, 10}, {tcgFactor, time.Minute, maxScale},
	} {
		if got := scale(test.factor, test.took, 200*time.Millisecond); got != test.want {
			t.Errorf("scale(%v, %s) = %v; want %v", test.factor, test.took, got, test.want)
		}
	}
}
