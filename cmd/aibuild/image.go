package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func limitFlag() cli.Flag {
	return &cli.IntFlag{Name: "limit", Value: 50, Usage: "at most `N`"}
}

func (w *world) imageCommand() *cli.Command {
	return &cli.Command{
		Name: "image", Usage: "images: what there is, where it came from, where it is",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "images, newest first", ArgsUsage: "[NAME]",
				Flags:  []cli.Flag{limitFlag(), sinceFlag(), outputFlag(), webFlag(), &cli.StringFlag{Name: "state", Usage: "only in this `STATE`"}},
				Action: w.imageList,
			},
			{
				Name: "show", Usage: "one image: NAME, NAME@N, uuid, Glance id, sha256 or URL", ArgsUsage: "IMAGE",
				Flags: []cli.Flag{
					outputFlag(), webFlag(),
					&cli.StringFlag{Name: "cluster", Usage: "the version of a NAME that this `CLUSTER` shows, or showed --at a time"},
					&cli.StringFlag{Name: "at", Usage: "with --cluster: `WHEN`, as 90m, 12h, 7d ago, 2026-11-01 or 2026-11-01T08:00:00Z"},
				},
				Action: w.imageShow,
			},
			{Name: "history", Usage: "the images of a name, newest first, and runs that made none", ArgsUsage: "NAME|UUID", Flags: []cli.Flag{limitFlag(), outputFlag(), webFlag()}, Action: w.imageHistory},
			{Name: "tree", Usage: "what an image was built from, and what was built from it", ArgsUsage: "IMAGE", Flags: []cli.Flag{outputFlag()}, Action: w.imageTree},
			{
				Name: "diff", Usage: "what sets two images apart: packages, size, source, commit, settings, tests", ArgsUsage: "IMAGE IMAGE",
				Flags: []cli.Flag{outputFlag()}, Action: w.imageDiff,
			},
			{
				Name: "boot", Usage: "boot an image as its tests do, and log in", ArgsUsage: "IMAGE",
				Flags: []cli.Flag{&cli.StringFlag{Name: "cell", Usage: "such as bios-virtio-nocloud"}}, Action: w.imageBoot,
			},
			{
				Name: "revoke", Usage: "withdraw an image everywhere", ArgsUsage: "IMAGE", Flags: []cli.Flag{reasonFlag()},
				Action: w.change("revoked", func(c *cli.Context, p *aibuild.Pipeline, ref, reason string) (*aibuild.Image, error) {
					return p.Revoke(c.Context, ref, reason)
				}),
			},
			{
				Name: "restore", Usage: "take a revocation back", ArgsUsage: "IMAGE", Flags: []cli.Flag{reasonFlag()},
				Action: w.change("restored", func(c *cli.Context, p *aibuild.Pipeline, ref, reason string) (*aibuild.Image, error) {
					return p.Restore(c.Context, ref, reason)
				}),
			},
			{
				Name: "hold", Usage: "keep an image from every deletion", ArgsUsage: "IMAGE",
				Flags: []cli.Flag{reasonFlag(), &cli.BoolFlag{Name: "off", Usage: "let it go again"}},
				Action: w.change("hold recorded for", func(c *cli.Context, p *aibuild.Pipeline, ref, reason string) (*aibuild.Image, error) {
					return p.Hold(c.Context, ref, !c.Bool("off"), reason)
				}),
			},
			{
				Name: "transfer", Usage: "give an image's name to another project", ArgsUsage: "IMAGE",
				Flags: []cli.Flag{reasonFlag(), &cli.StringFlag{Name: "to", Usage: "`PROJECT`, such as group/images (needed)"}},
				Action: w.change("transferred", func(c *cli.Context, p *aibuild.Pipeline, ref, reason string) (*aibuild.Image, error) {
					if c.String("to") == "" {
						return nil, usagef("aibuild image transfer: --to PROJECT is missing")
					}
					return p.Transfer(c.Context, ref, c.String("to"), reason)
				}),
			},
		},
	}
}

// change is the shape of every command that records a decision.
func (w *world) change(done string, do func(*cli.Context, *aibuild.Pipeline, string, string) (*aibuild.Image, error)) cli.ActionFunc {
	return func(c *cli.Context) error {
		if err := args(c, "IMAGE"); err != nil {
			return err
		}
		p, err := w.pipeline(c)
		if err != nil {
			return err
		}
		img, err := do(c, p, c.Args().First(), c.String("reason"))
		if err != nil {
			return err
		}
		fmt.Fprintln(w.stderr, done, img.Ref())
		return w.printUUID(img, nil)
	}
}

