package hooks

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"time"
)

// info describes an entry of a tree.
type info struct {
	entry
	size int64
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.fileMode() }
func (i info) ModTime() time.Time { return time.Time{} } // git keeps none
func (i info) IsDir() bool        { return i.folder() }
func (i info) Sys() any           { return nil }

// dirEntry is info without the size, which is asked for only when it is needed.
type dirEntry struct {
	entry
	tree   *tree
	folder string
}

func (d dirEntry) Name() string      { return d.name }
func (d dirEntry) IsDir() bool       { return d.entry.folder() }
func (d dirEntry) Type() fs.FileMode { return d.fileMode().Type() }
func (d dirEntry) String() string    { return fs.FormatDirEntry(d) }

func (d dirEntry) Info() (fs.FileInfo, error) {
	return d.tree.describe("lstat", path.Join(d.folder, d.name), d.entry)
}

// openFile is a file that is being read.
type openFile struct {
	info info
	io.Reader
	closed bool
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }

func (f *openFile) Read(p []byte) (int, error) {
	if f.closed {
		return 0, &fs.PathError{Op: "read", Path: f.info.name, Err: fs.ErrClosed}
	}
	return f.Reader.Read(p)
}

func (f *openFile) Close() error {
	if f.closed {
		return &fs.PathError{Op: "close", Path: f.info.name, Err: fs.ErrClosed}
	}
	f.closed = true
	return nil
}

// openFolder is a folder that is being listed.
type openFolder struct {
	info info
	name string
	left []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }

func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.name, Err: errors.New("is a folder")}
}

func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		list := f.left
		f.left = nil
		return list, nil
	}
	if len(f.left) == 0 {
		return nil, io.EOF
	}
	list := f.left[:min(n, len(f.left))]
	f.left = f.left[len(list):]
	return list, nil
}
