package lineage

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// ClaimedRun is a run under a lease.
type ClaimedRun struct {
	Run
	Fence     int64 // for RunStep
	Tries     int
	NextAt    time.Time // when it was due
	ClaimedAt time.Time // by the server's clock
}

// ClaimRuns leases managed runs that have not ended and are due: free ones,
// those whose lease is over, and those that the same owner has already. At most
// limit, those that have been due for longest; they come oldest first. Each
// claim of a run fences off the one before.
func (s *Store) ClaimRuns(ctx context.Context, owner string, limit int, lease time.Duration) ([]ClaimedRun, error) {
	if err := checkLease(limit, lease); err != nil {
		return nil, err
	}
	if err := s.ready(ctx, "claim runs"); err != nil {
		return nil, err
	}
	mine, err := leaseOwner(owner)
	if err != nil {
		return nil, err
	}
	var runs []ClaimedRun
	err = s.again(ctx, "claim runs", func() error {
		if _, err := s.db.ExecContext(ctx, claimRunsSQL, mine, micros(lease), owner, limit); err != nil {
			return err
		}
		runs, err = s.claimed(ctx, mine)
		return err
	})
	return runs, err
}

const claimRunsSQL = `UPDATE run FORCE INDEX (due) SET fence = fence + 1, lease_owner = ?, lease_until = NOW(6) + INTERVAL ? MICROSECOND, claimed_at = NOW(6)
	WHERE finished = 0 AND next_at <= NOW(6) AND (lease_until IS NULL OR lease_until <= NOW(6) OR SUBSTRING_INDEX(lease_owner, '#', 1) = ?)
	ORDER BY next_at, seq LIMIT ?`

const claimedRunsSQL = "SELECT " + runColumns + ", fence, tries, next_at, claimed_at FROM run FORCE INDEX (due) WHERE finished = 0 AND next_at <= NOW(6) AND lease_owner = ?"

func (s *Store) claimed(ctx context.Context, mine string) (runs []ClaimedRun, err error) {
	type numbered struct {
		seq int64
		ClaimedRun
	}
	var list []numbered
	err = collect(ctx, s.reads, func(rows *sql.Rows) error {
		var n numbered
		var err error
		n.seq, n.Run, err = scanRun(rows, &n.Fence, &n.Tries, &n.NextAt, &n.ClaimedAt)
		list = append(list, n)
		return err
	}, claimedRunsSQL, mine)
	slices.SortFunc(list, func(a, b numbered) int { return cmp.Compare(a.seq, b.seq) })
	for _, n := range list {
		runs = append(runs, n.ClaimedRun)
	}
	return runs, err
}

// TouchRuns notes for claimed runs that did not move why they wait (RunStep.Reason)
// and when they are due again (NextIn), in one statement. Nothing else of a
// step counts. Runs that have ended, or that somebody else has claimed since,
// are passed over.
func (s *Store) TouchRuns(ctx context.Context, owner string, steps ...RunStep) error {
	if len(steps) == 0 {
		return nil
	}
	type touch struct {
		ID     string `json:"i"`
		Fence  int64  `json:"f"`
		Reason string `json:"r"`
		Wait   int64  `json:"w"`
		Free   int    `json:"l"`
	}
	list := make([]touch, len(steps))
	var c checker
	for i, st := range steps {
		c.uuid(fmt.Sprintf("steps[%d].run_id", i), st.RunID)
		c.long(fmt.Sprintf("steps[%d].reason", i), st.Reason)
		list[i] = touch{ID: st.RunID, Fence: st.Fence, Reason: cmp.Or(st.Reason, st.Run.Reason), Wait: micros(st.NextIn)}
		if st.Release {
			list[i].Free = 1
		}
	}
	if c.err != nil {
		return c.err
	}
	if err := s.ready(ctx, "touch runs"); err != nil {
		return err
	}
	doc, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return s.again(ctx, "touch runs", func() error {
		_, err := s.db.ExecContext(ctx, touchRunsSQL, string(doc), owner)
		return err
	})
}

const touchRunsSQL = `UPDATE run r JOIN JSON_TABLE(?, '$[*]' COLUMNS (id VARCHAR(36) PATH '$.i', fence BIGINT PATH '$.f', reason TEXT PATH '$.r', wait BIGINT PATH '$.w', free INT PATH '$.l')) t ON r.id = t.id
	SET r.reason = t.reason, r.next_at = NOW(6) + INTERVAL IF(r.cancel_at > r.claimed_at, 0, t.wait) MICROSECOND, r.lease_until = IF(t.free, NULL, r.lease_until)
	WHERE r.finished = 0 AND r.fence = t.fence AND SUBSTRING_INDEX(r.lease_owner, '#', 1) = ?`

// RequestCancel writes down that somebody wants a run of the daemon cancelled;
// the daemon acts on it. The first wish stays. [*Conflict] when the run has
// ended, or is not the daemon's.
func (s *Store) RequestCancel(ctx context.Context, runID, by, reason string) error {
	var c checker
	c.need("by", by)
	c.text("by", by, 255)
	c.long("reason", reason)
	if c.err != nil {
		return c.err
	}
	if err := s.ready(ctx, "cancel run"); err != nil {
		return err
	}
	return s.write(ctx, "cancel run", nil, func(tx *sql.Tx) error {
		return writer{ctx: ctx, tx: tx}.cancel(runID, by, reason)
	})
}

