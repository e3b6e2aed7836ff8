package lineage

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// toTell gives "image state" of what is due, in its order.
func toTell(t testing.TB, s *Store) (list []string, all []StatusDue) {
	t.Helper()
	all, err := s.StatusesDue(t.Context(), 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		list = append(list, d.Run.Image+" "+d.Run.State)
	}
	return list, all
}

func wantToTell(t testing.TB, s *Store, want ...string) []StatusDue {
	t.Helper()
	got, all := toTell(t, s)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("due (-want +got):\n%s", diff)
	}
	return all
}

// One commit's states are told in their order: a retry's only after those of
// the run before it; other commits and images do not wait for it.
func TestStatusesAreToldInOrder(t *testing.T) {
	s := newStore(t)
	first := managed(t, s, Run{})
	retry := managed(t, s, Run{RetryOf: first.ID})
	managed(t, s, Run{Image: "base"})
	managed(t, s, Run{Project: "ops/images", Commit: commitB})
	list := wantToTell(t, s, "tiny received", "base received", "tiny received")
	if list[0].Run.ID != first.ID || list[0].Sent != "" {
		t.Errorf("due = %+v", list)
	}
	if err := s.StatusFailed(t.Context(), first.ID, "502 Bad Gateway", time.Hour); err != nil {
		t.Fatal(err)
	}
	wantToTell(t, s, "base received", "tiny received") // the retry waits too
	for _, c := range claimRuns(t, s, "d") {
		if c.ID == first.ID {
			advance(t, s, c, Run{State: RunBuilding}, 0)
		}
	}
	list = wantToTell(t, s, "tiny building", "base received", "tiny received") // news need not wait
	if list[0].Tries != 0 {
		t.Errorf("tries of the state before count on: %+v", list[0])
	}
	if err := s.StatusFailed(t.Context(), first.ID, "502 Bad Gateway", time.Microsecond); err != nil {
		t.Fatal(err)
	}
	if list = wantToTell(t, s, "tiny building", "base received", "tiny received"); list[0].Tries != 1 {
		t.Errorf("due = %+v", list[0])
	}
	// It moves on while GitLab is told: the new state stays due.
	for _, c := range claimRuns(t, s, "d") {
		if c.ID == first.ID {
			advance(t, s, c, Run{State: RunFailure}, 0)
		}
	}
	if err := s.StatusSent(t.Context(), first.ID, RunBuilding, "running"); err != nil {
		t.Fatal(err)
	}
	if list = wantToTell(t, s, "tiny failure", "base received", "tiny received"); list[0].Sent != "running" {
		t.Errorf("due = %+v", list[0])
	}
	if err := s.StatusSent(t.Context(), first.ID, RunFailure, "failed"); err != nil {
		t.Fatal(err)
	}
	list = wantToTell(t, s, "tiny received", "base received", "tiny received")
	if list[0].Run.ID != retry.ID {
		t.Errorf("due = %+v", list[0])
	}
	if few, err := s.StatusesDue(t.Context(), 2); err != nil || len(few) != 2 {
		t.Errorf("due = %+v, %v; want 2", few, err)
	}
	// Given up, until there is news.
	if err := s.StatusFailed(t.Context(), retry.ID, "404 Project Not Found", 0); err != nil {
		t.Fatal(err)
	}
	wantToTell(t, s, "base received", "tiny received")
	if n := count(t, s, "run", "status_error = '404 Project Not Found'"); n != 1 {
		t.Error("the reason is not kept")
	}
	for _, c := range claimRuns(t, s, "d") {
		if c.ID == retry.ID {
			advance(t, s, c, Run{State: RunQueued}, 0)
		}
	}
	wantToTell(t, s, "tiny queued", "base received", "tiny received")
	if err := s.StatusSent(t.Context(), retry.ID, RunQueued, strings.Repeat("x", 21)); !is[*Invalid](err) {
		t.Errorf("a word too long: %v", err)
	}
}

// GitLab hears of what builds record too, but not of somebody's own builds, nor
// of what is no commit of it.
func TestWhoseStatusesAreTold(t *testing.T) {
	s := newStore(t)
	open := func(channel, project, commit string) Record {
		r := opened(Run{ID: id(), Image: "tiny", Project: project, Commit: commit, State: RunBuilding}, day)
		r.Channel = channel
		return r
	}
	jenkins := open("jenkins", "ops/images", commitA)
	record(t, s, jenkins, open("cli", "ops/images", commitB), open("library", "ops/images", commitB), open("jenkins", "", commitB), open("jenkins", "ops/images", ""), open("jenkins", "ops/images", commitB+"-dirty"))
	wantToTell(t, s, "tiny building")
	if err := s.StatusSent(t.Context(), jenkins.Run.ID, RunBuilding, "running"); err != nil {
		t.Fatal(err)
	}
	record(t, s, fromBuild(Run{ID: jenkins.Run.ID, State: RunBuilding, Stage: "test"}, day.Add(time.Second)))
	wantToTell(t, s) // no news
	record(t, s, fromBuild(Run{ID: jenkins.Run.ID, State: RunSuccess}, day.Add(time.Minute)))
	wantToTell(t, s, "tiny success")
	record(t, s, moved(jenkins.Run.ID, RunBuilding, "late", day.Add(30*time.Second)))
	wantToTell(t, s, "tiny success")
}
