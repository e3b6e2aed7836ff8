package lineage

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestStats(t *testing.T) {
	s := newStore(t)
	empty := map[string]int64{RunReceived: 0, RunQueued: 0, RunTriggering: 0, RunJenkinsQueue: 0, RunBuilding: 0}
	st, err := s.Stats(t.Context())
	if err != nil || st.EventsPending != 0 || st.OldestEvent != 0 || st.StatusesDue != 0 || cmp.Diff(empty, st.RunsOpen) != "" || st.Connections.Open == 0 {
		t.Errorf("stats = %+v, %v", st, err)
	}
	old := push("k1", zeros, commitA)
	old.ReceivedAt = time.Now().Add(-time.Hour)
	accept(t, s, old, push("k2", zeros, commitA))
	inState(t, s, RunBuilding)
	inState(t, s, RunFailure)
	inState(t, s, RunReceived)
	st, err = s.Stats(t.Context())
	want := map[string]int64{RunReceived: 1, RunQueued: 0, RunTriggering: 0, RunJenkinsQueue: 0, RunBuilding: 1}
	if err != nil || st.EventsPending != 2 || st.OldestEvent < 59*time.Minute || st.OldestEvent > 61*time.Minute || st.StatusesDue != 3 || cmp.Diff(want, st.RunsOpen) != "" {
		t.Errorf("stats = %+v, %v", st, err)
	}
}
