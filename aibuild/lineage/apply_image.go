package lineage

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// built makes the image: its number, its row in build_log, its artifact.
func (w writer) built(r Record) error {
	b := r.Built
	owner, err := w.owner(b.Name)
	if err != nil {
		return err
	}
	if owner != "" && owner != b.Project {
		return &Taken{Name: b.Name, Owner: owner, By: b.Project}
	}
	var name, sha string
	var adopted bool
	exists, err := w.get(`SELECT i.name, i.adopted, COALESCE(a.sha256, '') FROM image i LEFT JOIN image_artifact a ON a.image_uuid = i.uuid WHERE i.uuid = ? FOR UPDATE`,
		[]any{r.ImageUUID}, &name, &adopted, &sha)
	switch {
	case err != nil:
		return err
	case exists && !adopted:
		return w.builtAgain(r, name, sha)
	case exists:
		err = w.exec("UPDATE image SET name = ?, project = ?, arch = ?, adopted = 0, built_at = ? WHERE uuid = ?", b.Name, b.Project, b.Arch, b.BuiltAt, r.ImageUUID)
	default:
		err = w.insertImage(Image{UUID: r.ImageUUID, Name: b.Name, Project: b.Project, Arch: b.Arch, BuiltAt: b.BuiltAt})
	}
	if err != nil {
		return err
	}
	if err := w.artifact(r.ImageUUID, b.Artifact); err != nil {
		return err
	}
	err = w.exec(`INSERT INTO build_log (image_uuid, image_name, os_type, os_ver, build_at, from_iso, update_contents) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE image_name = VALUES(image_name), os_type = VALUES(os_type), os_ver = VALUES(os_ver),
		build_at = VALUES(build_at), from_iso = VALUES(from_iso), update_contents = VALUES(update_contents)`,
		r.ImageUUID, b.Name, null(b.OSType), null(b.OSVer), b.BuiltAt.Truncate(time.Second), null(b.FromISO), null(b.UpdateContents))
	if err != nil {
		return err
	}
	// The run's id is the image's uuid, unless the run is a retry.
	return w.exec("UPDATE run SET image_uuid = ? WHERE id IN (?, ?) AND image_uuid IS NULL", r.ImageUUID, r.ImageUUID, r.RunID)
}

// builtAgain: the same image under another record id is no news; other bytes
// under the same uuid are a contradiction.
func (w writer) builtAgain(r Record, name, sha string) error {
	if name != r.Built.Name || sha != r.Built.Artifact.SHA256 {
		return &Conflict{ID: r.ImageUUID, Problem: fmt.Sprintf("is recorded as an image of %s with sha256 %s", name, sha)}
	}
	return nil
}

// insertImage gives the next number of the name. The caller holds the name's
// lock; the unique key catches who does not.
func (w writer) insertImage(i Image) error {
	n, err := w.numberFor(i.Name)
	if err != nil {
		return err
	}
	err = w.exec(`INSERT INTO image (uuid, name, number, project, arch, state, good, held, revoked, adopted, built_at, test_rounds, test_round, pruned, recorded_at)
		VALUES (?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?, 0, 0, '', ?)`,
		i.UUID, i.Name, n, i.Project, i.Arch, StateBuilt, i.Foreign, i.BuiltAt, w.now)
	if number(err) == erDupEntry {
		return errAgain
	}
	return err
}

// numberFor is the number that an image had, where it is free, else the next.
func (w writer) numberFor(name string) (n int, err error) {
	if w.number > 0 {
		taken, err := w.get("SELECT number FROM image WHERE name = ? AND number = ?", []any{name, w.number}, &n)
		if err != nil || !taken {
			return w.number, err
		}
	}
	_, err = w.get("SELECT COALESCE(MAX(number), 0) FROM image WHERE name = ?", []any{name}, &n)
	return n + 1, err
}

// owner is the project that a name belongs to; empty when nobody claimed it.
func (w writer) owner(name string) (string, error) {
	var project string
	_, err := w.get(ownerSQL, []any{name}, &project)
	return project, err
}

