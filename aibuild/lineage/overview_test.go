package lineage

import (
	"fmt"
	"testing"
	"time"
)

func TestNewestGood(t *testing.T) {
	s := newStore(t)
	if got, err := s.NewestGood(t.Context(), 10); err != nil || len(got) != 0 || got == nil {
		t.Errorf("of nothing: %v, %v", got, err)
	}
	fill(t, s, 20_000, 10, 10)
	got, err := s.NewestGood(t.Context(), 1000)
	if err != nil || len(got) != 501 {
		t.Errorf("%d images, %v", len(got), err)
	}
	for i, img := range got {
		all, _, err := s.Images(t.Context(), Filter{Name: img.Name, Limit: 5})
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, one := range all {
			if one.UUID != "" && want == "" && fmt.Sprint(one.Number%97) != "0" {
				want = one.UUID
			}
		}
		if img.UUID != want {
			t.Errorf("newest good %s is %s, want %s", img.Name, img.UUID, want)
		}
		if i > 20 {
			break
		}
	}
	if some, err := s.NewestGood(t.Context(), 3); err != nil || len(some) != 3 || some[0].Name != got[0].Name {
		t.Errorf("at most three: %d, %v", len(some), err)
	}
	if read := reads(t, s, newestGoodSQL, nil); read > 2500 {
		t.Errorf("reads %d rows of 20,000 to find the newest of 500 names", read)
	}
	var args []any
	for _, img := range got[:50] {
		args = append(args, img.Name, img.BuiltAt)
	}
	if read := reads(t, s, newestAtSQL(50), args); read > 600 {
		t.Errorf("reads %d rows to give 50 images", read)
	}
}

func TestFailing(t *testing.T) {
	s := newStore(t)
	open := func(image string, states ...string) (last string) {
		for _, state := range states {
			last = id()
			record(t, s, Record{ID: id(), At: time.Now(), Actor: "a", Channel: "cli", RunID: last, Verb: VerbOpened, Run: &Run{ID: last, Image: image, State: RunBuilding}})
			if state != RunBuilding {
				record(t, s, Record{ID: id(), At: time.Now(), Actor: "a", Channel: "cli", RunID: last, Verb: VerbEnded, Run: &Run{ID: last, State: state}})
			}
		}
		return last
	}
	open("mended", RunFailure, RunSuccess)
	open("good", RunSuccess, RunCancelled)
	broken := open("broken", RunSuccess, RunFailure)
	open("again", RunFailure)
	again := open("again", RunUnstable)
	open("again", RunSuperseded, RunBuilding)
	runs, all, err := s.Failing(t.Context(), 10)
	if err != nil || all != 2 || len(runs) != 2 || runs[0].ID != again || runs[1].ID != broken {
		t.Errorf("failing: %+v, %d, %v", runs, all, err)
	}
	if runs, all, err = s.Failing(t.Context(), 1); err != nil || all != 2 || len(runs) != 1 || runs[0].ID != again {
		t.Errorf("the last one: %+v, %d, %v", runs, all, err)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.ImagesFailing != 2 {
		t.Errorf("stats = %+v, %v", st, err)
	}
	fill(t, s, 10, 20_000, 10)
	if read := reads(t, s, lastSeqSQL, nil); read > 200 {
		t.Errorf("reads %d rows of 20,000 runs of 6 names", read)
	}
}
