package definition

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	maxFile  = 1 << 20 // bytes of one YAML file
	maxDepth = 20      // levels of nesting
)

// DecodeStrict reads YAML into the struct that into points to, by its yaml tags, and reports everything that is wrong at
// once as Errors: unknown keys (with the likely one), duplicate keys, values of the wrong type, empty values, anchors and
// aliases, tags, more than one document, more than 1 MiB, more than 20 levels.
//
// Text must be text: 12.10 for a string field is refused, as YAML would read it as a number; only the values of a
// map[string]string are taken as written. time.Duration is read by ParseDuration; types with UnmarshalText read themselves.
func DecodeStrict(path string, data []byte, into any) error {
	d := newDecoder(path)
	if err := d.decode(data, into); err != nil {
		return err
	}
	return d.problems.sorted()
}

// decoder collects the problems of one file and remembers on which line each key stands.
type decoder struct {
	path     string
	problems Errors
	lines    map[string]int  // dotted key, such as from.iso or depends_on.0
	bad      map[string]bool // keys whose value was of no use
	unread   bool            // the file could not be read as YAML at all
}

func newDecoder(path string) decoder {
	return decoder{path: path, lines: map[string]int{}, bad: map[string]bool{}}
}

func (d *decoder) problem(line int, message, fix string) {
	d.problems = append(d.problems, Problem{Path: d.path, Line: line, Message: message, Fix: fix})
}

// at is a problem of the value of a key: on its line, or on that of the nearest key around it.
func (d *decoder) at(key, message, fix string) {
	for near := key; ; {
		if line, ok := d.lines[near]; ok {
			d.problem(line, key+": "+message, fix)
			return
		}
		cut := strings.LastIndexByte(near, '.')
		if cut < 0 {
			break
		}
		near = near[:cut]
	}
	d.problem(1, key+": "+message, fix)
}

// decode fails only when into cannot be decoded into at all, which is the programmer's mistake.
func (d *decoder) decode(data []byte, into any) error {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.IsNil() || target.Elem().Kind() != reflect.Struct {
		return fmt.Errorf("decode %s: %T is no pointer to a struct", d.path, into)
	}
	root := d.parse(data)
	if d.unread = root == nil || !d.plain(root, 0); d.unread {
		return nil
	}
	err := d.value(root, target.Elem(), "")
	d.unread = d.bad[""]
	return err
}

// parse gives the one document of the file, nil after a problem.
func (d *decoder) parse(data []byte) *yaml.Node {
	if len(data) > maxFile {
		d.problem(0, fmt.Sprintf("has %d bytes, more than %s", len(data), Size(maxFile)), "keep large content in files of its own")
		return nil
	}
	reader := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := reader.Decode(&document); errors.Is(err, io.EOF) {
		d.problem(1, "is empty", "write at least one key")
		return nil
	} else if err != nil {
		d.syntax(data, err)
		return nil
	}
	var second yaml.Node
	if err := reader.Decode(&second); err == nil {
		d.problem(second.Line, "a second document begins", "keep one document in the file")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.syntax(data, err)
		return nil
	}
	return document.Content[0]
}

var (
	yamlError     = regexp.MustCompile(`^yaml: (?:line ([0-9]+): )?`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '([^']+)'`)
)

// syntax reports what the YAML library says. It gives no line for an alias without anchor, so that is looked for.
func (d *decoder) syntax(data []byte, err error) {
	text, line := err.Error(), 1
	if parts := yamlError.FindStringSubmatch(text); parts != nil {
		text = text[len(parts[0]):]
		if n, convErr := strconv.Atoi(parts[1]); convErr == nil {
			line = n
		}
	}
	if parts := unknownAnchor.FindStringSubmatch(text); parts != nil {
		if before, _, found := bytes.Cut(data, []byte("*"+parts[1])); found {
			line = 1 + bytes.Count(before, []byte("\n"))
		}
		d.problem(line, "alias *"+parts[1]+" is not allowed", "write the value out, in quotes when it begins with *")
		return
	}
	d.problem(line, "is not YAML: "+text, "check the indentation (spaces, no tabs), colons and quotes near this line")
}

