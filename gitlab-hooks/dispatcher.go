package hooks

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// Watched is a GitLab project whose images are built.
type Watched struct {
	Mirror Mirror // of its repository; Mirror.Project is its path
	Rules  Rules
	Tags   []string          // patterns of the tags that are built, where Rules.Tags builds any; empty: all
	Job    string            // Jenkins job; empty: the Dispatcher's
	Policy definition.Policy // what its definitions may ask for
}

// Dispatcher takes hook events and runs to their ends: one pass after the
// other, each of which moves every run at most one step. Several may run on one
// database: one is active, the others stand by.
type Dispatcher struct {
	Store    *lineage.Store
	Jenkins  *jenkins.Client // nil: no Jenkins is configured, and runs wait for one
	GitLab   *Client         // nil: nobody is told of states
	Projects func() []Watched
	Owner    string // this process, among all: HOST/PID/START
	Log      hclog.Logger

	Job       string        // default Jenkins job
	MaxPerJob int           // runs of one job that are with Jenkins at once; 0: 8
	MaxRuns   int           // of all jobs; 0: 32
	QueueFor  time.Duration // for how long Jenkins may refuse the job of a run before that is given up; 0: 24 h
	LostAfter time.Duration // how long Jenkins may not know a run that it had; 0: 60 s
	StatusURL string        // address of this daemon, for links to /runs/ID; empty: statuses link to the build in Jenkins
	LogDir    string        // where the console of each build is kept; empty: nowhere

	// Before runs at the begin of every pass, and now and then while another
	// daemon is active: what else has to come in first.
	Before func(context.Context) error

	Now func() time.Time // the clock that ages of images and runs go by; nil: time.Now

	// HeadsEvery is how often heads and hooks are looked at; 0: 5 minutes.
	HeadsEvery time.Duration

	reportFor time.Duration // how long the report of a build that has ended is waited for; 0: 5 minutes; negative: not at all

	wakes   chan struct{}
	once    sync.Once
	jobs    jobCache
	refused refusals
	loaded  loadedCache
	mu      sync.Mutex
	session string    // of Jenkins
	restart time.Time // when the session was last seen to change
	missed  map[string]time.Time
	silent  map[string]time.Time // since when the report of a build that has ended is missing
	unread  map[string]int       // how often the console of a run could not be read
	resting time.Time            // until when GitLab is told nothing, as it did not answer
	stats   DispatchStats
	chores  map[string]time.Time // when each was done last
}

// DispatchStats counts what a Dispatcher has done.
type DispatchStats struct {
	Active    bool
	Passes    int64
	PassTime  time.Duration // of the last pass
	Failures  int64         // passes that ended with an error
	Triggers  int64         // builds that Jenkins was asked to start
	Statuses  int64         // told to GitLab
	Paused    []string      // images that are not rebuilt by schedule after failures in a row
	LastError string
}

// Stats is safe to call at any time.
func (d *Dispatcher) Stats() DispatchStats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

const (
	idlePause  = time.Second      // between passes that moved nothing
	standByFor = 10 * time.Second // that another daemon is waited for, before what came in is looked after
	claimLease = 2 * time.Minute  // longer than any pass
	maxClaim   = 2000             // runs of one pass
	lockName   = "aibuild/daemon" // no image can have this name
)

func (d *Dispatcher) init() {
	d.once.Do(func() {
		d.wakes = make(chan struct{}, 1)
		d.missed, d.silent, d.chores, d.unread = map[string]time.Time{}, map[string]time.Time{}, map[string]time.Time{}, map[string]int{}
		if d.Log == nil {
			d.Log = hclog.NewNullLogger()
		}
		if d.Projects == nil {
			d.Projects = func() []Watched { return nil }
		}
		for into, value := range map[*int]int{&d.MaxPerJob: 8, &d.MaxRuns: 32} {
			if *into == 0 {
				*into = value
			}
		}
		for into, value := range map[*time.Duration]time.Duration{&d.QueueFor: 24 * time.Hour, &d.LostAfter: time.Minute, &d.reportFor: 5 * time.Minute, &d.HeadsEvery: 5 * time.Minute} {
			if *into == 0 {
				*into = value
			}
		}
		if d.Jenkins != nil {
			d.Jenkins.OnSession = d.onSession
		}
	})
}

// Wake makes the next pass begin at once: something has come in.
func (d *Dispatcher) Wake() {
	d.init()
	select {
	case d.wakes <- struct{}{}:
	default: // it is awake already
	}
}

