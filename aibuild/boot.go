package aibuild

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Boot starts an overlay of an image as its tests would, for a person to look
// around. cell is one of its matrix; empty: the first. The image itself is not
// written to. The caller closes the guest.
func (p *Pipeline) Boot(ctx context.Context, ref, cell string) (*BootedImage, error) {
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail("boot", err, "")
	}
	work, done, err := p.work(img.UUID, "boot")
	if err != nil {
		return nil, fail("boot", err, "")
	}
	b, err := p.boot(ctx, img, cell, work)
	if err != nil {
		done()
		return nil, fail("boot", err, "aibuild doctor")
	}
	b.done = done
	return b, nil
}

// BootedImage is a guest that a person uses.
type BootedImage struct {
	*harness.Guest
	Image *Image
	Cell  string
	done  func()
}

// Close ends the guest and removes its overlay.
func (b *BootedImage) Close() error {
	defer b.done()
	return b.Guest.Close()
}

func (p *Pipeline) boot(ctx context.Context, img *Image, cell, work string) (*BootedImage, error) {
	only := []string{}
	if cell != "" {
		only = []string{cell}
	}
	plan, _, err := p.plan(ctx, img, TestOptions{Cells: only}, work)
	if err != nil {
		return nil, err
	}
	if len(plan.Cells) == 0 {
		return nil, errors.Join(&lineage.Invalid{Field: "cell", Problem: "the matrix is empty"})
	}
	h := harness.Harness{QEMU: p.qemuTool(), WorkDir: filepath.Join(work, "guests"), Log: p.log().Named("harness")}
	guest, err := h.Boot(ctx, plan, plan.Cells[0])
	if err != nil {
		return nil, err
	}
	return &BootedImage{Guest: guest, Image: img, Cell: plan.Cells[0].String()}, nil
}
