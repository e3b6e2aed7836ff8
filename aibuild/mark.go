package aibuild

import (
	"context"
	"errors"
	"strings"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// Revoke withdraws an image: hidden in every cluster, out of images/release,
// no parent for others. Where it was the visible one, the newest good image
// before it is made visible first, as far as there is one.
func (p *Pipeline) Revoke(ctx context.Context, ref, reason string) (*Image, error) {
	return p.change(ctx, "revoke", ref, reason, func(img *Image) error {
		if err := p.mark(ctx, img, lineage.VerbRevoked, reason, lineage.Mark{Revoked: yes(true)}); err != nil {
			return err
		}
		errs := []error{p.revokeInClouds(ctx, img, reason)}
		if err := p.Site.Retract(ctx, img.Name, img.UUID); !errors.Is(err, publish.ErrNotFound) {
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
}

// Restore takes a revocation back. The image stays hidden: publish and release
// bring it out again.
func (p *Pipeline) Restore(ctx context.Context, ref, reason string) (*Image, error) {
	return p.change(ctx, "restore", ref, reason, func(img *Image) error {
		if !img.Revoked() {
			return &Refused{Image: img.Ref(), Rule: "only a revoked image is restored", Found: "this one " + img.standing()}
		}
		if clusters := img.clusters(); len(clusters) > 0 {
			k := &keeper{p: p, img: img, ctx: ctx, verb: lineage.VerbRestored, reason: short(reason)}
			r := p.releaser(img)
			r.OnState = k.state
			_, err := r.Restore(ctx, img.UUID, clusters)
			if err := errors.Join(err, k.finish()); err != nil {
				return err
			}
		}
		return p.mark(ctx, img, lineage.VerbRestored, reason, lineage.Mark{Revoked: yes(false)})
	})
}

// Hold keeps an image from every deletion, or lets it go again.
func (p *Pipeline) Hold(ctx context.Context, ref string, hold bool, reason string) (*Image, error) {
	return p.change(ctx, "hold", ref, reason, func(img *Image) error {
		verb := lineage.VerbHeld
		if !hold {
			verb = lineage.VerbUnheld
		}
		return p.mark(ctx, img, verb, reason, lineage.Mark{Held: yes(hold)})
	})
}

// Transfer gives the name of an image to another project.
func (p *Pipeline) Transfer(ctx context.Context, ref, project, reason string) (*Image, error) {
	return p.change(ctx, "transfer", ref, reason, func(img *Image) error {
		return p.mark(ctx, img, lineage.VerbMovedTo, reason, lineage.Mark{Project: project})
	})
}

func yes(b bool) *bool { return &b }

func (p *Pipeline) mark(ctx context.Context, img *Image, verb, reason string, m lineage.Mark) error {
	return p.record(ctx, img, lineage.Record{Verb: verb, Reason: short(reason), Marked: &m})
}

// change finds an image, locks it and changes what is recorded about it.
func (p *Pipeline) change(ctx context.Context, what, ref, reason string, do func(*Image) error) (*Image, error) {
	if strings.TrimSpace(reason) == "" {
		return nil, fail(what, &lineage.Invalid{Field: "reason", Problem: "this is recorded with a reason; give --reason"}, "")
	}
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail(what, err, "")
	}
	unlock, err := p.lockImage(ctx, img)
	if err != nil {
		return nil, fail(what, err, "")
	}
	defer unlock()
	if err := do(img); err != nil {
		return img, fail(what, err, "aibuild image "+what+" "+img.UUID+" --reason …")
	}
	return img, nil
}

func (p *Pipeline) revokeInClouds(ctx context.Context, img *Image, reason string) error {
	clusters := img.clusters()
	if len(clusters) == 0 {
		return nil
	}
	if p.CloudsFile == "" {
		return &lineage.Invalid{Field: "clouds", Problem: "no clouds.yaml is configured; set OS_CLIENT_CONFIG_FILE"}
	}
	images, err := p.imagesOf(ctx, img.Name)
	if err != nil {
		return err
	}
	k := &keeper{p: p, img: img, ctx: ctx, verb: lineage.VerbRevoked, reason: short(reason)}
	r := p.releaser(img)
	r.OnState = k.state
	var errs []error
	for _, cluster := range clusters {
		var successor *glance.Image
		if s := before(images, img, cluster); s != nil {
			description := p.glanceImage(s)
			successor = &description
		}
		_, err := r.Revoke(ctx, img.UUID, successor, []string{cluster})
		if err != nil && successor != nil {
			// A bad image must go, even if no other can be shown in its place.
			errs = append(errs, err)
			_, err = r.Revoke(ctx, img.UUID, nil, []string{cluster})
		}
		errs = append(errs, err)
	}
	return errors.Join(errors.Join(errs...), k.finish())
}
