package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// jenkinsSite is the Jenkins stand-in behind a door that writes down when it was
// asked to start a build.
type jenkinsSite struct {
	*jenkinstest.Server
	url    string
	http   *http.Server
	served chan error

	mu     sync.Mutex
	starts []time.Time
}

// startJenkins has jobs whose command is given, with the job contract's
// parameters.
func startJenkins(home, command string, executors int, jobs ...string) (*jenkinsSite, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	j := &jenkinsSite{url: "http://" + listener.Addr().String(), served: make(chan error, 1)}
	if j.Server, err = jenkinstest.Start(jenkinstest.Options{Home: home, RootURL: j.url + "/", QuietPeriod: -1, Executors: executors}); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	var declared []jenkinstest.Parameter
	for _, name := range []string{"RUN_ID", "PROJECT", "REF", "COMMIT", "IMAGE", "FROM"} {
		declared = append(declared, jenkinstest.Parameter{Name: "AIBUILD_" + name})
	}
	for _, path := range jobs {
		if err := j.AddJob(jenkinstest.Job{Path: path, Concurrent: true, Command: command, Parameters: declared}); err != nil {
			return nil, errors.Join(err, j.Server.Close(), listener.Close())
		}
	}
	j.http = &http.Server{Handler: j, ReadHeaderTimeout: 10 * time.Second}
	go func() { j.served <- j.http.Serve(listener) }()
	return j, nil
}

// ServeHTTP notes the time of a request to start a build, and lets Jenkins answer.
func (j *jenkinsSite) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/buildWithParameters") {
		j.mu.Lock()
		j.starts = append(j.starts, time.Now())
		j.mu.Unlock()
	}
	j.Server.ServeHTTP(w, r)
}

func (j *jenkinsSite) started() []time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]time.Time{}, j.starts...)
}

func (j *jenkinsSite) Close() error {
	err := errors.Join(j.http.Close(), j.Server.Close())
	<-j.served
	return err
}

const (
	triggerImages = 10
	triggerPushes = 20
)

// hooksTriggerPart: from the delivery of a push to the request that starts its
// build in Jenkins, beyond what git needs to fetch the same commit.
func hooksTriggerPart(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := newHookSite(ctx, b, "trigger")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	jenkins, err := startJenkins(b.path("trigger-jenkins"), "exit 1\n", 4, hookJob) // a success that reports nothing is waited for
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, jenkins.Close()) }()
	s.jenkins = jenkins.url
	repo := b.path("trigger-repo")
	for i := range triggerImages {
		if err := s.image(filepath.Join(repo, "images"), i); err != nil {
			return nil, err
		}
	}
	if err := s.push(ctx, repo, "ten images"); err != nil {
		return nil, err
	}
	if err := errors.Join(s.configure("max_runs: 32"), s.start(ctx)); err != nil {
		return nil, err
	}
	if err := s.await(ctx, "the daemon knows the project", func() (bool, error) {
		n, err := s.number(ctx, "SELECT COUNT(*) FROM hook_event WHERE ref = 'refs/heads/main' AND state <> 'pending'")
		return n > 0, err
	}); err != nil {
		return nil, err
	}
	hook, err := s.gitlab.AddHook(hookProject, gitlabtest.Hook{URL: "http://" + s.address + "/hooks/gitlab", Token: hookSecret})
	if err != nil {
		return nil, err
	}
	mirror, err := s.mirror(ctx)
	if err != nil {
		return nil, err
	}
	beyond := line{what: "push received to Jenkins asked", against: "git fetch of it", unit: "ms more", bound: 300}
	whole := line{what: "push received to Jenkins asked", unit: "ms"}
	fetch := line{what: "git fetch of one push", unit: "ms"}
	for i := range triggerPushes {
		took, fetched, err := s.trigger(ctx, jenkins, hook.ID, repo, mirror, i)
		if err != nil {
			return nil, err
		}
		beyond.samples = append(beyond.samples, milli(took-fetched))
		whole.samples = append(whole.samples, milli(took))
		fetch.samples = append(fetch.samples, milli(fetched))
	}
	return []line{beyond, whole, fetch}, nil
}

func milli(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// image writes a definition that nobody builds: the job ends at once.
func (s *hookSite) image(dir string, n int) error {
	name := "image-" + strconv.Itoa(n)
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text := "name: " + name + `
arch: x86_64
os: {distro: debian, version: "12"}
from: {disk: disk.qcow2, checksum: "sha256:` + strings.Repeat("0", 64) + `"}
build: {template: image.json, timeout: 10m}
output: {format: qcow2}
test: {matrix: {firmware: [bios], disk_bus: [virtio], datasource: [nocloud]}, memory: 256MiB, user: root}
release: {clusters: [alpha], visibility: private}
`
	return errors.Join(os.WriteFile(filepath.Join(dir, "aibuild.yaml"), []byte(text), 0o644),
		os.WriteFile(filepath.Join(dir, "image.json"), []byte(`{"builders": [{"type": "qemu"}]}`), 0o644))
}

// mirror is a second one like the daemon's, to be fetched into by hand.
func (s *hookSite) mirror(ctx context.Context) (string, error) {
	dir := s.b.path("trigger-mirror")
	_, err := process.Cmd{Path: "git", Args: []string{"clone", "-q", "--bare", "--filter=blob:none", s.gitlab.CloneURL(hookProject, s.gitlab.RootToken()), dir}, Timeout: patience}.Run(ctx)
	return dir, err
}

// trigger pushes a change of one image, and gives the time from its delivery to
// the request, and that of a fetch.
func (s *hookSite) trigger(ctx context.Context, jenkins *jenkinsSite, hook int, repo, mirror string, n int) (took, fetched time.Duration, err error) {
	file := filepath.Join(repo, "images", "image-"+strconv.Itoa(n%triggerImages), "image.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"builders": [{"type": "qemu", "vm_name": "%d"}]}`, n), 0o644); err != nil {
		return 0, 0, err
	}
	if err := s.push(ctx, repo, "change "+strconv.Itoa(n)); err != nil {
		return 0, 0, err
	}
	if err := s.await(ctx, "jenkins is asked", func() (bool, error) { return len(jenkins.started()) > n, nil }); err != nil {
		return 0, 0, err
	}
	starts, sent := jenkins.started(), s.gitlab.Deliveries(hook)
	if len(starts) != n+1 || len(sent) != n+1 {
		return 0, 0, fmt.Errorf("after %d pushes there are %d deliveries and %d requests to start a build", n+1, len(sent), len(starts))
	}
	began := time.Now()
	if _, err := (process.Cmd{Path: "git", Args: []string{"-C", mirror, "fetch", "-q", "--filter=blob:none", "origin", "refs/heads/main:refs/heads/main"}, Timeout: patience}).Run(ctx); err != nil {
		return 0, 0, err
	}
	fetched = time.Since(began)
	err = s.await(ctx, "the run ends", func() (bool, error) {
		open, err := s.number(ctx, "SELECT COUNT(*) FROM run WHERE finished = 0")
		return open == 0, err
	})
	return starts[n].Sub(sent[n].At), fetched, err
}
