//go:build slow

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Debian 12 through the whole pipeline: make test-slow.
func TestSlowDebian12(t *testing.T) {
	p := newPerson(t)
	repo := filepath.Join(t.TempDir(), "images")
	copyTree(t, "../../examples/images", repo)
	dir := filepath.Join(repo, "debian-12")
	cmd := exec.Command(filepath.Join(dir, "source.sh"))
	cmd.Env = os.Environ()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("source.sh: %v\n%s", err, out)
	}
	git(t, repo)
	uuid := p.must(0, "run", dir).last()
	img := p.show(uuid)
	if img["state"] != "released" || img["os_type"] != "debian" {
		t.Errorf("debian-12 is %v", img["state"])
	}
	tests := p.must(0, "image", "show", uuid, "-o", "json").out
	for _, cell := range []string{"bios-virtio-nocloud", "uefi-scsi-configdrive"} {
		if !strings.Contains(tests, cell) {
			t.Errorf("%s was not tested", cell)
		}
	}
	if n := p.lab.count(t, "SELECT COUNT(*) FROM image_package WHERE manager = 'dpkg' AND image_uuid = '"+uuid+"'"); n < 100 {
		t.Errorf("%d packages are recorded of a Debian", n)
	}
	if r := p.must(0, "package", "cloud-init", "--released", "-o", "csv"); !strings.Contains(r.out, uuid) {
		t.Errorf("cloud-init is in no released image:\n%s", r.out)
	}
	list := p.lab.glance(t, "alpha", "debian-12", false)
	if len(list) != 1 || list[0].Properties["aibuild_uuid"] != uuid {
		t.Errorf("alpha shows %v", list)
	}
}
