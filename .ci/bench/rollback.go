package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/publish"
)

// rollbackPart: an older image becomes the visible one again, cluster by cluster.
func rollbackPart(ctx context.Context, b *bench) ([]line, error) {
	if err := b.startClouds(ctx); err != nil {
		return nil, err
	}
	source := b.path("rollback.raw")
	if err := b.denseFile(source, 8*mebibyte); err != nil {
		return nil, err
	}
	sums, err := publish.Digest(ctx, source, nil)
	if err != nil {
		return nil, err
	}
	r := glance.Releaser{CloudsFile: b.clouds}
	var versions []glance.Image
	for range 2 {
		img := newImage("bench-rollback", source, sums)
		if _, err := r.Release(ctx, img, clusters()); err != nil {
			return nil, err
		}
		versions = append(versions, img)
	}
	l := line{what: "one cluster, login included", unit: "s", bound: 2}
	err = b.repeat(ctx, func(i int) error {
		for _, cluster := range clusters() {
			start := time.Now()
			targets, err := r.Rollback(ctx, versions[i%2], []string{cluster})
			if err != nil {
				return err
			}
			l.samples = append(l.samples, time.Since(start).Seconds())
			if len(targets) == 0 || targets[0].State != glance.Visible {
				return fmt.Errorf("%s: the image is not visible after the rollback: %v", cluster, targets)
			}
		}
		return nil
	})
	return []line{l}, errors.Join(err, os.Remove(source))
}
