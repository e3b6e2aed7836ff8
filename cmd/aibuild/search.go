package main

import (
	"context"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// searcher finds what a text may mean: in the database, or by the server.
type searcher interface {
	Search(ctx context.Context, q lineage.SearchQuery) (lineage.Found, error)
}

func (w *world) searchCommand() *cli.Command {
	return &cli.Command{
		Name: "search", Usage: "what a text may mean: part of a name, a commit, a Glance id, sha256, URL, a run", ArgsUsage: "TEXT",
		Flags:  []cli.Flag{&cli.IntFlag{Name: "limit", Value: 20, Usage: "at most `N` of each kind"}, outputFlag(), webFlag()},
		Action: w.search,
	}
}

func (w *world) search(c *cli.Context) error {
	if err := args(c, "TEXT"); err != nil {
		return err
	}
	text := c.Args().First()
	if c.Bool("web") {
		return w.showPage(c, "/search", "q", text)
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	found, err := from.found.Search(c.Context, lineage.SearchQuery{Text: text, Limit: c.Int("limit")})
	if err != nil {
		return fmt.Errorf("search %q: %w", text, err)
	}
	if found.More {
		fmt.Fprintln(w.stderr, "there is more: search for more of the word, or raise --limit")
	}
	if len(found.Names)+len(found.Images)+len(found.Runs) == 0 {
		return fmt.Errorf("search %q: %w", text, lineage.ErrNotFound)
	}
	return w.print(c, found, func(t io.Writer) error { return printFound(t, found) })
}

func printFound(t io.Writer, f lineage.Found) error {
	if err := row(t, "KIND", "WHAT", "STATE", "WHEN", "COMMIT", "CLUSTERS", "UUID OR RUN"); err != nil {
		return err
	}
	images := func(kind string, list []lineage.Image) error {
		for _, i := range list {
			if err := row(t, kind, i.Ref(), i.State, when(i.BuiltAt), shortCommit(i.Commit), inClusters(i), i.UUID); err != nil {
				return err
			}
		}
		return nil
	}
	if err := images("name", f.Names); err != nil {
		return err
	}
	if err := images("image", f.Images); err != nil {
		return err
	}
	for _, r := range f.Runs {
		if err := row(t, "run", r.Image, r.State, when(r.OpenedAt), shortCommit(r.Commit), "", r.ID); err != nil {
			return err
		}
	}
	return nil
}
