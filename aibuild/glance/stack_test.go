package glance

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"go.uber.org/goleak"

	"github.com/guestos/aibuild/aibuild/process"
)

// Two real clusters, started once. Clients reach beta's Glance through proxy,
// in which a test can play a fault.
const (
	alpha = "alpha"
	beta  = "beta"
)

var both = []string{alpha, beta}

type stack struct {
	script  string
	folder  string
	state   string
	proxy   *proxy
	err     error
	mu      sync.Mutex
	clients map[string]*gophercloud.ServiceClient
}

var theStack = sync.OnceValue(startStack)

var started bool

func TestMain(m *testing.M) {
	code := m.Run()
	if started {
		if err := theStack().stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the clusters:", err)
			code = 1
		}
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// clusters gives the running clusters, or ends the test.
func clusters(t *testing.T) *stack {
	t.Helper()
	s := theStack()
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s
}

func startStack() *stack {
	started = true
	s := &stack{proxy: newProxy(), clients: map[string]*gophercloud.ServiceClient{}}
	if s.script, s.err = filepath.Abs("../../examples/stack/stack"); s.err != nil {
		return s
	}
	if s.folder, s.err = os.MkdirTemp("", "aibuild-glance"); s.err != nil {
		return s
	}
	s.state = filepath.Join(s.folder, ".stack")
	if s.err = capSize(filepath.Join(s.state, "clouds", beta, "glance", "conf.d")); s.err != nil {
		return s
	}
	if s.err = s.run("up", "--only", "clouds", "--clusters", alpha+","+beta, "--glance-endpoint", beta+"="+s.proxy.server.URL); s.err != nil {
		return s
	}
	s.err = s.proxy.aim(s, beta)
	return s
}

func (s *stack) run(args ...string) error {
	_, err := process.Cmd{Path: s.script, Args: append([]string{"--state", s.state}, args...), Timeout: 3 * time.Minute}.Run(context.Background())
	return err
}

func (s *stack) stop() error {
	s.proxy.server.Close()
	s.proxy.transport.CloseIdleConnections()
	if err := s.run("down", "--purge"); err != nil {
		return err
	}
	return os.RemoveAll(s.folder)
}

// sizeCap is beta's limit for an image, in bytes.
const sizeCap = 12 << 20

func capSize(confd string) error {
	if err := os.MkdirAll(confd, 0o700); err != nil {
		return err
	}
	conf := fmt.Sprintf("[DEFAULT]\nimage_size_cap = %d\n", sizeCap)
	return os.WriteFile(filepath.Join(confd, "cap.conf"), []byte(conf), 0o600)
}

// up starts what was ended.
func (s *stack) up(t *testing.T) {
	t.Helper()
	if err := s.run("up", "--only", "clouds"); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) cloudsFile() string { return filepath.Join(s.state, "clouds.yaml") }

// glanceURL is where a cluster's Glance itself listens.
func (s *stack) glanceURL(cluster string) (*url.URL, error) {
	result, err := process.Cmd{Path: s.script, Args: []string{"--state", s.state, "status"}}.Run(context.Background())
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(result.Stdout)) {
		if fields := strings.Fields(line); len(fields) > 3 && fields[0] == "glance@"+cluster {
			return url.Parse("http://127.0.0.1:" + fields[3])
		}
	}
	return nil, fmt.Errorf("no port of %s in %q", cluster, result.Stdout)
}

// proxy stands in front of beta's Glance. fault, where set, may answer a
// request itself (true), or spoil it and let it pass.
type proxy struct {
	server    *httptest.Server
	transport *http.Transport
	mu        sync.Mutex
	next      *httputil.ReverseProxy
	fault     func(http.ResponseWriter, *http.Request) bool
}

func newProxy() *proxy {
	p := &proxy{transport: &http.Transport{ExpectContinueTimeout: 5 * time.Second}}
	p.server = httptest.NewServer(p)
	return p
}

func (p *proxy) aim(s *stack, cluster string) error {
	target, err := s.glanceURL(cluster)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = httputil.NewSingleHostReverseProxy(target)
	p.next.Transport = p.transport
	p.next.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }
	return nil
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault, next := p.fault, p.next
	p.mu.Unlock()
	if next == nil {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	if fault != nil && fault(w, r) {
		return
	}
	next.ServeHTTP(w, r)
}

