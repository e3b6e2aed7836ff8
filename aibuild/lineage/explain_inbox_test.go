package lineage

import (
	"crypto/sha256"
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// fillInbox makes a busy server: 200 refs in 20 projects, one event in 7 is
// pending, one run in 10 has not ended, one status in 13 is due.
func fillInbox(t testing.TB, s *Store, events, runs int) {
	t.Helper()
	exec := func(stmt string, n ...any) {
		t.Helper()
		if _, err := s.db.Exec(fmt.Sprintf(stmt, n...)); err != nil {
			t.Fatal(err)
		}
	}
	exec(`INSERT INTO hook_event (instance, idempotency_key, event, project, ref, ref_key, before_sha, after_sha, head_seq, actor, payload, payload_size, kept, state, reason, fence, tries, received_at)
		SELECT 'https://gitlab.example', CONCAT('k', seq), 'push', CONCAT('p', seq %% 20), CONCAT('refs/heads/b', seq DIV 20 %% 10), LEFT(SHA2(CONCAT('refs/heads/b', seq DIV 20 %% 10), 256), 32), '', seq, IF(seq %% 7 = 0, NULL, seq), 'ann',
		IF(seq %% 3 = 0, NULL, 'x'), 1, seq %% 3 <> 0, IF(seq %% 7 = 0, 'pending', IF(seq %% 97 = 0, 'failed', 'handled')), '', 0, 0, NOW(6) - INTERVAL %d - seq MINUTE FROM seq_1_to_%d`, events, events)
	exec(`INSERT INTO run (id, first_run, attempt, image, project, ref, head_seq, commit_sha, folder, from_stage, stage, state, state_at, finished, reason, actor, channel, managed, worker, hook_event,
		jenkins, jenkins_job, jenkins_url, build_tag, cancel_reason, fence, tries, next_at, opened_at, status_due, status_sent, status_tries, status_error)
		SELECT CONCAT(LPAD(LOWER(HEX(seq)), 8, '0'), '-0000-7000-8000-000000000000'), seq, 1, CONCAT('i', seq %% 50), CONCAT('p', seq %% 20), 'refs/heads/main', seq, SHA1(seq DIV 3), '', '', '',
		IF(seq %% 10 = 0, 'building', 'success'), NOW(6), seq %% 10 <> 0, '', '', 'hook', 1, '', seq, '', '', '', '', '', 0, 0, NOW(6) - INTERVAL seq SECOND, NOW(6), seq %% 13 = 0, '', 0, '' FROM seq_1_to_%d`, runs)
	exec(`INSERT INTO api_token (name, token_sha256, role, projects, created_by, created_at) SELECT seq, SHA2(seq, 256), 'viewer', '[]', '', NOW(6) FROM seq_1_to_1000`)
	exec("ANALYZE TABLE hook_event, run, api_token")
}

// The daemon's statements read their index too.
func TestDaemonReadsAnIndex(t *testing.T) {
	s := newStore(t)
	fillInbox(t, s, 10_000, 10_000)
	active, activeArgs := activeRunsSQL("p2", "refs/heads/main", "i2")
	for _, st := range []struct {
		key   string
		query string
		args  []any
		rows  int // that it may read
	}{
		{"head", headSQL, []any{"p1", refKey("refs/heads/b1")}, 5},
		{"delivery", storedEventsSQL + "?, ?)", []any{"https://gitlab.example", "k5", "k6"}, 10},
		{"delivery", storedIDsSQL + "?, ?)", []any{"https://gitlab.example", "k5", "k6"}, 10},
		{"hook", "SELECT id FROM run FORCE INDEX (hook) WHERE hook_event = ? ORDER BY seq", []any{5}, 5},
		{"active", active, activeArgs, 250},
		{"unfinished", "SELECT id FROM run FORCE INDEX (unfinished) WHERE finished = 0 ORDER BY seq LIMIT 5", nil, 10},
		{"unfinished", openRunsSQL, nil, 1100},
		{"waiting", firstEventsSQL, nil, 1500}, // 1,428 pending events on 200 refs
		{"", dueEventsSQL, []any{10}, 1900},
		{"head", lastSeqsSQL, []any{"p1"}, 50},
		{"", headsSQL, []any{"p1", "p1"}, 150},
		{"status", firstStatusesSQL, nil, 2500}, // of 769 due ones, nearly all of other commits
		{"", statusesDueSQL, []any{10}, 5000},
		{"state_id", statsEventsSQL, nil, 1500},
		{"state_id", statsOldestSQL, nil, 2},
		{"state_seq", statsRunsSQL, nil, 1100},
		{"status", statsStatusesSQL, nil, 800},
		{"token", "SELECT " + tokenColumns + " FROM api_token " + tokenByHashSQL, []any{fmt.Sprintf("%x", sha256.Sum256([]byte("5")))}, 2},
	} {
		if st.key != "" {
			usesIndex(t, s, st.key, st.query, st.args)
		}
		if n := reads(t, s, st.query, st.args); n > st.rows {
			t.Errorf("reads %d rows, want at most %d: %s", n, st.rows, st.query)
		}
	}
	for _, at := range []string{"", cursor(5000)} {
		for key, f := range map[string]HookFilter{"PRIMARY": {}, "state_id": {State: EventFailed}, "project_id": {Project: "p1"}, "project_state": {Project: "p1", State: EventHandled},
			"ref_id": {Project: "p1", Ref: "refs/heads/b1"}, "waiting": {Project: "p1", Ref: "refs/heads/b1", State: EventHandled}} {
			f.Cursor = at
			query, args, _, err := f.sql()
			if err != nil {
				t.Fatal(err)
			}
			explain(t, s, key, query, args)
			readsFew(t, s, query, args)
		}
	}
	for query, want := range map[string]string{takeRunsSQL: "unfinished", takeEventsSQL: "state_id", claimRunsSQL: "due", expireSQL: "kept", releaseRunsSQL: "unfinished", releaseEventsSQL: "state_id"} {
		args := map[string][]any{claimRunsSQL: {"o#1", 1, "o", 10}, expireSQL: {0, 10}, releaseRunsSQL: {"o"}, releaseEventsSQL: {"o"}}[query]
		usesIndex(t, s, want, query, args)
	}
	usesIndex(t, s, "due", claimedRunsSQL, []any{"o#1"})
}

// A flood on few refs is not read through at every look.
func TestFloodIsSkipped(t *testing.T) {
	s := newStore(t)
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.hook_event (instance, idempotency_key, event, project, ref, ref_key, before_sha, after_sha, actor, payload_size, kept, state, reason, fence, tries, received_at)
		SELECT '', seq, 'push', 'p', seq %% 3, LEFT(SHA2(seq %% 3, 256), 32), '', '', '', 0, 0, 'pending', '', 0, 0, NOW(6) FROM seq_1_to_20000`, db))
	query(t, "ANALYZE TABLE "+db+".hook_event")
	if n := reads(t, s, dueEventsSQL, []any{10}); n > 50 {
		t.Errorf("reads %d rows to find 3 events", n)
	}
	if events := claimEvents(t, s, "d", 10); len(events) != 3 || events[0].ID > events[1].ID {
		t.Errorf("claimed = %+v", events)
	}
}

// usesIndex checks that the first table is read by an index, in its order.
func usesIndex(t *testing.T, s *Store, key, stmt string, args []any) {
	t.Helper()
	line := 0
	if err := collect(t.Context(), s.db, func(rows *sql.Rows) error {
		cells := make([]sql.NullString, 10)
		into := make([]any, len(cells))
		for i := range cells {
			into[i] = &cells[i]
		}
		err := rows.Scan(into...)
		if line++; line == 1 && cells[5].String != key {
			t.Errorf("index %q (%s), want %q: %s", cells[5].String, cells[3].String, key, stmt)
		}
		if extra := cells[9].String; strings.Contains(extra, "filesort") || strings.Contains(extra, "temporary") {
			t.Errorf("%s: %s", extra, stmt)
		}
		return err
	}, "EXPLAIN "+stmt, args...); err != nil {
		t.Fatalf("explain %s: %v", stmt, err)
	}
}
