package packer

import (
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// Tool is Packer on this machine. The zero value uses the packer and the QEMU
// that are in PATH; it may be used by several goroutines at once.
type Tool struct {
	Binary   string       // name or path; empty means "packer"
	QEMU     qemu.Tool    // which QEMU the builds run; its zero value is qemu-system-x86_64
	CacheDir string       // Packer's download cache, shared by all builds; empty: inside the job's WorkDir
	Log      hclog.Logger // nil means silence
}

// Job is one build.
type Job struct {
	Template string // absolute path: *.json, *.pkr.hcl, *.pkr.json, or a folder of the latter two
	Dir      string // the definition's folder; empty: the template's. Relative paths in the template start here
	WorkDir  string // an own folder on a disk with room for the image; empty or absent before, only the image left in it after
	Evidence string // folder for what explains the build, made if absent; empty: none is kept
	Builder  string // which build, by Packer's name for it, where the template has several of QEMU; else empty

	// Vars are passed by a variable file, never on a command line. Those named in
	// WellKnown are passed only where the template declares them; any other must
	// be declared. Build itself adds output_directory, accelerator, cpu,
	// serial_log, headless and, for old Packers, iso_checksum_type.
	Vars    map[string]string
	Secrets []string // masked in events, errors and evidence

	Accel   qemu.Accel    // what the probe said; the zero value leaves the template's choice alone
	Timeout time.Duration // 0: no limit but the context's

	// Progress gets what happens, from one goroutine, in order. It may be slow:
	// the build goes on, and what does not fit into the buffer is counted.
	Progress     func(Event)
	WatchConsole bool // end the build when the guest's console shows that it is dead
}

// Event is one thing that happened in a build.
type Event struct {
	At    time.Time
	Kind  string // say, message, error: Packer's own words (error also carries the guest's stderr); note: ours; console: the guest died
	Phase string // source, boot, connect, provision, halt, convert, post-process, done
	Build string // Packer's name for the build; empty for what concerns all
	Text  string // one or more lines without colours or control characters
}

// Artifact is the image that a build made.
type Artifact struct {
	Path   string // absolute, inside Job.WorkDir unless the template says otherwise
	Format string // qcow2 or raw, as the file itself says
	Build  string // Packer's name for the build

	Version        Version       // of Packer
	ConsoleWatched bool          // false: a dead guest would only have shown at Packer's own timeouts
	Duration       time.Duration // of packer build alone
	CPU            time.Duration // user + system, of Packer and the QEMU it waited for
	Evidence       []string      // files in Job.Evidence
}
