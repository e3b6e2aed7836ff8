package hooks

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// tree is the files of a commit as a file system. Nothing is checked out, and contents are fetched when they are read.
// A submodule is an empty folder, as in a checkout without submodules. One file is read at a time.
type tree struct {
	objects *objects
	root    string // id
}

var (
	_ fs.ReadLinkFS = (*tree)(nil)
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
)

// entry is one name in a folder.
type entry struct {
	name, id string
	mode     int64 // git's
}

// git's modes.
const (
	modeKind      = 0o170000
	modeFolder    = 0o040000
	modeFile      = 0o100000
	modeLink      = 0o120000
	modeSubmodule = 0o160000
)

func (e entry) folder() bool { return e.mode&modeKind == modeFolder || e.submodule() }

func (e entry) submodule() bool { return e.mode&modeKind == modeSubmodule }

func (e entry) link() bool { return e.mode&modeKind == modeLink }

func (e entry) fileMode() fs.FileMode {
	switch {
	case e.folder():
		return fs.ModeDir | 0o755
	case e.link():
		return fs.ModeSymlink | 0o777
	case e.mode&0o111 != 0:
		return 0o755
	}
	return 0o644
}

// list gives the names in a folder, sorted.
func (t *tree) list(folder entry) ([]entry, error) {
	if t.objects.listed++; t.objects.listed > maxEntries {
		return nil, t.objects.fail(fmt.Errorf("more than %d folders were looked at; move what is no definition elsewhere", maxEntries))
	}
	if folder.submodule() {
		return nil, nil
	}
	if known, ok := t.objects.trees[folder.id]; ok {
		return known, nil
	}
	kind, content, err := t.objects.small(folder.id, maxFound)
	if err == nil && kind != "tree" {
		err = fmt.Errorf("%s is a %s, not a folder", folder.id, kind)
	}
	if err != nil {
		return nil, err
	}
	entries, err := parseTree(content, len(folder.id)/2)
	if err != nil {
		return nil, t.objects.fail(t.objects.repo.broken("cat-file", err))
	}
	t.objects.trees[folder.id] = entries
	return entries, nil
}

// parseTree reads "MODE NAME\0ID…". Names that no checkout can have are left out: git makes no such trees, and refuses
// to check them out.
func parseTree(content []byte, width int) ([]entry, error) {
	var entries []entry
	for len(content) > 0 {
		head, rest, ok := bytes.Cut(content, []byte{0})
		mode, name, spaced := strings.Cut(string(head), " ")
		bits, err := strconv.ParseInt(mode, 8, 32)
		if !ok || !spaced || err != nil || len(rest) < width {
			return nil, errors.New("a folder cannot be read")
		}
		if name != "" && name != "." && name != ".." && !strings.Contains(name, "/") {
			entries = append(entries, entry{name, hex.EncodeToString(rest[:width]), bits})
		}
		content = rest[width:]
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

const maxLinks = 20

var (
	errLinks   = errors.New("too many links")
	errLeads   = errors.New("leads out of the repository")
	errNotLink = errors.New("is no link")
)

// find looks a path up. Links on the way are followed inside the repository; one at its end if follow says so.
func (t *tree) find(name string, follow bool) (entry, error) {
	top := entry{".", t.root, modeFolder}
	at, walked, links := top, ".", 0
	for rest := steps(name); len(rest) > 0; {
		entries, err := t.list(at)
		if err != nil {
			return entry{}, err
		}
		i, found := slices.BinarySearchFunc(entries, rest[0], func(e entry, name string) int { return strings.Compare(e.name, name) })
		switch {
		case !found:
			return entry{}, fs.ErrNotExist
		case entries[i].link() && (follow || len(rest) > 1):
			if links++; links > maxLinks {
				return entry{}, errLinks
			}
			target, err := t.target(entries[i], walked)
			if err != nil {
				return entry{}, err
			}
			rest = append(steps(target), rest[1:]...)
			at, walked = top, "."
			continue
		case len(rest) > 1 && !entries[i].folder():
			return entry{}, fs.ErrNotExist
		}
		at, walked, rest = entries[i], path.Join(walked, rest[0]), rest[1:]
	}
	return at, nil
}

// steps splits a path, new at every call.
func steps(name string) []string {
	if name == "." {
		return nil
	}
	return strings.Split(name, "/")
}

// target is the path that a link in a folder leads to.
func (t *tree) target(link entry, folder string) (string, error) {
	text, err := t.text(link)
	if err != nil {
		return "", err
	}
	target := path.Join(folder, text)
	if path.IsAbs(text) || !fs.ValidPath(target) {
		return "", errLeads
	}
	return target, nil
}

// text is what a link says.
func (t *tree) text(link entry) (string, error) {
	_, content, err := t.objects.small(link.id, maxSmall)
	return string(content), err
}

func (t *tree) fault(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// look is find with the errors of an fs.FS.
func (t *tree) look(op, name string, follow bool) (entry, error) {
	if !fs.ValidPath(name) {
		return entry{}, t.fault(op, name, fs.ErrInvalid)
	}
	found, err := t.find(name, follow)
	if err != nil {
		return entry{}, t.fault(op, name, err)
	}
	found.name = path.Base(name)
	return found, nil
}

// Open opens a file or folder. The file has to be read before the next one is opened.
func (t *tree) Open(name string) (fs.File, error) {
	found, err := t.look("open", name, true)
	if err != nil {
		return nil, err
	}
	if found.folder() {
		entries, err := t.ReadDir(name)
		return &openFolder{info: info{found, 0}, name: name, left: entries}, err
	}
	_, content, err := t.objects.ask(found.id)
	if err != nil {
		return nil, t.fault("open", name, err)
	}
	return &openFile{info: info{found, content.N}, Reader: content}, nil
}

// Stat follows links, Lstat does not.
func (t *tree) Stat(name string) (fs.FileInfo, error) { return t.stat("stat", name, true) }

// Lstat describes what the name itself is.
func (t *tree) Lstat(name string) (fs.FileInfo, error) { return t.stat("lstat", name, false) }

func (t *tree) stat(op, name string, follow bool) (fs.FileInfo, error) {
	found, err := t.look(op, name, follow)
	if err != nil {
		return nil, err
	}
	return t.describe(op, name, found)
}

func (t *tree) describe(op, name string, e entry) (fs.FileInfo, error) {
	if e.folder() {
		return info{e, 0}, nil
	}
	if err := t.objects.prepare([]string{e.id}); err != nil {
		return nil, t.fault(op, name, err)
	}
	return info{e, t.objects.sizes[e.id]}, nil
}

// ReadLink gives the text of a link.
func (t *tree) ReadLink(name string) (string, error) {
	found, err := t.look("readlink", name, false)
	if err != nil {
		return "", err
	}
	if !found.link() {
		return "", t.fault("readlink", name, fmt.Errorf("%w: %w", fs.ErrInvalid, errNotLink))
	}
	text, err := t.text(found)
	if err != nil {
		return "", t.fault("readlink", name, err)
	}
	return text, nil
}

// ReadDir lists a folder, by name.
func (t *tree) ReadDir(name string) ([]fs.DirEntry, error) {
	found, err := t.look("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !found.folder() {
		return nil, t.fault("readdir", name, errors.New("is no folder"))
	}
	entries, err := t.list(found)
	if err != nil {
		return nil, t.fault("readdir", name, err)
	}
	list := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		list[i] = dirEntry{e, t, name}
	}
	return list, nil
}
