package definition

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// structure decodes a map into the fields of a struct.
func (d *decoder) structure(node *yaml.Node, target reflect.Value, key string) error {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, key, "a map of keys", "write KEY: VALUE lines below it")
		return nil
	}
	fields := map[string]reflect.Value{}
	collectFields(target, fields)
	return d.pairs(node, key, func(name *yaml.Node, value *yaml.Node) error {
		field, known := fields[name.Value]
		if !known {
			d.problem(name.Line, fmt.Sprintf("unknown key %q", short(join(key, name.Value))), advice(name.Value, fields))
			return nil
		}
		err := d.value(value, field, join(key, name.Value))
		// A key is looked for where it is written, not where its value begins.
		d.lines[join(key, name.Value)] = name.Line
		return err
	})
}

// mapping decodes a map of free keys. The values of a map of strings are taken as they are written.
func (d *decoder) mapping(node *yaml.Node, target reflect.Value, key string) error {
	if node.Kind != yaml.MappingNode {
		d.wrong(node, key, "a map of keys", "write {KEY: VALUE}")
		return nil
	}
	if target.Type().Key().Kind() != reflect.String {
		return fmt.Errorf("decode %s: %s has keys of the type %s, which this reader does not know", d.path, key, target.Type().Key())
	}
	target.Set(reflect.MakeMap(target.Type()))
	asWritten := target.Type().Elem().Kind() == reflect.String
	return d.pairs(node, key, func(name *yaml.Node, value *yaml.Node) error {
		item := reflect.New(target.Type().Elem()).Elem()
		if asWritten && value.Kind == yaml.ScalarNode && value.ShortTag() != "!!null" {
			item.SetString(value.Value)
			d.lines[join(key, name.Value)] = name.Line
		} else if err := d.value(value, item, join(key, name.Value)); err != nil {
			return err
		}
		target.SetMapIndex(reflect.ValueOf(name.Value).Convert(target.Type().Key()), item)
		return nil
	})
}

// pairs calls each for every key of a map, and refuses keys that are no words or are there twice.
func (d *decoder) pairs(node *yaml.Node, key string, each func(name, value *yaml.Node) error) error {
	first := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		name, value := node.Content[i], node.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			d.problem(name.Line, "a key must be one word", "write KEY: VALUE")
			continue
		}
		if line, twice := first[name.Value]; twice {
			d.problem(name.Line, fmt.Sprintf("key %q is already given on line %d", short(join(key, name.Value)), line), "remove one of them")
			continue
		}
		first[name.Value] = name.Line
		if err := each(name, value); err != nil {
			return err
		}
	}
	return nil
}

// collectFields maps the yaml names of a struct to its fields; embedded structs marked inline count as their own fields.
func collectFields(target reflect.Value, fields map[string]reflect.Value) {
	for i := range target.NumField() {
		field := target.Type().Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		switch {
		case options == "inline":
			collectFields(target.Field(i), fields)
		case !field.IsExported() || name == "-":
		case name != "":
			fields[name] = target.Field(i)
		default:
			fields[strings.ToLower(field.Name)] = target.Field(i)
		}
	}
}

// advice names the key that was probably meant, else all keys that there are.
func advice(wrong string, fields map[string]reflect.Value) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := nearest(wrong, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known keys are " + strings.Join(names, ", ")
}

// nearest is the word that at most a third of the letters (and one at least) separate from wrong; empty when none is.
func nearest(wrong string, words []string) string {
	if len(wrong) > 100 {
		return ""
	}
	best, bestDistance := "", max(1, len(wrong)/3)+1
	for _, word := range words {
		if n := distance(strings.ToLower(wrong), word); n < bestDistance {
			best, bestDistance = word, n
		}
	}
	return best
}

// distance counts insertions, deletions, changes and swaps of neighbours that turn a into b.
func distance(a, b string) int {
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(row[j]+1, next[j-1]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}
