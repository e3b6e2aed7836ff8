package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	// failuresInRow pause the scheduled rebuilds of an image.
	failuresInRow = 3
	// runsOfImage is how many of an image's last runs are looked at.
	runsOfImage = 50
	// runsFor is how long a run that is not the daemon's may be under way: its
	// process may have died where nobody sees it.
	runsFor = 24 * time.Hour
)

// reason is why an image has to be built again though nothing was pushed.
type reason struct {
	text  string // empty: it has not
	since time.Time
	old   bool // it is its age
}

func (d *Dispatcher) overdue(ctx context.Context, def *definition.Definition, newest *lineage.Image) (reason, error) {
	if def.FollowParent {
		parent, err := d.newerParent(ctx, def, newest)
		if err != nil {
			return reason{}, err
		}
		if parent != nil {
			text := fmt.Sprintf("its parent %s is newer than the one that %s was made from (follow_parent)", parent.Ref(), newest.Ref())
			return reason{text: text, since: parent.BuiltAt}, nil
		}
	}
	if age := d.now().Sub(newest.BuiltAt); def.Rebuild > 0 && age > def.Rebuild {
		text := fmt.Sprintf("%s is older than %s (rebuild)", newest.Ref(), days(def.Rebuild))
		return reason{text: text, since: newest.BuiltAt, old: true}, nil
	}
	return reason{}, nil
}

func days(long time.Duration) string {
	if long%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", long/(24*time.Hour))
	}
	return long.String()
}

// newerParent finds the image that a child has to follow: the newest good one of
// its parent's name, where that came after the one that the child was made from.
// Their numbers tell: the times are of machines whose clocks may differ, and a
// child may have been built while its new parent was still being tested. A
// parent that was withdrawn makes nobody go back to the one before it.
func (d *Dispatcher) newerParent(ctx context.Context, def *definition.Definition, newest *lineage.Image) (*lineage.Image, error) {
	if newest.Artifact == nil || def.From.Image == "" || strings.Contains(def.From.Image, "@") {
		return nil, nil
	}
	parent, err := d.newestGood(ctx, def.From.Image)
	if err != nil || parent == nil || parent.UUID == newest.Artifact.ParentUUID {
		return nil, err
	}
	was, err := d.byUUID(ctx, newest.Artifact.ParentUUID)
	if err != nil {
		return nil, err
	}
	newer := parent.BuiltAt.After(newest.BuiltAt)
	if was != nil && was.Name == parent.Name && was.Number > 0 && parent.Number > 0 {
		newer = parent.Number > was.Number
	}
	if !newer {
		return nil, nil
	}
	return parent, nil
}

func (d *Dispatcher) byUUID(ctx context.Context, uuid string) (*lineage.Image, error) {
	if uuid == "" {
		return nil, nil
	}
	return d.resolved(ctx, lineage.Query{Ref: uuid})
}

func (d *Dispatcher) newestGood(ctx context.Context, name string) (*lineage.Image, error) {
	return d.resolved(ctx, lineage.Query{Name: name, Good: true})
}

func (d *Dispatcher) resolved(ctx context.Context, q lineage.Query) (*lineage.Image, error) {
	found, err := d.Store.Resolve(ctx, q)
	switch {
	case errors.Is(err, lineage.ErrNotFound), err == nil && len(found) == 0:
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &found[0], nil
}

// waitsForRuns: an image has one run at a time, and one of its parent comes first.
func (d *Dispatcher) waitsForRuns(ctx context.Context, def *definition.Definition) (bool, error) {
	for _, name := range []string{def.Name, def.From.Image} {
		if name == "" || strings.Contains(name, "@") {
			continue
		}
		open, err := d.Store.ActiveRuns(ctx, "", "", name)
		if err != nil {
			return false, err
		}
		for _, r := range open {
			if r.Managed || d.now().Sub(r.OpenedAt) < runsFor {
				return true, nil
			}
		}
	}
	return false, nil
}

// tries is how the last runs of an image on a branch went.
type tries struct {
	image  string
	failed int         // scheduled ones in a row, the newest among them
	last   lineage.Run // the newest, unless it made an image
	made   lineage.Run // the newest that made one
}

// tried looks at the runs of an image since somebody pushed, started one, or one
// made an image.
func (d *Dispatcher) tried(ctx context.Context, project, ref, image string) (tries, error) {
	t := tries{image: image}
	runs, _, err := d.Store.Runs(ctx, lineage.RunFilter{Image: image, Project: project, Limit: runsOfImage})
	if err != nil {
		return t, err
	}
	for _, r := range runs {
		if strings.TrimPrefix(r.Ref, "refs/heads/") != strings.TrimPrefix(ref, "refs/heads/") {
			continue
		}
		if r.State == lineage.RunSuccess && r.ImageUUID != "" {
			t.made = r
			break
		}
		if t.last.ID == "" {
			t.last = r
		}
		// Jenkins may call a build a success that has made no image.
		if r.Channel != lineage.ChannelSchedule {
			break
		}
		t.failed++
	}
	return t, nil
}

// again is when it may be tried once more after a failure: an hour after the
// first, two after the second. What was down may be up by then.
func (t tries) again() time.Time {
	if t.last.ID == "" {
		return time.Time{}
	}
	return t.last.FinishedAt.Add(time.Duration(max(t.failed, 1)) * time.Hour)
}

// pauses tells everybody who looks at runs or at the commit what is not done any more.
func (t tries) pauses() string {
	return fmt.Sprintf("scheduled rebuilds are paused after %d failures in a row, at last run %s (%s: %s); "+
		"mend it and push, or aibuild runs start %s", failuresInRow, t.last.ID, t.last.State, t.last.Reason, t.image)
}
