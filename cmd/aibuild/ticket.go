package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// ticket is run.json: what aibuild runs open has found out about a run, so that
// its stages need to ask nobody. It holds no secret.
type ticket struct {
	Schema        int       `json:"schema"`
	RunID         string    `json:"run_id"`
	ImageUUID     string    `json:"image_uuid"` // that the run makes or goes on with
	Image         string    `json:"image_name"`
	Project       string    `json:"project,omitempty"`
	Ref           string    `json:"ref,omitempty"`
	Commit        string    `json:"commit,omitempty"`
	Dir           string    `json:"dir"` // of the definition, where the run was opened
	From          string    `json:"from"`
	Attempt       int       `json:"attempt,omitempty"`
	RetryOf       string    `json:"retry_of,omitempty"`
	Stages        []string  `json:"stages"`         // that the run goes through, in order
	Done          []string  `json:"done,omitempty"` // of them
	Policy        api.Caps  `json:"policy"`
	Parent        *parent   `json:"parent"`
	Build         api.Build `json:"build,omitzero"`
	ServerVersion string    `json:"server_version,omitempty"`
	OpenedAt      time.Time `json:"opened_at"`

	path string
}

// parent is the image that the run's image is built from.
type parent struct {
	UUID   string `json:"image_uuid"`
	Name   string `json:"image_name"`
	Number int    `json:"number,omitempty"`
	SHA256 string `json:"sha256"`
}

const ticketSchema = 1

// readTicket reads run.json.
func readTicket(path string) (*ticket, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--run %s: there is no such file; make it with: aibuild runs open --out %s", path, path)
	}
	if err != nil {
		return nil, usagef("--run: %v", err)
	}
	var t ticket
	if err := json.Unmarshal(b, &t); err != nil {
		return nil, usagef("--run %s: it is damaged (%s); make it again with: aibuild runs open", path, jsonProblem(err))
	}
	if t.Schema > ticketSchema {
		return nil, usagef("--run %s: it was written by a newer aibuild (form %d, this one, %s, reads up to %d); use the same aibuild in all steps", path, t.Schema, version, ticketSchema)
	}
	_, idErr := uuid.Parse(t.RunID)
	_, imageErr := uuid.Parse(t.ImageUUID)
	if idErr != nil || imageErr != nil || t.Image == "" || len(t.Stages) == 0 {
		return nil, usagef("--run %s: it is damaged: it names no run, image or stage; make it again with: aibuild runs open", path)
	}
	t.path = path
	return &t, nil
}

// place makes sure that the file can be written before a run is opened for it.
func (t *ticket) place() error {
	f, err := renameio.NewPendingFile(t.path)
	if err != nil {
		return usagef("--out: %v; name a file in a folder that there is, and that may be written", err)
	}
	return f.Cleanup()
}

func (t *ticket) save() error {
	b, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(t.path, append(b, '\n'), 0o600); err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	return nil
}

// did notes that a stage went well.
func (t *ticket) did(stage string) error {
	if slices.Contains(t.Done, stage) {
		return nil
	}
	t.Done = append(t.Done, stage)
	return t.save()
}

// missing is the first stage that is not done; empty: all are.
func (t *ticket) missing() string {
	for _, stage := range t.Stages {
		if !slices.Contains(t.Done, stage) {
			return stage
		}
	}
	return ""
}

// definition is the folder of the definition for a stage after the build, where it
// is still there. A run that built its image has it in the image too.
func (t *ticket) definition() (string, error) {
	_, err := os.Stat(filepath.Join(t.Dir, "aibuild.yaml"))
	if err == nil {
		return t.Dir, nil
	}
	if t.From == aibuild.StageBuild && errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return "", usagef("--run %s: the definition of this run is not here (%v); check out commit %s to the same place, or open the run again", t.path, err, t.Commit)
}

// goes says whether the run goes through a stage.
func (t *ticket) goes(stage string) bool { return slices.Contains(t.Stages, stage) }

// ticketOf reads the file that --run names; nil without the flag.
func ticketOf(c *cli.Context) (*ticket, error) {
	if path := c.String("run"); path != "" {
		return readTicket(path)
	}
	return nil, nil
}

// quiet is a Recorder for stages that nothing is bound to: it knows the parent of
// the run, and everything that is recorded waits for aibuild runs record.
type quiet struct{ ticket *ticket }

var errQuiet = &lineage.Unavailable{Op: "record", Err: aibuild.ErrJournalled}

func (q quiet) Resolve(_ context.Context, query lineage.Query) ([]lineage.Image, error) {
	p := q.ticket.Parent
	if p != nil && (query.Good && query.Name == p.Name || query.Ref != "" && (query.Ref == p.UUID || query.Ref == p.Name || query.Ref == fmt.Sprintf("%s@%d", p.Name, p.Number))) {
		return []lineage.Image{{UUID: p.UUID, Name: p.Name, Number: p.Number, SHA256: p.SHA256, State: lineage.StatePassed}}, nil
	}
	return nil, errQuiet
}

func (quiet) Record(context.Context, ...lineage.Record) error { return errQuiet }

func (quiet) Lock(context.Context, string, time.Duration) (func() error, error) { return nil, errQuiet }

// useTicket makes a pipeline one for a stage of the ticket's run. Where neither a
// server nor a database is named, what happens is journalled.
func (w *world) useTicket(p *aibuild.Pipeline, t *ticket) {
	p.Project, p.Ref = t.Project, t.Ref
	p.Policy = func(string) (definition.Policy, error) { return t.Policy.Policy(t.Project), nil }
	if w.unbound() {
		p.Recorder = quiet{t}
	}
}

// unbound says whether nothing that records is named. An agent's environment may
// name the server to all steps: without a token it is nobody to speak to.
func (w *world) unbound() bool {
	server := w.getenv("AIBUILD_SERVER") != "" && w.getenv("AIBUILD_TOKEN")+w.getenv("AIBUILD_TOKEN_FILE") != ""
	return !server && w.getenv("AIBUILD_DSN")+w.getenv("AIBUILD_DSN_FILE") == "" && w.config.Database.DSN+w.config.Database.DSNFile == ""
}
