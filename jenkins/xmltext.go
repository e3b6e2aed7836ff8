package jenkins

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// element is a piece of a config.xml, which knows where it is: so one piece can be replaced, and every other byte
// stays as it was. Jenkins and its plugins keep more in there than anybody else understands.
type element struct {
	name     string
	attrs    map[string]string
	text     string // beside the children
	children []*element
	open     int // where its start tag begins
	inner    int // where that ends
	tail     int // where its end tag begins
	end      int // where that ends; the same three places where the start tag closes itself
}

var (
	declaration = regexp.MustCompile(`^\s*<\?xml[^>]*\?>`)
	reference   = regexp.MustCompile(`&#(x[0-9a-fA-F]+|[0-9]+);`)
)

// plain makes of XML 1.1, which Jenkins writes, what Go reads: declaration and references to control characters become
// blank, so that all places stay.
func plain(text string) string {
	blank := func(found string) string { return strings.Repeat(" ", len(found)) }
	text = declaration.ReplaceAllStringFunc(text, blank)
	return reference.ReplaceAllStringFunc(text, func(ref string) string {
		code, err := strconv.ParseInt("0"+ref[2:len(ref)-1], 0, 32)
		if ref[2] != 'x' {
			code, err = strconv.ParseInt(ref[2:len(ref)-1], 10, 32)
		}
		if err == nil && code < 0x20 && code != '\t' && code != '\n' && code != '\r' {
			return blank(ref)
		}
		return ref
	})
}

// readXML reads a config.xml.
func readXML(text string) (*element, error) {
	d := xml.NewDecoder(strings.NewReader(plain(text)))
	var root *element
	var path []*element
	for {
		at := int(d.InputOffset())
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		next := int(d.InputOffset())
		switch token := token.(type) {
		case xml.StartElement:
			e := newElement(token, at, next)
			if len(path) > 0 {
				up := path[len(path)-1]
				up.children = append(up.children, e)
			} else if root == nil {
				root = e
			}
			path = append(path, e)
		case xml.EndElement:
			if len(path) == 0 || path[len(path)-1].name != token.Name.Local {
				return nil, errors.New("the tag " + token.Name.Local + " ends what never began")
			}
			e := path[len(path)-1]
			e.tail, e.end = at, next
			path = path[:len(path)-1]
		case xml.CharData:
			if len(path) > 0 {
				path[len(path)-1].text += string(token)
			}
		}
	}
	if root == nil || len(path) > 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return root, nil
}

func newElement(token xml.StartElement, at, next int) *element {
	e := &element{name: token.Name.Local, attrs: map[string]string{}, open: at, inner: next, tail: next, end: next}
	for _, a := range token.Attr {
		e.attrs[a.Name.Local] = a.Value
	}
	return e
}

// child is the first of a name; nil if there is none.
func (e *element) child(name string) *element {
	if e == nil {
		return nil
	}
	i := slices.IndexFunc(e.children, func(c *element) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return e.children[i]
}

// value is a child's text; empty if there is no such child.
func (e *element) value(name string) string {
	if c := e.child(name); c != nil {
		return strings.TrimSpace(c.text)
	}
	return ""
}

// covers says whether an element has everything that wanted has. What it has beyond that does not count, as each version
// of Jenkins and its plugins adds fields of its own when it saves; only lists have to be as long.
func (e *element) covers(wanted *element, lists ...string) bool {
	if e == nil || len(wanted.children) == 0 && lines(e.text) != lines(wanted.text) {
		return false
	}
	for name, value := range wanted.attrs {
		if e.attrs[name] != value {
			return false
		}
	}
	if slices.Contains(lists, wanted.name) {
		return slices.EqualFunc(e.children, wanted.children, func(have, want *element) bool { return have.name == want.name && have.covers(want, lists...) })
	}
	for _, want := range wanted.children {
		if e.child(want.name) == nil && len(want.children) == 0 && want.text == "" {
			continue // Jenkins leaves out what is nothing
		}
		if !slices.ContainsFunc(e.children, func(have *element) bool { return have.name == want.name && have.covers(want, lists...) }) {
			return false
		}
	}
	return true
}

// lines is a text as it counts: forms of browsers send other ends of lines.
func lines(text string) string { return strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n")) }

// splice is one piece of a text that becomes another.
type splice struct {
	from, to int
	text     string
}

// spliced does all of them, which must not touch each other.
func spliced(text string, all ...splice) string {
	slices.SortFunc(all, func(a, b splice) int { return b.from - a.from })
	for _, s := range all {
		text = text[:s.from] + s.text + text[s.to:]
	}
	return text
}

// instead puts a text in the place of an element.
func (e *element) instead(text string) splice { return splice{e.open, e.end, text} }

// removed takes an element away, with the blanks before it.
func (e *element) removed(in string) splice {
	return splice{len(strings.TrimRight(in[:e.open], " \t\r\n")), e.end, ""}
}

// added puts a text in as the last child. The text has no indentation at its begin, as where the tag is tells that.
func (e *element) added(in, text string) splice {
	indent := indentation(in, e.open)
	text = "\n" + indent + "  " + text + "\n" + indent
	if e.tail == e.end { // <name/>
		start := strings.TrimRight(strings.TrimSuffix(in[e.open:e.inner], "/>"), " ")
		return splice{e.open, e.end, start + ">" + text + "</" + e.name + ">"}
	}
	return splice{len(strings.TrimRight(in[:e.tail], " \t\r\n")), e.tail, text}
}

// indentation is what stands before a place in its line, as far as it is blank.
func indentation(in string, at int) string {
	line := in[strings.LastIndexByte(in[:at], '\n')+1 : at]
	return line[:len(line)-len(strings.TrimLeft(line, " \t"))]
}

func escapeXML(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder never fails
	// So that a script in a config.xml can be read by people; a line is a line in a text, too.
	return strings.NewReplacer("&#xA;", "\n", "&#x9;", "\t", "&#39;", "'", "&#34;", `"`).Replace(out.String())
}
