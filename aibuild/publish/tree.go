package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/pkg/sftp"
	"golang.org/x/sys/unix"
)

// tree is the web root: a local folder, confined by os.Root, or a folder on an SFTP server. Paths are relative to it.
type tree struct {
	root   *os.Root // nil on SFTP
	remote *sftp.Client
	base   string       // absolute path of the root, here or there
	ended  func() error // SFTP: why the call that this tree is for must end
}

func (t *tree) full(name string) string { return path.Join(t.base, name) }

// output is a file being written.
type output struct {
	io.WriterAt
	io.Closer
	truncate func(int64) error
	sync     func() error
	local    *direct // nil on SFTP
}

// writeChunk writes data and leaves holes out.
func (o *output) writeChunk(c *chunk) (err error) {
	switch {
	case c.hole:
		return nil
	case o.local != nil:
		err = o.local.writeAt(c.data, c.offset)
	default:
		_, err = o.WriteAt(c.data, c.offset)
	}
	if err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}

// create makes a new file; one that is there, and a link, are errors.
func (t *tree) create(name string) (*output, error) {
	if t.root == nil {
		f, err := t.remote.OpenFile(t.full(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return nil, t.fail("create", name, err)
		}
		return &output{f, f, f.Truncate, f.Sync, nil}, nil
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &output{f, f, f.Truncate, f.Sync, &direct{file: f}}, nil
}

// finish gives the file its size, syncs, closes it and makes it readable for the web server.
func (t *tree) finish(o *output, name string, size int64) error {
	err := errors.Join(o.truncate(size), o.sync())
	if err = errors.Join(err, o.Close()); err != nil {
		return t.fail("write", name, err)
	}
	return t.chmod(name, 0o644)
}

// write makes a small file.
func (t *tree) write(name string, data []byte) error {
	o, err := t.create(name)
	if err != nil {
		return err
	}
	if _, err := o.WriteAt(data, 0); err != nil {
		return errors.Join(t.fail("write", name, err), o.Close())
	}
	return t.finish(o, name, int64(len(data)))
}

// open opens a plain file for reading; a link is an error.
func (t *tree) open(name string) (io.ReadSeekCloser, error) {
	info, err := t.lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, t.fail("open", name, errors.New("not a plain file"))
	}
	if t.root == nil {
		f, err := t.remote.Open(t.full(name))
		return f, t.fail("open", name, err)
	}
	return t.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// read reads a small file.
func (t *tree) read(name string, limit int64) ([]byte, error) {
	f, err := t.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() // reading only: nothing can be lost
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, t.fail("read", name, err)
	}
	if int64(len(data)) > limit {
		return nil, t.fail("read", name, fmt.Errorf("larger than %s", human(limit)))
	}
	return data, nil
}

// sha256 digests a file of the tree.
func (t *tree) sha256(ctx context.Context, name string) (string, error) {
	f, err := t.open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() // reading only: nothing can be lost
	sum := sha256.New()
	if _, err := io.Copy(&until{ctx, sum}, f); err != nil {
		return "", t.fail("read", name, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// until writes while ctx lives.
type until struct {
	ctx context.Context
	w   io.Writer
}

func (u *until) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.w.Write(p)
}

func (t *tree) lstat(name string) (fs.FileInfo, error) {
	if t.root == nil {
		info, err := t.remote.Lstat(t.full(name))
		return info, t.fail("stat", name, err)
	}
	return t.root.Lstat(name)
}

// list gives the entries of a folder by name, none for a folder that is not there.
func (t *tree) list(name string) ([]fs.FileInfo, error) {
	infos, err := t.readDir(name)
	if missing(err) {
		return nil, nil
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return infos, err
}

func (t *tree) readDir(name string) ([]fs.FileInfo, error) {
	if t.root == nil {
		infos, err := t.remote.ReadDir(t.full(name))
		return infos, t.fail("list", name, err)
	}
	dir, err := t.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close() // reading only: nothing can be lost
	return dir.Readdir(-1)
}

// folders makes a folder and those above it. What is there must be a folder: a link could lead elsewhere.
func (t *tree) folders(name string) error {
	steps := strings.Split(name, "/")
	for i := range steps {
		step := path.Join(steps[:i+1]...)
		info, err := t.lstat(step)
		if missing(err) {
			if err := t.mkdir(step); err != nil && !t.exists(step) {
				return err
			}
			if err := t.chmod(step, 0o755); err != nil {
				return err
			}
			info, err = t.lstat(step)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return t.fail("use", step, errors.New("it is a link or file where a folder must be; look who made it, then remove it"))
		}
	}
	return nil
}

// plain says that every step of a path is a folder and no link; ErrNotExist when one is missing.
func (t *tree) plain(name string) error {
	steps := strings.Split(name, "/")
	for i := range steps {
		step := path.Join(steps[:i+1]...)
		info, err := t.lstat(step)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return t.fail("use", step, errors.New("it is a link or file where a folder must be; look who made it, then remove it"))
		}
	}
	return nil
}

func (t *tree) exists(name string) bool {
	_, err := t.lstat(name)
	return err == nil
}

func (t *tree) mkdir(name string) error {
	if t.root == nil {
		return t.fail("make", name, t.remote.Mkdir(t.full(name)))
	}
	return t.root.Mkdir(name, 0o700)
}

func (t *tree) chmod(name string, mode fs.FileMode) error {
	if t.root == nil {
		return t.fail("chmod", name, t.remote.Chmod(t.full(name), mode))
	}
	return t.root.Chmod(name, mode)
}

// rename replaces a file; a folder that is there and not empty is an error.
func (t *tree) rename(from, to string) error {
	if t.root == nil {
		return t.fail("rename", to, t.remote.PosixRename(t.full(from), t.full(to)))
	}
	return t.root.Rename(from, to)
}

func (t *tree) link(from, to string) error {
	if t.root == nil {
		return t.fail("link", to, t.remote.Link(t.full(from), t.full(to)))
	}
	return t.root.Link(from, to)
}

func (t *tree) symlink(target, name string) error {
	if t.root == nil {
		return t.fail("link", name, t.remote.Symlink(target, t.full(name)))
	}
	return t.root.Symlink(target, name)
}

func (t *tree) readlink(name string) (string, error) {
	if t.root == nil {
		target, err := t.remote.ReadLink(t.full(name))
		return target, t.fail("read", name, err)
	}
	return t.root.Readlink(name)
}

// removeAll removes a file, or a folder with all in it, and never follows a link.
func (t *tree) removeAll(name string) error {
	if t.root != nil {
		return t.root.RemoveAll(name)
	}
	info, err := t.lstat(name)
	if missing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return t.fail("remove", name, t.remote.Remove(t.full(name)))
	}
	entries, err := t.readDir(name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := t.removeAll(path.Join(name, entry.Name())); err != nil {
			return err
		}
	}
	return t.fail("remove", name, t.remote.RemoveDirectory(t.full(name)))
}

// sync makes the names in a folder durable; SFTP has no way to ask for it.
func (t *tree) sync(name string) error {
	if t.root == nil {
		return nil
	}
	dir, err := t.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// space is what is free for us on the root's file system, in bytes.
func (t *tree) space() (int64, error) {
	if t.root == nil {
		stat, err := t.remote.StatVFS(t.base)
		if err != nil {
			return 0, t.fail("ask free space of", "", err)
		}
		return int64(stat.Bavail * stat.Frsize), nil // no file system reaches 2^63 bytes
	}
	return freeOf(t.base)
}

func freeOf(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, fmt.Errorf("ask free space of %s: %w", dir, err)
	}
	return int64(stat.Bavail) * stat.Bsize, nil // no file system reaches 2^63 bytes
}

// fail names the path and the action, which SFTP's own errors do not.
func (t *tree) fail(action, name string, err error) error {
	if err == nil {
		return nil
	}
	if t.root == nil {
		name = "sftp:" + t.full(name)
		err = ended(t.ended(), err)
	}
	return fmt.Errorf("%s %s: %w", action, name, err)
}

// ended names the end of the call's context as the cause of what a cut connection says.
func ended(cause, err error) error {
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", cause, err)
}

func unixStat(info fs.FileInfo) (*syscall.Stat_t, bool) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return stat, ok
}

// under makes the folders below a hidden folder of ours. They open to readers when all is sealed.
func (t *tree) under(part, below string) error {
	if below == "." {
		return nil
	}
	steps := strings.Split(below, "/")
	for i := range steps {
		step := path.Join(part, path.Join(steps[:i+1]...))
		if t.exists(step) {
			continue
		}
		if err := t.mkdir(step); err != nil {
			return err
		}
	}
	return nil
}
