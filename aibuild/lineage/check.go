package lineage

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// textMax is what a TEXT column holds, in bytes.
const textMax = 65535

var runName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// checker collects the first value that its column cannot hold.
type checker struct{ err error }

func (c *checker) fail(field, format string, args ...any) {
	if c.err == nil {
		c.err = &Invalid{Field: field, Problem: fmt.Sprintf(format, args...)}
	}
}

// text: at most so many characters.
func (c *checker) text(field, value string, limit int) {
	if !utf8.ValidString(value) {
		c.fail(field, "is not valid UTF-8")
	}
	if n := utf8.RuneCountInString(value); n > limit {
		c.fail(field, "has %d characters, the column holds %d", n, limit)
	}
}

// long: a TEXT column.
func (c *checker) long(field, value string) {
	if !utf8.ValidString(value) {
		c.fail(field, "is not valid UTF-8")
	}
	if len(value) > textMax {
		c.fail(field, "has %d bytes, the column holds %d", len(value), textMax)
	}
}

func (c *checker) need(field, value string) {
	if value == "" {
		c.fail(field, "is missing")
	}
}

func (c *checker) uuid(field, value string) {
	if _, err := uuid.Parse(value); err != nil || len(value) != 36 || value != strings.ToLower(value) {
		c.fail(field, "%q is not a lower-case uuid", value)
	}
}

func (c *checker) oneOf(field, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	c.fail(field, "is %q, must be one of %s", value, strings.Join(allowed, ", "))
}

func (c *checker) hex(field, value string, digits int) {
	if value == "" {
		return
	}
	if len(value) != digits || strings.Trim(value, "0123456789abcdef") != "" {
		c.fail(field, "is not %d lower-case hex digits", digits)
	}
}

func (c *checker) positive(field string, n int64) {
	if n < 0 {
		c.fail(field, "is negative")
	}
}

// time: zero is allowed.
func (c *checker) time(field string, t time.Time) {
	if !t.IsZero() && (t.Year() < 1970 || t.Year() > 9998) {
		c.fail(field, "%s is not a time that the column holds", t.Format(time.RFC3339))
	}
}

// utc has the precision of the companions; the three tables keep seconds.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}

// normal fills what a record leaves to defaults and refuses what cannot be
// stored.
func (r Record) normal(now time.Time) (Record, error) {
	if r.At.IsZero() {
		r.At = now
	}
	r.At = utc(r.At)
	var c checker
	if r.Run != nil {
		r = r.normalRun(&c)
	}
	if r.Built != nil {
		r = r.normalBuilt(&c)
	}
	c.uuid("id", r.ID)
	c.time("at", r.At)
	c.need("verb", r.Verb)
	c.text("verb", r.Verb, 32)
	c.text("actor", r.Actor, 255)
	c.text("channel", r.Channel, 32)
	c.long("reason", r.Reason)
	if r.RunID != "" {
		c.uuid("run_id", r.RunID)
	}
	c.text("image_uuid", r.ImageUUID, 36)
	payloads := 0
	for _, set := range []bool{r.Run != nil, r.Built != nil, r.Tested != nil, r.Inventory != nil, r.Published != nil, r.Released != nil, r.Marked != nil} {
		if set {
			payloads++
		}
	}
	if payloads > 1 {
		c.fail("record", "has %d payloads, at most one is allowed", payloads)
	}
	if r.ImageUUID == "" && (r.Tested != nil || r.Inventory != nil || r.Published != nil || r.Released != nil || r.Marked != nil) {
		c.fail("image_uuid", "is missing")
	}
	if r.Tested != nil {
		r = r.normalTested(&c)
	}
	if r.Inventory != nil {
		r.Inventory.check(&c)
	}
	if r.Published != nil {
		c.text("published.release_url", r.Published.ReleaseURL, 2048)
		c.hex("published.release_digest", r.Published.ReleaseDigest, 64)
	}
	if r.Released != nil {
		r = r.normalTarget(&c)
	}
	if r.Marked != nil {
		r.Marked.check(&c)
	}
	return r, c.err
}

func (r Record) normalRun(c *checker) Record {
	run := *r.Run
	r.Run = &run
	if run.ID == "" {
		run.ID = r.RunID
	}
	if r.RunID == "" {
		r.RunID = run.ID
	}
	if run.ImageUUID == "" {
		run.ImageUUID = r.ImageUUID
	}
	if run.ID != r.RunID {
		c.fail("run.run_id", "is %s, the record's run_id is %s", run.ID, r.RunID)
	}
	run.OpenedAt, run.StartedAt, run.FinishedAt = utc(run.OpenedAt), utc(run.StartedAt), utc(run.FinishedAt)
	run.check(c)
	return r
}

func (r *Run) check(c *checker) {
	c.uuid("run.run_id", r.ID)
	if r.RetryOf != "" {
		c.uuid("run.retry_of", r.RetryOf)
	}
	if r.Image != "" && !runName.MatchString(r.Image) {
		c.fail("run.image_name", "%q is not an image name ([a-z0-9][a-z0-9._-]{0,62})", r.Image)
	}
	if _, ok := runRank[r.State]; !ok && r.State != "" {
		c.fail("run.state", "%q is not a state of a run", r.State)
	}
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"image_uuid", r.ImageUUID, 36}, {"project", r.Project, 255}, {"ref", r.Ref, 255}, {"commit", r.Commit, 64},
		{"folder", r.Folder, 1024}, {"from", r.From, 20}, {"stage", r.Stage, 20}, {"actor", r.Actor, 255},
		{"channel", r.Channel, 32}, {"worker", r.Worker, 255}, {"jenkins_job", r.JenkinsJob, 255},
		{"jenkins_url", r.BuildURL, 2048}, {"build_tag", r.BuildTag, 255},
	} {
		c.text("run."+f.name, f.value, f.limit)
	}
	c.long("run.reason", r.Reason)
	c.positive("run.head_seq", r.HeadSeq)
	c.time("run.opened_at", r.OpenedAt)
	c.time("run.started_at", r.StartedAt)
	c.time("run.finished_at", r.FinishedAt)
}

