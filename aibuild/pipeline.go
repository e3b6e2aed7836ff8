package aibuild

import (
	"context"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/publish"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// Recorder keeps the story. *lineage.Store is one.
type Recorder interface {
	// Resolve finds images; lineage.ErrNotFound when there is none.
	Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error)
	// Record writes records whole or not at all; the same record again changes
	// nothing. *lineage.Unavailable means: send it again later.
	Record(ctx context.Context, records ...lineage.Record) error
	// Lock keeps other processes from working on name; it waits at most wait.
	Lock(ctx context.Context, name string, wait time.Duration) (unlock func() error, err error)
}

// Pipeline takes images through the stages. Site and DataDir are needed.
type Pipeline struct {
	Site    *publish.Site // where images are published
	DataDir string        // absolute: work folders, caches, evidence of failed runs, journals

	Packer     packer.Tool
	QEMU       qemu.Tool
	CloudsFile string   // clouds.yaml; needed to release
	Recorder   Recorder // nil: the manifests beside the images are the only record

	// Policy is what the definitions of a project may ask for; nil allows
	// everything.
	Policy  func(project string) (definition.Policy, error)
	Project string // owner of the names that are built first; empty: the git remote's path
	Ref     string // branch that is built; empty: the one checked out
	Actor   string // who, for the record; empty: "library"
	Channel string // by what: cli, api, jenkins; empty: "library"

	LockWait time.Duration    // for another process that works on the same name; 0: 10 minutes
	Log      hclog.Logger     // nil means silence
	Progress func(Event)      // called from several goroutines, one at a time per stage
	Now      func() time.Time // nil: time.Now
}

// Event is one sign of progress, for people.
type Event struct {
	At    time.Time
	Stage string
	Image string // NAME
	UUID  string
	Text  string
	// Done and Total are bytes where something is copied, else 0.
	Done, Total int64
}

func (p *Pipeline) now() time.Time {
	if p.Now != nil {
		return p.Now().UTC()
	}
	return time.Now().UTC()
}

func (p *Pipeline) log() hclog.Logger {
	if p.Log == nil {
		return hclog.NewNullLogger()
	}
	return p.Log
}

func (p *Pipeline) say(stage string, img *Image, text string) {
	p.emit(Event{Stage: stage, Text: text}, img)
}

func (p *Pipeline) emit(e Event, img *Image) {
	if p.Progress == nil {
		return
	}
	e.At = p.now()
	if img != nil {
		e.Image, e.UUID = img.Name, img.UUID
	}
	p.Progress(e)
}

func (p *Pipeline) bytes(stage, text string, img *Image) func(done, total int64) {
	return func(done, total int64) {
		p.emit(Event{Stage: stage, Text: text, Done: done, Total: total}, img)
	}
}

func (p *Pipeline) qemuTool() qemu.Tool {
	t := p.QEMU
	if t.CacheDir == "" {
		t.CacheDir = filepath.Join(p.DataDir, "cache", "qemu")
	}
	if t.Log == nil {
		t.Log = p.log().Named("qemu")
	}
	return t
}

func (p *Pipeline) packerTool() packer.Tool {
	t := p.Packer
	t.QEMU = p.qemuTool()
	if t.CacheDir == "" {
		t.CacheDir = filepath.Join(p.DataDir, "cache", "packer")
	}
	if t.Log == nil {
		t.Log = p.log().Named("packer")
	}
	return t
}

func (p *Pipeline) policy(project string) (definition.Policy, error) {
	if p.Policy == nil {
		return definition.Policy{Project: project}, nil
	}
	return p.Policy(project)
}

func (p *Pipeline) actor() string {
	if p.Actor == "" {
		return "library"
	}
	return p.Actor
}

func (p *Pipeline) channel() string {
	if p.Channel == "" {
		return "library"
	}
	return p.Channel
}
