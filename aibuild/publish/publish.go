package publish

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// The two areas of the web root.
const (
	Build   = "build"   // images/build: an image as soon as it is built
	Release = "release" // images/release: an image whose tests have passed
)

// Config says where the images are.
type Config struct {
	Root       string       // the document root, which holds images/: an absolute path, or sftp://user@host:port/path; empty allows Fetch only
	URL        string       // where the web server shows Root, such as https://images.example.com; may be empty
	KeyFile    string       // private key for SFTP, in OpenSSH's form and without passphrase
	KnownHosts string       // host keys for SFTP, in OpenSSH's form
	HTTP       *http.Client // for downloads; nil is a client of our own with deadlines
	Now        func() time.Time
	Log        hclog.Logger // nil is silence
}

// Site is one web root.
type Site struct {
	config Config
	http   *http.Client
	log    hclog.Logger
	local  *tree   // nil on SFTP
	server *server // nil for a local root

	mu     sync.Mutex
	stages map[string]string // what Stage made: name/uuid to hidden folder
}

// Open opens the web root. Over SFTP it connects, so that a wrong key shows at once; later calls connect again when the
// connection was lost. Close it.
func Open(ctx context.Context, config Config) (*Site, error) {
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Site{config: config, http: config.HTTP, log: config.Log, stages: map[string]string{}}
	if s.log == nil {
		s.log = hclog.NewNullLogger()
	}
	if s.http == nil {
		s.http = newHTTP()
	}
	if err := checkURL(config.URL); err != nil {
		return nil, err
	}
	if strings.HasPrefix(config.Root, "sftp://") {
		server, err := newServer(config)
		if err != nil {
			return nil, err
		}
		s.server = server
		t, done, err := s.tree(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
		info, err := t.remote.Stat(t.base)
		if err != nil || !info.IsDir() {
			return nil, errors.Join(fmt.Errorf("open web root %s: no folder is there; make it, or correct AIBUILD_WEB_ROOT: %w", redact(config.Root), orIs(err)), s.Close())
		}
		return s, nil
	}
	if config.Root == "" {
		return s, nil
	}
	if !filepath.IsAbs(config.Root) {
		return nil, fmt.Errorf("open web root %q: it is no absolute path and no sftp:// URL; correct AIBUILD_WEB_ROOT", redact(config.Root))
	}
	root, err := os.OpenRoot(config.Root)
	if err != nil {
		return nil, fmt.Errorf("open web root: %w; make the folder, or correct AIBUILD_WEB_ROOT", err)
	}
	s.local = &tree{root: root, base: filepath.Clean(config.Root)}
	return s, nil
}

// Close discards what Stage made and Put did not take, and ends the connection.
func (s *Site) Close() error {
	s.mu.Lock()
	stages := s.stages
	s.stages = map[string]string{}
	s.mu.Unlock()
	var failed []error
	if s.local != nil {
		for _, part := range stages {
			failed = append(failed, s.local.removeAll(part))
		}
		failed = append(failed, s.local.root.Close())
	}
	if s.server != nil {
		failed = append(failed, s.server.close())
	}
	return errors.Join(failed...)
}

// Local says whether the root is a folder of this machine.
func (s *Site) Local() bool { return s.local != nil }

var errNoRoot = errors.New("no web root is configured: set AIBUILD_WEB_ROOT to the web server's document root")

// tree gives the root for the length of one call, whose end done tells. When ctx ends before, an SFTP connection is cut,
// as nothing else stops a call that waits for a silent server.
func (s *Site) tree(ctx context.Context) (t *tree, done func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	switch {
	case s.local != nil:
		return s.local, func() {}, nil
	case s.server == nil:
		return nil, nil, errNoRoot
	}
	link, err := s.server.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, link.cut)
	return &tree{remote: link.client, base: s.server.base, ended: ctx.Err}, func() { stop() }, nil
}

// cleanup gives the root for undoing, even when the caller's ctx has ended.
func (s *Site) cleanup(ctx context.Context, undo func(*tree) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	return undo(t)
}

func checkURL(address string) error {
	if address == "" {
		return nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("web url %q: it must be https://HOST/PATH (or http://) without query; correct AIBUILD_WEB_URL", redact(address))
	}
	return nil
}

// redact hides a password that somebody put into an address.
func redact(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "(an address that cannot be parsed)"
	}
	return u.Redacted()
}

func orIs(err error) error {
	if err == nil {
		return errors.New("not a folder")
	}
	return err
}
