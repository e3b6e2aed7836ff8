package api_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Where a Glance image came from, and how its tests went.
func ExampleClient() {
	c := &api.Client{URL: "https://aibuild.example.org:9753", Token: api.Secret(os.Getenv("AIBUILD_TOKEN"))}
	defer c.Close() //nolint:errcheck // idle connections only
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	found, err := c.Resolve(ctx, lineage.Query{Ref: "11111111-2222-4333-8444-555555555555"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(found[0].Ref(), found[0].Commit, found[0].FromISO)
	cells, err := c.Cells(ctx, found[0].UUID)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, cell := range cells.Cells {
		fmt.Println(cell.Cell, len(cell.Cases), cell.Files)
	}
}

// Which version of debian-12 the cluster alpha showed on the first of November.
func ExampleClient_Resolve() {
	c := &api.Client{URL: "https://aibuild.example.org:9753", Token: api.Secret(os.Getenv("AIBUILD_TOKEN"))}
	then := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	found, err := c.Resolve(context.Background(), lineage.Query{Name: "debian-12", Cluster: "alpha", At: then})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(found[0].Ref(), found[0].SHA256, found[0].Tests)
}
