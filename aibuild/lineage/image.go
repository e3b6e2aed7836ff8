package lineage

import (
	"fmt"
	"slices"
	"time"
)

// States of an image, derived from what is recorded about it.
const (
	StateBuilt          = "built"
	StateTestFailed     = "test_failed"
	StateTestError      = "test_error"
	StatePassed         = "passed"
	StatePublished      = "published"
	StatePartlyReleased = "partly_released"
	StateReleased       = "released"
	StateRevoked        = "revoked"
)

var imageStates = []string{StateBuilt, StateTestFailed, StateTestError, StatePassed, StatePublished, StatePartlyReleased, StateReleased, StateRevoked}

// ImageStates lists the states of images, in the order that images come to them.
func ImageStates() []string { return slices.Clone(imageStates) }

// Image is one image with its story. The JSON form is what `image history -o
// json` and the API give; fields are only ever added.
type Image struct {
	UUID           string     `json:"image_uuid"`
	Name           string     `json:"image_name"`
	Number         int        `json:"number,omitempty"` // NAME@N; 0 = not adopted yet
	Project        string     `json:"project,omitempty"`
	Arch           string     `json:"arch,omitempty"`
	OSType         string     `json:"os_type"`
	OSVer          string     `json:"os_ver"`
	BuiltAt        time.Time  `json:"build_at,omitzero"`
	FromISO        string     `json:"from_iso"`
	UpdateContents string     `json:"update_contents"`
	State          string     `json:"state"`
	Held           bool       `json:"held,omitempty"`
	Foreign        bool       `json:"foreign,omitempty"` // others wrote its row
	Commit         string     `json:"commit"`
	Dirty          bool       `json:"dirty,omitempty"`
	SHA256         string     `json:"sha256"`
	PublishedAt    time.Time  `json:"published_at,omitzero"`
	Pruned         []string   `json:"pruned,omitempty"` // areas whose bytes are gone
	Verdict        *Verdict   `json:"verdict,omitempty"`
	Artifact       *Artifact  `json:"artifact,omitempty"`
	Tests          []TestCase `json:"tests"`    // of the latest test
	Targets        []Target   `json:"releases"` // one per cluster
}

// Verdict is the image's row of test_log.
type Verdict struct {
	TestCase string    `json:"test_case"`
	Result   string    `json:"test_result"`
	At       time.Time `json:"test_at,omitzero"`
}

// Ref gives the image's name for people, NAME@N.
func (i Image) Ref() string {
	if i.Number == 0 {
		return i.Name
	}
	return fmt.Sprintf("%s@%d", i.Name, i.Number)
}

// Good says whether children may be built from the image and whether it may be
// released: it passed, and was not revoked.
func (i Image) Good() bool {
	switch i.State {
	case StatePassed, StatePublished, StatePartlyReleased, StateReleased:
		return true
	}
	return false
}

// Query asks for images. Either Ref alone names one image, or the other fields
// select some, newest first; with none of them set it selects the images that
// have a record in any cluster.
type Query struct {
	Ref     string `json:"ref,omitempty"`     // NAME (newest), NAME@N, uuid or unique prefix (at least 4 hex digits), Glance id, sha256, URL
	Name    string `json:"name,omitempty"`    // images of this name
	Good    bool   `json:"good,omitempty"`    // only good ones, see Image.Good
	Cluster string `json:"cluster,omitempty"` // with or without Name: recorded as uploading, visible, hidden, changed or missing there
	Parent  string `json:"parent,omitempty"`  // images built from the image of this uuid
	Limit   int    `json:"limit,omitempty"`   // 1 to 10000; 0 = 1 with Name and Good alone, else 10000

	// At, with Name and Cluster alone, asks for the one image that the cluster
	// showed under the name then, with everything that is known of it today,
	// and the Glance id of then.
	At time.Time `json:"at,omitzero"`
}

// Filter selects a page of [Store.Images].
type Filter struct {
	Name    string
	Project string
	State   string
	Since   time.Time // built at or after
	Cursor  string    // as the page before gave it
	Limit   int       // 1 to 1000; 0 = 50
}
