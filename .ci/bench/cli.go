package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/process"
)

// The database holds known images; `aibuild image list` shows a page of them.
const (
	known  = 100
	listed = 50
)

// cliPart: what a person waits for at every command.
func cliPart(ctx context.Context, b *bench) ([]line, error) {
	info, err := os.Stat(b.aibuild())
	if err != nil {
		return nil, err
	}
	size := line{what: "size of bin/aibuild", unit: "MiB", samples: []float64{float64(info.Size()) / mebibyte}, bound: 40, exact: true}
	if err := b.prepareCommand(ctx); err != nil {
		return []line{size}, err
	}
	lines, err := b.commands(ctx, b.db.DSN())
	return append(lines, size), err
}

func (b *bench) commands(ctx context.Context, dsn string) ([]line, error) {
	if err := tellStory(ctx, dsn); err != nil {
		return nil, err
	}
	list := line{what: fmt.Sprintf("aibuild image list, %d of %d images, private MariaDB up", listed, known), unit: "ms", bound: 60}
	version := line{what: "aibuild version", unit: "ms", bound: 30}
	nothing := line{what: "/bin/true started in the same way", unit: "ms"}
	err := b.repeat(ctx, func(int) error {
		for range 4 { // they are short: more samples cost nothing
			res, err := b.command("image", "list", "-o", "json").Run(ctx)
			if err != nil {
				return err
			}
			if n := bytes.Count(res.Stdout, []byte(`"image_uuid"`)); n < listed {
				return fmt.Errorf("aibuild image list shows %d images, not %d", n, listed)
			}
			list.samples = append(list.samples, ms(res))
			for l, c := range map[*line]process.Cmd{&version: b.command("version"), &nothing: {Path: "/bin/true"}} {
				if res, err = c.Run(ctx); err != nil {
					return err
				}
				l.samples = append(l.samples, ms(res))
			}
		}
		return nil
	})
	return []line{list, version, nothing}, err
}

func ms(r *process.Result) float64 { return float64(r.Duration) / float64(time.Millisecond) }

// tellStory puts images into the database.
func tellStory(ctx context.Context, dsn string) error {
	store, err := lineage.Open(ctx, lineage.Config{DSN: dsn})
	if err != nil {
		return err
	}
	err = store.Migrate(ctx)
	for i := 0; i < known && err == nil; i++ {
		err = store.Record(ctx, lineage.Record{
			ID: uuid.NewString(), At: time.Now(), Actor: "bench", Channel: "library", ImageUUID: uuid.Must(uuid.NewV7()).String(), Verb: lineage.VerbBuilt,
			Built: &lineage.Built{
				Name: fmt.Sprintf("bench-%d", i%10), Arch: "x86_64", OSType: "debian", OSVer: "12", FromISO: "https://example.org/bench.iso",
				Artifact: lineage.Artifact{Format: "qcow2", Size: 512 * mebibyte, SHA256: strings.Repeat("0", 64)},
			},
		})
	}
	return errors.Join(err, store.Close())
}
