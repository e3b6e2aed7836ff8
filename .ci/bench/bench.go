package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/guestos/aibuild/aibuild/privatedb"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const (
	folderPrefix = "aibuild-bench-"
	ownerFile    = "owner"
	spaceNeeded  = 10 << 30
)

// bench is what the parts share. What takes long is made when a part asks.
type bench struct {
	pairs  int
	repo   string // root of the repository
	dir    string // everything that is written
	tiny   *image
	clouds string // clouds.yaml of our own stack
	db     *privatedb.DB
	accel  qemu.Accel
}

func newBench(pairs int) (*bench, error) {
	repo, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	b := &bench{pairs: pairs, repo: repo}
	for _, needed := range []string{b.aibuild(), b.stackScript()} {
		if _, err := os.Stat(needed); err != nil {
			return nil, fmt.Errorf("%w; run make bench in the root of the repository", err)
		}
	}
	if err := sweep(os.TempDir()); err != nil {
		return nil, err
	}
	if err := space(os.TempDir()); err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", folderPrefix); err != nil {
		return nil, err
	}
	return b, b.own()
}

// own writes whose folder it is.
func (b *bench) own() error {
	start, err := process.StartTime(os.Getpid())
	if err == nil {
		err = os.WriteFile(filepath.Join(b.dir, ownerFile), []byte(strconv.Itoa(os.Getpid())+" "+start), 0o600)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(b.dir))
	}
	return nil
}

// sweep removes what a killed bench left. Its programs ended with it.
func sweep(temp string) error {
	files, err := filepath.Glob(filepath.Join(temp, folderPrefix+"*", ownerFile))
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // another user's
		}
		var pid int
		var start string
		if _, err := fmt.Sscan(string(text), &pid, &start); err != nil || process.Alive(pid, start) {
			continue
		}
		if err := os.RemoveAll(filepath.Dir(file)); err != nil {
			return err
		}
	}
	return nil
}

func space(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * fs.Bsize; free < spaceNeeded {
		return fmt.Errorf("%s has %d MiB free and %d are needed; set TMPDIR to a folder with more", dir, free>>20, spaceNeeded>>20)
	}
	return nil
}

// close ends the servers and removes the folder, after the last program that
// works in it has ended.
func (b *bench) close() error {
	var errs []error
	ctx := context.Background()
	if b.clouds != "" {
		_, err := process.Cmd{Path: b.stackScript(), Args: []string{"--state", b.path("stack"), "down", "--purge"}, Timeout: 2 * time.Minute}.Run(ctx)
		errs = append(errs, err)
	}
	if b.db != nil {
		errs = append(errs, b.db.Close())
	}
	deadline := time.Now().Add(time.Minute)
	for {
		left, err := running(b.dir)
		if err != nil || len(left) == 0 {
			errs = append(errs, err)
			break
		}
		if time.Now().After(deadline) {
			errs = append(errs, fmt.Errorf("these processes still work in %s: %s", b.dir, strings.Join(left, " ")))
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.Join(append(errs, os.RemoveAll(b.dir))...)
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...)
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

func (b *bench) aibuild() string     { return filepath.Join(b.repo, "bin", "aibuild") }
func (b *bench) stackScript() string { return filepath.Join(b.repo, "examples", "stack", "stack") }
func (b *bench) web() string         { return b.path("www") }
func (b *bench) qemu() qemu.Tool     { return qemu.Tool{CacheDir: b.path("cache")} }

// program runs a program to its end.
func (b *bench) program(ctx context.Context, name string, args ...string) (*process.Result, error) {
	return process.Cmd{Path: name, Args: args, Dir: b.dir}.Run(ctx)
}

// atOnce runs programs at the same time and gives the time until the last ended.
func (b *bench) atOnce(ctx context.Context, programs ...process.Cmd) (time.Duration, error) {
	group, ctx := errgroup.WithContext(ctx)
	start := time.Now()
	for _, c := range programs {
		group.Go(func() error { _, err := c.Run(ctx); return err })
	}
	err := group.Wait()
	return time.Since(start), err
}

// command is aibuild itself, with all it writes in our folder.
func (b *bench) command(args ...string) process.Cmd {
	return process.Cmd{Path: b.aibuild(), Args: args, Dir: b.dir, Env: process.Environ(
		"AIBUILD_DATA="+b.path("data"), "AIBUILD_WEB_ROOT="+b.web(), "AIBUILD_DSN=private",
		"AIBUILD_CONFIG="+b.path("config.yaml"), "HOME="+b.dir,
	)}
}

// prepareCommand makes what command needs, once: its folders, the private
// database, which stays up until the end, and a configuration, as that of this
// machine must not reach it.
func (b *bench) prepareCommand(ctx context.Context) error {
	if b.db != nil {
		return nil
	}
	for _, dir := range []string{b.path("data"), b.web()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(b.path("config.yaml"), []byte("data: "+b.path("data")+"\n"), 0o600); err != nil {
		return err
	}
	var err error
	b.db, err = privatedb.Open(ctx, privatedb.Config{Dir: b.path("data"), Linger: time.Second})
	return err
}

// accelerator is what QEMU can use here.
func (b *bench) accelerator(ctx context.Context) (qemu.Accel, error) {
	if b.accel.Name != "" {
		return b.accel, nil
	}
	var err error
	b.accel, err = b.qemu().Probe(ctx)
	return b.accel, err
}

// repeat takes the samples of one line: pairs times, or until an error.
func (b *bench) repeat(ctx context.Context, once func(i int) error) error {
	for i := range b.pairs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := once(i); err != nil {
			return err
		}
	}
	return nil
}

// perCore is the time that work of so much processor time takes at least.
func perCore(cpu time.Duration) time.Duration { return cpu / time.Duration(runtime.NumCPU()) }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }
