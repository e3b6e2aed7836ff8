package hooks

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Events of our own.
const (
	eventHead  = "head"  // a head that moved without a hook that we got
	eventFirst = "first" // a head that was there when the project was first looked at
)

// Reasons that are told in more than one place.
const (
	notConfigured = "the project is not configured (gitlab.projects)"
	tagNotBuilt   = "this tag is not built (gitlab.projects.tags)"
)

const (
	eventsAtOnce = 4
	eventLease   = 15 * time.Minute // longer than fetching a large repository
)

// passEvents decides what becomes of the events that are due.
func (d *Dispatcher) passEvents(ctx context.Context) (handled int, err error) {
	events, err := d.Store.ClaimEvents(ctx, d.Owner, 32, eventLease)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	milestone("after claim of events")
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(eventsAtOnce)
	errs := make([]error, len(events))
	for i, e := range events {
		group.Go(func() error {
			errs[i] = d.handle(gctx, e)
			return nil // one event that fails holds up no other
		})
	}
	_ = group.Wait() // none of them returns an error
	return len(events), errors.Join(errs...)
}

// handle decides on one event and stores the decision; what cannot be decided
// now is tried again.
func (d *Dispatcher) handle(ctx context.Context, e lineage.HookEvent) error {
	h, err := d.decide(ctx, e)
	if err == nil {
		milestone("before event " + h.State)
		_, err = d.Store.HandleEvent(ctx, h)
		milestone("after event " + h.State)
		if err == nil {
			d.Log.Info("event", "event", e.ID, "project", e.Project, "ref", e.Ref, "after", short(e.After), "state", h.State, "runs", len(h.Runs), "reason", h.Reason)
		}
	}
	var conflict *lineage.Conflict
	switch {
	case err == nil, errors.Is(err, lineage.ErrFenced), ctx.Err() != nil: // another has it, or its lease ends
		return nil
	case errors.As(err, &conflict):
		return d.Store.DeferEvent(ctx, e.ID, e.Fence, cut(err.Error(), maxReason), 0)
	}
	wait := retryIn(e.Tries, err)
	var failed *Error
	if errors.As(err, &failed) && failed.RetryAfter > 0 {
		wait = min(failed.RetryAfter, 5*time.Minute)
	}
	milestone("before defer")
	deferred := d.Store.DeferEvent(ctx, e.ID, e.Fence, cut(err.Error(), maxReason), wait)
	milestone("after defer")
	return errors.Join(fmt.Errorf("event %d (%s of %s): %w", e.ID, e.Ref, e.Project, err), deferred)
}

// decide says what an event means. Nothing is taken from its payload but where
// to look.
func (d *Dispatcher) decide(ctx context.Context, e lineage.HookEvent) (lineage.Handled, error) {
	ignored := func(reason string) (lineage.Handled, error) {
		return lineage.Handled{Event: e.ID, Fence: e.Fence, State: lineage.EventIgnored, Reason: reason}, nil
	}
	head, err := d.Store.Head(ctx, e.Project, e.Ref)
	if err != nil {
		return lineage.Handled{}, err
	}
	if head.Seq > 0 && head.SHA == e.After {
		return ignored("already handled: the ref is at " + short(e.After))
	}
	if e.Event == eventFirst { // also where the project is not configured any more: it may be again
		return lineage.Handled{Event: e.ID, Fence: e.Fence, State: lineage.EventHandled, MoveHead: head.Seq == 0,
			PrevSeq: head.Seq, Reason: "was there before the project was watched: nothing is built"}, nil
	}
	p, known := d.project(e.Project)
	if !known {
		return ignored(notConfigured)
	}
	if tag, ok := strings.CutPrefix(e.Ref, "refs/tags/"); ok && len(p.Tags) > 0 && !matches(p.Tags, tag) {
		return ignored(tagNotBuilt)
	}
	if head.Seq > 0 && e.Before != head.SHA {
		if late, err := d.late(ctx, p, e, head); err != nil {
			return lineage.Handled{}, err
		} else if late != "" {
			return ignored(late)
		}
	}
	old := head.SHA
	if head.Seq == 0 {
		old = e.Before
	}
	change, err := p.Mirror.Changed(ctx, Push{Ref: e.Ref, Old: old, New: e.After}, p.Rules)
	if errors.Is(err, ErrGone) {
		return ignored("the commit was pushed away before its turn; what came after it is built")
	}
	if err != nil {
		return lineage.Handled{}, err
	}
	h := lineage.Handled{Event: e.ID, Fence: e.Fence, State: lineage.EventHandled, MoveHead: true, PrevSeq: head.Seq, Reason: change.Summary()}
	h.Runs, err = d.runs(ctx, p, change)
	return h, err
}

