package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack"
	osconfig "github.com/gophercloud/gophercloud/v2/openstack/config"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// asMain makes the test binary the real program: what tests run is main itself.
const asMain = "AIBUILD_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
	}
	code := m.Run()
	if err := theLab.close(); err != nil {
		fmt.Fprintln(os.Stderr, "the servers were not stopped:", err)
		code = 1
	}
	os.Exit(code)
}

// lab is the real servers that all tests of this package share, and the one
// image that takes long to build.
type lab struct {
	once  sync.Once
	dir   string
	env   map[string]string // what `stack env` says
	err   error
	built sync.Once
	tiny  string // uuid of tiny-linux, built and tested
	file  string // its qcow2
	repo  string // checkout of examples/images with the ISO made
}

var theLab lab

// servers starts examples/stack, once.
func servers(t *testing.T) *lab {
	t.Helper()
	l := &theLab
	l.once.Do(func() { l.err = l.up() })
	if l.err != nil {
		t.Fatalf("the real servers did not start: %v", l.err)
	}
	return l
}

func (l *lab) up() error {
	dir, err := os.MkdirTemp("", "aibuild-lab-")
	if err != nil {
		return err
	}
	l.dir = dir
	// --while: a test that is killed takes its servers with it.
	if out, err := l.stack("up", "--while", strconv.Itoa(os.Getpid())); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	out, err := exec.Command("bash", "-c", `eval "$("$0" --state "$1" env)"; env -0`, stackScript(), filepath.Join(dir, "stack")).Output()
	if err != nil {
		return err
	}
	l.env = map[string]string{}
	for kv := range strings.SplitSeq(string(out), "\x00") {
		k, v, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(k, "AIBUILD_") || strings.HasPrefix(k, "OS_") || strings.HasPrefix(k, "STACK_") {
			l.env[k] = v
		}
	}
	res := l.run(context.Background(), dir, nil, "db", "migrate")
	if res.code != 0 {
		return fmt.Errorf("db migrate: %s", res.err)
	}
	return nil
}

func stackScript() string {
	path, err := filepath.Abs("../../examples/stack/stack")
	if err != nil {
		panic(err)
	}
	return path
}

