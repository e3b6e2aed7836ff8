package packer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// Validate has Packer check the job's template with its variables; nothing is
// built and nothing is left behind. WorkDir may be empty. Errors are *Failed but
// for misuse.
func (t Tool) Validate(ctx context.Context, job Job) (err error) {
	if job.WorkDir == "" {
		dir, err := os.MkdirTemp("", "aibuild-validate-")
		if err != nil {
			return fmt.Errorf("work folder: %w", err)
		}
		defer os.RemoveAll(dir)
		job.WorkDir = filepath.Join(dir, "work")
	}
	job.Progress = nil
	r, err := t.prepare(ctx, job)
	if err != nil {
		return err
	}
	defer func() { err = withCleanup(err, r.folder.discard()) }()
	r.begin()
	return r.validate(ctx)
}

// Build validates the template, runs the build and returns the image. After an
// error nothing but the evidence is left; errors are *Failed but for misuse. When
// ctx ends Packer gets TERM and 25 s to clean up.
func (t Tool) Build(ctx context.Context, job Job) (image *Artifact, err error) {
	r, err := t.prepare(ctx, job)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil {
			err = r.folder.remove()
		}
		if err != nil {
			image, err = nil, withCleanup(err, r.folder.discard())
		}
	}()
	r.begin()
	defer r.progress.close()
	if err := r.validate(ctx); err != nil {
		return nil, err
	}
	return r.build(ctx)
}

// withCleanup keeps err the *Failed that it is.
func withCleanup(err, cleanup error) error {
	var f *Failed
	if cleanup != nil && errors.As(err, &f) {
		f.Lines = append(f.Lines, "cleaning up: "+cleanup.Error())
		return err
	}
	return errors.Join(err, cleanup)
}

func (r *run) begin() {
	r.progress = newProgress(r.job.Progress)
	r.talk = newTalk(r.progress)
	r.guest = newGuest(r.dirs, r.logPath(), r.note)
}

func (r *run) note(text string) {
	r.progress.send(Event{Kind: "note", Phase: r.talk.now(), Build: r.source.Build, Text: text})
}

// validate is packer validate.
func (r *run) validate(ctx context.Context) error {
	talk := newTalk(newProgress(nil))
	s := newScanner(talk.line)
	_, err := r.command("validate", s).Run(ctx)
	s.flush()
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return cancelled(ctx, "validating the template")
	}
	return r.explainValidation(err, talk.said())
}

// ending is why we ended a build.
type ending struct {
	fault   *qemu.Fault
	timeout bool
}

// build is packer build.
func (r *run) build(ctx context.Context) (*Artifact, error) {
	if err := sharePorts(r.cache()); err != nil {
		r.note(err.Error())
	}
	s := newScanner(r.talk.line)
	sink, err := r.openStream(s)
	if err != nil {
		return nil, r.infrastructure(err)
	}
	// Not ctx: before TERM the screen has to be saved.
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if r.emu.unwatch != "" {
		r.note("the console is not watched: " + r.emu.unwatch)
	}
	started := time.Now()
	p, err := r.command("build", sink).Start(own)
	if err != nil {
		_, closing := r.gather(false)
		return nil, errors.Join(r.infrastructure(err), closing)
	}
	r.guest.watch(own, r.talk.now, r.job.WatchConsole)
	end := r.watch(ctx, p)
	stop()
	result, err := p.Wait()
	s.flush()
	watched, watchErr := r.guest.finish()
	if watchErr != nil {
		r.note(watchErr.Error())
	}
	failed := r.judge(ctx, err, end)
	if failed == nil {
		return r.artifact(result, time.Since(started), watched)
	}
	return nil, r.close(failed)
}

// openStream is where Packer's words go: to the scanner and into the evidence.
func (r *run) openStream(s *scanner) (io.Writer, error) {
	if r.job.Evidence == "" {
		return s, nil
	}
	if err := os.MkdirAll(r.job.Evidence, 0o755); err != nil {
		return nil, fmt.Errorf("evidence folder: %w", err)
	}
	var err error
	if r.stream, err = newCappedFile(filepath.Join(r.job.Evidence, streamFile)); err != nil {
		return nil, fmt.Errorf("evidence: %w", err)
	}
	return io.MultiWriter(s, r.stream), nil
}

