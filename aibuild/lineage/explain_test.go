package lineage

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// fill makes a large record: one name in eight is hot, one state in 97 is rare.
func fill(t *testing.T, s *Store, images, runs, events int) {
	t.Helper()
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.image (uuid, name, number, project, arch, state, good, held, revoked, adopted, built_at, test_rounds, test_round, pruned, recorded_at)
		SELECT CONCAT(LPAD(HEX(seq), 8, '0'), '-0000-7000-8000-000000000000'), IF(seq %% 8 = 0, 'hot', CONCAT('n', seq %% 500)), seq, IF(seq %% 8 = 0, 'hot', 'cold'), 'x86_64',
		IF(seq %% 97 = 0, 'test_failed', 'passed'), seq %% 97 <> 0, 0, 0, 0, '2020-01-01' + INTERVAL seq MINUTE, 0, 0, '', NOW(6) FROM seq_1_to_%d`, db, images))
	query(t, fmt.Sprintf(`INSERT INTO %s.build_log SELECT uuid, name, 'debian', '12', built_at, 'x', 'y' FROM %s.image`, db, db))
	query(t, fmt.Sprintf(`INSERT INTO %s.run (id, first_run, attempt, image, image_uuid, project, ref, commit_sha, folder, from_stage, stage, state, state_at, finished, reason, actor, channel, worker,
		jenkins, jenkins_job, jenkins_url, build_tag, fence, tries, opened_at, managed, cancel_reason, status_due, status_sent, status_tries, status_error)
		SELECT seq, seq, 1, IF(seq %% 8 = 0, 'hot', 'cold'), IF(seq %% 3 = 0, NULL, seq), IF(seq %% 8 = 0, 'hot', 'cold'), '', '', '', '', '', IF(seq %% 97 = 0, 'building', 'success'), NOW(6), seq %% 97 <> 0, '', '', '', '',
		'', '', '', '', 0, 0, NOW(6), 0, '', 0, '', 0, '' FROM seq_1_to_%d`, db, runs))
	query(t, fmt.Sprintf(`INSERT INTO %s.event (record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, run_id, reason)
		SELECT seq, NOW(6), NOW(6), IF(seq %% 8 = 0, 'hot', 'cold'), '', 'built', IF(seq %% 8 = 0, 'hot', 'cold'), seq %% 5000, seq %% 5000, '' FROM seq_1_to_%d`, db, events))
	query(t, "ANALYZE TABLE "+db+".image, "+db+".build_log, "+db+".run, "+db+".event")
}

// Every statement of a list reads one index in its order, from any page: no
// sort, no temporary table, and few more rows than it gives.
func TestListsReadAnIndex(t *testing.T) {
	s := newStore(t)
	fill(t, s, 20_000, 10_000, 10_000)
	deep := cursor(time.Date(2020, 1, 5, 0, 0, 0, 0, time.UTC).UnixMicro(), 6000)
	type statement struct {
		key   string
		query string
		args  []any
	}
	var all []statement
	add := func(key, query string, args []any, _ int, err error) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, statement{key, query, args})
	}
	for _, at := range []string{"", deep} {
		for key, f := range map[string]Filter{"built": {}, "name_built": {Name: "hot"}, "name_state": {Name: "hot", State: "test_failed"}, "project_built": {Project: "hot"},
			"project_state": {Project: "hot", State: "test_failed"}, "state_built": {State: "test_failed"}} {
			f.Cursor = at
			query, args, n, err := f.sql()
			add(key, query, args, n, err)
		}
	}
	for _, at := range []string{"", cursor(4500)} {
		for key, f := range map[string]RunFilter{"PRIMARY": {}, "image_seq": {Image: "hot"}, "state_seq": {State: RunBuilding}, "image_state": {Image: "hot", State: RunSuccess}, "unfinished": {Unfinished: true}, "project_seq": {Project: "hot"}} {
			f.Cursor = at
			query, args, n, err := f.sql()
			add(key, query, args, n, err)
		}
		for key, f := range map[string]EventFilter{"PRIMARY": {}, "name_id": {Image: "hot"}, "image_id": {ImageUUID: "7"}, "run_id_id": {RunID: "7"}, "actor_id": {Actor: "hot"}} {
			f.Cursor = at
			query, args, n, err := f.sql()
			add(key, query, args, n, err)
		}
	}
	good, args, err := Query{Name: "hot", Good: true}.sql()
	add("name_good", good, args, 0, err)
	add("name_built", newestSQL, []any{"hot"}, 0, nil)
	add("image_made", historyRunsSQL, []any{"hot", 50}, 0, nil)
	add("name_project", ownerSQL, []any{"hot"}, 0, nil)
	add("uuid", prefixSQL, []any{"00001%"}, 0, nil)
	for _, st := range all {
		explain(t, s, st.key, st.query, st.args)
		if st.key != "uuid" {
			readsFew(t, s, st.query, st.args)
		}
	}
}

// What belongs to the images of a page is read by its key too.
func TestPartsOfImagesReadAnIndex(t *testing.T) {
	s := newStore(t)
	fill(t, s, 5000, 1, 1)
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.test_case SELECT i.uuid, n.seq, 'bios-virtio-nocloud', CONCAT('case-', m.seq), 1, 'passed', i.built_at, 1, '', '' FROM %s.image i JOIN seq_1_to_2 n JOIN seq_1_to_5 m`, db, db))
	query(t, fmt.Sprintf(`INSERT INTO %s.release_target (image_uuid, cluster, image_name, state, hash, error, changed_at) SELECT uuid, n.seq, name, 'visible', '', '', built_at FROM %s.image JOIN seq_1_to_3 n`, db, db))
	query(t, "UPDATE "+db+".image SET test_round = 2")
	query(t, "ANALYZE TABLE "+db+".image, "+db+".test_case, "+db+".release_target")
	var uuids []any
	for n := range 50 {
		uuids = append(uuids, fmt.Sprintf("%08X-0000-7000-8000-000000000000", 90*n+1))
	}
	type statement struct {
		query string
		args  []any
		each  int // rows of an image
	}
	parts := []statement{{casesSQL(len(uuids), 1), append(slices.Clone(uuids), 2), 5}, {targetsSQL(len(uuids)), uuids, 3}}
	for _, st := range parts {
		explain(t, s, "PRIMARY", st.query, st.args)
		if read, limit := reads(t, s, st.query, st.args), (st.each+3)*len(uuids); read > limit {
			t.Errorf("reads %d rows for %d images with %d each: %s", read, len(uuids), st.each, st.query)
		}
	}
	query(t, fmt.Sprintf(`INSERT INTO %s.event (record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, cluster, glance_id, state, reason)
		SELECT uuid, built_at, built_at, '', '', 'released', name, uuid, 'alpha', CONCAT('g', number), 'visible', '' FROM %s.image`, db, db))
	query(t, "ANALYZE TABLE "+db+".event")
	for _, where := range []string{glanceSQL, glanceOnceSQL} {
		if read := reads(t, s, "SELECT "+storyColumns+" FROM image i"+imageJoins+" "+where, []any{"g77"}); read > 20 {
			t.Errorf("reads %d rows for one Glance id: %s", read, where)
		}
	}
}

