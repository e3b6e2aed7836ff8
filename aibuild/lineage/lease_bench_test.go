package lineage

import (
	"testing"
	"time"
)

// BenchmarkPass is what one pass of a reconciler over 1,000 open runs costs in
// the database, among 10,000 runs on a disk.
func BenchmarkPass(b *testing.B) {
	s, _ := diskStore(b)
	fillInbox(b, s, 10, 10_000)
	var claim, touch, active, due time.Duration
	n := 0
	for b.Loop() {
		n++
		start := time.Now()
		runs, err := s.ClaimRuns(b.Context(), "d", 10_000, time.Minute)
		if err != nil || len(runs) != 1000 {
			b.Fatalf("%d runs, %v", len(runs), err)
		}
		claim += time.Since(start)
		steps := make([]RunStep, len(runs))
		for i, r := range runs {
			steps[i] = RunStep{RunID: r.ID, Fence: r.Fence, Reason: "waits for an executor of aibuild/build"}
		}
		start = time.Now()
		if err := s.TouchRuns(b.Context(), "d", steps...); err != nil {
			b.Fatal(err)
		}
		touch += time.Since(start)
		start = time.Now()
		if _, err := s.ActiveRuns(b.Context(), "", "", ""); err != nil {
			b.Fatal(err)
		}
		active += time.Since(start)
		start = time.Now()
		if _, err := s.StatusesDue(b.Context(), 100); err != nil {
			b.Fatal(err)
		}
		due += time.Since(start)
	}
	b.ReportMetric(claim.Seconds()*1000/float64(n), "ms/claim")
	b.ReportMetric(touch.Seconds()*1000/float64(n), "ms/touch")
	b.ReportMetric(active.Seconds()*1000/float64(n), "ms/active")
	b.ReportMetric(due.Seconds()*1000/float64(n), "ms/due")
}
