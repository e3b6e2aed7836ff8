// Package images_test checks what can be checked of the example images without building them: the definitions, the templates, the
// scripts, and that tiny-linux's ISO is the same each time it is made. The images themselves are built and booted by the tests of the
// whole pipeline.
package images_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// images are the definitions of this folder.
var images = []string{"debian-12", "tiny-app", "tiny-broken", "tiny-linux"}

func run(t *testing.T, dir, program string, args ...string) *process.Result {
	t.Helper()
	result, err := process.Cmd{Path: program, Args: args, Dir: dir, Timeout: 10 * time.Minute}.Run(context.Background())
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, result.Stderr)
	}
	return result
}

func digest(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func TestEveryFolderIsListed(t *testing.T) {
	found, err := filepath.Glob("*/" + definition.File)
	if err != nil {
		t.Fatal(err)
	}
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	if diff := cmp.Diff(images, found); diff != "" {
		t.Errorf("folders with a definition (-tested +there):\n%s", diff)
	}
}

func TestDefinitions(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			d, err := definition.Load(os.DirFS("."), name)
			if err != nil {
				t.Fatal(err)
			}
			if d.Name != name {
				t.Errorf("the image in folder %s is called %s", name, d.Name)
			}
		})
	}
}

// What the examples promise to show to those who copy them.
func TestDefinitionsShowWhatTheyPromise(t *testing.T) {
	load := func(name string) *definition.Definition {
		d, err := definition.Load(os.DirFS("."), name)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, name := range []string{"tiny-linux", "debian-12"} {
		if cells := load(name).Test.Matrix.Cells(); len(cells) != 8 {
			t.Errorf("%s is tested in %d machines, want all 8", name, len(cells))
		}
	}
	app := load("tiny-app")
	if app.From.Image != "tiny-linux" || !app.FollowParent {
		t.Errorf("tiny-app comes from %+v, follow_parent %v; want the image tiny-linux, true", app.From, app.FollowParent)
	}
	var isolated, retried bool
	for _, c := range app.Cases {
		isolated = isolated || c.Isolated
		retried = retried || c.Retries > 0
	}
	if !isolated || !retried {
		t.Errorf("tiny-app has an isolated case: %v, one with retries: %v; want both", isolated, retried)
	}
}

// writeKey writes a private key: Packer reads it when it validates.
func writeKey(t *testing.T, path string) {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Packer itself has to accept the templates with the variables that aibuild passes, and only those.
func TestTemplates(t *testing.T) {
	for _, name := range images {
		t.Run(name, func(t *testing.T) {
			d, err := definition.Load(os.DirFS("."), name)
			if err != nil {
				t.Fatal(err)
			}
			dir, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			source, key := filepath.Join(work, "source"), filepath.Join(work, "key")
			if err := os.WriteFile(source, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
			writeKey(t, key)
			vars := map[string]string{
				"iso_url": source, "iso_checksum": "sha256:" + digest(t, source), "vm_name": name + ".qcow2", "memory": "256",
				"ssh_private_key_file": key, "ssh_public_key": "ssh-ed25519 AAAA test",
			}
			for k, v := range d.Build.Vars {
				vars[k] = v
			}
			job := packer.Job{
				Template: filepath.Join(dir, d.Build.Template), Dir: dir, WorkDir: filepath.Join(work, "build"), Vars: vars,
				Accel: qemu.Accel{Name: "tcg", Scale: 1}, WatchConsole: true,
			}
			if err := (packer.Tool{}).Validate(context.Background(), job); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The guest of the tiny images has busybox' shell, the builder and Debian have others.
func TestScriptsParse(t *testing.T) {
	shells := map[string][]string{"#!/bin/sh": {"busybox", "sh"}, "#!/bin/bash": {"bash"}}
	checked := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "source":
			return fs.SkipDir // made, not written
		case entry.IsDir():
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		line, _, _ := bytes.Cut(text, []byte("\n"))
		shell, ok := shells[string(line)]
		if !ok {
			if bytes.HasPrefix(line, []byte("#!")) {
				t.Errorf("%s starts with %s; want one of /bin/sh and /bin/bash", path, line)
			}
			return nil
		}
		checked++
		if result, err := (process.Cmd{Path: shell[0], Args: append(shell[1:], "-n", path)}).Run(context.Background()); err != nil {
			t.Errorf("%s: %v\n%s", path, err, result.Stderr)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked == 0 {
		t.Error("no script was found")
	}
}

// The same files and packages give the same ISO, wherever and whenever it is made; what is there and whole is not made again.
func TestTinySourceIsReproducible(t *testing.T) {
	copied, out := t.TempDir(), t.TempDir()
	for _, dir := range []string{"common", "tiny-linux"} {
		if err := os.CopyFS(filepath.Join(copied, dir), os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
	}
	made := func(from, folder string) (iso, said string) {
		result := run(t, ".", filepath.Join(from, "tiny-linux", "source.sh"), folder)
		return filepath.Join(folder, "tiny-linux.iso"), string(result.Stderr)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	iso, _ := made(here, filepath.Join(out, "one"))
	other, _ := made(copied, filepath.Join(out, "two"))
	want := digest(t, iso)
	if got := digest(t, other); got != want {
		t.Errorf("two ISOs of the same files differ: sha256 %s and %s", want, got)
	}
	sums, err := os.ReadFile(iso + ".sha256")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(sums); got != want+"  tiny-linux.iso\n" {
		t.Errorf("the checksum file says %q, the ISO's digest is %s", got, want)
	}

	before, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	_, said := made(here, filepath.Join(out, "one"))
	after, err := os.Stat(iso)
	if err != nil {
		t.Fatal(err)
	}
	if !os.SameFile(before, after) || !strings.Contains(said, "up to date") {
		t.Errorf("an ISO that was up to date was made again: %q", said)
	}

	if err := os.Truncate(iso, before.Size()-1); err != nil {
		t.Fatal(err)
	}
	made(here, filepath.Join(out, "one"))
	if got := digest(t, iso); got != want {
		t.Errorf("a damaged ISO was not repaired: sha256 %s, want %s", got, want)
	}
}
