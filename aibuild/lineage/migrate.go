package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	schema "github.com/guestos/aibuild"
)

// change is one statement of an upgrade. DDL commits by itself, so a killed
// upgrade stops between statements: each says how to see that it was applied
// already (Unless counts rows), and the whole list can be run again.
type change struct {
	Unless string // a SELECT COUNT(*): 1 or more = applied
	SQL    string
}

// step brings the tables from version-1 to version.
type step struct {
	Version int
	Changes []change
}

// plan is a full state and the way to it.
type plan struct {
	Version int    // of Schema
	Oldest  int    // oldest binary schema that may use these tables
	Schema  string // CREATE TABLE IF NOT EXISTS statements
	Steps   []step // in ascending order; none for version 1
}

// current is what this binary knows. A change of schema.sql raises Version,
// adds a step, and adds the new file to testdata as schema-N.sql.
func current() plan {
	return plan{Version: 4, Oldest: 2, Schema: schema.SQL, Steps: []step{toVersion2, toVersion3, toVersion4}}
}

// Status is what `aibuild db status` prints.
type Status struct {
	Server   string   `json:"server"`             // product and version
	Address  string   `json:"address"`            // without credentials
	Schema   int      `json:"schema"`             // version of the tables; 0 = none
	Known    int      `json:"known"`              // version that this binary knows
	Oldest   int      `json:"oldest"`             // oldest binary schema that may use the tables
	Missing  []string `json:"missing,omitempty"`  // tables that are not there
	Warnings []string `json:"warnings,omitempty"` // settings of the server that may lose acknowledged records
	Images   int64    `json:"images"`
	Runs     int64    `json:"runs"`
}

// Usable gives nil when this binary may use the tables, else a [*SchemaError]
// with the remedy.
func (st Status) Usable() error {
	switch {
	case st.Schema == 0:
		return &SchemaError{Want: st.Known, Remedy: "create them with: aibuild db migrate"}
	case st.Schema < st.Known:
		return &SchemaError{Have: st.Schema, Want: st.Known, Remedy: "upgrade the tables with: aibuild db migrate"}
	case st.Oldest > st.Known:
		return &SchemaError{Have: st.Schema, Want: st.Known,
			Remedy: fmt.Sprintf("install an aibuild that knows schema %d or newer (aibuild version shows it)", st.Oldest)}
	case len(st.Missing) > 0:
		return &SchemaError{Have: st.Schema, Want: st.Known,
			Remedy: "tables are missing (" + strings.Join(st.Missing, ", ") + "): restore a backup, or create them empty with: aibuild db migrate"}
	}
	return nil
}

// Ready gives nil when the tables fit this binary, else a [*SchemaError].
func (s *Store) Ready(ctx context.Context) error { return s.ready(ctx, "check the schema") }

// ready asks the server once.
func (s *Store) ready(ctx context.Context, op string) error {
	if s.checked.Load() {
		return nil
	}
	st, err := s.schemaStatus(ctx, s.db, current())
	if err != nil {
		return s.fault(ctx, op, err)
	}
	if err := st.Usable(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	s.checked.Store(true)
	return nil
}

// Status describes the server and its tables. It works with any schema.
func (s *Store) Status(ctx context.Context) (Status, error) {
	st, err := s.schemaStatus(ctx, s.db, current())
	if err != nil {
		return Status{}, s.fault(ctx, "status", err)
	}
	st.Address = s.cfg.Net + "(" + s.cfg.Addr + ")/" + s.cfg.DBName
	if err := s.db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&st.Server); err != nil {
		return Status{}, s.fault(ctx, "status", err)
	}
	if st.Warnings, err = s.durability(ctx); err != nil {
		return Status{}, s.fault(ctx, "status", err)
	}
	if st.Schema == 0 || len(st.Missing) > 0 {
		return st, nil
	}
	err = s.db.QueryRowContext(ctx, "SELECT (SELECT COUNT(*) FROM image), (SELECT COUNT(*) FROM run)").Scan(&st.Images, &st.Runs)
	return st, s.fault(ctx, "status", err)
}

func (s *Store) durability(ctx context.Context) ([]string, error) {
	var flush, binlog, sync int
	err := s.db.QueryRowContext(ctx, "SELECT @@innodb_flush_log_at_trx_commit, @@log_bin, @@sync_binlog").Scan(&flush, &binlog, &sync)
	if err != nil {
		return nil, err
	}
	var w []string
	if flush != 1 {
		w = append(w, fmt.Sprintf("innodb_flush_log_at_trx_commit is %d: a power loss loses acknowledged records; set it to 1", flush))
	}
	if binlog == 1 && sync != 1 {
		w = append(w, fmt.Sprintf("sync_binlog is %d: a power loss may lose replicated records; set it to 1", sync))
	}
	return w, nil
}

