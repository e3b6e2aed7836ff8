package hooks

import (
	"encoding/json"
	"errors"
	"unicode/utf8"
)

// maxDepth is how deep a body may be nested: as deep as encoding/json allows,
// so that what is stored can be read by others.
const maxDepth = 10_000

// errMalformed says that a body is not JSON, or not JSON that has one meaning.
var errMalformed = errors.New("malformed json")

// scanner reads JSON in one pass without a tree, a copy or recursion: memory is
// the body and one bit per level. It accepts exactly what encoding/json does.
// Bytes that are no UTF-8 pass in what is skipped, and not in what is taken.
type scanner struct {
	data  []byte
	pos   int
	stack [maxDepth/64 + 1]uint64 // one bit per open bracket: 1 = object
}

func (s *scanner) space() {
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return
		}
	}
}

// peek is the next byte that is no white space; 0 at the end.
func (s *scanner) peek() byte {
	s.space()
	if s.pos >= len(s.data) {
		return 0
	}
	return s.data[s.pos]
}

// take consumes one expected byte.
func (s *scanner) take(want byte) error {
	if s.peek() != want {
		return errMalformed
	}
	s.pos++
	return nil
}

// end says that nothing is left.
func (s *scanner) end() error {
	if s.space(); s.pos != len(s.data) {
		return errMalformed
	}
	return nil
}

// object walks the members of an object. member has to consume the value.
func (s *scanner) object(member func(key []byte) error) error {
	if err := s.take('{'); err != nil {
		return err
	}
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		key, err := s.key()
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch s.peek() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return errMalformed
		}
	}
}

// key reads a member's name and the colon. A name may be written with escapes:
// longer ones than any that is looked for are given back raw.
func (s *scanner) key() ([]byte, error) {
	if s.peek() != '"' {
		return nil, errMalformed
	}
	raw, escaped, err := s.str()
	if err != nil {
		return nil, err
	}
	if escaped && len(raw) <= 6*len("path_with_namespace")+2 {
		var name string
		if err := json.Unmarshal(raw, &name); err != nil {
			return nil, errMalformed
		}
		return []byte(name), s.take(':')
	}
	return raw[1 : len(raw)-1], s.take(':')
}

// text takes a string value. ok is false when the value is something else,
// which is skipped.
func (s *scanner) text() (value string, ok bool, err error) {
	if s.peek() != '"' {
		return "", false, s.skip()
	}
	raw, escaped, err := s.str()
	if err != nil {
		return "", false, err
	}
	if !utf8.Valid(raw) {
		return "", false, errMalformed
	}
	if !escaped {
		return string(raw[1 : len(raw)-1]), true, nil
	}
	if err := json.Unmarshal(raw, &value); err != nil {
		return "", false, errMalformed
	}
	return value, true, nil
}

// raw takes a value of any kind as it is written.
func (s *scanner) raw() ([]byte, error) {
	s.space()
	from := s.pos
	err := s.skip()
	return s.data[from:s.pos], err
}

// str passes a string and gives it with its quotes.
func (s *scanner) str() (raw []byte, escaped bool, err error) {
	data, from := s.data, s.pos
	for i := from + 1; i < len(data); i++ {
		switch c := data[i]; {
		case c == '"':
			s.pos = i + 1
			return data[from:s.pos], escaped, nil
		case c == '\\':
			escaped = true
			n := escape(data[i+1:])
			if n == 0 {
				return nil, false, errMalformed
			}
			i += n
		case c < ' ':
			return nil, false, errMalformed
		}
	}
	return nil, false, errMalformed
}

// escape is how many bytes after the backslash belong to it; 0 = wrong.
func escape(rest []byte) int {
	if len(rest) == 0 {
		return 0
	}
	switch rest[0] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 1
	case 'u':
		if len(rest) < 5 {
			return 0
		}
		for _, c := range rest[1:5] {
			if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
				return 0
			}
		}
		return 5
	}
	return 0
}

// skip passes a value of any kind and depth.
func (s *scanner) skip() error {
	depth := 0
	for {
		// A value begins here.
		opened := false
		switch c := s.peek(); {
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return errMalformed
			}
			s.pos++
			s.mark(depth, c == '{')
			opened = true
		case c == '"':
			if _, _, err := s.str(); err != nil {
				return err
			}
		case c == '-' || '0' <= c && c <= '9':
			if !s.number() {
				return errMalformed
			}
		default:
			if !s.word() {
				return errMalformed
			}
		}
		var err error
		if depth, err = s.next(depth, opened); err != nil || depth == 0 {
			return err
		}
	}
}

// next goes to where the next value begins: after commas, names and closing
// brackets. It gives the depth there; 0 = all is closed.
func (s *scanner) next(depth int, opened bool) (int, error) {
	for depth > 0 {
		in := s.marked(depth)
		c := s.peek()
		if in && c == '}' || !in && c == ']' {
			s.pos++
			depth--
			opened = false
			continue
		}
		if !opened {
			if c != ',' {
				return 0, errMalformed
			}
			s.pos++
		}
		if in {
			if s.peek() != '"' {
				return 0, errMalformed
			}
			if _, _, err := s.str(); err != nil {
				return 0, err
			}
			if err := s.take(':'); err != nil {
				return 0, err
			}
		}
		return depth, nil
	}
	return 0, nil
}

func (s *scanner) mark(depth int, object bool) {
	bit := uint64(1) << (depth % 64)
	if object {
		s.stack[depth/64] |= bit
	} else {
		s.stack[depth/64] &^= bit
	}
}

func (s *scanner) marked(depth int) bool { return s.stack[depth/64]>>(depth%64)&1 == 1 }

// number passes -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number() bool {
	if s.at('-') {
		s.pos++
	}
	if s.at('0') {
		s.pos++
	} else if s.digits() == 0 {
		return false
	}
	if s.at('.') {
		s.pos++
		if s.digits() == 0 {
			return false
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		return s.digits() > 0
	}
	return true
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.data) && s.data[s.pos] == c }

func (s *scanner) digits() int {
	from := s.pos
	for s.pos < len(s.data) && '0' <= s.data[s.pos] && s.data[s.pos] <= '9' {
		s.pos++
	}
	return s.pos - from
}

// word passes true, false or null.
func (s *scanner) word() bool {
	for _, word := range [...]string{"true", "false", "null"} {
		if rest := s.data[s.pos:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			s.pos += len(word)
			return true
		}
	}
	return false
}
