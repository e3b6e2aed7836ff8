package qemu

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/guestos/aibuild/aibuild/process"
)

const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1wq0zq it's a key"

// unpack reads a seed with a program that shares no code with its writer, and
// returns its label and its files by path.
func unpack(t *testing.T, iso string) (label string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "seed")
	result, err := process.Cmd{
		Path: "xorriso",
		Args: []string{"-osirrox", "on", "-indev", iso, "-pvd_info", "-extract", "/", dir},
	}.Run(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(result.Stdout) + string(result.Stderr)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "Volume Id" {
			label = strings.TrimSpace(value)
		}
	}
	files = map[string]string{}
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files[strings.TrimPrefix(path, dir+"/")] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return label, files
}

func names(files map[string]string) []string {
	var all []string
	for name := range files {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

func decode(t *testing.T, text string, unmarshal func([]byte, any) error) map[string]any {
	t.Helper()
	var m map[string]any
	if err := unmarshal([]byte(text), &m); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return m
}

func TestNoCloud(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed.iso")
	seed := Seed{InstanceID: "i-1", Hostname: "web-1", User: "root", SSHKey: testKey + "\n", UserData: "#cloud-config\nbootcmd:\n  - [ls]\n"}
	if err := seed.NoCloud(path); err != nil {
		t.Fatal(err)
	}
	label, files := unpack(t, path)
	if label != "cidata" {
		t.Errorf("label = %q", label)
	}
	if diff := cmp.Diff([]string{"meta-data", "user-data", "vendor-data"}, names(files)); diff != "" {
		t.Fatal(diff)
	}
	meta := map[string]any{"instance-id": "i-1", "local-hostname": "web-1", "public-keys": []any{testKey}}
	if diff := cmp.Diff(meta, decode(t, files["meta-data"], yaml.Unmarshal)); diff != "" {
		t.Error(diff)
	}
	user := map[string]any{"disable_root": false, "bootcmd": []any{[]any{"ls"}}}
	if diff := cmp.Diff(user, decode(t, files["user-data"], yaml.Unmarshal)); diff != "" || !strings.HasPrefix(files["user-data"], "#cloud-config\n") {
		t.Error(diff, files["user-data"])
	}
}

func TestConfigDrive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seed.iso")
	if err := (Seed{Hostname: "web-1", SSHKey: testKey, MAC: "52:54:00:00:00:07"}).ConfigDrive(path); err != nil {
		t.Fatal(err)
	}
	label, files := unpack(t, path)
	if label != "config-2" {
		t.Errorf("label = %q", label)
	}
	const dir = "openstack/latest/"
	if diff := cmp.Diff([]string{dir + "meta_data.json", dir + "network_data.json", dir + "user_data", dir + "vendor_data.json"}, names(files)); diff != "" {
		t.Fatal(diff)
	}
	meta := decode(t, files[dir+"meta_data.json"], json.Unmarshal)
	if meta["hostname"] != "web-1" || len(meta["uuid"].(string)) != 36 || len(meta["random_seed"].(string)) < 512 {
		t.Errorf("meta_data.json = %v", meta)
	}
	if diff := cmp.Diff(map[string]any{"aibuild": testKey + "\n"}, meta["public_keys"]); diff != "" {
		t.Error(diff)
	}
	if !strings.Contains(files[dir+"network_data.json"], "52:54:00:00:00:07") {
		t.Errorf("network_data.json = %s", files[dir+"network_data.json"])
	}
	if got := files[dir+"user_data"]; got != "#cloud-config\n{}\n" {
		t.Errorf("user_data = %q", got)
	}
}

func TestSeedRefuses(t *testing.T) {
	for name, seed := range map[string]Seed{
		"two keys":        {SSHKey: testKey + "\n" + testKey},
		"key options":     {SSHKey: `command="ls" ` + testKey},
		"host name":       {Hostname: "a b"},
		"yaml in a name":  {Hostname: "a\nusers: []"},
		"yaml in an id":   {InstanceID: "x\nlocal-hostname: y"},
		"a script":        {UserData: "#!/bin/sh\nreboot\n"},
		"another message": {UserData: "Content-Type: multipart/mixed\n"},
	} {
		path := filepath.Join(t.TempDir(), "seed.iso")
		if seed.NoCloud(path) == nil || seed.ConfigDrive(path) == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was left", name)
		}
	}
	if err := (Seed{}).NoCloud("/nowhere/seed.iso"); err == nil {
		t.Error("a seed was written nowhere")
	}
}
