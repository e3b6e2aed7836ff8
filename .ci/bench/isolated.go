package main

import (
	"context"
	"fmt"
	"time"

	"github.com/guestos/aibuild/aibuild/harness"
)

// isolatedPart: what a case costs that wants a freshly booted guest, when there
// is one already. The first one pays for the snapshot.
func isolatedPart(ctx context.Context, b *bench) ([]line, error) {
	tiny, err := b.tinyImage(ctx)
	if err != nil {
		return nil, err
	}
	var cases []harness.Case
	for i := range max(b.pairs, enough) + 1 {
		cases = append(cases, harness.Case{Name: fmt.Sprintf("case-%d", i), Script: []byte("#!/bin/sh\nexit 0\n"), Isolated: true})
	}
	var ends []time.Time
	report, err := b.test(ctx, tiny.path, cases, func(e harness.Event) {
		if e.Case != "" && e.State == harness.Passed && e.Case[:min(5, len(e.Case))] == "case-" {
			ends = append(ends, e.At)
		}
	})
	if err != nil {
		return nil, err
	}
	if len(ends) != len(cases) {
		return nil, fmt.Errorf("%d of %d cases were seen to end", len(ends), len(cases))
	}
	l := line{what: "each further isolated case", unit: "s", bound: 1}
	for i := range ends[1:] {
		l.samples = append(l.samples, ends[i+1].Sub(ends[i]).Seconds())
	}
	boot := line{what: "a boot, for comparison", unit: "s", samples: []float64{float64(report.Cells[0].ReadyMS) / 1000}}
	return []line{l, boot}, nil
}
