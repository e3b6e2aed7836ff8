package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// memoryPart: the most memory of aibuild itself while it builds. Packer and QEMU
// have their own.
func memoryPart(ctx context.Context, b *bench) ([]line, error) {
	tiny, err := b.tinyImage(ctx)
	if err != nil {
		return nil, err
	}
	lines := []line{rssLine("aibuild build: tiny-linux from its ISO", tiny.rss)}
	dir, err := b.linesDefinition()
	if err != nil {
		return lines, err
	}
	if err := diskSource(tiny.path, filepath.Join(dir, "source")); err != nil {
		return lines, err
	}
	talkative, err := b.build(ctx, dir)
	if err != nil {
		return lines, err
	}
	return append(lines, rssLine("aibuild build: 200,000 lines of log", talkative.rss)), nil
}

func rssLine(what string, bytes int64) line {
	return line{what: "memory of " + what, unit: "MiB", samples: []float64{float64(bytes) / mebibyte}, bound: 48, exact: true}
}

// diskSource puts an image, with its checksum file, where a definition expects it.
func diskSource(image, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	in, err := os.Open(image)
	if err != nil {
		return err
	}
	defer in.Close() // reading only: nothing can be lost
	out, err := os.Create(filepath.Join(dir, "disk.qcow2"))
	if err != nil {
		return err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, sum), in)
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	text := hex.EncodeToString(sum.Sum(nil)) + "  disk.qcow2\n"
	return os.WriteFile(filepath.Join(dir, "disk.qcow2.sha256"), []byte(text), 0o644)
}

func copyAtMost(out io.Writer, in io.Reader, limit int64) (int64, error) {
	n, err := io.CopyN(out, in, limit)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}
