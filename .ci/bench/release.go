package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

const releaseSize = 1 << 30

func clusters() []string { return []string{"alpha", "beta"} }

// startClouds starts two OpenStack clusters of our own, once.
func (b *bench) startClouds(ctx context.Context) error {
	if b.clouds != "" {
		return nil
	}
	b.say("starting Keystone and Glance twice")
	b.clouds = b.path("stack", "clouds.yaml") // from now on there may be something to end
	_, err := b.program(ctx, b.stackScript(), "--state", b.path("stack"), "up", "--only", "clouds",
		"--clusters", strings.Join(clusters(), ","), "--while", strconv.Itoa(os.Getpid()))
	if err != nil {
		return err
	}
	_, err = os.Stat(b.clouds)
	return err
}

// releasePart: one image to two clusters, verified.
func releasePart(ctx context.Context, b *bench) ([]line, error) {
	if err := b.startClouds(ctx); err != nil {
		return nil, err
	}
	source := b.path("release.raw")
	if err := b.denseFile(source, releaseSize); err != nil {
		return nil, err
	}
	sums, err := publish.Digest(ctx, source, nil)
	if err != nil {
		return nil, err
	}
	wall := line{what: "1 GiB to two clusters, verified", against: "max(slower image create, all CPU / cores)", unit: "x", bound: 1.25}
	shell := line{what: "the same", against: "two image create, one after the other", unit: "x"}
	rss := line{what: "memory of the release", unit: "MiB", bound: 48}
	err = b.repeat(ctx, func(int) error {
		least, inTurn, err := b.createBoth(ctx, source)
		if err != nil {
			return err
		}
		ours, err := b.releaseOnce(ctx, source, sums)
		if err != nil {
			return err
		}
		wall.samples = append(wall.samples, ratio(ours.Wall, least))
		shell.samples = append(shell.samples, ratio(ours.Wall, inTurn))
		rss.samples = append(rss.samples, float64(ours.RSS)/mebibyte)
		return nil
	})
	return []line{wall, shell, rss}, errors.Join(err, os.Remove(source))
}

// denseFile has no holes.
func (b *bench) denseFile(path string, size int64) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	err = randomBlocks(size/mebibyte, func(_ int64, block []byte) error { _, err := file.Write(block); return err })
	return errors.Join(err, file.Sync(), file.Close())
}

// createBoth uploads the file to each cluster by OpenStack's own client, one
// after the other. least is what no program can go below that does both at once:
// the slower of them, or the CPU of clients and servers spread over the cores.
func (b *bench) createBoth(ctx context.Context, source string) (least, inTurn time.Duration, err error) {
	var cpu time.Duration
	for _, cluster := range clusters() {
		before, err := cpuOf(b.path("stack"))
		if err != nil {
			return 0, 0, err
		}
		res, err := b.openstack(ctx, cluster, "image", "create", "--private", "--disk-format", "raw", "--container-format", "bare",
			"--file", source, "-f", "value", "-c", "id", "bench-peer")
		if err != nil {
			return 0, 0, err
		}
		after, err := cpuOf(b.path("stack"))
		if err != nil {
			return 0, 0, err
		}
		cpu += res.CPU + after - before
		inTurn += res.Duration
		least = max(least, res.Duration)
		if err := b.deleteImages(ctx, cluster, "bench-peer"); err != nil {
			return 0, 0, err
		}
	}
	return max(least, perCore(cpu)), inTurn, nil
}

func (b *bench) releaseOnce(ctx context.Context, source string, sums publish.Sums) (took, error) {
	const name = "bench-ours"
	t, err := b.inChild(ctx, "release", order{CloudsFile: b.clouds, File: source, Name: name, Sums: sums, Clusters: clusters()})
	if err != nil {
		return t, err
	}
	for _, cluster := range clusters() {
		if err := b.deleteImages(ctx, cluster, name); err != nil {
			return t, err
		}
	}
	return t, nil
}

func newImage(name, path string, sums publish.Sums) glance.Image {
	return glance.Image{
		UUID: uuid.Must(uuid.NewV7()).String(), Name: name, Arch: "x86_64", Distro: "bench", Version: "1", Format: "raw", Path: path,
		Size: sums.Size, SHA256: sums.SHA256, SHA512: sums.SHA512, MD5: sums.MD5, VirtualSize: sums.Size, BuiltAt: time.Now(),
	}
}

// openstack runs OpenStack's own client.
func (b *bench) openstack(ctx context.Context, cluster string, args ...string) (*process.Result, error) {
	return process.Cmd{
		Path: "openstack", Args: append([]string{"--os-cloud", cluster}, args...), Dir: b.dir,
		Env: process.Environ("OS_CLIENT_CONFIG_FILE=" + b.clouds),
	}.Run(ctx)
}

func (b *bench) deleteImages(ctx context.Context, cluster, name string) error {
	list, err := b.openstack(ctx, cluster, "image", "list", "--name", name, "-f", "value", "-c", "ID")
	if err != nil {
		return err
	}
	ids := strings.Fields(string(list.Stdout))
	if len(ids) == 0 {
		return fmt.Errorf("%s has no image %s", cluster, name)
	}
	_, err = b.openstack(ctx, cluster, append([]string{"image", "delete"}, ids...)...)
	return err
}
