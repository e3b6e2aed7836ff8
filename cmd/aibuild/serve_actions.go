package main

import (
	"context"
	"errors"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// handyman does what somebody asks of the daemon for an image. Who comes second is
// told so: the image's lock is waited for only shortly.
type handyman struct{ s *service }

// Do is what api.Actor wants.
func (a handyman) Do(ctx context.Context, w lineage.Action) error {
	p, err := a.s.pipeline(ctx)
	if err != nil {
		return err
	}
	p.Actor, p.Channel = w.Actor, lineage.ChannelAPI
	return toldOver(act(ctx, p, w))
}

func act(ctx context.Context, p *aibuild.Pipeline, w lineage.Action) error {
	var err error
	switch w.Verb {
	case lineage.VerbReleased:
		if err = publishFirst(ctx, p, w.Image); err != nil {
			return err
		}
		_, err = p.Release(ctx, w.Image, aibuild.ReleaseOptions{Clusters: w.Clusters, Reason: w.Reason})
	case lineage.VerbRolled:
		_, err = p.Rollback(ctx, w.Name, aibuild.RollbackOptions{To: w.Image, Clusters: w.Clusters, Reason: w.Reason})
	case lineage.VerbRevoked:
		_, err = p.Revoke(ctx, w.Image, w.Reason)
	case lineage.VerbRestored:
		_, err = p.Restore(ctx, w.Image, w.Reason)
	case lineage.VerbHeld, lineage.VerbUnheld:
		_, err = p.Hold(ctx, w.Image, w.Verb == lineage.VerbHeld, w.Reason)
	default:
		err = &lineage.Invalid{Field: "verb", Problem: "nothing is done with an image by " + w.Verb}
	}
	return err
}

// publishFirst brings an image back into images/release that was revoked and
// restored: who releases it means that too.
func publishFirst(ctx context.Context, p *aibuild.Pipeline, ref string) error {
	img, err := p.Find(ctx, ref)
	if err != nil || img.Published() {
		return err
	}
	_, err = p.Publish(ctx, ref)
	return err
}

// toldOver gives an error the form in which others may see it: what a rule or a
// missing image means is theirs to know, and so is what a cluster said.
func toldOver(err error) error {
	failed, ok := errors.AsType[*aibuild.Error](err)
	if !ok {
		return err
	}
	if _, busy := errors.AsType[*lineage.Locked](err); busy {
		return err
	}
	switch failed.Code {
	case aibuild.CodeRefused:
		return &api.Problem{Code: api.CodeRefused, Detail: failed.Err.Error()}
	case aibuild.CodeNotFound:
		return &api.Problem{Code: api.CodeNotFound, Detail: failed.Err.Error()}
	case aibuild.CodeInfrastructure:
		return &api.Problem{Code: api.CodeCluster, Detail: failed.Failure.Sentence + "; " + failed.Hint}
	}
	return err
}
