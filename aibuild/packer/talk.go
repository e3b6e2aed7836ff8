package packer

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Phases of a build.
const (
	phaseSource    = "source"
	phaseBoot      = "boot"
	phaseConnect   = "connect"
	phaseProvision = "provision"
	phaseHalt      = "halt"
	phaseConvert   = "convert"
	phasePost      = "post-process"
	phaseDone      = "done"
)

// phaseSigns are the beginnings of Packer's own sentences, which have been the
// same from 1.2 on.
var phaseSigns = []struct{ text, phase string }{
	{"Retrieving ", phaseSource},
	{"Starting VM", phaseBoot},
	{"Waiting for SSH to become available", phaseConnect},
	{"Waiting for WinRM to become available", phaseConnect},
	{"Connected to SSH", phaseProvision},
	{"Connected to WinRM", phaseProvision},
	{"Provisioning with ", phaseProvision},
	{"Running local shell script", phaseProvision},
	{"Gracefully halting virtual machine", phaseHalt},
	{"Halting the virtual machine", phaseHalt},
	{"Waiting for shutdown", phaseHalt},
	{"Converting hard drive", phaseConvert},
	{"Running post-processor", phasePost},
	{"Deleting output directory", phaseDone},
	{"Wait completed after", phaseDone},
	{"Builds finished", phaseDone},
}

const (
	recentLines = 40       // what a failure can show
	recentText  = 2 << 10  // bytes of one of them
	maxEvent    = 16 << 10 // bytes of one event; the evidence has the rest
	maxFiles    = 1000     // of all artifacts
)

// made is one artifact line group of Packer.
type made struct {
	build, builder string
	files          []string
}

// talk is what Packer has said so far.
type talk struct {
	progress *progress

	mu        sync.Mutex
	phase     string
	recent    []string // everything said, newest last
	errors    []string // ui errors: Packer's own and the guest's stderr
	failure   string   // the error line of the build
	artifacts []*made
	index     map[string]*made
	files     int
}

func newTalk(p *progress) *talk { return &talk{progress: p, index: map[string]*made{}} }

// line takes one line of the stream.
func (k *talk) line(l line) {
	switch l.kind {
	case "ui":
		k.ui(l.arg(0), l.arg(1))
	case "error":
		k.mu.Lock()
		k.failure = strings.TrimSpace(clean(l.arg(0)))
		k.mu.Unlock()
	case "artifact":
		k.artifact(l)
	}
}

func (k *talk) ui(level, raw string) {
	text, build := speech(clean(raw))
	if text == "" {
		return
	}
	k.mu.Lock()
	if level == "say" {
		for _, s := range phaseSigns {
			if strings.HasPrefix(text, s.text) {
				k.phase = s.phase
				break
			}
		}
	}
	for one := range strings.SplitSeq(text, "\n") {
		if one = strings.TrimRight(one, " \t"); one == "" {
			continue
		}
		one = shorten(one, recentText)
		k.recent = push(k.recent, one)
		if level == "error" {
			k.errors = push(k.errors, one)
		}
	}
	phase := k.phase
	k.mu.Unlock()
	k.progress.send(Event{Kind: level, Phase: phase, Build: build, Text: shorten(text, maxEvent)})
}

// push keeps the last lines; trimming at twice their number makes it cheap.
func push(lines []string, one string) []string {
	if len(lines) == 2*recentLines {
		lines = lines[:copy(lines, lines[recentLines:])]
	}
	return append(lines, one)
}

// stamp is what Packer's -timestamp-ui, which a wrapper may ask for, puts first.
var stamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*: `)

// speech takes Packer's "==> NAME: " off each line.
func speech(text string) (plain, build string) {
	text = strings.Trim(text, "\n")
	if m := stamp.FindString(text); m != "" {
		text = text[len(m):]
	}
	if len(text) < 4 {
		return text, ""
	}
	mark := text[:4]
	if mark != "==> " && mark != "    " && mark != "--> " {
		return text, ""
	}
	name, rest, ok := strings.Cut(text[4:], ":")
	if !ok || name == "" || strings.ContainsAny(name, " \n") {
		return strings.TrimPrefix(text, "==> "), ""
	}
	rest = strings.TrimPrefix(rest, " ")
	for _, mark := range []string{"\n==> ", "\n    "} {
		rest = strings.ReplaceAll(rest, mark+name+": ", "\n")
		rest = strings.ReplaceAll(rest, mark+name+":", "\n")
	}
	return strings.TrimRight(rest, "\n "), name
}

// artifact reads "i,builder-id,X" and "i,file,j,PATH".
func (k *talk) artifact(l line) {
	key := l.target + "/" + l.arg(0)
	k.mu.Lock()
	defer k.mu.Unlock()
	a := k.index[key]
	if a == nil {
		if len(k.artifacts) >= maxFiles {
			return
		}
		a = &made{build: l.target}
		k.index[key] = a
		k.artifacts = append(k.artifacts, a)
	}
	switch l.arg(1) {
	case "builder-id":
		a.builder = l.arg(2)
	case "file":
		if _, err := strconv.Atoi(l.arg(2)); err == nil && k.files < maxFiles {
			a.files = append(a.files, l.arg(3))
			k.files++
		}
	}
}

func (k *talk) now() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.phase
}

// said is a copy of what counts for a failure's explanation.
type said struct {
	phase          string
	recent, errors []string
	failure        string
	artifacts      []*made
}

func (k *talk) said() said {
	k.mu.Lock()
	defer k.mu.Unlock()
	return said{
		phase: k.phase, failure: k.failure, artifacts: slices.Clone(k.artifacts),
		recent: slices.Clone(last(k.recent, recentLines)), errors: slices.Clone(last(k.errors, recentLines)),
	}
}
