package main

import (
	"maps"
	"testing"
)

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

func TestChoose(t *testing.T) {
	for name, want := range map[string]int{"hooks": 5, "hooks-ack": 1, "memory": 1} {
		if chosen, err := choose([]string{name}); err != nil || len(chosen) != want {
			t.Errorf("%s: %d parts, %v; want %d", name, len(chosen), err, want)
		}
	}
	if _, err := choose([]string{"hook"}); err == nil {
		t.Error("a part that is not there is chosen")
	}
}

func TestEventKey(t *testing.T) {
	for _, label := range []string{"a", "crash 19 7", "a label of many words"} {
		if key := eventKey(label, 1<<63); len(key) != keyWidth {
			t.Errorf("%q has %d bytes, not %d", key, len(key), keyWidth)
		}
	}
}

// TestBroken: the check of what a crash has cost sees each kind of it.
func TestBroken(t *testing.T) {
	p := &promises{acked: map[string]int64{"a": 1, "b": 2, "spooled": 0}}
	whole := map[string][]int64{"a": {1}, "b": {2}, "spooled": {3}, "never answered": {4}}
	if err := p.controls(whole); err != nil {
		t.Error(err)
	}
	for what, c := range map[string]struct {
		key           string
		events        []int64
		lost, doubled int
	}{
		"whole":         {"a", []int64{1}, 0, 0},
		"gone":          {"a", nil, 1, 0},
		"spooled, gone": {"spooled", nil, 1, 0},
		"twice":         {"b", []int64{2, 5}, 0, 1},
		"another":       {"b", []int64{9}, 1, 0},
	} {
		stored := maps.Clone(whole)
		stored[c.key] = c.events
		if lost, doubled := p.broken(stored); lost != c.lost || doubled != c.doubled {
			t.Errorf("%s: %d lost, %d doubled", what, lost, doubled)
		}
	}
}
