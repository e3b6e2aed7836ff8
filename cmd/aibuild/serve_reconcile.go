package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

const (
	// payloadsFor is how long the bodies of deliveries are kept.
	payloadsFor = 30 * 24 * time.Hour
	// busyFor is how long a reconciler waits for somebody who works on an image:
	// it looks again later.
	busyFor = 5 * time.Second
	// retryIn is when a chore that failed is done again at the latest: somebody
	// may have worked on an image.
	retryIn = 10 * time.Minute
	// lookActive is how often a stand-by looks whether it is one no more.
	lookActive = 500 * time.Millisecond
)

// chore is done again and again, so that what went wrong elsewhere is put right.
type chore struct {
	name    string
	first   time.Duration // after the daemon has become active
	every   time.Duration
	standBy bool // also while another daemon is active: it is about this machine
	do      func(ctx context.Context, s *service, p *aibuild.Pipeline) error
}

// chores of the daemon. Each has its own time; none waits for another. Those
// that need locks begin when whoever had one before the database was away has it
// again.
func (r *reconciler) chores() []chore {
	return []chore{
		{name: "foreign_rows", every: 45 * time.Second, do: adoptForeign},
		{name: "payloads", first: time.Minute, every: time.Hour, do: expirePayloads},
		{name: "journals", every: time.Minute, standBy: true, do: deliverOwn},
		{name: "leftovers", first: 5 * time.Second, every: 15 * time.Minute, standBy: true, do: sweep},
		{name: "webhooks", first: 10 * time.Second, every: 10 * time.Minute, do: r.checkWebhooks},
		{name: "web_journals", first: 12 * time.Second, every: 5 * time.Minute, do: r.deliverSite},
		{name: "clusters", first: 14 * time.Second, every: time.Hour, do: r.compareClusters},
		{name: "prune", first: 16 * time.Second, every: 24 * time.Hour, do: prune},
	}
}

// reconciler does the chores and counts them.
type reconciler struct {
	journals aibuild.SiteJournals

	mu       sync.Mutex
	counts   map[string]*choreCount
	clusters map[string]int    // images by what the clouds said of them
	webhooks map[string]string // project -> why GitLab will not tell of its pushes
}

type choreCount struct {
	runs, failures int
	failed         bool // the last time
	took           time.Duration
	ended          time.Time // the last that went well
}

// start does every chore until ctx ends.
func (r *reconciler) start(ctx context.Context, group *sync.WaitGroup, s *service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = map[string]*choreCount{}
	for _, c := range r.chores() {
		r.counts[c.name] = &choreCount{}
		group.Go(func() { r.keep(ctx, s, c) })
	}
}

// keep does one chore whenever it is due and ours to do.
func (r *reconciler) keep(ctx context.Context, s *service, c chore) {
	for ctx.Err() == nil {
		if !c.standBy && !s.active(ctx) {
			return
		}
		for wait := c.first; pause(ctx, wait) && (c.standBy || s.dispatcher.Stats().Active); {
			wait = r.once(ctx, s, c)
		}
	}
}

// active waits until this daemon is the active one; false when ctx ends before.
func (s *service) active(ctx context.Context) bool {
	for !s.dispatcher.Stats().Active {
		if !pause(ctx, lookActive) {
			return false
		}
	}
	return ctx.Err() == nil
}

func pause(ctx context.Context, long time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(long):
		return true
	}
}

