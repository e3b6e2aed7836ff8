package qemu

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
)

func TestConvertArgs(t *testing.T) {
	for _, test := range []struct {
		format, compress string
		want             string
		problem          string
	}{
		{"", "", "convert -f raw -O qcow2 -W -m 4", ""},
		{"raw", "none", "convert -f raw -O raw -W -m 4", ""},
		{"qcow2", "zlib", "convert -f raw -O qcow2 -W -m 4 -c -o compression_type=zlib", ""},
		{"qcow2", "zstd", "convert -f raw -O qcow2 -W -m 4 -c -o compression_type=zstd", ""},
		{"raw", "zlib", "", "cannot be compressed"},
		{"qcow2", "gzip", "", "must be none, zlib or zstd"},
		{"vmdk", "", "", "must be qcow2 or raw"},
	} {
		args, err := convertArgs("raw", test.format, test.compress)
		if got := strings.Join(args, " "); got != test.want || (err != nil) != (test.problem != "") || err != nil && !strings.Contains(err.Error(), test.problem) {
			t.Errorf("%s, %s = %q, %v; want %q, %q", test.format, test.compress, got, err, test.want, test.problem)
		}
	}
}

// TestCompact: every way of writing an image keeps its content, and drops what
// nobody reads.
func TestCompact(t *testing.T) {
	ctx := testContext(t)
	src := image(t)
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 4M", "-c", "write -P 9 20M 4M", "-c", "discard 20M 4M", src)
	run(t, "qemu-img", "snapshot", "-c", "old", src)
	before, err := os.Stat(src)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ format, compress string }{{"qcow2", "none"}, {"qcow2", "zlib"}, {"qcow2", "zstd"}, {"raw", "none"}} {
		dst := filepath.Join(t.TempDir(), "a:b,c") // neither a protocol nor an option
		if err := (Tool{}).Compact(ctx, src, "qcow2", dst, test.format, test.compress); err != nil {
			t.Fatal(err)
		}
		h, err := Tool{}.Check(ctx, dst, test.format)
		if err != nil || h.VirtualSize != 64<<20 || h.Snapshots != 0 || test.format == "qcow2" && h.FileSize >= before.Size() {
			t.Errorf("%v: %+v, %v", test, h, err)
		}
		run(t, "qemu-img", "compare", "-f", "qcow2", "-F", test.format, src, dst)
		if err := (Tool{}).Compact(ctx, src, "qcow2", dst, test.format, test.compress); !errors.Is(err, os.ErrExist) {
			t.Errorf("%v: over an existing file: %v", test, err)
		}
	}
}

