package lineage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/hashicorp/go-hclog"
)

// Config says where the database is.
type Config struct {
	DSN string           // the driver's form: user:password@tcp(host:3306)/aibuild, or user@unix(/path)/aibuild
	Log hclog.Logger     // nil means silence
	Now func() time.Time // for records without a time; nil = time.Now
}

// Store is the record of every image and run.
type Store struct {
	db      *sql.DB
	reads   *prepared // db, for what is asked again and again
	locks   *sql.DB   // one connection per held lock, closed with it
	inbox   *prepared // a few connections that readers cannot use up: hooks wait for nobody
	cfg     *mysql.Config
	log     hclog.Logger
	now     func() time.Time
	checked atomic.Bool // the schema fits

	asked  atomic.Pointer[settings]  // of the server
	logged atomic.Pointer[tableSize] // of build_log
	opened atomic.Int64              // runs that were open when they were read last
}

// Open connects to the server. It does not touch the tables: call
// [Store.Migrate] where that is wanted; every other method refuses a schema
// that does not fit with [*SchemaError].
func Open(ctx context.Context, c Config) (*Store, error) {
	cfg, err := parseDSN(c.DSN)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: c.Log, now: c.Now}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.now == nil {
		s.now = time.Now
	}
	cfg.Logger = driverLog{s.log}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, &Invalid{Field: "database", Problem: "the address has parameters that the driver refuses"}
	}
	s.db = sql.OpenDB(connector)
	s.db.SetMaxOpenConns(16)
	s.db.SetMaxIdleConns(8)
	s.db.SetConnMaxLifetime(3 * time.Minute)
	s.db.SetConnMaxIdleTime(30 * time.Second)
	s.reads = newPrepared(s.db, readsPrepared)
	s.locks = sql.OpenDB(connector)
	s.locks.SetMaxIdleConns(-1)
	s.inbox = newPrepared(sql.OpenDB(connector), 0)
	s.inbox.SetMaxOpenConns(4)
	s.inbox.SetMaxIdleConns(4)
	s.inbox.SetConnMaxLifetime(3 * time.Minute)
	s.inbox.SetConnMaxIdleTime(30 * time.Second)
	if err := s.db.PingContext(ctx); err != nil {
		return nil, errors.Join(s.refused(s.fault(ctx, "open", err)), s.Close())
	}
	return s, nil
}

// refused says which part of the address the server, which answers, does not take.
func (s *Store) refused(err error) error {
	switch n := number(err); {
	case n == erAccess:
		return &Invalid{Field: "database", Problem: fmt.Sprintf("the server at %s refuses user %s or the password: %v", s.cfg.Addr, s.cfg.User, err)}
	case n == erDBAccess:
		return &Invalid{Field: "database", Problem: fmt.Sprintf("user %s may not use database %s, or it is not there: %v", s.cfg.User, s.cfg.DBName, err)}
	case errors.Is(err, mysql.ErrNoTLS):
		return &Invalid{Field: "database", Problem: fmt.Sprintf("the address asks for TLS, which the server at %s does not have: set it up there, or take tls=true out", s.cfg.Addr)}
	}
	return err
}

// Close closes the connections. Locks that are still held are dropped. Nothing
// that was written depends on it, so that the server has closed some itself, or
// is gone, is no error.
func (s *Store) Close() error {
	if err := errors.Join(s.inbox.Close(), s.db.Close(), s.locks.Close()); err != nil {
		s.log.Debug("close", "error", err)
	}
	return nil
}