const ownerSQL = "SELECT project FROM image FORCE INDEX (name_project) WHERE name = ? AND project > '' LIMIT 1"

func (w writer) artifact(uuid string, a Artifact) error {
	tools, err := json.Marshal(a.Tools)
	if err != nil {
		return err
	}
	columns := "image_uuid, " + strings.ReplaceAll(artifactColumns, "a.", "")
	return w.exec("INSERT INTO image_artifact ("+columns+") VALUES ("+marks(strings.Count(columns, ",")+1)+")",
		uuid, a.Format, a.Compress, a.Size, a.Allocated, a.VirtualSize, a.SHA256, a.SHA512, a.MD5,
		a.Commit, a.Dirty, a.Ref, a.BuildDigest, a.TestDigest, a.ReleaseDigest, a.SourceURL, a.SourceSHA256,
		null(a.ParentUUID), a.ParentSHA256, a.User, a.Memory, string(tools), a.Accelerator, a.ConsoleWatched, a.BuildMS, a.BuildURL, a.ReleaseURL)
}

// tested keeps every case of every test; the latest verdict counts, also when
// an earlier one is delivered after it.
func (w writer) tested(r Record) error {
	t := r.Tested
	var rounds int
	var last, logged sql.NullTime
	ok, err := w.get(`SELECT i.test_rounds, i.tested_at, t.test_at FROM image i LEFT JOIN test_log t ON t.image_uuid = i.uuid WHERE i.uuid = ? FOR UPDATE`,
		[]any{r.ImageUUID}, &rounds, &last, &logged)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", r.ImageUUID, ErrNotFound)
	}
	rounds++
	for _, c := range t.Cases {
		err := w.exec(`INSERT INTO test_case (image_uuid, round, cell, name, attempt, result, at, ms, message, evidence) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.ImageUUID, rounds, c.Cell, c.Case, c.Attempt, c.Result, c.At, c.MS, c.Message, c.Evidence)
		if number(err) == erDupEntry {
			return &Invalid{Field: "tested.cases", Problem: fmt.Sprintf("case %s, attempt %d in cell %q is given twice", c.Case, c.Attempt, c.Cell)}
		}
		if err != nil {
			return err
		}
	}
	second := t.TestedAt.Truncate(time.Second)
	if t.TestedAt.Before(last.Time) || second.Before(logged.Time) {
		return w.exec("UPDATE image SET test_rounds = ? WHERE uuid = ?", rounds, r.ImageUUID)
	}
	err = w.exec(`INSERT INTO test_log (image_uuid, test_case, test_result, test_at) VALUES (?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE test_case = VALUES(test_case), test_result = VALUES(test_result), test_at = VALUES(test_at)`,
		r.ImageUUID, null(t.TestCase), t.Verdict, second)
	if err != nil {
		return err
	}
	err = w.exec("UPDATE image SET test_rounds = ?, test_round = ?, tested_at = ? WHERE uuid = ?", rounds, rounds, t.TestedAt, r.ImageUUID)
	if err != nil || t.TestDigest == "" {
		return err
	}
	return w.exec("UPDATE image_artifact SET test_digest = ? WHERE image_uuid = ?", t.TestDigest, r.ImageUUID)
}

func (w writer) published(r Record) error {
	p := r.Published
	err := w.exec("UPDATE image SET published_at = COALESCE(published_at, ?) WHERE uuid = ?", r.At, r.ImageUUID)
	if err != nil {
		return err
	}
	if err := w.unprune(r.ImageUUID, "release"); err != nil {
		return err
	}
	return w.exec(`UPDATE image_artifact SET release_url = IF(? = '', release_url, ?), release_digest = IF(? = '', release_digest, ?) WHERE image_uuid = ?`,
		p.ReleaseURL, p.ReleaseURL, p.ReleaseDigest, p.ReleaseDigest, r.ImageUUID)
}

// released keeps the latest known state in the cluster, and in release_log the
// image's latest release.
func (w writer) released(r Record) error {
	t := r.Released
	var name string
	ok, err := w.get("SELECT name FROM image WHERE uuid = ? FOR UPDATE", []any{r.ImageUUID}, &name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", r.ImageUUID, ErrNotFound)
	}
	// An earlier step that is delivered late changes nothing but the audit:
	// every column asks whether it is newer, changed_at last.
	err = w.exec(`INSERT INTO release_target (image_uuid, cluster, image_name, state, glance_id, hash, error, released_at, checked_at, changed_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE
			state = IF(VALUES(changed_at) >= changed_at, VALUES(state), state),
			glance_id = IF(VALUES(changed_at) >= changed_at, COALESCE(VALUES(glance_id), glance_id), glance_id),
			hash = IF(VALUES(changed_at) >= changed_at AND VALUES(hash) <> '', VALUES(hash), hash),
			error = IF(VALUES(changed_at) >= changed_at, VALUES(error), error),
			released_at = IF(released_at IS NULL OR VALUES(released_at) >= released_at, COALESCE(VALUES(released_at), released_at), released_at),
			checked_at = IF(checked_at IS NULL OR VALUES(checked_at) >= checked_at, COALESCE(VALUES(checked_at), checked_at), checked_at),
			changed_at = IF(VALUES(changed_at) >= changed_at, VALUES(changed_at), changed_at)`,
		r.ImageUUID, t.Cluster, name, t.State, null(t.GlanceID), t.Hash, t.Error, nullTime(t.ReleaseAt), nullTime(t.CheckedAt), r.At)
	if err != nil || t.ReleaseAt.IsZero() {
		return err
	}
	return w.exec(`INSERT INTO release_log (image_uuid, openstack_cluster, glance_id, release_at) VALUES (?, ?, ?, ?)
		ON DUPLICATE KEY UPDATE
			openstack_cluster = IF(release_at IS NULL OR VALUES(release_at) >= release_at, VALUES(openstack_cluster), openstack_cluster),
			glance_id = IF(release_at IS NULL OR VALUES(release_at) >= release_at, VALUES(glance_id), glance_id),
			release_at = IF(release_at IS NULL OR VALUES(release_at) >= release_at, VALUES(release_at), release_at)`,
		r.ImageUUID, t.Cluster, t.GlanceID, t.ReleaseAt.Truncate(time.Second))
}

func (w writer) marked(r Record) error {
	m := r.Marked
	var name string
	ok, err := w.get("SELECT name FROM image WHERE uuid = ? FOR UPDATE", []any{r.ImageUUID}, &name)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", r.ImageUUID, ErrNotFound)
	}
	if m.Revoked != nil {
		if err := w.exec("UPDATE image SET revoked = ? WHERE uuid = ?", *m.Revoked, r.ImageUUID); err != nil {
			return err
		}
	}
	if m.Held != nil {
		if err := w.exec("UPDATE image SET held = ? WHERE uuid = ?", *m.Held, r.ImageUUID); err != nil {
			return err
		}
	}
	if m.Project != "" {
		if err := w.exec("UPDATE image SET project = ? WHERE name = ?", m.Project, name); err != nil {
			return err
		}
	}
	for _, area := range m.Pruned {
		if err := w.prune(r.ImageUUID, area); err != nil {
			return err
		}
	}
	return nil
}

func (w writer) prune(uuid, area string) error {
	return w.areas(uuid, func(list []string) []string {
		if slices.Contains(list, area) {
			return list
		}
		return append(list, area)
	})
}

func (w writer) unprune(uuid, area string) error {
	return w.areas(uuid, func(list []string) []string {
		return slices.DeleteFunc(list, func(a string) bool { return a == area })
	})
}

func (w writer) areas(uuid string, change func([]string) []string) error {
	var pruned string
	ok, err := w.get("SELECT pruned FROM image WHERE uuid = ? FOR UPDATE", []any{uuid}, &pruned)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", uuid, ErrNotFound)
	}
	now := strings.Join(change(split(pruned)), ",")
	if now == pruned {
		return nil
	}
	return w.exec("UPDATE image SET pruned = ? WHERE uuid = ?", now, uuid)
}

func split(list string) []string {
	if list == "" {
		return nil
	}
	return strings.Split(list, ",")
}
