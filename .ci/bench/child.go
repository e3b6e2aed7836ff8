package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

// order is work that is measured in a process of its own, so that memory and
// reading are the work's alone.
type order struct {
	Root, File, Name, UUID string // put

	CloudsFile string // release, with File and Name
	Sums       publish.Sums
	Clusters   []string
}

// took is what the work of an order cost.
type took struct {
	Wall time.Duration
	RSS  int64 // bytes, the most
	Read int64 // bytes that the system was asked for
}

// inChild runs bench again, for one order.
func (b *bench) inChild(ctx context.Context, verb string, o order) (took, error) {
	self, err := os.Executable()
	if err != nil {
		return took{}, err
	}
	in, err := json.Marshal(o)
	if err != nil {
		return took{}, err
	}
	res, err := process.Cmd{Path: self, Args: []string{"-child", verb}, Stdin: bytes.NewReader(in), Dir: b.dir}.Run(ctx)
	if err != nil {
		return took{}, err
	}
	var t took
	return t, json.Unmarshal(res.Stdout, &t)
}

func childMain(ctx context.Context, verb string, in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("-child: %w", err)
	}
	work := map[string]func(context.Context) error{"put": o.put, "release": o.release}[verb]
	if work == nil {
		return fmt.Errorf("-child %q: unknown", verb)
	}
	before, err := bytesRead()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := work(ctx); err != nil {
		return err
	}
	t := took{Wall: time.Since(start)}
	after, err := bytesRead()
	if err != nil {
		return err
	}
	t.Read = after - before
	if t.RSS, err = highWater("self"); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(t)
}

func (o order) put(ctx context.Context) error {
	site, err := publish.Open(ctx, publish.Config{Root: o.Root})
	if err != nil {
		return err
	}
	_, err = site.Put(ctx, publish.Item{Name: o.Name, UUID: o.UUID, Image: diskName, Files: map[string]string{diskName: o.File}})
	return errors.Join(err, site.Close())
}

func (o order) release(ctx context.Context) error {
	_, err := glance.Releaser{CloudsFile: o.CloudsFile}.Release(ctx, newImage(o.Name, o.File, o.Sums), o.Clusters)
	return err
}
