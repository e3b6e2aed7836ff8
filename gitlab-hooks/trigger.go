package hooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// trigger asks Jenkins to start a run's build. That is committed before: whoever
// finds the run triggering knows that Jenkins may have been asked, and whoever
// has lost the run does not ask. The request ends within half of LostAfter, or
// is not made at all, as when this process stood still meanwhile: who takes the
// run over asks again only when Jenkins has not known it for LostAfter.
func (p *pass) trigger(r lineage.ClaimedRun) lineage.RunStep {
	if why := p.orphan(r); why != "" { // jenkins has not known it for a while
		return to(r, lineage.RunRejected, why)
	}
	until := time.Now().Add(p.d.LostAfter / 2)
	step := to(r, lineage.RunTriggering, "asks jenkins to start "+r.JenkinsJob)
	step.Run.JenkinsJob = r.JenkinsJob
	ours, err := p.write(step)
	if err != nil {
		return waits(r, err.Error(), retryIn(0, err))
	}
	milestone("before start")
	if !ours || time.Now().After(until) {
		return waits(r, "another daemon may have it", 0) // and if not, it is looked for in jenkins
	}
	ctx, cancel := context.WithDeadline(p.ctx, until)
	defer cancel()
	p.d.count(func(s *DispatchStats) { s.Triggers++ })
	started, err := p.d.Jenkins.Start(ctx, r.JenkinsJob, map[string]string{
		"AIBUILD_RUN_ID": r.ID, "AIBUILD_PROJECT": p.d.cloneURL(r.Project), "AIBUILD_REF": r.Ref,
		"AIBUILD_COMMIT": r.Commit, "AIBUILD_IMAGE": r.Folder, "AIBUILD_FROM": r.From,
	})
	if err != nil {
		return p.notTriggered(r, p.view.heard(err))
	}
	p.d.refused.over("start " + r.JenkinsJob)
	step = to(r, lineage.RunJenkinsQueue, fmt.Sprintf("item %d of jenkins' queue", started.QueueID))
	step.Run.QueueID = started.QueueID
	return step
}

// notTriggered leaves the run triggering: before Jenkins is asked again, the run
// is looked for there.
func (p *pass) notTriggered(r lineage.ClaimedRun, err error) lineage.RunStep {
	p.d.jobs.forget(r.JenkinsJob)
	if refused(err) {
		p.d.never(r.ID)
	}
	what := "start " + r.JenkinsJob
	switch {
	case !refused(err) || errors.Is(err, jenkins.ErrAuth): // it says nothing of the job
		p.d.refused.away(what)
	case p.hopeless(r, what):
		return to(r, lineage.RunRejected, fmt.Sprintf("jenkins did not take it for %v; at last: %v", p.d.QueueFor, err))
	}
	tries := r.Tries + 1
	step := waits(r, err.Error(), retryIn(r.Tries, err))
	step.SetTries = &tries
	return step
}

// refused: Jenkins has answered, and starts nothing.
func refused(err error) bool {
	reasons := []error{jenkins.ErrAuth, jenkins.ErrForbidden, jenkins.ErrNotFound, jenkins.ErrNotBuildable, jenkins.ErrParameters}
	return slices.ContainsFunc(reasons, func(reason error) bool { return errors.Is(err, reason) })
}

// triggering is a run of which Jenkins may know, or not: a process was killed
// between the request and its answer, or no answer came. The request may still
// be on its way, so Jenkins is asked to start it again only when it has not
// known it for a while.
func (p *pass) triggering(r lineage.ClaimedRun) lineage.RunStep {
	if err := p.view.up(); err != nil {
		p.d.refused.away("start " + r.JenkinsJob)
		return waits(r, err.Error(), retryIn(r.Tries, err))
	}
	if !p.view.mayLook() {
		return later(r)
	}
	found, err := p.d.Jenkins.FindByRunID(p.ctx, r.JenkinsJob, r.ID)
	switch {
	case unheard(err) && !p.d.lost(r.ID):
		return waits(r, "jenkins may have been asked to start it, and does not know it yet: looking again", p.d.LostAfter/4)
	case unheard(err):
		return p.trigger(r)
	case err != nil:
		return p.notTriggered(r, p.view.heard(err))
	}
	return p.adopt(r, found)
}

// unheard: Jenkins has answered, and knows no such run.
func unheard(err error) bool {
	var failed *jenkins.Error
	return errors.Is(err, jenkins.ErrNotFound) && errors.As(err, &failed) && failed.Status == http.StatusOK
}

