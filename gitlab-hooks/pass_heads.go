package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const choreHeads = "heads of "

// passHeads looks for pushes whose hook never came: GitLab drops hooks of large
// pushes, and while a hook is disabled.
func (d *Dispatcher) passHeads(ctx context.Context) (found int, err error) {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(eventsAtOnce)
	projects := d.Projects()
	counts, errs := make([]int, len(projects)), make([]error, len(projects))
	for i, p := range projects {
		if !d.due(choreHeads+p.Mirror.Project, d.HeadsEvery) {
			continue
		}
		group.Go(func() error {
			if counts[i], errs[i] = d.compareHeads(gctx, p); errs[i] != nil {
				errs[i] = fmt.Errorf("heads of %s: %w", p.Mirror.Project, errs[i])
			}
			return nil // one project that fails holds up no other
		})
	}
	_ = group.Wait() // none of them returns an error
	for _, n := range counts {
		found += n
	}
	return found, errors.Join(errs...)
}

// compareHeads makes an event of every ref that is not where it was handled.
func (d *Dispatcher) compareHeads(ctx context.Context, p Watched) (found int, err error) {
	handled, err := d.Store.Heads(ctx, p.Mirror.Project)
	if err != nil {
		return 0, err
	}
	now, err := p.Mirror.Heads(ctx)
	if err != nil {
		return 0, err
	}
	known := map[string]lineage.Head{}
	for _, h := range handled {
		known[h.Ref] = h
	}
	first, err := d.firstLook(ctx, p)
	if err != nil {
		return 0, err
	}
	there := map[string]bool{}
	for _, ref := range now {
		there[ref.Ref] = true
		head, seen := known[ref.Ref]
		switch {
		case seen && head.SHA == ref.ID, !validRef(ref.Ref):
			continue
		case first && !seen: // what was there before us is not news
			err = d.baseline(ctx, p, ref)
		default:
			found++
			err = d.moved(ctx, p, head, ref.Ref, ref.ID)
		}
		if err != nil {
			return found, err
		}
	}
	if first {
		if err := d.looked(ctx, p); err != nil {
			return found, err
		}
	}
	for ref, head := range known {
		if !there[ref] && ref != "" && !none(head.SHA) {
			found++
			if err := d.moved(ctx, p, head, ref, strings.Repeat("0", len(head.SHA))); err != nil {
				return found, err
			}
		}
	}
	return found, nil
}

// firstLook says whether the project was never looked at to the end. What a hook
// has told of it before is no look: it tells nothing of the other refs.
func (d *Dispatcher) firstLook(ctx context.Context, p Watched) (bool, error) {
	_, err := d.Store.Delivered(ctx, instance(p), watchedKey(p))
	if errors.Is(err, lineage.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// looked ends the first look: a ref that appears from now on is news. A look that
// was broken off before is done again, and finds what it has stored.
func (d *Dispatcher) looked(ctx context.Context, p Watched) error {
	_, err := d.Store.AcceptEvents(ctx, []lineage.HookEvent{{
		Instance: instance(p), Key: watchedKey(p), Event: eventHead, Project: p.Mirror.Project,
		Actor: lineage.ChannelDaemon, State: lineage.EventHandled, Reason: "the project is watched from now on",
	}})
	return err
}

func watchedKey(p Watched) string { return "watched/" + p.Mirror.Project }

// instance is the GitLab of a project, as in the inbox.
func instance(p Watched) string { return strings.TrimRight(p.Mirror.URL, "/") }

// baseline makes an event of a ref that was there before us: it builds nothing.
func (d *Dispatcher) baseline(ctx context.Context, p Watched, ref RemoteRef) error {
	waiting, _, err := d.Store.HookEvents(ctx, lineage.HookFilter{Project: p.Mirror.Project, Ref: ref.Ref, Limit: 1})
	if err != nil || len(waiting) > 0 { // a hook came first: that is news
		return err
	}
	_, err = d.Store.AcceptEvents(ctx, []lineage.HookEvent{{
		Instance: instance(p), Key: "first/" + refName(p, ref.Ref),
		Event: eventFirst, Project: p.Mirror.Project, Ref: ref.Ref, Before: strings.Repeat("0", len(ref.ID)), After: ref.ID,
		Actor: lineage.ChannelDaemon, State: lineage.EventPending,
	}})
	return err
}

// refName stands for a project's ref in keys.
func refName(p Watched, ref string) string {
	return strings.TrimPrefix(seen(p.Mirror.Project+"\x00"+ref), "refs/seen/")
}
