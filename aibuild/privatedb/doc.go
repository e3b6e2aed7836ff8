// Package privatedb runs the private MariaDB that keeps the record when no
// server is named.
package privatedb

import (
	"context"
	"errors"

	"github.com/hashicorp/go-hclog"
)

// Config says where the private database lives.
type Config struct {
	Dir string // state folder; the database is made in it
	Log hclog.Logger
}

// DB is one user of the private database.
type DB struct{}

func Open(ctx context.Context, c Config) (*DB, error) { return nil, errors.New("not yet") }
func (db *DB) DSN() string                            { return "" }
func (db *DB) Close() error                           { return nil }
