package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/api"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

const (
	lookEvery = 30 * time.Second
	lookFor   = 10 * time.Second // one answer
)

// How a neighbour is, for everybody: the reason is for the log, as it may hold
// addresses.
const (
	fine       = "ok"
	unasked    = "not asked yet"
	absent     = "not configured"
	refusing   = "does not take our account"
	unanswered = "unavailable"
)

// neighbours are Jenkins, GitLab and the web root. That one is away is told, and keeps the
// daemon from nothing that it can do alone.
type neighbours struct {
	once  sync.Once
	again chan struct{}
	mu    sync.Mutex
	how   map[string]string
	free  int64 // bytes in the web root; -1: not known
}

func (n *neighbours) init() { n.once.Do(func() { n.again = make(chan struct{}, 1) }) }

// look makes watch ask at once.
func (n *neighbours) look() {
	n.init()
	select {
	case n.again <- struct{}{}:
	default:
	}
}

// watch asks both now and then until ctx ends.
func (n *neighbours) watch(ctx context.Context, s *service) {
	n.init()
	for ctx.Err() == nil {
		var group sync.WaitGroup
		all := map[string]func(context.Context, hooks.Clients) error{"jenkins": askJenkins, "gitlab": askGitLab, "web root": func(ctx context.Context, _ hooks.Clients) error { return n.askWebRoot(ctx, s) }}
		for name, ask := range all {
			group.Go(func() {
				asking, cancel := context.WithTimeout(ctx, lookFor)
				defer cancel()
				err := ask(asking, s.settings.Load().clients)
				if ctx.Err() == nil && n.note(name, describe(err)) && err != nil {
					s.log.Warn("a neighbour cannot be used now", "name", name, "error", err)
				}
			})
		}
		group.Wait()
		select {
		case <-ctx.Done():
		case <-n.again:
		case <-time.After(lookEvery):
		}
	}
}

var errAbsent = errors.New("not configured")

func askJenkins(ctx context.Context, c hooks.Clients) error {
	if c.Jenkins == nil {
		return errAbsent
	}
	_, err := c.Jenkins.Check(ctx)
	return err
}

func askGitLab(ctx context.Context, c hooks.Clients) error {
	if c.GitLab == nil {
		return errAbsent
	}
	_, err := c.GitLab.Check(ctx)
	return err
}

// askWebRoot looks whether it is there, and how much room is left.
func (n *neighbours) askWebRoot(ctx context.Context, s *service) error {
	site, err := s.site.open(ctx, s)
	free := int64(-1)
	if err == nil {
		free, err = site.Free(ctx)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.free = free; err != nil {
		n.free = -1
	}
	return err
}

func describe(err error) string {
	switch {
	case err == nil:
		return fine
	case errors.Is(err, errAbsent):
		return absent
	case errors.Is(err, jenkins.ErrAuth), errors.Is(err, jenkins.ErrForbidden),
		errors.Is(err, hooks.ErrAuth), errors.Is(err, hooks.ErrForbidden):
		return refusing
	}
	return unanswered
}

// note keeps how one is, and says whether that is news.
func (n *neighbours) note(name, how string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.how == nil {
		n.how = map[string]string{}
	}
	was := n.how[name]
	n.how[name] = how
	return was != how && how != absent
}

// all says how each is.
func (n *neighbours) all() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]string{"jenkins": unasked, "gitlab": unasked, "web root": unasked}
	for name, how := range n.how {
		all[name] = how
	}
	return all
}

func (n *neighbours) stats() []api.Stat {
	var list []api.Stat
	for name, how := range n.all() {
		if how == absent || how == unasked {
			continue
		}
		up := 0.0
		if how == fine {
			up = 1
		}
		list = append(list, api.Stat{
			Name: "aibuild_neighbour_up", Help: "1 where Jenkins or GitLab answers and takes our account, and the web root is there.",
			Labels: map[string]string{"name": strings.ReplaceAll(name, " ", "_")}, Value: up,
		})
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.how["web root"] == fine && n.free >= 0 {
		list = append(list, api.Stat{Name: "aibuild_web_root_free_bytes", Help: "Bytes that are free in the web root.", Value: float64(n.free)})
	}
	return list
}
