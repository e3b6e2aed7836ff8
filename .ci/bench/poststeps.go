package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

const realData = 384 * mebibyte

// poststepsPart: what aibuild does with the file that Packer made.
func poststepsPart(ctx context.Context, b *bench) ([]line, error) {
	tiny, err := b.tinyImage(ctx)
	if err != nil {
		return nil, err
	}
	site, err := b.site(ctx, "poststeps")
	if err != nil {
		return nil, err
	}
	defer site.Close() // nothing is staged any more
	digests, err := digestPrograms()
	if err != nil {
		return nil, err
	}
	// As Packer leaves them: not compressed.
	small, large := b.path("small.qcow2"), b.path("large.qcow2")
	if _, err := b.program(ctx, "qemu-img", "convert", "-O", "qcow2", tiny.path, small); err != nil {
		return nil, err
	}
	if err := b.largeDisk(ctx, large); err != nil {
		return nil, err
	}
	var lines []line
	for _, c := range []struct{ what, file string }{
		{"check, compact, digest, store: tiny-linux", small}, {"the same: 384 MiB of /usr", large},
	} {
		l := line{what: c.what, against: "qemu-img convert + slowest of " + digests.name, unit: "x", bound: 1.3}
		err := b.repeat(ctx, func(int) error {
			theirs, err := b.convertAndDigest(ctx, c.file, digests)
			if err != nil {
				return err
			}
			ours, err := b.storeStep(ctx, site, c.file)
			l.samples = append(l.samples, ratio(ours, theirs))
			return err
		})
		lines = append(lines, l)
		if err != nil {
			return lines, err
		}
	}
	return lines, errors.Join(os.Remove(small), os.Remove(large))
}

// storeStep is what Pipeline.Build does after Packer, but for the manifest.
func (b *bench) storeStep(ctx context.Context, site *publish.Site, file string) (time.Duration, error) {
	id := uuid.Must(uuid.NewV7()).String()
	start := time.Now()
	stage, err := site.Stage(ctx, "bench", id)
	if err != nil {
		return 0, err
	}
	tool := b.qemu()
	if _, err := tool.Check(ctx, file, "qcow2"); err != nil {
		return 0, err
	}
	final := filepath.Join(stage, "bench.qcow2")
	if err := tool.Compact(ctx, file, "qcow2", final, "qcow2", "zlib"); err != nil {
		return 0, err
	}
	if _, err := site.Put(ctx, publish.Item{Name: "bench", UUID: id, Image: "bench.qcow2", Files: map[string]string{"bench.qcow2": final}}); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, site.Remove(ctx, publish.Build, "bench", id)
}

func (b *bench) convertAndDigest(ctx context.Context, file string, d digestTool) (time.Duration, error) {
	out := b.path("converted.qcow2")
	args := []string{"convert", "-f", "qcow2", "-O", "qcow2", "-W", "-m", "4", "-c", "-o", "compression_type=zlib", file, out}
	res, err := b.program(ctx, "qemu-img", args...)
	if err != nil {
		return 0, err
	}
	t, err := b.digest(ctx, d, out)
	if err != nil {
		return 0, err
	}
	return res.Duration + t.slowest, os.Remove(out)
}

// largeDisk is a qcow2 of real files: how well they compress matters.
func (b *bench) largeDisk(ctx context.Context, path string) error {
	raw := b.path("large.raw")
	out, err := os.Create(raw)
	if err != nil {
		return err
	}
	left := int64(realData)
	err = filepath.WalkDir("/usr/lib", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || left == 0 {
			return err
		}
		n, err := appendFile(out, name, left)
		left -= n
		return err
	})
	if err == nil && left > 0 {
		err = fmt.Errorf("/usr/lib has %d bytes less than the %d needed", left, int64(realData))
	}
	if err := errors.Join(err, out.Truncate(4*realData), out.Close()); err != nil {
		return err
	}
	if _, err := b.program(ctx, "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path); err != nil {
		return err
	}
	return os.Remove(raw)
}

// appendFile copies at most limit bytes of the file name to out.
func appendFile(out *os.File, name string, limit int64) (int64, error) {
	in, err := os.Open(name)
	if errors.Is(err, fs.ErrPermission) {
		return 0, nil // not for this user: there are enough others
	}
	if err != nil {
		return 0, err
	}
	defer in.Close() // reading only: nothing can be lost
	return copyAtMost(out, in, limit)
}

// digestTool are the programs that make digests here.
type digestTool struct {
	name     string
	commands [][]string // the file's name goes last
}

// digestPrograms prefers openssl, which is faster.
func digestPrograms() (digestTool, error) {
	if _, err := process.Look("openssl"); err == nil {
		return digestTool{"openssl sha256, sha512", [][]string{{"openssl", "dgst", "-sha256"}, {"openssl", "dgst", "-sha512"}}}, nil
	}
	if _, err := process.Look("sha512sum"); err != nil {
		return digestTool{}, err
	}
	return digestTool{"sha256sum, sha512sum", [][]string{{"sha256sum"}, {"sha512sum"}}}, nil
}

// digestTime is what digests of one file took, each made alone.
type digestTime struct{ slowest, cpu time.Duration }

func (b *bench) digest(ctx context.Context, d digestTool, file string) (digestTime, error) {
	var t digestTime
	for _, c := range d.commands {
		res, err := b.program(ctx, c[0], append(c[1:len(c):len(c)], file)...)
		if err != nil {
			return t, err
		}
		t.slowest = max(t.slowest, res.Duration)
		t.cpu += res.CPU
	}
	return t, nil
}