// watch waits for the end of Packer or for a reason to end it.
func (r *run) watch(ctx context.Context, p *process.Process) ending {
	var limit <-chan time.Time
	if r.job.Timeout > 0 {
		timer := time.NewTimer(r.job.Timeout)
		defer timer.Stop()
		limit = timer.C
	}
	for {
		var f qemu.Fault
		select {
		case <-p.Done():
			return ending{}
		case <-ctx.Done():
			r.guest.picture()
			return ending{}
		case <-limit:
			r.guest.picture()
			return ending{timeout: true}
		case f = <-r.guest.console.Faults():
		case f = <-r.guest.found:
		}
		if r.harmless(f) {
			continue
		}
		r.progress.send(Event{Kind: "console", Phase: r.talk.now(), Build: r.source.Build, Text: r.mask(f.Line)})
		r.guest.picture()
		return ending{fault: &f}
	}
}

// harmless: a guest that is being switched off may say anything.
func (r *run) harmless(f qemu.Fault) bool {
	switch r.talk.now() {
	case phaseHalt, phaseConvert, phasePost, phaseDone:
		return f.Kind != faultIO
	}
	return false
}

// artifact checks what a build that ended well has left.
func (r *run) artifact(result *process.Result, took time.Duration, watched bool) (*Artifact, error) {
	said := r.talk.said()
	if said.phase != phaseDone && len(said.artifacts) == 0 {
		// Packer's outer process exits 0 when its inner one is killed.
		return nil, r.close(r.unfinished(said))
	}
	path, err := said.image(r.source.Build, r.folder.cwd)
	format := ""
	if err == nil {
		format, err = r.source.format(path, r.values, r.tpl)
	}
	if err != nil {
		return nil, r.close(&Failed{
			Code: CodeNoArtifact, Blame: BlameTemplate, Err: err, Lines: said.recent,
			Sentence: "packer ended well, but there is no image: " + err.Error(),
		})
	}
	if path, err = r.rescue(path); err != nil {
		return nil, r.close(r.infrastructure(err))
	}
	files, err := r.gather(false)
	if err != nil {
		return nil, r.infrastructure(err)
	}
	return &Artifact{
		Path: path, Format: format, Build: r.source.Build, Version: r.version, ConsoleWatched: watched,
		Duration: took, CPU: result.CPU, Evidence: files,
	}, nil
}

// rescue moves an image out of the folder that is removed after the run: a
// template that does not ask for output_directory writes beside its copy.
func (r *run) rescue(path string) (string, error) {
	rel, err := filepath.Rel(r.folder.run, path)
	if err != nil || !filepath.IsLocal(rel) {
		return path, nil
	}
	if err := os.MkdirAll(r.folder.output, 0o755); err != nil {
		return "", fmt.Errorf("keep the image: %w", err)
	}
	kept := filepath.Join(r.folder.output, filepath.Base(path))
	if err := os.Rename(path, kept); err != nil {
		return "", fmt.Errorf("keep the image: %w", err)
	}
	return kept, nil
}

// close adds the evidence to a failure.
func (r *run) close(f *Failed) *Failed {
	files, err := r.gather(true)
	f.Evidence = files
	if err != nil {
		f.Lines = append(f.Lines, err.Error())
	}
	r.progress.send(Event{Kind: "error", Phase: r.talk.now(), Build: r.source.Build, Text: f.Sentence})
	return f
}

// refused wraps what is wrong with the template.
func refused(err error) error {
	var p Problems
	if !errors.As(err, &p) {
		return err
	}
	lines := strings.Split(p.Error(), "\n")
	sentence := lines[0]
	if len(lines) > 1 {
		sentence = fmt.Sprintf("%s (and %d more)", sentence, len(lines)-1)
	}
	return &Failed{Code: CodeTemplate, Blame: BlameDefinition, Sentence: sentence, Lines: lines, Err: err}
}
