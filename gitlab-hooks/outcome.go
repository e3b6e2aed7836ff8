package hooks

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// building follows a build to its end.
func (p *pass) building(r lineage.ClaimedRun) lineage.RunStep {
	if r.Build == 0 { // the build wrote first, and named itself only in its tag
		if err := p.view.up(); err != nil {
			return waits(r, err.Error(), retryIn(r.Tries, err))
		}
		if !p.view.mayLook() {
			return later(r)
		}
		return p.perhapsLost(r) // whatever jenkins says now, it was started
	}
	b, err := p.build(r)
	return p.follow(r, b, err)
}

// follow goes by what was read of the run's build.
func (p *pass) follow(r lineage.ClaimedRun, b jenkins.Build, err error) lineage.RunStep {
	switch {
	case errors.Is(err, errLater):
		return later(r)
	case errors.Is(err, jenkins.ErrNotFound):
		return p.deleted(r, err)
	case err != nil:
		return waits(r, err.Error(), retryIn(r.Tries+1, err))
	}
	p.d.seen(r.ID)
	if why := foreign(r.Run, b); why != "" {
		return to(r, lineage.RunLost, why)
	}
	if b.Building {
		return waits(r, fmt.Sprintf("build %d of %s", b.Number, r.JenkinsJob), again(ago(r.StartedAt))/2)
	}
	return p.end(r, b)
}

var errLater = errors.New("jenkins is asked about other runs first")

// build reads the run's build, from the listing of its job where it is there.
func (p *pass) build(r lineage.ClaimedRun) (jenkins.Build, error) {
	builds, err := p.view.newest(p.ctx, r.JenkinsJob)
	if err != nil {
		return jenkins.Build{}, err
	}
	for _, b := range builds {
		if b.Number == r.Build {
			return b, nil
		}
	}
	if !p.view.mayLook() {
		return jenkins.Build{}, errLater
	}
	b, err := p.d.Jenkins.Build(p.ctx, r.JenkinsJob, r.Build)
	return b, p.view.heard(err)
}

// deleted is a build that is not there any more: what it recorded itself tells
// how it ended, if it did.
func (p *pass) deleted(r lineage.ClaimedRun, cause error) lineage.RunStep {
	if !p.d.lost(r.ID) {
		return waits(r, cause.Error(), p.d.LostAfter/4)
	}
	now, err := p.d.Store.Run(p.ctx, r.ID)
	if err != nil {
		return waits(r, err.Error(), retryIn(0, err))
	}
	gone := fmt.Sprintf("build %d of %s was deleted before its end was seen", r.Build, r.JenkinsJob)
	if now.ExitCode == nil {
		return to(r, lineage.RunLost, gone)
	}
	return to(r, recordedState(now), gone+"; aibuild had recorded exit status "+fmt.Sprint(*now.ExitCode))
}

// recordedState is how a run ended by what its build recorded.
func recordedState(r lineage.Run) string {
	switch {
	case r.ExitCode == nil || *r.ExitCode == 0:
		return lineage.RunSuccess
	case *r.ExitCode == 3 && r.Stage == "test":
		return lineage.RunUnstable
	}
	return lineage.RunFailure
}

// end gives a run its final state.
func (p *pass) end(r lineage.ClaimedRun, b jenkins.Build) lineage.RunStep {
	// The claim is older than the build's own last words.
	now, err := p.d.Store.Run(p.ctx, r.ID)
	if err != nil {
		return waits(r, err.Error(), retryIn(0, err))
	}
	if silent(now, b) && r.CancelBy == "" && !p.d.reportIsLate(r.ID) {
		return waits(r, fmt.Sprintf("jenkins says %s; waits for what aibuild reports of it", b.Result), retryIn(2, nil))
	}
	state, reason := judge(now, b)
	step := to(r, state, reason)
	step.Run.BuildURL, step.Run.FinishedAt = b.URL, b.StartedAt.Add(b.Duration)
	if b.StartedAt.IsZero() {
		step.Run.FinishedAt = b.StartedAt
	}
	tail, wait, err := p.console(now, b.Number)
	if wait > 0 {
		return waits(r, "its build has ended, and its console is to be read: "+err.Error(), wait)
	}
	p.d.reported(r.ID)
	if state == lineage.RunFailure && now.Failure == nil && (now.ExitCode == nil || b.Result != "SUCCESS") {
		step.Run.Failure = unreported(r, b, tail)
	}
	return step
}

// judge makes one truth of what Jenkins says and what the build recorded: of two
// ends, the worse one.
func judge(r lineage.Run, b jenkins.Build) (state, reason string) {
	said := fmt.Sprintf("build %d of %s: %s", b.Number, r.JenkinsJob, b.Result)
	if b.AbortedBy != "" {
		said += " (" + b.AbortedBy + ")"
	}
	if r.Failure != nil {
		reason = failureReason(*r.Failure)
	}
	switch b.Result {
	case "SUCCESS":
		if silent(r, b) {
			return lineage.RunFailure, silentReason
		}
		if state = recordedState(r); state != lineage.RunSuccess {
			return state, reasonOr(reason, said+", though aibuild ended with exit status "+fmt.Sprint(*r.ExitCode))
		}
		return state, said
	case "UNSTABLE":
		return lineage.RunUnstable, reasonOr(reason, said)
	case "ABORTED":
		if r.CancelBy != "" {
			return lineage.RunCancelled, cancelReason(r)
		}
		return lineage.RunAborted, said
	case "NOT_BUILT":
		return lineage.RunNotBuilt, said
	case "FAILURE":
		return lineage.RunFailure, reasonOr(reason, said)
	}
	return lineage.RunFailure, reasonOr(reason, said+", a result that is not known")
}

