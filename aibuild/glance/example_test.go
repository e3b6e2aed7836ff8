package glance_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
)

// Release one file to two clusters and say what became of it in each.
func ExampleReleaser_Release() {
	releaser := glance.Releaser{CloudsFile: "/etc/openstack/clouds.yaml"}
	image := glance.Image{
		UUID: "019ac1a0-0000-7000-8000-000000000001", Name: "debian-12", Arch: "x86_64", Distro: "debian", Version: "12",
		Format: "qcow2", Path: "/srv/www/images/release/debian-12.qcow2", Size: 412_876_800,
		SHA512: "(128 hex digits, from SHA512SUMS)", VirtualSize: 2 << 30, MinRAM: 1 << 30, User: "debian",
		BuiltAt: time.Date(2026, 11, 22, 9, 30, 0, 0, time.UTC),
	}
	targets, err := releaser.Release(context.Background(), image, []string{"alpha", "beta"})
	for _, target := range targets {
		fmt.Println(target.Cluster, target.State, target.GlanceID)
	}
	switch {
	case errors.Is(err, glance.ErrDigest):
		fmt.Println("the file is not the one that was recorded:", err)
	case err != nil:
		fmt.Println("not everywhere:", err)
	}
}
