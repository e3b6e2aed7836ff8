package glance

import "time"

// The states of an image in a cluster.
const (
	Uploading = "uploading" // its bytes are on their way, nobody sees it
	Visible   = "visible"   // listed: the one that users of the name get
	Hidden    = "hidden"    // there and right, not listed
	Missing   = "missing"   // not there
	Changed   = "changed"   // there, but not as recorded
	Failed    = "failed"    // the operation did not succeed
	Revoked   = "revoked"   // hidden, and neither Release nor Rollback shows it
	Alien     = "alien"     // has one of our names or our mark, but is not on record
)

// Target is one image in one cluster.
type Target struct {
	Cluster   string    `json:"cluster"`
	Name      string    `json:"name"`
	ImageUUID string    `json:"image_uuid,omitempty"` // aibuild_uuid; empty for foreign images
	GlanceID  string    `json:"glance_id,omitempty"`
	State     string    `json:"state"`
	Hash      string    `json:"hash,omitempty"`   // Glance's os_hash_value, with its algorithm: sha512:HEX
	Detail    string    `json:"detail,omitempty"` // what differs, in words
	Error     string    `json:"error,omitempty"`
	At        time.Time `json:"at"`
}

// Progress tells how far an upload has come.
type Progress struct {
	Cluster   string
	ImageUUID string
	Sent      int64 // bytes
	Total     int64 // bytes
}

// Step is one thing that Release would do.
type Step struct {
	Cluster  string `json:"cluster"`
	Verb     string `json:"verb"` // delete, upload, repair, show, hide or none
	GlanceID string `json:"glance_id,omitempty"`
	Text     string `json:"text"` // the step in words
}
