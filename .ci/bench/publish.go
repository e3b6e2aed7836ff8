package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

const (
	diskName   = "disk.raw"
	sparseSize = 2 << 30
	sparseData = 1152 * mebibyte
)

// publishPart: a large file with holes goes into images/build.
func publishPart(ctx context.Context, b *bench) ([]line, error) {
	digests, err := digestPrograms()
	if err != nil {
		return nil, err
	}
	source := b.path(diskName)
	if err := sparseFile(source); err != nil {
		return nil, err
	}
	wall := line{what: "2 GiB with 1152 MiB of data", against: "max(slowest digest, all CPU / cores), " + digests.name + ", cp", unit: "x", bound: 1.3}
	atOnce := line{what: "the same", against: "all of these programs at once", unit: "x"}
	read := line{what: "bytes read", against: "the source's data", unit: "x", bound: 1.02}
	blocks := line{what: "blocks written", against: "the source's", unit: "x", bound: 1.02}
	rss := line{what: "memory", unit: "MiB", bound: 48}
	err = b.repeat(ctx, func(int) error {
		least, err := b.publishLeast(ctx, digests, source)
		if err != nil {
			return err
		}
		together, err := b.publishAtOnce(ctx, digests, source)
		if err != nil {
			return err
		}
		ours, copied, err := b.publishOurs(ctx, source)
		if err != nil {
			return err
		}
		wall.samples = append(wall.samples, ratio(ours.Wall, least))
		atOnce.samples = append(atOnce.samples, ratio(ours.Wall, together))
		read.samples = append(read.samples, float64(ours.Read)/sparseData)
		blocks.samples = append(blocks.samples, copied)
		rss.samples = append(rss.samples, float64(ours.RSS)/mebibyte)
		return nil
	})
	return []line{wall, atOnce, read, blocks, rss}, errors.Join(err, os.Remove(source))
}

// publishLeast is the time that no program can go below which does the same:
// that of the slowest digest, or that of all work spread over the cores.
func (b *bench) publishLeast(ctx context.Context, d digestTool, source string) (time.Duration, error) {
	t, err := b.digest(ctx, d, source)
	if err != nil {
		return 0, err
	}
	target := b.path("copy.raw")
	copied, err := b.program(ctx, "cp", "--sparse=auto", source, target)
	if err != nil {
		return 0, err
	}
	synced, err := b.program(ctx, "sync", target)
	if err != nil {
		return 0, err
	}
	return max(t.slowest, perCore(t.cpu+copied.CPU+synced.CPU)), os.Remove(target)
}

// publishAtOnce is what a shell gets out of all cores, and out of a busy machine.
func (b *bench) publishAtOnce(ctx context.Context, d digestTool, source string) (time.Duration, error) {
	target := b.path("copy.raw")
	programs := []process.Cmd{
		{Path: "sh", Args: []string{"-c", `cp --sparse=auto "$1" "$2" && sync "$2"`, "sh", source, target}},
	}
	for _, c := range d.commands {
		programs = append(programs, process.Cmd{Path: c[0], Args: append(c[1:len(c):len(c)], source)})
	}
	took, err := b.atOnce(ctx, programs...)
	return took, errors.Join(err, os.Remove(target))
}

// site is a web root of its own.
func (b *bench) site(ctx context.Context, name string) (*publish.Site, error) {
	root := b.path(name)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	return publish.Open(ctx, publish.Config{Root: root})
}

// publishOurs puts the file, and says how many blocks the copy has for each of
// the source's.
func (b *bench) publishOurs(ctx context.Context, source string) (took, float64, error) {
	root := b.path("publish")
	o := order{Root: root, File: source, Name: "bench", UUID: uuid.Must(uuid.NewV7()).String()}
	if err := os.MkdirAll(root, 0o755); err != nil {
		return took{}, 0, err
	}
	t, err := b.inChild(ctx, "put", o)
	if err != nil {
		return t, 0, err
	}
	ours, err := blocksOf(filepath.Join(root, "images", publish.Build, o.Name, o.UUID, diskName))
	if err != nil {
		return t, 0, err
	}
	theirs, err := blocksOf(source)
	if err != nil {
		return t, 0, err
	}
	return t, float64(ours) / float64(theirs), os.RemoveAll(root)
}

func blocksOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, fmt.Errorf("%s: the system does not tell its blocks", path)
	}
	return stat.Blocks, nil
}

// sparseFile spreads data over a file of 2 GiB: a MiB of it, then a hole.
func sparseFile(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = randomBlocks(sparseData/mebibyte, func(i int64, block []byte) error {
		_, err := file.WriteAt(block, i*(sparseSize/mebibyte)/(sparseData/mebibyte)*mebibyte)
		return err
	})
	return errors.Join(err, file.Truncate(sparseSize), file.Sync(), file.Close())
}

// randomBlocks gives n different blocks of a MiB that no file system and no
// Glance can make smaller; the same in each run.
func randomBlocks(n int64, each func(i int64, block []byte) error) error {
	source := rand.NewChaCha8([32]byte{1})
	block := make([]byte, mebibyte)
	for i := range n {
		if _, err := source.Read(block); err != nil {
			return err
		}
		if err := each(i, block); err != nil {
			return err
		}
	}
	return nil
}
