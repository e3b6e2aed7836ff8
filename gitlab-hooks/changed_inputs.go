package hooks

import (
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// maxInputs bounds the files of one definition that are looked for; more are refused when it is loaded.
const maxInputs = 30_000

// inputs is what a definition is made of, in one tree.
type inputs struct {
	files []string // ids of the contents that will be read

	// print stands for what no digest covers: the source in the repository, the file with its checksum, and submodules.
	print string
	odd   string // a file with a name that is not UTF-8; empty: there is none
}

// inputs finds what a definition is made of, so that it can be fetched all at once.
func (t *tree) inputs(d outline) (inputs, error) {
	var in inputs
	for i, folder := range d.folders() {
		found, err := t.find(folder, false)
		if t.objects.err != nil {
			return in, t.objects.err
		}
		if err != nil || !found.folder() {
			continue // a problem of the definition, which is found when it is loaded
		}
		skip := func(string) bool { return false }
		if i == 0 {
			skip = d.skips
		}
		if err := t.collect(&in, found, folder, fmt.Sprintf("%d/", i), skip); err != nil {
			return in, err
		}
	}
	for i, source := range d.sources {
		found, err := t.find(source, true)
		if t.objects.err != nil {
			return in, t.objects.err
		}
		if err == nil {
			in.print += fmt.Sprintf("source %d %s\n", i, found.id)
		}
	}
	return in, nil
}

// skips says which files of its own folder a definition does not read: hidden ones at the top, and its source.
func (d outline) skips(name string) bool {
	for _, source := range d.sources {
		if name == source {
			return true
		}
	}
	return path.Dir(name) == path.Clean(d.folder) && strings.HasPrefix(path.Base(name), ".")
}

// collect walks a folder. label names it in the print, whatever the folder is called.
func (t *tree) collect(in *inputs, folder entry, name, label string, skip func(string) bool) error {
	entries, err := t.list(folder)
	if err != nil {
		return t.objects.err // nil where the folder is only too large
	}
	if folder.submodule() {
		in.print += "submodule " + label + " " + folder.id + "\n"
	}
	for _, e := range entries {
		full := path.Join(name, e.name)
		if e.name == ".git" || skip(full) || len(in.files) > maxInputs {
			continue
		}
		if !utf8.ValidString(e.name) && in.odd == "" {
			in.odd = full
		}
		if e.folder() {
			if err := t.collect(in, e, full, label+e.name+"/", skip); err != nil {
				return err
			}
			continue
		}
		in.files = append(in.files, e.id)
		if !e.link() {
			continue
		}
		target, err := t.find(full, true)
		if t.objects.err != nil {
			return t.objects.err
		}
		if err == nil && !target.folder() {
			in.files = append(in.files, target.id)
		}
	}
	return nil
}
