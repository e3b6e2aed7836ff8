package packer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"
)

// maxDepth bounds the nesting of a JSON template.
const maxDepth = 64

// node is a JSON value that knows its line.
type node struct {
	line    int
	value   any // string, json.Number, bool, nil; json.Delim for {} and []
	members []member
	items   []node
}

type member struct {
	name string
	node
}

func (n node) get(name string) (node, bool) {
	// As in Packer, the last of equal keys wins.
	for _, m := range slices.Backward(n.members) {
		if m.name == name {
			return m.node, true
		}
	}
	return node{}, false
}

func (n node) text() string {
	switch v := n.value.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return fmt.Sprint(v)
	}
	return ""
}

func (t *Template) readJSON(fsys fs.FS, name string) error {
	data, err := readLimited(fsys, name)
	if err != nil {
		return err
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	r := &jsonReader{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	r.dec.UseNumber()
	root, err := r.value(0)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = r.end()
	}
	if err == nil && root.value != json.Delim('{') {
		err = errors.New("the file does not hold one JSON object")
	}
	if err != nil {
		return Problems{{Path: name, Line: r.errorLine(err), Message: "this is not JSON: " + err.Error(), Fix: "correct it, or call the file *.pkr.hcl if it is HCL2"}}
	}
	var p Problems
	t.jsonVariables(root, &p)
	t.jsonBuilders(root, &p)
	return p.or()
}

func (t *Template) jsonVariables(root node, p *Problems) {
	vars, ok := root.get("variables")
	if !ok {
		return
	}
	if vars.value != json.Delim('{') {
		p.add(position{t.Path, vars.line}, "variables must be an object", "write \"variables\": {\"name\": \"default\"}")
		return
	}
	for _, m := range vars.members {
		v := Variable{Name: m.name, Type: "string", Default: m.text(), HasDefault: m.value != nil, position: position{t.Path, m.line}}
		t.Variables = append(t.Variables, v)
	}
}

func (t *Template) jsonBuilders(root node, p *Problems) {
	builders, ok := root.get("builders")
	if !ok || builders.value != json.Delim('[') || len(builders.items) == 0 {
		p.add(position{t.Path, max(builders.line, root.line)}, "the template has no builders", "add \"builders\": [{\"type\": \"qemu\", …}]")
		return
	}
	for _, b := range builders.items {
		at := position{t.Path, b.line}
		kind, _ := b.get("type")
		if kind.text() == "" {
			p.add(at, "a builder has no type", `add "type": "qemu"`)
			continue
		}
		s := Source{Type: kind.text(), Build: kind.text(), attrs: map[string]attr{}, position: at}
		if name, ok := b.get("name"); ok && name.text() != "" {
			s.Build = name.text()
		}
		for _, m := range b.members {
			s.attrs[m.name] = t.jsonAttr(m.node)
		}
		t.Sources = append(t.Sources, s)
	}
}

var (
	userCall = regexp.MustCompile("{{-?\\s*user\\s+[`\"]([^`\"]+)[`\"]\\s*-?}}")
	anyCall  = regexp.MustCompile("{{.*}}")
)

func (t *Template) jsonAttr(n node) attr {
	a := attr{text: n.text(), position: position{t.Path, n.line}}
	for _, item := range n.items {
		a.text = strings.TrimPrefix(a.text+", "+item.text(), ", ")
	}
	for _, m := range userCall.FindAllStringSubmatch(a.text, -1) {
		a.vars = t.jsonDepends(a.vars, m[1])
		if m[0] == strings.TrimSpace(a.text) {
			a.bare = m[1]
		}
	}
	a.literal = len(n.items) == 0 && !anyCall.MatchString(a.text)
	return a
}

// jsonDepends adds name, and the variables that its default is made of.
func (t *Template) jsonDepends(have []string, name string) []string {
	if slices.Contains(have, name) {
		return have
	}
	have = append(have, name)
	if v, ok := t.variable(name); ok {
		for _, m := range userCall.FindAllStringSubmatch(v.Default, -1) {
			have = t.jsonDepends(have, m[1])
		}
	}
	return have
}

// jsonReader reads values with their lines.
type jsonReader struct {
	data    []byte
	dec     *json.Decoder
	counted int64 // bytes whose newlines are in lines
	lines   int
}

// line is the line on which the decoder stands.
func (r *jsonReader) line() int {
	at := min(r.dec.InputOffset(), int64(len(r.data)))
	if at > r.counted {
		r.lines += bytes.Count(r.data[r.counted:at], []byte("\n"))
		r.counted = at
	}
	return r.lines + 1
}

func (r *jsonReader) errorLine(err error) int {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at := min(max(syntax.Offset-1, 0), int64(len(r.data)))
		return bytes.Count(r.data[:at], []byte("\n")) + 1
	}
	return r.line()
}

func (r *jsonReader) end() error {
	if _, err := r.dec.Token(); err != io.EOF {
		return errors.New("something stands after the object")
	}
	return nil
}

func (r *jsonReader) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	token, err := r.dec.Token()
	if err != nil {
		return node{}, err
	}
	n := node{line: r.line(), value: token}
	switch token {
	case json.Delim('{'):
		return n, r.object(&n, depth)
	case json.Delim('['):
		for r.dec.More() {
			item, err := r.value(depth + 1)
			if err != nil {
				return node{}, err
			}
			n.items = append(n.items, item)
		}
		_, err = r.dec.Token()
	}
	return n, err
}

func (r *jsonReader) object(n *node, depth int) error {
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		v, err := r.value(depth + 1)
		if err != nil {
			return err
		}
		n.members = append(n.members, member{name, v})
	}
	_, err := r.dec.Token()
	return err
}
