package hooks

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
)

// opened gives the files of a commit, read from the repository itself.
func opened(t *testing.T, g *gitRepo, id string) *tree {
	t.Helper()
	r := &repository{flags: []string{"--git-dir=" + g.dir}, env: gitEnviron(nil), damage: errDamaged}
	o := r.objects(t.Context())
	t.Cleanup(o.close)
	c, ok, err := o.commit(id)
	if err != nil || !ok {
		t.Fatalf("commit %s: %v, %v", id, ok, err)
	}
	return &tree{o, c.tree}
}

// A tree of git keeps what the standard library promises of a file system.
func TestTreeIsAFileSystem(t *testing.T) {
	g := newRepo(t, t.TempDir())
	id := g.commit("x", library.with(files{
		"link": link("images/a/t.json"), "images/up": link("../README.md"), "empty": plain(""), "images.d/x": plain("x"), "images0": plain("0"), "vendor": sub(other),
		"large": plain(strings.Repeat("0123456789abcdef", 1<<16)),
	}))
	if err := fstest.TestFS(opened(t, g, id), "images/a/aibuild.yaml", "images/a/tests/boots", "images/up", "link", "empty", "images.d/x", "images0", "large", "vendor"); err != nil {
		t.Error(err)
	}
}

func TestTreeFiles(t *testing.T) {
	g := newRepo(t, t.TempDir())
	fsys := opened(t, g, g.commit("x", files{
		"d/tool": tool("12345"), "d/link": link("tool"), "d/chain": link("link"), "dir": link("d"), "out": link("../x"), "abs": link("/etc/passwd"),
		"circle": link("circle"), "far": link("dir/tool"), "vendor": sub(other), "d/none": link("nothing"),
	}))
	for name, says := range map[string]string{
		"d/tool": "-rwxr-xr-x 5", "d/link": "-rwxr-xr-x 5", "d/chain": "-rwxr-xr-x 5", "dir": "drwxr-xr-x 0", "dir/tool": "-rwxr-xr-x 5", "far": "-rwxr-xr-x 5",
		"vendor": "drwxr-xr-x 0", ".": "drwxr-xr-x 0",
		"out": errLeads.Error(), "abs": errLeads.Error(), "circle": errLinks.Error(), "d/none": fs.ErrNotExist.Error(), "d/tool/x": fs.ErrNotExist.Error(),
		"../x": fs.ErrInvalid.Error(), "/d": fs.ErrInvalid.Error(), "": fs.ErrInvalid.Error(), "vendor/x": fs.ErrNotExist.Error(), "\xff": fs.ErrInvalid.Error(),
	} {
		info, err := fs.Stat(fsys, name)
		got := ""
		var failed *fs.PathError
		if errors.As(err, &failed) {
			got = failed.Err.Error()
		} else if err == nil {
			got = fmt.Sprint(info.Mode(), info.Size())
		}
		if got != says {
			t.Errorf("%q is %q, %v; want %q", name, got, err, says)
		}
	}
	if info, err := fs.Lstat(fsys, "d/link"); err != nil || info.Mode() != fs.ModeSymlink|0o777 || info.Size() != 4 || info.Name() != "link" {
		t.Errorf("Lstat = %v, %v", info, err)
	}
	if to, err := fs.ReadLink(fsys, "abs"); err != nil || to != "/etc/passwd" {
		t.Errorf("ReadLink = %q, %v", to, err)
	}
	if _, err := fs.ReadLink(fsys, "d/tool"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("ReadLink of a file: %v", err)
	}
}

// One file at a time: an older one says that it has been left, and never gives another one's content.
func TestTreeReadsOneFileAtATime(t *testing.T) {
	g := newRepo(t, t.TempDir())
	fsys := opened(t, g, g.commit("x", files{"a": plain(strings.Repeat("a", 1<<20)), "b": plain("b")}))
	a, err := fsys.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 10)
	if _, err := io.ReadFull(a, begin); err != nil || string(begin) != "aaaaaaaaaa" {
		t.Fatalf("read %q, %v", begin, err)
	}
	if b, err := fs.ReadFile(fsys, "b"); err != nil || string(b) != "b" {
		t.Errorf("b = %q, %v", b, err)
	}
	if n, err := a.Read(begin); err == nil {
		t.Errorf("read %d more bytes of a", n)
	}
	if fsys.objects.err != nil {
		t.Errorf("that counts as git's failure: %v", fsys.objects.err)
	}
}

// A git that dies while it is asked is an error, and no end of a file.
func TestTreeWithoutGit(t *testing.T) {
	g := newRepo(t, t.TempDir())
	fsys := opened(t, g, g.commit("x", files{"a": plain(strings.Repeat("a", 1<<22))}))
	a, err := fsys.Open("a")
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.objects.proc.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(a); err == nil {
		t.Errorf("all %d bytes were read of a git that was killed", len(content))
	}
	if _, err := fs.ReadFile(fsys, "a"); err == nil || fsys.objects.err == nil {
		t.Error("the file can still be read")
	}
}
