package main

import (
	"errors"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) importPublished(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	log := w.logger(c)
	site, err := w.site(c.Context, log)
	if err != nil {
		return err
	}
	store, err := w.openStore(c.Context, log)
	if err != nil {
		return err
	}
	if err := store.Ready(c.Context); err != nil {
		return err
	}
	list, err := aibuild.ImportPublished(c.Context, site, func(number int, records []lineage.Record) (bool, error) {
		_, err := store.Resolve(c.Context, lineage.Query{Ref: records[0].ImageUUID})
		if err != nil && !isNotFound(err) {
			return false, err
		}
		return err == nil, store.Import(c.Context, number, records...)
	})
	if list == nil {
		return err
	}
	return errors.Join(w.print(c, list, func(t io.Writer) error { return importedRows(t, list) }), err)
}

func importedRows(t io.Writer, list []aibuild.Imported) error {
	if err := row(t, "IMAGE", "UUID", "STORY"); err != nil {
		return err
	}
	for _, i := range list {
		what := "recorded"
		switch {
		case i.Error != "":
			what = i.Error
		case i.Known:
			what = "known before"
		}
		if err := row(t, lineage.Image{Name: i.Name, Number: i.Number}.Ref(), i.UUID, what); err != nil {
			return err
		}
	}
	return nil
}