// parseDSN never shows the driver's own error: it may quote parts of a
// password that was not escaped.
func parseDSN(dsn string) (*mysql.Config, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, &Invalid{Field: "database", Problem: "the address cannot be read; write user:password@tcp(host:3306)/aibuild or user@unix(/path/to/socket)/aibuild"}
	}
	if cfg.DBName == "" {
		return nil, &Invalid{Field: "database", Problem: "the address names no database; end it with /aibuild"}
	}
	cfg.ParseTime = true
	cfg.Loc = time.UTC
	cfg.InterpolateParams = false
	cfg.MultiStatements = false
	cfg.AllowAllFiles = false
	cfg.RejectReadOnly = true
	cfg.Collation = "utf8mb4_bin"
	for t, d := range map[*time.Duration]time.Duration{&cfg.Timeout: 5 * time.Second, &cfg.ReadTimeout: 30 * time.Second, &cfg.WriteTimeout: 30 * time.Second} {
		if *t == 0 {
			*t = d
		}
	}
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["time_zone"] = "'+00:00'"
	// A value that does not fit is an error, never cut.
	cfg.Params["sql_mode"] = "'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	if cfg.Params["innodb_lock_wait_timeout"] == "" {
		cfg.Params["innodb_lock_wait_timeout"] = "10"
	}
	if cfg.Params["wait_timeout"] == "" {
		// A process that was stopped in the middle of a transaction must not
		// keep its rows locked for ever.
		cfg.Params["wait_timeout"] = "60"
	}
	return cfg, nil
}

// driverLog takes what the driver would print on stderr.
type driverLog struct{ log hclog.Logger }

func (l driverLog) Print(v ...any) { l.log.Debug("mysql driver", "message", fmt.Sprint(v...)) }

// Numbers of server errors that have a meaning here; the names are MySQL's.
const (
	erDupEntry       = 1062
	erLockWait       = 1205
	erDeadlock       = 1213
	erBadDB          = 1049
	erNoSuchTable    = 1146
	erDBAccess       = 1044
	erAccess         = 1045
	erTableAccess    = 1142
	erSpecificAccess = 1227
)

// unusable are the server errors that pass without anybody changing the
// question.
var unusable = map[uint16]bool{
	1021: true,                         // disk full
	1037: true, 1038: true, 1041: true, // out of memory
	1040: true, 1203: true, 1226: true, // too many connections
	1053: true, 1079: true, 1077: true, // shutting down
	1114: true, 1030: true, 1026: true, // table full, storage engine, write error
	1129: true,                                     // host blocked
	1158: true, 1159: true, 1160: true, 1161: true, // network
	1205: true, 1213: true, // still deadlocked after all retries
	1290: true, 1792: true, 1836: true, // read-only
	1317: true, 1927: true, // interrupted, killed
	1969: true, 3024: true, // statement time limit
}

func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// broken says that the connection, not the statement, is at fault.
func broken(err error) bool {
	if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return true
	}
	return isBadConn(err) || isNetError(err)
}

// fault gives the typed form of an error of the driver. Errors of this package
// and of the caller's context pass unchanged.
func (s *Store) fault(ctx context.Context, op string, err error) error {
	if err == nil || own(err) {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	if isBadConn(err) {
		err = s.diagnose(err)
	}
	switch n := number(err); {
	case broken(err) || unusable[n] || errors.Is(err, errAgain):
		return &Unavailable{Op: op, Err: err}
	case n == erBadDB:
		return fmt.Errorf("%s: %w; create it: CREATE DATABASE %s CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", op, err, s.cfg.DBName)
	case n == erNoSuchTable:
		return fmt.Errorf("%s: %w; run: aibuild db migrate", op, err)
	}
	return fmt.Errorf("%s: %w", op, err)
}

var errReadOnly = errors.New("the server is read-only")

// diagnose says why the driver gave up a connection: on a read-only server it
// only says "bad connection".
func (s *Store) diagnose(err error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	var readOnly bool
	if qerr := s.db.QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&readOnly); qerr != nil {
		return fmt.Errorf("%w (%w)", err, qerr)
	}
	if readOnly {
		return fmt.Errorf("%w: %w", errReadOnly, err)
	}
	return err
}

// own says whether the error is one of this package's.
func own(err error) bool {
	return errors.Is(err, ErrNotFound) || errors.Is(err, ErrFenced) || is[*Unavailable](err) || is[*SchemaError](err) || is[*Invalid](err) ||
		is[*Taken](err) || is[*Conflict](err) || is[*Ambiguous](err) || is[*Locked](err) || is[*LockLost](err)
}

func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
