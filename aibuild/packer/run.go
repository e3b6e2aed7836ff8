package packer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// grace is what Packer gets to clean up after TERM.
const grace = 25 * time.Second

// run is one job being done.
type run struct {
	tool    Tool
	job     Job
	version Version

	tpl    *Template
	source Source
	emu    emulator
	values map[string]any

	folder   *folder
	dirs     wrapperDirs
	template string // the copy that Packer reads
	secrets  []string

	progress *progress
	talk     *talk
	guest    *guest
	stream   *cappedFile
}

// prepare does all that needs no Packer but its version. The folder of the run
// returned is made; the caller removes it.
func (t Tool) prepare(ctx context.Context, job Job) (*run, error) {
	if !filepath.IsAbs(job.Template) {
		return nil, fmt.Errorf("template %q is not an absolute path", job.Template)
	}
	if job.WorkDir == "" {
		return nil, errors.New("the job has no work folder")
	}
	version, err := t.Version(ctx)
	if err != nil {
		return nil, err
	}
	r := &run{tool: t, job: job, version: version, secrets: masks(job.Secrets)}
	dir, name := definitionFolder(job)
	if r.tpl, err = ReadTemplate(os.DirFS(dir), name); err != nil {
		return nil, refused(err)
	}
	if err := r.tpl.CheckVersion(version, job.Builder); err != nil {
		return nil, refused(err)
	}
	if r.source, err = r.tpl.Source(job.Builder); err != nil {
		return nil, refused(err)
	}
	if r.emu, err = t.emulator(r.tpl, r.source, job.Vars); err != nil {
		return nil, err
	}
	if r.folder, err = newFolder(job.WorkDir, dir); err != nil {
		return nil, r.infrastructure(err)
	}
	if err := r.equip(name); err != nil {
		return nil, withCleanup(err, r.folder.discard())
	}
	return r, nil
}

// definitionFolder is the folder that is copied, and the template's name in it.
func definitionFolder(job Job) (dir, name string) {
	if job.Dir != "" {
		if rel, err := filepath.Rel(job.Dir, job.Template); err == nil && filepath.IsLocal(rel) {
			return job.Dir, filepath.ToSlash(rel)
		}
	}
	if info, err := os.Stat(job.Template); err == nil && info.IsDir() {
		return job.Template, "."
	}
	return filepath.Dir(job.Template), filepath.Base(job.Template)
}

// equip writes the wrapper and the variables.
func (r *run) equip(name string) error {
	f := r.folder
	r.template = filepath.Join(f.cwd, filepath.FromSlash(name))
	r.dirs = wrapperDirs{bin: filepath.Join(f.run, "bin"), console: filepath.Join(f.run, "console"), sockets: f.tmp}
	if err := r.emu.write(r.dirs, r.job.Accel); err != nil {
		return r.infrastructure(err)
	}
	var err error
	if r.values, err = r.tpl.assign(r.source, r.version, r.vars(), r.offer()); err != nil {
		return refused(err)
	}
	b, err := json.Marshal(r.values)
	if err != nil {
		return fmt.Errorf("variables: %w", err)
	}
	if err := os.WriteFile(r.varFile(), b, 0o600); err != nil {
		return r.infrastructure(fmt.Errorf("variables: %w", err))
	}
	return nil
}

// vars are the job's, with the wrapper in the place of the QEMU that a variable
// of the template names.
func (r *run) vars() map[string]string {
	if !r.emu.byPath {
		return r.job.Vars
	}
	vars := map[string]string{r.source.attrs["qemu_binary"].bare: filepath.Join(r.dirs.bin, r.emu.name)}
	for name, value := range r.job.Vars {
		if _, ours := vars[name]; !ours && name != "qemu_binary" {
			vars[name] = value
		}
	}
	return vars
}

// offer is what Build itself passes to a template that asks for it.
func (r *run) offer() map[string]string {
	offer := map[string]string{
		"output_directory": r.folder.output,
		"headless":         "true",
		"serial_log":       r.dirs.serial(),
	}
	if r.job.Accel.Name != "" {
		offer["accelerator"], offer["cpu"] = r.job.Accel.Name, r.job.Accel.CPU()
	}
	return offer
}

func (r *run) varFile() string    { return filepath.Join(r.folder.run, "vars.json") }
func (r *run) logPath() string    { return filepath.Join(r.folder.run, logFile) }
func (r *run) screenPath() string { return r.guest.screenPath() }

// args are Packer's: never a value of a variable among them.
func (r *run) args(command string) []string {
	args := []string{command, "-machine-readable"}
	if command == "build" {
		args = append(args, "-color=false")
	}
	if len(r.tpl.Sources) > 1 {
		args = append(args, "-only="+r.source.Build)
	}
	if len(r.values) > 0 {
		args = append(args, "-var-file="+r.varFile())
	}
	return append(args, r.template)
}

func (r *run) cache() string {
	if r.tool.CacheDir != "" {
		return r.tool.CacheDir
	}
	return filepath.Join(r.folder.run, "cache")
}

// env is Packer's whole environment.
func (r *run) env() []string {
	env := environ(
		"PACKER_LOG=1", "PACKER_LOG_PATH="+r.logPath(), "PACKER_CACHE_DIR="+r.cache(), "PACKER_NO_COLOR=1",
		"CHECKPOINT_DISABLE=1", "TMPDIR="+r.folder.tmp, "PACKER_TMP_DIR="+r.folder.tmp,
	)
	if r.emu.name == "" || r.emu.byPath {
		return env
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return append(env, "PATH="+r.dirs.bin+":"+path)
}

func (r *run) command(name string, sink io.Writer) process.Cmd {
	return process.Cmd{
		Path: r.tool.binary(), Args: r.args(name), Dir: r.folder.cwd, Env: r.env(),
		Stdout: sink, Grace: grace, Secrets: r.secrets, Log: r.tool.Log,
	}
}

// environ is the allow-listed environment and Packer's own settings.
func environ(extra ...string) []string {
	var own []string
	for _, key := range []string{"PACKER_PLUGIN_PATH", "PACKER_CONFIG", "PACKER_CONFIG_DIR"} {
		if value := os.Getenv(key); value != "" {
			own = append(own, key+"="+value)
		}
	}
	return process.Environ(append(own, extra...)...)
}
