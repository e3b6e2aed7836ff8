package jenkinstest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf16"
)

// bean is what Jenkins shows of one object: the fields of its class and of those above it, which come first,
// each class's own in alphabetical order.
type bean struct {
	class  string // written as _class; empty where the place says which class it must be
	fields []field
}

// field is one exported property.
type field struct {
	name    string
	visible int  // shown down to this depth, from 1; below 0 only when asked for by name
	inline  bool // what is below is no deeper than this
	value   any  // a func() any is called, and only when the field is shown
}

// put appends a field that is shown at the top only.
func (b *bean) put(name string, value any) *bean { return b.putAt(name, 1, value) }

// putAt appends a field that is shown down to a depth.
func (b *bean) putAt(name string, visible int, value any) *bean {
	b.fields = append(b.fields, field{name: name, visible: visible, value: value})
	return b
}

// putInline appends a field whose objects show as much as this one.
func (b *bean) putInline(name string, value any) *bean {
	b.fields = append(b.fields, field{name: name, visible: 1, inline: true, value: value})
	return b
}

const (
	everywhere = 999
	hidden     = -2 // of allBuilds, as showing them costs a real Jenkins dear
)

// hollow is an object of a class that exports nothing: {}.
type hollow struct{}

// pruner decides which fields are shown: by depth, or by a tree that the caller asked for.
type pruner struct {
	tree *tree // nil: by depth
	from int   // fields below this visibility are not shown
}

func (p pruner) accept(f field) (pruner, bool) {
	if p.tree != nil {
		sub := p.tree.children[f.name]
		if sub == nil {
			sub = p.tree.children["*"]
		}
		return pruner{tree: sub}, sub != nil
	}
	if f.visible < p.from {
		return pruner{}, false
	}
	if f.inline {
		return p, true
	}
	return pruner{from: p.from + 1}, true
}

// window is the part of a list that was asked for.
func (p pruner) window(length int) (from, to int) {
	if p.tree == nil {
		return 0, length
	}
	to = min(p.tree.to, length)
	return min(p.tree.from, to), to
}

// writer writes JSON as Jenkins does, byte for byte, with its own way of line breaks when pretty.
type writer struct {
	out    strings.Builder
	pretty bool
	indent int
	comma  bool
}

// export writes a bean with everything below it that the pruner lets through.
func export(top *bean, p pruner, pretty bool) string {
	w := &writer{pretty: pretty}
	w.object(top, p)
	return w.out.String()
}

func (w *writer) object(b *bean, p pruner) {
	w.open('{')
	if b.class != "" {
		w.name("_class")
		w.data(quote(b.class))
	}
	for _, f := range b.fields {
		if below, shown := p.accept(f); shown {
			w.name(f.name)
			w.any(f.value, below)
		}
	}
	w.close('}')
}

func (w *writer) any(value any, p pruner) {
	switch v := value.(type) {
	case nil:
		w.data("null")
	case func() any:
		w.any(v(), p)
	case *bean:
		if v == nil {
			w.data("null")
			return
		}
		w.object(v, p)
	case hollow:
		w.open('{')
		w.close('}')
	case []any:
		w.open('[')
		from, to := p.window(len(v))
		for _, item := range v[from:to] {
			w.any(item, p)
		}
		w.close(']')
	case string:
		w.data(quote(v))
	case bool:
		w.data(strconv.FormatBool(v))
	case int:
		w.data(strconv.Itoa(v))
	case int64:
		w.data(strconv.FormatInt(v, 10))
	default:
		panic(fmt.Sprintf("jenkinstest: no way to export a %T", value)) // a mistake in this package
	}
}

func (w *writer) name(name string) {
	w.separate()
	w.out.WriteString(`"` + name + `"`)
	if w.pretty {
		w.out.WriteString(" : ")
	} else {
		w.out.WriteString(":")
	}
	w.comma = false
}

func (w *writer) data(text string) {
	w.separate()
	w.out.WriteString(text)
}

func (w *writer) separate() {
	if w.comma {
		w.out.WriteByte(',')
		w.line()
	}
	w.comma = true
}

func (w *writer) line() {
	if w.pretty {
		w.out.WriteString("\n" + strings.Repeat("  ", w.indent))
	}
}

func (w *writer) open(symbol byte) {
	w.separate()
	w.out.WriteByte(symbol)
	w.comma = false
	w.indent++
	w.line()
}

func (w *writer) close(symbol byte) {
	w.indent--
	w.line()
	w.comma = true
	w.out.WriteByte(symbol)
}

// quote writes a string as Jenkins does since 2.229: control characters, line breaks too, and what lies beyond
// the basic plane as \uXXXX, everything else as it is.
func quote(text string) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range text {
		switch {
		case r < 0x20 || r >= 0x7f && r <= 0x9f:
			fmt.Fprintf(&out, `\u%04x`, r)
		case r > math.MaxUint16:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// list makes a list of beans, or of anything else, exportable.
func list[T any](items []T) []any {
	all := make([]any, len(items))
	for i, item := range items {
		all[i] = item
	}
	return all
}
