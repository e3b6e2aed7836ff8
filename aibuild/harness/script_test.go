package harness

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// TestCaseScript runs case.sh here, as a login that may not become root.
func TestCaseScript(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"run":       fmt.Sprintf("HEAD=%d TAIL=%d\n", 10, 5) + caseScript,
		"bin/id":    "#!/bin/sh\necho 1000\n",
		"bin/sudo":  "#!/bin/sh\necho 'a password is required' >&2\nexit 1\n",
		"files/cwd": "#!/bin/sh\nexpr \"$PWD\" : '.*/\\(.*\\)'\n",
		"cases/0":   "#!/bin/sh\necho $A; exit 3\n",
		"cases/1":   "#!/bin/sh\nprintf 0123456789abcdefghij\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name, clock, sudo, file string
		stdout, stderr          string
	}{
		{"status and variables", "-", "-", "cases/0", "one two\n", "rc 3\n"},
		{"folder", "-", "-", "files/cwd", "files\n", "rc 0\n"},
		{"long output", "-", "-", "cases/1", "0123456789fghij", "rc 0\n"},
		{"clock may not be set", "12345", "-", "cases/0", "one two\n", "clock not set\nrc 3\n"},
		{"may not become root", "-", "sudo", "cases/0", "", "no sudo\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			result, err := process.Cmd{
				Path: "sh", Args: []string{dir + "/run", tt.clock, tt.sudo, "0", filepath.Join(dir, tt.file), "A=one two"},
				Env: []string{"PATH=" + dir + "/bin:/usr/bin:/bin"}, Timeout: time.Minute,
			}.Run(t.Context())
			var ended *process.Error
			if err != nil && (!errors.As(err, &ended) || ended.ExitCode != 1) {
				t.Fatal(err)
			}
			if got := string(result.Stdout); got != tt.stdout {
				t.Errorf("standard output %q, want %q", got, tt.stdout)
			}
			if got := string(result.Stderr); got != tt.stderr {
				t.Errorf("standard error %q, want %q", got, tt.stderr)
			}
		})
	}
}

// TestFactsScript: on this machine, too, it comes to its end and tells no secret.
func TestFactsScript(t *testing.T) {
	result, err := process.Cmd{Path: "sh", Args: []string{"-s"}, Stdin: strings.NewReader(factsScript), MaxCapture: 1 << 20, Timeout: 5 * time.Minute}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseFacts(result.Stdout)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, result.Stdout)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if f.one("hostname") != host || f.one("uptime") == "" || len(f["password"]) == 0 {
		t.Errorf("hostname %q, uptime %q, %d password lines; want %q and some", f.one("hostname"), f.one("uptime"), len(f["password"]), host)
	}
	if strings.Contains(string(result.Stdout), "$6$") || strings.Contains(string(result.Stdout), "$y$") {
		t.Error("the facts hold a password hash")
	}
}
