package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"github.com/guestos/aibuild/aibuild/glance"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/packer"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

// finding is one line of the doctor's report.
type finding struct {
	Check  string `json:"check"`
	Status string `json:"status"` // ok, warn or fail
	Found  string `json:"found"`
	Fix    string `json:"fix,omitempty"`
}

const (
	ok   = "ok"
	warn = "warn"
	bad  = "fail"
)

func (w *world) doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "what works here, and what to do about the rest",
		Flags: []cli.Flag{
			outputFlag(),
			&cli.BoolFlag{Name: "jenkins", Usage: "also ask Jenkins (JENKINS_URL, JENKINS_USER, JENKINS_TOKEN) about every job of the configuration"},
			&cli.BoolFlag{Name: "gitlab", Usage: "also ask GitLab (GITLAB_URL, GITLAB_TOKEN) about every project of the configuration"},
		},
		Action: w.doctor,
	}
}

func (w *world) doctor(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	data, err := w.config.dataDir()
	if err != nil {
		return err
	}
	d := &doctor{w: w, c: c, data: data}
	for _, check := range d.checks() {
		check(c.Context)
	}
	printErr := w.print(c, d.findings, func(t io.Writer) error {
		for _, f := range d.findings {
			text := f.Found
			if f.Fix != "" {
				text += "; " + f.Fix
			}
			if err := row(t, f.Status, f.Check, text); err != nil {
				return err
			}
		}
		return nil
	})
	for _, f := range d.findings {
		if f.Status == bad {
			return errors.Join(printErr, exitStatus(1))
		}
	}
	return printErr
}

// checks are those that every machine needs, then those of the daemon, where it
// is asked about.
func (d *doctor) checks() []func(context.Context) {
	list := []func(context.Context){d.accelerator, d.packer, d.firmware, d.tools, d.space, d.database, d.web, d.clouds}
	if d.c.Bool("jenkins") || d.c.Bool("gitlab") || d.w.config.listens() {
		list = append(list, d.listen)
	}
	if d.c.Bool("jenkins") {
		list = append(list, d.jenkins)
	}
	if d.c.Bool("gitlab") {
		list = append(list, d.gitlab)
	}
	return list
}

type doctor struct {
	w        *world
	c        *cli.Context
	data     string
	store    *lineage.Store // nil where the database could not be opened
	findings []finding
}

func (d *doctor) add(status, check, found, fix string) {
	d.findings = append(d.findings, finding{check, status, found, fix})
}

// fails adds err, whose text says what to do as errors here do.
func (d *doctor) fails(check string, err error, fix string) { d.add(bad, check, err.Error(), fix) }

func (d *doctor) qemu() qemu.Tool {
	return qemu.Tool{CacheDir: filepath.Join(d.data, "cache", "qemu"), Log: d.w.logger(d.c).Named("qemu")}
}

func (d *doctor) accelerator(ctx context.Context) {
	accel, err := d.qemu().Probe(ctx)
	switch {
	case err != nil:
		d.fails("accelerator", err, "apt-get install qemu-system-x86 qemu-utils")
	case accel.Name == "kvm":
		d.add(ok, "accelerator", "kvm, proven by booting; QEMU "+accel.QEMUVersion, "")
	default:
		d.add(warn, "accelerator", fmt.Sprintf("%s, deadlines x %.1f; QEMU %s; %s", accel.Name, accel.Scale, accel.QEMUVersion, accel.Reason),
			"builds and tests work, several times slower; give this machine real KVM for speed")
	}
}

func (d *doctor) packer(ctx context.Context) {
	version, err := (packer.Tool{QEMU: d.qemu()}).Version(ctx)
	if err != nil {
		d.fails("packer", err, "")
		return
	}
	d.add(ok, "packer", version.String(), "")
}

func (d *doctor) firmware(context.Context) {
	code, _, err := d.qemu().UEFI()
	if err != nil {
		d.add(warn, "uefi firmware", err.Error(), "apt-get install ovmf, for cells with firmware: uefi")
		return
	}
	d.add(ok, "uefi firmware", code, "")
}

func (d *doctor) space(context.Context) {
	var fs unix.Statfs_t
	if err := unix.Statfs(d.data, &fs); err != nil {
		d.fails("state folder", err, "set AIBUILD_DATA")
		return
	}
	free := int64(fs.Bavail) * fs.Bsize
	const little = 10 << 30
	if free < little {
		d.add(warn, "state folder", d.data+": "+size(free)+" free", "builds need room for their disks: make room, or set AIBUILD_DATA")
		return
	}
	d.add(ok, "state folder", d.data+": "+size(free)+" free", "")
}

