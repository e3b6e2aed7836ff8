package packer

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// fakePacker is a program that answers like a Packer of the version and replays
// recorded streams. Where a stream says @OUT@ the output folder that was passed
// stands, and an image of a few bytes lies in it.
type fakePacker struct {
	version  string
	validate string // name in testdata, or empty for success
	build    string
	exit     int    // of build
	before   string // shell commands before build's stream
	after    string // and after it
}

func (f fakePacker) install(t *testing.T) string {
	t.Helper()
	here, err := filepath.Abs("testdata")
	if err != nil {
		t.Fatal(err)
	}
	validate := "exit 0"
	if f.validate != "" {
		validate = fmt.Sprintf("cat '%s/%s.mr'; exit 1", here, f.validate)
	}
	build := ":"
	if f.build != "" {
		build = fmt.Sprintf("sed \"s|@OUT@|$out|g\" '%s/%s.mr'", here, f.build)
	}
	script := `#!/bin/sh
case $1 in
version) printf '1700000000,,version,` + f.version + `\n1700000000,,version-prelease,\n1700000000,,ui,say,Packer v` + f.version + `\n' ;;
validate) ` + validate + ` ;;
build)
	for a; do case $a in -var-file=*) vars=${a#-var-file=};; esac; done
	out=$(sed -n 's/.*"output_directory":"\([^"]*\)".*/\1/p' "$vars" 2>/dev/null)
	[ -z "$out" ] || { mkdir -p "$out"; for n in tiny.qcow2 tiny2.qcow2; do printf 'QFI\373image' >"$out/$n"; done; }
	` + f.before + `
	` + build + `
	` + f.after + `
	exit ` + fmt.Sprint(f.exit) + ` ;;
esac
`
	path := filepath.Join(t.TempDir(), "packer")
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// write puts files into a new folder and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const tinyJSON = `{
  "variables": {"iso_url": "", "iso_checksum": "", "output_directory": ""},
  "builders": [{
    "type": "qemu", "name": "tiny",
    "iso_url": "{{user ` + "`iso_url`" + `}}",
    "iso_checksum": "{{user ` + "`iso_checksum`" + `}}",
    "output_directory": "{{user ` + "`output_directory`" + `}}", "vm_name": "tiny.qcow2"
  }]
}
`

const tinyHCL = `
variable "iso_url" { type = string }
variable "iso_checksum" { type = string }
variable "output_directory" { type = string }
source "qemu" "tiny" {
  iso_url          = var.iso_url
  iso_checksum     = var.iso_checksum
  output_directory = var.output_directory
  qemuargs         = [["-serial", "null"]]
}
build { sources = ["source.qemu.tiny"] }
`

var sourceVars = map[string]string{"iso_url": "/base.iso", "iso_checksum": "sha256:" + strings.Repeat("a", 64)}

// job is a job for a template of one file, with all folders of its own.
func job(t *testing.T, name, text string) Job {
	t.Helper()
	dir := write(t, map[string]string{name: text})
	state := t.TempDir()
	return Job{
		Template: filepath.Join(dir, name), Dir: dir, Vars: sourceVars,
		WorkDir: filepath.Join(state, "work"), Evidence: filepath.Join(state, "evidence"),
	}
}

// leftOvers fails the test if a failed job left anything but its evidence.
func leftOvers(t *testing.T, j Job) {
	t.Helper()
	if _, err := os.Stat(j.WorkDir); !os.IsNotExist(err) {
		t.Errorf("the work folder %s is still there (%v)", j.WorkDir, err)
	}
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
