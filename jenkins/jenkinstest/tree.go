package jenkinstest

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// tree is a parsed tree= expression: which fields, of which below them, and which part of each list.
type tree struct {
	children map[string]*tree
	from, to int
}

func newTree() *tree { return &tree{children: map[string]*tree{}, to: math.MaxInt} }

// parseTree reads Jenkins' grammar: name, name[below], name{from,to}, lists of these with commas, * for all.
// Spaces are part of names, as they are there.
func parseTree(spec string) (*tree, error) {
	p := &treeParser{text: spec}
	top := newTree()
	if err := p.list(top); err != nil {
		return nil, err
	}
	if err := p.expect("EOF"); err != nil {
		return nil, err
	}
	return top, nil
}

type treeParser struct {
	text string
	pos  int
}

var treeTokens = map[byte]string{',': "COMMA", '[': "LBRACE", ']': "RBRACE", '{': "QLBRACE", '}': "QRBRACE"}

// peek gives a token's name, or a word.
func (p *treeParser) peek() (token, word string) {
	if p.pos == len(p.text) {
		return "EOF", ""
	}
	if token := treeTokens[p.text[p.pos]]; token != "" {
		return token, ""
	}
	word = p.text[p.pos:]
	if end := strings.IndexAny(word, ",[]{}"); end >= 0 {
		word = word[:end]
	}
	return "", word
}

func (p *treeParser) accept(token string) bool {
	if got, _ := p.peek(); got != token {
		return false
	}
	if token != "EOF" {
		p.pos++
	}
	return true
}

func (p *treeParser) expect(token string) error {
	if !p.accept(token) {
		return fmt.Errorf("expected %s at %d", token, p.pos)
	}
	return nil
}

func (p *treeParser) list(into *tree) error {
	for {
		if err := p.node(into); err != nil {
			return err
		}
		if !p.accept("COMMA") {
			return nil
		}
	}
}

func (p *treeParser) node(into *tree) error {
	_, name := p.peek()
	if name == "" {
		return fmt.Errorf("expected name at %d", p.pos)
	}
	p.pos += len(name)
	sub := newTree()
	into.children[name] = sub
	if p.accept("LBRACE") {
		if err := p.list(sub); err != nil {
			return err
		}
		if err := p.expect("RBRACE"); err != nil {
			return err
		}
	}
	if p.accept("QLBRACE") {
		return p.window(sub)
	}
	return nil
}

// window reads {N}, {N,}, {,M} and {N,M}: from N, up to but without M.
func (p *treeParser) window(of *tree) (err error) {
	if p.accept("COMMA") {
		if of.to, err = p.number(); err != nil {
			return err
		}
		return p.expect("QRBRACE")
	}
	if of.from, err = p.number(); err != nil {
		return err
	}
	of.to = of.from + 1
	if p.accept("COMMA") {
		of.to = math.MaxInt
		if token, _ := p.peek(); token != "QRBRACE" {
			if of.to, err = p.number(); err != nil {
				return err
			}
		}
	}
	return p.expect("QRBRACE")
}

func (p *treeParser) number() (int, error) {
	_, word := p.peek()
	n, err := strconv.ParseUint(word, 10, 31)
	if err != nil {
		return 0, fmt.Errorf("expected number at %d", p.pos)
	}
	p.pos += len(word)
	return int(n), nil
}