// late looks at an event that does not continue where the last one ended: an
// event before it was lost, or it comes after its time, as a head does that was
// read before a push and stored after its hook. GitLab tells where the ref is
// now; if that is elsewhere, the way there becomes an event of its own, which
// continues where the head is.
func (d *Dispatcher) late(ctx context.Context, p Watched, e lineage.HookEvent, head lineage.Head) (string, error) {
	heads, err := p.Mirror.Heads(ctx)
	if err != nil {
		return "", err
	}
	now := strings.Repeat("0", len(e.After))
	for _, h := range heads {
		if h.Ref == e.Ref {
			now = h.ID
		}
	}
	switch now {
	case e.After:
		return "", nil
	case head.SHA:
		return fmt.Sprintf("came late: the ref has moved on to %s, which is handled", short(now)), nil
	}
	if err := d.moved(ctx, p, head, e.Ref, now); err != nil {
		return "", err
	}
	return fmt.Sprintf("came late: the ref has moved on to %s, which is an event of its own", short(now)), nil
}

// moved makes an event of a head that is not where it was handled last.
func (d *Dispatcher) moved(ctx context.Context, p Watched, head lineage.Head, ref, now string) error {
	before := head.SHA
	if head.Seq == 0 {
		before = strings.Repeat("0", len(now))
	}
	return d.stored(ctx, lineage.HookEvent{
		Instance: instance(p), Key: fmt.Sprintf("head/%s/%d/%s", refName(p, ref), head.Seq, now),
		Event: eventHead, Project: p.Mirror.Project, Ref: ref, Before: before, After: now, Actor: lineage.ChannelDaemon, State: lineage.EventPending,
	})
}

// stored takes a head in. One that was ignored did not move the ref, and is found
// again: that is another event, as the project may not have been configured then,
// or the commit was away. For its tag there would be one at every look.
func (d *Dispatcher) stored(ctx context.Context, e lineage.HookEvent) error {
	for key := e.Key; ; {
		milestone("before head")
		accepted, err := d.Store.AcceptEvents(ctx, []lineage.HookEvent{e})
		milestone("after head")
		if err != nil || !accepted[0].Duplicate {
			return err
		}
		was, err := d.Store.Delivered(ctx, e.Instance, e.Key)
		if err != nil || was.State != lineage.EventIgnored || was.Reason == tagNotBuilt {
			return err
		}
		e.Key = fmt.Sprintf("%s/%d", key, was.ID)
	}
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	})
}

// runs makes one run of every image that a change starts.
func (d *Dispatcher) runs(ctx context.Context, p Watched, c Change) ([]lineage.Run, error) {
	var runs []lineage.Run
	for _, img := range c.Images {
		r := lineage.Run{
			Image: img.Name, Commit: c.Commit, Folder: img.Folder, From: img.From, Channel: lineage.ChannelHook,
			State: lineage.RunReceived, Reason: cut(img.Reason, maxReason),
		}
		if why := p.refuses(img); why != "" {
			r.State, r.Reason = lineage.RunRejected, cut(why, maxReason)
		} else if err := d.sure(ctx, c.Ref, img, &r); err != nil {
			return nil, err
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// refuses says why an image may not be built at all.
func (p Watched) refuses(img ImageChange) string {
	if img.Problem != "" || img.Definition == nil {
		return img.Problem
	}
	policy := p.Policy
	policy.Project = p.Mirror.Project
	if err := policy.CheckSettings(img.Definition); err != nil {
		return err.Error()
	}
	return ""
}

// sure lets a run begin late only where there is a good image to go on from that
// was built from the same ref and settings: an earlier push's build may have
// failed, and what another branch has built may not be released.
func (d *Dispatcher) sure(ctx context.Context, ref string, img ImageChange, r *lineage.Run) error {
	if r.From == fromBuild {
		return nil
	}
	found, err := d.Store.Resolve(ctx, lineage.Query{Name: img.Name, Good: true})
	if errors.Is(err, lineage.ErrNotFound) || err == nil && (len(found) == 0 || found[0].Artifact == nil) {
		r.From, r.Reason = fromBuild, r.Reason+"; there is no good image yet"
		return nil
	}
	if err != nil {
		return err
	}
	a, is := found[0].Artifact, img.Definition.Digests
	if branch := strings.TrimPrefix(ref, "refs/heads/"); strings.TrimPrefix(a.Ref, "refs/heads/") != branch {
		r.From = fromBuild
		r.Reason += fmt.Sprintf("; %s was built from %s, not from %s", found[0].Ref(), orElse(a.Ref, "no branch"), branch)
		return nil
	}
	was := is
	was.Build, was.Test, was.Release = a.BuildDigest, a.TestDigest, a.ReleaseDigest
	if from := FirstStage(was, is); from != "" && from != r.From {
		r.From, r.Reason = from, fmt.Sprintf("%s; %s differs in more than this push", r.Reason, found[0].Ref())
	}
	return nil
}
