package publish

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A hidden name is .part-WHAT-HOST-BOOT-PID-START-RANDOM: the last five say which process of which machine is at work
// there, so that another one can tell whether it still is.
const partPrefix = ".part-"

// identity is this process: machine (with its PID namespace), boot, pid and start time.
var identity = sync.OnceValue(func() string {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "unknown"
	}
	return strings.Join([]string{digest8(hostname, content("/etc/machine-id"), pidNamespace()), boot(), strconv.Itoa(os.Getpid()), startTime("self")}, "-")
})

// partName makes a hidden name that nobody else has.
func partName(what string) string {
	return partPrefix + what + "-" + identity() + "-" + strings.ToLower(rand.Text()[:8])
}

// ownerGone says that the process that made a hidden name is dead. known is false when this machine cannot tell.
func ownerGone(name string) (gone, known bool) {
	fields := strings.Split(name, "-")
	mine := strings.Split(identity(), "-")
	if len(fields) < 6 {
		return false, false
	}
	owner := fields[len(fields)-5 : len(fields)-1]
	if owner[0] != mine[0] {
		return false, false
	}
	return owner[1] != mine[1] || startTime(owner[2]) != owner[3], true
}

// startTime is field 22 of /proc/PID/stat; empty for a process that is not there. PID and start time name a process for
// as long as the machine is up.
func startTime(pid string) string {
	stat := content("/proc/" + pid + "/stat")
	// The name of the program, in parentheses, may hold anything.
	_, rest, found := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 || fields[0] == "Z" {
		return ""
	}
	return fields[19]
}

func boot() string { return digest8(content("/proc/sys/kernel/random/boot_id")) }

func pidNamespace() string {
	target, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	return target
}

// content is a small file of the system, empty when it is not there.
func content(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func digest8(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:4])
}

// Sweep removes what dead processes left behind in images/: hidden folders and files whose maker is dead on this machine,
// and those of other machines that nobody has touched for age. It gives their paths.
func (s *Site) Sweep(ctx context.Context, age time.Duration) (removed []string, err error) {
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var failed []error
	for _, area := range []string{Build, Release} {
		names, err := t.list(path.Join(top, area))
		if err != nil {
			return removed, err
		}
		for _, name := range names {
			if !name.IsDir() || !namePattern.MatchString(name.Name()) {
				continue
			}
			swept, err := s.sweepFolder(ctx, t, path.Join(top, area, name.Name()), age)
			removed = append(removed, swept...)
			failed = append(failed, err)
		}
	}
	return removed, errors.Join(failed...)
}

func (s *Site) sweepFolder(ctx context.Context, t *tree, folder string, age time.Duration) (removed []string, err error) {
	entries, err := t.list(folder)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), partPrefix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		full := path.Join(folder, entry.Name())
		gone, known := ownerGone(entry.Name())
		if !known {
			touched, err := lastTouched(t, full, entry)
			if err != nil && !missing(err) {
				return removed, err
			}
			gone = err == nil && s.config.Now().Sub(touched) > age
		}
		if !gone {
			continue
		}
		if err := t.removeAll(full); err != nil {
			return removed, fmt.Errorf("sweep: %w", err)
		}
		s.log.Info("swept", "path", full)
		removed = append(removed, full)
	}
	return removed, nil
}

// lastTouched is the newest time of a hidden name and all below it.
func lastTouched(t *tree, name string, info fs.FileInfo) (time.Time, error) {
	newest := info.ModTime()
	if !info.IsDir() {
		return newest, nil
	}
	entries, err := t.readDir(name)
	if err != nil {
		return newest, err
	}
	for _, entry := range entries {
		touched, err := lastTouched(t, path.Join(name, entry.Name()), entry)
		if err != nil {
			return newest, err
		}
		if touched.After(newest) {
			newest = touched
		}
	}
	return newest, nil
}
