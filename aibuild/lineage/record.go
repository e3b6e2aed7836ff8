package lineage

import "time"

// Verbs of records. An event keeps its verb for ever; other verbs are allowed.
const (
	VerbOpened    = "opened"          // a run
	VerbMoved     = "moved"           // a run to another state
	VerbEnded     = "ended"           // a run
	VerbBuilt     = "built"           // an image
	VerbTested    = "tested"          // an image
	VerbListed    = "packages_listed" // of an image
	VerbPublished = "published"
	VerbReleased  = "released" // an image, into one cluster
	VerbChecked   = "checked"  // an image in one cluster was compared with the record
	VerbRolled    = "rolled_back"
	VerbRevoked   = "revoked"
	VerbRestored  = "restored"
	VerbHeld      = "held"
	VerbUnheld    = "unheld"
	VerbPruned    = "pruned"
	VerbMovedTo   = "transferred" // a name, to another project
	VerbAdopted   = "adopted"     // a row that others wrote

	VerbCancel       = "cancel_requested" // of a run
	VerbToken        = "token_created"
	VerbTokenRevoked = "token_revoked"
)

// Channels of records and runs. Others are allowed. Only records of the daemon
// may end a run that is managed; whoever passes on records of others must not
// let them claim to be the daemon.
const (
	ChannelHook     = "hook"     // a push
	ChannelAPI      = "api"      // somebody asked the daemon
	ChannelSchedule = "schedule" // it was time
	ChannelDaemon   = "daemon"   // the daemon itself
)

// Record is one step of the story, and one line of a journal. Exactly one of
// the payloads is set; a record without payload only appends an event.
type Record struct {
	ID        string    `json:"id"`      // a UUID made by the caller; delivering the same id again changes nothing
	At        time.Time `json:"at"`      // when it happened, not when it is delivered; zero = now
	Actor     string    `json:"actor"`   // who: a user, "jenkins:job#7", "daemon"
	Channel   string    `json:"channel"` // by what: cli, api, hook, daemon
	RunID     string    `json:"run_id,omitempty"`
	ImageUUID string    `json:"image_uuid,omitempty"`
	Verb      string    `json:"verb"`
	Reason    string    `json:"reason,omitempty"`

	Run       *Run       `json:"run,omitempty"`       // opens a run, or moves it
	Built     *Built     `json:"built,omitempty"`     // the build succeeded: the image exists
	Tested    *Tested    `json:"tested,omitempty"`    // a verdict
	Inventory *Inventory `json:"inventory,omitempty"` // what is installed in it
	Published *Published `json:"published,omitempty"` // its bytes are in images/release
	Released  *Target    `json:"released,omitempty"`  // its state in one cluster
	Marked    *Mark      `json:"marked,omitempty"`    // revoke, restore, hold, transfer, prune
}

// Built is the payload of a succeeded build. The image's uuid is
// Record.ImageUUID.
type Built struct {
	Name           string    `json:"image_name"`
	Project        string    `json:"project,omitempty"`
	Arch           string    `json:"arch,omitempty"`
	OSType         string    `json:"os_type,omitempty"` // at most 20 characters
	OSVer          string    `json:"os_ver,omitempty"`  // at most 10 characters
	BuiltAt        time.Time `json:"build_at"`          // zero = Record.At
	FromISO        string    `json:"from_iso,omitempty"`
	UpdateContents string    `json:"update_contents,omitempty"` // at most 65535 bytes
	Artifact       Artifact  `json:"artifact"`
}

