package glance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/hashicorp/go-hclog"
)

// Releaser works on images in the clusters of one clouds.yaml. It keeps no
// state between calls; its methods may run at once for different names.
type Releaser struct {
	CloudsFile string         // path of clouds.yaml; secure.yaml beside it is read too
	Log        hclog.Logger   // nil is silent
	OnState    func(Target)   // called when a state is reached or confirmed, one call at a time
	OnProgress func(Progress) // called while bytes move, one call at a time

	Attempts     int              // tries per cluster while errors are retryable; default 3
	Pause        time.Duration    // before the second try, then doubled, at most 30 s; default 1 s
	CallTimeout  time.Duration    // of one API call; default 30 s
	StallTimeout time.Duration    // an upload without any progress for so long is given up; default 2 min
	Now          func() time.Time // default time.Now
}

// longestPause bounds the doubling of Pause.
const longestPause = 30 * time.Second

// job is one call of a Releaser's method, with its defaults filled in.
type job struct {
	Releaser
	mu sync.Mutex // callbacks come one at a time
}

func (r Releaser) job() *job {
	if r.Log == nil {
		r.Log = hclog.NewNullLogger()
	}
	if r.Attempts <= 0 {
		r.Attempts = 3
	}
	r.Pause = orDefault(r.Pause, time.Second)
	r.CallTimeout = orDefault(r.CallTimeout, 30*time.Second)
	r.StallTimeout = orDefault(r.StallTimeout, 2*time.Minute)
	if r.Now == nil {
		r.Now = time.Now
	}
	return &job{Releaser: r}
}

func orDefault(d, otherwise time.Duration) time.Duration {
	if d <= 0 {
		return otherwise
	}
	return d
}

// tell stamps a target and hands it to OnState.
func (j *job) tell(t Target) Target {
	j.mu.Lock()
	defer j.mu.Unlock()
	t.At = j.Now().UTC()
	if j.OnState != nil {
		j.OnState(t)
	}
	return t
}

// progress hands p to OnProgress.
func (j *job) progress(p Progress) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.OnProgress != nil {
		j.OnProgress(p)
	}
}

// everywhere runs work for all clusters at once; each may take several tries.
// It gives one error (or nil) per cluster, in their order.
func (j *job) everywhere(ctx context.Context, clusters []string, work func(i int, cluster string) error) []error {
	errs := make([]error, len(clusters))
	var group sync.WaitGroup
	for i, cluster := range clusters {
		group.Go(func() {
			errs[i] = j.retry(ctx, cluster, func() error { return work(i, cluster) })
		})
	}
	group.Wait()
	return errs
}

func checkClusters(clusters []string) error {
	if len(clusters) == 0 {
		return input("no cluster is named")
	}
	seen := map[string]bool{}
	for _, cluster := range clusters {
		if seen[cluster] {
			return input("cluster %q is named twice", cluster)
		}
		seen[cluster] = true
	}
	return nil
}

// retry repeats work while its error is retryable, with growing pauses.
func (j *job) retry(ctx context.Context, cluster string, work func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = j.Pause
	pause.Multiplier = 2
	pause.MaxInterval = longestPause
	var last error
	try := func() (struct{}, error) {
		last = work()
		if last != nil && (ctx.Err() != nil || !retryable(last)) {
			return struct{}{}, backoff.Permanent(last)
		}
		return struct{}{}, last
	}
	note := func(err error, wait time.Duration) {
		j.Log.Warn("trying again", "cluster", cluster, "error", err, "after", wait.Round(time.Millisecond))
	}
	_, err := backoff.Retry(ctx, try, backoff.WithBackOff(pause), backoff.WithMaxTries(uint(j.Attempts)),
		backoff.WithMaxElapsedTime(0), backoff.WithNotify(note))
	if err != nil && ctx.Err() != nil && !errors.Is(last, ctx.Err()) {
		return &ClusterError{Cluster: cluster, Op: "wait", Err: fmt.Errorf("%w, after: %w", ctx.Err(), last)}
	}
	return last
}

// detached gives what has to be finished, or undone, time of its own, even
// when the caller's context is over.
func (j *job) detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), 2*j.CallTimeout)
}
