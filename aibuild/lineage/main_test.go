package lineage

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/google/uuid"
	"github.com/guestos/aibuild/aibuild/privatedb"
)

// server is one private MariaDB for all tests of the package.
var server struct {
	dsn  string
	dbs  atomic.Int64
	root *sql.DB
}

func TestMain(m *testing.M) {
	if dsn := os.Getenv("LINEAGE_TEST_HOLD"); dsn != "" {
		fmt.Fprintln(os.Stderr, holdLock(dsn))
		os.Exit(1)
	}
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	// Hundreds of tables are made and dropped: in memory where there is such a
	// folder, as durability is not what is tested here.
	parent := "/dev/shm"
	if fi, err := os.Stat(parent); err != nil || !fi.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "lineage")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	db, err := privatedb.Open(ctx, privatedb.Config{Dir: dir, Linger: time.Second})
	if err != nil {
		return 1, err
	}
	server.dsn = db.DSN()
	if server.root, err = sql.Open("mysql", server.dsn+"?parseTime=true&loc=UTC"); err != nil {
		return 1, err
	}
	code = m.Run()
	if err := server.root.Close(); err != nil {
		return 1, err
	}
	if err := db.Close(); err != nil {
		return 1, err
	}
	return code, privatedb.Stop(context.Background(), dir)
}

// database makes an empty database and gives its address.
func database(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("t%d", server.dbs.Add(1))
	query(t, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	t.Cleanup(func() { query(t, "DROP DATABASE "+name) })
	return strings.TrimSuffix(server.dsn, "aibuild") + name
}

// query runs a statement as the administrator.
func query(t testing.TB, stmt string, args ...any) {
	t.Helper()
	if _, err := server.root.Exec(stmt, args...); err != nil {
		t.Fatalf("%s: %v", stmt, err)
	}
}

func openStore(t testing.TB, dsn string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// newStore has tables of its own.
func newStore(t testing.TB) *Store {
	t.Helper()
	s := openStore(t, database(t))
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// withUser gives the address of the store's database for another account.
func withUser(t testing.TB, s *Store, user, password string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(server.dsn)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User, cfg.Passwd, cfg.DBName = user, password, s.cfg.DBName
	return cfg.FormatDSN()
}

var day = time.Date(2026, 11, 22, 8, 0, 0, 123456000, time.UTC)

func id() string { return uuid.Must(uuid.NewV7()).String() }

// builtRecord is a build that succeeded.
func builtRecord(image, name string, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "ann", Channel: "cli", ImageUUID: image, Verb: VerbBuilt, Built: &Built{
		Name: name, Arch: "x86_64", OSType: "debian", OSVer: "12", FromISO: "https://example.org/debian.iso", UpdateContents: "first",
		Artifact: Artifact{Format: "qcow2", Size: 1 << 20, SHA256: strings.ReplaceAll(image, "-", "") + strings.ReplaceAll(image, "-", ""),
			Commit: "c0ffee", Tools: map[string]string{"packer": "1.6.6"}, BuildURL: "http://web/images/build/" + name + "/" + image + "/" + name + ".qcow2"},
	}}
}

func testedRecord(image, verdict string, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "ann", Channel: "cli", ImageUUID: image, Verb: VerbTested, Tested: &Tested{
		Verdict: verdict, TestCase: "all (2 cases)",
		Cases: []TestCase{{Case: "boots", Cell: "bios-virtio-nocloud", Result: verdict, MS: 12}, {Case: "boots", Cell: "uefi-scsi-configdrive", Result: Passed}},
	}}
}

func publishedRecord(image string, at time.Time) Record {
	return Record{ID: id(), At: at, Actor: "ann", Channel: "cli", ImageUUID: image, Verb: VerbPublished,
		Published: &Published{ReleaseURL: "http://web/images/release/x/" + image + "/x.qcow2"}}
}

func targetRecord(image, cluster, state, glance string, at time.Time) Record {
	t := &Target{Cluster: cluster, State: state, GlanceID: glance}
	if state == TargetVisible {
		t.ReleaseAt = at
	}
	return Record{ID: id(), At: at, Actor: "ann", Channel: "cli", ImageUUID: image, Verb: VerbReleased, Released: t}
}

func record(t testing.TB, s *Store, records ...Record) {
	t.Helper()
	if err := s.Record(t.Context(), records...); err != nil {
		t.Fatal(err)
	}
}

func resolve(t testing.TB, s *Store, ref string) Image {
	t.Helper()
	images, err := s.Resolve(t.Context(), Query{Ref: ref})
	if err != nil {
		t.Fatalf("resolve %s: %v", ref, err)
	}
	if len(images) != 1 {
		t.Fatalf("resolve %s: %d images, want 1", ref, len(images))
	}
	return images[0]
}

func count(t testing.TB, s *Store, table, where string, args ...any) int {
	t.Helper()
	var n int
	if err := s.db.QueryRow("SELECT COUNT(*) FROM "+table+" WHERE "+where, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