func TestFailureLeavesNothing(t *testing.T) {
	dir, src := t.TempDir(), image(t)
	full := image(t)
	run(t, "qemu-io", "-f", "qcow2", "-c", "write -P 7 0 4M", full)
	cancelled, cancel := context.WithCancel(testContext(t))
	cancel()
	for name, make := range map[string]func(dst string) error{
		"cancelled": func(dst string) error { return Tool{}.Compact(cancelled, src, "qcow2", dst, "qcow2", "zlib") },
		"no tool": func(dst string) error {
			return Tool{Img: "qemu-img-none"}.Compact(testContext(t), src, "qcow2", dst, "qcow2", "zlib")
		},
		"disk full": func(dst string) error {
			// The limit on a file's size stands in for the disk's.
			small := filepath.Join(t.TempDir(), "qemu-img")
			if err := os.WriteFile(small, []byte("#!/bin/sh\nexec prlimit --fsize=100000 -- qemu-img \"$@\"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			return Tool{Img: small}.Compact(testContext(t), full, "qcow2", dst, "qcow2", "none")
		},
		"no source":  func(dst string) error { return Tool{}.Compact(testContext(t), src+"x", "qcow2", dst, "qcow2", "") },
		"smaller":    func(dst string) error { return Tool{}.Overlay(testContext(t), src, "qcow2", dst, 1<<20) },
		"no overlay": func(dst string) error { return Tool{}.Overlay(cancelled, src, "qcow2", dst, 0) },
	} {
		if err := make(filepath.Join(dir, "out")); err == nil {
			t.Errorf("%s: no error", name)
		}
		if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
			t.Errorf("%s: left %v, %v", name, names, err)
		}
	}
}

func TestOverlay(t *testing.T) {
	ctx, dir := testContext(t), t.TempDir()
	base := written(t, strings.Repeat("x", 1<<20))
	path := filepath.Join(dir, "overlay.qcow2")
	if err := (Tool{}).Overlay(ctx, base, "raw", path, 8<<20); err != nil {
		t.Fatal(err)
	}
	result, err := process.Cmd{Path: "qemu-io", Args: []string{"-f", "qcow2", "-c", "read -P 120 0 1M", "-c", "write -P 1 0 64k", path}}.Run(ctx)
	if err != nil || bytes.Contains(result.Stdout, []byte("verification failed")) {
		t.Fatalf("%s, %v", result.Stdout, err)
	}
	got, err := os.ReadFile(base)
	if err != nil || strings.Trim(string(got), "x") != "" {
		t.Errorf("the base was written: %v", err)
	}
	// An overlay must not be published: it names its base.
	var refused *BadImage
	if h, err := ReadHeader(path, "qcow2"); !errors.As(err, &refused) || h.BackingFile != base || h.BackingFormat != "raw" || h.VirtualSize != 8<<20 {
		t.Errorf("ReadHeader = %+v, %v", h, err)
	}
}

func TestArgs(t *testing.T) {
	common := []string{
		"-nodefaults", "-no-user-config",
		"-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
	}
	devices := []string{
		"-display", "none", "-vga", "std", "-rtc", "base=utc", "-boot", "strict=on",
		"-action", "reboot=reset,panic=pause", "-device", "pvpanic", "-device", "virtio-rng-pci",
		"-chardev", "socket,id=monitor,fd=3", "-mon", "chardev=monitor,mode=control",
		"-chardev", "socket,id=serial,fd=4", "-serial", "chardev:serial",
		"-chardev", "socket,id=firmware,fd=5", "-device", "isa-debugcon,iobase=0x402,chardev=firmware",
	}
	const disk = "driver=qcow2,node-name=disk,cache.direct=off,cache.no-flush=on,discard=unmap,file.driver=file,file.filename="
	for _, test := range []struct {
		name string
		spec Spec
		want [][]string
	}{
		{"defaults", Spec{Dir: "/d", Disk: "/d/a.qcow2"}, [][]string{
			common, {"-machine", "pc,graphics=off", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", "1024"}, devices,
			{"-blockdev", disk + "/d/a.qcow2", "-device", "virtio-blk-pci,drive=disk,bootindex=0"},
			{"-netdev", "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22", "-device", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:12:34:56"},
		}},
		{"everything", Spec{
			Dir: "/d", Disk: "/d/a,b", Firmware: "uefi", DiskBus: "scsi", SeedPath: "/d/seed.iso", Memory: 1<<30 + 1, CPUs: 2,
			CPU: "qemu64", Accel: Accel{Name: "kvm"}, MAC: "52:54:00:00:00:01", Offline: true, Extra: []string{"-S"},
		}, [][]string{
			common, {"-machine", "q35,pflash0=uefi-code,pflash1=uefi-vars", "-accel", "kvm", "-cpu", "qemu64", "-smp", "2", "-m", "1025"}, devices,
			{"-blockdev", "driver=raw,node-name=uefi-code,read-only=on,file.driver=file,file.filename=/fw/code"},
			{"-blockdev", "driver=qcow2,node-name=uefi-vars,file.driver=file,file.filename=/d/uefi-vars.qcow2"},
			{"-blockdev", disk + "/d/a,,b", "-device", "virtio-scsi-pci,id=scsi", "-device", "scsi-hd,bus=scsi.0,drive=disk,bootindex=0"},
			{"-blockdev", "driver=raw,node-name=seed,read-only=on,file.driver=file,file.filename=/d/seed.iso", "-device", "virtio-blk-pci,drive=seed"},
			{"-netdev", "user,id=net,ipv6=off,hostfwd=tcp:127.0.0.1:0-:22,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile=,mac=52:54:00:00:00:01"},
			{"-S"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Tool{UEFICode: "/fw/code"}.Args(test.spec)
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for _, part := range test.want {
				want = append(want, part...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
