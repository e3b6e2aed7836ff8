package lineage

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

const artifactColumns = `a.format, a.compress, a.size, a.allocated, a.virtual_size, a.sha256, a.sha512, a.md5,
	a.commit_sha, a.dirty, a.ref, a.build_digest, a.test_digest, a.release_digest, a.source_url, a.source_sha256,
	a.parent_uuid, a.parent_sha256, a.login_user, a.memory, a.tools, a.accelerator, a.console_watched, a.build_ms, a.build_url, a.release_url`

// The three tables are joined, not copied: what others wrote into them is seen
// at once.
const imageColumns = `i.uuid, i.name, i.number, i.project, i.arch, i.state, i.held, i.revoked, i.adopted, i.built_at, i.published_at, i.pruned,
	b.os_type, b.os_ver, b.build_at, b.from_iso, b.update_contents,
	t.test_case, t.test_result, t.test_at,
	r.openstack_cluster, r.glance_id, r.release_at,
	COALESCE(a.commit_sha, ''), COALESCE(a.dirty, 0), COALESCE(a.sha256, ''), i.test_round`

// storyColumns are an image with its artifact: a statement of its own for the
// artifacts would be one more way to the server and back.
const storyColumns = imageColumns + ", a.image_uuid IS NOT NULL, " + artifactColumns

const imageJoins = ` LEFT JOIN build_log b ON b.image_uuid = i.uuid
	LEFT JOIN test_log t ON t.image_uuid = i.uuid
	LEFT JOIN release_log r ON r.image_uuid = i.uuid
	LEFT JOIN image_artifact a ON a.image_uuid = i.uuid`

// row is one image as it is read: the image, and the facts that are merged
// into it when its clusters are known.
type row struct {
	Image
	revoked bool
	sortAt  time.Time // image.built_at, the key of lists
	round   int       // of test_case, that counts
	release Target    // the row of release_log; Cluster is empty without one
}

// scanImage reads imageColumns, or storyColumns.
func scanImage(rows *sql.Rows, d depth) (row, error) {
	if d&withArtifact == 0 {
		return scanBetween(rows, nil, nil)
	}
	a, there, tools := &Artifact{}, false, ""
	r, err := scanBetween(rows, nil, append([]any{&there}, a.destinations(&tools)...))
	if err != nil || !there {
		return r, err
	}
	r.Artifact = a
	if err := json.Unmarshal([]byte(tools), &a.Tools); err != nil {
		return row{}, fmt.Errorf("image %s: tools: %w", r.UUID, err)
	}
	return r, nil
}

// scanBetween reads imageColumns, and more columns before and after them.
func scanBetween(rows *sql.Rows, before, after []any) (row, error) {
	var r row
	var osType, osVer, from, contents, test, result, cluster, glance sql.NullString
	var builtAt time.Time
	var published, logged, tested, released sql.NullTime
	var pruned string
	own := []any{&r.UUID, &r.Name, &r.Number, &r.Project, &r.Arch, &r.State, &r.Held, &r.revoked, &r.Foreign, &builtAt, &published, &pruned,
		&osType, &osVer, &logged, &from, &contents,
		&test, &result, &tested,
		&cluster, &glance, &released,
		&r.Commit, &r.Dirty, &r.SHA256, &r.round}
	if err := rows.Scan(slices.Concat(before, own, after)...); err != nil {
		return row{}, err
	}
	r.OSType, r.OSVer, r.FromISO, r.UpdateContents = osType.String, osVer.String, from.String, contents.String
	r.BuiltAt, r.sortAt, r.PublishedAt, r.Pruned = builtAt, builtAt, published.Time, split(pruned)
	// build_log has whole seconds: the image's own time is better, unless
	// others have changed theirs.
	if logged.Valid && !logged.Time.Equal(builtAt.Truncate(time.Second)) {
		r.BuiltAt = logged.Time
	}
	r.setVerdict(test, result, tested)
	r.release = Target{Cluster: cluster.String, GlanceID: glance.String, State: TargetVisible, ReleaseAt: released.Time}
	r.Tests, r.Targets = []TestCase{}, []Target{} // [] in JSON, not null
	return r, nil
}

func (r *row) setVerdict(test, result sql.NullString, at sql.NullTime) {
	if result.Valid || test.Valid {
		r.Verdict = &Verdict{TestCase: test.String, Result: result.String, At: at.Time}
	}
}

