package main

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"strings"
)

// Names of the generated images: one in ten is hot, so that its list is deep; the others are of names with about 200 versions.
const (
	hotName  = "hot"
	clusterA = "alpha"
	clusterB = "beta"

	testedName = "image-8" // whose images have storyCases cases each
	storyCases = 36
)

// fillStory makes images, with five events each, as many runs, verdicts and artifacts, and for the newest of each name a
// place in two clusters. The verdicts are as others write them, without cases, but for one name.
func (s *hookSite) fillStory(ctx context.Context, images int) error {
	tune := func(flush int) error {
		_, err := s.admin.ExecContext(ctx, fmt.Sprintf("SET GLOBAL innodb_flush_log_at_trx_commit = %d", flush))
		return err
	}
	if err := tune(0); err != nil {
		return err
	}
	names := max(images/200, 1)
	name := fmt.Sprintf("IF(seq %% 10 = 0, '%s', CONCAT('image-', seq %% %d))", hotName, names)
	const id, at = "CONCAT('01900000-0000-7000-8000-', LPAD(seq, 12, '0'))", "'2015-01-01' + INTERVAL seq * 5 MINUTE"
	const step = 100_000 // rows of one statement: a transaction that stays small
	for from := 1; from <= images; from += step {
		range_ := fmt.Sprintf("seq_%d_to_%d", from, min(from+step-1, images))
		for _, statement := range storyStatements {
			if _, err := s.db.ExecContext(ctx, strings.NewReplacer("@name", name, "@id", id, "@at", at, "@seq", range_, "@project", "CONCAT('team-', seq % 50, '/images')").Replace(statement)); err != nil {
				return fmt.Errorf("%.60s: %w", statement, err)
			}
		}
		if from > 1 && (from-1)%(10*step) == 0 {
			s.b.say("  %d of %d images", from-1, images)
		}
	}
	for _, cluster := range []string{clusterA, clusterB} {
		if _, err := s.db.ExecContext(ctx, `INSERT INTO release_target (image_uuid, cluster, image_name, state, glance_id, hash, error, released_at, changed_at)
			SELECT i.uuid, ?, i.name, 'visible', UUID(), '', '', i.built_at, i.built_at FROM image i JOIN (SELECT MAX(id) AS id FROM image GROUP BY name) n ON n.id = i.id`, cluster); err != nil {
			return err
		}
	}
	if _, err := s.db.ExecContext(ctx, "UPDATE image SET test_rounds = 1, test_round = 1 WHERE name = ?", testedName); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, `INSERT INTO test_case (image_uuid, round, cell, name, attempt, result, at, ms, message, evidence)
		SELECT i.uuid, i.test_round, IF(n.seq % 2, 'bios-virtio-nocloud', 'uefi-virtio-nocloud'), CONCAT('builtin/case-', n.seq), 1, 'passed', i.built_at, 1234, '', '' FROM image i JOIN seq_1_to_`+strconv.Itoa(storyCases)+` n WHERE i.name = ?`, testedName); err != nil {
		return err
	}
	for _, table := range []string{"image", "build_log", "test_log", "test_case", "image_artifact", "run", "event", "release_target"} {
		if _, err := s.db.ExecContext(ctx, "ANALYZE TABLE "+table); err != nil {
			return err
		}
	}
	return tune(1)
}

var storyStatements = []string{
	`INSERT INTO image (uuid, name, number, project, arch, state, good, held, revoked, adopted, built_at, verdict, tested_at, test_rounds, test_round, pruned, recorded_at)
		SELECT @id, @name, seq, @project, 'x86_64', IF(seq % 97 = 0, 'test_failed', 'released'), seq % 97 <> 0, 0, 0, 0, @at, IF(seq % 97 = 0, 'failed', 'passed'), @at, 0, 0, '', @at FROM @seq`,
	`INSERT INTO build_log SELECT @id, @name, 'debian', '12', @at, 'https://example.org/debian-12.iso', 'three packages' FROM @seq`,
	`INSERT INTO test_log SELECT @id, 'all (36 cases)', IF(seq % 97 = 0, 'failed', 'passed'), @at FROM @seq`,
	`INSERT INTO image_artifact (image_uuid, format, compress, size, allocated, virtual_size, sha256, sha512, md5, commit_sha, dirty, ref, build_digest, test_digest, release_digest, source_url, source_sha256,
		parent_uuid, parent_sha256, login_user, memory, tools, accelerator, console_watched, build_ms, build_url, release_url)
		SELECT @id, 'qcow2', '', 500000000 + seq, 0, 10737418240, SHA2(seq, 256), SHA2(seq, 512), '', SHA1(seq), 0, 'main', '', '', '', 'https://example.org/debian-12.iso', '', NULL, '', 'debian', 0, '{"packer":"1.6.6"}', 'kvm', 1, 180000,
		CONCAT('https://web.example.org/images/build/', seq), CONCAT('https://web.example.org/images/release/', seq) FROM @seq`,
	`INSERT INTO run (id, first_run, attempt, image, image_uuid, project, ref, commit_sha, folder, from_stage, stage, state, state_at, finished, reason, actor, channel, worker, jenkins, jenkins_job, jenkins_build, jenkins_url, build_tag,
		fence, tries, opened_at, finished_at, managed, cancel_reason, status_due, status_sent, status_tries, status_error)
		SELECT @id, @id, 1, @name, @id, @project, 'refs/heads/main', SHA1(seq), 'images/x', 'build', 'release', IF(seq % 97 = 0, 'unstable', 'success'), @at, 1, '', 'ann', 'hook', '', '', 'aibuild/build', seq,
		CONCAT('https://jenkins.example.org/job/', seq, '/'), '', 0, 0, @at, @at, 1, '', 0, '', 0, '' FROM @seq`,
	`INSERT INTO event (record_id, at, recorded_at, actor, channel, verb, image_name, image_uuid, run_id, state, reason)
		SELECT CONCAT(v.n, '-', seq), @at, @at, IF(seq % 50 = 0, 'bob', 'ann'), 'jenkins', ELT(v.n, 'opened', 'built', 'tested', 'published', 'ended'), @name, @id, @id, NULL, '' FROM @seq JOIN (SELECT seq AS n FROM seq_1_to_5) v`,
}

// offsetPage is what people write first: page n by OFFSET.
func offsetPage(ctx context.Context, db *sql.DB, limit, offset int) error {
	rows, err := db.QueryContext(ctx, `SELECT i.uuid, i.name, i.state, i.built_at, a.sha256 FROM image i LEFT JOIN image_artifact a ON a.image_uuid = i.uuid ORDER BY i.built_at DESC, i.id DESC LIMIT ? OFFSET ?`, limit, offset)
	if err != nil {
		return err
	}
	defer rows.Close() // it is read out below
	for rows.Next() {
	}
	return rows.Err()
}
