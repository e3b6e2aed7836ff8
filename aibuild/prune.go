package aibuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// Retention says what stays. Zero fields mean the defaults.
type Retention struct {
	Keep   int           // published versions of each name on the web root; 0: 5
	Failed time.Duration // images that did not pass, and evidence of failed runs; 0: 14 days
	Cache  time.Duration // downloads that nobody used for so long; 0: 30 days
	DryRun bool          // only tell
}

const (
	defaultKeep   = 5
	defaultFailed = 14 * 24 * time.Hour
	defaultCache  = 30 * 24 * time.Hour
)

// Pruned is one thing that Prune removed, or would remove.
type Pruned struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"` // freed on disk
	Reason string `json:"reason"`
}

// Prune frees space: images that did not pass, published bytes beyond keep,
// evidence of failed runs, caches. It never takes the newest version of a name,
// one that is visible in a cluster, the one before it, or a held one; and never
// a record.
func (p *Pipeline) Prune(ctx context.Context, r Retention) ([]Pruned, error) {
	r = r.defaults()
	var done []Pruned
	var errs []error
	for _, prune := range []func(context.Context, Retention) ([]Pruned, error){p.pruneImages, p.pruneRuns, p.pruneCache} {
		some, err := prune(ctx, r)
		done, errs = append(done, some...), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return done, fail("prune", err, "aibuild prune")
	}
	return done, nil
}

func (r Retention) defaults() Retention {
	if r.Keep <= 0 {
		r.Keep = defaultKeep
	}
	if r.Failed <= 0 {
		r.Failed = defaultFailed
	}
	if r.Cache <= 0 {
		r.Cache = defaultCache
	}
	return r
}

func (p *Pipeline) pruneImages(ctx context.Context, r Retention) ([]Pruned, error) {
	entries, err := p.Site.List(ctx, publish.Build)
	if err != nil {
		return nil, err
	}
	byName := map[string][]publish.Entry{}
	for _, e := range entries {
		byName[e.Name] = append(byName[e.Name], e)
	}
	var done []Pruned
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		some, err := p.pruneName(ctx, r, byName[name])
		done, errs = append(done, some...), append(errs, err)
	}
	return done, errors.Join(errs...)
}

// pruneName goes through the images of one name, newest first.
func (p *Pipeline) pruneName(ctx context.Context, r Retention, entries []publish.Entry) ([]Pruned, error) {
	slices.SortFunc(entries, func(a, b publish.Entry) int { return strings.Compare(b.UUID, a.UUID) })
	var done []Pruned
	var errs []error
	good, afterVisible := 0, false
	for i, e := range entries {
		img, err := p.load(ctx, e.Name, e.UUID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		passed := img.passed("") == nil
		if passed {
			good++
		}
		why := p.prunable(img, e, r, good)
		protected := i == 0 || img.visible() || img.Held() || afterVisible && passed
		if passed {
			afterVisible = img.visible()
		}
		if why == "" || protected {
			continue
		}
		removed, err := p.pruneImage(ctx, img, e, why, r.DryRun)
		done, errs = append(done, removed...), append(errs, err)
	}
	return done, errors.Join(errs...)
}

// prunable says why an image's bytes may go, or nothing. good counts the good
// images from the newest to this one.
func (p *Pipeline) prunable(img *Image, e publish.Entry, r Retention, good int) string {
	age := p.now().Sub(e.Modified)
	t := img.Tested()
	switch {
	case img.passed("") == nil && good > r.Keep:
		return fmt.Sprintf("beyond the newest %d good versions", r.Keep)
	case t != nil && t.Verdict == harness.Error && img.Published():
		return "" // that a later test could not tell takes nothing back
	case t != nil && t.Verdict != harness.Passed && age > r.Failed:
		return fmt.Sprintf("tests %s, older than %s", t.Verdict, days(r.Failed))
	case t == nil && age > r.Failed:
		return "never tested, older than " + days(r.Failed)
	case img.Revoked() && age > r.Failed:
		return "revoked, older than " + days(r.Failed)
	}
	return ""
}

func days(d time.Duration) string { return fmt.Sprintf("%.4g days", d.Hours()/24) }

func (i *Image) visible() bool {
	return slices.ContainsFunc(i.clusters(), func(c string) bool { return i.target(c).State == lineage.TargetVisible })
}

func (p *Pipeline) pruneImage(ctx context.Context, img *Image, e publish.Entry, why string, dryRun bool) ([]Pruned, error) {
	areas := []string{publish.Build}
	if img.Published() {
		areas = []string{publish.Release, publish.Build}
	}
	var done []Pruned
	for _, area := range areas {
		done = append(done, Pruned{Path: "images/" + area + "/" + img.Name + "/" + img.UUID, Reason: why})
	}
	done[len(done)-1].Bytes = e.Allocated // the last link frees the bytes
	if dryRun {
		return done, nil
	}
	unlock, err := p.lockImage(ctx, img)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if img.visible() || img.Held() {
		return nil, nil // somebody decided so while we waited
	}
	// The record first: afterwards there is no manifest to put it into.
	if err := p.mark(ctx, img, lineage.VerbPruned, why, lineage.Mark{Pruned: areas}); err != nil {
		return nil, err
	}
	if p.Recorder != nil && len(img.Pending) > 0 {
		return nil, fmt.Errorf("prune %s: its record has not reached the database yet; nothing was removed; see aibuild db status", img.Ref())
	}
	for _, area := range areas {
		if err := p.Site.Remove(ctx, area, img.Name, img.UUID); err != nil && !errors.Is(err, publish.ErrNotFound) {
			return nil, err
		}
	}
	return done, nil
}

// pruneRuns removes the evidence of failed runs that is older than r.Failed.
func (p *Pipeline) pruneRuns(_ context.Context, r Retention) ([]Pruned, error) {
	dirs, err := filepath.Glob(filepath.Join(p.DataDir, "runs", "*"))
	if err != nil {
		return nil, err
	}
	return p.pruneOld(dirs, r.Failed, "evidence of a failed run, older than "+days(r.Failed), r.DryRun)
}

// pruneCache removes downloads that have not been used for r.Cache.
func (p *Pipeline) pruneCache(_ context.Context, r Retention) ([]Pruned, error) {
	files, err := filepath.Glob(filepath.Join(p.DataDir, "cache", "packer", "*"))
	if err != nil {
		return nil, err
	}
	return p.pruneOld(files, r.Cache, "download not used for "+days(r.Cache), r.DryRun)
}

func (p *Pipeline) pruneOld(paths []string, age time.Duration, why string, dryRun bool) ([]Pruned, error) {
	var done []Pruned
	var errs []error
	for _, path := range paths {
		used, bytes, err := usage(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if p.now().Sub(used) <= age {
			continue
		}
		if !dryRun {
			if err := os.RemoveAll(path); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		done = append(done, Pruned{Path: path, Bytes: bytes, Reason: why})
	}
	return done, errors.Join(errs...)
}

// usage is when anything below path was last written, and how much it holds.
func usage(path string) (used time.Time, bytes int64, err error) {
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.ModTime().After(used) {
			used = info.ModTime()
		}
		if d.Type().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return used, bytes, err
}
