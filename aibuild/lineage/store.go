package lineage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/hashicorp/go-hclog"
)

var finalRun = map[string]bool{RunSuccess: true, RunUnstable: true, RunFailure: true, RunAborted: true,
	RunNotBuilt: true, RunCancelled: true, RunLost: true, RunRejected: true, RunSuperseded: true}

// Config says where the database is.
type Config struct {
	DSN string // the driver's form: user:password@tcp(host:3306)/aibuild, or user@unix(/path)/aibuild
	Log hclog.Logger
	Now func() time.Time // for records without a time; nil = time.Now
}

// Store is the record of every image and run.
type Store struct {
	db *sql.DB
}

// Status is what `aibuild db status` prints.
type Status struct {
	Server   string   `json:"server"`             // product and version
	Address  string   `json:"address"`            // without credentials
	Schema   int      `json:"schema"`             // version of the tables; 0 = none
	Known    int      `json:"known"`              // version that this binary knows
	Oldest   int      `json:"oldest"`             // oldest binary schema that may use the tables
	Missing  []string `json:"missing,omitempty"`  // tables that are not there
	Warnings []string `json:"warnings,omitempty"` // durability settings that may lose acknowledged records
	Images   int64    `json:"images"`
	Runs     int64    `json:"runs"`
}

var errStub = errors.New("not yet")

func Open(ctx context.Context, c Config) (*Store, error) { return nil, errStub }
func (s *Store) Close() error                            { return nil }
func (s *Store) Ready(ctx context.Context) error         { return errStub }
func (s *Store) Migrate(ctx context.Context) error       { return errStub }
func (s *Store) Status(ctx context.Context) (Status, error) {
	return Status{}, errStub
}
func (s *Store) Resolve(ctx context.Context, q Query) ([]Image, error)  { return nil, errStub }
func (s *Store) Record(ctx context.Context, records ...Record) error    { return errStub }
func (s *Store) Owner(ctx context.Context, name string) (string, error) { return "", errStub }
func (s *Store) Lock(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error) {
	return nil, errStub
}
func (s *Store) Images(ctx context.Context, f Filter) (images []Image, next string, err error) {
	return nil, "", errStub
}
func (s *Store) History(ctx context.Context, ref string, limit int) ([]Entry, error) {
	return nil, errStub
}
func (s *Store) Run(ctx context.Context, id string) (Run, error) { return Run{}, errStub }
func (s *Store) Runs(ctx context.Context, f RunFilter) (runs []Run, next string, err error) {
	return nil, "", errStub
}
func (s *Store) Events(ctx context.Context, f EventFilter) (events []Event, next string, err error) {
	return nil, "", errStub
}
func (s *Store) AdoptForeign(ctx context.Context) (adopted int, err error) { return 0, errStub }
