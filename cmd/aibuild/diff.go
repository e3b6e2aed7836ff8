package main

import (
	"fmt"
	"regexp"
	"strings"
)

const diffContext = 3 // lines around a change

// edit is one line of a comparison: ' ' is in both, '-' only in the old text, '+' only in the new one.
type edit struct {
	op   byte
	text string
}

// unified compares two texts line by line, as diff -u does; empty when they are equal. What may be a secret in lines is
// hidden, which only people read.
func unified(oldName, newName, before, after string) string {
	edits := compared(lineList(before), lineList(after))
	var out strings.Builder
	for at := 0; at < len(edits); {
		if edits[at].op == ' ' {
			at++
			continue
		}
		from, to := max(at-diffContext, 0), hunkEnd(edits, at)
		if out.Len() == 0 {
			fmt.Fprintf(&out, "--- %s\n+++ %s\n", oldName, newName)
		}
		writeHunk(&out, edits, from, to)
		at = to
	}
	return out.String()
}

// hunkEnd is where a piece ends that has a change at a place: as many equal lines follow as context is shown.
func hunkEnd(edits []edit, at int) int {
	last := at
	for i := at; i < len(edits) && i-last <= 2*diffContext; i++ {
		if edits[i].op != ' ' {
			last = i
		}
	}
	return min(last+1+diffContext, len(edits))
}

func writeHunk(out *strings.Builder, edits []edit, from, to int) {
	count := func(list []edit, but byte) (n int) {
		for _, e := range list {
			if e.op != but {
				n++
			}
		}
		return n
	}
	start := func(but byte) int {
		line := count(edits[:from], but)
		if count(edits[from:to], but) > 0 {
			line++
		}
		return line
	}
	fmt.Fprintf(out, "@@ -%d,%d +%d,%d @@\n", start('+'), count(edits[from:to], '+'), start('-'), count(edits[from:to], '-'))
	for _, e := range edits[from:to] {
		fmt.Fprintf(out, "%c%s\n", e.op, withoutSecrets(e.text))
	}
}

func lineList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n")
}

// compared finds the longest common list of lines, between the beginnings and ends that are the same.
func compared(a, b []string) []edit {
	head := 0
	for head < min(len(a), len(b)) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < min(len(a), len(b))-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	edits := marked(nil, ' ', a[:head]...)
	x, y := a[head:len(a)-tail], b[head:len(b)-tail]
	common := lengths(x, y)
	for i, j := 0, 0; i < len(x) || j < len(y); {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			edits = marked(edits, ' ', x[i])
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1]:
			edits = marked(edits, '-', x[i])
			i++
		default:
			edits = marked(edits, '+', y[j])
			j++
		}
	}
	return marked(edits, ' ', a[len(a)-tail:]...)
}

func marked(edits []edit, op byte, texts ...string) []edit {
	for _, text := range texts {
		edits = append(edits, edit{op, text})
	}
	return edits
}

// lengths says how many lines x from i on and y from j on have in common.
func lengths(x, y []string) [][]int {
	common := make([][]int, len(x)+1)
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if common[i][j] = max(common[i+1][j], common[i][j+1]); x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			}
		}
	}
	return common
}

// The values that Jenkins has encrypted, those of elements that are called like secrets, and passwords in addresses.
var secretText = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`\{[A-Za-z0-9+/]{16,}={0,2}\}`), "{***}"},
	{regexp.MustCompile(`(<[\w.-]*(?i:password|passphrase|secret|token|privatekey|apikey)[^>]*>)[^<]+`), "${1}***"},
	{regexp.MustCompile(`(://[^/\s<>@:]*:)[^/\s<>@]+@`), "${1}***@"},
}

func withoutSecrets(line string) string {
	for _, s := range secretText {
		line = s.pattern.ReplaceAllString(line, s.instead)
	}
	return line
}
