package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"
)

var formats = []string{"table", "json", "yaml", "csv"}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Value: "table", Usage: "`FORMAT`: table, json, yaml or csv"}
}

// print writes a result: as JSON or YAML of value, or by table. As CSV it is the
// table whole, for programs that read columns.
func (w *world) print(c *cli.Context, value any, table func(io.Writer) error) error {
	switch c.String("output") {
	case "table":
		return w.printTable(table, w.columns())
	case "csv":
		return w.printCSV(table)
	case "json":
		e := json.NewEncoder(w.stdout)
		e.SetIndent("", "  ")
		return e.Encode(value)
	default: // args has refused all others
		return w.printYAML(value)
	}
}

// printTo is print into the file that --out names, where it names one.
func (w *world) printTo(c *cli.Context, value any, table func(io.Writer) error) (err error) {
	if c.String("out") == "" {
		return w.print(c, value, table)
	}
	file, err := renameio.NewPendingFile(c.String("out"), renameio.WithPermissions(0o644))
	if err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	defer file.Cleanup() //nolint:errcheck // after the replacement there is nothing to clean up
	stdout := w.stdout
	w.stdout = file
	defer func() { w.stdout = stdout }()
	if err := w.print(c, value, table); err != nil {
		return err
	}
	return file.CloseAtomicallyReplace()
}

// printYAML goes by JSON, so that both have the same field names.
func (w *world) printYAML(value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var plain yaml.Node
	if err := yaml.Unmarshal(b, &plain); err != nil {
		return err
	}
	unflow(&plain)
	e := yaml.NewEncoder(w.stdout)
	e.SetIndent(2)
	if err := e.Encode(&plain); err != nil {
		return err
	}
	return e.Close()
}

// unflow turns JSON's braces and quotes into YAML's usual form.
func unflow(n *yaml.Node) {
	n.Style &^= yaml.FlowStyle | yaml.DoubleQuotedStyle
	for _, child := range n.Content {
		unflow(child)
	}
}

// inCell keeps what separates cells out of them.
var inCell = strings.NewReplacer("\t", " ", "\n", " ", "\r", "")

func row(w io.Writer, cells ...any) error {
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = inCell.Replace(fmt.Sprint(c))
		if text[i] == "" {
			text[i] = "-"
		}
	}
	_, err := fmt.Fprintln(w, strings.Join(text, "\t"))
	return err
}

func when(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// size writes bytes for people, in binary units.
func size(n int64) string {
	const units = "KMGTP"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}
