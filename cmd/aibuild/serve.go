package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/hashicorp/go-hclog"
	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
)

const (
	defaultListen = ":9753"
	devListen     = "127.0.0.1:9753"
	// stopWithin is how long requests and work have to end when the daemon was
	// asked to stop; all of it takes 10 s at most.
	stopWithin = 8 * time.Second
	spoolQuota = 1 << 30 // bytes of deliveries on disk while the database is away
)

func (w *world) serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "the daemon: receives GitLab's pushes, starts Jenkins' builds, records how they end",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`ADDRESS` (AIBUILD_LISTEN; " + defaultListen + ")"},
			&cli.BoolFlag{Name: "dev", Usage: "for trying out: loopback, a private database, a webhook secret of its own making"},
		},
		Action: w.serve,
	}
}

// service is the daemon as it runs.
type service struct {
	w     *world
	c     *cli.Context
	log   hclog.Logger
	data  string
	dev   bool
	store *lineage.Store

	started    config // as it was at the start
	settings   atomic.Pointer[settings]
	handler    *hooks.Handler
	dispatcher *hooks.Dispatcher
	spool      *hooks.Spool
	api        *api.Server
	site       lazySite
	neighbours neighbours
	reconciler reconciler
	standards  standards
}

func (w *world) serve(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	limitMemory(serveLimit, servePercent)
	s := &service{w: w, c: c, log: w.serveLog(c), dev: c.Bool("dev")}
	if err := s.prepare(c.Context); err != nil {
		return err
	}
	listener, err := s.listen(c.Context, s.address(c.String("listen")))
	if err != nil {
		return err
	}
	return s.run(c.Context, listener)
}

// serveLog: a daemon says what it does, unless it is told to say less.
func (w *world) serveLog(c *cli.Context) hclog.Logger {
	log := w.logger(c)
	if !c.IsSet("log-level") {
		log.SetLevel(hclog.Info)
	}
	return log
}

// prepare opens what the daemon needs, and creates the tables.
func (s *service) prepare(ctx context.Context) error {
	var err error
	if s.data, err = s.w.config.dataDir(); err != nil {
		return err
	}
	if s.dev {
		if err := s.makeDevSecret(); err != nil {
			return err
		}
	}
	s.started = s.w.config
	if err := s.configure(s.started); err != nil {
		return err
	}
	if s.store, err = s.w.serveStore(ctx, s.log, s.dev); err != nil {
		return err
	}
	if err := s.store.Migrate(ctx); err != nil {
		return err
	}
	if s.dev {
		if err := s.makeDevToken(ctx); err != nil {
			return err
		}
	}
	if s.spool, err = hooks.OpenSpool(filepath.Join(s.data, "spool"), spoolQuota); err != nil {
		return err
	}
	return s.assemble()
}

// serveStore is openStore; --dev means the private database if none is named.
func (w *world) serveStore(ctx context.Context, log hclog.Logger, dev bool) (*lineage.Store, error) {
	if dev && w.config.env("AIBUILD_DSN", w.config.Database.DSN) == "" && w.config.env("AIBUILD_DSN_FILE", w.config.Database.DSNFile) == "" {
		w.config.Database.DSN = "private"
	}
	return w.openStore(ctx, log)
}

// address is where the daemon listens: flag, environment, configuration.
func (s *service) address(flag string) string {
	switch address := s.w.config.env("AIBUILD_LISTEN", s.w.config.Listen); {
	case flag != "":
		return flag
	case address != "":
		return address
	case s.dev:
		return devListen
	}
	return defaultListen
}

func (s *service) listen(ctx context.Context, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w; name a free address with --listen or AIBUILD_LISTEN", err)
	}
	if s.settings.Load().cert == nil {
		if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
			s.log.Warn("webhook secrets and tokens come in clear: set tls.cert_file and tls.key_file, or put a proxy with TLS before it", "listen", listener.Addr().String())
		}
		return listener, nil
	}
	return tls.NewListener(listener, &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.settings.Load().cert, nil },
	}), nil
}

