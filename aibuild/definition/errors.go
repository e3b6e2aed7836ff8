package definition

import (
	"fmt"
	"sort"
	"strings"
)

// Problem is one thing that is wrong with a file, and what to do about it.
type Problem struct {
	Path    string
	Line    int // 0 when the file as a whole is meant
	Message string
	Fix     string
}

func (p Problem) String() string {
	text := p.Path
	if p.Line > 0 {
		text = fmt.Sprintf("%s:%d", p.Path, p.Line)
	}
	text += ": " + p.Message
	if p.Fix != "" {
		text += "; " + p.Fix
	}
	return text
}

// Errors is every problem of one definition or configuration, sorted by file and line. It is never empty when returned.
type Errors []Problem

// Error lists the problems, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// sorted is the list as an error: by file and line, nil when it is empty.
func (e Errors) sorted() error {
	if len(e) == 0 {
		return nil
	}
	sort.SliceStable(e, func(i, j int) bool {
		if e[i].Path != e[j].Path {
			return e[i].Path < e[j].Path
		}
		return e[i].Line < e[j].Line
	})
	return e
}
