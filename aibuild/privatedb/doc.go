// Package privatedb runs the private MariaDB that keeps the record when no
// database server is named: one person on one machine, no configuration, no
// network, no root.
//
// [Open] makes the database in the state folder at first use (about 3 s), starts
// it when it does not run (about 0.3 s) and joins it when it does (about a
// millisecond). [DB.DSN] is what aibuild/lineage opens. Any number of processes
// of one user may use it at once.
//
// # Who keeps it running
//
// A keeper, a small /bin/sh program in a session of its own, owns the server.
// Every user holds a shared lock for as long as it lives; the kernel drops it
// however the user ends. When the last user is gone the keeper lets the server
// idle for [Config].Linger, so that a series of commands is fast, and then
// stops it. It stops within two seconds when the state folder vanishes. A kill
// -9 of a user, of the keeper or of the server leaves the database usable: the
// keeper starts a dead server again, the server ends with its keeper, and users
// that are alive start a new keeper.
//
// # Durability
//
// Every commit is flushed to disk before it is acknowledged
// (innodb_flush_log_at_trx_commit=1).
//
// # Safety
//
// The database is reached only through a unix socket in a folder that nobody
// but its owner (and root) may enter. Where the path of the socket would exceed
// 100 bytes, the socket moves to /tmp/aibuild-UID-HASH, mode 0700.
//
// # What it needs
//
// mariadbd and mariadb-install-db (Debian: mariadb-server-core), flock and
// setpriv (util-linux). Linux only.
//
// # Stability
//
// Stable; the files in the state folder are not an interface.
package privatedb
