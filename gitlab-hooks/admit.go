package hooks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// received admits a run to the queue.
func (p *pass) received(r lineage.ClaimedRun) lineage.RunStep {
	if why := p.orphan(r); why != "" {
		return to(r, lineage.RunRejected, why)
	}
	if newer := p.newer(r.Run); newer != nil {
		return p.supersede(r, newer)
	}
	job := p.d.job(r.Project)
	if job == "" {
		return to(r, lineage.RunRejected, "no job configured: set jenkins.job, or job of the project "+r.Project)
	}
	step := to(r, lineage.RunQueued, "waits for its turn")
	step.Run.JenkinsJob = job
	return step
}

// newer finds a younger run of the same image and ref, which makes an older one
// that still waits pointless. A retry is no newer push.
func (p *pass) newer(r lineage.Run) *lineage.OpenRun {
	if r.HeadSeq == 0 {
		return nil
	}
	for _, o := range p.crowd.byRef[refOf{r.Project, r.Ref, r.Image}] {
		if !o.Final() && o.HeadSeq > r.HeadSeq && o.CancelBy == "" {
			return o
		}
	}
	return nil
}

func (p *pass) supersede(r lineage.ClaimedRun, newer *lineage.OpenRun) lineage.RunStep {
	return to(r, lineage.RunSuperseded, fmt.Sprintf("a newer push to %s came before its turn: run %s builds %s", r.Ref, newer.ID, short(newer.Commit)))
}

// queued triggers a run when its turn has come.
func (p *pass) queued(r lineage.ClaimedRun) lineage.RunStep {
	if why := p.orphan(r); why != "" { // it was configured before
		return to(r, lineage.RunRejected, why)
	}
	if newer := p.newer(r.Run); newer != nil {
		return p.supersede(r, newer)
	}
	if job := p.d.job(r.Project); job != "" {
		r.JenkinsJob = job // it may have been configured anew meanwhile
	}
	if why := p.turn(r.Run); why != "" {
		return waits(r, why, again(ago(r.OpenedAt))/2)
	}
	if err := p.view.up(); err != nil {
		p.d.refused.away(r.JenkinsJob)
		return waits(r, err.Error(), retryIn(r.Tries, err))
	}
	problem, err := p.d.jobs.check(p.ctx, p.d.Jenkins, r.JenkinsJob)
	switch {
	case err != nil:
		p.d.refused.away(r.JenkinsJob)
		return waits(r, p.view.heard(err).Error(), again(ago(r.OpenedAt)))
	case problem == "":
		p.d.refused.over(r.JenkinsJob)
		return p.trigger(r)
	case p.hopeless(r, r.JenkinsJob):
		return to(r, lineage.RunRejected, fmt.Sprintf("waited for more than %v, in which its job took no builds: %s", p.d.QueueFor, problem))
	}
	return waits(r, problem, again(ago(r.OpenedAt)))
}

// hopeless notes that Jenkins refused what a run needs, and says whether it did so for longer than a run waits.
func (p *pass) hopeless(r lineage.ClaimedRun, what string) bool {
	return p.d.refused.again(what, p.d.now()) > p.d.QueueFor && ago(r.OpenedAt) > p.d.QueueFor
}

// turn says what a run waits for before it may be triggered; empty: nothing.
func (p *pass) turn(r lineage.Run) string {
	for _, o := range p.crowd.byImage[r.Image] {
		switch {
		case o.ID == r.ID || o.Final():
		case withJenkins(o.State):
			return fmt.Sprintf("waits for run %s of the same image, which is %s", o.ID, o.State)
		case earlier(o, r):
			return fmt.Sprintf("waits for the older run %s of the same image", o.ID)
		}
	}
	if push := p.crowd.byPush[pushOf{r.Project, r.Ref, r.HeadSeq}]; len(push) > 1 {
		parent := p.parent(r)
		for _, o := range push {
			if o.ID != r.ID && !o.Final() && o.Image == parent {
				return fmt.Sprintf("waits for run %s of its parent %s", o.ID, o.Image)
			}
		}
	}
	switch total, ofJob := p.crowd.started, p.crowd.ofJob[r.JenkinsJob]; {
	case ofJob >= p.d.MaxPerJob:
		return fmt.Sprintf("waits for one of the %d runs of %s (jenkins.max_per_job)", ofJob, r.JenkinsJob)
	case total >= p.d.MaxRuns:
		return fmt.Sprintf("waits for one of %d runs (jenkins.max_runs)", total)
	}
	return ""
}

