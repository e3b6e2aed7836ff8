package packer

import (
	"os"
	"path/filepath"
	"testing"
)

// Two cache folders have one folder of port locks; a folder that somebody else has put there is not used.
func TestPortLocksAreShared(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	one, two := t.TempDir(), t.TempDir()
	for _, cache := range []string{one, two, one} {
		if err := sharePorts(cache); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(one, "port", "5900"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(two, "port", "5900")); err != nil {
		t.Errorf("the other one does not see the lock: %v", err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	entries, err := os.ReadDir(tmp)
	if err != nil || len(entries) != 1 {
		t.Fatalf("%v, %v", entries, err)
	}
	if err := os.Symlink(t.TempDir(), filepath.Join(os.TempDir(), entries[0].Name())); err != nil {
		t.Fatal(err)
	}
	if err := sharePorts(t.TempDir()); err == nil {
		t.Error("a link was taken for our folder")
	}
}
