package packer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// WellKnown are the variables that aibuild offers to every template; they are
// passed where a template declares them. A variable of another name is found
// too where it is the whole value of the setting of that name, as in
// iso_url = var.base.
func WellKnown() []string {
	return []string{
		"iso_url", "iso_checksum", "iso_checksum_type", "output_directory", "vm_name", "image_name",
		"accelerator", "cpu", "memory", "headless", "serial_log", "qemu_binary",
		"ssh_private_key_file", "ssh_public_key", "http_directory",
	}
}

// settings are the well-known variables that are settings of the qemu builder
// too, so that a variable of another name can be recognised by its use.
var settings = []string{
	"iso_url", "iso_checksum", "iso_checksum_type", "output_directory", "accelerator", "headless",
	"qemu_binary", "ssh_private_key_file",
}

// assign decides the value of every variable that is passed, and what is wrong
// with that.
func (t *Template) assign(s Source, v Version, given, ours map[string]string) (map[string]any, error) {
	var p Problems
	values := map[string]string{}
	for name, value := range given {
		if t.Declares(name) {
			values[name] = value
		} else if !slices.Contains(WellKnown(), name) {
			p.add(position{Path: t.Path}, fmt.Sprintf("variable %s is given, but the template does not declare it", name), "declare it, or take it out of build.vars")
		}
	}
	offer := map[string]string{}
	for _, m := range []map[string]string{ours, given} {
		for name, value := range m {
			offer[name] = value
		}
	}
	splitChecksum(offer, v)
	t.fill(s, offer, values)
	s.checkFollows(offer, values, &p)
	t.sizes(s, v, values)
	for _, one := range t.Variables {
		if _, ok := values[one.Name]; !ok && !one.HasDefault {
			p.add(one.position, fmt.Sprintf("variable %s has no default and no value", one.Name), "give it a value in build.vars")
		}
	}
	if len(p) > 0 {
		return nil, p.or()
	}
	return t.typed(values)
}

// fill passes what is offered under its own name where that is declared, and
// under the name of the variable that is the setting.
func (t *Template) fill(s Source, offer, values map[string]string) {
	for name, value := range offer {
		v, ok := t.variable(name)
		if !ok || name == "cpu" && numeric(v) {
			continue // a "cpu" that counts processors is not QEMU's -cpu
		}
		if _, set := values[name]; !set || name == "iso_checksum" {
			values[name] = value
		}
	}
	for _, name := range settings {
		value, ok := offer[name]
		a := s.attrs[name]
		if !ok || a.bare == "" || !t.Declares(a.bare) {
			continue
		}
		if _, set := values[a.bare]; !set {
			values[a.bare] = value
		}
	}
}

func numeric(v Variable) bool {
	_, err := strconv.Atoi(v.Default)
	return v.Type == "number" || v.HasDefault && err == nil
}

// splitChecksum gives Packers before 1.6 the checksum in two variables.
func splitChecksum(offer map[string]string, v Version) {
	sum, ok := offer["iso_checksum"]
	if !ok {
		return
	}
	kind, hex, cut := strings.Cut(sum, ":")
	if !cut {
		kind, hex = "none", sum
		if sum != "none" {
			kind = map[int]string{32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}[len(sum)]
		}
	}
	if _, ok := offer["iso_checksum_type"]; !ok && kind != "" {
		offer["iso_checksum_type"] = kind
	}
	if !v.AtLeast(1, 6, 0) {
		offer["iso_checksum"] = hex
	}
}

// checkFollows refuses a template that would build from something else than
// what was given, or would not check it.
func (s Source) checkFollows(offer, values map[string]string, p *Problems) {
	for _, name := range []string{"iso_url", "iso_urls", "iso_checksum"} {
		one := strings.TrimSuffix(name, "s")
		want, given := offer[one]
		a, there := s.attrs[name]
		if !given || !there && name != "iso_checksum" {
			continue
		}
		if !there {
			a.position = s.position
		}
		follows := slices.ContainsFunc(a.vars, func(v string) bool { return values[v] == want })
		if follows || a.literal && a.text == want {
			continue
		}
		p.add(a.position, fmt.Sprintf("the template pins another source: %s is %s, not what the definition says", name, pinned(a)),
			fmt.Sprintf("declare a variable %s and use it here", one))
	}
}

func pinned(a attr) string {
	if a.text == "" {
		return "absent"
	}
	return strconv.Quote(shorten(a.text, 200))
}

var sizeText = regexp.MustCompile(`^(\d+)\s*([KkMmGgTt]?)[Bb]?$`)

// megabytes turns "10G" into "10240".
func megabytes(text string) (string, bool) {
	m := sizeText.FindStringSubmatch(text)
	if m == nil {
		return "", false
	}
	n, err := strconv.ParseInt(m[1], 10, 40)
	if err != nil {
		return "", false
	}
	switch strings.ToUpper(m[2]) {
	case "K":
		n = (n + 1023) / 1024
	case "G":
		n <<= 10
	case "T":
		n <<= 20
	}
	return strconv.FormatInt(n, 10), true
}

// sizes gives Packers before 1.5 the disk's size as a number of MB.
func (t *Template) sizes(s Source, v Version, values map[string]string) {
	name := s.attrs["disk_size"].bare
	if name == "" || v.AtLeast(1, 5, 0) {
		return
	}
	value, ok := values[name]
	if !ok {
		declared, _ := t.variable(name)
		value = declared.Default
	}
	if mb, ok := megabytes(value); ok {
		values[name] = mb
	}
}

// typed turns the texts into what the declared types need.
func (t *Template) typed(values map[string]string) (map[string]any, error) {
	out := map[string]any{}
	var p Problems
	for name, value := range values {
		v, _ := t.variable(name)
		out[name] = value
		if !compound(v) {
			continue
		}
		var parsed any
		if err := json.Unmarshal([]byte(value), &parsed); err != nil {
			p.add(v.position, fmt.Sprintf("variable %s is a %s, and its value is not JSON", name, v.Type), `write it as ["a", "b"] or {"k": "v"}`)
			continue
		}
		out[name] = parsed
	}
	if len(p) > 0 {
		return nil, p.or()
	}
	return out, nil
}

func compound(v Variable) bool {
	for _, kind := range []string{"list", "set", "map", "object", "tuple"} {
		if strings.HasPrefix(strings.Trim(v.Type, `"`), kind) {
			return true
		}
	}
	return false
}
