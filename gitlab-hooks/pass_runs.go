package hooks

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// pass is one look at all runs that are due.
type pass struct {
	d     *Dispatcher
	ctx   context.Context
	crowd *crowd
	view  view          // of Jenkins
	logs  time.Duration // spent on consoles
}

// passRuns moves every run that is due at most one step.
func (d *Dispatcher) passRuns(ctx context.Context) (moved int, err error) {
	claimed, err := d.Store.ClaimRuns(ctx, d.Owner, maxClaim, claimLease)
	if len(claimed) > 0 {
		milestone("after claim of runs")
	}
	if err != nil || len(claimed) == 0 {
		return 0, err
	}
	active, err := d.Store.OpenRuns(ctx)
	if err != nil {
		return 0, err
	}
	p := &pass{d: d, ctx: ctx, crowd: gather(active)}
	p.view = view{d: d, open: p.crowd.ofJob}
	var waiting []lineage.RunStep
	var errs []error
	for _, r := range claimed {
		if ctx.Err() != nil {
			break
		}
		step := p.step(r)
		if step.Run.State == "" && step.Run.QueueID == 0 && step.Run.Build == 0 && step.SetTries == nil {
			waiting = append(waiting, step)
			continue
		}
		ours, err := p.write(step)
		errs = append(errs, err)
		if ours {
			moved++
		}
	}
	milestone("before touch")
	errs = append(errs, d.Store.TouchRuns(ctx, d.Owner, waiting...))
	milestone("after touch")
	return moved, errors.Join(errs...)
}

// write stores a step, and says whether the run is still ours. That another
// daemon has it meanwhile is no error: it goes on from what is stored.
func (p *pass) write(step lineage.RunStep) (ours bool, err error) {
	milestone("before step " + orElse(step.Run.State, "tries"))
	err = p.d.Store.StepRun(p.ctx, step)
	milestone("after step " + orElse(step.Run.State, "tries"))
	var conflict *lineage.Conflict
	if errors.Is(err, lineage.ErrFenced) || errors.As(err, &conflict) {
		p.d.Log.Info("a run was moved by others", "run", step.RunID, "error", err)
		return false, nil
	}
	if err == nil && step.Run.State != "" {
		p.crowd.moved(lineage.Run{ID: step.RunID, State: step.Run.State, JenkinsJob: step.Run.JenkinsJob})
		if step.Run.State == lineage.RunSuccess {
			p.d.soon(choreSchedule) // children may follow
		}
		p.d.Log.Info("run", "run", step.RunID, "state", step.Run.State, "reason", step.Reason)
	}
	return err == nil, err
}

// step decides what happens to one run now.
func (p *pass) step(r lineage.ClaimedRun) lineage.RunStep {
	if r.CancelBy != "" {
		return p.cancel(r)
	}
	switch r.State {
	case lineage.RunReceived:
		return p.received(r)
	case lineage.RunQueued:
		return p.queued(r)
	case lineage.RunTriggering:
		return p.triggering(r)
	case lineage.RunJenkinsQueue:
		return p.inQueue(r)
	default:
		return p.building(r)
	}
}

// to moves a run.
func to(r lineage.ClaimedRun, state, reason string) lineage.RunStep {
	return lineage.RunStep{RunID: r.ID, Fence: r.Fence, Run: lineage.Run{State: state}, Reason: cut(reason, maxReason)}
}

// waits leaves a run where it is, and says why.
func waits(r lineage.ClaimedRun, reason string, next time.Duration) lineage.RunStep {
	return lineage.RunStep{RunID: r.ID, Fence: r.Fence, Reason: cut(reason, maxReason), NextIn: next}
}

// maxReason is how many bytes of a reason are kept.
const maxReason = 2000

// later leaves a run for one of the next passes.
func later(r lineage.ClaimedRun) lineage.RunStep {
	return waits(r, orElse(r.Reason, "jenkins is asked about other runs first"), time.Second)
}

// wallClock is set by tests whose machine's clock is wrong.
var wallClock = time.Now

// ago is how long ago something was by other clocks than this machine's: nothing
// that is done twice or not at all may depend on it.
func ago(at time.Time) time.Duration { return wallClock().Sub(at) }

// again is when to look at something that did not change: soon at first, then
// once a minute, never all at the same moment.
func again(waited time.Duration) time.Duration {
	next := min(max(waited/10, 2*time.Second), time.Minute)
	return next*3/4 + rand.N(next/2)
}

// retryIn is when to try something that failed for the n-th time.
func retryIn(tries int, err error) time.Duration {
	next := min(2*time.Second<<min(tries, 5), time.Minute)
	var failed *jenkins.Error
	if errors.As(err, &failed) && failed.RetryAfter > 0 {
		next = min(failed.RetryAfter, 5*time.Minute)
	}
	return next*3/4 + rand.N(next/2)
}

// view is Jenkins in one pass: each question is asked once, after the first that
// Jenkins does not answer none is asked, and about single runs only a few.
type view struct {
	d      *Dispatcher
	open   map[string]int // runs that are with Jenkins, by their job
	looks  int            // at single runs
	down   error
	items  []jenkins.Item
	queued bool
	builds map[string][]jenkins.Build
}

var errNoJenkins = errors.New("no jenkins is configured: set JENKINS_URL, JENKINS_USER and JENKINS_TOKEN")

func (v *view) up() error {
	if v.d.Jenkins == nil {
		return errNoJenkins
	}
	return v.down
}

// heard remembers that Jenkins cannot be used now.
func (v *view) heard(err error) error {
	if errors.Is(err, jenkins.ErrUnavailable) || errors.Is(err, jenkins.ErrAuth) || errors.Is(err, jenkins.ErrConfig) {
		v.down = err
	}
	return err
}

// maxLooks is at how many single runs a pass looks: what queue and builds do not
// show is rare, but for the day when Jenkins has lost all of it.
const maxLooks = 2

// mayLook says whether a single run may be looked for in this pass.
func (v *view) mayLook() bool {
	v.looks++
	return v.looks <= maxLooks
}

func (v *view) queue(ctx context.Context) ([]jenkins.Item, error) {
	if err := v.up(); err != nil || v.queued {
		return v.items, err
	}
	items, err := v.d.Jenkins.Queue(ctx)
	if err != nil {
		return nil, v.heard(err)
	}
	v.items, v.queued = items, true
	return items, nil
}

// newest gives the last builds of a job.
func (v *view) newest(ctx context.Context, job string) ([]jenkins.Build, error) {
	builds, known := v.builds[job]
	if err := v.up(); err != nil || known {
		return builds, err
	}
	most := 100 // are cheap for Jenkins
	if open := v.open[job]; open > most/2 {
		most = min(2*open+most, 2000)
	}
	builds, err := v.d.Jenkins.Builds(ctx, job, most)
	if err != nil {
		return nil, v.heard(err)
	}
	if v.builds == nil {
		v.builds = map[string][]jenkins.Build{}
	}
	v.builds[job] = builds
	return builds, nil
}