func earlier(o *lineage.OpenRun, r lineage.Run) bool {
	if c := o.OpenedAt.Compare(r.OpenedAt); c != 0 {
		return c < 0
	}
	return o.ID < r.ID
}

func withJenkins(state string) bool {
	return slices.Contains([]string{lineage.RunTriggering, lineage.RunJenkinsQueue, lineage.RunBuilding}, state)
}

// parent names the image that a run's image is made from, at its commit; empty
// for none, and where that cannot be found out now: then nothing is waited for.
func (p *pass) parent(r lineage.Run) string {
	definitions, err := p.d.definitions(p.ctx, r.Project, r.Commit)
	if err != nil {
		p.d.Log.Warn("the parent of a run is not known", "run", r.ID, "error", err)
		return ""
	}
	for _, img := range definitions {
		if img.Name == r.Image && img.Definition != nil {
			name, _, _ := strings.Cut(img.Definition.From.Image, "@")
			return name
		}
	}
	return ""
}

// jobCache keeps what jobs declare, so that not every trigger asks.
type jobCache struct {
	mu   sync.Mutex
	seen map[string]jobSeen
}

type jobSeen struct {
	at      time.Time
	problem string
}

const jobFresh = 5 * time.Minute

// parameters are those of the job contract. Jenkins drops what a job does not
// declare, without a word.
var parameters = []string{"AIBUILD_RUN_ID", "AIBUILD_PROJECT", "AIBUILD_REF", "AIBUILD_COMMIT", "AIBUILD_IMAGE", "AIBUILD_FROM"}

// JobParameters are the names that a job declares, as strings, so that it can build images.
func JobParameters() []string { return slices.Clone(parameters) }

// JobProblem says what keeps a job from building images; empty: nothing.
func JobProblem(job jenkins.Job) string {
	var missing []string
	for _, name := range parameters {
		if !slices.Contains(job.Parameters, name) {
			missing = append(missing, name)
		}
	}
	switch {
	case job.Disabled:
		return fmt.Sprintf("the job %s is disabled: enable it in jenkins", job.Path)
	case !job.Buildable:
		return fmt.Sprintf("the job %s cannot be built: is it a folder, or without a branch?", job.Path)
	case len(missing) > 0:
		return fmt.Sprintf("the job %s does not declare %s: add them as string parameters", job.Path, strings.Join(missing, ", "))
	}
	return ""
}

func (c *jobCache) check(ctx context.Context, client *jenkins.Client, path string) (problem string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s, ok := c.seen[path]; ok && time.Since(s.at) < jobFresh {
		return s.problem, nil
	}
	job, err := client.Job(ctx, path)
	switch {
	case errors.Is(err, jenkins.ErrNotFound):
		problem = fmt.Sprintf("jenkins has no job %s, or the user may not see it: create it, or grant Job/Read", path)
	case err != nil:
		return "", err
	default:
		problem = JobProblem(job)
	}
	if c.seen == nil {
		c.seen = map[string]jobSeen{}
	}
	if problem == "" {
		c.seen[path] = jobSeen{time.Now(), ""}
	} else {
		delete(c.seen, path) // somebody may mend it at any moment
	}
	return problem, nil
}

func (c *jobCache) forget(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.seen, path)
}
