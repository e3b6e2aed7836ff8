package lineage

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/google/uuid"
)

// adoptPage is how many rows of build_log are compared at a time.
const adoptPage = 10_000

// adoptSpace makes the record ids of adoptions: adopting twice is one event.
var adoptSpace = uuid.MustParse("5b0c6f0e-7f0d-4b55-9d57-6a3b6f1c9a10")

// AdoptForeign adds the rows that others wrote into the three tables to the
// companions: images to image (they get a number), verdicts to the image's
// state, releases to release_target. It gives the number of images added. It
// may run beside everything else, and again at any time; the daemon does so
// every minute.
func (s *Store) AdoptForeign(ctx context.Context) (adopted int, err error) {
	if err := s.ready(ctx, "adopt"); err != nil {
		return 0, err
	}
	for after, last := "", false; !last; {
		upto := ""
		err := s.db.QueryRowContext(ctx, "SELECT image_uuid FROM build_log WHERE image_uuid > ? ORDER BY image_uuid LIMIT ?, 1", after, adoptPage-1).Scan(&upto)
		last = errors.Is(err, sql.ErrNoRows)
		if err != nil && !last {
			return adopted, s.fault(ctx, "adopt", err)
		}
		n, err := s.adoptPage(ctx, after, upto, last)
		adopted += n
		if err != nil {
			return adopted, s.fault(ctx, "adopt", err)
		}
		after = upto
	}
	return adopted, s.fault(ctx, "adopt", s.adoptChanges(ctx))
}

func (s *Store) adoptPage(ctx context.Context, after, upto string, last bool) (int, error) {
	query, args := foreignSQL+"b.image_uuid > ? AND b.image_uuid <= ? ORDER BY b.build_at, b.image_uuid", []any{after, upto}
	if last {
		query, args = foreignSQL+"b.image_uuid > ? ORDER BY b.build_at, b.image_uuid", []any{after}
	}
	images, err := s.images(ctx, s.db, brief, query, args...)
	if err != nil {
		return 0, err
	}
	for i, image := range images {
		if err := s.adopt(ctx, image); err != nil {
			return i, err
		}
	}
	return len(images), nil
}

func (s *Store) adopt(ctx context.Context, image Image) error {
	return s.write(ctx, "adopt", []string{s.lockName("number", image.Name)}, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx, now: utc(s.now())}
		exists, err := w.get("SELECT name FROM image WHERE uuid = ?", []any{image.UUID}, new(string))
		if err != nil || exists {
			return err
		}
		if image.Project, err = w.owner(image.Name); err != nil {
			return err
		}
		if err := w.insertImage(image); err != nil {
			return err
		}
		r := Record{ID: uuid.NewSHA1(adoptSpace, []byte(image.UUID)).String(), At: w.now, Actor: "aibuild", Channel: "reconciler",
			ImageUUID: image.UUID, Verb: VerbAdopted, Reason: "row of build_log that others wrote"}
		if _, err := w.event(r); err != nil {
			return err
		}
		for _, t := range image.Targets {
			if err := w.adoptTarget(image.UUID, image.Name, t); err != nil {
				return err
			}
		}
		return w.derive(image.UUID)
	})
}

func (w writer) adoptTarget(id, name string, t Target) error {
	changed := t.ReleaseAt
	if changed.IsZero() {
		changed = time.Unix(0, 0).UTC() // whatever is recorded later is newer
	}
	return w.exec(`INSERT INTO release_target (image_uuid, cluster, image_name, state, glance_id, hash, error, released_at, changed_at)
		VALUES (?, ?, ?, ?, ?, '', '', ?, ?) ON DUPLICATE KEY UPDATE state = state`,
		id, t.Cluster, name, t.State, null(t.GlanceID), nullTime(t.ReleaseAt), changed)
}

// adoptChanges brings known images up to date: others may have written a
// verdict or a release for them.
func (s *Store) adoptChanges(ctx context.Context) error {
	var changed []string
	for _, query := range []string{
		"SELECT i.uuid FROM test_log t JOIN image i ON i.uuid = t.image_uuid WHERE NOT (i.verdict <=> t.test_result)",
		`SELECT i.uuid FROM release_log r JOIN image i ON i.uuid = r.image_uuid
			LEFT JOIN release_target g ON g.image_uuid = r.image_uuid AND g.cluster = r.openstack_cluster
			WHERE g.image_uuid IS NULL AND r.openstack_cluster > ''`,
	} {
		err := collect(ctx, s.db, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			changed = append(changed, id)
			return err
		}, query)
		if err != nil {
			return err
		}
	}
	for _, id := range changed {
		if err := s.adoptChange(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) adoptChange(ctx context.Context, id string) error {
	return s.write(ctx, "adopt", nil, func(tx *sql.Tx) error {
		w := writer{ctx: ctx, tx: tx, now: utc(s.now())}
		if err := w.lockSet("SELECT uuid FROM image WHERE uuid IN (%s) FOR UPDATE", map[string]bool{id: true}); err != nil {
			return err
		}
		images, err := s.images(ctx, tx, brief, "SELECT "+imageColumns+" FROM image i"+imageJoins+" WHERE i.uuid = ?", id)
		if err != nil || len(images) == 0 {
			return err
		}
		for _, t := range images[0].Targets {
			if err := w.adoptTarget(id, images[0].Name, t); err != nil {
				return err
			}
		}
		return w.derive(id)
	})
}
