package lineage

import (
	"context"
	"database/sql"
	"sync"
)

// readsKept is how many statements stay prepared; there are not many more, as only
// the lengths of lists make new ones.
const readsKept = 300

// questions are asked again and again, by statements that stay prepared: else
// each question would be two more ways to the server and back.
type questions struct {
	*sql.DB
	mu    sync.Mutex
	stmts map[string]*sql.Stmt
}

func newQuestions(db *sql.DB) *questions { return &questions{DB: db, stmts: map[string]*sql.Stmt{}} }

// QueryContext is that of the database.
func (r *questions) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := r.prepared(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return r.DB.QueryContext(ctx, query, args...)
	}
	return stmt.QueryContext(ctx, args...)
}

// prepared is nil where enough are prepared.
func (r *questions) prepared(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	stmt, ok := r.stmts[query]
	full := len(r.stmts) >= readsKept
	r.mu.Unlock()
	if ok || full {
		return stmt, nil
	}
	stmt, err := r.PrepareContext(ctx, query) // unlocked: it may wait for the server
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, ok := r.stmts[query]; ok {
		return other, stmt.Close()
	}
	r.stmts[query] = stmt
	return stmt, nil
}