// Artifact is what is known of an image's file and of how it was made.
type Artifact struct {
	Format      string `json:"format"` // qcow2 or raw
	Compress    string `json:"compress,omitempty"`
	Size        int64  `json:"size"`
	Allocated   int64  `json:"allocated,omitempty"` // bytes on disk, when sparse less than Size
	VirtualSize int64  `json:"virtual_size,omitempty"`
	SHA256      string `json:"sha256"` // lower-case hex, as all digests
	SHA512      string `json:"sha512,omitempty"`
	MD5         string `json:"md5,omitempty"` // only of images of the first aibuild, which made it

	Commit        string `json:"commit,omitempty"`
	Dirty         bool   `json:"dirty,omitempty"` // built from an uncommitted tree
	Ref           string `json:"ref,omitempty"`
	BuildDigest   string `json:"build_digest,omitempty"` // of the settings and files of a stage
	TestDigest    string `json:"test_digest,omitempty"`
	ReleaseDigest string `json:"release_digest,omitempty"`

	SourceURL    string `json:"source_url,omitempty"` // without credentials and query
	SourceSHA256 string `json:"source_sha256,omitempty"`
	ParentUUID   string `json:"parent_uuid,omitempty"`
	ParentSHA256 string `json:"parent_sha256,omitempty"`

	User           string            `json:"user,omitempty"`        // who logs in
	Memory         int64             `json:"memory,omitempty"`      // bytes of memory that it was tested with
	Tools          map[string]string `json:"tools,omitempty"`       // program -> version
	Accelerator    string            `json:"accelerator,omitempty"` // kvm or tcg
	ConsoleWatched bool              `json:"console_watched,omitempty"`
	BuildMS        int64             `json:"build_ms,omitempty"`

	BuildURL   string `json:"build_url,omitempty"`   // of the file in images/build
	ReleaseURL string `json:"release_url,omitempty"` // of the file in images/release
}

// Verdicts of a test, as in test_log.test_result.
const (
	Passed      = "passed"
	FailedTest  = "failed"
	TestError   = "error"
	SkippedTest = "skipped" // a case only
	FlakyTest   = "flaky"   // a case only: passed on a retry
)

// Tested is the payload of a test. The latest verdict counts.
type Tested struct {
	Verdict     string     `json:"verdict"`   // passed, failed (the image's fault) or error (could not tell)
	TestCase    string     `json:"test_case"` // which decided it: "cell/case" or "all (N cases)"
	TestedAt    time.Time  `json:"test_at"`   // zero = Record.At
	TestDigest  string     `json:"test_digest,omitempty"`
	Accelerator string     `json:"accelerator,omitempty"`
	Cases       []TestCase `json:"cases,omitempty"`
}

// TestCase is how one case went in one cell.
type TestCase struct {
	Case     string    `json:"case"`
	Cell     string    `json:"cell"`
	Result   string    `json:"result"` // passed failed error skipped flaky
	At       time.Time `json:"at,omitzero"`
	Attempt  int       `json:"attempt,omitempty"` // from 1
	MS       int64     `json:"ms,omitempty"`
	Message  string    `json:"message,omitempty"` // at most 65535 bytes
	Evidence string    `json:"evidence,omitempty"`
}

// Published is the payload of a publication.
type Published struct {
	ReleaseURL    string `json:"release_url"`
	ReleaseDigest string `json:"release_digest,omitempty"`
}

// States of an image in a cluster.
const (
	TargetUploading = "uploading"
	TargetVisible   = "visible"
	TargetHidden    = "hidden"
	TargetMissing   = "missing"
	TargetChanged   = "changed"
	TargetFailed    = "failed"
	TargetRevoked   = "revoked"
)

// Target is the state of an image in one OpenStack cluster. Record "uploading"
// for every wanted cluster before the first upload: the image counts as partly
// released until each of them has it.
type Target struct {
	Cluster   string    `json:"openstack_cluster"` // at most 60 characters
	GlanceID  string    `json:"glance_id,omitempty"`
	State     string    `json:"state"`
	ReleaseAt time.Time `json:"release_at,omitzero"` // when it was made visible; set in a record = it was released now
	CheckedAt time.Time `json:"checked_at,omitzero"` // when it was last compared with the cloud
	Hash      string    `json:"hash,omitempty"`      // Glance's own os_hash_value
	Error     string    `json:"error,omitempty"`
}

// Mark is what an administrator decides about an image. Nil and empty fields
// change nothing.
type Mark struct {
	Revoked *bool    `json:"revoked,omitempty"`
	Held    *bool    `json:"held,omitempty"`
	Project string   `json:"project,omitempty"` // moves the image's name, all its images with it
	Pruned  []string `json:"pruned,omitempty"`  // areas whose bytes are gone: "build", "release"
}
