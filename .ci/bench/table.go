package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// Verdicts of a line.
const (
	met     = "met"
	unclear = "unclear"
	missed  = "MISSED"
	tooFew  = "over, too few samples"
	told    = "for information"
	unknown = "NOT MEASURED"
)

// enough samples for a miss.
const enough = 5

// none is the bound of what must not happen at all.
const none = math.SmallestNonzeroFloat64

// line is one bound and what was measured against it.
type line struct {
	part    string
	what    string
	against string // empty: a value by itself
	unit    string // x, s, ms, MiB
	samples []float64
	bound   float64 // at most; 0: none
	least   bool    // the bound is at least
	exact   bool    // one sample is the truth, such as the size of a file
	load    string  // of the machine when it was taken
}

func (l line) verdict() string {
	lo, hi := interval(l.samples)
	m, bound := median(l.samples), l.bound
	if l.least {
		lo, hi, m, bound = -hi, -lo, -m, -bound
	}
	switch {
	case len(l.samples) == 0:
		return unknown
	case l.bound == 0:
		return told
	case m <= bound:
		return met
	case lo > bound && (l.exact || len(l.samples) >= enough):
		return missed
	case hi > bound && lo <= bound:
		return unclear
	}
	return tooFew
}

// String is the line in short, for those who watch.
func (l line) String() string {
	lo, hi := interval(l.samples)
	return fmt.Sprintf("%s: %s (%s … %s): %s", l.what, l.figure(median(l.samples)), l.figure(lo), l.figure(hi), l.verdict())
}

func (l line) figure(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	format := "%.3g %s"
	if l.unit == "x" {
		format = "%.3f %s"
	}
	return fmt.Sprintf(format, v, l.unit)
}

func printTable(w io.Writer, lines []line) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "part\twhat\tagainst\tmedian\t95 % interval\tbound\tn\tload\tverdict")
	for _, l := range lines {
		lo, hi := interval(l.samples)
		bound, spread := "-", "-"
		if l.bound != 0 {
			bound = "<= " + l.figure(l.bound)
			switch {
			case l.bound == none:
				bound = "none"
			case l.least:
				bound = ">= " + l.figure(l.bound)
			}
		}
		if len(l.samples) > 1 {
			spread = l.figure(lo) + " … " + l.figure(hi)
		}
		against := l.against
		if against == "" {
			against = "-"
		}
		fmt.Fprintln(t, strings.Join([]string{
			l.part, l.what, against, l.figure(median(l.samples)), spread, bound, fmt.Sprint(len(l.samples)), l.load, l.verdict(),
		}, "\t"))
	}
	if err := t.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: the table was not printed:", err)
	}
}

func median(samples []float64) float64 {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	switch {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

// interval holds the true median with a chance of at least 95 %: from the k-th
// smallest to the k-th largest sample, k as large as that allows. Of fewer than
// six samples it is their range, which holds it with a chance of 1 - 2^(1-n).
func interval(samples []float64) (lo, hi float64) {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	k, outside := 0, 0.0 // outside: the chance that fewer than k+1 samples lie on one side
	term := math.Pow(0.5, float64(n))
	for i := 0; i < n/2; i++ {
		outside += 2 * term
		if outside > 0.05 {
			break
		}
		k = i
		term *= float64(n-i) / float64(i+1)
	}
	return s[k], s[n-1-k]
}

// load is the machine's load average over the last minute.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "?"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
