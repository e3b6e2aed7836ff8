package packer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"sort"
	"strings"
)

// Template dialects.
const (
	JSON = "json" // Packer's first language; every version reads it
	HCL2 = "hcl2" // *.pkr.hcl and *.pkr.json, from Packer 1.6
)

// maxTemplate bounds one template file; real ones are a few KiB.
const maxTemplate = 4 << 20

// Template is what aibuild has to know of a Packer template.
type Template struct {
	Path      string // as given to ReadTemplate
	Dialect   string // JSON or HCL2
	Variables []Variable
	Sources   []Source // what Packer would build, in the template's order

	requires position // the required_plugins block, if any
}

// Variable is one declared variable.
type Variable struct {
	Name       string
	Type       string // HCL2: as written; JSON: always "string"
	Default    string // as text; what Packer computes itself stands as written
	HasDefault bool
	position
}

// Source is one build that a template would make.
type Source struct {
	Type  string // qemu, null, …
	Build string // Packer's name for the build
	attrs map[string]attr
	position
}

// attr is a setting of a source.
type attr struct {
	text    string   // the literal, or the expression as written
	literal bool     // text is the value itself
	bare    string   // the variable that is the whole value, if it is one
	vars    []string // every variable that the value depends on
	position
}

type position struct {
	Path string // of the file
	Line int
}

// Problem is something wrong with a template.
type Problem struct {
	Path    string
	Line    int // 0: the file as a whole
	Message string
	Fix     string
}

// String gives PATH:LINE: message; fix.
func (p Problem) String() string {
	s := p.Path
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	s += ": " + p.Message
	if p.Fix != "" {
		s += "; " + p.Fix
	}
	return s
}

// Problems is everything wrong with a template; never empty as an error.
type Problems []Problem

// Error gives one line for each problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, one := range p {
		lines[i] = one.String()
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) add(at position, message, fix string) {
	*p = append(*p, Problem{Path: at.Path, Line: at.Line, Message: message, Fix: fix})
}

// or returns the problems as an error, sorted, or nil when there are none.
func (p Problems) or() error {
	if len(p) == 0 {
		return nil
	}
	sort.SliceStable(p, func(i, j int) bool {
		return p[i].Path < p[j].Path || p[i].Path == p[j].Path && p[i].Line < p[j].Line
	})
	return p
}

// ReadTemplate reads the template name from fsys without running Packer: a JSON
// file, a *.pkr.hcl or *.pkr.json file, or a folder of the latter two, which
// Packer reads as one template. A template that cannot be read is Problems.
func ReadTemplate(fsys fs.FS, name string) (*Template, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, Problems{{Path: name, Message: "there is no such template", Fix: "name a file or folder of the definition"}}
		}
		return nil, fmt.Errorf("read template %s: %w", name, err)
	}
	t := &Template{Path: name, Dialect: HCL2}
	switch {
	case info.IsDir():
		err = t.readFolder(fsys, name)
	case hclFile(name):
		err = t.readHCL(fsys, []string{name})
	case path.Ext(name) == ".json":
		t.Dialect = JSON
		err = t.readJSON(fsys, name)
	default:
		err = Problems{{Path: name, Message: "this is not a name that Packer knows", Fix: "call it *.pkr.hcl (HCL2) or *.json (JSON)"}}
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Template) readFolder(fsys fs.FS, name string) error {
	entries, err := fs.ReadDir(fsys, name)
	if err != nil {
		return fmt.Errorf("read template folder %s: %w", name, err)
	}
	var files []string
	for _, e := range entries {
		if !e.IsDir() && hclFile(e.Name()) {
			files = append(files, path.Join(name, e.Name()))
		}
	}
	if len(files) == 0 {
		return Problems{{Path: name, Message: "the folder has no *.pkr.hcl or *.pkr.json file", Fix: "name the template file"}}
	}
	return t.readHCL(fsys, files)
}

func hclFile(name string) bool {
	return strings.HasSuffix(name, ".pkr.hcl") || strings.HasSuffix(name, ".pkr.json")
}

func readLimited(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read template: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxTemplate+1))
	if err != nil {
		return nil, fmt.Errorf("read template %s: %w", name, err)
	}
	if len(data) > maxTemplate {
		return nil, Problems{{Path: name, Message: fmt.Sprintf("the file is larger than %d MiB", maxTemplate>>20), Fix: "this is no template"}}
	}
	return data, nil
}

