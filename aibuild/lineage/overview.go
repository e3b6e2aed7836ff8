package lineage

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"time"
)

// What is read here is one row for each image name, however many images and runs
// there are: the server jumps from one name to the next in an index.

// newestGoodSQL reads for each name when its newest good image was built.
const newestGoodSQL = "SELECT name, MAX(built_at) FROM image FORCE INDEX (name_good) WHERE good = 1 GROUP BY name"

// NewestGood gives the newest good image of every name, with its clusters but
// without artifact and test cases, ordered by name. More than limit names are cut.
func (s *Store) NewestGood(ctx context.Context, limit int) ([]Image, error) {
	if err := s.ready(ctx, "newest images"); err != nil {
		return nil, err
	}
	var args []any
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var name string
		var at time.Time
		err := rows.Scan(&name, &at)
		args = append(args, name, at)
		return err
	}, newestGoodSQL+" ORDER BY name LIMIT ?", limit)
	if err != nil {
		return nil, s.fault(ctx, "newest images", err)
	}
	images := []Image{}
	for pairs := range slices.Chunk(args, 400) {
		some, err := s.images(ctx, s.reads, brief, newestAtSQL(len(pairs)/2), pairs...)
		if err != nil {
			return nil, s.fault(ctx, "newest images", err)
		}
		images = append(images, some...)
	}
	slices.SortStableFunc(images, func(a, b Image) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.BuiltAt.Compare(a.BuiltAt), cmp.Compare(b.Number, a.Number))
	})
	// Of two that were built at the same moment the later number counts.
	return slices.CompactFunc(images, func(a, b Image) bool { return a.Name == b.Name }), nil
}

func newestAtSQL(names int) string {
	return "SELECT " + imageColumns + " FROM image i FORCE INDEX (name_good)" + imageJoins + " WHERE i.good = 1 AND (i.name, i.built_at) IN (" + rowsOf("(?, ?)", names) + ")"
}

// lastSeqSQL reads for each name and state which run came last.
const lastSeqSQL = "SELECT image, state, MAX(seq) FROM run FORCE INDEX (image_state) GROUP BY image, state"

// failing says whether an image whose last run ended so needs somebody. What
// people have ended, and what newer work has replaced, says nothing.
func failing(state string) bool {
	return state == RunFailure || state == RunUnstable || state == RunLost || state == RunRejected || state == RunNotBuilt
}

// lastEnds gives for each image name the run that ended last, of those that say
// how the image is.
func (s *Store) lastEnds(ctx context.Context) (map[string]lastEnd, error) {
	ends := map[string]lastEnd{}
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var image, state sql.RawBytes // most are of runs that are open
		var seq int64
		err := rows.Scan(&image, &state, &seq)
		if (failing(string(state)) || string(state) == RunSuccess) && seq > ends[string(image)].seq {
			ends[string(image)] = lastEnd{seq, string(state)}
		}
		return err
	}, lastSeqSQL)
	return ends, err
}

type lastEnd struct {
	seq   int64
	state string
}

// Failing gives the last run of each image whose last run did not succeed, last
// opened first, at most limit of them, and how many images there are in all.
func (s *Store) Failing(ctx context.Context, limit int) (runs []Run, all int, err error) {
	if err := s.ready(ctx, "failing images"); err != nil {
		return nil, 0, err
	}
	ends, err := s.lastEnds(ctx)
	if err != nil {
		return nil, 0, s.fault(ctx, "failing images", err)
	}
	var seqs []int64
	for _, e := range ends {
		if failing(e.state) {
			seqs = append(seqs, e.seq)
		}
	}
	slices.SortFunc(seqs, func(a, b int64) int { return cmp.Compare(b, a) })
	all = len(seqs)
	seqs = seqs[:min(len(seqs), limit)]
	if len(seqs) == 0 {
		return []Run{}, all, nil
	}
	var args []any
	for _, seq := range seqs {
		args = append(args, seq)
	}
	runs, _, err = s.runs(ctx, "SELECT "+runColumns+" FROM run WHERE seq IN ("+marks(len(args))+") ORDER BY seq DESC", args...)
	if err != nil {
		return nil, 0, s.fault(ctx, "failing images", err)
	}
	return runs, all, nil
}