// Run stands by until no other daemon is active, then works until ctx ends. Its
// error is only that of ctx.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.init()
	for {
		holding, unlock, err := d.Store.Hold(ctx, lockName, standByFor)
		if err == nil {
			d.work(holding)
			if err := unlock(); err != nil {
				d.Log.Warn("another daemon may have been active meanwhile; leases kept both apart", "error", err)
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil && !d.standBy(ctx, err) {
			return context.Cause(ctx)
		}
	}
}

// standBy waits a moment before the lock is tried again. What this daemon took
// in while the database was away comes into it also while another one works.
func (d *Dispatcher) standBy(ctx context.Context, why error) bool {
	var locked *lineage.Locked
	if errors.As(why, &locked) {
		why = nil
		if d.Before != nil {
			why = d.Before(ctx)
		}
	}
	if why != nil {
		why = fmt.Errorf("standing by: %w", why)
	}
	d.note(why)
	return sleep(ctx, 2*time.Second)
}

// work is one time of being active: it ends with ctx, as it does when another
// daemon has the lock, or when the lock may be lost, as the database was away.
func (d *Dispatcher) work(ctx context.Context) {
	if err := d.Store.TakeOverLeases(ctx); err != nil {
		d.note(err)
		return
	}
	d.setActive(true)
	defer func() {
		d.setActive(false)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := d.Store.ReleaseLeases(ctx, d.Owner); err != nil {
			d.Log.Warn("leases end by themselves", "error", err)
		}
	}()
	for ctx.Err() == nil {
		moved, err := d.Pass(ctx)
		d.note(err)
		var away *lineage.Unavailable
		if errors.As(err, &away) {
			return
		}
		if moved > 0 && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
		case <-d.wakes:
		case <-time.After(idlePause):
		}
	}
}

// Pass does once all that is due, and says how many events and runs it moved.
// Run calls it; tests may.
func (d *Dispatcher) Pass(ctx context.Context) (moved int, err error) {
	d.init()
	began := time.Now()
	var errs []error
	if d.Before != nil {
		errs = append(errs, d.Before(ctx))
	}
	for _, part := range []func(context.Context) (int, error){d.passHeads, d.passEvents, d.passRuns, d.passSchedule, d.passStatuses} {
		n, err := part(ctx)
		moved += n
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	d.mu.Lock()
	d.stats.Passes++
	d.stats.PassTime = time.Since(began)
	d.mu.Unlock()
	return moved, errors.Join(errs...)
}

func (d *Dispatcher) setActive(active bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.Active = active
	d.Log.Info("dispatcher", "active", active)
}

// note keeps the last trouble for the metrics, and logs it when it is news.
func (d *Dispatcher) note(err error) {
	text := ""
	if err != nil && !errors.Is(err, context.Canceled) {
		text = err.Error()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if text != "" {
		d.stats.Failures++
		if text != d.stats.LastError {
			d.Log.Warn("not everything could be done; it is tried again", "error", text)
		}
	}
	d.stats.LastError = text
}

// onSession: after a restart Jenkins has forgotten items, and may need a moment
// to know the others.
func (d *Dispatcher) onSession(session string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session != "" && session != d.session {
		d.restart = time.Now()
		d.Log.Info("jenkins was restarted")
	}
	d.session = session
}

// project finds the configuration of a project.
func (d *Dispatcher) project(path string) (Watched, bool) {
	for _, p := range d.Projects() {
		if p.Mirror.Project == path {
			return p, true
		}
	}
	return Watched{}, false
}

// job is the Jenkins job of a project; empty when none is configured.
func (d *Dispatcher) job(project string) string {
	if p, ok := d.project(project); ok && p.Job != "" {
		return p.Job
	}
	return d.Job
}

// cloneURL is where a job gets the project from.
func (d *Dispatcher) cloneURL(project string) string {
	if p, ok := d.project(project); ok {
		return p.Mirror.address()
	}
	return ""
}

// due says whether it is time for a chore again, and takes it as done.
func (d *Dispatcher) due(chore string, every time.Duration) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, done := d.chores[chore]; done && time.Since(last) < every {
		return false
	}
	d.chores[chore] = time.Now()
	return true
}

// soon makes a chore due in the next pass.
func (d *Dispatcher) soon(chore string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.chores, chore)
}

func sleep(ctx context.Context, long time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(long):
		return true
	}
}