// plain refuses what makes YAML dangerous or surprising, before any of it is expanded.
func (d *decoder) plain(node *yaml.Node, depth int) bool {
	ok := true
	refuse := func(message, fix string) {
		d.problem(node.Line, message, fix)
		ok = false
	}
	switch {
	case depth > maxDepth:
		refuse(fmt.Sprintf("nested more than %d levels deep", maxDepth), "write it flatter")
		return false
	case node.Kind == yaml.AliasNode:
		refuse("alias *"+node.Value+" is not allowed", "write the value out")
	case node.Anchor != "":
		refuse("anchor &"+node.Anchor+" is not allowed", "write the value out where it is needed")
	case node.Style&yaml.TaggedStyle != 0:
		refuse("tag "+node.Tag+" is not allowed", "write the plain value")
	}
	for _, child := range node.Content {
		ok = d.plain(child, depth+1) && ok
	}
	return ok
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// value decodes one node. Problems of the file are collected; an error is a target that cannot be decoded into.
func (d *decoder) value(node *yaml.Node, target reflect.Value, key string) error {
	if key != "" {
		d.lines[key] = node.Line
	}
	if node.Kind == yaml.ScalarNode && node.ShortTag() == "!!null" {
		d.bad[key] = true
		d.problem(node.Line, orWord(key, "the file")+" has no value", "give one or remove the key")
		return nil
	}
	if target.Kind() == reflect.Pointer {
		fresh := reflect.New(target.Type().Elem())
		target.Set(fresh)
		return d.value(node, fresh.Elem(), key)
	}
	if target.Type() == durationType || reflect.PointerTo(target.Type()).Implements(textType) {
		d.text(node, target, key)
		return nil
	}
	switch target.Kind() {
	case reflect.Struct:
		return d.structure(node, target, key)
	case reflect.Map:
		return d.mapping(node, target, key)
	case reflect.Slice:
		return d.list(node, target, key)
	}
	return d.scalar(node, target, key)
}

// text decodes a scalar by the type's own reading.
func (d *decoder) text(node *yaml.Node, target reflect.Value, key string) {
	if node.Kind != yaml.ScalarNode {
		d.wrong(node, key, "a single value", "write one value")
		return
	}
	var err error
	if target.Type() == durationType {
		var duration time.Duration
		if duration, err = ParseDuration(node.Value); err == nil {
			target.SetInt(int64(duration))
		}
	} else if reader, ok := target.Addr().Interface().(encoding.TextUnmarshaler); ok {
		err = reader.UnmarshalText([]byte(node.Value))
	}
	if err != nil {
		d.bad[key] = true
		message, fix, _ := strings.Cut(err.Error(), "; ")
		d.problem(node.Line, key+": "+message, fix)
	}
}

func (d *decoder) list(node *yaml.Node, target reflect.Value, key string) error {
	if node.Kind != yaml.SequenceNode {
		d.wrong(node, key, "a list", "write ["+short(node.Value)+"]")
		return nil
	}
	target.Set(reflect.MakeSlice(target.Type(), len(node.Content), len(node.Content)))
	for i, item := range node.Content {
		if err := d.value(item, target.Index(i), fmt.Sprintf("%s.%d", key, i)); err != nil {
			return err
		}
	}
	return nil
}

// scalar decodes text, numbers and booleans.
func (d *decoder) scalar(node *yaml.Node, target reflect.Value, key string) error {
	tag := ""
	if node.Kind == yaml.ScalarNode {
		tag = node.ShortTag()
	}
	switch target.Kind() {
	case reflect.String:
		if tag != "!!str" {
			d.wrong(node, key, "text", "write \""+short(node.Value)+"\" in quotes")
			return nil
		}
		target.SetString(node.Value)
	case reflect.Bool:
		if tag != "!!bool" {
			d.wrong(node, key, "true or false", "write true or false")
			return nil
		}
		target.SetBool(strings.EqualFold(node.Value, "true"))
	case reflect.Int, reflect.Int64, reflect.Int32:
		n, err := strconv.ParseInt(node.Value, 10, target.Type().Bits())
		if tag != "!!int" || err != nil {
			d.wrong(node, key, "a whole number", "write a number such as 3")
			return nil
		}
		target.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(node.Value, 64)
		if (tag != "!!int" && tag != "!!float") || err != nil {
			d.wrong(node, key, "a number", "write a number such as 1.5")
			return nil
		}
		target.SetFloat(n)
	default:
		return fmt.Errorf("decode %s: %s has the type %s, which this reader does not know", d.path, key, target.Type())
	}
	return nil
}

// wrong says that a value has another type than the key wants.
func (d *decoder) wrong(node *yaml.Node, key, want, fix string) {
	d.bad[key] = true
	is := "a list"
	switch node.Kind {
	case yaml.MappingNode:
		is = "a map"
	case yaml.ScalarNode:
		is = strconv.Quote(short(node.Value))
	}
	if node.Kind != yaml.ScalarNode && (want == "text" || want == "a list") {
		fix = "write " + want
	}
	d.problem(node.Line, fmt.Sprintf("%s must be %s, not %s", orWord(key, "the file"), want, is), fix)
}

// short keeps messages on one readable line, whatever the value.
func short(text string) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "?")), " ")
	if runes := []rune(text); len(runes) > 60 {
		return string(runes[:57]) + "..."
	}
	return text
}
