package aibuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

// ownerFile names the process that works in a folder, so that what a killed one
// left behind can be told from what is in use.
const ownerFile = "owner"

// runMark in a work folder says which run is under way there.
const runMark = "run"

// work makes the folder for one stage of one image; done removes it.
func (p *Pipeline) work(id, stage string) (dir string, done func(), err error) {
	base := filepath.Join(p.DataDir, "work")
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", nil, err
	}
	if dir, err = os.MkdirTemp(base, id+"-"+stage+"-"); err != nil {
		return "", nil, err
	}
	remove := func() {
		if err := os.RemoveAll(dir); err != nil {
			p.log().Error("a work folder was not removed; the next run tries again", "dir", dir, "error", err)
		}
	}
	owner, err := self()
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, ownerFile), []byte(owner+"\n"), 0o600)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return dir, remove, nil
}

// self names this process: pid and start time.
func self() (string, error) {
	pid := os.Getpid()
	start, err := process.StartTime(pid)
	if err != nil {
		return "", err
	}
	return strconv.Itoa(pid) + " " + start, nil
}

// worker names this process among all machines.
func worker() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	me, err := self()
	if err != nil {
		me = strconv.Itoa(os.Getpid())
	}
	return host + "/" + strings.ReplaceAll(me, " ", "/")
}

func ownerAlive(dir string) (bool, error) {
	b, err := os.ReadFile(filepath.Join(dir, ownerFile))
	if errors.Is(err, os.ErrNotExist) {
		// Made a moment ago, perhaps: its owner has not signed yet.
		info, err := os.Stat(dir)
		return err == nil && time.Since(info.ModTime()) < time.Minute, nil
	}
	if err != nil {
		return false, err
	}
	var pid int
	var start string
	if _, err := fmt.Sscan(string(b), &pid, &start); err != nil {
		return false, nil //nolint:nilerr // half written: its writer was killed
	}
	return process.Alive(pid, start), nil
}

// Sweep puts right what killed processes left on this machine: virtual
// machines, work folders, half-published files, and the runs that they were
// working on, which end as lost. Every build and test begins with it. It
// returns what it removed.
func (p *Pipeline) Sweep(ctx context.Context) ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(p.DataDir, "work", "*"))
	if err != nil {
		return nil, err
	}
	var removed []string
	var errs []error
	for _, dir := range dirs {
		alive, err := ownerAlive(dir)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if alive {
			continue
		}
		if err := p.sweepWork(ctx, dir); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", dir, err))
			continue
		}
		removed = append(removed, dir)
	}
	if p.Site != nil {
		parts, err := p.Site.Sweep(ctx, partAge)
		removed, errs = append(removed, parts...), append(errs, err)
	}
	for _, r := range removed {
		p.log().Info("removed what a killed process had left", "path", r)
	}
	return removed, errors.Join(errs...)
}

func (p *Pipeline) sweepWork(ctx context.Context, dir string) error {
	if _, err := qemu.Sweep(dir); err != nil {
		return err
	}
	sign, err := os.ReadFile(filepath.Join(dir, runMark))
	if err == nil {
		err = p.lose(ctx, sign)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.RemoveAll(dir)
}

// lose ends the run of a sign whose process died.
func (p *Pipeline) lose(ctx context.Context, sign []byte) error {
	var records []lineage.Record
	if err := json.Unmarshal(sign, &records); err != nil || len(records) == 0 {
		return fmt.Errorf("the sign of a run is damaged (%w); look at it, then remove the folder", err)
	}
	id := records[0].RunID
	const reason = "aibuild was killed while it worked on this run"
	err := p.recordRun(ctx, append(records, lineage.Record{
		RunID: id, Verb: lineage.VerbEnded, Reason: reason,
		Run: &lineage.Run{ID: id, State: lineage.RunLost, Reason: reason, FinishedAt: p.now()},
	})...)
	if refused(err) {
		return nil // it had ended after all
	}
	return err
}
