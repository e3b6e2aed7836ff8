package main

import (
	"bytes"
	"encoding/csv"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// columns is how wide the terminal is that shows the result; 0: it is no
// terminal, and nothing is cut.
func (w *world) columns() int {
	f, ok := w.stdout.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// cells reads what row has written. Lines without a tab are no rows: a failure
// block under a table.
func cells(table func(io.Writer) error) ([][]string, error) {
	var b bytes.Buffer
	if err := table(&b); err != nil {
		return nil, err
	}
	var rows [][]string
	for line := range strings.Lines(b.String()) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows, nil
}

const columnGap = 2

// printTable lines the cells up, within so many columns (0: as many as there are).
func (w *world) printTable(table func(io.Writer) error, within int) error {
	rows, err := cells(table)
	if err != nil {
		return err
	}
	widths := widthsOf(rows)
	if within > 0 {
		shrink(widths, rows, within)
	}
	var b strings.Builder
	for _, row := range rows {
		for i, cell := range row {
			if len(row) > 1 {
				cell = cut(cell, widths[i])
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+columnGap))
			}
		}
		b.WriteByte('\n')
	}
	_, err = io.WriteString(w.stdout, b.String())
	return err
}

func widthsOf(rows [][]string) []int {
	var widths []int
	for _, row := range rows {
		if len(row) < 2 {
			continue
		}
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	return widths
}

// whole are cells that are good for nothing in part: somebody copies them.
var whole = regexp.MustCompile(`^([0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{64}|[a-z]+://\S+)$`)

// narrowest is how far a column is cut at most.
const narrowest = 8

// shrink takes from the widest columns of words until a row fits. Where ids alone
// are too much, the terminal wraps them.
func shrink(widths []int, rows [][]string, within int) {
	fixed := make([]bool, len(widths))
	for _, row := range rows {
		for i, cell := range row {
			if len(row) > 1 && whole.MatchString(cell) {
				fixed[i] = true
			}
		}
	}
	over := columnGap*(len(widths)-1) - within
	for _, n := range widths {
		over += n
	}
	for ; over > 0; over-- {
		widest := -1
		for i, n := range widths {
			if !fixed[i] && n > narrowest && (widest < 0 || n >= widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		widths[widest]--
	}
}

func cut(text string, width int) string {
	if utf8.RuneCountInString(text) <= width {
		return text
	}
	return string([]rune(text)[:width-1]) + "…"
}

// printCSV writes the rows of a table as RFC 4180 has it. What is "-" in a table
// is empty.
func (w *world) printCSV(table func(io.Writer) error) error {
	rows, err := cells(table)
	if err != nil {
		return err
	}
	out := csv.NewWriter(w.stdout)
	for _, row := range rows {
		if len(row) < 2 {
			continue
		}
		for i, cell := range row {
			if cell == "-" {
				row[i] = ""
			}
		}
		if err := out.Write(slices.Clone(row)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}
