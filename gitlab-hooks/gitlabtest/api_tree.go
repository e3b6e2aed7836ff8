package gitlabtest

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

type treeEntry struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Type string `json:"type"`
	Path string `json:"path"`
	Mode string `json:"mode"`
}

func (c *call) tree() (any, error) {
	recursive, err := c.params.flag("recursive", false)
	if err != nil {
		return nil, err
	}
	commit, err := c.commitAt(c.params.text("ref"))
	if errors.Is(err, errNoObject) {
		return nil, notFound("Tree")
	}
	if err != nil {
		return nil, err
	}
	folder := strings.TrimSuffix(c.params.text("path"), "/")
	switch {
	case strings.HasPrefix(folder, "/"):
		return nil, notFound("Only relative path is accepted")
	case folder == "..", strings.HasPrefix(path.Clean(folder), "../"):
		return nil, notFound("Path cannot include traversal syntax")
	}
	entries, err := c.listTree(commit, path.Clean(orElse(folder, ".")), recursive)
	if errors.Is(err, errNoObject) {
		return nil, notFound("invalid revision or path")
	}
	if err != nil {
		return nil, err
	}
	if c.params.text("pagination") == "keyset" {
		return paginateKeyset(c, entries, func(e treeEntry) string { return base64.RawURLEncoding.EncodeToString([]byte(e.Path)) })
	}
	return paginateGitaly(c, entries)
}

// listTree lists a folder: folders first, then files, then submodules, each by name.
func (c *call) listTree(commit, folder string, recursive bool) ([]treeEntry, error) {
	at, prefix := commit, ""
	if folder != "." {
		at, prefix = commit+":"+folder, folder+"/"
	}
	args := []string{"ls-tree", "-z", "--full-tree"}
	if recursive {
		args = append(args, "-r", "-t")
	}
	out, err := c.project.repo.git(c.ctx, nil, append(args, at)...)
	if err != nil {
		return nil, missing(err)
	}
	entries := []treeEntry{}
	for line := range bytes.SplitSeq(bytes.TrimSuffix(out, []byte{0}), []byte{0}) {
		if len(line) == 0 {
			continue
		}
		head, name, _ := strings.Cut(string(line), "\t")
		fields := strings.Fields(head)
		if len(fields) != 3 {
			return nil, fmt.Errorf("git ls-tree printed %q", line)
		}
		full := toUTF8([]byte(prefix + name))
		entries = append(entries, treeEntry{ID: fields[2], Name: path.Base(full), Type: fields[1], Path: full, Mode: fields[0]})
	}
	order := map[string]int{"tree": 0, "blob": 1, "commit": 2}
	slices.SortStableFunc(entries, func(a, b treeEntry) int { return cmp.Compare(order[a.Type], order[b.Type]) })
	return entries, nil
}
