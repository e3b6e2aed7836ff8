package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	mebibyte = 1 << 20
	hertz    = 100 // USER_HZ, in which the kernel counts for programs on every architecture
)

// highWater is the most memory (bytes resident) that a process has had. Unlike
// the kernel's ru_maxrss it counts neither its parent's nor its children's.
func highWater(pid string) (int64, error) {
	kib, err := field("/proc/"+pid+"/status", "VmHWM:")
	return kib << 10, err
}

// bytesRead is how much this process has asked the system to read.
func bytesRead() (int64, error) { return field("/proc/self/io", "rchar:") }

// bytesWritten is how much this process has asked the system to write.
func bytesWritten() (int64, error) { return field("/proc/self/io", "wchar:") }

func field(path, name string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for text := range strings.Lines(string(b)) {
		if f := strings.Fields(text); len(f) > 1 && f[0] == name {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("%s: no %s", path, name)
}

// watched runs a program and also gives the most memory that it had, without
// its children.
func watched(ctx context.Context, c process.Cmd) (*process.Result, int64, error) {
	p, err := c.Start(ctx)
	if err != nil {
		return nil, 0, err
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var most int64
	for {
		select {
		case <-p.Done():
			res, err := p.Wait()
			if err == nil && most == 0 {
				err = errors.New("its memory was never seen")
			}
			return res, most, err
		case <-tick.C:
			// A process that is ending has no memory any more.
			if now, err := highWater(strconv.Itoa(p.Pid())); err == nil {
				most = max(most, now)
			}
		}
	}
}

// running lists the processes whose command line holds text.
func running(text string) ([]string, error) {
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	self := strconv.Itoa(os.Getpid())
	var pids []string
	for _, file := range files {
		b, err := os.ReadFile(file)
		pid := filepath.Base(filepath.Dir(file))
		if err == nil && pid != self && strings.Contains(string(b), text) { // an error: it has ended
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// cpuOf is the processor time of all processes whose command line holds text,
// and of their children that have ended.
func cpuOf(text string) (time.Duration, error) {
	pids, err := running(text)
	if err != nil {
		return 0, err
	}
	if len(pids) == 0 {
		return 0, fmt.Errorf("no process with %s in its command line", text)
	}
	var total time.Duration
	for _, pid := range pids {
		d, err := cpuOfPid(pid)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		if err != nil {
			return 0, err
		}
		total += d
	}
	return total, nil
}

// cpuOfPid is the processor time of one process and of its children that have
// ended.
func cpuOfPid(pid string) (time.Duration, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(after)
	if len(f) < 15 {
		return 0, fmt.Errorf("/proc/%s/stat: too short", pid)
	}
	var ticks int64
	for _, text := range f[11:15] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / hertz, nil
}

const (
	calmAt    = 0.3              // cores in use that disturb nobody
	calmFor   = time.Second      // for so long
	calmAfter = 40 * time.Second // the most that is waited for it
)

// calm waits a while for a machine that has nothing else to do, and gives how
// many cores are in use.
func (b *bench) calm(ctx context.Context) (cores float64, err error) {
	for end := time.Now().Add(calmAfter); ; {
		before, err := busyTime()
		if err != nil {
			return 0, err
		}
		began := time.Now()
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-time.After(calmFor):
		}
		now, err := busyTime()
		if err != nil {
			return 0, err
		}
		cores = float64(now-before) / float64(time.Since(began))
		if cores <= calmAt || time.Now().After(end) {
			return cores, nil
		}
	}
}

// busyTime is the time that all processors together have worked since the start
// of the machine.
func busyTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(first)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, errors.New("/proc/stat: no line of all processors")
	}
	var ticks int64
	for i, text := range f[1:9] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, err
		}
		if i != 3 && i != 4 { // idle, and waiting for a disk
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / hertz, nil
}
