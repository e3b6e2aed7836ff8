package lineage

import (
	"context"
	"database/sql"
	"fmt"
)

const deliveredSQL = "SELECT " + eventColumns +
	" FROM hook_event FORCE INDEX (delivery) WHERE instance = ? AND idempotency_key = ?"

// Delivered gives what the inbox holds under a key, without its payload, and
// stores nothing. [ErrNotFound] when nothing came with it.
func (s *Store) Delivered(ctx context.Context, instance, key string) (e HookEvent, err error) {
	if err := s.ready(ctx, "find an event"); err != nil {
		return e, err
	}
	err = collect(ctx, s.db, func(rows *sql.Rows) error {
		e, err = scanEvent(rows)
		return err
	}, deliveredSQL, instance, key)
	if err == nil && e.ID == 0 {
		return e, fmt.Errorf("event %s of %s: %w", key, instance, ErrNotFound)
	}
	return e, s.fault(ctx, "find an event", err)
}
