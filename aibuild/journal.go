package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/renameio/v2"
	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// ErrJournalled is what a Recorder gives, within a *lineage.Unavailable, that is
// there for nothing else: what it is given waits for another one. That is no news.
var ErrJournalled = errors.New("it is journalled, and recorded later")

// away tells that the database is away, unless that is meant so.
func (p *Pipeline) away(err error, text string, args ...any) {
	if !errors.Is(err, ErrJournalled) {
		p.log().Warn("the database is away: "+text, append(args, "error", err)...)
	}
}

// A journal file notes what waits for a database: of an image only where its
// manifest is, of a run the records themselves. An image has the id of the run
// that made it, so the kind is part of the name.
func (p *Pipeline) imageJournal(uuid string) string {
	return filepath.Join(p.DataDir, "journal", "image-"+uuid+".json")
}

func (p *Pipeline) runJournal(id string) string {
	return filepath.Join(p.DataDir, "journal", "run-"+id+".json")
}

// waiting is the content of a journal file.
type waiting struct {
	Name    string           `json:"image_name,omitempty"` // of an image: its manifest holds the records
	UUID    string           `json:"image_uuid,omitempty"`
	Records []lineage.Record `json:"records,omitempty"` // of a run that has no image
}

// stamp completes records with what all of one pipeline's have in common.
func (p *Pipeline) stamp(records []lineage.Record) error {
	for i := range records {
		r := &records[i]
		if r.ID == "" {
			id, err := uuid.NewV7()
			if err != nil {
				return err
			}
			r.ID = id.String()
		}
		if r.At.IsZero() {
			r.At = p.now()
		}
		if r.Actor == "" { // else another process has made it
			r.Actor, r.Channel = p.actor(), p.channel()
		}
	}
	return nil
}

// record adds to an image's story: first to the manifest, which is always
// there, then to the Recorder. What the Recorder cannot take now waits in the
// manifest; what it refuses is an error, and no part of the story.
func (p *Pipeline) record(ctx context.Context, img *Image, records ...lineage.Record) error {
	// What happened has happened: a cancelled context must not lose its record.
	ctx = context.WithoutCancel(ctx)
	if err := p.stamp(records); err != nil {
		return err
	}
	// What waits from before goes first: a refusal must be about the new ones. What
	// is not ours to tell any more, as the run of a Jenkins build that has ended, is
	// left to the daemon, and keeps nobody from his work.
	var stuck []string
	if err := p.deliver(ctx, img, nil); refused(err) {
		stuck = slices.Clone(img.Pending)
		p.log().Warn("what waits from before was refused: it is left to the daemon", "image", img.Ref(), "error", err)
	} else if err != nil {
		return err
	}
	for i := range records {
		records[i].ImageUUID = img.UUID
		img.Records = append(img.Records, records[i])
		img.Pending = append(img.Pending, records[i].ID)
	}
	saveErr := p.save(ctx, img) // a full web root must not keep the database from knowing
	err := p.deliver(ctx, img, stuck)
	if refused(err) {
		img.forget(records)
		return errors.Join(err, p.save(ctx, img))
	}
	if err == nil && len(img.Pending) == len(stuck) && p.Recorder != nil {
		return nil // deliver has saved it
	}
	return errors.Join(saveErr, err)
}

// refused says whether the Recorder will never take a record.
func refused(err error) bool {
	var conflict *lineage.Conflict
	var taken *lineage.Taken
	var invalid *lineage.Invalid
	var rule *definition.Refused
	var gate *Refused
	return errors.As(err, &conflict) || errors.As(err, &taken) || errors.As(err, &invalid) ||
		errors.As(err, &rule) || errors.As(err, &gate)
}

// forget takes records out of the story.
func (i *Image) forget(records []lineage.Record) {
	for _, r := range records {
		i.Records = slices.DeleteFunc(i.Records, func(x lineage.Record) bool { return x.ID == r.ID })
		i.Pending = slices.DeleteFunc(i.Pending, func(id string) bool { return id == r.ID })
	}
}

