package hooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	choreSchedule = "schedule"
	scheduleEvery = time.Minute
	// failuresInRow pause the scheduled rebuilds of an image.
	failuresInRow = 3
)

// passSchedule opens runs that nobody pushed for: of images that are older than
// their definition wants, and of children whose parent has a new good image.
func (d *Dispatcher) passSchedule(ctx context.Context) (opened int, err error) {
	if !d.due(choreSchedule, scheduleEvery) {
		return 0, nil
	}
	var errs []error
	for _, p := range d.Projects() {
		n, err := d.scheduleProject(ctx, p)
		opened += n
		if err != nil {
			errs = append(errs, fmt.Errorf("schedule of %s: %w", p.Mirror.Project, err))
		}
	}
	return opened, errors.Join(errs...)
}

// scheduleProject looks at the definitions of the refs that may release, at the
// heads that were handled last.
func (d *Dispatcher) scheduleProject(ctx context.Context, p Watched) (opened int, err error) {
	heads, err := d.Store.Heads(ctx, p.Mirror.Project)
	if err != nil {
		return 0, err
	}
	for _, head := range heads {
		if head.Ref == "" || none(head.SHA) || len(p.Policy.ReleaseRefs) == 0 || !p.Policy.MayRelease(head.Ref) {
			continue
		}
		definitions, err := d.definitions(ctx, p.Mirror.Project, head.SHA)
		if err != nil {
			return opened, err
		}
		for _, img := range definitions {
			if img.Definition == nil {
				continue
			}
			why, err := d.overdue(ctx, img)
			if err != nil {
				return opened, err
			}
			if why == "" {
				continue
			}
			run := lineage.Run{Image: img.Name, Project: p.Mirror.Project, Ref: head.Ref, Commit: head.SHA, Folder: img.Folder, From: fromBuild, State: lineage.RunReceived}
			if _, err := d.Store.OpenRun(ctx, run, lineage.ChannelDaemon, lineage.ChannelSchedule, why); err != nil {
				return opened, err
			}
			opened++
		}
	}
	return opened, nil
}

// overdue says why an image has to be built again though nothing was pushed.
func (d *Dispatcher) overdue(ctx context.Context, img ImageChange) (string, error) {
	def := img.Definition
	if def.Rebuild == 0 && !def.FollowParent {
		return "", nil
	}
	newest, err := d.newestGood(ctx, img.Name)
	if err != nil || newest == nil {
		return "", err // the first image comes from a push
	}
	why := ""
	if def.Rebuild > 0 && time.Since(newest.BuiltAt) > def.Rebuild {
		why = fmt.Sprintf("%s is older than %v (rebuild)", newest.Ref(), def.Rebuild)
	}
	if def.FollowParent && def.From.Image != "" && newest.Artifact != nil {
		parent, err := d.newestGood(ctx, def.From.Image)
		if err != nil {
			return "", err
		}
		if parent != nil && parent.UUID != newest.Artifact.ParentUUID && parent.BuiltAt.After(newest.BuiltAt) {
			why = fmt.Sprintf("its parent %s is newer than %s (follow_parent)", parent.Ref(), newest.Ref())
		}
	}
	if why == "" {
		return "", nil
	}
	return d.unlessTried(ctx, img.Name, newest, why)
}

func (d *Dispatcher) newestGood(ctx context.Context, name string) (*lineage.Image, error) {
	found, err := d.Store.Resolve(ctx, lineage.Query{Name: name, Good: true})
	switch {
	case errors.Is(err, lineage.ErrNotFound), err == nil && len(found) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &found[0], nil
}

// unlessTried keeps a schedule from piling up runs: one at a time, and none
// after three failures in a row, until somebody makes a good image.
func (d *Dispatcher) unlessTried(ctx context.Context, name string, newest *lineage.Image, why string) (string, error) {
	runs, _, err := d.Store.Runs(ctx, lineage.RunFilter{Image: name, Limit: failuresInRow})
	if err != nil {
		return "", err
	}
	failed := 0
	for _, r := range runs {
		switch {
		case !r.Final():
			return "", nil
		case r.OpenedAt.After(newest.BuiltAt) && r.State != lineage.RunSuccess:
			failed++
		}
	}
	d.pause(name, failed >= failuresInRow)
	if failed >= failuresInRow {
		return "", nil
	}
	return why, nil
}

// pause shows that an image is not rebuilt by itself any more.
func (d *Dispatcher) pause(name string, paused bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if paused && !slices.Contains(d.stats.Paused, name) {
		d.stats.Paused = append(slices.Clone(d.stats.Paused), name)
		d.Log.Warn("scheduled rebuilds are paused after three failures in a row: mend the image and push", "image", name)
	}
	if !paused {
		d.stats.Paused = slices.DeleteFunc(slices.Clone(d.stats.Paused), func(n string) bool { return n == name })
	}
}

// loadedCache keeps the definitions of the commits that were looked at last.
type loadedCache struct {
	mu   sync.Mutex
	seen map[string][]ImageChange
}

const mostLoaded = 64

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