func (l *lab) stack(args ...string) (string, error) {
	cmd := exec.Command(stackScript(), append([]string{"--state", filepath.Join(l.dir, "stack")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (l *lab) close() error {
	if l.dir == "" {
		return nil
	}
	out, err := l.stack("down", "--purge")
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// result is how a command ended.
type result struct {
	out, err string
	code     int
}

// last is the last line of stdout: an image's uuid for most commands.
func (r result) last() string {
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	return lines[len(lines)-1]
}

// command is the real program with a state folder of its own.
func (l *lab) command(ctx context.Context, data string, extra []string, args ...string) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Env = []string{asMain + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + data, "TMPDIR=" + os.TempDir()}
	for k, v := range l.env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Env = append(append(cmd.Env, "AIBUILD_DATA="+data), extra...)
	return cmd
}

func (l *lab) run(ctx context.Context, data string, extra []string, args ...string) result {
	cmd := l.command(ctx, data, extra, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	code := cmd.ProcessState.ExitCode()
	if err != nil && cmd.ProcessState == nil {
		return result{err: err.Error(), code: -1}
	}
	return result{out.String(), errs.String(), code}
}

// person is somebody with a state folder of their own.
type person struct {
	t     *testing.T
	lab   *lab
	data  string
	extra []string
}

func newPerson(t *testing.T, extra ...string) *person {
	t.Helper()
	return &person{t, servers(t), t.TempDir(), extra}
}

// run calls the program, whatever comes of it.
func (p *person) run(args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	return p.lab.run(ctx, p.data, p.extra, args...)
}

// must calls the program and fails the test if it does not end with code.
func (p *person) must(code int, args ...string) result {
	p.t.Helper()
	r := p.run(args...)
	if r.code != code {
		p.t.Fatalf("aibuild %s ended with %d, not %d\n%s%s", strings.Join(args, " "), r.code, code, r.out, tailOf(r.err))
	}
	return r
}

func tailOf(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// history is what `image history -o json` gives.
func (p *person) history(ref string) []map[string]any {
	p.t.Helper()
	var entries []map[string]any
	r := p.must(0, "image", "history", ref, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &entries); err != nil {
		p.t.Fatalf("%v in %s", err, r.out)
	}
	return entries
}

func (p *person) show(ref string) map[string]any {
	p.t.Helper()
	var img map[string]any
	r := p.must(0, "image", "show", ref, "-o", "json")
	if err := json.Unmarshal([]byte(r.out), &img); err != nil {
		p.t.Fatalf("%v in %s", err, r.out)
	}
	return img
}

// states are "cluster:state" of an image, sorted.
func (p *person) states(ref string) string {
	p.t.Helper()
	var all []string
	for _, r := range p.show(ref)["releases"].([]any) {
		m := r.(map[string]any)
		all = append(all, fmt.Sprint(m["openstack_cluster"], ":", m["state"]))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// glance lists the images of a name that anybody sees in a cluster, by a client
// that is not ours; hidden lists the others.
func (l *lab) glance(t *testing.T, cluster, name string, hidden bool) []images.Image {
	t.Helper()
	ctx := context.Background()
	auth, endpoint, tls, err := clouds.Parse(clouds.WithLocations(l.env["OS_CLIENT_CONFIG_FILE"]), clouds.WithCloudName(cluster))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := osconfig.NewProviderClient(ctx, auth, osconfig.WithTLSConfig(tls))
	if err != nil {
		t.Fatal(err)
	}
	client, err := openstack.NewImageV2(provider, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	pages, err := images.List(client, images.ListOpts{Name: name, Hidden: hidden}).AllPages(ctx)
	if err != nil {
		t.Fatal(err)
	}
	list, err := images.ExtractImages(pages)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func (l *lab) deleteGlance(t *testing.T, cluster, id string) {
	t.Helper()
	cmd := exec.Command("openstack", "--os-cloud", cluster, "image", "delete", id)
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+l.env["OS_CLIENT_CONFIG_FILE"])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openstack image delete: %v\n%s", err, out)
	}
}

// git makes a repository of dir and commits all of it.
func git(t *testing.T, dir string) {
	t.Helper()
	script := `cd "$0" && git init -q -b main && git add -A && git -c user.name=tester -c user.email=t@example.com commit -qm "first version"`
	if out, err := exec.Command("bash", "-ec", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("git: %v\n%s", err, out)
	}
}

// processesWith lists the pids of programs that have text in their command line.
func processesWith(text string) []string {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(text)) {
			found = append(found, strings.Split(f, "/")[2]+" "+strings.ReplaceAll(string(b[:min(len(b), 200)]), "\x00", " "))
		}
	}
	return found
}

// nothingLeft checks that a state folder has no work, and no program, left.
func (p *person) nothingLeft() {
	p.t.Helper()
	deadline := time.Now().Add(40 * time.Second)
	for {
		left := processesWith(p.data)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			p.t.Errorf("programs still run: %s", strings.Join(left, "\n"))
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if work, _ := filepath.Glob(filepath.Join(p.data, "work", "*")); len(work) > 0 {
		p.t.Errorf("work folders left: %v", work)
	}
	// What another test is publishing at this moment is there, and will not be soon.
	for ; ; time.Sleep(200 * time.Millisecond) {
		half, err := halfPublished(p.lab.env["AIBUILD_WEB_ROOT"])
		if err != nil {
			p.t.Error(err)
		}
		if len(half) == 0 || time.Now().After(deadline) {
			for _, path := range half {
				p.t.Errorf("half-published: %s", path)
			}
			return
		}
	}
}

func halfPublished(root string) (found []string, err error) {
	err = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && strings.Contains(d.Name(), ".part") {
			found = append(found, path)
		}
		return nil
	})
	return found, err
}

// whenSays starts the program and calls do with its process as soon as stderr
// shows text. It returns how the program ended.
func (p *person) whenSays(text string, do func(*os.Process), args ...string) result {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := p.lab.command(ctx, p.data, p.extra, args...)
	var out bytes.Buffer
	w := &watcher{text: text, seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &out, w
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	select {
	case <-w.seen:
		do(cmd.Process)
		<-ended
	case <-ended:
		p.t.Fatalf("aibuild %s ended before it said %q:\n%s", strings.Join(args, " "), text, tailOf(w.String()))
	}
	code := cmd.ProcessState.ExitCode()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		code = 128 + int(s.Signal())
	}
	return result{out.String(), w.String(), code}
}

type watcher struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	text string
	seen chan struct{}
	once sync.Once
}

func (w *watcher) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if bytes.Contains(w.buf.Bytes(), []byte(w.text)) {
		w.once.Do(func() { close(w.seen) })
	}
	return len(b), nil
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

// count asks the database, by a client that is not ours.
func (l *lab) count(t *testing.T, query string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(l.sql(t, query)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// decoded reads JSON.
func decoded[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

func decodedFrom[T any](t *testing.T, from io.ReadCloser) T {
	t.Helper()
	text, err := io.ReadAll(from)
	if err = errors.Join(err, from.Close()); err != nil {
		t.Fatal(err)
	}
	return decoded[T](t, string(text))
}