// deliver sends an image's pending records but those that are stuck, and notes
// on this machine when they have to wait.
func (p *Pipeline) deliver(ctx context.Context, img *Image, stuck []string) error {
	var due []lineage.Record
	for _, r := range img.Records {
		if slices.Contains(img.Pending, r.ID) && !slices.Contains(stuck, r.ID) {
			due = append(due, r)
		}
	}
	if len(due) == 0 || p.Recorder == nil {
		return nil
	}
	sent, err := p.send(ctx, img.UUID, due)
	if err != nil {
		return err
	}
	if !sent {
		return p.journal(p.imageJournal(img.UUID), waiting{Name: img.Name, UUID: img.UUID})
	}
	img.Pending = stuck
	if err := p.save(ctx, img); err != nil || len(stuck) > 0 {
		return err
	}
	return p.delivered(p.imageJournal(img.UUID))
}

// recordRun records a step of a run that has no image yet.
func (p *Pipeline) recordRun(ctx context.Context, records ...lineage.Record) error {
	if p.Recorder == nil {
		return nil
	}
	if err := p.stamp(records); err != nil {
		return err
	}
	id := records[0].RunID
	file := p.runJournal(id)
	earlier, err := p.readJournal(file)
	if err != nil {
		return err
	}
	due := slices.Concat(earlier.Records, records)
	sent, err := p.send(context.WithoutCancel(ctx), id, due)
	if err != nil {
		return err
	}
	if !sent {
		return p.journal(file, waiting{Records: due})
	}
	return p.delivered(file)
}

// send reports false when the database is away: not an error, as work goes on.
func (p *Pipeline) send(ctx context.Context, id string, due []lineage.Record) (bool, error) {
	err := p.Recorder.Record(ctx, due...)
	var down *lineage.Unavailable
	if errors.As(err, &down) {
		p.away(err, "the record is journalled and delivered later", "id", id)
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("record %s: %w", id, err)
	}
	return true, nil
}

func (p *Pipeline) journal(path string, w waiting) error {
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o600)
}

func (p *Pipeline) delivered(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func (p *Pipeline) readJournal(path string) (waiting, error) {
	var w waiting
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return w, nil
	}
	if err != nil {
		return w, err
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return w, fmt.Errorf("%s is damaged: %w; what it held can be read there, move it away to go on", path, err)
	}
	return w, nil
}

// Deliver sends what earlier runs on this machine could not record. It returns
// how many images and runs were delivered.
func (p *Pipeline) Deliver(ctx context.Context) (int, error) {
	if p.Recorder == nil {
		return 0, nil
	}
	files, err := filepath.Glob(filepath.Join(p.DataDir, "journal", "*.json"))
	if err != nil {
		return 0, err
	}
	count := 0
	var errs []error
	for _, path := range files {
		sent, err := p.deliverFile(ctx, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("deliver %s: %w", path, err))
		}
		if sent {
			count++
		}
	}
	return count, errors.Join(errs...)
}

func (p *Pipeline) deliverFile(ctx context.Context, path string) (bool, error) {
	w, err := p.readJournal(path)
	if err != nil {
		return false, err
	}
	if w.UUID == "" {
		sent, err := p.send(ctx, filepath.Base(path), w.Records)
		if err != nil || !sent {
			return false, err
		}
		return true, p.delivered(path)
	}
	unlock, err := p.lock(ctx, w.UUID)
	if err != nil {
		return false, err
	}
	defer unlock()
	img, err := p.load(ctx, w.Name, w.UUID)
	if errors.Is(err, publish.ErrNotFound) {
		return false, p.delivered(path) // its folder was removed by hand
	}
	if err != nil {
		return false, err
	}
	if err := p.deliver(ctx, img, nil); err != nil {
		return false, err
	}
	if len(img.Pending) == 0 {
		return true, p.delivered(path)
	}
	return false, nil
}