// querier is a connection, a transaction or the pool.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (s *Store) schemaStatus(ctx context.Context, q querier, p plan) (Status, error) {
	st := Status{Known: p.Version}
	have := map[string]bool{}
	err := collect(ctx, q, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		have[name] = true
		return err
	}, "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE()")
	if err != nil || !have["schema_version"] {
		return st, err
	}
	for _, t := range tables(p.Schema) {
		if !have[t] {
			st.Missing = append(st.Missing, t)
		}
	}
	err = q.QueryRowContext(ctx, "SELECT version, oldest FROM schema_version ORDER BY version DESC LIMIT 1").Scan(&st.Schema, &st.Oldest)
	if errors.Is(err, sql.ErrNoRows) {
		return Status{Known: p.Version}, nil // a creation that was cut short
	}
	return st, err
}

// Migrate creates the tables, or upgrades those of an older aibuild. Several
// processes may call it at once: one works, the others wait. It can be killed
// at any moment and called again. Tables of a newer aibuild are left alone; they
// are refused ([*SchemaError]) if they say that this binary must not use them.
// Without rights to create tables it succeeds if there is nothing to do.
func (s *Store) Migrate(ctx context.Context) error {
	if err := s.migrate(ctx, current()); err != nil {
		return s.fault(ctx, "migrate", err)
	}
	return nil
}

func (s *Store) migrate(ctx context.Context, p plan) error {
	st, err := s.schemaStatus(ctx, s.db, p)
	if err != nil {
		return err
	}
	if st.Schema >= p.Version && len(st.Missing) == 0 {
		return fit(st)
	}
	if st.Schema > p.Version {
		return st.Usable()
	}
	// Its own connection without read timeout: changing a large table takes long.
	cfg := s.cfg.Clone()
	cfg.ReadTimeout = 0
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	lock := s.lockName("migrate", "")
	if err := takeLock(ctx, conn, lock, 10*time.Minute); err != nil {
		return fmt.Errorf("wait for another migration: %w", err)
	}
	defer s.dropLock(conn, lock)
	// The one before may have done it all.
	if st, err = s.schemaStatus(ctx, conn, p); err != nil {
		return err
	}
	if st.Schema > p.Version {
		return st.Usable()
	}
	return rights(s.apply(ctx, conn, p, st.Schema), st, s.cfg)
}

// fit is Usable for a schema that has this version or a newer one.
func fit(st Status) error {
	if st.Oldest > st.Known {
		return st.Usable()
	}
	return nil
}

// rights adds the remedy to a missing right.
func rights(err error, st Status, cfg *mysql.Config) error {
	switch number(err) {
	case erTableAccess, erDBAccess, erSpecificAccess:
		host, _, _ := net.SplitHostPort(cfg.Addr)
		return &SchemaError{Have: st.Schema, Want: st.Known, Remedy: fmt.Sprintf(
			"the account %s on %s may not change tables (%v); run aibuild db migrate with one that may (CREATE, ALTER, INDEX on %s.*)", cfg.User, host, err, cfg.DBName)}
	}
	return err
}

func (s *Store) apply(ctx context.Context, conn *sql.Conn, p plan, have int) error {
	for _, stmt := range statements(p.Schema) {
		if _, err := conn.ExecContext(ctx, stmt); err != nil {
			return fmt.Errorf("%s: %w", head(stmt), err)
		}
	}
	for _, st := range p.Steps {
		if st.Version <= have {
			continue
		}
		for _, c := range st.Changes {
			if err := applyChange(ctx, conn, c); err != nil {
				return fmt.Errorf("upgrade to schema %d: %w", st.Version, err)
			}
		}
	}
	_, err := conn.ExecContext(ctx, "INSERT INTO schema_version (version, oldest, applied_at) VALUES (?, ?, UTC_TIMESTAMP(6)) ON DUPLICATE KEY UPDATE version = version",
		p.Version, p.Oldest)
	if err == nil {
		s.log.Info("schema applied", "from", have, "to", p.Version)
	}
	return err
}

func applyChange(ctx context.Context, conn *sql.Conn, c change) error {
	var n int
	if err := conn.QueryRowContext(ctx, c.Unless).Scan(&n); err != nil {
		return fmt.Errorf("%s: %w", head(c.Unless), err)
	}
	if n > 0 {
		return nil
	}
	if _, err := conn.ExecContext(ctx, c.SQL); err != nil {
		return fmt.Errorf("%s: %w", head(c.SQL), err)
	}
	return nil
}

// statements splits a schema: a statement ends with a semicolon at the end of
// a line, a comment is a whole line.
func statements(text string) []string {
	var list []string
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "" || strings.HasPrefix(line, "--") {
			continue
		}
		if stmt, ok := strings.CutSuffix(line, ";"); ok {
			b.WriteString(stmt)
			list = append(list, b.String())
			b.Reset()
			continue
		}
		b.WriteString(line + "\n")
	}
	return list
}

func tables(text string) []string {
	var names []string
	for _, stmt := range statements(text) {
		if rest, ok := strings.CutPrefix(stmt, "CREATE TABLE IF NOT EXISTS "); ok {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// head is the first line of a statement, for messages.
func head(stmt string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(stmt), "\n")
	return strings.TrimRight(line, " (")
}

// collect runs a query and gives every row to fn.
func collect(ctx context.Context, q querier, fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
