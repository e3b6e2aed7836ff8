package lineage

import (
	"context"
	"database/sql"
	"sync"
)

// readsPrepared is how many statements of readers stay prepared, of each connection. The lengths of lists make more of
// them, and a server has room for 16,000 in all.
const readsPrepared = 300

// prepared is a database whose statements stay prepared: else each would be two more ways to the server and back.
type prepared struct {
	*sql.DB
	most int // 0: without bound, where few can come

	mu    sync.Mutex
	stmts map[string]*sql.Stmt // by their text
}

func newPrepared(db *sql.DB, most int) *prepared {
	return &prepared{DB: db, most: most, stmts: map[string]*sql.Stmt{}}
}

// QueryContext is that of the database.
func (p *prepared) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := p.statement(ctx, query)
	if err != nil {
		return nil, err
	}
	if stmt == nil {
		return p.DB.QueryContext(ctx, query, args...)
	}
	return stmt.QueryContext(ctx, args...)
}

// statement is nil where as many are prepared as may be.
func (p *prepared) statement(ctx context.Context, query string) (*sql.Stmt, error) {
	p.mu.Lock()
	stmt, ok := p.stmts[query]
	full := p.most > 0 && len(p.stmts) >= p.most
	p.mu.Unlock()
	if ok || full {
		return stmt, nil
	}
	stmt, err := p.PrepareContext(ctx, query) // unlocked: it may wait for the server
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, ok := p.stmts[query]; ok {
		return other, stmt.Close()
	}
	p.stmts[query] = stmt
	return stmt, nil
}
