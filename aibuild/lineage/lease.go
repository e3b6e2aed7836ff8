package lineage

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"
)

// A lease is a row's lease_owner, OWNER#CLAIM, and lease_until by the server's
// clock. The claim tells what one call took from what others of the same owner
// did, also when the call is repeated because its answer was lost. Every claim
// raises the row's fence: whoever was slow finds a higher one and stops.

// leaseOwner makes the lease_owner of a new claim.
func leaseOwner(owner string) (string, error) {
	var c checker
	c.need("owner", owner)
	c.text("owner", owner, 200)
	if strings.Contains(owner, "#") {
		c.fail("owner", "%q contains #", owner)
	}
	if c.err != nil {
		return "", c.err
	}
	var claim [8]byte
	if _, err := rand.Read(claim[:]); err != nil {
		return "", err
	}
	return owner + "#" + hex.EncodeToString(claim[:]), nil
}

func checkLease(limit int, lease time.Duration) error {
	var c checker
	if limit < 1 || limit > 10_000 {
		c.fail("limit", "must be 1 to 10000")
	}
	if lease < time.Second || lease > 24*time.Hour {
		c.fail("lease", "must be 1s to 24h")
	}
	return c.err
}

// ReleaseLeases gives back whatever the owner has claimed and not ended, so
// that the next daemon need not wait for the leases to expire.
func (s *Store) ReleaseLeases(ctx context.Context, owner string) error {
	if err := s.ready(ctx, "release leases"); err != nil {
		return err
	}
	return s.again(ctx, "release leases", func() error {
		for _, query := range []string{releaseEventsSQL, releaseRunsSQL} {
			if _, err := s.db.ExecContext(ctx, query, owner); err != nil {
				return err
			}
		}
		return nil
	})
}

// TakeOverLeases ends the leases of everybody. It is for the one daemon that is
// active, when it becomes so: whoever had a lease is dead, or finds itself
// fenced off. Without it what a killed daemon was about would wait for the end
// of its lease.
func (s *Store) TakeOverLeases(ctx context.Context) error {
	if err := s.ready(ctx, "take over leases"); err != nil {
		return err
	}
	return s.again(ctx, "take over leases", func() error {
		for _, query := range []string{takeEventsSQL, takeRunsSQL} {
			if _, err := s.db.ExecContext(ctx, query); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	takeEventsSQL = `UPDATE hook_event FORCE INDEX (state_id) SET lease_owner = NULL, lease_until = NULL, fence = fence + 1
		WHERE state = 'pending' AND lease_owner IS NOT NULL`
	takeRunsSQL = `UPDATE run FORCE INDEX (unfinished) SET lease_owner = NULL, lease_until = NULL, fence = fence + 1
		WHERE finished = 0 AND lease_owner IS NOT NULL`
)

const (
	releaseEventsSQL = `UPDATE hook_event FORCE INDEX (state_id) SET lease_owner = NULL, lease_until = NULL, fence = fence + 1
		WHERE state = 'pending' AND SUBSTRING_INDEX(lease_owner, '#', 1) = ?`
	releaseRunsSQL = `UPDATE run FORCE INDEX (unfinished) SET lease_owner = NULL, lease_until = NULL, fence = fence + 1
		WHERE finished = 0 AND SUBSTRING_INDEX(lease_owner, '#', 1) = ?`
)

// micros is a duration for INTERVAL ? MICROSECOND.
func micros(d time.Duration) int64 { return max(d, 0).Microseconds() }