// adopt takes over what Jenkins has of a run.
func (p *pass) adopt(r lineage.ClaimedRun, found jenkins.Found) lineage.RunStep {
	p.d.seen(r.ID)
	if found.Build != nil {
		return p.begun(r, *found.Build)
	}
	step := to(r, lineage.RunJenkinsQueue, "in jenkins' queue: "+found.Item.Why)
	step.Run.QueueID = found.Item.ID
	return step
}

// begun is a run whose build has a number.
func (p *pass) begun(r lineage.ClaimedRun, b jenkins.Build) lineage.RunStep {
	step := to(r, lineage.RunBuilding, fmt.Sprintf("build %d of %s", b.Number, r.JenkinsJob))
	step.Run.Build, step.Run.BuildURL, step.Run.QueueID = b.Number, b.URL, b.QueueID
	step.Run.StartedAt = b.StartedAt
	return step
}

// inQueue follows an item until it is a build.
func (p *pass) inQueue(r lineage.ClaimedRun) lineage.RunStep {
	items, err := p.view.queue(p.ctx)
	if err != nil {
		return waits(r, err.Error(), retryIn(r.Tries, err))
	}
	for _, item := range items {
		if item.ID == r.QueueID {
			p.d.seen(r.ID)
			return waits(r, queueReason(item), again(ago(r.OpenedAt))/4)
		}
	}
	builds, err := p.view.newest(p.ctx, r.JenkinsJob)
	if err != nil {
		return p.unsure(r, err)
	}
	for _, b := range builds {
		if b.Params["AIBUILD_RUN_ID"] == r.ID || b.QueueID == r.QueueID && r.QueueID != 0 {
			p.d.seen(r.ID)
			return p.begun(r, b)
		}
	}
	return p.leftQueue(r)
}

func queueReason(item jenkins.Item) string {
	why := item.Why
	if why == "" {
		why = "no reason is given"
	}
	if item.Stuck {
		why += " (jenkins calls it stuck)"
	}
	return "in jenkins' queue: " + why
}

// leftQueue asks for the item itself: it left a moment ago, was cancelled, or is
// lost.
func (p *pass) leftQueue(r lineage.ClaimedRun) lineage.RunStep {
	if !p.view.mayLook() {
		return later(r)
	}
	item, err := p.d.Jenkins.Queued(p.ctx, r.QueueID)
	switch {
	case errors.Is(err, jenkins.ErrNotFound):
		return p.perhapsLost(r)
	case err != nil:
		return waits(r, p.view.heard(err).Error(), retryIn(r.Tries, err))
	case item.Cancelled:
		return to(r, lineage.RunCancelled, "somebody took it out of jenkins' queue")
	case item.Build > 0:
		p.d.seen(r.ID)
		return p.begun(r, jenkins.Build{Number: item.Build, URL: item.BuildURL, QueueID: item.ID})
	}
	p.d.seen(r.ID)
	return waits(r, queueReason(item), time.Second)
}

// perhapsLost gives up a run that Jenkins does not know any more, after it has
// been asked twice, some time apart and without a restart in between.
func (p *pass) perhapsLost(r lineage.ClaimedRun) lineage.RunStep {
	found, err := p.d.Jenkins.FindByRunID(p.ctx, r.JenkinsJob, r.ID)
	switch {
	case err == nil:
		return p.adopt(r, found)
	case !unheard(err):
		return p.unsure(r, err)
	case !p.d.lost(r.ID):
		return waits(r, "jenkins does not know it at the moment, as after a restart: looking again", p.d.LostAfter/4)
	}
	return to(r, lineage.RunLost, "jenkins has lost it: it is neither in the queue nor among the builds of "+r.JenkinsJob)
}

// unsure is a run about which Jenkins gives no usable answer.
func (p *pass) unsure(r lineage.ClaimedRun, err error) lineage.RunStep {
	err = p.view.heard(err)
	if errors.Is(err, jenkins.ErrNotFound) && p.d.lost(r.ID) {
		return to(r, lineage.RunLost, fmt.Sprintf("the job %s is gone: %v", r.JenkinsJob, err))
	}
	return waits(r, err.Error(), retryIn(r.Tries+1, err))
}

// seen: Jenkins knows the run.
func (d *Dispatcher) seen(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.missed, run)
}

// never: Jenkins does not know the run, and nothing is on its way.
func (d *Dispatcher) never(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.missed[run] = time.Now().Add(-d.LostAfter)
}

// lost says whether Jenkins has not known the run for long enough.
func (d *Dispatcher) lost(run string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since, known := d.missed[run]
	if !known || d.restart.After(since) {
		d.missed[run] = time.Now()
		return false
	}
	if time.Since(since) < d.LostAfter {
		return false
	}
	delete(d.missed, run)
	return true
}

func (d *Dispatcher) count(what func(*DispatchStats)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what(&d.stats)
}