// finish merges what release_log says of a cluster that has no row of its own,
// and decides the state from what is read now.
func (r *row) finish() {
	known := r.release.Cluster == ""
	for _, t := range r.Targets {
		known = known || t.Cluster == r.release.Cluster
	}
	if !known {
		r.Targets = append(r.Targets, r.release)
	}
	f := facts{revoked: r.revoked, published: !r.PublishedAt.IsZero(), targets: r.Targets}
	if r.Verdict != nil {
		f.verdict = r.Verdict.Result
	}
	r.State = f.state()
}

// depth is how much of an image is read beside its clusters.
type depth int

const (
	withCases    depth = 1 << iota // of its latest test
	withArtifact                   // the query selects storyColumns

	brief depth = 0
	full        = withCases | withArtifact
)

// images runs a query that selects imageColumns, or storyColumns, and completes the images.
func (s *Store) images(ctx context.Context, q querier, d depth, query string, args ...any) ([]Image, error) {
	var list []*row
	err := collect(ctx, q, func(rows *sql.Rows) error {
		r, err := scanImage(rows, d)
		list = append(list, &r)
		return err
	}, query, args...)
	if err != nil {
		return nil, err
	}
	if err := s.complete(ctx, q, d, list); err != nil {
		return nil, err
	}
	images := make([]Image, len(list))
	for i, r := range list {
		images[i] = r.Image
	}
	return images, nil
}

