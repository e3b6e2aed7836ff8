package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"
)

func someTable(t io.Writer) error {
	return errors.Join(
		row(t, "RUN", "IMAGE", "STATE", "REASON"),
		row(t, "01a21745-acfd-719d-a44b-e083dbc604c2", "debian-12", "failure", "the mirror \"deb.example\"\tdid not answer,\nfor a long while: "+strings.Repeat("ü", 60)),
		row(t, "01a21745-acfd-719d-a44b-e083dbc604c3", "", "success", ""),
	)
}

func TestTableFits(t *testing.T) {
	for _, width := range []int{0, 200, 100, 80, 40} {
		var out bytes.Buffer
		w := &world{stdout: &out}
		if err := w.printTable(someTable, width); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d columns: %d lines\n%s", width, len(lines), out.String())
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); width >= 80 && n > width {
				t.Errorf("%d columns: %d\n%s", width, n, line)
			}
		}
		if !strings.Contains(out.String(), "01a21745-acfd-719d-a44b-e083dbc604c3  -") {
			t.Errorf("%d columns: the id is not whole, or the empty cell not shown\n%s", width, out.String())
		}
		if cut := strings.Contains(out.String(), "…"); cut != (width == 100 || width == 80 || width == 40) {
			t.Errorf("%d columns: cut is %v\n%s", width, cut, out.String())
		}
	}
}

func TestCSV(t *testing.T) {
	var out bytes.Buffer
	w := &world{stdout: &out}
	if err := w.printCSV(someTable); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 3 || rows[2][1] != "" || !strings.HasPrefix(rows[1][3], `the mirror "deb.example" did not answer, for`) {
		t.Errorf("%q, %v", rows, err)
	}
}
