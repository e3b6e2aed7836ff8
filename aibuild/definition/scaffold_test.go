package definition_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/process"
)

// What init writes is a whole definition: it loads as it is, real Packer finds its template valid, and its programs parse.
func TestScaffoldIsComplete(t *testing.T) {
	dir := t.TempDir()
	files, err := definition.Scaffold("my-image", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		mode := os.FileMode(0o644)
		if definition.ExecutablePath(name) {
			mode = 0o755
		}
		full := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, data, mode); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "@NAME@") || strings.Contains(string(data), "@PASSWORD@") {
			t.Errorf("%s is not filled in", name)
		}
		if strings.HasPrefix(string(data), "#!/bin/sh") {
			run(t, dir, "sh", "-n", full)
		}
	}
	d, err := definition.Load(os.DirFS(dir), ".")
	if err != nil {
		t.Fatal(err)
	}
	if d.Name != "my-image" || len(d.Cases) != 1 || d.Cases[0].Name != "10-ready" {
		t.Errorf("loaded %+v", d)
	}
	disk := filepath.Join(dir, "disk.qcow2")
	if err := os.WriteFile(disk, []byte("disk"), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "packer", "validate", "-var", "iso_url="+disk, "-var", "iso_checksum=none", "-var", "output_directory="+filepath.Join(dir, "out"), d.Build.Template)
}

func run(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := process.Cmd{Path: program, Args: args, Dir: dir, Env: process.Environ("CHECKPOINT_DISABLE=1")}.Run(ctx)
	if err != nil {
		t.Errorf("%s: %v\n%s", program, err, result.Stdout)
	}
}
