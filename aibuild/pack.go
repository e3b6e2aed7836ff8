package aibuild

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// packDefinition writes the folder as built into a tar file, bit for bit the
// same for the same content: what git ignores (sources, outputs) stays out.
func packDefinition(ctx context.Context, c *checkout, to string) (err error) {
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	files, inGit := tracked(ctx, c.dir)
	w := tar.NewWriter(out)
	for _, name := range c.Files {
		if inGit && !files[name] || name == c.From.ISO || name == c.From.Disk {
			continue
		}
		if err := addFile(w, c.dir, name); err != nil {
			return fmt.Errorf("%s: %w", definitionFile, err)
		}
	}
	return w.Close()
}

func addFile(w *tar.Writer, dir, name string) error {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", name)
	}
	mode := int64(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	header := &tar.Header{Name: name, Mode: mode, Size: info.Size(), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// unpackDefinition is the reverse; names that leave dir are refused.
func unpackDefinition(from io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(from)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", definitionFile, err)
		}
		if err := unpackFile(root, r, header); err != nil {
			return fmt.Errorf("%s: %s: %w", definitionFile, header.Name, err)
		}
	}
}

func unpackFile(root *os.Root, from io.Reader, header *tar.Header) (err error) {
	if header.Typeflag != tar.TypeReg || !fs.ValidPath(header.Name) {
		return errors.New("not a plain file inside the folder")
	}
	if err := root.MkdirAll(path.Dir(header.Name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(header.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(header.Mode)&0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.Copy(f, from)
	return err
}

// addEvidence adds the files below dir, under prefix, to what is published.
func addEvidence(files map[string]string, dir, prefix string) error {
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		files[prefix+"/"+strings.ReplaceAll(filepath.ToSlash(rel), "\\", "_")] = p
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
