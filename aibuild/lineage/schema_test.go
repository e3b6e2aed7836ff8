package lineage

import (
	"database/sql"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// describe gives what DESCRIBE prints: field, type, null, key, default, extra.
func describe(t *testing.T, s *Store, table string) [][]string {
	t.Helper()
	var got [][]string
	err := collect(t.Context(), s.db, func(rows *sql.Rows) error {
		cells := make([]sql.NullString, 6)
		err := rows.Scan(&cells[0], &cells[1], &cells[2], &cells[3], &cells[4], &cells[5])
		line := make([]string, 6)
		for i, c := range cells {
			line[i] = c.String
		}
		got = append(got, line)
		return err
	}, "DESCRIBE "+table)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestThreeTablesToTheLetter(t *testing.T) {
	s := newStore(t)
	want := map[string][][]string{
		"build_log": {
			{"image_uuid", "varchar(36)", "NO", "PRI", "", ""},
			{"image_name", "varchar(255)", "YES", "", "", ""},
			{"os_type", "varchar(20)", "YES", "", "", ""},
			{"os_ver", "varchar(10)", "YES", "", "", ""},
			{"build_at", "datetime", "YES", "", "", ""},
			{"from_iso", "varchar(255)", "YES", "", "", ""},
			{"update_contents", "text", "YES", "", "", ""},
		},
		"test_log": {
			{"image_uuid", "varchar(36)", "NO", "PRI", "", ""},
			{"test_case", "varchar(255)", "YES", "", "", ""},
			{"test_result", "varchar(10)", "YES", "", "", ""},
			{"test_at", "datetime", "YES", "", "", ""},
		},
		"release_log": {
			{"image_uuid", "varchar(36)", "NO", "PRI", "", ""},
			{"openstack_cluster", "varchar(60)", "YES", "", "", ""},
			{"glance_id", "varchar(36)", "YES", "", "", ""},
			{"release_at", "datetime", "YES", "", "", ""},
		},
	}
	for table, rows := range want {
		if diff := cmp.Diff(rows, describe(t, s, table)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", table, diff)
		}
		for what, query := range map[string]string{
			"indexes":      "SELECT COUNT(*) FROM information_schema.statistics WHERE index_name <> 'PRIMARY' AND table_schema = DATABASE() AND table_name = ?",
			"triggers":     "SELECT COUNT(*) FROM information_schema.triggers WHERE event_object_schema = DATABASE() AND event_object_table = ?",
			"foreign keys": "SELECT COUNT(*) FROM information_schema.referential_constraints WHERE constraint_schema = DATABASE() AND ? IN (table_name, referenced_table_name)",
		} {
			var n int
			if err := s.db.QueryRow(query, table).Scan(&n); err != nil {
				t.Fatal(err)
			}
			if n != 0 {
				t.Errorf("%s has %d %s, want none", table, n, what)
			}
		}
	}
}

// All tables are alike in what makes them portable and exact.
func TestCompanions(t *testing.T) {
	s := newStore(t)
	want := []string{"api_token", "build_log", "event", "hook_event", "image", "image_artifact", "image_package", "lock_holder",
		"release_log", "release_target", "run", "schema_version", "test_case", "test_log"}
	if diff := cmp.Diff(want, tables(current().Schema)); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
	var odd int
	err := s.db.QueryRow("SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND (engine <> 'InnoDB' OR table_collation <> 'utf8mb4_bin')").Scan(&odd)
	if err != nil {
		t.Fatal(err)
	}
	if odd != 0 {
		t.Errorf("%d tables are not InnoDB utf8mb4_bin", odd)
	}
}
