package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// imageReader is the story of images: the database's, or the server's.
type imageReader interface {
	Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error)
	Images(ctx context.Context, f lineage.Filter) (images []lineage.Image, next string, err error)
	History(ctx context.Context, ref string, limit int) ([]lineage.Entry, error)
}

// runReader is the story of runs, and of everything that happened.
type runReader interface {
	Run(ctx context.Context, id string) (lineage.Run, error)
	Runs(ctx context.Context, f lineage.RunFilter) (runs []lineage.Run, next string, err error)
	Events(ctx context.Context, f lineage.EventFilter) (events []lineage.Event, next string, err error)
	HookEvents(ctx context.Context, f lineage.HookFilter) (events []lineage.HookEvent, next string, err error)
}

// reader is all of them.
type reader struct {
	images   imageReader
	runs     runReader
	packages packageReader
	found    searcher
}

// reading opens the server, else the database.
func (w *world) reading(c *cli.Context) (reader, error) {
	client, err := w.client(c)
	if err != nil {
		return reader{}, err
	}
	if client != nil {
		return reader{client, serverRuns{client}, client, client}, nil
	}
	store, err := w.store(c.Context, w.logger(c))
	return reader{store, store, store, store}, err
}

// serverRuns are the runs of a server.
type serverRuns struct{ client *api.Client }

// Run gives a run as the database has it: the server names the image that an
// unfinished run is going to make.
func (s serverRuns) Run(ctx context.Context, id string) (lineage.Run, error) {
	detail, err := s.client.Run(ctx, id)
	run := detail.Run
	if err != nil || run.Final() || run.ImageUUID != run.ID {
		return run, err
	}
	_, err = s.client.Resolve(ctx, lineage.Query{Ref: run.ID})
	if errors.Is(err, lineage.ErrNotFound) {
		run.ImageUUID, err = "", nil
	}
	return run, err
}

func (s serverRuns) Runs(ctx context.Context, f lineage.RunFilter) ([]lineage.Run, string, error) {
	return s.client.Runs(ctx, f)
}

func (s serverRuns) Events(ctx context.Context, f lineage.EventFilter) ([]lineage.Event, string, error) {
	return s.client.Events(ctx, f)
}

func (s serverRuns) HookEvents(ctx context.Context, f lineage.HookFilter) ([]lineage.HookEvent, string, error) {
	return s.client.Pushes(ctx, f)
}

// imageOfRun is the image that a run works on which begins after the build, such
// as the retry of one that built it; empty where the record names none.
func (w *world) imageOfRun(c *cli.Context, id, from string) (string, error) {
	if id == "" || from == "" || from == aibuild.StageBuild {
		return "", nil
	}
	records, err := w.reading(c)
	if err != nil {
		return "", fmt.Errorf("which image run %s works on: %w", id, err)
	}
	run, err := records.runs.Run(c.Context, id)
	if errors.Is(err, lineage.ErrNotFound) || err == nil && run.ImageUUID == id { // it built one itself, before
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("which image run %s works on: %w", id, err)
	}
	return run.ImageUUID, nil
}

// steering starts and ends runs: in the database, or by the server.
type steering interface {
	start(ctx context.Context, image, ref, reason string) (id string, err error)
	cancel(ctx context.Context, id, reason string) error
	retry(ctx context.Context, id, from, reason string) (next string, err error)
}

func (w *world) steering(c *cli.Context) (steering, error) {
	client, err := w.client(c)
	if err != nil {
		return nil, err
	}
	if client != nil {
		return serverRuns{client}, nil
	}
	store, err := w.store(c.Context, w.logger(c))
	return storeRuns{store, w.config.policy}, err
}

func (s serverRuns) start(ctx context.Context, image, ref, reason string) (string, error) {
	run, err := s.client.OpenRun(ctx, api.NewRun{Image: image, Ref: ref, Reason: reason})
	missing, ok := errors.AsType[*lineage.Invalid](err)
	if ok && slices.Contains([]string{"project", "ref", "folder", "commit"}, missing.Field) { // no run says it
		return "", notPushed(image, ref)
	}
	return run.ID, err
}

func (s serverRuns) cancel(ctx context.Context, id, reason string) error {
	_, err := s.client.Cancel(ctx, id, reason)
	return err
}

func (s serverRuns) retry(ctx context.Context, id, from, reason string) (string, error) {
	run, err := s.client.Retry(ctx, id, api.RetryOptions{From: from, Reason: reason})
	return run.ID, err
}

// storeRuns are the runs of a database, which the daemon acts upon.
type storeRuns struct {
	store  *lineage.Store
	policy func(project string) (definition.Policy, error)
}

func (s storeRuns) start(ctx context.Context, image, ref, reason string) (string, error) {
	runs, _, err := s.store.Runs(ctx, lineage.RunFilter{Image: image, Limit: 100})
	if err != nil {
		return "", err
	}
	for _, last := range runs {
		if last.Project == "" || last.Folder == "" || !inRepository(last) || ref != "" && last.Ref != ref {
			continue
		}
		head, err := s.store.Head(ctx, last.Project, last.Ref)
		if err != nil {
			return "", err
		}
		if strings.Trim(head.SHA, "0") == "" { // never pushed, or deleted
			continue
		}
		next := lineage.Run{
			Image: image, Project: last.Project, Ref: last.Ref, Commit: head.SHA, Folder: last.Folder,
			From: "build", State: lineage.RunReceived,
		}
		return s.open(ctx, next, reason)
	}
	return "", notPushed(image, ref)
}

// inRepository says whether a run is of a ref and a folder of the repository: one
// that was opened where it was built is of whatever was checked out there.
func inRepository(r lineage.Run) bool {
	return r.Channel != "cli" && r.Channel != "library" && !strings.HasPrefix(r.Actor, "jenkins:")
}

func notPushed(image, ref string) error {
	of := ""
	if ref != "" {
		of = " for " + ref
	}
	return fmt.Errorf("no push of image %q was handled%s; push it first: %w", image, of, lineage.ErrNotFound)
}

func (s storeRuns) cancel(ctx context.Context, id, reason string) error {
	return s.store.RequestCancel(ctx, id, actor(), reason)
}

func (s storeRuns) retry(ctx context.Context, id, from, reason string) (string, error) {
	old, err := s.store.Run(ctx, id)
	if err != nil {
		return "", err
	}
	run, err := api.PlanRetry(ctx, s.store, s.policy, old, api.RetryOptions{From: from, Reason: reason})
	if err != nil {
		return "", err
	}
	return s.open(ctx, run, reason)
}

func (s storeRuns) open(ctx context.Context, run lineage.Run, reason string) (string, error) {
	opened, err := s.store.OpenRun(ctx, run, actor(), lineage.ChannelAPI, reason)
	return opened.ID, err
}

// serverLog copies the console of a run from the server; false where none is
// named.
func (w *world) serverLog(c *cli.Context, id string, to io.Writer) (bool, error) {
	client, err := w.client(c)
	if client == nil || err != nil {
		return false, err
	}
	return true, client.RunLog(c.Context, id, to)
}
