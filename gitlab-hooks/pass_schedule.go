package hooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	choreSchedule = "schedule"
	scheduleEvery = time.Minute
)

// passSchedule opens runs that nobody pushed for: of images that are older than
// their definition wants, and of children whose parent has a new good image.
func (d *Dispatcher) passSchedule(ctx context.Context) (opened int, err error) {
	if !d.due(choreSchedule, scheduleEvery) {
		return 0, nil
	}
	var errs []error
	var paused []string
	for _, p := range d.Projects() {
		s := &schedule{d: d, p: p}
		if err := s.pass(ctx); err != nil {
			errs = append(errs, fmt.Errorf("schedule of %s: %w", p.Mirror.Project, err))
		}
		opened, paused = opened+s.opened, append(paused, s.paused...)
	}
	d.showPaused(paused, len(errs) == 0)
	return opened, errors.Join(errs...)
}

// schedule is one look at what is due in a project.
type schedule struct {
	d      *Dispatcher
	p      Watched
	opened int
	paused []string // images
}

// planned is an image as the head of a branch defines it.
type planned struct {
	head lineage.Head
	img  ImageChange
}

func (p planned) scheduled() bool {
	return p.img.Definition.Rebuild > 0 || p.img.Definition.FollowParent
}

// pass looks at every image once. What goes wrong with one holds up no other.
func (s *schedule) pass(ctx context.Context) error {
	heads, err := s.heads(ctx)
	if err != nil {
		return err
	}
	var errs []error
	var order []string // parents before their children
	all := map[string][]planned{}
	for _, head := range heads {
		definitions, err := s.d.definitions(ctx, s.p.Mirror.Project, head.SHA)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, img := range definitions {
			if img.Definition == nil {
				continue
			}
			if all[img.Name] == nil {
				order = append(order, img.Name)
			}
			all[img.Name] = append(all[img.Name], planned{head, img})
		}
	}
	for _, name := range order {
		if err := s.image(ctx, all[name]); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// heads are the branches whose images are rebuilt: those that start builds and
// may release, where they were handled last. Where the configuration names none
// that may release, only the default branch counts: nobody wants every branch
// that was ever pushed to be built for ever.
func (s *schedule) heads(ctx context.Context) ([]lineage.Head, error) {
	all, err := s.d.Store.Heads(ctx, s.p.Mirror.Project)
	if err != nil {
		return nil, err
	}
	standard := ""
	if len(s.p.Policy.ReleaseRefs) == 0 {
		if standard, err = s.d.defaultBranch(ctx, s.p); err != nil {
			return nil, err
		}
	}
	starts := definition.Policy{ReleaseRefs: s.p.Rules.Refs}
	return slices.DeleteFunc(all, func(h lineage.Head) bool {
		return !strings.HasPrefix(h.Ref, "refs/heads/") || none(h.SHA) || !starts.MayRelease(h.Ref) ||
			!s.p.Policy.MayRelease(h.Ref) || len(s.p.Policy.ReleaseRefs) == 0 && h.Ref != standard
	}), nil
}

// image opens a run of an image that is due.
func (s *schedule) image(ctx context.Context, choices []planned) error {
	if !slices.ContainsFunc(choices, planned.scheduled) {
		return nil
	}
	newest, err := s.d.newestGood(ctx, choices[0].img.Name)
	if err != nil || newest == nil { // the first image comes from a push
		return err
	}
	if newest.Project != "" && newest.Project != s.p.Mirror.Project {
		return nil // the name is another project's, and so is its schedule
	}
	c := branchOf(newest, choices)
	why, err := s.d.overdue(ctx, c.img.Definition, newest)
	if err != nil || why.text == "" {
		return err
	}
	if waits, err := s.d.waitsForRuns(ctx, c.img.Definition); err != nil || waits {
		return err
	}
	t, err := s.d.tried(ctx, s.p.Mirror.Project, c.head.Ref, c.img.Name)
	if err != nil {
		return err
	}
	return s.unlessTried(ctx, c, newest, why, t)
}

// branchOf: several branches may define an image. It belongs to the one that its
// newest was built from.
func branchOf(newest *lineage.Image, choices []planned) planned {
	if newest.Artifact != nil {
		for _, c := range choices {
			if strings.TrimPrefix(c.head.Ref, "refs/heads/") == newest.Artifact.Ref {
				return c
			}
		}
	}
	return choices[0]
}

// unlessTried opens a run of an image that is due, unless it was tried in vain a
// short while ago, or three times. The third is told by a run that is rejected:
// that is seen wherever runs are.
func (s *schedule) unlessTried(ctx context.Context, c planned, newest *lineage.Image, why reason, t tries) error {
	if t.failed >= failuresInRow {
		s.paused = append(s.paused, c.img.Name)
	}
	refused := s.p.refuses(c.img) // the rules may have changed since the push
	switch {
	case t.failed > failuresInRow:
		return nil
	case t.failed == failuresInRow:
		return s.open(ctx, c, lineage.RunRejected, t.pauses())
	case why.old && t.made.ImageUUID == newest.UUID && s.d.now().Sub(t.made.FinishedAt) < c.img.Definition.Rebuild:
		return nil // the clock of the machine that built it is wrong
	case (t.failed > 0 || t.last.OpenedAt.After(why.since)) && s.d.now().Before(t.again()):
		return nil
	case refused != "":
		return s.open(ctx, c, lineage.RunRejected, refused)
	}
	return s.open(ctx, c, lineage.RunReceived, why.text)
}

func (s *schedule) open(ctx context.Context, c planned, state, why string) error {
	run, err := s.d.Store.OpenRun(ctx, lineage.Run{
		Image: c.img.Name, Project: s.p.Mirror.Project, Ref: c.head.Ref, Commit: c.head.SHA,
		Folder: c.img.Folder, From: fromBuild, State: state,
	}, lineage.ChannelDaemon, lineage.ChannelSchedule, cut(why, maxReason))
	if err != nil {
		return err
	}
	s.opened++
	if state == lineage.RunRejected {
		s.d.Log.Warn("a scheduled rebuild is not started", "image", c.img.Name, "run", run.ID, "reason", why)
	} else {
		s.d.Log.Info("a scheduled rebuild", "image", c.img.Name, "run", run.ID, "reason", why)
	}
	return nil
}

// showPaused keeps the images that are not rebuilt by themselves any more where
// Stats shows them. After a look that could not see all, those of before stay.
func (d *Dispatcher) showPaused(paused []string, all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !all {
		paused = append(paused, d.stats.Paused...)
	}
	slices.Sort(paused)
	d.stats.Paused = slices.Compact(paused)
}

func (d *Dispatcher) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

// loadedCache keeps the definitions of the commits that were looked at last, and
// the default branches of projects.
type loadedCache struct {
	mu       sync.Mutex
	seen     map[string][]ImageChange
	standard map[string]string
}

const mostLoaded = 256

// definitions loads what a commit of a project defines.
func (d *Dispatcher) definitions(ctx context.Context, project, commit string) ([]ImageChange, error) {
	p, ok := d.project(project)
	if !ok || commit == "" {
		return nil, nil
	}
	key := project + "@" + commit
	d.loaded.mu.Lock()
	defer d.loaded.mu.Unlock()
	if list, ok := d.loaded.seen[key]; ok {
		return list, nil
	}
	list, err := p.Mirror.Definitions(ctx, commit)
	if err != nil {
		return nil, err
	}
	if d.loaded.seen == nil || len(d.loaded.seen) >= mostLoaded {
		d.loaded.seen = map[string][]ImageChange{}
	}
	d.loaded.seen[key] = list
	return list, nil
}

const choreStandard = "default branch of "

// defaultBranch asks GitLab now and then for the ref of a project's default branch.
func (d *Dispatcher) defaultBranch(ctx context.Context, p Watched) (string, error) {
	d.loaded.mu.Lock()
	defer d.loaded.mu.Unlock()
	known, ok := d.loaded.standard[p.Mirror.Project]
	if ok && !d.due(choreStandard+p.Mirror.Project, d.HeadsEvery) {
		return known, nil
	}
	ref, err := p.Mirror.standard(ctx)
	if err != nil {
		d.soon(choreStandard + p.Mirror.Project)
		return "", err
	}
	if d.loaded.standard == nil {
		d.loaded.standard = map[string]string{}
	}
	d.loaded.standard[p.Mirror.Project] = ref
	return ref, nil
}
