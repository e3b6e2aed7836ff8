package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/definition"
)

func (w *world) definitionCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "init", Usage: "write a complete definition to start from", ArgsUsage: "NAME [FOLDER]",
			Flags:  []cli.Flag{&cli.StringFlag{Name: "template", Usage: "wrap this Packer template, unchanged"}},
			Action: w.initDefinition,
		},
		{
			Name: "validate", Usage: "check a definition: every problem at once", ArgsUsage: "[DIR]",
			Flags: []cli.Flag{
				outputFlag(),
				&cli.BoolFlag{Name: "print-schema", Usage: "print the JSON schema of aibuild.yaml, for editors"},
			},
			Action: w.validate,
		},
		w.changedCommand(),
	}
}

func (w *world) initDefinition(c *cli.Context) error {
	if err := args(c, "NAME", "FOLDER?"); err != nil {
		return err
	}
	var template []byte
	if path := c.String("template"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return usagef("template: %v", err)
		}
		template = b
	}
	name := c.Args().First()
	files, err := definition.Scaffold(name, template)
	if err != nil {
		return err
	}
	dir := c.Args().Get(1)
	if dir == "" {
		dir = name
	}
	if err := os.Mkdir(dir, 0o755); errors.Is(err, os.ErrExist) {
		return usagef("%s exists already; name another folder", dir)
	} else if err != nil {
		return err
	}
	if err := writeFiles(dir, files); err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "wrote %d files; next: aibuild validate %s\n", len(files), dir)
	_, err = fmt.Fprintln(w.stdout, dir)
	return err
}

func writeFiles(dir string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if len(content) > 2 && string(content[:2]) == "#!" {
			mode = 0o755
		}
		if err := os.WriteFile(path, content, mode); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) validate(c *cli.Context) error {
	if err := args(c, "DIR?"); err != nil {
		return err
	}
	if c.Bool("print-schema") {
		_, err := w.stdout.Write(definition.Schema())
		return err
	}
	d, err := (&aibuild.Pipeline{}).Validate(c.Context, dirArgument(c))
	if err != nil {
		return err
	}
	summary := map[string]any{
		"name": d.Name, "cells": len(d.Test.Matrix.Cells()), "cases": len(d.Cases), "clusters": slices.Clone(d.Release.Clusters),
		"digests": map[string]string{"build": d.Digests.Build, "test": d.Digests.Test, "release": d.Digests.Release},
	}
	return w.print(c, summary, func(t io.Writer) error {
		_, err := fmt.Fprintf(t, "%s is valid: %d cells, %d cases, releases to %d clusters\n", d.Name, len(d.Test.Matrix.Cells()), len(d.Cases), len(d.Release.Clusters))
		return err
	})
}

func dirArgument(c *cli.Context) string {
	if c.Args().Present() {
		return c.Args().First()
	}
	return "."
}
