package definition

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// folder checks what the settings name in the folder and fills Cases, Files and DependsOn.
func (l *loader) folder(d *Definition) error {
	if step := l.linked(l.dir); step != "" {
		l.problems = append(l.problems, Problem{Path: step, Message: "is a link", Fix: "name the folder that it leads to"})
		return nil
	}
	tree, err := l.scan(l.dir, func(name string) bool { return skipped(d, name) })
	if err != nil {
		return err
	}
	l.tree = tree
	for _, file := range tree.files {
		d.Files = append(d.Files, file.name)
	}
	l.templateRules(d)
	if err := l.casesRules(d); err != nil {
		return err
	}
	return l.dependencies(d)
}

// skipped says which files of the folder are no part of the definition: what is hidden at its top (.cache, .gitignore), and the
// source with its checksum file, which may be made by a program after the checkout and are recorded by their own digest.
func skipped(d *Definition, name string) bool {
	return name == d.From.Local() || name == d.From.ChecksumFile() || (strings.HasPrefix(name, ".") && !strings.Contains(name, "/"))
}

// linked gives the first step of a path that is a link: below one, the file system might be left.
func (l *loader) linked(name string) string {
	steps := strings.Split(name, "/")
	for i := range steps {
		step := path.Join(steps[:i+1]...)
		if info, err := lstat(l.fsys, step); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			return step
		}
	}
	return ""
}

func (l *loader) templateRules(d *Definition) {
	name := d.Build.Template
	if name == "" {
		return
	}
	if why := inside(name); why != "" {
		l.at("build.template", fmt.Sprintf("%q %s", short(name), why), "name a file of this folder")
		return
	}
	if !strings.HasSuffix(name, ".json") && !strings.HasSuffix(name, ".pkr.hcl") {
		l.at("build.template", fmt.Sprintf("%q is no Packer template", short(name)), "call it NAME.pkr.hcl or NAME.json")
	}
	switch found, folder := l.tree.has(name); {
	case folder:
		l.at("build.template", name+" is a folder", "name the template in it")
	case found == nil:
		fix := "name a file of this folder"
		if near := nearest(name, l.templates()); near != "" {
			fix = fmt.Sprintf("did you mean %q?", near)
		}
		l.at("build.template", fmt.Sprintf("%q is not in the folder", short(name)), fix)
	case found.size == 0:
		l.at("build.template", name+" is empty", "write the Packer template")
	}
}

func (l *loader) templates() []string {
	var names []string
	for _, file := range l.tree.files {
		if strings.HasSuffix(file.name, ".json") || strings.HasSuffix(file.name, ".pkr.hcl") {
			names = append(names, file.name)
		}
	}
	return names
}

// dependencies scans the folders of depends_on.
func (l *loader) dependencies(d *Definition) error {
	for i, name := range d.DependsOn {
		key := fmt.Sprintf("depends_on.%d", i)
		if name == "" && l.reported(key) {
			continue
		}
		full := path.Join(l.dir, name)
		switch {
		case name == "" || path.IsAbs(name) || strings.ContainsRune(name, '\\') || isURL(name):
			l.at(key, fmt.Sprintf("%q is no relative folder", short(name)), "write a path such as ../common")
			continue
		case !fs.ValidPath(full) || full == ".":
			l.at(key, fmt.Sprintf("%q leads out of the repository", short(name)), "name a folder of the repository; its root is too much")
			continue
		case full == l.dir || strings.HasPrefix(l.dir+"/", full+"/") || strings.HasPrefix(full+"/", l.dir+"/"):
			l.at(key, fmt.Sprintf("%q holds this folder or lies in it", short(name)), "name a folder beside it")
			continue
		case slices.ContainsFunc(d.DependsOn[:i], func(other string) bool { return path.Join(l.dir, other) == full }):
			l.at(key, name+" is there twice", "remove one")
			continue
		}
		if step := l.linked(full); step != "" {
			l.at(key, step+" is a link", "name the folder that it leads to")
			continue
		}
		info, err := lstat(l.fsys, full)
		if err != nil {
			l.at(key, fmt.Sprintf("%q cannot be read: %s", short(name), reason(err)), "name a folder of the repository")
			continue
		}
		if !info.IsDir() {
			l.at(key, fmt.Sprintf("%q is %s", short(name), kind(info.Mode())), "name a folder")
			continue
		}
		dep, err := l.scan(full, func(string) bool { return false })
		if err != nil {
			return err
		}
		l.deps = append(l.deps, dep)
		d.DependsOn[i] = path.Clean(name)
	}
	return nil
}
