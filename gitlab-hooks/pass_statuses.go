package hooks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const statusesAtOnce = 4

// passStatuses tells GitLab of the states that it has not been told of.
func (d *Dispatcher) passStatuses(ctx context.Context) (told int, err error) {
	if d.GitLab == nil || d.rests() {
		return 0, nil
	}
	due, err := d.Store.StatusesDue(ctx, 100)
	if err != nil || len(due) == 0 {
		return 0, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(statusesAtOnce)
	sent, errs := make([]bool, len(due)), make([]error, len(due))
	for i, s := range due {
		group.Go(func() error {
			if d.rests() {
				return nil
			}
			sent[i], errs[i] = d.tell(gctx, s)
			return nil // one that fails holds up no other
		})
	}
	_ = group.Wait() // none of them returns an error
	for _, ok := range sent {
		if ok {
			told++
		}
	}
	d.count(func(s *DispatchStats) { s.Statuses += int64(told) })
	return told, errors.Join(errs...)
}

// A project that is not found may be one that the token's user was put out of, by mistake: it is asked for again.
const (
	missingEvery = time.Hour
	missingFor   = 72 * time.Hour
)

// tell sends one status. What GitLab refuses for good is noted and not sent
// again; everything else is tried again until GitLab takes it, but for a project
// or a commit that is not found for days.
func (d *Dispatcher) tell(ctx context.Context, s lineage.StatusDue) (bool, error) {
	r := s.Run
	status := StatusOf(r, d.statusURL(r))
	if status.State == s.Sent { // pending after pending is no transition
		return true, d.Store.StatusSent(ctx, r.ID, r.State, s.Sent)
	}
	milestone("before status " + status.State)
	err := d.set(ctx, status)
	switch {
	case err == nil:
		milestone("before sent " + status.State)
		err = d.Store.StatusSent(ctx, r.ID, r.State, status.State)
		milestone("after sent " + status.State)
		return true, err
	case ctx.Err() != nil:
		return false, nil
	case errors.Is(err, ErrUnavailable):
		d.rest()
	}
	after := retryIn(s.Tries, err)
	var failed *Error
	if errors.As(err, &failed) && failed.RetryAfter > 0 {
		after = failed.RetryAfter
	}
	switch {
	case errors.Is(err, ErrRefused), errors.Is(err, ErrConfig):
		after = 0
	case errors.Is(err, ErrNotFound):
		after = missingAgain(s)
	}
	milestone("before unsent")
	noted := d.Store.StatusFailed(ctx, r.ID, cut(err.Error(), maxReason), after)
	milestone("after unsent")
	return false, errors.Join(fmt.Errorf("status of run %s: %w", r.ID, err), noted)
}

// missingAgain is when to try again what was not found; 0: never. Tries before it may have failed for another reason, so
// that their number alone says nothing.
func missingAgain(s lineage.StatusDue) time.Duration {
	since := s.Run.FinishedAt
	if since.IsZero() {
		since = s.Run.OpenedAt
	}
	if s.Tries >= int(missingFor/missingEvery) && ago(since) > missingFor {
		return 0
	}
	return missingEvery
}

// set tells an end only where GitLab does not show it: an earlier daemon may have
// told it, and not have lived to note that.
func (d *Dispatcher) set(ctx context.Context, s Status) error {
	if statusRank(s.State) == statusRank(statusSuccess) {
		if shown, err := d.GitLab.shows(ctx, s); err != nil || shown {
			return err
		}
	}
	return d.GitLab.SetStatus(ctx, s)
}

// gitlabRest is how long a GitLab that did not answer is not asked: each status
// that waits for it in vain would hold up the builds.
const gitlabRest = 10 * time.Second

func (d *Dispatcher) rest() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resting = time.Now().Add(gitlabRest)
}

func (d *Dispatcher) rests() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return time.Now().Before(d.resting)
}

// statusURL is the page of a run.
func (d *Dispatcher) statusURL(r lineage.Run) string {
	if d.StatusURL == "" {
		return r.BuildURL
	}
	return strings.TrimRight(d.StatusURL, "/") + "/runs/" + r.ID
}
