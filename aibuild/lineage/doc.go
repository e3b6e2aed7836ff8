// Package lineage keeps the whole story of every image and every run in MySQL
// or MariaDB. It is the only package that speaks SQL.
//
// # When to use it
//
// Open a [Store] on a server, [Store.Migrate] it once, then [Store.Record] what
// happened and ask for it with [Store.Resolve], [Store.History],
// [Store.Images], [Store.Runs] and [Store.Events]. A Store is safe for
// concurrent use, also by several processes and machines on one server.
//
// # What is kept
//
// The mission's three tables (build_log, test_log, release_log) are written
// exactly as given, one row per image. The companion tables of schema.sql keep
// what they cannot hold. Every [Record] is one step of the story: it is written
// whole or not at all, and delivering it twice changes nothing, so that a
// caller may journal a record and send it again later.
//
// # Units and limits
//
// Times are UTC with microseconds (the three tables: whole seconds), sizes are
// bytes, durations milliseconds. A value that its column cannot hold is
// refused with [*Invalid]; nothing is ever cut.
//
// # Errors
//
//   - [*Unavailable]: the server cannot be used now (stopped, killed, full,
//     read-only). What was to be recorded can be sent again later.
//   - [*SchemaError]: the tables are missing, too old or too new; its text
//     holds the remedy.
//   - [*Invalid], [*Taken], [*Conflict]: the record itself is refused; sending
//     it again does not help.
//   - [*Ambiguous], [ErrNotFound]: what was asked for is not one image.
//   - [*Locked], [*LockLost]: see [Store.Lock].
//
// No error ever holds the password of the DSN.
//
// # Servers
//
// Tested with MariaDB 10.11. Only SQL that MySQL 8.0.16 knows too is used.
//
// # Stability
//
// Stable: exported names and JSON fields only grow.
package lineage