func explain(t *testing.T, s *Store, key, stmt string, args []any) {
	t.Helper()
	line := 0
	err := collect(t.Context(), s.db, func(rows *sql.Rows) error {
		cells := make([]sql.NullString, 10)
		into := make([]any, len(cells))
		for i := range cells {
			into[i] = &cells[i]
		}
		if err := rows.Scan(into...); err != nil {
			return err
		}
		table, kind, used, extra := cells[2].String, cells[3].String, cells[5].String, cells[9].String
		line++
		if line == 1 && used != key {
			t.Errorf("index %q (%s), want %q: %s %v", used, kind, key, stmt, args)
		}
		if line > 1 && (used != "PRIMARY" || kind != "eq_ref") {
			t.Errorf("table %s is joined by %s %q, want eq_ref PRIMARY: %s", table, kind, used, stmt)
		}
		if !strings.Contains(stmt, "LIKE ?") && (strings.Contains(extra, "filesort") || strings.Contains(extra, "temporary")) {
			t.Errorf("%s: %s %v", extra, stmt, args)
		}
		return nil
	}, "EXPLAIN "+stmt, args...)
	if err != nil {
		t.Fatalf("explain %s: %v", stmt, err)
	}
}

// readsFew: few more rows than a page gives. Each row of a list of images looks
// into four more tables.
func readsFew(t *testing.T, s *Store, stmt string, args []any) {
	t.Helper()
	given := 0
	if err := collect(t.Context(), s.db, func(*sql.Rows) error { given++; return nil }, stmt, args...); err != nil {
		t.Fatal(err)
	}
	if read, limit := reads(t, s, stmt, args), 6*given+60; read > limit {
		t.Errorf("reads %d rows to give %d: %s %v", read, given, stmt, args)
	}
}

// reads counts the rows that the server touches.
func reads(t *testing.T, s *Store, stmt string, args []any) (read int) {
	t.Helper()
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ask := func() error {
		return collect(t.Context(), conn, func(*sql.Rows) error { return nil }, stmt, args...)
	}
	if err := ask(); err != nil { // the first one reads what the server knows of its tables
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "FLUSH STATUS"); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if err := collect(t.Context(), conn, func(rows *sql.Rows) error {
		var name string
		var n int
		err := rows.Scan(&name, &n)
		read += n
		return err
	}, "SHOW SESSION STATUS WHERE variable_name IN ('Handler_read_first','Handler_read_key','Handler_read_last','Handler_read_next','Handler_read_prev','Handler_read_rnd','Handler_read_rnd_next')"); err != nil {
		t.Fatal(err)
	}
	return read
}
