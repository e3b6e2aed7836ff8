// Command release uploads a disk image to OpenStack clusters: hidden first,
// compared with its digests, then visible, then the older ones hidden.
//
//	release IMAGE.qcow2 NAME UUID CLUSTER...
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/publish"
	"github.com/guestos/aibuild/aibuild/qemu"
)

func main() {
	if len(os.Args) < 5 {
		log.Fatal("usage: release IMAGE.qcow2 NAME UUID CLUSTER...")
	}
	ctx, path := context.Background(), os.Args[1]
	header, err := qemu.Tool{}.Check(ctx, path, "qcow2") // Glance itself does not look inside
	if err != nil {
		log.Fatal(err)
	}
	sums, err := publish.Digest(ctx, path, nil)
	if err != nil {
		log.Fatal(err)
	}
	r := glance.Releaser{CloudsFile: os.Getenv("OS_CLIENT_CONFIG_FILE")}
	targets, err := r.Release(ctx, glance.Image{
		UUID: os.Args[3], Name: os.Args[2], Path: path, Format: "qcow2", Arch: "x86_64", BuiltAt: time.Now(),
		Size: sums.Size, SHA256: sums.SHA256, SHA512: sums.SHA512, VirtualSize: header.VirtualSize,
	}, os.Args[4:])
	for _, t := range targets {
		fmt.Println(t.Cluster, t.State, t.GlanceID, t.Error)
	}
	if err != nil {
		log.Fatal(err)
	}
}
