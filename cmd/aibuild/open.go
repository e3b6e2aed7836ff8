package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/publish"
)

// dsn finds out which database is used: AIBUILD_DSN, else the private one. What
// asks for it can do nothing with a server, and is not for it either: a token's
// rights end before the tables.
func (w *world) dsn() (dsn string, private bool, err error) {
	if w.getenv("AIBUILD_SERVER") != "" {
		return "", false, usagef("%s needs the database itself, and AIBUILD_SERVER is set: unset it, and set AIBUILD_DSN, on the server's machine", w.command)
	}
	dsn, err = w.config.secret("AIBUILD_DSN", w.config.Database.DSN, w.config.Database.DSNFile)
	if err != nil {
		return "", false, err
	}
	if dsn == "private" || dsn == "" {
		ci := w.getenv("CI") != "" || w.getenv("JENKINS_URL") != ""
		if dsn == "" && ci {
			return "", false, usagef("no database is named, and under CI the private one is not used by itself, as nobody would look there: set AIBUILD_DSN, or AIBUILD_DSN=private if you mean it")
		}
		return "", true, nil
	}
	return dsn, false, nil
}

// store opens the database for commands that cannot do without it.
func (w *world) store(ctx context.Context, log hclog.Logger) (*lineage.Store, error) {
	store, err := w.openStore(ctx, log)
	if err != nil {
		return nil, err
	}
	if err := store.Ready(ctx); err != nil {
		return nil, err
	}
	return store, nil
}

func (w *world) openStore(ctx context.Context, log hclog.Logger) (*lineage.Store, error) {
	dsn, private, err := w.dsn()
	if err != nil {
		return nil, err
	}
	if private {
		if dsn, err = w.privateDSN(ctx, log); err != nil {
			return nil, err
		}
	}
	store, err := lineage.Open(ctx, lineage.Config{DSN: dsn, Log: log.Named("lineage")})
	if err != nil {
		return nil, err
	}
	w.closers = append(w.closers, store.Close)
	if private {
		if err := store.Migrate(ctx); err != nil {
			return nil, err
		}
	}
	return store, nil
}

func (w *world) privateDSN(ctx context.Context, log hclog.Logger) (string, error) {
	data, err := w.config.dataDir()
	if err != nil {
		return "", err
	}
	dir := data
	if !w.said {
		w.said = true
		fmt.Fprintf(w.stderr, "aibuild: using the private database in %s/db (AIBUILD_DSN names another)\n", dir)
	}
	db, err := privatedb.Open(ctx, privatedb.Config{Dir: dir, Log: log.Named("privatedb")})
	if errors.Is(err, process.ErrNotFound) {
		return "", fmt.Errorf("private database: %w; apt-get install mariadb-server-core, or set AIBUILD_DSN", err)
	}
	if err != nil {
		return "", fmt.Errorf("private database: %w", err)
	}
	w.closers = append(w.closers, db.Close)
	return db.DSN(), nil
}

// recorder is a Recorder for a database that may be away now and back later:
// work goes on meanwhile, and what could not be recorded is journalled.
type recorder struct {
	open  func(context.Context) (*lineage.Store, error)
	mu    sync.Mutex
	store *lineage.Store
}

func (r *recorder) get(ctx context.Context) (*lineage.Store, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil {
		return r.store, nil
	}
	store, err := r.open(ctx)
	if err == nil {
		r.store = store
	}
	return store, err
}

func (r *recorder) Resolve(ctx context.Context, q lineage.Query) ([]lineage.Image, error) {
	store, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	return store.Resolve(ctx, q)
}

func (r *recorder) Record(ctx context.Context, records ...lineage.Record) error {
	store, err := r.get(ctx)
	if err != nil {
		return err
	}
	return store.Record(ctx, records...)
}

func (r *recorder) Lock(ctx context.Context, name string, wait time.Duration) (func() error, error) {
	store, err := r.get(ctx)
	if err != nil {
		return nil, err
	}
	return store.Lock(ctx, name, wait)
}

// webRoot is where images are published; empty: in the state folder.
func (w *world) webRoot() string { return w.config.env("AIBUILD_WEB_ROOT", w.config.Web.Root) }

// site opens the web root: AIBUILD_WEB_ROOT, else www in the state folder.
func (w *world) site(ctx context.Context, log hclog.Logger) (*publish.Site, error) {
	root := w.webRoot()
	if root == "" {
		data, err := w.config.dataDir()
		if err != nil {
			return nil, err
		}
		root = filepath.Join(data, "www")
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, fmt.Errorf("web root: %w; set AIBUILD_WEB_ROOT", err)
		}
	}
	site, err := publish.Open(ctx, publish.Config{
		Root: root, URL: w.config.env("AIBUILD_WEB_URL", w.config.Web.URL),
		KeyFile:    w.config.env("AIBUILD_SFTP_KEY_FILE", w.config.Web.SFTPKeyFile),
		KnownHosts: w.config.env("AIBUILD_SFTP_KNOWN_HOSTS", w.config.Web.SFTPKnownHosts),
		Log:        log.Named("publish"),
	})
	if err != nil {
		return nil, fmt.Errorf("web root: %w", err)
	}
	w.closers = append(w.closers, site.Close)
	return site, nil
}

func (w *world) cloudsFile() string { return w.config.env("OS_CLIENT_CONFIG_FILE", w.config.Clouds) }

// pipeline puts together what the stages need.
func (w *world) pipeline(c *cli.Context) (*aibuild.Pipeline, error) {
	log := w.logger(c)
	data, err := w.config.dataDir()
	if err != nil {
		return nil, err
	}
	site, err := w.site(c.Context, log)
	if err != nil {
		return nil, err
	}
	p := &aibuild.Pipeline{
		Site: site, DataDir: data, CloudsFile: w.cloudsFile(), Log: log,
		Actor: w.whose(), Channel: w.channel(), Project: w.projectOf(c), Ref: w.refOf(c), Progress: w.noted(w.progress()),
	}
	t, err := ticketOf(c)
	if err != nil {
		return nil, err
	}
	if t != nil {
		w.useTicket(p, t)
	}
	if p.Recorder != nil { // nothing is bound
		return p, nil
	}
	if err := w.record(c, p, log); err != nil {
		return nil, err
	}
	if _, err := p.Deliver(c.Context); err != nil {
		log.Warn("what earlier runs could not record waits still", "error", err)
	}
	return p, nil
}

// channel is by what something is recorded.
func (w *world) channel() string {
	if w.jenkinsBuild() != (api.Build{}) {
		return "jenkins"
	}
	return "cli"
}

// noted keeps which stage is under way.
func (w *world) noted(show func(aibuild.Event)) func(aibuild.Event) {
	return func(e aibuild.Event) {
		w.outcome.stage(e.Stage)
		show(e)
	}
}

func actor() string {
	u, err := user.Current()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(u.Username)
}
