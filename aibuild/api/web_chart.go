package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// chart is a line over the versions of an image, oldest first, drawn here: pages
// run no scripts for it. Colours are the stylesheet's.
type chart struct {
	Title  string
	Low    string // smallest value
	High   string
	Last   string // of the newest version
	Line   string // of SVG's polyline
	Points []point
}

type point struct {
	X, Y  string
	Label string
	Link  string
}

const (
	chartWidth  = 640
	chartHeight = 120
	chartMargin = 14
)

// newChart draws at least two values, above zero: what hardly changes looks so.
func newChart(title string, values []chartValue, text func(int64) string) *chart {
	if len(values) < 2 {
		return nil
	}
	low, high := values[0].n, values[0].n
	for _, v := range values {
		low, high = min(low, v.n), max(high, v.n)
	}
	c := &chart{Title: title, Low: text(low), High: text(high), Last: text(values[len(values)-1].n)}
	var line []string
	for i, v := range values {
		x := chartMargin + float64(i)*(chartWidth-2*chartMargin)/float64(len(values)-1)
		y := chartMargin + float64(high-v.n)/float64(high)*(chartHeight-2*chartMargin)
		p := point{X: fmt.Sprintf("%.1f", x), Y: fmt.Sprintf("%.1f", y), Label: v.name + ": " + text(v.n), Link: v.name}
		line, c.Points = append(line, p.X+","+p.Y), append(c.Points, p)
	}
	c.Line = strings.Join(line, " ")
	return c
}

type chartValue struct {
	name string
	n    int64
}

func chartOf(entries []lineage.Entry, value func(*lineage.Image) int64) []chartValue {
	var all []chartValue
	for _, e := range slices.Backward(entries) {
		if e.Image == nil {
			continue
		}
		if n := value(e.Image); n > 0 {
			all = append(all, chartValue{e.Image.Ref(), n})
		}
	}
	return all
}

func sizeChart(entries []lineage.Entry) *chart {
	return newChart("Size of the image file", chartOf(entries, func(i *lineage.Image) int64 {
		if i.Artifact == nil {
			return 0
		}
		return i.Artifact.Size
	}), bytesText)
}

// timeChart is over how long images took to boot in their tests: the slowest
// cell counts.
func timeChart(entries []lineage.Entry) *chart {
	return newChart("Time to boot", chartOf(entries, bootMS), msText)
}

// bootMS is 0 where nothing was measured.
func bootMS(i *lineage.Image) int64 {
	var slowest int64
	for _, t := range i.Tests {
		if t.Case == bootCase && t.Result == lineage.Passed {
			slowest = max(slowest, t.MS)
		}
	}
	return slowest
}

// bootCase is the harness' case that an image boots.
const bootCase = "builtin/boots"