func (w writer) cancel(runID, by, reason string) error {
	was, err := w.lockRun(runID)
	switch {
	case err != nil:
		return err
	case was.Final():
		return &Conflict{ID: runID, Problem: "has ended as " + was.State + ", there is nothing to cancel"}
	case !was.Managed:
		return &Conflict{ID: runID, Problem: "was not started by the daemon: stop it where it runs (" + cmp.Or(was.Worker, "unknown worker") + ")"}
	}
	// NOW, not the time when the lock was asked for: that may be before the
	// claim that had it.
	if err := w.exec("UPDATE run SET cancel_by = ?, cancel_reason = ?, cancel_at = NOW(6), next_at = NOW(6) WHERE id = ? AND cancel_by IS NULL", by, reason, runID); err != nil {
		return err
	}
	return w.exec(`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, run_id, state, reason)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON DUPLICATE KEY UPDATE id = id`,
		stepID("cancel ", runID), was.now, was.now, by, ChannelAPI, VerbCancel, was.Image, runID, was.State, reason)
}

// OpenRun opens a run that the daemon moves: one that somebody starts or
// retries (RetryOf), or that is due. An empty id is made up; opening the same
// id again gives what is stored. [*Taken] when the image's name belongs to
// another project.
func (s *Store) OpenRun(ctx context.Context, run Run, actor, channel, reason string) (Run, error) {
	if run.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return Run{}, err
		}
		run.ID = id.String()
	}
	run.State = cmp.Or(run.State, RunReceived)
	r, err := Record{ID: stepID("opened ", run.ID), Actor: actor, Channel: channel, Verb: VerbOpened, Reason: reason, Run: &run}.normal(s.now())
	if err != nil {
		return Run{}, err
	}
	if err := s.ready(ctx, "open run"); err != nil {
		return Run{}, err
	}
	err = s.write(ctx, "open run", nil, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx, now: utc(s.now())}
		if err := w.lockRows([]Record{r}); err != nil {
			return err
		}
		r.Run.Managed = true
		fresh, err := w.event(r)
		if err != nil || !fresh {
			return err
		}
		if ok, err := w.get("SELECT id FROM run WHERE id = ?", []any{run.ID}, new(string)); ok || err != nil {
			return errors.Join(err, taken(ok, run.ID))
		}
		return w.openRun(r)
	})
	if err != nil {
		return Run{}, err
	}
	return s.Run(ctx, run.ID)
}

func taken(ok bool, id string) error {
	if !ok {
		return nil
	}
	return &Conflict{ID: id, Problem: "is open already"}
}

// ActiveRuns gives the runs that have not ended, oldest first. Empty arguments
// ask for any.
func (s *Store) ActiveRuns(ctx context.Context, project, ref, image string) ([]Run, error) {
	if err := s.ready(ctx, "active runs"); err != nil {
		return nil, err
	}
	query, args := activeRunsSQL(project, ref, image)
	runs, _, err := s.runs(ctx, query, args...)
	return runs, s.fault(ctx, "active runs", err)
}

// OpenRun is of a run that has not ended what decides whose turn it is. There may
// be ten thousand, and they are looked at every second.
type OpenRun struct {
	ID, Image, Project, Ref string
	HeadSeq                 int64
	Commit, State           string
	JenkinsJob              string
	CancelBy                string // who wants it cancelled
	OpenedAt                time.Time
}

// Final says whether the run has ended since.
func (r OpenRun) Final() bool { return runRank[r.State] == finalRank }

// OpenRuns gives the daemon's runs that have not ended, oldest first.
func (s *Store) OpenRuns(ctx context.Context) ([]OpenRun, error) {
	if err := s.ready(ctx, "open runs"); err != nil {
		return nil, err
	}
	runs := make([]OpenRun, 0, s.opened.Load()+16) // as many as last time: to grow costs as much again
	same := map[string]string{}                    // one string for what all have in common
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var r OpenRun
		var project, ref, state, job sql.RawBytes
		var head sql.NullInt64
		var by sql.NullString
		if err := rows.Scan(&r.ID, &r.Image, &project, &ref, &head, &r.Commit, &state, &job, &by, &r.OpenedAt); err != nil {
			return err
		}
		shared := func(text sql.RawBytes) string {
			known, ok := same[string(text)]
			if !ok {
				known = string(text)
				same[known] = known
			}
			return known
		}
		r.Project, r.Ref, r.State, r.JenkinsJob = shared(project), shared(ref), shared(state), shared(job)
		r.HeadSeq, r.CancelBy = head.Int64, by.String
		runs = append(runs, r)
		return nil
	}, openRunsSQL)
	s.opened.Store(int64(len(runs)))
	return runs, s.fault(ctx, "open runs", err)
}

const openRunsSQL = `SELECT id, image, project, ref, head_seq, commit_sha, state, jenkins_job, cancel_by, opened_at
	FROM run FORCE INDEX (unfinished) WHERE finished = 0 AND managed = 1 ORDER BY seq`

func activeRunsSQL(project, ref, image string) (string, []any) {
	index, where, args := "unfinished", []string{"finished = 0"}, []any{}
	if image != "" {
		index = "active"
	}
	for _, c := range []struct{ column, value string }{{"image", image}, {"project", project}, {"ref", ref}} {
		if c.value != "" {
			where, args = append(where, c.column+" = ?"), append(args, c.value)
		}
	}
	return "SELECT " + runColumns + " FROM run FORCE INDEX (" + index + ") WHERE " + strings.Join(where, " AND ") + " ORDER BY seq", args
}