func (r Record) normalBuilt(c *checker) Record {
	b := *r.Built
	r.Built = &b
	if r.ImageUUID == "" {
		r.ImageUUID = r.RunID
	}
	if b.BuiltAt.IsZero() {
		b.BuiltAt = r.At
	}
	b.BuiltAt = utc(b.BuiltAt)
	c.uuid("image_uuid", r.ImageUUID)
	c.need("built.image_name", b.Name)
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"image_name", b.Name, 255}, {"project", b.Project, 255}, {"arch", b.Arch, 32}, {"os_type", b.OSType, 20},
		{"os_ver", b.OSVer, 10}, {"from_iso", b.FromISO, 255},
	} {
		c.text("built."+f.name, f.value, f.limit)
	}
	c.long("built.update_contents", b.UpdateContents)
	c.time("built.build_at", b.BuiltAt)
	b.Artifact.check(c)
	return r
}

func (a *Artifact) check(c *checker) {
	const at = "built.artifact."
	c.need(at+"format", a.Format)
	c.need(at+"sha256", a.SHA256)
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"format", a.Format, 16}, {"compress", a.Compress, 16}, {"commit", a.Commit, 64}, {"ref", a.Ref, 255},
		{"source_url", a.SourceURL, 2048}, {"parent_uuid", a.ParentUUID, 36}, {"user", a.User, 64},
		{"accelerator", a.Accelerator, 16}, {"build_url", a.BuildURL, 2048}, {"release_url", a.ReleaseURL, 2048},
	} {
		c.text(at+f.name, f.value, f.limit)
	}
	c.hex(at+"sha256", a.SHA256, 64)
	c.hex(at+"sha512", a.SHA512, 128)
	c.hex(at+"md5", a.MD5, 32)
	c.hex(at+"build_digest", a.BuildDigest, 64)
	c.hex(at+"test_digest", a.TestDigest, 64)
	c.hex(at+"release_digest", a.ReleaseDigest, 64)
	c.hex(at+"source_sha256", a.SourceSHA256, 64)
	c.hex(at+"parent_sha256", a.ParentSHA256, 64)
	for _, n := range []int64{a.Size, a.Allocated, a.VirtualSize, a.Memory, a.BuildMS} {
		c.positive(at+"size, memory or time", n)
	}
}

func (r Record) normalTested(c *checker) Record {
	t := *r.Tested
	r.Tested = &t
	if t.TestedAt.IsZero() {
		t.TestedAt = r.At
	}
	t.TestedAt = utc(t.TestedAt)
	c.oneOf("tested.verdict", t.Verdict, Passed, FailedTest, TestError)
	c.text("tested.test_case", t.TestCase, 255)
	c.hex("tested.test_digest", t.TestDigest, 64)
	c.text("tested.accelerator", t.Accelerator, 16)
	c.time("tested.test_at", t.TestedAt)
	cases := make([]TestCase, len(t.Cases))
	for i, k := range t.Cases {
		field := fmt.Sprintf("tested.cases[%d].", i)
		k.At = utc(k.At)
		if k.At.IsZero() {
			k.At = t.TestedAt
		}
		k.Attempt = max(k.Attempt, 1)
		c.need(field+"case", k.Case)
		c.text(field+"case", k.Case, 255)
		c.text(field+"cell", k.Cell, 64)
		c.oneOf(field+"result", k.Result, Passed, FailedTest, TestError, SkippedTest, FlakyTest)
		c.long(field+"message", k.Message)
		c.text(field+"evidence", k.Evidence, 1024)
		c.time(field+"at", k.At)
		cases[i] = k
	}
	t.Cases = cases
	return r
}

func (r Record) normalTarget(c *checker) Record {
	t := *r.Released
	r.Released = &t
	t.ReleaseAt, t.CheckedAt = utc(t.ReleaseAt), utc(t.CheckedAt)
	c.need("released.openstack_cluster", t.Cluster)
	c.text("released.openstack_cluster", t.Cluster, 60)
	c.text("released.glance_id", t.GlanceID, 36)
	c.text("released.hash", t.Hash, 255)
	c.long("released.error", t.Error)
	c.oneOf("released.state", t.State, TargetUploading, TargetVisible, TargetHidden, TargetMissing, TargetChanged, TargetFailed, TargetRevoked)
	c.time("released.release_at", t.ReleaseAt)
	c.time("released.checked_at", t.CheckedAt)
	if !t.ReleaseAt.IsZero() && t.GlanceID == "" {
		c.fail("released.glance_id", "is missing in a release")
	}
	return r
}

func (m *Mark) check(c *checker) {
	c.text("marked.project", m.Project, 255)
	for _, area := range m.Pruned {
		c.oneOf("marked.pruned", area, "build", "release")
	}
}
