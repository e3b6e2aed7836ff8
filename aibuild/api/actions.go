package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Actor does what somebody wants done with an image, under the image's lock, and
// comes back when it is done. An error that is a *Problem is told as it is.
type Actor interface {
	Do(ctx context.Context, a lineage.Action) error
}

// ImageChange says why something is done with an image, and where.
type ImageChange struct {
	Reason   string   `json:"reason" minLength:"1" maxLength:"1000" doc:"why, for the record"`
	Clusters []string `json:"clusters,omitempty" nullable:"false" maxItems:"100" doc:"release and rollback: only these; absent: all that the definition, or the image before, names"`
	Off      bool     `json:"off,omitempty" doc:"hold: let the image go again"`
}

type changeInput struct {
	Ref  string `path:"ref" maxLength:"2048" doc:"NAME (newest), NAME@N, uuid or unique prefix, Glance id or sha256"`
	Body ImageChange
}

// changed is how an action ended, or that it goes on.
type changed struct {
	Status string        `json:"status" enum:"done,under_way" doc:"under_way: it takes longer than this answer may; ask for the image to see how it ends"`
	Image  lineage.Image `json:"image" doc:"as it is recorded now"`
}

type changedOutput struct {
	Status int
	Body   changed
}

// imageActions are the operations, by the last part of their address.
var imageActions = []struct{ path, verb, summary, text string }{
	{"release", lineage.VerbReleased, "release a published image into its clusters", "Repeating it does only what is missing: nothing that is there is uploaded again."},
	{"rollback", lineage.VerbRolled, "make an older image the visible one", "A NAME alone means in each cluster the good image before; any other reference means that image. Nothing is uploaded that is still there."},
	{"revoke", lineage.VerbRevoked, "withdraw an image everywhere", "It is hidden in every cluster, taken out of images/release, and no parent for others. Where it was the visible one, the good one before becomes visible first."},
	{"restore", lineage.VerbRestored, "take a revocation back", "The image stays hidden: publish and release bring it out again."},
	{"hold", lineage.VerbHeld, "keep an image from every deletion", "With `off` it is let go again."},
}

func (s *Server) registerActions() {
	for _, a := range imageActions {
		handle(s, operation{
			method: http.MethodPost, path: "/api/v1/images/{ref}/" + a.path, id: a.path + "-image", need: mayRelease, body: true,
			also: []int{http.StatusAccepted}, problems: []int{409, 423, 502}, summary: a.summary, text: a.text,
		}, func(ctx context.Context, in *changeInput) (*changedOutput, error) {
			return s.change(ctx, a.verb, in.Ref, in.Body)
		})
	}
}

// change finds the image and has the action done.
func (s *Server) change(ctx context.Context, verb, ref string, c ImageChange) (*changedOutput, error) {
	who := bearer(ctx)
	images, err := s.visible(ctx, lineage.Query{Ref: ref})
	if err != nil {
		return nil, err
	}
	img := images[0]
	if !speaksFor(who, img.Project) {
		return nil, otherProject("image "+img.Ref(), img.Project)
	}
	c.Reason = strings.TrimSpace(c.Reason)
	if c.Reason == "" {
		return nil, &lineage.Invalid{Field: "reason", Problem: "is empty; say why, for the record"}
	}
	a := lineage.Action{Verb: verb, Image: img.UUID, Name: img.Name, Clusters: c.Clusters, Reason: c.Reason, Actor: who.Name}
	if verb == lineage.VerbHeld && c.Off {
		a.Verb = lineage.VerbUnheld
	}
	if verb == lineage.VerbRolled && strings.TrimSpace(ref) == img.Name {
		a.Image = ""
	}
	done, err := s.acts.do(ctx, s.config.Actor, a)
	s.memos.clear()
	if err != nil {
		return nil, err
	}
	out := &changedOutput{Status: http.StatusOK, Body: changed{Status: "done"}}
	if !done {
		out.Status, out.Body.Status = http.StatusAccepted, "under_way"
	}
	now, err := s.config.Store.Resolve(ctx, lineage.Query{Ref: img.UUID})
	if err != nil {
		return nil, err
	}
	out.Body.Image = now[0]
	return out, nil
}

// acts are the actions under way. They end with the server, not with the request
// that began them.
type acts struct {
	ctx    context.Context
	cancel context.CancelFunc
	group  sync.WaitGroup
	wait   time.Duration // for an action, before its request is answered
	late   func(lineage.Action, error)
}

func newActs(wait time.Duration, late func(lineage.Action, error)) *acts {
	ctx, cancel := context.WithCancel(context.Background())
	return &acts{ctx: ctx, cancel: cancel, wait: wait, late: late}
}

// do begins an action and waits for its end, as long as an answer may take.
func (a *acts) do(ctx context.Context, actor Actor, action lineage.Action) (done bool, err error) {
	if actor == nil || a.ctx.Err() != nil {
		return false, &Problem{Code: CodeUnavailable, Detail: "this server does nothing with images; use the command aibuild, or another server"}
	}
	ended, gone := make(chan error), make(chan struct{})
	a.group.Go(func() {
		err := actor.Do(a.ctx, action)
		select {
		case ended <- err:
		case <-gone:
			a.late(action, err) // nobody else hears of it
		}
	})
	timer := time.NewTimer(a.wait)
	defer timer.Stop()
	select {
	case err := <-ended:
		return true, err
	case <-timer.C:
	case <-ctx.Done():
	}
	close(gone)
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return false, fmt.Errorf("nobody waits for the answer: %w", err)
	}
	return false, nil
}

// close stops what is under way and waits for its end.
func (a *acts) close() {
	a.cancel()
	a.group.Wait()
}