// Declares says whether the template declares the variable.
func (t *Template) Declares(name string) bool {
	_, ok := t.variable(name)
	return ok
}

func (t *Template) variable(name string) (Variable, bool) {
	i := slices.IndexFunc(t.Variables, func(v Variable) bool { return v.Name == name })
	if i < 0 {
		return Variable{}, false
	}
	return t.Variables[i], true
}

// Source returns the build of QEMU that builder names. With an empty builder
// the template must have exactly one; its builds of other types are left out.
// The error is Problems.
func (t *Template) Source(builder string) (Source, error) {
	var found []Source
	var names []string
	for _, s := range t.Sources {
		if s.Type != "qemu" {
			continue
		}
		names = append(names, s.Build)
		if builder == "" || s.Build == builder {
			found = append(found, s)
		}
	}
	at := position{Path: t.Path}
	var p Problems
	switch {
	case len(names) == 0:
		p.add(at, "the template has no build of type qemu", "aibuild makes images with Packer's qemu builder: add one")
	case len(found) == 0:
		p.add(at, fmt.Sprintf("the template has no qemu build %q", builder), "it has "+strings.Join(names, ", "))
	case len(found) > 1:
		p.add(found[1].position, "the template has several qemu builds: "+strings.Join(names, ", "), "name one in build.builder, or keep one")
	default:
		return found[0], nil
	}
	return Source{}, p
}

// CheckSource reports a template whose image would not come from where the
// definition says: its iso_url (or iso_checksum) does not follow a variable.
// The error is Problems.
func (t *Template) CheckSource(builder string) error {
	s, err := t.Source(builder)
	if err != nil {
		return err
	}
	var p Problems
	for _, name := range []string{"iso_url", "iso_urls", "iso_checksum"} {
		if a, ok := s.attrs[name]; ok && len(a.vars) == 0 {
			p.add(a.position, fmt.Sprintf("the template pins another source: %s is %s", name, shorten(a.text, 200)),
				fmt.Sprintf("declare a variable %s and use it here", strings.TrimSuffix(name, "s")))
		}
	}
	return p.or()
}

// CheckVersion reports what this version of Packer cannot read in the build
// that builder names. The error is Problems.
func (t *Template) CheckVersion(v Version, builder string) error {
	s, err := t.Source(builder)
	if err != nil {
		return err
	}
	var p Problems
	if t.Dialect == HCL2 && !v.AtLeast(1, 6, 0) {
		p.add(position{Path: t.Path}, fmt.Sprintf("packer %s cannot read HCL2", v), "use a JSON template or Packer 1.6 or newer")
		return p
	}
	if t.requires.Line > 0 && !v.AtLeast(1, 7, 0) {
		p.add(t.requires, fmt.Sprintf("packer %s does not know required_plugins", v), "leave the block out (this Packer has its plugins built in) or use Packer 1.7 or newer")
	}
	s.checkChecksum(v, &p)
	if size, ok := s.attrs["disk_size"]; ok && !v.AtLeast(1, 5, 0) && size.literal && !digits([]byte(size.text)) {
		fix := "write the number of MB"
		if mb, ok := megabytes(size.text); ok {
			fix = "write " + mb
		}
		p.add(size.position, fmt.Sprintf("packer %s reads disk_size only as a number of MB, not %q", v, size.text), fix)
	}
	return p.or()
}

func (s Source) checkChecksum(v Version, p *Problems) {
	for _, name := range []string{"iso_checksum_type", "iso_checksum_url"} {
		if a, ok := s.attrs[name]; ok && v.AtLeast(1, 6, 0) {
			p.add(a.position, fmt.Sprintf("packer %s refuses %s", v, name), `remove it and write iso_checksum as "sha256:HEX" (packer fix does)`)
		}
	}
	if _, ok := s.attrs["iso_checksum_type"]; !ok && !v.AtLeast(1, 6, 0) {
		p.add(s.position, fmt.Sprintf("packer %s needs iso_checksum_type", v), `add "iso_checksum_type": "sha256" to the builder`)
	}
}

func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}
