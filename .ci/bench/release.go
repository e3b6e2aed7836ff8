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
	atOnce := line{what: "the same", against: "two image create at once", unit: "x"}
	rss := line{what: "memory of the release", unit: "MiB", bound: 48}
	err = b.repeat(ctx, func(int) error {
		least, err := b.createBoth(ctx, source)
		if err != nil {
			return err
		}
		together, err := b.createAtOnce(ctx, source)
		if err != nil {
			return err
		}
		ours, err := b.releaseOnce(ctx, source, sums)
		if err != nil {
			return err
		}
		wall.samples = append(wall.samples, ratio(ours.Wall, least))
		atOnce.samples = append(atOnce.samples, ratio(ours.Wall, together))
		rss.samples = append(rss.samples, float64(ours.RSS)/mebibyte)
		return nil
	})
	return []line{wall, atOnce, rss}, errors.Join(err, os.Remove(source))
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

const peerName = "bench-peer"

// createBoth uploads the file to each cluster by OpenStack's own client, one
// after the other. It gives what no program can go below that does both at once:
// the slower of them, or the CPU of clients and servers spread over the cores.
func (b *bench) createBoth(ctx context.Context, source string) (least time.Duration, err error) {
	var cpu time.Duration
	for _, cluster := range clusters() {
		before, err := cpuOf(b.path("stack"))
		if err != nil {
			return 0, err
		}
		res, err := b.create(cluster, source).Run(ctx)
		if err != nil {
			return 0, err
		}
		after, err := cpuOf(b.path("stack"))
		if err != nil {
			return 0, err
		}
		cpu += res.CPU + after - before
		least = max(least, res.Duration)
	}
	return max(least, perCore(cpu)), b.deleteImages(ctx, peerName)
}

// createAtOnce is what a shell gets out of all cores, and out of a busy machine.
func (b *bench) createAtOnce(ctx context.Context, source string) (time.Duration, error) {
	var programs []process.Cmd
	for _, cluster := range clusters() {
		programs = append(programs, b.create(cluster, source))
	}
	took, err := b.atOnce(ctx, programs...)
	if err != nil {
		return 0, err
	}
	return took, b.deleteImages(ctx, peerName)
}

func (b *bench) create(cluster, source string) process.Cmd {
	return b.openstack(cluster, "image", "create", "--private", "--disk-format", "raw", "--container-format", "bare",
		"--file", source, "-f", "value", "-c", "id", peerName)
}

func (b *bench) releaseOnce(ctx context.Context, source string, sums publish.Sums) (took, error) {
	const name = "bench-ours"
	t, err := b.inChild(ctx, "release", order{CloudsFile: b.clouds, File: source, Name: name, Sums: sums, Clusters: clusters()})
	if err != nil {
		return t, err
	}
	return t, b.deleteImages(ctx, name)
}

func newImage(name, path string, sums publish.Sums) glance.Image {
	return glance.Image{
		UUID: uuid.Must(uuid.NewV7()).String(), Name: name, Arch: "x86_64", Distro: "bench", Version: "1", Format: "raw", Path: path,
		Size: sums.Size, SHA256: sums.SHA256, SHA512: sums.SHA512, VirtualSize: sums.Size, BuiltAt: time.Now(),
	}
}

// openstack is OpenStack's own client.
func (b *bench) openstack(cluster string, args ...string) process.Cmd {
	return process.Cmd{
		Path: "openstack", Args: append([]string{"--os-cloud", cluster}, args...), Dir: b.dir,
		Env: process.Environ("OS_CLIENT_CONFIG_FILE=" + b.clouds),
	}
}

// deleteImages deletes the images of a name in each cluster.
func (b *bench) deleteImages(ctx context.Context, name string) error {
	for _, cluster := range clusters() {
		list, err := b.openstack(cluster, "image", "list", "--name", name, "-f", "value", "-c", "ID").Run(ctx)
		if err != nil {
			return err
		}
		ids := strings.Fields(string(list.Stdout))
		if len(ids) == 0 {
			return fmt.Errorf("%s has no image %s", cluster, name)
		}
		if _, err := b.openstack(cluster, append([]string{"image", "delete"}, ids...)...).Run(ctx); err != nil {
			return err
		}
	}
	return nil
}
