package definition

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const maxFiles = 20_000 // of one folder: a definition, no archive

// tree is the files of one folder: plain files, and links that were found to lead to a plain file of the file system.
type tree struct {
	root  string // in the file system
	files []file
}

// file is one file of a tree.
type file struct {
	name       string // relative to the tree's root
	content    string // path in the file system that holds the bytes; another one for a link
	executable bool
	size       int64
}

// scan lists a folder, and makes a problem of everything in it that is neither file, folder nor harmless link. skip says
// which names, relative to root, are left out with all below them.
func (l *loader) scan(root string, skip func(string) bool) (*tree, error) {
	t := &tree{root: root}
	err := fs.WalkDir(l.fsys, root, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := relative(root, full)
		if name != "." && (entry.Name() == ".git" || skip(name)) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			return nil
		}
		if len(t.files) >= maxFiles {
			l.problems = append(l.problems, Problem{Path: root, Message: fmt.Sprintf("holds more than %d files", maxFiles), Fix: "move what is no part of the definition elsewhere"})
			return fs.SkipAll
		}
		return l.add(t, name, full, entry)
	})
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	slices.SortFunc(t.files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	return t, nil
}

func (l *loader) add(t *tree, name, full string, entry fs.DirEntry) error {
	content := full
	if entry.Type()&fs.ModeSymlink != 0 {
		target, why := l.follow(full)
		if why != "" {
			l.problems = append(l.problems, Problem{Path: full, Message: "is a link " + why, Fix: "put the file itself here, or name its folder under depends_on"})
			return nil
		}
		content = target
	}
	info, err := lstat(l.fsys, content)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		l.problems = append(l.problems, Problem{Path: full, Message: "is " + kind(info.Mode()), Fix: "keep plain files and folders only"})
		return nil
	}
	t.files = append(t.files, file{name, content, info.Mode()&0o111 != 0, info.Size()})
	return nil
}

// follow gives the plain file that a link names; why says what is wrong with the link. Only one step inside the file
// system is followed, so that no chain of links can lead out of it.
func (l *loader) follow(full string) (target, why string) {
	links, ok := l.fsys.(fs.ReadLinkFS)
	if !ok {
		return "", "where links cannot be read"
	}
	text, err := links.ReadLink(full)
	if err != nil {
		return "", "that cannot be read: " + reason(err)
	}
	target = path.Join(path.Dir(full), text)
	if path.IsAbs(text) || !fs.ValidPath(target) {
		return "", "that leads out of the repository"
	}
	for step := target; step != "."; step = path.Dir(step) {
		info, err := lstat(l.fsys, step)
		if err != nil {
			return "", "to " + text + ", which cannot be read: " + reason(err)
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return "", "that leads over another link, " + step
		}
		if step == target && !info.Mode().IsRegular() {
			return "", "to " + kind(info.Mode())
		}
	}
	return target, ""
}

// has finds a file, or says whether any file lies below a folder of that name.
func (t *tree) has(name string) (found *file, folder bool) {
	for i := range t.files {
		if t.files[i].name == name {
			return &t.files[i], false
		}
		folder = folder || strings.HasPrefix(t.files[i].name, name+"/")
	}
	return nil, folder
}

// contentSHA256 digests one file as a stream, so that a large one needs no memory.
func contentSHA256(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", fmt.Errorf("read definition: %w", err)
	}
	defer f.Close() // reading only: nothing can be lost
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("read definition: %w", err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// lstat does not follow a link where the file system can tell.
func lstat(fsys fs.FS, name string) (fs.FileInfo, error) {
	if links, ok := fsys.(fs.ReadLinkFS); ok {
		return links.Lstat(name)
	}
	return fs.Stat(fsys, name)
}

func relative(root, full string) string {
	if full == root {
		return "."
	}
	if root == "." {
		return full
	}
	return strings.TrimPrefix(full, root+"/")
}

// kind names what a mode is, with its article.
func kind(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeSymlink != 0:
		return "a link"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	case mode&fs.ModeDevice != 0:
		return "a device"
	}
	return "no plain file"
}

// reason is why a file could not be read, without the path that the message names already.
func reason(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}
