package aibuild

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/guestos/aibuild/aibuild/definition"
)

// checkout is a definition with the place where it lies.
type checkout struct {
	*definition.Definition
	dir  string // absolute
	root fs.FS  // of the repository, or of the folder's parent outside git
	rev  revision
}

// Validate reads the definition in dir and everything around it. What is wrong
// comes as definition.Errors, with paths that the caller can open.
func (p *Pipeline) Validate(ctx context.Context, dir string) (*definition.Definition, error) {
	c, err := p.open(ctx, dir)
	if err != nil {
		return nil, err
	}
	return c.Definition, nil
}

func (p *Pipeline) open(ctx context.Context, dir string) (*checkout, error) {
	path, err := absolute(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, definition.Errors{{Path: dir, Message: "no such folder", Fix: "name the folder that holds aibuild.yaml"}}
	}
	if err != nil {
		return nil, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, err
	}
	top := filepath.Dir(path)
	if inGit, err := (gitTool{path}).optional(ctx, "rev-parse", "--show-toplevel"); err == nil && inGit != "" {
		top = inGit
	}
	root, err := os.OpenRoot(top)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	inside, err := filepath.Rel(top, path)
	if err != nil {
		return nil, err
	}
	fsys := os.DirFS(top)
	d, err := definition.Load(root.FS(), filepath.ToSlash(inside))
	if err != nil {
		return nil, openable(err, top)
	}
	rev, err := readRevision(ctx, path, d.DependsOn)
	if err != nil {
		return nil, err
	}
	return &checkout{Definition: d, dir: path, root: fsys, rev: rev}, nil
}

// openable makes the paths of problems relative to the working directory.
func openable(err error, top string) error {
	var problems definition.Errors
	if !errors.As(err, &problems) {
		return err
	}
	here, wdErr := os.Getwd()
	for i := range problems {
		full := filepath.Join(top, filepath.FromSlash(problems[i].Path))
		if rel, relErr := filepath.Rel(here, full); wdErr == nil && relErr == nil && len(rel) < len(full) {
			full = rel
		}
		problems[i].Path = full
	}
	return problems
}

// project is who owns the names built from c.
func (p *Pipeline) project(c *checkout) string {
	if p.Project != "" {
		return p.Project
	}
	return c.rev.Project
}

func (p *Pipeline) ref(c *checkout) string {
	if p.Ref != "" {
		return p.Ref
	}
	return c.rev.Ref
}
