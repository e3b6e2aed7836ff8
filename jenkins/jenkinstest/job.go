package jenkinstest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is the type of a job.
type Kind string

// The kinds. A freestyle build occupies an executor from its start to its end. A pipeline starts at once and
// then waits for an executor of its label, with an entry of its own in the queue, as a node step does.
const (
	Freestyle Kind = "freestyle"
	Pipeline  Kind = "pipeline"
)

// Job says what a job is. Only Path is needed.
type Job struct {
	Path        string // "folder/job"; missing folders are made. Names are Jenkins' own: "feature%2Fx" in a multibranch project
	Kind        Kind   // empty means Freestyle
	Description string
	Parameters  []Parameter
	Label       string // of the nodes that may build it; empty means any
	Concurrent  bool   // builds of the job may run side by side
	Disabled    bool
	QuietPeriod *time.Duration // whole seconds; nil means the server's

	// Command is a script. It runs with /bin/sh -xe, or with what its #! line says, in the build's workspace.
	Command string
	Script  string // of a Pipeline: kept, and shown in its config.xml; a Command finds it in the file $PIPELINE_SCRIPT
	Clean   bool   // empty the workspace before each build, as the plugin ws-cleanup does; else a build finds what the last one left

	UnstableReturn int           // exit code that means UNSTABLE; 0: none
	NotBuiltReturn int           // exit code that means NOT_BUILT, which a Jenkins has other ways to say; 0: none
	AbortPrevious  bool          // a new item ends the build that blocks it, as NOT_BUILT; pipelines only
	PostProduction time.Duration // how long a freestyle build that is no longer "building" stays "inProgress"
}

// Parameter is a declared parameter.
type Parameter struct {
	Name        string
	Type        string   // "string", "text", "boolean", "choice" or "password"; empty means "string"
	Default     string   // not of a choice: that is its first
	Choices     []string // of a choice
	Description string
	Trim        bool // of a string
}

func (j Job) kind() Kind {
	if j.Kind == "" {
		return Freestyle
	}
	return j.Kind
}

func (p Parameter) kind() string {
	if p.Type == "" {
		return "string"
	}
	return p.Type
}

func (j Job) check() error {
	if k := j.kind(); k != Freestyle && k != Pipeline {
		return fmt.Errorf("job %s: no kind %q; there are %q and %q", j.Path, k, Freestyle, Pipeline)
	}
	if j.QuietPeriod != nil && (*j.QuietPeriod < 0 || *j.QuietPeriod%time.Second != 0) {
		return fmt.Errorf("job %s: a quiet period is whole seconds, not %s", j.Path, *j.QuietPeriod)
	}
	for _, p := range j.Parameters {
		if _, known := parameterClasses[p.kind()]; !known || p.Name == "" {
			return fmt.Errorf("job %s: parameter %q of type %q: give a name and one of the types that Parameter lists", j.Path, p.Name, p.Type)
		}
		if p.kind() == "choice" && len(p.Choices) == 0 {
			return fmt.Errorf("job %s: parameter %q has no choices", j.Path, p.Name)
		}
	}
	return nil
}

// item is a job or a folder.
type item struct {
	name     string
	parent   *item            // nil: this is the root
	children map[string]*item // nil: this is a job

	job       Job
	config    string // config.xml as it was sent; empty: made from job
	held      bool   // a copy, which cannot be built before somebody has saved its configuration
	nextBuild int
	builds    []*build // oldest first
	active    int      // builds that are not complete
	posts     int      // requests to start a build that came in
}

func newFolder(name string, parent *item) *item {
	return &item{name: name, parent: parent, children: map[string]*item{}}
}

func (it *item) isFolder() bool { return it.children != nil }

func (it *item) isBuildable() bool { return !it.job.Disabled && !it.held }

// fullName is the path, without a slash in front.
func (it *item) fullName() string { return it.join("/") }

// fullDisplayName is the path as Jenkins prints it for people.
func (it *item) fullDisplayName() string { return it.join(" » ") }

func (it *item) join(separator string) string {
	if it.parent == nil || it.parent.parent == nil {
		return it.name
	}
	return it.parent.join(separator) + separator + it.name
}

// path is the URL's path below Jenkins' root, each name escaped once.
func (it *item) path() string {
	if it.parent == nil {
		return ""
	}
	return it.parent.path() + "job/" + escape(it.name) + "/"
}

// sorted lists a folder's children by name.
func (it *item) sorted() []*item {
	all := make([]*item, 0, len(it.children))
	for _, child := range it.children {
		all = append(all, child)
	}
	slices.SortFunc(all, func(a, b *item) int { return strings.Compare(a.name, b.name) })
	return all
}

// walk calls do for every job in and below a folder.
func (it *item) walk(do func(*item)) {
	if !it.isFolder() {
		do(it)
		return
	}
	for _, child := range it.sorted() {
		child.walk(do)
	}
}

// find looks a path up, like "folder/job"; nil if there is nothing.
func (it *item) find(path string) *item {
	for name := range strings.SplitSeq(path, "/") {
		if it = it.children[name]; it == nil {
			return nil
		}
	}
	return it
}

func (it *item) build(number int) *build {
	at, found := slices.BinarySearchFunc(it.builds, number, func(b *build, n int) int { return b.number - n })
	if !found {
		return nil
	}
	return it.builds[at]
}

func (it *item) lastBuild() *build {
	if len(it.builds) == 0 {
		return nil
	}
	return it.builds[len(it.builds)-1]
}

// newest is the newest build that fits; nil if none does.
func (it *item) newest(fits func(*build) bool) *build {
	for _, b := range slices.Backward(it.builds) {
		if fits(b) {
			return b
		}
	}
	return nil
}

// checkName is Jenkins' rule for names that people give; a *failure says what is wrong.
func (p profile) checkName(name string) error {
	trimmed := strings.TrimSpace(name)
	switch {
	case name == "":
		return failure("No name is specified")
	case trimmed == "." || trimmed == "..":
		return failure(fmt.Sprintf("“%s” is not an allowed name", trimmed))
	case p.trailingDot && strings.HasSuffix(trimmed, "."):
		return failure("A name cannot end with ‘.’")
	}
	for _, r := range name {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			return failure("No control code is allowed: " + printable(name))
		}
		if strings.ContainsRune(`?*/\%!@#$^&|<>[]:;`, r) {
			return failure("‘" + string(r) + "’ is an unsafe character")
		}
	}
	return nil
}

func printable(name string) string {
	var out strings.Builder
	for _, r := range name {
		if r < 0x20 || r >= 0x7f && r <= 0x9f {
			fmt.Fprintf(&out, "\\u%d;", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// splitPath checks the path of a job that a test names; Jenkins' own jobs may have names that people may not give.
func splitPath(path string) ([]string, error) {
	names := strings.Split(path, "/")
	for _, name := range names {
		if name == "" || name == "." || name == ".." {
			return nil, errors.New("a job's path is names with slashes between them, like folder/job, not " + fmt.Sprintf("%q", path))
		}
	}
	return names, nil
}