// once does a chore, and says when to do it again. Whatever comes of it, the
// daemon goes on.
func (r *reconciler) once(ctx context.Context, s *service, c chore) (again time.Duration) {
	began := time.Now()
	log := s.log.Named("reconciler").With("chore", c.name)
	p, err := s.pipeline(ctx)
	if err == nil {
		err = c.do(ctx, s, p)
	}
	if ctx.Err() != nil {
		return c.every // we are stopping: that is no failure
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.counts[c.name]
	n.runs++
	n.took = time.Since(began)
	if n.failed = err != nil; n.failed {
		n.failures++
		again = min(c.every, retryIn)
		log.Error("not everything could be put right; it is tried again", "in", again, "error", err)
		return again
	}
	n.ended = time.Now()
	log.Debug("done", "took", n.took)
	return c.every
}

// pipeline is what chores are done with. Its channel is not the daemon's: that
// ends runs, and how a run with Jenkins ended is for Jenkins to say.
func (s *service) pipeline(ctx context.Context) (*aibuild.Pipeline, error) {
	site, err := s.site.open(ctx, s)
	if err != nil {
		return nil, err
	}
	c := s.settings.Load().config
	return &aibuild.Pipeline{
		Site: site, DataDir: s.data, CloudsFile: c.env("OS_CLIENT_CONFIG_FILE", c.Clouds), Recorder: s.store, Policy: s.caps,
		Actor: lineage.ChannelDaemon, Channel: "reconciler", Log: s.log, LockWait: busyFor,
	}, nil
}

// lazySite is the web root, once it could be opened: it may be away at first.
type lazySite struct {
	mu   sync.Mutex
	site *publish.Site
}

func (l *lazySite) open(ctx context.Context, s *service) (*publish.Site, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.site != nil {
		return l.site, nil
	}
	site, err := s.w.site(ctx, s.log)
	if err == nil {
		l.site = site
	}
	return site, err
}

func adoptForeign(ctx context.Context, s *service, _ *aibuild.Pipeline) error {
	_, err := s.store.AdoptForeign(ctx)
	return err
}

func expirePayloads(ctx context.Context, s *service, _ *aibuild.Pipeline) error {
	const atOnce = 1000
	for {
		n, err := s.store.ExpirePayloads(ctx, payloadsFor, atOnce)
		if err != nil || n < atOnce {
			return err
		}
	}
}

// deliverOwn records what builds on this machine could not.
func deliverOwn(ctx context.Context, _ *service, p *aibuild.Pipeline) error {
	_, err := p.Deliver(ctx)
	return err
}

// deliverSite records what builds elsewhere could not: it waits beside their
// images.
func (r *reconciler) deliverSite(ctx context.Context, s *service, p *aibuild.Pipeline) error {
	n, err := p.DeliverSite(ctx, &r.journals)
	if n > 0 {
		s.log.Info("records of images were delivered from the web root", "images", n)
	}
	return err
}

// sweep removes what killed processes have left on this machine and, after a
// day, what others have left on the web root. It logs what it removes.
func sweep(ctx context.Context, _ *service, p *aibuild.Pipeline) error {
	_, err := p.Sweep(ctx)
	return err
}

// compareClusters compares every cluster with the record, after uploads that
// nobody works on any more were cleared away.
func (r *reconciler) compareClusters(ctx context.Context, s *service, p *aibuild.Pipeline) error {
	if p.CloudsFile == "" {
		return nil
	}
	swept, sweepErr := p.SweepUploads(ctx)
	for _, t := range swept {
		s.log.Warn("an upload that nobody works on was cleared away",
			"cluster", t.Cluster, "image", t.Name, "uuid", t.ImageUUID, "glance_id", t.GlanceID)
	}
	targets, err := p.Clusters(ctx, "", true)
	states := map[string]int{}
	for _, t := range targets {
		states[t.State]++
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clusters = states
	return errors.Join(sweepErr, err)
}

// prune frees space as the configuration says.
func prune(ctx context.Context, s *service, p *aibuild.Pipeline) error {
	c := s.settings.Load().config.Retention
	done, err := p.Prune(ctx, aibuild.Retention{Keep: c.Keep, Failed: duration(c.Failed), Cache: duration(c.Cache)})
	for _, d := range done {
		s.log.Info("pruned", "path", d.Path, "bytes", d.Bytes, "reason", d.Reason)
	}
	return err
}

// failing says whether any chore went wrong the last time.
func (r *reconciler) failing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.counts {
		if n.failed {
			return true
		}
	}
	return false
}

// stats are the chores' numbers for /metrics.
func (r *reconciler) stats() []api.Stat {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := []api.Stat{{
		Name: "aibuild_webhooks_unwell", Help: "Projects of whose pushes GitLab does not tell, as far as it says.",
		Value: float64(len(r.webhooks)),
	}}
	for name, n := range r.counts {
		list = append(list, n.stats(map[string]string{"chore": name})...)
	}
	for state, n := range r.clusters {
		list = append(list, api.Stat{
			Name: "aibuild_cluster_images", Help: "Images in clusters by what the clouds said of them when they were asked last.",
			Labels: map[string]string{"state": state}, Value: float64(n),
		})
	}
	return list
}

func (n *choreCount) stats(labels map[string]string) []api.Stat {
	list := []api.Stat{{
		Name: "aibuild_reconciler_runs_total", Help: "Times that what went wrong elsewhere was looked for, by what.",
		Counter: true, Labels: labels, Value: float64(n.runs),
	}, {
		Name: "aibuild_reconciler_failures_total", Help: "Times that not all of it could be put right.",
		Counter: true, Labels: labels, Value: float64(n.failures),
	}, {
		Name: "aibuild_reconciler_seconds", Help: "How long the last time took.", Labels: labels, Value: n.took.Seconds(),
	}}
	if n.ended.IsZero() {
		return list
	}
	return append(list, api.Stat{
		Name: "aibuild_reconciler_last_success_seconds", Help: "When it went well for the last time, in seconds since 1970.",
		Labels: labels, Value: float64(n.ended.Unix()),
	})
}