// run serves until the context ends; then everything has ten seconds to end.
func (s *service) run(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: s.routes(), ErrorLog: s.log.StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})}
	hooks.Limits(server)
	server.RegisterOnShutdown(s.api.StopFollowing)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	worked := s.work(working)
	stopReload := s.reloads(ctx)
	defer stopReload()
	fmt.Fprintf(s.w.stderr, "aibuild: listening on %s\n", listener.Addr())
	s.notify(daemon.SdNotifyReady)

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-served: // only ever ends by itself with an error
		failed = fmt.Errorf("serve: %w", failed)
	}
	s.notify(daemon.SdNotifyStopping)
	stopWork()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if err := server.Shutdown(stopping); err != nil {
		// Who sends slowly has had his time. A webhook that is cut off comes again.
		s.log.Warn("requests that did not end were cut off", "error", errors.Join(err, server.Close()))
	}
	end, _ := stopping.Deadline()
	select {
	case <-worked:
	case <-time.After(max(time.Until(end), time.Second)): // the requests may have used up the time
		s.log.Warn("what is under way did not end in time; leases end by themselves")
	}
	return failed
}

// work does all that nobody asks for; the channel is closed when it has ended.
func (s *service) work(ctx context.Context) <-chan struct{} {
	var group sync.WaitGroup
	group.Go(func() { _ = s.dispatcher.Run(ctx) }) // its error is only that of ctx
	group.Go(func() { s.neighbours.watch(ctx, s) })
	s.reconciler.start(ctx, &group, s)
	ended := make(chan struct{})
	go func() { group.Wait(); close(ended) }()
	return ended
}

func (s *service) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.log.Warn("systemd was not told", "error", err)
	}
}

// reloads reads the configuration again at SIGHUP. What is wrong with it is
// logged, and the old one stays.
func (s *service) reloads(ctx context.Context) (stop func()) {
	hups := make(chan os.Signal, 1)
	signal.Notify(hups, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case _, ok := <-hups:
				if !ok {
					return
				}
				s.reload()
			}
		}
	}()
	return func() { signal.Stop(hups); close(hups); <-done }
}

func (s *service) reload() {
	was := s.settings.Load()
	c, err := readConfig(s.c.String("config"), s.w.getenv)
	restart := s.started.needRestart(c)
	if err == nil {
		if slices.Contains(restart, "tls") {
			c.TLS = was.config.TLS // the door stays what it is
		}
		// The webhooks' door knows one instance: mirrors and clients must not ask another, with the token of this one.
		c.GitLab.URL = s.started.GitLab.URL
		err = s.configure(c)
	}
	if err != nil {
		s.log.Error("the configuration was not read again; the old one stays", "error", err)
		return
	}
	s.dispatcher.Wake()
	s.neighbours.look()
	s.log.Info("the configuration was read again")
	if len(restart) > 0 {
		s.log.Warn("some of what has changed counts only after a restart", "settings", strings.Join(restart, ", "))
	}
}

// routes are the daemon's doors: the webhook, and everything that the API has.
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(hookPath, s.handler)
	mux.Handle("/", s.api.Handler())
	return mux
}

// parts says how everything but the database is, which may be down without
// keeping the daemon from being ready.
func (s *service) parts() map[string]string {
	stats, spooled := s.dispatcher.Stats(), s.spool.Stats()
	parts := map[string]string{"dispatcher": "standing by", "spool": fmt.Sprintf("%d deliveries, %d of %d bytes", spooled.Events, spooled.Bytes, spooled.Quota)}
	if stats.Active {
		parts["dispatcher"] = "active"
	}
	if stats.LastError != "" || s.reconciler.failing() {
		parts["trouble"] = "see the log"
	}
	if n := s.reconciler.unwell(); n > 0 {
		parts["webhooks"] = fmt.Sprintf("not well in %d of the projects: see the log, or aibuild doctor --gitlab", n)
	}
	maps.Copy(parts, s.neighbours.all())
	if stats.Active && len(stats.Paused) > 0 {
		parts["paused rebuilds"] = fmt.Sprintf("%d images: see aibuild runs list --state rejected", len(stats.Paused)) // their names are not everybody's
	}
	return parts
}