func (s *Store) complete(ctx context.Context, q querier, d depth, list []*row) error {
	for len(list) > 0 {
		n := min(len(list), 200)
		if err := s.completeSome(ctx, q, d, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

func (s *Store) completeSome(ctx context.Context, q querier, d depth, list []*row) error {
	byUUID := map[string]*row{}
	var all, tested, rounds []any
	for _, r := range list {
		byUUID[r.UUID] = r
		all = append(all, r.UUID)
		if r.round > 0 && d&withCases != 0 {
			tested = append(tested, r.UUID)
			if !slices.Contains(rounds, any(r.round)) {
				rounds = append(rounds, r.round)
			}
		}
	}
	if err := collect(ctx, q, func(rows *sql.Rows) error { return scanTarget(rows, byUUID) }, targetsSQL(len(all)), all...); err != nil {
		return err
	}
	if len(tested) > 0 {
		if err := collect(ctx, q, func(rows *sql.Rows) error { return scanCase(rows, byUUID) }, casesSQL(len(tested), len(rounds)), append(tested, rounds...)...); err != nil {
			return err
		}
	}
	for _, r := range list {
		r.finish()
		if d&withCases != 0 && len(r.Tests) == 0 && r.Verdict != nil { // written by others
			r.Tests = []TestCase{{Case: r.Verdict.TestCase, Result: r.Verdict.Result, At: r.Verdict.At}}
		}
	}
	return nil
}

func targetsSQL(images int) string {
	return "SELECT image_uuid, cluster, glance_id, state, released_at, checked_at, hash, error FROM release_target WHERE image_uuid IN (" + marks(images) + ") ORDER BY image_uuid, cluster"
}

// casesSQL reads the cases of tests of these rounds, of which each image has its
// own: mostly all have the first. The order is that of the key.
func casesSQL(images, rounds int) string {
	return "SELECT image_uuid, round, name, cell, result, at, attempt, ms, message, evidence FROM test_case WHERE image_uuid IN (" + marks(images) +
		") AND round IN (" + marks(rounds) + ") ORDER BY image_uuid, round, cell, name, attempt"
}

func scanTarget(rows *sql.Rows, byUUID map[string]*row) error {
	var uuid string
	var t Target
	var glance sql.NullString
	var released, checked sql.NullTime
	if err := rows.Scan(&uuid, &t.Cluster, &glance, &t.State, &released, &checked, &t.Hash, &t.Error); err != nil {
		return err
	}
	t.GlanceID, t.ReleaseAt, t.CheckedAt = glance.String, released.Time, checked.Time
	if r := byUUID[uuid]; r != nil {
		r.Targets = append(r.Targets, t)
	}
	return nil
}

func scanCase(rows *sql.Rows, byUUID map[string]*row) error {
	var uuid, cell, result sql.RawBytes
	var round int
	var c TestCase
	if err := rows.Scan(&uuid, &round, &c.Case, &cell, &result, &c.At, &c.Attempt, &c.MS, &c.Message, &c.Evidence); err != nil {
		return err
	}
	r := byUUID[string(uuid)]
	if r == nil || r.round != round {
		return nil
	}
	var last TestCase
	if n := len(r.Tests); n > 0 {
		last = r.Tests[n-1]
	}
	c.Cell, c.Result = sameText(last.Cell, cell), sameText(last.Result, result)
	r.Tests = append(r.Tests, c)
	return nil
}

// sameText is the text, kept once where it is the one before: a page has
// thousands of cases, in a few cells and with few results.
func sameText(last string, text sql.RawBytes) string {
	if string(text) == last {
		return last
	}
	return string(text)
}

// destinations are where artifactColumns go; all of them are NULL where there is
// no artifact.
func (a *Artifact) destinations(tools *string) []any {
	return []any{orZero(&a.Format), orZero(&a.Compress), orZero(&a.Size), orZero(&a.Allocated), orZero(&a.VirtualSize), orZero(&a.SHA256), orZero(&a.SHA512), orZero(&a.MD5),
		orZero(&a.Commit), orZero(&a.Dirty), orZero(&a.Ref), orZero(&a.BuildDigest), orZero(&a.TestDigest), orZero(&a.ReleaseDigest), orZero(&a.SourceURL), orZero(&a.SourceSHA256),
		orZero(&a.ParentUUID), orZero(&a.ParentSHA256), orZero(&a.User), orZero(&a.Memory), orZero(tools), orZero(&a.Accelerator), orZero(&a.ConsoleWatched), orZero(&a.BuildMS), orZero(&a.BuildURL), orZero(&a.ReleaseURL)}
}

// nullable reads NULL as a zero value.
type nullable[T any] struct{ to *T }

func orZero[T any](to *T) nullable[T] { return nullable[T]{to} }

// Scan is that of a sql.Scanner.
func (n nullable[T]) Scan(from any) error {
	switch to := any(n.to).(type) { // what the server sends of these, without the ways of others
	case *string:
		if text, ok := from.([]byte); ok {
			*to = string(text)
			return nil
		}
	case *int64:
		if number, ok := from.(int64); ok {
			*to = number
			return nil
		}
	}
	var v sql.Null[T]
	err := v.Scan(from)
	*n.to = v.V
	return err
}

// foreignSQL reads an image of build_log that has no row in image yet, in the
// form of imageColumns.
const foreignSQL = `SELECT b.image_uuid, COALESCE(b.image_name, ''), 0, '', '', '', 0, 0, 1, COALESCE(b.build_at, TIMESTAMP('1970-01-01 00:00:00')), NULL, '',
	b.os_type, b.os_ver, b.build_at, b.from_iso, b.update_contents,
	t.test_case, t.test_result, t.test_at,
	r.openstack_cluster, r.glance_id, r.release_at,
	'', 0, '', 0
	FROM build_log b LEFT JOIN image i ON i.uuid = b.image_uuid
	LEFT JOIN test_log t ON t.image_uuid = b.image_uuid
	LEFT JOIN release_log r ON r.image_uuid = b.image_uuid
	WHERE i.id IS NULL AND `

const runColumns = `seq, id, image, image_uuid, project, ref, commit_sha, head_seq, folder, retry_of, attempt, from_stage, stage, state, reason,
	actor, channel, worker, jenkins_job, jenkins_queue_id, jenkins_build, jenkins_url, build_tag, failure, exit_code, opened_at, started_at, finished_at,
	managed, hook_event, cancel_by, cancel_reason, status_error`

// scanRun reads runColumns, and more columns after them.
func scanRun(rows *sql.Rows, after ...any) (seq int64, r Run, err error) {
	var made, retry, failure, cancel sql.NullString
	var head, queue, build, exit, event sql.NullInt64
	var started, finished sql.NullTime
	err = rows.Scan(append([]any{&seq, &r.ID, &r.Image, &made, &r.Project, &r.Ref, &r.Commit, &head, &r.Folder, &retry, &r.Attempt, &r.From, &r.Stage, &r.State, &r.Reason,
		&r.Actor, &r.Channel, &r.Worker, &r.JenkinsJob, &queue, &build, &r.BuildURL, &r.BuildTag, &failure, &exit, &r.OpenedAt, &started, &finished,
		&r.Managed, &event, &cancel, &r.CancelReason, &r.StatusError}, after...)...)
	if err != nil {
		return 0, Run{}, err
	}
	r.ImageUUID, r.RetryOf, r.HeadSeq, r.QueueID, r.Build = made.String, retry.String, head.Int64, queue.Int64, build.Int64
	r.StartedAt, r.FinishedAt = started.Time, finished.Time
	r.Event, r.CancelBy = event.Int64, cancel.String
	if exit.Valid {
		code := int(exit.Int64)
		r.ExitCode = &code
	}
	if failure.Valid {
		if err := json.NewDecoder(strings.NewReader(failure.String)).Decode(&r.Failure); err != nil {
			return 0, Run{}, fmt.Errorf("run %s: failure: %w", r.ID, err)
		}
	}
	return seq, r, nil
}
