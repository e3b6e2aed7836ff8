package packer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

func TestMirror(t *testing.T) {
	repo := write(t, map[string]string{
		".git/HEAD":                "ref",
		"common/files/motd":        "hello",
		"images/app/t.json":        "{}",
		"images/app/http/answers":  "a",
		"images/app/big.iso":       strings.Repeat("x", maxCopied+1),
		"images/base/aibuild.yaml": "name: base",
	})
	app := filepath.Join(repo, "images", "app")
	if err := os.Chmod(filepath.Join(app, "t.json"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../base/aibuild.yaml", filepath.Join(app, "link")); err != nil {
		t.Fatal(err)
	}
	// The work folder may lie inside of the definition.
	root := filepath.Join(app, "work", "run", "src")
	cwd, err := mirror(app, root)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"t.json": "{}", "http/answers": "a", "link": "name: base", "../base/aibuild.yaml": "name: base", "../../common/files/motd": "hello",
	} {
		if b, err := os.ReadFile(cwd + "/" + path); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", path, b, err, want)
		}
	}
	modes := map[string]fs.FileMode{"t.json": 0o755, "http": fs.ModeDir | 0o700, "big.iso": fs.ModeSymlink | 0o777}
	for path, want := range modes {
		if info, err := os.Lstat(filepath.Join(cwd, path)); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	for _, path := range []string{"work/run", "../../.git"} {
		if _, err := os.Lstat(filepath.Join(cwd, path)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is in the copy (%v)", path, err)
		}
	}
	if err := os.WriteFile(filepath.Join(cwd, "http", "answers"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(app, "http", "answers")); err != nil || string(b) != "a" {
		t.Errorf("the definition was changed: %q, %v", b, err)
	}
}

// The names of sockets are limited; the work folder's is not.
func TestLongWorkFolder(t *testing.T) {
	j := realJob(t, disk(t, "installed\r\n", true), "", "")
	j.WorkDir = filepath.Join(j.WorkDir, strings.Repeat("long/", 30))
	tmp, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	t.Setenv("TMPDIR", tmp)
	a, f, _ := build(t, j)
	if f != nil {
		t.Fatalf("Build: %v\n%s", f, strings.Join(f.Lines, "\n"))
	}
	if !a.ConsoleWatched || a.Path != filepath.Join(j.WorkDir, "output", "guest.qcow2") {
		t.Errorf("artifact %+v", a)
	}
	// The port locks stay: Packers of other state folders may hold some of them.
	if entries, err := os.ReadDir(tmp); err != nil || len(entries) != 1 || entries[0].Name() != "aibuild-ports-"+strconv.Itoa(os.Getuid()) {
		t.Errorf("left in TMPDIR: %v (%v)", entries, err)
	}
}

func TestFolderOnAFullDisk(t *testing.T) {
	j := job(t, "t.json", tinyJSON)
	r := &run{job: j, tool: Tool{}}
	f := r.infrastructure(&fs.PathError{Op: "write", Path: j.WorkDir, Err: syscall.ENOSPC})
	if f.Code != CodeNoSpace || f.Blame != BlameInfrastructure || !strings.Contains(f.Sentence, "MiB free: make room there") {
		t.Errorf("%+v", f)
	}
}

func TestJobsThatMakeNoSense(t *testing.T) {
	for _, j := range []Job{{Template: "t.json", WorkDir: t.TempDir()}, {Template: "/t.json"}} {
		var f *Failed
		if _, err := (Tool{}).Build(t.Context(), j); err == nil || errors.As(err, &f) {
			t.Errorf("Build(%+v): %v", j, err)
		}
	}
}
