package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	schema "github.com/guestos/aibuild"
)

// dump is every table as the server would create it.
func dump(t *testing.T, s *Store) map[string]string {
	t.Helper()
	var names []string
	if err := collect(t.Context(), s.db, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()"); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	counter := regexp.MustCompile(` AUTO_INCREMENT=\d+`)
	for _, name := range names {
		var create string
		if err := s.db.QueryRow("SHOW CREATE TABLE "+name).Scan(&name, &create); err != nil {
			t.Fatal(err)
		}
		got[name] = counter.ReplaceAllString(create, "")
	}
	return got
}

// landed gives every schema that ever landed, by its version.
func landed(t *testing.T) map[int]string {
	t.Helper()
	files, err := filepath.Glob("testdata/schema-*.sql")
	if err != nil {
		t.Fatal(err)
	}
	got := map[int]string{}
	for _, f := range files {
		var n int
		if _, err := fmt.Sscanf(filepath.Base(f), "schema-%d.sql", &n); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got[n] = string(b)
	}
	return got
}

// A change of schema.sql is a new version: its file lands in testdata.
func TestEverySchemaIsKept(t *testing.T) {
	kept := landed(t)
	p := current()
	if len(kept) != p.Version {
		t.Errorf("testdata keeps %d schemas, want 1 to %d", len(kept), p.Version)
	}
	if diff := cmp.Diff(kept[p.Version], schema.SQL); diff != "" {
		t.Errorf("schema.sql is not testdata/schema-%d.sql; a changed schema needs a new version, a step and a new file (-kept +schema.sql):\n%s", p.Version, diff)
	}
	for i, s := range p.Steps {
		if s.Version != i+2 {
			t.Errorf("step %d is for version %d, want %d", i, s.Version, i+2)
		}
	}
}

// future is a plan two versions ahead, which tests the upgrade itself: a new
// column with an index in the middle of a table, a wider column, a new table,
// data moved.
func future() plan {
	p := current()
	text := strings.Replace(p.Schema, "  arch          VARCHAR(32) NOT NULL,\n  state ", "  arch          VARCHAR(64) NOT NULL,\n  flavour       VARCHAR(20) NOT NULL,\n  state ", 1)
	text = strings.Replace(text, "  KEY built (built_at, id)\n", "  KEY built (built_at, id),\n  KEY flavour (flavour, id)\n", 1)
	text += "\nCREATE TABLE IF NOT EXISTS future (\n  id BIGINT NOT NULL,\n  note VARCHAR(20) NOT NULL,\n  PRIMARY KEY (id)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;\n"
	const column = "SELECT COUNT(*) FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'image' AND "
	const index = "SELECT COUNT(*) FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = 'image' AND "
	return plan{Version: p.Version + 2, Oldest: p.Version + 1, Schema: text, Steps: append(p.Steps,
		step{Version: p.Version + 1, Changes: []change{
			{Unless: column + "column_name = 'flavour'", SQL: "ALTER TABLE image ADD COLUMN flavour VARCHAR(20) NOT NULL AFTER arch"},
			{Unless: index + "index_name = 'flavour'", SQL: "ALTER TABLE image ADD KEY flavour (flavour, id)"},
		}},
		step{Version: p.Version + 2, Changes: []change{
			{Unless: column + "column_name = 'arch' AND character_maximum_length = 64", SQL: "ALTER TABLE image MODIFY arch VARCHAR(64) NOT NULL"},
			{Unless: "SELECT COUNT(*) FROM image WHERE flavour = 'old'", SQL: "UPDATE image SET flavour = 'old' WHERE flavour = ''"},
		}})}
}

// put creates the tables of a landed schema as its binary did, with an image.
func put(t *testing.T, s *Store, version int, text string) {
	t.Helper()
	conn, err := s.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := s.apply(t.Context(), conn, plan{Version: version, Oldest: version, Schema: text}, 0); err != nil {
		t.Fatal(err)
	}
	query(t, "INSERT INTO "+s.cfg.DBName+".image (uuid, name, number, project, arch, state, good, held, revoked, adopted, built_at, test_rounds, test_round, pruned, recorded_at) VALUES ('u', 'old', 1, '', 'x86_64', 'built', 0, 0, 0, 0, NOW(6), 0, 0, '', NOW(6))")
}

// mortal is a network on which this process dies after so many packets to the
// server: the packet arrives, its answer does not.
type mortal struct {
	left  atomic.Int64
	dead  atomic.Bool
	heals bool // only the connection breaks, once
}

var errDead = errors.New("process is dead")

func (m *mortal) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if m.dead.Load() {
		return nil, errDead
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	return &mortalConn{Conn: c, m: m}, err
}

type mortalConn struct {
	net.Conn
	m    *mortal
	once sync.Once
}

func (c *mortalConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	left := c.m.left.Add(-1)
	if left == 0 || left < 0 && !c.m.heals {
		c.m.dead.Store(!c.m.heals)
		c.once.Do(func() { _ = c.Conn.Close() })
		return n, errDead
	}
	return n, err
}

// Every landed schema is upgraded, by the plan of this binary and by one ahead
// of it, killed after each packet in turn, then run again: the result is that
// of a fresh creation, and the data is there.
func TestUpgradeKilledAtEachStatement(t *testing.T) {
	for name, p := range map[string]plan{"current": current(), "future": future()} {
		fresh := openStore(t, database(t))
		if err := fresh.migrate(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		want := dump(t, fresh)
		from := landed(t)
		if name == "current" {
			from[0] = "" // an empty server
		}
		for version, text := range from {
			if version > 0 && version == p.Version {
				continue // nothing to do
			}
			t.Run(fmt.Sprintf("%s from %d", name, version), func(t *testing.T) {
				kills := 0
				for survived := false; !survived; kills++ {
					survived = upgradeKilled(t, p, version, text, kills+1, want)
				}
				if kills < len(statements(p.Schema)) {
					t.Errorf("only %d kills: they did not reach the statements", kills)
				}
			})
		}
	}
}

func upgradeKilled(t *testing.T, p plan, version int, text string, packets int, want map[string]string) (survived bool) {
	t.Helper()
	dsn := database(t)
	after := openStore(t, dsn)
	if version > 0 {
		put(t, after, version, text)
	}
	victim := openStore(t, dsn)
	m := &mortal{}
	m.left.Store(int64(packets))
	victim.cfg.DialFunc = m.dial                  // the connection that migrates
	done := victim.migrate(t.Context(), p) == nil // a kill after its last statement makes no difference
	if err := after.migrate(t.Context(), p); err != nil {
		t.Fatalf("again after a kill at packet %d: %v", packets, err)
	}
	if diff := cmp.Diff(want, dump(t, after)); diff != "" {
		t.Fatalf("killed at packet %d: not like a fresh one (-fresh +upgraded):\n%s", packets, diff)
	}
	if version > 0 && p.Version > current().Version {
		if n := count(t, after, "image", "uuid = 'u' AND flavour = 'old'"); n != 1 {
			t.Fatalf("killed at packet %d: the image of the old schema is not upgraded", packets)
		}
	}
	if st, err := after.schemaStatus(t.Context(), after.db, p); err != nil || st.Usable() != nil || st.Schema != p.Version {
		t.Fatalf("status = %+v, %v", st, err)
	}
	return done
}

func TestMigrateAtOnce(t *testing.T) {
	dsn := database(t)
	var wg sync.WaitGroup
	for range 6 {
		s := openStore(t, dsn)
		wg.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := openStore(t, dsn)
	if st, err := s.Status(t.Context()); err != nil || st.Usable() != nil || st.Schema != current().Version || len(st.Warnings) != 0 || !strings.Contains(st.Server, "10.11") {
		t.Errorf("status = %+v, %v", st, err)
	}
}

func TestSchemaThatDoesNotFit(t *testing.T) {
	s := openStore(t, database(t))
	remedy := func(what, want string) {
		t.Helper()
		_, err := openStore(t, strings.Replace(server.dsn, "/aibuild", "/"+s.cfg.DBName, 1)).Resolve(t.Context(), Query{Ref: "tiny"})
		if !is[*SchemaError](err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want *SchemaError with %q", what, err, want)
		}
	}
	remedy("no tables", "aibuild db migrate")
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	query(t, "DROP TABLE "+s.cfg.DBName+".event")
	remedy("table is missing", "event")
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("table is made again: %v", err)
	}
	query(t, "INSERT INTO "+s.cfg.DBName+".schema_version VALUES (1000, 1, NOW(6))")
	if err := s.Migrate(t.Context()); err != nil {
		t.Errorf("newer schema that may still be used: %v", err)
	}
	if _, err := s.Resolve(t.Context(), Query{Ref: "tiny"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("newer schema that may still be used: %v", err)
	}
	query(t, "INSERT INTO "+s.cfg.DBName+".schema_version VALUES (1001, 999, NOW(6))")
	remedy("newer schema", "install an aibuild that knows schema 999")
	if err := s.Migrate(t.Context()); !is[*SchemaError](err) {
		t.Errorf("migrate of a newer schema: %v, want *SchemaError", err)
	}
}

func TestMigrateWithoutRights(t *testing.T) {
	s := openStore(t, database(t))
	query(t, "CREATE USER reader IDENTIFIED BY 'c4nary'")
	t.Cleanup(func() { query(t, "DROP USER reader") })
	query(t, "GRANT SELECT, INSERT, UPDATE ON "+s.cfg.DBName+".* TO reader")
	reader := openStore(t, withUser(t, s, "reader", "c4nary"))
	err := reader.Migrate(t.Context())
	if !is[*SchemaError](err) || !strings.Contains(err.Error(), "aibuild db migrate") || strings.Contains(err.Error(), "c4nary") {
		t.Errorf("migrate = %v, want *SchemaError with the remedy", err)
	}
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := reader.Migrate(t.Context()); err != nil {
		t.Errorf("nothing to do, no rights needed: %v", err)
	}
	record(t, reader, builtRecord(id(), "tiny", day))
}
