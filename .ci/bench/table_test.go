package main

import "testing"

func TestVerdict(t *testing.T) {
	ten := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for name, c := range map[string]struct {
		line line
		want string
	}{
		"below":               {line{samples: []float64{1, 1, 1, 1, 9}, bound: 1}, met},
		"median over":         {line{samples: []float64{1, 2, 3, 4, 5}, bound: 2}, unclear},
		"all over":            {line{samples: []float64{3, 4, 5, 6, 7}, bound: 2}, missed},
		"all over, but four":  {line{samples: []float64{3, 4, 5, 6}, bound: 2}, tooFew},
		"one, exact":          {line{samples: []float64{3}, bound: 2, exact: true}, missed},
		"nothing":             {line{bound: 2}, unknown},
		"no bound":            {line{samples: []float64{3}}, told},
		"outliers are no bar": {line{samples: ten, bound: 1.5}, missed},
		"interval reaches it": {line{samples: ten, bound: 2}, unclear},
		"least: above":        {line{samples: []float64{9, 9, 9, 9, 1}, bound: 2, least: true}, met},
		"least: median below": {line{samples: []float64{1, 2, 3, 4, 5}, bound: 4, least: true}, unclear},
		"least: all below":    {line{samples: []float64{1, 2, 3, 4, 5}, bound: 6, least: true}, missed},
	} {
		if got := c.line.verdict(); got != c.want {
			t.Errorf("%s: %s, not %s", name, got, c.want)
		}
	}
}

func TestInterval(t *testing.T) {
	ascending := func(n int) (s []float64) {
		for i := range n {
			s = append(s, float64(i+1))
		}
		return s
	}
	// Ranks from tables of the sign test.
	for n, want := range map[int][2]float64{1: {1, 1}, 5: {1, 5}, 6: {1, 6}, 8: {1, 8}, 9: {2, 8}, 10: {2, 9}, 20: {6, 15}} {
		if lo, hi := interval(ascending(n)); lo != want[0] || hi != want[1] {
			t.Errorf("of %d samples: %v to %v, not %v", n, lo, hi, want)
		}
	}
}
