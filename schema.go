// Package schema embeds schema.sql, the full current state of aibuild's tables.
//
// It exists only because a Go file can embed nothing above its own folder, and
// schema.sql stands at the root of the repository where administrators look
// for it. Use aibuild/lineage to apply it.
package schema

import _ "embed"

// SQL is schema.sql: CREATE TABLE IF NOT EXISTS statements, each ended by a
// semicolon at the end of a line.
//
//go:embed schema.sql
var SQL string
