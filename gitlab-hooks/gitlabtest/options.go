package gitlabtest

import (
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// Options are the settings of a Server; the zero value is a current GitLab on a free port of the loopback, whose
// repositories live in a temporary folder.
type Options struct {
	Home   string // folder of the repositories, kept by Close; empty means a temporary folder, removed by Close
	Listen string // empty means 127.0.0.1:0

	Profile Profile

	// RootToken is root's access token, with every scope; empty means that one is made (see Server.RootToken).
	RootToken string

	// AutoDisable switches on the flag auto_disabling_web_hooks, as gitlab.com has it; self-managed instances do not.
	AutoDisable bool

	HookTimeout   time.Duration // of one delivery with its answer; 0 means GitLab's 10 s
	HookWorkers   int           // deliveries of one hook at the same time; 0 means 1, which keeps them in order
	PushHookLimit int           // push_event_hooks_limit; 0 means GitLab's 3
	StatusWait    time.Duration // how long a commit status waits for its lock before it is 409; 0 means GitLab's 10 s

	DiffMaxFiles int // diff_max_files, beyond which Compare leaves files out; 0 means GitLab's 1000

	// Now is the clock of everything that GitLab counts: back-off of hooks, rate limits, expiry of tokens, timestamps.
	// Nil means time.Now. Timeouts and delays are real time, whatever it says.
	Now func() time.Time

	// Transport delivers hooks; nil means one that opens a connection for each, as GitLab does, and knows the
	// certificate authorities of the machine.
	Transport http.RoundTripper

	Log hclog.Logger // nil means silence
}

// Profile is the version of GitLab that is played: its version number, delivery headers, payload fields and endpoints.
type Profile int

const (
	Current Profile = iota // 19.x: webhook-id, webhook-timestamp and, with a signing token, webhook-signature
	V17                    // 17.4: Idempotency-Key, hook events and resend
	V15                    // 15.x: no key that is the same when a delivery is repeated
)

// ParseProfile reads "15", "17.4" or "19".
func ParseProfile(s string) (Profile, error) {
	for p, name := range map[Profile]string{Current: "19", V17: "17.4", V15: "15"} {
		if s == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("no profile %q; use 15, 17.4 or 19", s)
}

func (p Profile) version() string {
	return map[Profile]string{Current: "19.2.0", V17: "17.4.6", V15: "15.11.13"}[p]
}

func (p Profile) atLeast(other Profile) bool { return p <= other }

func (o Options) filled() Options {
	o.Listen = orElse(o.Listen, "127.0.0.1:0")
	o.HookTimeout = orElse(o.HookTimeout, 10*time.Second)
	o.HookWorkers = orElse(o.HookWorkers, 1)
	o.PushHookLimit = orElse(o.PushHookLimit, 3)
	o.StatusWait = orElse(o.StatusWait, 10*time.Second)
	o.DiffMaxFiles = orElse(o.DiffMaxFiles, 1000)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = hclog.NewNullLogger()
	}
	return o
}

func orElse[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
