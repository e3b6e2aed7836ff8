package lineage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// What was visible in a cluster at a time follows from what happened, in whatever
// order it was delivered, and however often it was looked at.
func TestShownAt(t *testing.T) {
	s := newStore(t)
	ids := []string{id(), id(), id()}
	at := func(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }
	var all []Record
	for n, uuid := range ids {
		all = append(all, builtRecord(uuid, "tiny", at(n)))
	}
	in := func(cluster string, n, minutes int, state string) Record {
		return targetRecord(ids[n], cluster, state, fmt.Sprintf("%d0000000-0000-4000-8000-000000000000", n), at(minutes))
	}
	seen := func(n, minutes int, state string) Record {
		r := in("alpha", n, minutes, state)
		r.Verb, r.Released.ReleaseAt, r.Released.CheckedAt = VerbChecked, time.Time{}, r.At
		return r
	}
	record(t, s, all...)
	record(t, s, in("alpha", 0, 10, TargetUploading), in("alpha", 0, 11, TargetVisible), seen(0, 15, TargetVisible),
		in("alpha", 2, 40, TargetUploading), in("alpha", 2, 41, TargetVisible), in("alpha", 1, 42, TargetHidden), seen(0, 45, TargetHidden), seen(1, 45, TargetHidden), seen(2, 45, TargetVisible),
		in("alpha", 2, 60, TargetRevoked), in("beta", 1, 30, TargetVisible))
	record(t, s, in("alpha", 1, 20, TargetUploading), in("alpha", 1, 21, TargetVisible), in("alpha", 0, 22, TargetHidden)) // journalled, delivered last
	rolled := in("alpha", 0, 70, TargetVisible)
	rolled.Verb = VerbRolled
	record(t, s, rolled, seen(0, 80, TargetChanged), seen(0, 90, TargetMissing))
	for _, c := range []struct {
		cluster string
		minute  int
		want    int // -1: none
	}{
		{"alpha", 5, -1}, {"alpha", 10, -1}, {"alpha", 11, 0}, {"alpha", 19, 0}, {"alpha", 20, 0}, {"alpha", 21, 1}, {"alpha", 35, 1}, {"alpha", 40, 1}, {"alpha", 41, 2}, {"alpha", 59, 2},
		{"alpha", 60, -1}, {"alpha", 65, -1}, {"alpha", 70, 0}, {"alpha", 85, 0}, {"alpha", 90, -1}, {"alpha", 900, -1}, {"beta", 29, -1}, {"beta", 30, 1}, {"beta", 900, 1}, {"gamma", 900, -1},
	} {
		images, err := s.Resolve(t.Context(), Query{Name: "tiny", Cluster: c.cluster, At: at(c.minute)})
		switch {
		case c.want < 0 && (!errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "cluster "+c.cluster)):
			t.Errorf("%s at %d: %v, %v; want none", c.cluster, c.minute, images, err)
		case c.want >= 0 && (err != nil || len(images) != 1 || images[0].UUID != ids[c.want] || images[0].Artifact == nil || len(images[0].Targets) == 0):
			t.Errorf("%s at %d: %+v, %v; want image %d with all that is known", c.cluster, c.minute, images, err, c.want)
		}
	}
	for _, q := range []Query{{Name: "tiny"}, {Cluster: "alpha"}, {Ref: "tiny"}, {Name: "tiny", Cluster: "alpha", Good: true}, {Name: "tiny", Cluster: "alpha", Limit: 1}, {Name: "tiny", Cluster: "alpha", Parent: "x"}} {
		q.At = day
		if _, err := s.Resolve(t.Context(), q); !is[*Invalid](err) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// An image that was deleted in a cloud and uploaded again has another id there.
// Who asks for the time before gets the old one, and the old one still leads to
// the image: servers run from it.
func TestShownAtByWhichID(t *testing.T) {
	s := newStore(t)
	const old, fresh = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"
	uuid, at := id(), func(minutes int) time.Time { return day.Add(time.Duration(minutes) * time.Minute) }
	missing := targetRecord(uuid, "alpha", TargetMissing, old, at(30))
	missing.Verb, missing.Released.ReleaseAt = VerbChecked, time.Time{}
	record(t, s, builtRecord(uuid, "tiny", day), targetRecord(uuid, "alpha", TargetVisible, old, at(10)), missing,
		targetRecord(uuid, "alpha", TargetUploading, fresh, at(40)), targetRecord(uuid, "alpha", TargetVisible, fresh, at(41)))
	for minute, want := range map[int]string{20: old, 50: fresh} {
		images, err := s.Resolve(t.Context(), Query{Name: "tiny", Cluster: "alpha", At: at(minute)})
		if err != nil || len(images[0].Targets) != 1 || images[0].Targets[0].GlanceID != want || images[0].Targets[0].State != TargetVisible {
			t.Errorf("at %d: %+v, %v; want %s visible", minute, images, err, want)
		}
	}
	for _, glance := range []string{old, fresh} {
		images, err := s.Resolve(t.Context(), Query{Ref: glance})
		if err != nil || images[0].UUID != uuid || images[0].Targets[0].GlanceID != fresh {
			t.Errorf("%s: %+v, %v; want the image as it is today", glance, images, err)
		}
	}
	events, _, err := s.Events(t.Context(), EventFilter{ImageUUID: uuid})
	if err != nil || len(events) != 5 || events[0].GlanceID != fresh || events[4].GlanceID != "" {
		t.Errorf("events: %+v, %v", events, err)
	}
}

// A release that others wrote is known from release_log only.
func TestShownOfOthers(t *testing.T) {
	s := newStore(t)
	db, foreign := s.cfg.DBName, id()
	query(t, "INSERT INTO "+db+".build_log VALUES (?, 'tiny', 'rocky', '9', '2026-11-22 07:00:00', 'x.iso', NULL)", foreign)
	query(t, "INSERT INTO "+db+".release_log VALUES (?, 'gamma', '77777777-0000-4000-8000-000000000007', '2026-11-22 07:02:00')", foreign)
	if _, err := s.AdoptForeign(t.Context()); err != nil {
		t.Fatal(err)
	}
	ours := id()
	record(t, s, builtRecord(ours, "tiny", day), targetRecord(ours, "gamma", TargetVisible, id(), day.Add(time.Hour)))
	record(t, s, targetRecord(foreign, "gamma", TargetHidden, "", day.Add(time.Hour+time.Second)))
	for hour, want := range map[int]string{7: "", 8: foreign, 10: ours} {
		images, err := s.Resolve(t.Context(), Query{Name: "tiny", Cluster: "gamma", At: time.Date(2026, 11, 22, hour, 1, 0, 0, time.UTC)})
		got := ""
		if err == nil {
			got = images[0].UUID
		}
		if got != want {
			t.Errorf("at %d:01: %q %v, want %q", hour, got, err, want)
		}
	}
}

// However often the clusters are looked at, a few rows say what was there.
func TestShownReadsAnIndex(t *testing.T) {
	s := newStore(t)
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.event (record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, cluster, state, reason)
		SELECT CONCAT(n.seq, '-', m.seq), '2026-01-01' + INTERVAL n.seq HOUR, NOW(6), '', '', 'checked', 'tiny', CONCAT('i', m.seq), 'alpha', IF(m.seq = n.seq DIV 100, 'visible', 'hidden'), ''
		FROM seq_1_to_1000 n JOIN seq_1_to_20 m`, db))
	query(t, "ANALYZE TABLE "+db+".event")
	at, visible := time.Date(2026, 1, 25, 0, 30, 0, 0, time.UTC), time.Date(2026, 1, 25, 0, 0, 0, 0, time.UTC)
	for _, st := range []struct {
		query string
		args  []any
		rows  int
	}{
		{fmt.Sprintf(lastShownSQL, ""), []any{"tiny", "alpha", TargetVisible, at}, 3},
		{leftSQL, []any{"tiny", "alpha", TargetHidden, visible, at, "i5"}, 25},
		{leftSQL, []any{"tiny", "alpha", TargetHidden, visible.Add(-24 * time.Hour), at, "i5"}, 500}, // nobody looked for a day
	} {
		explain(t, s, "shown", st.query, st.args)
		if read := reads(t, s, st.query, st.args); read > st.rows {
			t.Errorf("reads %d rows, want at most %d: %s", read, st.rows, st.query)
		}
	}
	last, err := s.lastShown(t.Context(), Query{Name: "tiny", Cluster: "alpha", At: at}, nil)
	if err != nil || last.image != "i5" || !last.at.Equal(visible) {
		t.Errorf("%+v, %v", last, err)
	}
}
