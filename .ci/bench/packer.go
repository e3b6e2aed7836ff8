package main

import (
	"context"
	"embed"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

//go:embed lines
var linesFS embed.FS

// linesDefinition is a folder with the definition bench-lines.
func (b *bench) linesDefinition() (string, error) {
	dir := b.path("lines")
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	sub, err := fs.Sub(linesFS, "lines")
	if err != nil {
		return "", err
	}
	return dir, os.CopyFS(dir, sub)
}

// packerPart: what our watching costs Packer.
func packerPart(ctx context.Context, b *bench) ([]line, error) {
	p, err := b.packerPair(ctx)
	if err != nil {
		return nil, err
	}
	inside := line{what: "Packer's run inside aibuild", against: "packer build", unit: "x", bound: 1.03}
	whole := line{what: "the same with version, validate and reading", against: "packer build", unit: "x"}
	plain := line{what: "packer build alone", unit: "s"}
	err = b.repeat(ctx, func(int) error {
		alone, err := p.plain(ctx)
		if err != nil {
			return err
		}
		start := time.Now()
		ours, err := p.ours(ctx)
		if err != nil {
			return err
		}
		inside.samples = append(inside.samples, ratio(ours, alone))
		whole.samples = append(whole.samples, ratio(time.Since(start), alone))
		plain.samples = append(plain.samples, alone.Seconds())
		return nil
	})
	return []line{inside, whole, plain}, err
}

// packerPair runs one template with the same variables in both ways.
type packerPair struct {
	b        *bench
	template string
	vars     map[string]string
	accel    qemu.Accel
}

func (b *bench) packerPair(ctx context.Context) (*packerPair, error) {
	tiny, err := b.tinyImage(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := b.linesDefinition()
	if err != nil {
		return nil, err
	}
	accel, err := b.accelerator(ctx)
	if err != nil {
		return nil, err
	}
	key, err := b.key()
	if err != nil {
		return nil, err
	}
	return &packerPair{b: b, template: filepath.Join(dir, "lines.pkr.hcl"), accel: accel, vars: map[string]string{
		"iso_url": tiny.path, "iso_checksum": "sha256:" + tiny.sums.SHA256, "vm_name": "lines.qcow2",
		"ssh_private_key_file": key.file, "ssh_public_key": key.public,
	}}, nil
}

func (p *packerPair) ours(ctx context.Context) (time.Duration, error) {
	work := p.b.path("packer-ours")
	tool := packer.Tool{QEMU: p.b.qemu(), CacheDir: p.b.path("packer-cache")}
	artifact, err := tool.Build(ctx, packer.Job{
		Template: p.template, WorkDir: work, Evidence: p.b.path("packer-evidence"), Vars: p.vars, Accel: p.accel,
		Progress: func(packer.Event) {}, WatchConsole: true,
	})
	if err != nil {
		return 0, err
	}
	for _, dir := range []string{work, p.b.path("packer-evidence")} {
		if err := os.RemoveAll(dir); err != nil {
			return 0, err
		}
	}
	return artifact.Duration, nil
}

// plain is what a person would type, with what aibuild would choose.
func (p *packerPair) plain(ctx context.Context) (time.Duration, error) {
	work := p.b.path("packer-plain")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return 0, err
	}
	vars := map[string]string{
		"output_directory": filepath.Join(work, "output"), "serial_log": filepath.Join(work, "serial.log"),
		"accelerator": p.accel.Name, "cpu": p.accel.CPU(), "headless": "true",
	}
	for name, value := range p.vars {
		vars[name] = value
	}
	text, err := json.Marshal(vars)
	if err != nil {
		return 0, err
	}
	file := filepath.Join(work, "vars.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return 0, err
	}
	res, err := process.Cmd{
		Path: "packer", Args: []string{"build", "-color=false", "-var-file=" + file, p.template}, Dir: work,
		Env: process.Environ("PACKER_CACHE_DIR="+p.b.path("packer-cache"), "CHECKPOINT_DISABLE=1"),
	}.Run(ctx)
	if err != nil {
		return 0, err
	}
	return res.Duration, os.RemoveAll(work)
}
