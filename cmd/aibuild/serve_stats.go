package main

import (
	"context"
	"time"

	"github.com/guestos/aibuild/aibuild/api"
)

// stats are the numbers of the other rooms for /metrics.
func (s *service) stats() []api.Stat {
	d, spooled := s.dispatcher.Stats(), s.spool.Stats()
	active := 0.0
	if d.Active {
		active = 1
	} else {
		d.Paused = nil // what was so when it last was active
	}
	list := []api.Stat{
		{Name: "aibuild_dispatcher_active", Help: "1 in the daemon that works, 0 in those that stand by.", Value: active},
		{Name: "aibuild_dispatcher_pass_seconds", Help: "How long the last pass took.", Value: d.PassTime.Seconds()},
		{Name: "aibuild_dispatcher_passes_total", Help: "Passes over all runs and events.", Counter: true, Value: float64(d.Passes)},
		{Name: "aibuild_dispatcher_failures_total", Help: "Passes in which something could not be done.", Counter: true, Value: float64(d.Failures)},
		{Name: "aibuild_jenkins_triggers_total", Help: "Builds that Jenkins was asked to start.", Counter: true, Value: float64(d.Triggers)},
		{Name: "aibuild_gitlab_statuses_total", Help: "Commit statuses that GitLab was told.", Counter: true, Value: float64(d.Statuses)},
		{Name: "aibuild_rebuilds_paused", Help: "Images whose scheduled rebuilds are paused after failures.", Value: float64(len(d.Paused))},
		{Name: "aibuild_spool_deliveries", Help: "Deliveries on disk, as the database is away.", Value: float64(spooled.Events)},
		{Name: "aibuild_spool_bytes", Help: "Bytes of the spool.", Value: float64(spooled.Bytes)},
	}
	list = append(list, api.Stat{Name: "aibuild_hooks_seconds_total", Help: "Time spent on all deliveries.", Counter: true, Value: s.handler.Stats().Busy.Seconds()})
	list = append(list, s.storeStats()...)
	list = append(list, s.reconciler.stats()...)
	list = append(list, s.neighbours.stats()...)
	for answer, n := range s.handler.Stats().Answers {
		list = append(list, api.Stat{Name: "aibuild_hooks_total", Help: "Deliveries by what became of them.", Counter: true, Labels: map[string]string{"answer": answer}, Value: float64(n)})
	}
	return list
}

// statsWithin is how long a scrape may keep the database.
const statsWithin = 3 * time.Second

// storeStats are what the database knows. While it is away there are none, which
// a scrape survives: aibuild_database_up says so.
func (s *service) storeStats() []api.Stat {
	ctx, cancel := context.WithTimeout(context.Background(), statsWithin)
	defer cancel()
	st, err := s.store.Stats(ctx)
	up := api.Stat{Name: "aibuild_database_up", Help: "1 where the database answered when the metrics were asked for."}
	if err != nil {
		s.log.Debug("the database does not say how much waits", "error", err)
		return []api.Stat{up}
	}
	up.Value = 1
	list := []api.Stat{
		up,
		{Name: "aibuild_events_pending", Help: "Deliveries that are stored and not yet looked at.", Value: float64(st.EventsPending)},
		{Name: "aibuild_event_oldest_seconds", Help: "How long the oldest of them waits.", Value: st.OldestEvent.Seconds()},
		{Name: "aibuild_run_oldest_waiting_seconds", Help: "How long the oldest run waits for its build to begin.", Value: st.OldestRun.Seconds()},
		{Name: "aibuild_images_failing", Help: "Image names whose last run did not succeed.", Value: float64(st.ImagesFailing)},
		{Name: "aibuild_commit_statuses_due", Help: "Runs whose state GitLab has not been told of.", Value: float64(st.StatusesDue)},
		{Name: "aibuild_database_connections", Help: "Connections to the database.", Value: float64(st.Connections.Open)},
		{Name: "aibuild_database_waits_total", Help: "How often somebody waited for a connection.", Counter: true, Value: float64(st.Connections.Waits)},
	}
	for state, n := range st.RunsOpen {
		list = append(list, api.Stat{Name: "aibuild_runs_open", Help: "Runs that have not ended, by state.", Labels: map[string]string{"state": state}, Value: float64(n)})
	}
	return list
}
