package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// packageReader is what is known of packages: by the database, or the server.
type packageReader interface {
	WithPackage(ctx context.Context, q lineage.PackageQuery) (list []lineage.Installed, next string, err error)
	Diff(ctx context.Context, from, to string) (lineage.Diff, error)
}

func (w *world) packageCommand() *cli.Command {
	return &cli.Command{
		Name: "package", Usage: "which images have a package, and where they are", ArgsUsage: "NAME",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "version", Usage: "only this `VERSION`, as its manager writes it"},
			&cli.BoolFlag{Name: "released", Usage: "only images that a cluster shows now"},
			limitFlag(), outputFlag(),
			&cli.StringFlag{Name: "cursor", Usage: "go on after this `PLACE`, as printed before"},
		},
		Action: w.withPackage,
	}
}

func (w *world) withPackage(c *cli.Context) error {
	if err := args(c, "NAME"); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	list, next, err := from.packages.WithPackage(c.Context, lineage.PackageQuery{
		Name: c.Args().First(), Version: c.String("version"), Released: c.Bool("released"), Cursor: c.String("cursor"), Limit: c.Int("limit"),
	})
	if err != nil {
		return fmt.Errorf("package %q: %w", c.Args().First(), err)
	}
	if next != "" {
		fmt.Fprintf(w.stderr, "more: --cursor %s\n", next)
	}
	return w.print(c, list, func(t io.Writer) error { return printInstalled(t, list) })
}

// printInstalled has a line for each cluster that an image is in.
func printInstalled(t io.Writer, list []lineage.Installed) error {
	if err := row(t, "IMAGE", "VERSION", "ARCH", "CLUSTER", "STATE", "GLANCE ID", "UUID"); err != nil {
		return err
	}
	for _, i := range list {
		if len(i.Targets) == 0 {
			if err := row(t, i.Ref(), i.Version, i.Arch, "", i.State, "", i.ImageUUID); err != nil {
				return err
			}
		}
		for _, g := range i.Targets {
			if err := row(t, i.Ref(), i.Version, i.Arch, g.Cluster, g.State, g.GlanceID, i.ImageUUID); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *world) imageDiff(c *cli.Context) error {
	if err := args(c, "IMAGE", "IMAGE"); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	a, b := c.Args().Get(0), c.Args().Get(1)
	d, err := from.packages.Diff(c.Context, a, b)
	if err != nil {
		return fmt.Errorf("images %q and %q: %w", a, b, err)
	}
	return w.print(c, d, func(t io.Writer) error { return printDiff(t, d) })
}

func printDiff(t io.Writer, d lineage.Diff) error {
	rows := [][3]string{{"WHAT", d.From.Ref(), d.To.Ref()}, {"uuid", d.From.UUID, d.To.UUID}, {"built", when(d.From.BuiltAt), when(d.To.BuiltAt)}}
	for _, f := range d.Facts {
		rows = append(rows, [3]string{f.What, f.From, f.To})
	}
	for _, f := range d.Tests {
		rows = append(rows, [3]string{"test " + f.What, f.From, f.To})
	}
	rows = append(rows, packageRows(d)...)
	for _, r := range rows {
		if err := row(t, r[0], r[1], r[2]); err != nil {
			return err
		}
	}
	return nil
}

func packageRows(d lineage.Diff) [][3]string {
	of := func(n int) string {
		if n == 0 {
			return "not recorded"
		}
		return fmt.Sprint(n)
	}
	rows := [][3]string{{"packages", of(d.FromCount), of(d.ToCount)}}
	if d.Packages == nil {
		return rows
	}
	rows[0][2] += ": " + d.Packages.Counts()
	name := func(p lineage.Package) string { return p.Name + " " + p.Arch }
	for _, p := range d.Packages.Changed {
		rows = append(rows, [3]string{p.Change + " " + name(lineage.Package{Name: p.Name, Arch: p.Arch}), p.From, p.To})
	}
	for _, p := range d.Packages.Added {
		rows = append(rows, [3]string{"added " + name(p), "", p.Version})
	}
	for _, p := range d.Packages.Removed {
		rows = append(rows, [3]string{"removed " + name(p), p.Version, ""})
	}
	return rows
}