// spoil sets the fault for the rest of the test. Tests that use it do not run
// in parallel.
func (p *proxy) spoil(t *testing.T, fault func(http.ResponseWriter, *http.Request) bool) {
	t.Helper()
	set := func(f func(http.ResponseWriter, *http.Request) bool) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.fault = f
	}
	set(fault)
	t.Cleanup(func() { set(nil) })
}

// isUpload tells the request that carries the bytes.
func isUpload(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/file")
}

// once is a fault for the first n requests that match.
func once(n int, match func(*http.Request) bool, fault func(http.ResponseWriter, *http.Request) bool) func(http.ResponseWriter, *http.Request) bool {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		hit := n > 0 && match(r)
		if hit {
			n--
		}
		mu.Unlock()
		return hit && fault(w, r)
	}
}

// answer is a fault: this status instead of Glance's.
func answer(code int) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, _ *http.Request) bool {
		http.Error(w, "spoiled", code)
		return true
	}
}

// pause makes an upload stop after n bytes: reached is closed then, and the
// bytes go on when resume is called, at the latest at the test's end. (The
// proxy's server cannot see that a client is gone while bytes are unread.)
func (p *proxy) pause(t *testing.T, n int) (reached <-chan struct{}, resume func()) {
	t.Helper()
	at, on := make(chan struct{}), make(chan struct{})
	resume = sync.OnceFunc(func() { close(on) })
	p.spoil(t, once(1, isUpload, func(_ http.ResponseWriter, r *http.Request) bool {
		r.Body = &pausing{ReadCloser: r.Body, left: n, reached: at, resume: on}
		return false
	}))
	t.Cleanup(resume)
	return at, resume
}

type pausing struct {
	io.ReadCloser
	left    int
	reached chan<- struct{}
	resume  <-chan struct{}
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.left == 0 {
		p.left = -1
		close(p.reached)
		<-p.resume
	}
	if p.left > 0 {
		b = b[:min(len(b), p.left)]
	}
	n, err := p.ReadCloser.Read(b)
	if p.left > 0 {
		p.left -= n
	}
	return n, err
}

// ---------------------------------------------------------------- images

var lastBuild = struct {
	sync.Mutex
	at time.Time
}{at: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)}

// newImage writes random bytes and records them; each is newer than the last.
func newImage(t *testing.T, name string, size int) Image {
	t.Helper()
	data := make([]byte, size)
	seed := [32]byte{}
	copy(seed[:], uuid.NewString())
	rand.NewChaCha8(seed).Read(data)
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	lastBuild.Lock()
	defer lastBuild.Unlock()
	lastBuild.at = lastBuild.at.Add(time.Minute)
	s256, s512, m5 := sha256.Sum256(data), sha512.Sum512(data), md5.Sum(data)
	return Image{
		UUID: id.String(), Name: name, Arch: "x86_64", Distro: "debian", Version: "12", Format: "raw", Path: path,
		Size: int64(size), SHA256: hex.EncodeToString(s256[:]), SHA512: hex.EncodeToString(s512[:]), MD5: hex.EncodeToString(m5[:]),
		VirtualSize: int64(size), MinRAM: 300 << 20, User: "debian", BuiltAt: lastBuild.at, Commit: "0123abcd",
		Properties: map[string]string{"hw_disk_bus": "virtio"},
	}
}

// uniqueName keeps parallel tests out of each other's way.
func uniqueName(t *testing.T) string {
	return strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())) + "-" + uuid.NewString()[:8]
}

func (s *stack) releaser(t *testing.T) Releaser {
	return Releaser{CloudsFile: s.cloudsFile(), Pause: 20 * time.Millisecond, OnState: func(target Target) {
		t.Log(target.Cluster, target.GlanceID, target.State, target.Error)
	}}
}

// ----------------------------------------- an own view of the clusters