func reasonOr(reason, other string) string {
	if reason == "" {
		return other
	}
	return reason
}

// failureReason is a failure in one line, as the commit status shows it.
func failureReason(f lineage.Failure) string {
	return strings.TrimPrefix(f.Stage+": ", ": ") + f.Sentence
}

const silentReason = "jenkins says SUCCESS, but aibuild reported nothing from the build: " +
	"does the job run aibuild, with AIBUILD_SERVER or AIBUILD_DSN set?"

// silent: Jenkins is content with a build, from which aibuild reported neither its end nor an image. Who pushed must
// not take that for an image.
func silent(r lineage.Run, b jenkins.Build) bool {
	return b.Result == "SUCCESS" && r.ExitCode == nil && r.ImageUUID == ""
}

// reportIsLate says whether the report of a build that has ended was waited for long enough: what aibuild could not
// tell at once waits in a journal on the agent.
func (d *Dispatcher) reportIsLate(run string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since, known := d.silent[run]
	if !known {
		d.silent[run] = time.Now()
		return d.reportFor < 0
	}
	return time.Since(since) > d.reportFor
}

func (d *Dispatcher) reported(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.silent, run)
}

// unreported is the failure of a build that said nothing to aibuild.
func unreported(r lineage.ClaimedRun, b jenkins.Build, tail []string) *lineage.Failure {
	sentence := fmt.Sprintf("build %d of %s ended as %s, and aibuild reported nothing from it", b.Number, r.JenkinsJob, b.Result)
	if b.Result == "SUCCESS" {
		sentence = silentReason
	}
	return &lineage.Failure{
		Stage: "jenkins", Blame: lineage.BlameInfrastructure, Sentence: sentence,
		Lines: tail, Evidence: []string{b.URL + "console"}, Next: "aibuild runs log " + r.ID,
	}
}

func cancelReason(r lineage.Run) string {
	return strings.TrimSuffix(fmt.Sprintf("cancelled by %s: %s", r.CancelBy, r.CancelReason), ": ")
}

// cancel ends a run, or what Jenkins has of it.
func (p *pass) cancel(r lineage.ClaimedRun) lineage.RunStep {
	switch r.State {
	case lineage.RunReceived, lineage.RunQueued:
		return to(r, lineage.RunCancelled, cancelReason(r.Run))
	case lineage.RunTriggering:
		return p.cancelTriggering(r)
	case lineage.RunJenkinsQueue:
		return p.cancelQueued(r)
	}
	return p.stop(r)
}

func (p *pass) cancelTriggering(r lineage.ClaimedRun) lineage.RunStep {
	if err := p.view.up(); err != nil {
		return waits(r, "to be cancelled: "+err.Error(), retryIn(r.Tries, err))
	}
	if !p.view.mayLook() {
		return later(r)
	}
	found, err := p.d.Jenkins.FindByRunID(p.ctx, r.JenkinsJob, r.ID)
	switch {
	case unheard(err) && !p.d.lost(r.ID): // a request may still be on its way
		return waits(r, "to be cancelled, if jenkins has it", p.d.LostAfter/4)
	case unheard(err), errors.Is(err, jenkins.ErrNotFound):
		return to(r, lineage.RunCancelled, cancelReason(r.Run))
	case err != nil:
		return waits(r, "to be cancelled: "+p.view.heard(err).Error(), retryIn(r.Tries, err))
	}
	return p.adopt(r, found)
}

// cancelQueued takes an item out of the queue, and looks what became of it.
func (p *pass) cancelQueued(r lineage.ClaimedRun) lineage.RunStep {
	if err := p.view.up(); err != nil {
		return waits(r, "to be cancelled: "+err.Error(), retryIn(r.Tries, err))
	}
	err := p.d.Jenkins.Cancel(p.ctx, r.QueueID)
	if err != nil && !errors.Is(err, jenkins.ErrNotFound) {
		return waits(r, "to be cancelled: "+p.view.heard(err).Error(), retryIn(r.Tries, err))
	}
	step := p.leftQueue(r)
	if step.Run.State == lineage.RunCancelled || step.Run.State == lineage.RunLost {
		return to(r, lineage.RunCancelled, cancelReason(r.Run))
	}
	return step
}

// stop aborts a build that was just seen to be the run's; its end is seen like
// any other.
func (p *pass) stop(r lineage.ClaimedRun) lineage.RunStep {
	if r.Build == 0 {
		return p.building(r)
	}
	b, err := p.build(r)
	step := p.follow(r, b, err)
	if err != nil || step.Run.State != "" || !b.Building {
		return step
	}
	if err := p.d.Jenkins.Stop(p.ctx, r.JenkinsJob, r.Build); err != nil && !errors.Is(err, jenkins.ErrNotFound) {
		return waits(r, "to be cancelled: "+p.view.heard(err).Error(), retryIn(r.Tries, err))
	}
	return waits(r, "jenkins was asked to stop the build", retryIn(1, nil))
}
