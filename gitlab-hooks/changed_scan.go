package hooks

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/guestos/aibuild/aibuild/definition"
)

// outline is what can be told of a definition without checking it: enough to know which files it is made of. A definition
// that cannot be read has an outline, too, of its folder.
type outline struct {
	folder string
	id     string // of its aibuild.yaml; empty when that is no file

	name    string // as it is written
	sources []string
	deps    []string // folders; like sources, paths in the repository
	links   []string // what the links in all these folders lead to
}

// maxEntries bounds the files of a repository: a few kilobytes of git can stand for billions.
const maxEntries = 2_000_000

// located is a file in a repository.
type located struct{ path, id string }

// scan finds the definitions and the links of a tree, by path.
func (t *tree) scan() (definitions []outline, links []located, err error) {
	entries := 0
	err = t.objects.repo.records(t.objects.ctx, func(record string) error {
		head, name, ok := strings.Cut(record, "\t")
		fields := strings.Fields(head) // mode, kind, id
		if !ok || len(fields) != 3 {
			return fmt.Errorf("git ls-tree said %q", clip(record))
		}
		if entries++; entries > maxEntries {
			return fmt.Errorf("the repository has more than %d files; move what is no definition elsewhere", maxEntries)
		}
		switch {
		case path.Base(name) == definition.File:
			d := outline{folder: path.Dir(name)}
			if fields[1] == "blob" {
				d.id = fields[2]
			}
			definitions = append(definitions, d)
		case fields[0] == "120000":
			links = append(links, located{name, fields[2]})
		}
		return nil
	}, "ls-tree", "-r", "-z", "--full-tree", t.root)
	// Git sorts by path, in which "a.b/x" comes before "a/x".
	slices.SortFunc(definitions, func(a, b outline) int { return strings.Compare(a.folder, b.folder) })
	slices.SortFunc(links, func(a, b located) int { return strings.Compare(a.path, b.path) })
	return definitions, links, err
}

// outlines reads the definitions, and where the links lead that belong to them.
func (t *tree) outlines() ([]outline, error) {
	definitions, links, err := t.scan()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, d := range definitions {
		if d.id != "" {
			ids = append(ids, d.id)
		}
	}
	if err := t.objects.prepare(ids); err != nil {
		return nil, err
	}
	ids = nil
	for i := range definitions {
		d := &definitions[i]
		if err := t.read(d); err != nil {
			return nil, err
		}
		for _, folder := range d.folders() {
			for _, link := range below(links, folder) {
				ids = append(ids, link.id)
			}
		}
	}
	if err := t.objects.prepare(ids); err != nil {
		return nil, err
	}
	for i := range definitions {
		if err := t.lead(&definitions[i], links); err != nil {
			return nil, err
		}
	}
	return definitions, nil
}

// read fills an outline from the file. What is wrong with the file is not said here, and what could be read of it counts:
// a definition with one wrong key still depends on its folders.
func (t *tree) read(d *outline) error {
	if d.id == "" {
		return nil
	}
	_, content, err := t.objects.small(d.id, maxSmall)
	if err != nil {
		return t.objects.err // nil where the file is only too large
	}
	var file struct {
		Name string `yaml:"name"`
		From struct {
			ISO      string `yaml:"iso"`
			Disk     string `yaml:"disk"`
			Image    string `yaml:"image"`
			Checksum string `yaml:"checksum"`
		} `yaml:"from"`
		DependsOn []string `yaml:"depends_on"`
	}
	_ = yaml.Unmarshal(content, &file)
	from := definition.From{ISO: file.From.ISO, Disk: file.From.Disk, Image: file.From.Image, Checksum: file.From.Checksum}
	d.name = file.Name
	for _, source := range []string{from.Local(), from.ChecksumFile()} {
		if source != "" {
			d.sources = append(d.sources, path.Join(d.folder, source))
		}
	}
	for _, dep := range file.DependsOn {
		d.deps = append(d.deps, path.Join(d.folder, dep))
	}
	return nil
}

// folders are all folders that a definition is made of.
func (d outline) folders() []string { return append([]string{d.folder}, d.deps...) }

// lead notes where the links in a definition's folders lead: a file there belongs to the definition, too.
func (t *tree) lead(d *outline, links []located) error {
	for _, folder := range d.folders() {
		for _, link := range below(links, folder) {
			target, err := t.target(entry{id: link.id}, path.Dir(link.path))
			if t.objects.err != nil {
				return t.objects.err
			}
			if err == nil { // one that leads nowhere is a problem of the definition, which is found when it is loaded
				d.links = append(d.links, target)
			}
		}
	}
	return nil
}

// below gives the places in a folder, of a list by path.
func below(list []located, folder string) []located {
	if folder == "." {
		return list
	}
	first, _ := slices.BinarySearchFunc(list, folder+"/", func(p located, prefix string) int { return strings.Compare(p.path, prefix) })
	after := first
	for after < len(list) && strings.HasPrefix(list[after].path, folder+"/") {
		after++
	}
	return list[first:after]
}

// difference is a path that two trees do not agree on.
type difference struct {
	located        // with the id of the older file; none for a submodule
	gone, appeared bool
}

// differences compares all of two trees, by path. Renames are an end and a beginning: both folders have changed.
func differences(older, newer *tree) ([]difference, error) {
	var found []difference
	var head []string
	err := newer.objects.repo.records(newer.objects.ctx, func(record string) error {
		if head == nil {
			if head = strings.Fields(record); len(head) != 5 || head[0][0] != ':' {
				return fmt.Errorf("git diff-tree said %q", clip(record))
			}
			return nil
		}
		d := difference{located{path: record}, head[1] == "000000", head[0] == ":000000"}
		if !d.appeared && head[0] != ":160000" {
			d.id = head[2]
		}
		found, head = append(found, d), nil
		return nil
	}, "diff-tree", "-r", "-z", "--raw", "--no-abbrev", "--no-renames", "--no-relative", "--ignore-submodules=none", older.root, newer.root)
	slices.SortFunc(found, func(a, b difference) int { return strings.Compare(a.path, b.path) })
	return found, err
}

// touched gives the paths that have changed among those that a definition is made of.
func (d outline) touched(changes []difference) []string {
	var paths []string
	for _, folder := range d.folders() {
		for _, c := range changes[standing(changes, folder):] {
			if folder == "." || c.path == folder || strings.HasPrefix(c.path, folder+"/") {
				paths = append(paths, c.path)
			} else if c.path > folder+"/" {
				break
			}
		}
	}
	for _, target := range append(d.links, d.sources...) {
		if i := standing(changes, target); i < len(changes) && changes[i].path == target {
			paths = append(paths, target)
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// standing is where a path stands, or would stand, among changes; that of the whole repository is the first.
func standing(changes []difference, name string) int {
	if name == "." {
		return 0
	}
	i, _ := slices.BinarySearchFunc(changes, name, func(c difference, name string) int { return strings.Compare(c.path, name) })
	return i
}

// quoted makes a path fit for a message: it may hold anything, and have any length.
func quoted(name string) string {
	const most = 200
	if runes := []rune(name); len(runes) > most {
		name = string(runes[:most]) + "…"
	}
	if plain := strconv.Quote(name); plain != `"`+name+`"` {
		return plain
	}
	return name
}