// client is logged in without any code of this package, once per entry.
func (s *stack) client(t *testing.T, entry string) *gophercloud.ServiceClient {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.clients[entry]; ok {
		return c
	}
	auth, endpoint, _, err := clouds.Parse(clouds.WithLocations(s.cloudsFile()), clouds.WithCloudName(entry))
	if err != nil {
		t.Fatal(err)
	}
	auth.AllowReauth = true
	provider, err := config.NewProviderClient(t.Context(), auth, config.WithHTTPClient(http.Client{Transport: s.proxy.transport, Timeout: time.Minute}))
	if err != nil {
		t.Fatal(err)
	}
	provider.UseTokenLock()
	c, err := openstack.NewImageV2(provider, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s.clients[entry] = c
	return c
}

// named lists the images of a name, hidden ones too.
func named(t *testing.T, c *gophercloud.ServiceClient, name string) []images.Image {
	t.Helper()
	var all []images.Image
	for _, hidden := range []bool{false, true} {
		pages, err := images.List(c, images.ListOpts{Name: name, Hidden: hidden}).AllPages(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found, err := images.ExtractImages(pages)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// wantImages compares what a cluster has of a name with "uuid state" lines,
// and reads the bytes of the visible one back.
func (s *stack) wantImages(t *testing.T, cluster string, visible *Image, hidden ...Image) {
	t.Helper()
	c := s.client(t, cluster)
	name := ""
	want := map[string]string{}
	for _, img := range hidden {
		name = img.Name
		want[img.UUID] = "active hidden"
	}
	if visible != nil {
		name = visible.Name
		want[visible.UUID] = "active visible"
	}
	got := map[string]string{}
	for _, have := range named(t, c, name) {
		state := string(have.Status) + " visible"
		if have.Hidden {
			state = string(have.Status) + " hidden"
		}
		id, _ := have.Properties["aibuild_uuid"].(string)
		if got[id] != "" {
			state += " twice"
		}
		got[id] = state
		if visible != nil && id == visible.UUID {
			s.wantBytes(t, c, have.ID, visible.SHA512)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s has of %s: %v; want %v", cluster, name, got, want)
	}
}

func (s *stack) wantBytes(t *testing.T, c *gophercloud.ServiceClient, id, sha string) {
	t.Helper()
	data, err := imagedata.Download(t.Context(), c, id).Extract()
	if err != nil {
		t.Fatal(err)
	}
	defer data.Close()
	digest := sha512.New()
	if _, err := io.Copy(digest, data); err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(digest.Sum(nil)); got != sha {
		t.Errorf("the bytes of %s have sha512 %s; want %s", id, got, sha)
	}
}

// watch polls the visible images of a name until the test (or stop) ends it.
// It fails the test when the name, once seen, is absent, or when its newest
// visible image goes backwards. It returns the most images it saw at once.
func (s *stack) watch(t *testing.T, cluster, name string) (stop func() (most, polls int)) {
	t.Helper()
	return s.poll(t, cluster, name, true)
}

// watchPresence is watch for what may go backwards: revoke and rollback.
func (s *stack) watchPresence(t *testing.T, cluster, name string) (stop func() (most, polls int)) {
	t.Helper()
	return s.poll(t, cluster, name, false)
}

func (s *stack) poll(t *testing.T, cluster, name string, forward bool) (stop func() (most, polls int)) {
	t.Helper()
	c := s.client(t, cluster)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	most, polls := 0, 0
	go func() {
		defer close(ended)
		newest := ""
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			<-tick.C
			pages, err := images.List(c, images.ListOpts{Name: name}).AllPages(ctx)
			if err != nil { // Glance is down: nobody sees anything
				continue
			}
			found, err := images.ExtractImages(pages)
			if err != nil {
				continue
			}
			polls++
			most = max(most, len(found))
			now := ""
			for _, have := range found {
				date, _ := have.Properties["image_build_date"].(string)
				now = max(now, date)
			}
			if now == "" && newest != "" {
				t.Errorf("%s: %s was absent", cluster, name)
			}
			if forward && now < newest {
				t.Errorf("%s: %s went from %q back to %q", cluster, name, newest, now)
			}
			newest = max(newest, now)
		}
	}()
	var result func() (int, int) = func() (int, int) {
		cancel()
		<-ended
		return most, polls
	}
	t.Cleanup(func() { result() })
	return result
}
