package packer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxCopied is the largest file of a definition that is copied; larger ones are
// linked to.
const maxCopied = 1 << 20

// maxSocketDir keeps the sockets that Packer and QEMU make in a folder within
// the 107 bytes that a socket's name may have.
const maxSocketDir = 70

// folder is what one run of Packer works in.
type folder struct {
	work   string   // Job.WorkDir, absolute
	run    string   // everything but the image; removed at the end
	cwd    string   // the copy of the definition; Packer's working folder
	tmp    string   // for Packer's temporary files and all sockets
	output string   // offered to the template as output_directory
	made   bool     // work was made by us
	handle *os.File // of tmp where that is named by it
}

// newFolder lays out the work folder and copies the definition into it, so that
// relative paths in the template work and nothing is written beside it.
func newFolder(workDir, definition string) (*folder, error) {
	work, err := filepath.Abs(workDir)
	if err != nil {
		return nil, fmt.Errorf("work folder: %w", err)
	}
	f := &folder{work: work, run: filepath.Join(work, "run"), output: filepath.Join(work, "output")}
	if _, err := os.Stat(work); errors.Is(err, fs.ErrNotExist) {
		f.made = true
	}
	f.tmp = filepath.Join(f.run, "tmp")
	if err := os.MkdirAll(f.tmp, 0o700); err != nil {
		return nil, fmt.Errorf("work folder: %w", err)
	}
	if err := f.fill(definition); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return f, nil
}

func (f *folder) fill(definition string) error {
	if len(f.tmp) > maxSocketDir {
		// A short name that leaves nothing behind, even after kill -9, as a
		// folder in /tmp would: our own handle of the folder.
		dir, err := os.Open(f.tmp)
		if err != nil {
			return fmt.Errorf("folder for sockets: %w", err)
		}
		f.handle, f.tmp = dir, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), dir.Fd())
		if _, err := os.Stat(f.tmp); err != nil {
			return fmt.Errorf("the work folder's name is too long for sockets, and %w; use a shorter one", err)
		}
	}
	var err error
	if f.cwd, err = mirror(definition, filepath.Join(f.run, "src")); err != nil {
		return fmt.Errorf("copy the definition: %w", err)
	}
	return nil
}

// remove takes away all but the image.
func (f *folder) remove() error {
	err := os.RemoveAll(f.run)
	if f.handle != nil {
		err = errors.Join(err, f.handle.Close())
		f.handle = nil
	}
	return err
}

// discard takes away the image too.
func (f *folder) discard() error {
	err := errors.Join(f.remove(), os.RemoveAll(f.output))
	if f.made {
		err = errors.Join(err, os.RemoveAll(f.work))
	}
	return err
}

// mirror copies dir under root and returns the copy. The folders above it, up
// to the one that holds .git (or one, where there is none), are there too, with
// links to what else they hold: "../common" means what it means in the original.
func mirror(dir, root string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	// A link to the definition would make .. of the original and of the copy differ.
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	top := repository(dir)
	rel, err := filepath.Rel(top, dir)
	if err != nil {
		return "", err
	}
	from, to := top, root
	if err := os.MkdirAll(to, 0o700); err != nil {
		return "", err
	}
	if rel == "." {
		return to, copyTree(dir, to, root)
	}
	for _, step := range strings.Split(rel, string(filepath.Separator)) {
		if err := linkSiblings(from, to, step); err != nil {
			return "", err
		}
		from, to = filepath.Join(from, step), filepath.Join(to, step)
		if err := os.Mkdir(to, 0o700); err != nil {
			return "", err
		}
	}
	return to, copyTree(dir, to, root)
}

func repository(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(filepath.Join(d, ".git")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return filepath.Dir(dir)
		}
	}
}

func linkSiblings(from, to, except string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == except || e.Name() == ".git" {
			continue
		}
		if err := os.Symlink(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// copyTree copies small files and links to large and special ones. The work
// folder itself may lie inside of the definition; it is left out.
func copyTree(from, to, skip string) error {
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || rel == "." {
			return err
		}
		if path == skip || path == filepath.Dir(skip) || e.Name() == ".git" {
			return fs.SkipDir
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			return os.Mkdir(target, 0o700)
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() > maxCopied {
			return os.Symlink(path, target)
		}
		return copyFile(path, target, info.Mode().Perm())
	})
}

func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