func (w *world) imageList(c *cli.Context) error {
	if err := args(c, "NAME?"); err != nil {
		return err
	}
	since, err := sinceTime(c)
	if err != nil {
		return err
	}
	if c.Bool("web") {
		return w.showPage(c, "/images", "name", c.Args().First(), "state", c.String("state"))
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	images, _, err := from.images.Images(c.Context, lineage.Filter{Name: c.Args().First(), State: c.String("state"), Since: since, Limit: c.Int("limit")})
	if err != nil {
		return err
	}
	if images == nil {
		images = []lineage.Image{}
	}
	return w.print(c, images, func(t io.Writer) error {
		if err := row(t, "IMAGE", "STATE", "BUILT", "OS", "COMMIT", "CLUSTERS", "UUID"); err != nil {
			return err
		}
		for _, i := range images {
			if err := row(t, i.Ref(), i.State, when(i.BuiltAt), strings.TrimSpace(i.OSType+" "+i.OSVer), shortCommit(i.Commit), inClusters(i), i.UUID); err != nil {
				return err
			}
		}
		return nil
	})
}

func shortCommit(commit string) string { return commit[:min(len(commit), 10)] }

func inClusters(i lineage.Image) string {
	var all []string
	for _, t := range i.Targets {
		all = append(all, t.Cluster+":"+t.State)
	}
	return strings.Join(all, " ")
}

func (w *world) imageShow(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	q, err := imageAsked(c)
	if err != nil {
		return err
	}
	if c.Bool("web") && q.At.IsZero() {
		return w.showPage(c, "/images/"+url.PathEscape(q.Ref))
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	found, err := from.images.Resolve(c.Context, q)
	if err != nil {
		return fmt.Errorf("image %q: %w", c.Args().First(), err)
	}
	if c.Bool("web") {
		return w.showPage(c, "/images/"+url.PathEscape(found[0].UUID))
	}
	return w.print(c, found[0], func(t io.Writer) error { return showImage(t, found[0]) })
}

// imageAsked is a reference, or a name with the cluster that showed it at a time.
func imageAsked(c *cli.Context) (lineage.Query, error) {
	at, err := timeFlag(c, "at")
	switch {
	case err != nil:
		return lineage.Query{}, err
	case c.String("cluster") == "" && !at.IsZero():
		return lineage.Query{}, usagef("%s: --at needs --cluster: say where", c.Command.HelpName)
	case c.String("cluster") == "":
		return lineage.Query{Ref: c.Args().First()}, nil
	case at.IsZero():
		at = time.Now()
	}
	return lineage.Query{Name: c.Args().First(), Cluster: c.String("cluster"), At: at}, nil
}

// one resolves a reference to its image.
func one(ctx context.Context, from imageReader, ref string) (lineage.Image, error) {
	found, err := from.Resolve(ctx, lineage.Query{Ref: ref})
	if err != nil {
		return lineage.Image{}, fmt.Errorf("image %q: %w", ref, err)
	}
	return found[0], nil
}

func showImage(t io.Writer, i lineage.Image) error {
	rows := [][2]string{
		{"image", i.Ref()}, {"uuid", i.UUID}, {"state", i.State}, {"os", strings.TrimSpace(i.OSType + " " + i.OSVer)},
		{"built", when(i.BuiltAt)}, {"from", i.FromISO}, {"commit", i.Commit}, {"project", i.Project}, {"sha256", i.SHA256},
	}
	if a := i.Artifact; a != nil {
		rows = append(rows, [][2]string{
			{"source sha256", a.SourceSHA256}, {"parent", a.ParentUUID}, {"size", size(a.Size)}, {"virtual size", size(a.VirtualSize)},
			{"accelerator", a.Accelerator}, {"packer, qemu", a.Tools["packer"] + ", " + a.Tools["qemu"]},
			{"in images/build", a.BuildURL}, {"in images/release", a.ReleaseURL},
		}...)
	}
	if v := i.Verdict; v != nil {
		rows = append(rows, [2]string{"tests", v.Result + ": " + v.TestCase + ", " + when(v.At)})
	}
	for _, g := range i.Targets {
		rows = append(rows, [2]string{"cluster " + g.Cluster, strings.TrimSpace(g.State + " " + g.GlanceID + " " + g.Error)})
	}
	rows = append(rows, [2]string{"changes", strings.ReplaceAll(i.UpdateContents, "\n", "; ")})
	for _, r := range rows {
		if err := row(t, r[0]+":", r[1]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) imageHistory(c *cli.Context) error {
	if err := args(c, "NAME|UUID"); err != nil {
		return err
	}
	if c.Bool("web") {
		return w.showPage(c, "/images/"+url.PathEscape(c.Args().First()))
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	entries, err := from.images.History(c.Context, c.Args().First(), c.Int("limit"))
	if err != nil {
		return fmt.Errorf("image %q: %w", c.Args().First(), err)
	}
	return w.print(c, entries, func(t io.Writer) error {
		if err := row(t, "IMAGE", "STATE", "BUILT", "COMMIT", "TESTS", "CLUSTERS", "UUID OR RUN"); err != nil {
			return err
		}
		for _, e := range entries {
			if err := historyRow(t, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func historyRow(t io.Writer, e lineage.Entry) error {
	if r := e.Run; r != nil {
		reason, _, _ := strings.Cut(r.Reason, "\n")
		return row(t, "(no image)", r.State, when(r.OpenedAt), shortCommit(r.Commit), reason, "", r.ID)
	}
	i := e.Image
	tests := ""
	if i.Verdict != nil {
		tests = i.Verdict.Result + ": " + i.Verdict.TestCase
	}
	return row(t, i.Ref(), i.State, when(i.BuiltAt), shortCommit(i.Commit), tests, inClusters(*i), i.UUID)
}

// node is an image in its family.
type node struct {
	UUID     string `json:"image_uuid"`
	Ref      string `json:"image"`
	State    string `json:"state"`
	Children []node `json:"children,omitempty"`
}

func (w *world) imageTree(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	img, err := one(c.Context, from.images, c.Args().First())
	if err != nil {
		return err
	}
	tree, err := descend(c.Context, from.images, img, 0)
	if err != nil {
		return err
	}
	for a := img.Artifact; a != nil && a.ParentUUID != ""; {
		parent, err := one(c.Context, from.images, a.ParentUUID)
		if err != nil {
			return err
		}
		tree = node{UUID: parent.UUID, Ref: parent.Ref(), State: parent.State, Children: []node{tree}}
		a = parent.Artifact
	}
	return w.print(c, tree, func(t io.Writer) error { return printTree(t, tree, 0) })
}

// deepest is how many generations are shown.
const deepest = 20

func descend(ctx context.Context, from imageReader, img lineage.Image, depth int) (node, error) {
	n := node{UUID: img.UUID, Ref: img.Ref(), State: img.State}
	if depth == deepest {
		return n, nil
	}
	children, err := from.Resolve(ctx, lineage.Query{Parent: img.UUID})
	if err != nil && !isNotFound(err) {
		return n, err
	}
	for _, child := range children {
		c, err := descend(ctx, from, child, depth+1)
		if err != nil {
			return n, err
		}
		n.Children = append(n.Children, c)
	}
	return n, nil
}

func printTree(t io.Writer, n node, depth int) error {
	if err := row(t, strings.Repeat("  ", depth)+n.Ref, n.State, n.UUID); err != nil {
		return err
	}
	for _, c := range n.Children {
		if err := printTree(t, c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) imageBoot(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	p, err := w.pipeline(c)
	if err != nil {
		return err
	}
	guest, err := p.Boot(c.Context, c.Args().First(), c.String("cell"))
	if err != nil {
		return err
	}
	started := time.Now()
	fmt.Fprintf(w.stderr, "booting %s in %s; serial console: %s\n", guest.Image.Ref(), guest.Cell, guest.SerialPath())
	if err := guest.Ready(c.Context); err != nil && c.Context.Err() == nil {
		fmt.Fprintf(w.stderr, "aibuild: %v\nthe guest stays up: look at its serial console; Ctrl-C ends it\n", err)
	} else if err == nil {
		fmt.Fprintf(w.stderr, "ready after %.1f s; Ctrl-C ends the guest; log in with:\n", time.Since(started).Seconds())
		if _, err := fmt.Fprintln(w.stdout, strings.Join(guest.SSHCommand(), " ")); err != nil {
			return err
		}
	}
	select {
	case <-c.Context.Done():
	case <-guest.Done():
		fmt.Fprintln(w.stderr, "the guest has ended")
	}
	return guest.Close()
}
