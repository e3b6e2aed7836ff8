package glance

import (
	"time"

	"github.com/hashicorp/go-hclog"
)

// Releaser works on images in the clusters of one clouds.yaml. It keeps no
// state between calls; its methods may run at once for different names.
type Releaser struct {
	CloudsFile string         // path of clouds.yaml; secure.yaml beside it is read too
	Log        hclog.Logger   // nil is silent
	OnState    func(Target)   // called at each change of a state, one call at a time
	OnProgress func(Progress) // called while bytes move, one call at a time

	Attempts     int              // tries per cluster while errors are retryable; default 3
	Pause        time.Duration    // before the second attempt, then doubled, at most 30 s; default 1 s
	CallTimeout  time.Duration    // of one API call; default 30 s
	StallTimeout time.Duration    // an upload without any progress for so long is given up; default 2 min
	Now          func() time.Time // default time.Now
}

// Retention says which images of a name stay.
type Retention struct {
	Name   string
	Keep   int      // newest images that stay, the visible one counted
	Held   []string // aibuild uuids that stay whatever their age
	DryRun bool     // only tell
}

// Deletion is one image that Keep deleted, or could not delete.
type Deletion struct {
	Cluster   string `json:"cluster"`
	ImageUUID string `json:"image_uuid"`
	GlanceID  string `json:"glance_id"`
	Bytes     int64  `json:"bytes"`
	Deleted   bool   `json:"deleted"` // false: dry run, or Glance refused
	Reason    string `json:"reason"`  // why it goes, or why it had to stay
}

// Quota is one limit of a project, in Glance's own units (MiB or images).
type Quota struct {
	Name  string `json:"name"`
	Limit int64  `json:"limit"` // -1: unlimited
	Used  int64  `json:"used"`
}

// Health is what Check found out about a cluster.
type Health struct {
	Cluster    string   `json:"cluster"`
	User       string   `json:"user"`
	Project    string   `json:"project"`
	ProjectID  string   `json:"project_id"`
	Roles      []string `json:"roles"`
	Endpoint   string   `json:"endpoint"`
	Versions   []string `json:"versions"`    // of Glance's API, newest first
	CanCreate  bool     `json:"can_create"`  // proven by creating and deleting an empty hidden image
	CanPublish bool     `json:"can_publish"` // visibility public, proven alike
	Quotas     []Quota  `json:"quotas"`      // empty where Glance shows none
	Problems   []string `json:"problems"`    // what does not work, each with what to do
}