// server stands for the database where commands speak to a server.
func (d *doctor) server(ctx context.Context) bool {
	client, err := d.w.client(d.c)
	if client == nil && err == nil {
		return false
	}
	if err == nil {
		_, _, err = client.Runs(ctx, lineage.RunFilter{Limit: 1})
	}
	if err != nil {
		d.fails("server", err, "correct AIBUILD_SERVER or its token")
		return true
	}
	d.add(ok, "server", d.w.getenv("AIBUILD_SERVER"), "")
	return true
}

func (d *doctor) database(ctx context.Context) {
	if d.server(ctx) {
		return
	}
	store, err := d.w.openStore(ctx, d.w.logger(d.c))
	if err != nil {
		d.fails("database", err, "")
		return
	}
	d.store = store
	s, err := store.Status(ctx)
	if err == nil {
		err = store.Ready(ctx)
	}
	var schema *lineage.SchemaError
	switch {
	case errors.As(err, &schema):
		d.add(bad, "database", err.Error(), "")
	case err != nil:
		d.fails("database", err, "aibuild db status")
	case len(s.Warnings) > 0:
		d.add(warn, "database", s.Server+" at "+s.Address, strings.Join(s.Warnings, "; "))
	default:
		d.add(ok, "database", fmt.Sprintf("%s at %s, schema %d", s.Server, s.Address, s.Schema), "")
	}
}

func (d *doctor) web(ctx context.Context) {
	site, err := d.w.site(ctx, d.w.logger(d.c))
	if err != nil {
		d.fails("web root", err, "set AIBUILD_WEB_ROOT")
		return
	}
	free, err := site.Free(ctx)
	if err != nil {
		d.fails("web root", err, "")
		return
	}
	root := d.w.config.env("AIBUILD_WEB_ROOT", d.w.config.Web.Root)
	if root == "" {
		root = filepath.Join(d.data, "www")
	}
	d.add(ok, "web root", root+": "+size(free)+" free", "")
	address := d.w.config.env("AIBUILD_WEB_URL", d.w.config.Web.URL)
	if address == "" {
		d.add(warn, "web server", "no AIBUILD_WEB_URL", "set it to where the web server shows the web root, so that images have addresses")
		return
	}
	if err := serves(ctx, address); err != nil {
		d.fails("web server", err, "start the web server, or correct AIBUILD_WEB_URL")
		return
	}
	d.add(ok, "web server", address, "")
}

func serves(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(address, "/")+"/images/release/", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	// A server that lists no folders answers 403 or 404, and is well.
	if res.StatusCode >= 500 {
		return fmt.Errorf("%s answers %s", address, res.Status)
	}
	return nil
}

func (d *doctor) clouds(ctx context.Context) {
	file := d.w.cloudsFile()
	if file == "" {
		d.add(warn, "clouds", "no clouds.yaml", "set OS_CLIENT_CONFIG_FILE to release images")
		return
	}
	if _, err := os.Stat(file); err != nil {
		d.fails("clouds", err, "correct OS_CLIENT_CONFIG_FILE")
		return
	}
	names, err := glance.Clouds(file)
	if err != nil {
		d.fails("clouds", err, "")
		return
	}
	for _, name := range names {
		d.cloud(ctx, file, name)
	}
}

func (d *doctor) cloud(ctx context.Context, file, name string) {
	h, err := glance.Releaser{CloudsFile: file, Log: d.w.logger(d.c).Named("glance")}.Check(ctx, name)
	check := "cloud " + name
	switch {
	case err != nil:
		d.fails(check, err, "")
	case len(h.Problems) > 0 || !h.CanCreate:
		d.add(bad, check, strings.Join(h.Problems, "; "), "")
	default:
		rights := "may create images"
		if h.CanPublish {
			rights += ", public ones too"
		}
		d.add(ok, check, fmt.Sprintf("%s in project %s at %s: %s%s", h.User, h.Project, h.Endpoint, rights, quotas(h.Quotas)), "")
	}
}

func quotas(all []glance.Quota) string {
	var text strings.Builder
	for _, q := range all {
		if q.Limit >= 0 {
			fmt.Fprintf(&text, ", %s %d of %d", q.Name, q.Used, q.Limit)
		}
	}
	return text.String()
}

// tools are the programs that are called, but Packer and QEMU itself.
func (d *doctor) tools(ctx context.Context) {
	if path, err := process.Look("qemu-img"); err != nil {
		d.fails("qemu-img", err, "apt-get install qemu-utils")
	} else {
		d.add(ok, "qemu-img", path, "")
	}
	version, err := hooks.CheckGit(ctx)
	switch {
	case err == nil:
		d.add(ok, "git", version, "")
	case version != "" && !d.c.Bool("gitlab"): // only the daemon needs a newer one
		d.add(warn, "git", err.Error(), "")
	default:
		d.fails("git", err, "")
	}
}
