package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/publish"
)

// promotePart: the step from images/build to images/release, which moves no data.
func promotePart(ctx context.Context, b *bench) ([]line, error) {
	source := b.path(diskName)
	if err := sparseFile(source); err != nil {
		return nil, err
	}
	site, err := b.site(ctx, "promote")
	if err != nil {
		return nil, err
	}
	defer site.Close() // nothing is staged
	id := uuid.Must(uuid.NewV7()).String()
	item := publish.Item{Name: "bench", UUID: id, Image: diskName, Files: map[string]string{diskName: source}, Move: true}
	if _, err := site.Put(ctx, item); err != nil {
		return nil, err
	}
	wall := line{what: "images/build to images/release, 2 GiB", unit: "ms", bound: 20}
	moved := line{what: "bytes read and written for it", unit: "MiB", bound: 1}
	err = b.repeat(ctx, func(int) error {
		for range 4 { // it is short: more samples cost nothing
			ms, bytes, err := promoteOnce(ctx, site, id)
			if err != nil {
				return err
			}
			wall.samples, moved.samples = append(wall.samples, ms), append(moved.samples, bytes)
		}
		return nil
	})
	return []line{wall, moved}, errors.Join(err, os.RemoveAll(b.path("promote")))
}

func promoteOnce(ctx context.Context, site *publish.Site, id string) (ms, mib float64, err error) {
	before, err := bytesMoved()
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	if err := site.Promote(ctx, "bench", id, map[string][]byte{"image.json": []byte("{}\n")}); err != nil {
		return 0, 0, err
	}
	took := time.Since(start)
	after, err := bytesMoved()
	if err != nil {
		return 0, 0, err
	}
	return float64(took) / float64(time.Millisecond), float64(after-before) / mebibyte, site.Retract(ctx, "bench", id)
}

func bytesMoved() (int64, error) {
	in, err := bytesRead()
	if err != nil {
		return 0, err
	}
	out, err := bytesWritten()
	return in + out, err
}
